"""The calendar of a tariff: which band, prices and period are in force at which instant.

The wall clock of the tariff's time zone decides. Time is therefore cut into stretches of one UTC
offset; inside a stretch the wall clock is plain arithmetic, so a day of 23 or 25 hours, an hour
that never was and one that came twice need no rule of their own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, Final, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from meterplex.domain.tariff.version import (
    Block,
    DayType,
    Prices,
    Season,
    Slot,
    Span,
    TariffVersion,
)

Integers: TypeAlias = npt.NDArray[Any]
"""A column of integers: int64, or Python's own where a product could pass 64 bits."""

DAY_S: Final = 86_400
_EPOCH: Final = date(1970, 1, 1).toordinal()


class PriceTable(NamedTuple):
    """Blocks with their prices, in force in one or more seasons."""

    blocks: tuple[Block, ...]
    prices: Prices


class _Stretch(NamedTuple):
    """What is in force: indices of band and price table, numbers of the periods."""

    band: int
    table: int
    block_period: int
    billing_period: int


@dataclass(frozen=True, slots=True)
class Segments:
    """Consecutive half-open segments of time in each of which one thing is in force.

    Attributes:
        edges: UTC seconds, one more than there are segments.
        band: index into the tariff's bands; table: index into the calendar's tables.
        block_period: number that grows whenever the block counter starts again.
        billing_period: number of the bill.
        run: grows whenever the table or one of the periods changes.
    """

    edges: npt.NDArray[np.int64]
    band: npt.NDArray[np.int64]
    table: npt.NDArray[np.int64]
    block_period: npt.NDArray[np.int64]
    billing_period: npt.NDArray[np.int64]
    run: npt.NDArray[np.int64]


class TariffCalendar:
    """Answers what a sound tariff version says about instants, given as UTC seconds."""

    def __init__(self, tariff: TariffVersion) -> None:
        self.zone = ZoneInfo(tariff.time_zone)
        self._tariff = tariff
        self._seasons = sorted(tariff.seasons, key=lambda season: (season.month, season.day))
        tables = [self._table(season) for season in self._seasons]
        self.tables = tuple(dict.fromkeys(tables))
        self._table_of = [self.tables.index(table) for table in tables]
        self._days: dict[int, tuple[tuple[int, int, _Stretch], ...]] = {}

    def _table(self, season: Season) -> PriceTable:
        return PriceTable(self._tariff.blocks_of(season), self._tariff.prices_of(season))

    def local(self, instant: int) -> datetime:
        """Return an instant on the tariff's wall clock."""
        return datetime.fromtimestamp(instant, self.zone)

    def offset_s(self, instant: int) -> int:
        """Return how far the wall clock is ahead of UTC."""
        offset = self.local(instant).utcoffset()
        assert offset is not None
        return round(offset.total_seconds())

    def midnight(self, day: date) -> int:
        """Return the first instant of a local day."""
        return int(datetime.combine(day, time.min, self.zone).timestamp())

    def billing_period(self, instant: int) -> int:
        """Return the number of the billing period of an instant."""
        return _number(self.local(instant).date(), self._tariff.billing_span)

    def billing_start(self, number: int) -> int:
        """Return the first instant of a billing period."""
        if self._tariff.billing_span is Span.YEAR:
            return self.midnight(date(number, 1, 1))
        year, month = divmod(number, 12)
        return self.midnight(date(year, month + 1, 1))

    def segments(self, start: int, end: int) -> Segments:
        """Return the segments of ``[start, end)``, neighbours never alike."""
        edges: list[int] = []
        stretches: list[_Stretch] = []
        for edge, stretch in self._stretches(start, end):
            if not stretches or stretch != stretches[-1]:
                edges.append(edge)
                stretches.append(stretch)
        edges.append(end)
        columns = np.array(stretches, dtype=np.int64).reshape(-1, len(_Stretch._fields)).T
        band, table, block_period, billing_period = columns
        run = np.zeros(len(stretches), dtype=np.int64)
        run[1:] = np.cumsum((columns[1:, 1:] != columns[1:, :-1]).any(axis=0))
        return Segments(
            np.array(edges, dtype=np.int64), band, table, block_period, billing_period, run
        )

    def _stretches(self, start: int, end: int) -> Iterator[tuple[int, _Stretch]]:
        for begin, until, offset in self._offsets(start, end):
            for day in range((begin + offset) // DAY_S, (until - 1 + offset) // DAY_S + 1):
                midnight = day * DAY_S - offset
                for slot_from, slot_to, stretch in self._plan(day):
                    first = max(begin, midnight + slot_from)
                    if first < min(until, midnight + slot_to):
                        yield first, stretch

    def _offsets(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield stretches of one UTC offset: begin, end, offset.

        Looks once a day: no zone changes there and back within one.
        """
        begin, probed, offset = start, start, self.offset_s(start)
        for probe in (*range(start + DAY_S, end, DAY_S), end):
            if self.offset_s(probe) != offset:
                change = self._change(probed, probe)
                yield begin, change, offset
                begin, offset = change, self.offset_s(change)
            probed = probe
        if begin < end:
            yield begin, end, offset

    def _change(self, before: int, after: int) -> int:
        """Return the first instant with the offset of ``after``, by bisection."""
        offset = self.offset_s(after)
        while after - before > 1:
            middle = (before + after) // 2
            if self.offset_s(middle) == offset:
                after = middle
            else:
                before = middle
        return after

    def _plan(self, number: int) -> tuple[tuple[int, int, _Stretch], ...]:
        """Return what is in force on a local day, counted from 1970: from, to (seconds), what."""
        known = self._days.get(number)
        if known is None:
            known = self._days[number] = tuple(self._slots(date.fromordinal(_EPOCH + number)))
        return known

    def _slots(self, day: date) -> Iterator[tuple[int, int, _Stretch]]:
        index = self._season_index(day)
        day_type = self._tariff.holidays.day_type(day)
        slots = _slots_of(self._seasons[index], day_type)
        block_period = _number(day, self._tariff.block_span)
        billing_period = _number(day, self._tariff.billing_span)
        starts = [slot.at.hour * 3600 + slot.at.minute * 60 + slot.at.second for slot in slots]
        for slot, start, end in zip(slots, starts, (*starts[1:], DAY_S), strict=True):
            band = self._tariff.bands.index(slot.band)
            yield (
                start,
                end,
                _Stretch(band, self._table_of[index], block_period, billing_period),
            )

    def _season_index(self, day: date) -> int:
        """Return the last season that began by the day; before the first it is last year's last."""
        begun = sum((season.month, season.day) <= (day.month, day.day) for season in self._seasons)
        return begun - 1 if begun else len(self._seasons) - 1


def _slots_of(season: Season, day_type: DayType) -> tuple[Slot, ...]:
    return next(plan.slots for plan in season.days if day_type in plan.types)


def _number(day: date, span: Span) -> int:
    return day.year if span is Span.YEAR else day.year * 12 + day.month - 1
