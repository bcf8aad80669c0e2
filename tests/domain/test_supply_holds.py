from datetime import UTC, datetime, timedelta

import pytest

from meterplex.domain.supply_holds import Bypass, HoldOwner, SupplyHold, holds_in_force

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CARE = SupplyHold(HoldOwner.CARE, "ventilator")
FROST = SupplyHold(HoldOwner.WEATHER, until=NOON + HOUR)


@pytest.mark.parametrize(
    ("now", "in_force"),
    [
        (NOON, (CARE, FROST)),
        (NOON + HOUR - timedelta.resolution, (CARE, FROST)),
        (NOON + HOUR, (CARE,)),
        (None, (CARE, FROST)),
    ],
    ids=["both", "last-moment", "one-ended", "time-not-known"],
)
def test_holds_in_force(now: datetime | None, in_force: tuple[SupplyHold, ...]) -> None:
    assert holds_in_force([CARE, FROST], now) == in_force


@pytest.mark.parametrize(
    ("hold", "text"),
    [
        (CARE, "care hold (ventilator)"),
        (FROST, "weather hold until 2026-11-20 13:00"),
    ],
)
def test_hold_as_text(hold: SupplyHold, text: str) -> None:
    assert str(hold) == text


def test_bypass_is_overdue_until_a_person_ends_it() -> None:
    bypass = Bypass(NOON, NOON + HOUR, "li.na", "wang.wei", "relay welded")
    assert str(bypass) == "bypassed since 2026-11-20 12:00 (relay welded)"
    assert not bypass.overdue_at(NOON + HOUR - timedelta.resolution)
    assert bypass.overdue_at(NOON + HOUR)


@pytest.mark.parametrize(
    ("until", "asked_by", "approved_by", "reason", "told"),
    [
        (NOON + HOUR, "li.na", "LI.NA", "relay welded", "two different people"),
        (NOON + HOUR, "li.na", " ", "relay welded", "two different people"),
        (NOON + HOUR, "li.na", "wang.wei", " ", "needs a reason"),
        (NOON, "li.na", "wang.wei", "relay welded", "expected a time after"),
    ],
    ids=["same-person", "no-second", "no-reason", "no-time"],
)
def test_bypass_that_cannot_be_is_refused(
    until: datetime, asked_by: str, approved_by: str, reason: str, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        Bypass(NOON, until, asked_by, approved_by, reason)
