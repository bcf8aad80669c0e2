from datetime import datetime

import pytest

from meterplex_acrel_dtsy.twin_calendar import TwinCalendar

SHARP, PEAK, FLAT, VALLEY = range(4)


@pytest.mark.parametrize(
    ("clock", "rate"),
    [
        pytest.param("2026-11-20T00:00", VALLEY, id="winter midnight"),
        pytest.param("2026-11-20T06:59", VALLEY, id="last minute of the valley"),
        pytest.param("2026-11-20T07:00", FLAT, id="first minute of flat"),
        pytest.param("2026-11-20T19:30", SHARP, id="winter evening"),
        pytest.param("2026-07-01T19:30", PEAK, id="summer evening"),
        pytest.param("2026-07-01T13:00", SHARP, id="summer noon"),
        pytest.param("2026-05-31T19:30", SHARP, id="day before summer"),
        pytest.param("2026-06-01T19:30", PEAK, id="first day of summer"),
        pytest.param("2026-11-20T23:59", VALLEY, id="end of the day"),
    ],
)
@pytest.mark.parametrize("months_first", [False, True])
def test_rate_of_a_moment(clock: str, rate: int, *, months_first: bool) -> None:
    calendar = TwinCalendar(months_first=months_first)

    assert calendar.rate_at(datetime.fromisoformat(clock)) == rate


def test_plan_is_laid_out_table_day_month() -> None:
    assert TwinCalendar(months_first=False).packed[:12] == bytes(
        (1, 1, 1, 2, 1, 6, 1, 1, 10, 0, 0, 0)
    )


def test_plan_is_laid_out_month_day_table() -> None:
    assert TwinCalendar(months_first=True).packed[:12] == bytes(
        (1, 1, 1, 6, 1, 2, 10, 1, 1, 0, 0, 0)
    )


def test_day_tables_are_rate_minute_hour() -> None:
    packed = TwinCalendar(months_first=False).packed

    assert len(packed) == 96
    assert packed[12:18] == bytes((4, 0, 0, 3, 0, 7))


def test_before_the_first_date_the_last_table_goes_on() -> None:
    calendar = TwinCalendar(months_first=False)
    assert calendar.replace(0, bytes((1, 1, 3, 2, 1, 10)) + bytes(6))

    assert calendar.rate_at(datetime.fromisoformat("2026-02-01T13:00")) == SHARP
    assert calendar.rate_at(datetime.fromisoformat("2026-03-01T13:00")) == FLAT


def test_written_change_applies() -> None:
    calendar = TwinCalendar(months_first=False)

    assert calendar.replace(12, bytes((1, 30, 0)) + bytes(39))

    assert calendar.rate_at(datetime.fromisoformat("2026-11-20T00:30")) == SHARP
    assert calendar.rate_at(datetime.fromisoformat("2026-11-20T00:29")) == SHARP


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        pytest.param(0, bytes((3, 1, 1)), id="no such day table"),
        pytest.param(0, bytes((1, 30, 2)), id="30 February"),
        pytest.param(0, bytes((1, 1, 13)), id="month 13"),
        pytest.param(0, bytes((1, 0, 1)), id="day 0"),
        pytest.param(0, bytes(12), id="no season at all"),
        pytest.param(12, bytes((5, 0, 0)), id="rate 5 of a four-rate meter"),
        pytest.param(12, bytes((1, 60, 0)), id="minute 60"),
        pytest.param(54, bytes((1, 0, 24)), id="hour 24"),
        pytest.param(54, bytes(42), id="empty day table"),
    ],
)
def test_invalid_calendar_changes_nothing(offset: int, data: bytes) -> None:
    calendar = TwinCalendar(months_first=False)
    before = calendar.packed

    assert not calendar.replace(offset, data)
    assert calendar.packed == before
