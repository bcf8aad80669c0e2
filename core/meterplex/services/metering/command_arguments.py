"""The arguments of a command: text in its row, values for a driver.

==================  ==========================================================================
kind                keys
==================  ==========================================================================
``write_prices``    ``sharp``, ``peak``, ``flat``, ``valley``: currency units per unit
``write_limits``    any of ``alarm_1``, ``alarm_2``, ``overdraft``, ``hoard`` (currency units),
                    ``overload_kw``
``write_calendar``  ``seasons``: ``MM-DD=table`` joined by commas; ``table_0`` ...: each
                    ``HH:MM=rate`` joined by commas
``disconnect``      ``until``: ISO 8601 with offset, where supply comes back by itself
all others          none
==================  ==========================================================================
"""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, time
from decimal import Decimal, InvalidOperation

from meterplex.domain.commands import CommandKind
from meterplex.sdk import Limits, Prices, Rate, RateChange, SeasonStart, SettingsError, TouCalendar


def check_arguments(kind: CommandKind, arguments: Mapping[str, str]) -> None:
    """Refuse arguments that the kind does not take.

    Raises:
        SettingsError: names the key and what was expected.
    """
    match kind:
        case CommandKind.WRITE_PRICES:
            parse_prices(arguments)
        case CommandKind.WRITE_LIMITS:
            parse_limits(arguments)
        case CommandKind.WRITE_CALENDAR:
            parse_calendar(arguments)
        case CommandKind.DISCONNECT if arguments.keys() <= {"until"}:
            _check_time(arguments.get("until"))
        case _ if arguments:
            raise SettingsError(f"{kind} takes no {', '.join(arguments)}")


def _check_time(text: str | None) -> None:
    if text is None:
        return
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"until: {error}") from error
    if at.tzinfo is None:
        raise SettingsError(f"until {text}: expected a time with its offset")


def parse_prices(arguments: Mapping[str, str]) -> Prices:
    """Read the four prices.

    Raises:
        SettingsError: one is missing, is no number or is negative, or there is another key.
    """
    names = [field.name for field in fields(Prices)]
    _expect_keys(arguments, names)
    if missing := [name for name in names if name not in arguments]:
        raise SettingsError(f"prices: {', '.join(missing)} missing")
    return Prices(*(_amount(name, arguments[name]) for name in names))


def parse_limits(arguments: Mapping[str, str]) -> Limits:
    """Read the limits that are given.

    Raises:
        SettingsError: none is given, one is no number or is negative, or there is another key.
    """
    _expect_keys(arguments, [field.name for field in fields(Limits)])
    if not arguments:
        raise SettingsError("limits: none given")
    return Limits(**{name: _amount(name, text) for name, text in arguments.items()})


def parse_calendar(arguments: Mapping[str, str]) -> TouCalendar:
    """Read a calendar.

    Raises:
        SettingsError: a date, time, rate or table is malformed or missing.
    """
    tables = sorted(
        (name for name in arguments if name != "seasons"), key=lambda name: (len(name), name)
    )
    if tables != [f"table_{index}" for index in range(len(tables))] or "seasons" not in arguments:
        raise SettingsError(
            f"calendar: keys are {', '.join(arguments)}; expected seasons, table_0, table_1 ..."
        )
    seasons = tuple(_season(item, len(tables)) for item in arguments["seasons"].split(","))
    return TouCalendar(seasons, tuple(_day_table(arguments[name]) for name in tables))


def calendar_arguments(calendar: TouCalendar) -> dict[str, str]:
    """Write a calendar as arguments; the inverse of :func:`parse_calendar`."""
    seasons = ",".join(f"{s.month:02}-{s.day:02}={s.table}" for s in calendar.seasons)
    tables = {
        f"table_{index}": ",".join(f"{change.at:%H:%M}={change.rate}" for change in table)
        for index, table in enumerate(calendar.day_tables)
    }
    return {"seasons": seasons, **tables}


def in_words(value: Prices | Limits | TouCalendar) -> str:
    """Return what was read back, for people: names and values of what there is."""
    if isinstance(value, TouCalendar):
        pairs: Mapping[str, object] = calendar_arguments(value)
    else:
        pairs = {field.name: getattr(value, field.name) for field in fields(value)}
    return ", ".join(f"{name} {text}" for name, text in pairs.items() if text is not None)


def _expect_keys(arguments: Mapping[str, str], names: list[str]) -> None:
    if unknown := [name for name in arguments if name not in names]:
        raise SettingsError(f"unknown {', '.join(unknown)}; expected {', '.join(names)}")


def _amount(name: str, text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise SettingsError(f"{name}: {text!r} is no number") from None
    if not amount.is_finite() or amount < 0:
        raise SettingsError(f"{name}: {text} is not a number from 0 up")
    return amount


def _season(item: str, tables: int) -> SeasonStart:
    try:
        day, table = item.split("=")
        month, day_of_month = day.split("-")
        season = SeasonStart(int(month), int(day_of_month), int(table))
    except ValueError:
        raise SettingsError(f"calendar: season {item!r}, expected MM-DD=table") from None
    if not (1 <= season.month <= 12 and 1 <= season.day <= 31 and 0 <= season.table < tables):
        raise SettingsError(f"calendar: season {item!r} is out of range")
    return season


def _day_table(text: str) -> tuple[RateChange, ...]:
    changes = []
    for item in text.split(","):
        try:
            at, rate = item.split("=")
            changes.append(RateChange(time.fromisoformat(at), Rate(rate)))
        except ValueError:
            raise SettingsError(f"calendar: {item!r}, expected HH:MM=rate") from None
    starts = [change.at for change in changes]
    if starts[0] != time(0) or starts != sorted(set(starts)):
        raise SettingsError(f"calendar: times of {text!r} must start at 00:00 and rise")
    return tuple(changes)
