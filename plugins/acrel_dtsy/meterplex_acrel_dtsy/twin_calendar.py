"""The time-of-use calendar of a twin, kept as the bytes of its registers (sheet section 6)."""

from datetime import datetime
from typing import Final

_MONTH_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_VALLEY, _FLAT, _PEAK, _SHARP = 4, 3, 2, 1

PLAN_LENGTH: Final = 12
TABLE_LENGTH: Final = 42

_WINTER: Final = (
    *((0, _VALLEY), (7, _FLAT), (10, _PEAK), (12, _FLAT), (17, _PEAK)),
    *((19, _SHARP), (21, _FLAT), (23, _VALLEY)),
)
_SUMMER: Final = (
    *((0, _VALLEY), (8, _FLAT), (11, _PEAK), (13, _SHARP), (15, _PEAK)),
    *((17, _FLAT), (18, _PEAK), (22, _FLAT), (23, _VALLEY)),
)
_SEASONS: Final = ((1, 1), (2, 6), (1, 10))
"""Day table and the month on whose first day it begins."""


def _table(changes: tuple[tuple[int, int], ...]) -> bytes:
    packed = b"".join(bytes((rate, 0, hour)) for hour, rate in changes)
    return packed.ljust(TABLE_LENGTH, b"\0")


def _triples(packed: bytes) -> list[bytes]:
    """Return the used entries: trailing ones of three zeros are unused."""
    entries = [packed[at : at + 3] for at in range(0, len(packed), 3)]
    while entries and not any(entries[-1]):
        entries.pop()
    return entries


class TwinCalendar:
    """Date plan and two day tables.

    ========== =====================================================================
    plan       4 x {table, day, month}, or {month, day, table}: the sources disagree
    day table  14 x {rate, minute, hour}, rate 1 sharp, 2 peak, 3 flat, 4 valley
    ========== =====================================================================

    A table applies from its date on, a rate from its time on, and the last one goes on over the
    end of the year or day (guess: the sheet gives the layout only). Days are split once and kept.
    """

    def __init__(self, *, months_first: bool) -> None:
        self._months_first = months_first
        plan = b"".join(self._entry(table, 1, month) for table, month in _SEASONS)
        self._packed = plan.ljust(PLAN_LENGTH, b"\0") + _table(_WINTER) + _table(_SUMMER)
        self._split()

    @property
    def packed(self) -> bytes:
        """Plan, day table 1, day table 2: 12 + 42 + 42 bytes."""
        return self._packed

    def rate_at(self, clock: datetime) -> int:
        """Return the rate of a moment of the meter's own clock, 0 sharp to 3 valley."""
        today = clock.month, clock.day
        table = self._plan[-1][1]
        for start, index in self._plan:
            if start > today:
                break
            table = index
        minute = clock.hour * 60 + clock.minute
        changes = self._days[table]
        rate = changes[-1][1]
        for at, new in changes:
            if at > minute:
                break
            rate = new
        return rate

    def replace(self, offset: int, data: bytes) -> bool:
        """Put bytes at an offset of ``packed``; returns False, and changes nothing, if invalid."""
        packed = self._packed[:offset] + data + self._packed[offset + len(data) :]
        plan = _triples(packed[:PLAN_LENGTH])
        tables = (
            _triples(packed[PLAN_LENGTH : PLAN_LENGTH + TABLE_LENGTH]),
            _triples(packed[PLAN_LENGTH + TABLE_LENGTH :]),
        )
        seasons = [self._season(entry) for entry in plan]
        if not plan or not all(
            table in (1, 2) and 1 <= month <= 12 and 1 <= day <= _MONTH_DAYS[month - 1]
            for table, month, day in seasons
        ):
            return False
        if not all(
            table
            and all(1 <= rate <= 4 and minute < 60 and hour < 24 for rate, minute, hour in table)
            for table in tables
        ):
            return False
        self._packed = packed
        self._split()
        return True

    def _entry(self, table: int, day: int, month: int) -> bytes:
        return bytes((month, day, table) if self._months_first else (table, day, month))

    def _season(self, entry: bytes) -> tuple[int, int, int]:
        """Return table, month, day of one plan entry."""
        first, day, last = entry
        return (last, first, day) if self._months_first else (first, last, day)

    def _split(self) -> None:
        seasons = (self._season(entry) for entry in _triples(self._packed[:PLAN_LENGTH]))
        self._plan = sorted(((month, day), table - 1) for table, month, day in seasons)
        self._days = [
            sorted((hour * 60 + minute, rate - 1) for rate, minute, hour in _triples(packed))
            for packed in (
                self._packed[PLAN_LENGTH : PLAN_LENGTH + TABLE_LENGTH],
                self._packed[PLAN_LENGTH + TABLE_LENGTH :],
            )
        ]
