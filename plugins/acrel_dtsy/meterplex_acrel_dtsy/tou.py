"""Time-of-use calendar in the meter: a date plan and two day tables (DBG, EMS).

::

    date plan   6 registers    4 x {month, day, table} or 4 x {table, day, month}
    day table  21 registers   14 x {rate, minute, hour}; the rate holds from that time on (guess)

Entries of zeros are unused. Which way round a date plan runs differs between the two sources;
:func:`date_plan_order` tells it from the plan that a meter holds.
"""

from collections.abc import Iterator
from datetime import time
from enum import StrEnum
from typing import Final

from meterplex.protocols.errors import EncodeError, ProtocolError
from meterplex.sdk import Rate, RateChange, SeasonStart, TouCalendar

DATE_PLAN_REGISTERS: Final = 6
DAY_TABLE_REGISTERS: Final = 21
DAY_TABLES: Final = 2
_SEASONS_MAX: Final = 4
_CHANGES_MAX: Final = 14

_RATE_CODES: Final = {
    Rate.SHARP: 1,
    Rate.PEAK: 2,
    Rate.FLAT: 3,
    Rate.VALLEY: 4,
    Rate.DEEP_VALLEY: 5,
}
_RATES: Final = {code: rate for rate, code in _RATE_CODES.items()}
_DAYS_MAX: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class DatePlanOrder(StrEnum):
    """Order of the three bytes of a date plan entry."""

    MONTH_DAY_TABLE = "month_day_table"
    TABLE_DAY_MONTH = "table_day_month"


def date_plan_order(plan: bytes, default: DatePlanOrder) -> DatePlanOrder:
    """Return the only order in which a plan gives dates and tables that exist, else the default.

    A plan fits both orders when every month and table is 1 or 2, and when it is empty.
    """
    fitting = [order for order in DatePlanOrder if _fits(plan, order)]
    return fitting[0] if len(fitting) == 1 else default


def decode_calendar(
    plan: bytes, day_tables: tuple[bytes, ...], order: DatePlanOrder
) -> TouCalendar:
    """Read a calendar from the bytes of its date plan and day tables.

    Day tables behind the last one that a season names are not part of it, whatever they hold.

    Raises:
        ProtocolError: a date, table, rate or time that does not exist, or a season of a table
            without changes.
    """
    if not _fits(plan, order):
        raise ProtocolError(f"date plan {plan.hex(' ').upper()}: no dates and tables as {order}")
    seasons = sorted(_seasons(plan, order), key=lambda season: (season.month, season.day))
    used = max((season.table + 1 for season in seasons), default=0)
    tables = tuple(_decode_day_table(table) for table in day_tables[:used])
    for season in seasons:
        if not tables[season.table]:
            raise ProtocolError(
                f"date plan {plan.hex(' ').upper()}: day table {season.table + 1} is empty"
            )
    return TouCalendar(tuple(seasons), tables)


def encode_date_plan(calendar: TouCalendar, order: DatePlanOrder) -> bytes:
    """Return the 12 bytes of the date plan.

    Raises:
        EncodeError: no season or more than 4, a date that does not exist, a table not given, or
            seasons out of order.
    """
    seasons = calendar.seasons
    if not 1 <= len(seasons) <= _SEASONS_MAX:
        raise EncodeError(f"calendar: {len(seasons)} seasons, the meter holds 1 to {_SEASONS_MAX}")
    dates = [(season.month, season.day) for season in seasons]
    if dates != sorted(set(dates)):
        raise EncodeError("calendar: seasons must be in order of month and day")
    entries = bytearray()
    for season in seasons:
        if not (
            _is_date(season.month, season.day) and 0 <= season.table < len(calendar.day_tables)
        ):
            raise EncodeError(f"calendar: {season} has no such date or day table")
        entry = (season.month, season.day, season.table + 1)
        entries += bytes(entry if order is DatePlanOrder.MONTH_DAY_TABLE else reversed(entry))
    return bytes(entries.ljust(DATE_PLAN_REGISTERS * 2, b"\0"))


def encode_day_tables(calendar: TouCalendar) -> tuple[bytes, ...]:
    """Return the 42 bytes of each day table given; the meter's others are left as they are.

    Raises:
        EncodeError: no table or more than 2, a last one that no season names, no change or more
            than 14 in one, changes that do not start at 00:00 or do not rise, or a time with
            seconds.
    """
    tables = calendar.day_tables
    if not 1 <= len(tables) <= DAY_TABLES:
        raise EncodeError(f"calendar: {len(tables)} day tables, the meter holds 1 to {DAY_TABLES}")
    if max((season.table + 1 for season in calendar.seasons), default=0) < len(tables):
        raise EncodeError(f"calendar: day table {len(tables)} is named by no season")
    return tuple(_encode_day_table(table) for table in tables)


def _fits(plan: bytes, order: DatePlanOrder) -> bool:
    return all(
        _is_date(season.month, season.day) and 0 <= season.table < DAY_TABLES
        for season in _seasons(plan, order)
    )


def _seasons(plan: bytes, order: DatePlanOrder) -> Iterator[SeasonStart]:
    for first, day, last in _entries(plan):
        month, table = (first, last) if order is DatePlanOrder.MONTH_DAY_TABLE else (last, first)
        yield SeasonStart(month, day, table - 1)


def _entries(data: bytes) -> Iterator[tuple[int, int, int]]:
    for start in range(0, len(data), 3):
        entry = data[start], data[start + 1], data[start + 2]
        if any(entry):
            yield entry


def _is_date(month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= _DAYS_MAX[month - 1]


def _decode_day_table(table: bytes) -> tuple[RateChange, ...]:
    try:
        changes = sorted(
            (
                RateChange(time(hour, minute), _RATES[code])
                for code, minute, hour in _entries(table)
            ),
            key=lambda change: change.at,
        )
    except (KeyError, ValueError) as error:
        raise ProtocolError(
            f"day table {table.hex(' ').upper()}: no such rate or time: {error}"
        ) from error
    if changes and changes[0].at != time(0):
        # A day that does not begin at midnight goes on in the rate of the evening before (guess).
        changes.insert(0, RateChange(time(0), changes[-1].rate))
    return tuple(changes)


def _encode_day_table(table: tuple[RateChange, ...]) -> bytes:
    if not 1 <= len(table) <= _CHANGES_MAX:
        raise EncodeError(f"calendar: {len(table)} changes in a day, expected 1 to {_CHANGES_MAX}")
    times = [change.at for change in table]
    if times[0] != time(0) or times != sorted(set(times)):
        raise EncodeError("calendar: the changes of a day must begin at 00:00 and rise")
    if any(at.second or at.microsecond for at in times):
        raise EncodeError("calendar: the meter changes rates on whole minutes")
    entries = b"".join(
        bytes((_RATE_CODES[change.rate], change.at.minute, change.at.hour)) for change in table
    )
    return entries.ljust(DAY_TABLE_REGISTERS * 2, b"\0")
