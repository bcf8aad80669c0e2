from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterplex.domain.warnings import (
    COUNTED,
    DEFAULT_THRESHOLDS,
    Thresholds,
    WarningLevel,
    WarningSent,
    WarningState,
    due_warnings,
    episodes_ended,
    levels_reached,
    needs_paper,
    thresholds_of,
)

ALARM_1, ALARM_2, ARREARS = WarningLevel
LIMITS = Thresholds(500_000, 200_000)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("balance", "levels"),
    [
        (500_001, ()),
        (500_000, (ALARM_1,)),
        (200_001, (ALARM_1,)),
        (200_000, (ALARM_1, ALARM_2)),
        (1, (ALARM_1, ALARM_2)),
        (0, (ALARM_1, ALARM_2, ARREARS)),
        (-1, (ALARM_1, ALARM_2, ARREARS)),
    ],
)
def test_levels_reached(balance: int, levels: tuple[WarningLevel, ...]) -> None:
    assert levels_reached(balance, LIMITS) == levels


def test_each_level_warns_once_in_a_low_episode() -> None:
    sent: set[WarningLevel] = set()
    told = []
    for balance in (600_000, 450_000, 300_000, 450_000, 150_000, 400_000, 100_000, -5, -90_000):
        sent -= set(episodes_ended(balance, LIMITS, sent))
        due = due_warnings(balance, LIMITS, sent)
        sent |= set(due)
        told.append(due)
    # A rise above 20.00 but not above 50.00 ends the episode of alarm 2 alone.
    assert told == [(), (ALARM_1,), (), (), (ALARM_2,), (), (ALARM_2,), (ARREARS,), ()]


@pytest.mark.parametrize(
    ("balance", "ended"),
    [
        (500_000, (ALARM_2, ARREARS)),
        (500_001, (ALARM_1, ALARM_2, ARREARS)),
        (200_000, (ARREARS,)),
        (0, ()),
    ],
)
def test_episode_ends_above_its_threshold(balance: int, ended: tuple[WarningLevel, ...]) -> None:
    assert episodes_ended(balance, LIMITS, set(WarningLevel)) == ended
    assert episodes_ended(balance, LIMITS, set()) == ()


@settings(deadline=None)
@given(balance=st.integers(-(10**6), 10**6), sent=st.sets(st.sampled_from(WarningLevel)))
def test_a_level_is_due_or_sent_or_not_reached(balance: int, sent: set[WarningLevel]) -> None:
    due = set(due_warnings(balance, LIMITS, sent))
    ended = set(episodes_ended(balance, LIMITS, sent))
    assert not due & sent
    assert ended <= sent
    assert (sent - ended) | due == set(levels_reached(balance, LIMITS))


@pytest.mark.parametrize(
    ("own", "thresholds"),
    [
        ((None, None), Thresholds(500_000, 200_000)),
        ((900_000, None), Thresholds(900_000, 200_000)),
        ((100_000, None), Thresholds(100_000, 100_000)),
        ((None, 300_000), Thresholds(500_000, 300_000)),
        ((None, 700_000), Thresholds(700_000, 700_000)),
        ((80_000, 10_000), Thresholds(80_000, 10_000)),
    ],
    ids=["defaults", "alarm-1", "low-alarm-1", "alarm-2", "high-alarm-2", "both"],
)
def test_own_thresholds_come_before_the_defaults(
    own: tuple[int | None, int | None], thresholds: Thresholds
) -> None:
    assert thresholds_of(DEFAULT_THRESHOLDS, *own) == thresholds


@pytest.mark.parametrize(
    "thresholds", [(10, 20, 0), (20, 10, 11)], ids=["alarm-2-over-1", "arrears-over-alarm-2"]
)
def test_thresholds_out_of_order_are_refused(thresholds: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected alarm 1 >= alarm 2 >= arrears"):
        Thresholds(*thresholds)


@pytest.mark.parametrize("state", WarningState)
def test_only_a_warning_that_left_counts(state: WarningState) -> None:
    assert WarningSent(ARREARS, NOON, state).counts is (state in COUNTED)
    assert (state in COUNTED) is (state not in {WarningState.QUEUED, WarningState.FAILED})


@pytest.mark.parametrize(
    ("states", "levels"),
    [
        ([], ()),
        ([(ARREARS, WarningState.FAILED)], (ARREARS,)),
        ([(ARREARS, WarningState.FAILED), (ARREARS, WarningState.SENT)], ()),
        ([(ARREARS, WarningState.FAILED), (ARREARS, WarningState.QUEUED)], ()),
        ([(ARREARS, WarningState.FAILED), (ARREARS, WarningState.ON_PAPER)], ()),
        ([(ARREARS, WarningState.FAILED), (ALARM_1, WarningState.FAILED)], (ALARM_1, ARREARS)),
    ],
    ids=["none", "failed", "other-way", "still-trying", "on-paper", "two-levels"],
)
def test_who_cannot_be_reached_needs_paper(
    states: list[tuple[WarningLevel, WarningState]], levels: tuple[WarningLevel, ...]
) -> None:
    assert needs_paper(WarningSent(level, NOON, state) for level, state in states) == levels
