from datetime import time
from decimal import Decimal

import pytest

from meterplex.domain.commands import CommandKind
from meterplex.sdk import Limits, Prices, Rate, RateChange, SeasonStart, SettingsError, TouCalendar
from meterplex.services.metering.command_arguments import (
    calendar_arguments,
    check_arguments,
    in_words,
    parse_calendar,
    parse_limits,
    parse_prices,
)

PRICES = {"sharp": "1.2", "peak": "1.0", "flat": "0.7", "valley": "0.35"}
CALENDAR = {
    "seasons": "01-01=0,07-15=1",
    "table_0": "00:00=valley,06:30=peak,22:00=valley",
    "table_1": "00:00=flat",
}


def test_arguments_become_values() -> None:
    prices = Prices(*map(Decimal, PRICES.values()))
    assert parse_prices(PRICES) == prices
    assert parse_limits({"alarm_1": "50.00", "overload_kw": "5"}) == Limits(
        alarm_1=Decimal("50.00"), overload_kw=Decimal(5)
    )
    calendar = TouCalendar(
        (SeasonStart(1, 1, 0), SeasonStart(7, 15, 1)),
        (
            (
                RateChange(time(0), Rate.VALLEY),
                RateChange(time(6, 30), Rate.PEAK),
                RateChange(time(22), Rate.VALLEY),
            ),
            (RateChange(time(0), Rate.FLAT),),
        ),
    )
    assert parse_calendar(CALENDAR) == calendar
    assert calendar_arguments(calendar) == CALENDAR


def test_values_in_words_name_only_what_there_is() -> None:
    assert in_words(parse_prices(PRICES)) == "sharp 1.2, peak 1.0, flat 0.7, valley 0.35"
    assert in_words(Limits(overdraft=Decimal("0.00"))) == "overdraft 0.00"
    assert in_words(parse_calendar({"seasons": "01-01=0", "table_0": "00:00=flat"})) == (
        "seasons 01-01=0, table_0 00:00=flat"
    )


@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        (CommandKind.DISCONNECT, {"why": "x"}, "takes no why"),
        (CommandKind.WRITE_PRICES, {"sharp": "1"}, "peak, flat, valley missing"),
        (CommandKind.WRITE_PRICES, PRICES | {"deep": "1"}, "unknown deep"),
        (CommandKind.WRITE_PRICES, PRICES | {"peak": "dear"}, "peak: 'dear'"),
        (CommandKind.WRITE_PRICES, PRICES | {"peak": "-1"}, "peak: -1"),
        (CommandKind.WRITE_PRICES, PRICES | {"peak": "NaN"}, "peak: NaN"),
        (CommandKind.WRITE_LIMITS, {}, "none given"),
        (CommandKind.WRITE_LIMITS, {"alarm_3": "1"}, "unknown alarm_3"),
        (CommandKind.WRITE_CALENDAR, {"seasons": "01-01=0"}, "season '01-01=0' is out of range"),
        (CommandKind.WRITE_CALENDAR, {"table_0": "00:00=flat"}, "expected seasons"),
        (CommandKind.WRITE_CALENDAR, CALENDAR | {"table_3": "00:00=flat"}, "table_3"),
        (CommandKind.WRITE_CALENDAR, CALENDAR | {"seasons": "1 May=0"}, "expected MM-DD=table"),
        (CommandKind.WRITE_CALENDAR, CALENDAR | {"seasons": "13-01=0"}, "out of range"),
        (CommandKind.WRITE_CALENDAR, CALENDAR | {"table_1": "00:00=dear"}, "HH:MM=rate"),
        (CommandKind.WRITE_CALENDAR, CALENDAR | {"table_1": "06:00=flat"}, "start at 00:00"),
        (
            CommandKind.WRITE_CALENDAR,
            CALENDAR | {"table_1": "00:00=flat,09:00=peak,08:00=flat"},
            "rise",
        ),
    ],
)
def test_arguments_that_cannot_be_are_named(
    kind: CommandKind, arguments: dict[str, str], named: str
) -> None:
    with pytest.raises(SettingsError, match=named):
        check_arguments(kind, arguments)


@pytest.mark.parametrize("until", ["soon", "2026-11-20T18:00"], ids=["no time", "no offset"])
def test_disconnect_ends_at_a_time_with_its_offset(until: str) -> None:
    check_arguments(CommandKind.DISCONNECT, {"until": "2026-11-20T18:00+08:00"})
    with pytest.raises(SettingsError, match="until"):
        check_arguments(CommandKind.DISCONNECT, {"until": until})
