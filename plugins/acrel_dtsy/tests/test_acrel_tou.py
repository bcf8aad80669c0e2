from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.protocols.errors import EncodeError, ProtocolError
from meterplex.sdk import Rate, RateChange, SeasonStart, TouCalendar
from meterplex_acrel_dtsy.tou import (
    DatePlanOrder,
    date_plan_order,
    decode_calendar,
    encode_date_plan,
    encode_day_tables,
)

MDT = DatePlanOrder.MONTH_DAY_TABLE
TDM = DatePlanOrder.TABLE_DAY_MONTH
UNUSED = bytes(42)

CALENDAR = TouCalendar(
    seasons=(SeasonStart(1, 1, 0), SeasonStart(7, 15, 1)),
    day_tables=(
        (RateChange(time(0), Rate.VALLEY), RateChange(time(8, 30), Rate.PEAK)),
        (
            RateChange(time(0), Rate.FLAT),
            RateChange(time(10), Rate.SHARP),
            RateChange(time(23, 59), Rate.DEEP_VALLEY),
        ),
    ),
)
# Rates: 1 sharp, 2 peak, 3 flat, 4 valley (DBG, EMS), 5 deep valley (EMS).
# A slot is {rate, minute, hour}.
PLAN = {
    MDT: bytes.fromhex("01 01 01 07 0F 02 00 00 00 00 00 00"),
    TDM: bytes.fromhex("01 01 01 02 0F 07 00 00 00 00 00 00"),
}
TABLES = (
    bytes.fromhex("04 00 00 02 1E 08").ljust(42, b"\0"),
    bytes.fromhex("03 00 00 01 00 0A 05 3B 17").ljust(42, b"\0"),
)


@pytest.mark.parametrize("order", DatePlanOrder)
def test_calendar_is_written(order: DatePlanOrder) -> None:
    assert encode_date_plan(CALENDAR, order) == PLAN[order]
    assert encode_day_tables(CALENDAR) == TABLES


@pytest.mark.parametrize("order", DatePlanOrder)
def test_calendar_is_read(order: DatePlanOrder) -> None:
    assert decode_calendar(PLAN[order], TABLES, order) == CALENDAR


@pytest.mark.parametrize("other", [UNUSED, TABLES[1], b"\xff" * 42], ids=["empty", "old", "wild"])
def test_a_day_table_that_no_season_names_is_left_as_it_is(other: bytes) -> None:
    calendar = TouCalendar((SeasonStart(1, 1, 0),), CALENDAR.day_tables[:1])
    assert encode_day_tables(calendar) == TABLES[:1]
    plan = encode_date_plan(calendar, MDT)
    assert decode_calendar(plan, (TABLES[0], other), MDT) == calendar


@pytest.mark.parametrize(
    ("plan", "order"),
    [
        pytest.param("01 01 01 07 0F 02 00 00 00 00 00 00", MDT, id="month-7-cannot-be-a-table"),
        pytest.param("01 01 01 02 0F 07 00 00 00 00 00 00", TDM, id="7-can-only-be-a-month"),
        pytest.param("0C 1F 01 00 00 00 00 00 00 00 00 00", MDT, id="december"),
        pytest.param("01 1F 0C 00 00 00 00 00 00 00 00 00", TDM, id="december-last"),
        pytest.param("02 1E 01 00 00 00 00 00 00 00 00 00", TDM, id="no-30-february"),
    ],
)
def test_plan_of_the_meter_tells_its_order(plan: str, order: DatePlanOrder) -> None:
    for default in DatePlanOrder:
        assert date_plan_order(bytes.fromhex(plan), default) is order


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param("00 00 00 00 00 00 00 00 00 00 00 00", id="empty"),
        pytest.param("01 01 01 00 00 00 00 00 00 00 00 00", id="reads-both-ways-alike"),
        pytest.param("01 01 02 02 01 01 00 00 00 00 00 00", id="months-and-tables-1-and-2"),
        pytest.param("0D 01 0D 00 00 00 00 00 00 00 00 00", id="fits-neither"),
    ],
)
@pytest.mark.parametrize("default", DatePlanOrder)
def test_plan_that_tells_nothing_leaves_the_setting(plan: str, default: DatePlanOrder) -> None:
    assert date_plan_order(bytes.fromhex(plan), default) is default


def test_day_that_does_not_begin_at_midnight_goes_on_from_the_evening() -> None:
    table = bytes.fromhex("03 00 06 04 00 16").ljust(42, b"\0")
    calendar = decode_calendar(bytes.fromhex("01 01 01").ljust(12, b"\0"), (table, UNUSED), MDT)
    assert calendar.day_tables[0] == (
        RateChange(time(0), Rate.VALLEY),
        RateChange(time(6), Rate.FLAT),
        RateChange(time(22), Rate.VALLEY),
    )


def test_seasons_come_in_order_of_the_year() -> None:
    plan = bytes.fromhex("07 01 02 01 01 01").ljust(12, b"\0")
    assert decode_calendar(plan, TABLES, MDT).seasons == (
        SeasonStart(1, 1, 0),
        SeasonStart(7, 1, 1),
    )


@pytest.mark.parametrize(
    ("plan", "table"),
    [
        pytest.param("0D 01 01", "03 00 00", id="month-13"),
        pytest.param("02 1E 01", "03 00 00", id="30-february"),
        pytest.param("01 01 03", "03 00 00", id="table-3"),
        pytest.param("01 01 00", "03 00 00", id="table-0"),
        pytest.param("01 01 02", "03 00 00", id="season-of-an-empty-table"),
        pytest.param("01 01 01", "06 00 00", id="rate-6"),
        pytest.param("01 01 01", "00 1E 08", id="rate-0-with-a-time"),
        pytest.param("01 01 01", "03 3C 00", id="minute-60"),
        pytest.param("01 01 01", "03 00 18", id="hour-24"),
    ],
)
def test_calendar_that_cannot_be_is_refused(plan: str, table: str) -> None:
    with pytest.raises(ProtocolError):
        decode_calendar(
            bytes.fromhex(plan).ljust(12, b"\0"),
            (bytes.fromhex(table).ljust(42, b"\0"), UNUSED),
            MDT,
        )


MIDNIGHT = RateChange(time(0), Rate.FLAT)


@pytest.mark.parametrize(
    "seasons",
    [
        pytest.param((), id="none"),
        pytest.param(tuple(SeasonStart(month, 1, 0) for month in range(1, 6)), id="five"),
        pytest.param((SeasonStart(2, 30, 0),), id="30-february"),
        pytest.param((SeasonStart(0, 1, 0),), id="month-0"),
        pytest.param((SeasonStart(1, 1, 1),), id="table-not-given"),
        pytest.param((SeasonStart(1, 1, -1),), id="table-below-0"),
        pytest.param((SeasonStart(7, 1, 0), SeasonStart(1, 1, 0)), id="out-of-order"),
        pytest.param((SeasonStart(1, 1, 0), SeasonStart(1, 1, 0)), id="twice"),
    ],
)
def test_seasons_that_the_meter_cannot_hold_are_refused(seasons: tuple[SeasonStart, ...]) -> None:
    with pytest.raises(EncodeError):
        encode_date_plan(TouCalendar(seasons, ((MIDNIGHT,),)), MDT)


@pytest.mark.parametrize(
    "tables",
    [
        pytest.param((), id="none"),
        pytest.param(((MIDNIGHT,),) * 3, id="three"),
        pytest.param(((),), id="empty"),
        pytest.param(((MIDNIGHT,), (MIDNIGHT,)), id="named-by-no-season"),
        pytest.param(
            (tuple(RateChange(time(hour), Rate.FLAT) for hour in range(15)),), id="15-changes"
        ),
        pytest.param(((RateChange(time(1), Rate.FLAT),),), id="not-from-midnight"),
        pytest.param(((MIDNIGHT, MIDNIGHT),), id="twice"),
        pytest.param(
            ((MIDNIGHT, RateChange(time(9), Rate.PEAK), RateChange(time(8), Rate.FLAT)),),
            id="falling",
        ),
        pytest.param(((MIDNIGHT, RateChange(time(8, 0, 30), Rate.PEAK)),), id="seconds"),
    ],
)
def test_day_tables_that_the_meter_cannot_hold_are_refused(
    tables: tuple[tuple[RateChange, ...], ...],
) -> None:
    with pytest.raises(EncodeError):
        encode_day_tables(TouCalendar((SeasonStart(1, 1, 0),), tables))


MINUTES = st.integers(1, 24 * 60 - 1).map(lambda minute: time(minute // 60, minute % 60))


@st.composite
def day_tables(draw: st.DrawFn) -> tuple[RateChange, ...]:
    times = [time(0), *sorted(draw(st.sets(MINUTES, max_size=13)))]
    return tuple(RateChange(at, draw(st.sampled_from(Rate))) for at in times)


@st.composite
def calendars(draw: st.DrawFn) -> TouCalendar:
    tables = tuple(draw(st.lists(day_tables(), min_size=1, max_size=2)))
    dates = draw(st.sets(st.tuples(st.integers(1, 12), st.integers(1, 28)), min_size=1, max_size=4))
    table = st.integers(0, len(tables) - 1)
    seasons = tuple(SeasonStart(*date, draw(table)) for date in sorted(dates))
    return TouCalendar(seasons, tables[: max(season.table for season in seasons) + 1])


@given(calendars(), st.sampled_from(DatePlanOrder))
def test_any_calendar_comes_back(calendar: TouCalendar, order: DatePlanOrder) -> None:
    plan = encode_date_plan(calendar, order)
    assert decode_calendar(plan, encode_day_tables(calendar), order) == calendar


@given(st.binary(min_size=12, max_size=12), st.binary(min_size=42, max_size=42))
def test_any_bytes_give_a_calendar_or_a_protocol_error(plan: bytes, table: bytes) -> None:
    order = date_plan_order(plan, MDT)
    try:
        calendar = decode_calendar(plan, (table, table), order)
    except ProtocolError:
        return
    assert all(changes[0].at == time(0) for changes in calendar.day_tables)
