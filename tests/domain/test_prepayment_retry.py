from datetime import UTC, datetime, timedelta

import pytest

from meterplex.domain.prepayment import alarm_due, next_look, retry_delay

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 5), (2, 30), (3, 120), (4, 600), (5, 1800), (1000, 1800)]
)
def test_an_uncertain_order_is_looked_at_again_for_ever(attempt: int, seconds: int) -> None:
    assert retry_delay(attempt) == timedelta(seconds=seconds)
    assert next_look(NOON, attempt) == NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("woken_after_s", "seconds"), [(-1, 600), (0, 600), (1, 1), (599, 599), (601, 600)]
)
def test_a_restored_link_wakes_at_once(woken_after_s: int, seconds: int) -> None:
    woken_at = NOON + timedelta(seconds=woken_after_s)
    assert next_look(NOON, 4, woken_at) == NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(("seconds", "due"), [(899, False), (900, True)])
def test_people_are_told_after_a_quarter_of_an_hour(seconds: int, due: bool) -> None:
    assert alarm_due(NOON, NOON + timedelta(seconds=seconds)) is due
