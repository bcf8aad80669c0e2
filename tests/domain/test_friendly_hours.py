from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterplex.domain.friendly_hours import Holidays, may_disconnect_at, next_allowed
from meterplex.domain.supply_policy import DEFAULT_POLICY, DayWindow, HolidayRule, SupplyPolicy

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # its clock changes by half an hour
NEW_YEAR = Holidays(frozenset({date(2027, 1, 1)}))  # a Friday
NO_HOLIDAYS = Holidays()


def in_shanghai(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+08:00").astimezone(SHANGHAI)


def daily(*windows: DayWindow, rule: HolidayRule = HolidayRule.EVE_TOO) -> SupplyPolicy:
    return SupplyPolicy(disconnect_windows=(windows,) * 7, holiday_rule=rule)


@pytest.mark.parametrize(
    ("local", "allowed"),
    [
        ("2026-11-20 08:59", False),
        ("2026-11-20 09:00", True),
        ("2026-11-20 15:59", True),
        ("2026-11-20 16:00", False),
        ("2026-11-21 12:00", False),
        ("2026-11-22 12:00", False),
        ("2026-12-30 12:00", True),
        ("2026-12-31 12:00", False),
        ("2027-01-01 12:00", False),
        ("2027-01-04 12:00", True),
    ],
    ids=[
        "early", "opens", "last-minute", "closes", "saturday", "sunday",
        "two-days-before", "eve", "holiday", "after",
    ],
)  # fmt: skip
def test_working_hours_without_holidays_and_their_eves(local: str, allowed: bool) -> None:
    assert may_disconnect_at(DEFAULT_POLICY, in_shanghai(local), NEW_YEAR) is allowed


@pytest.mark.parametrize(
    ("rule", "protected"),
    [
        (HolidayRule.EVE_TOO, [True, True]),
        (HolidayRule.DAY_ONLY, [False, True]),
        (HolidayRule.NONE, [False, False]),
    ],
)
def test_holiday_rule(rule: HolidayRule, protected: list[bool]) -> None:
    eve_and_day = (date(2026, 12, 31), date(2027, 1, 1))
    assert [NEW_YEAR.protect(day, rule) for day in eve_and_day] == protected


def test_time_without_zone_is_refused() -> None:
    naive = datetime.fromisoformat("2026-11-20T12:00")
    with pytest.raises(ValueError, match="2026-11-20T12:00:00 has no zone"):
        may_disconnect_at(DEFAULT_POLICY, naive, NO_HOLIDAYS)
    with pytest.raises(ValueError, match="has no zone"):
        next_allowed(DEFAULT_POLICY, naive, NO_HOLIDAYS)


@pytest.mark.parametrize(
    ("after", "following"),
    [
        ("2026-11-20 10:30", "2026-11-20 10:30"),
        ("2026-11-20 03:00", "2026-11-20 09:00"),
        ("2026-11-20 16:00", "2026-11-23 09:00"),
        ("2026-12-30 16:00", "2027-01-04 09:00"),
    ],
    ids=["now", "this-morning", "over-the-weekend", "over-the-holiday"],
)
def test_next_window(after: str, following: str) -> None:
    found = next_allowed(DEFAULT_POLICY, in_shanghai(after), NEW_YEAR)
    assert found == in_shanghai(following)


def test_site_without_windows_has_no_next_one() -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=SHANGHAI)
    assert next_allowed(daily(), noon, NO_HOLIDAYS) is None


@pytest.mark.parametrize(
    ("window", "after", "following"),
    [
        # 2026-03-29 in Berlin has no 02:00-03:00; 2026-10-25 has it twice.
        (("02:15", "02:45"), "2026-03-29T00:00:00+01:00", "2026-03-30T02:15:00+02:00"),
        (("02:15", "04:00"), "2026-03-29T00:00:00+01:00", "2026-03-29T03:00:00+02:00"),
        (("01:30", "04:00"), "2026-03-29T00:00:00+01:00", "2026-03-29T01:30:00+01:00"),
        (("02:15", "02:45"), "2026-10-25T00:00:00+02:00", "2026-10-25T02:15:00+02:00"),
        (("02:15", "02:45"), "2026-10-25T02:50:00+02:00", "2026-10-25T02:15:00+01:00"),
        (("01:30", "02:10"), "2026-10-25T02:20:00+02:00", "2026-10-25T02:00:00+01:00"),
    ],
    ids=["skipped", "begins-in-the-gap", "before-the-gap", "first", "again", "again-from-change"],
)
def test_next_window_on_days_of_23_and_25_hours(
    window: tuple[str, str], after: str, following: str
) -> None:
    policy = daily(DayWindow(*(time.fromisoformat(text) for text in window)))
    local = datetime.fromisoformat(after).astimezone(BERLIN)
    found = next_allowed(policy, local, NO_HOLIDAYS)
    assert found is not None
    assert found.isoformat() == following


@settings(deadline=None)
@given(
    zone=st.sampled_from([BERLIN, LORD_HOWE]),
    change=st.sampled_from([datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 4, 4, tzinfo=UTC),
                            datetime(2026, 10, 3, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)]),
    after_min=st.integers(0, 2 * 1440),
    start_min=st.integers(0, 300),
    length_min=st.integers(1, 120),
)  # fmt: skip
def test_next_window_is_the_first_minute_that_is_allowed(
    zone: ZoneInfo, change: datetime, after_min: int, start_min: int, length_min: int
) -> None:
    start, end = (time(*divmod(minute, 60)) for minute in (start_min, start_min + length_min))
    policy = daily(DayWindow(start, end))
    after = change + timedelta(minutes=after_min)
    minute = after
    while not may_disconnect_at(policy, minute.astimezone(zone), NO_HOLIDAYS):
        minute += timedelta(minutes=1)
    found = next_allowed(policy, after.astimezone(zone), NO_HOLIDAYS)
    assert found is not None
    assert found.astimezone(UTC) == minute


def test_one_year_with_clock_changes_leap_day_and_holidays() -> None:
    holidays = {date(2028, 1, 1), date(2028, 4, 14), date(2028, 4, 17), date(2028, 12, 25)}
    minute = datetime(2027, 12, 31, 23, tzinfo=UTC)
    allowed: dict[date, int] = {}
    while minute < datetime(2028, 12, 31, 23, tzinfo=UTC):
        local = minute.astimezone(BERLIN)
        if may_disconnect_at(DEFAULT_POLICY, local, Holidays(frozenset(holidays))):
            assert "09:00" <= f"{local:%H:%M}" < "16:00"
            assert f"{local:%a}" not in ("Sat", "Sun")
            allowed[local.date()] = allowed.get(local.date(), 0) + 10
        minute += timedelta(minutes=10)
    assert set(allowed.values()) == {7 * 60}
    assert date(2028, 2, 29) in allowed
    # 260 working days in 2028, without Fri 14 and its eve, Mon 17, Mon 25 December.
    assert len(allowed) == 260 - 4
    assert date(2028, 4, 13) not in allowed
