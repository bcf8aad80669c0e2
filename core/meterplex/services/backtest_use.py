"""What usage points have used, from the stored good readings of their main counters.

A counter that fell, or rose faster than anything can flow, is not believed: that stretch is left
out and named, as is time that no two readings enclose. An interval that reaches over the edge of
the time in question is kept whole: the engine cuts it there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from meterplex.db import UnitOfWork
from meterplex.domain.estate import Binding, OrganisationId, UsagePoint
from meterplex.domain.plausibility import CounterReading, doubt
from meterplex.domain.readings import Reading, ReadingQuality
from meterplex.domain.registers import (
    ACTIVE_ENERGY_IMPORT,
    ELECTRICITY,
    GAS,
    GAS_VOLUME,
    HEAT,
    HEAT_ENERGY,
    REACTIVE_ENERGY_IMPORT,
    WATER,
    WATER_VOLUME,
    RegisterType,
    Utility,
)
from meterplex.domain.tariff import Interval, Usage, UsageError

MAIN_COUNTERS: Final[Mapping[Utility, RegisterType]] = {
    ELECTRICITY: ACTIVE_ENERGY_IMPORT,
    WATER: WATER_VOLUME,
    GAS: GAS_VOLUME,
    HEAT: HEAT_ENERGY,
}
"""The register that each utility is charged by."""

AROUND: Final = timedelta(days=2)
"""How far outside the time in question a reading may lie to tell what was used at its edge."""

NO_READINGS: Final = "no good readings"


@dataclass(frozen=True, slots=True)
class Window:
    """The time in question.

    Attributes:
        counted_from: where block counters begin that reach into it.
        reactive: whether reactive energy is wanted too.
    """

    start: datetime
    end: datetime
    counted_from: datetime
    reactive: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """Time of a usage point that could not be rated, and why."""

    start: datetime
    end: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class StoredUse:
    """What one usage point used.

    Attributes:
        usage: billed is the part of the window in which the point had a meter.
        gaps: in that part.
        reactive_missing: reactive energy was wanted and is not there throughout.
    """

    usage_point: str
    usage: Usage
    gaps: tuple[Gap, ...] = ()
    reactive_missing: bool = False


class NoUseError(Exception):
    """A usage point that has nothing to rate in a window; the text says why."""


@dataclass(slots=True)
class _Found:
    """Intervals of a usage point, and the stretches between readings that are not believed."""

    intervals: list[Interval] = field(default_factory=list)
    doubts: list[Gap] = field(default_factory=list)


async def read_use(
    uow: UnitOfWork, organisation_id: OrganisationId, point: UsagePoint, window: Window
) -> StoredUse:
    """Return what a usage point used.

    Raises:
        NoUseError: it had no meter or no two good readings then, or units beyond all bounds.
    """
    bindings = [
        binding
        for binding in await uow.bindings.of_usage_point(organisation_id, point.id)
        if binding.since < window.end
        and (binding.until is None or binding.until > window.counted_from)
    ]
    service = _service(bindings, window)
    found = _Found()
    for binding in bindings:
        await _read_binding(uow, binding, MAIN_COUNTERS[point.utility], window, found)
    found.intervals.sort(key=lambda interval: interval.start)
    gaps = tuple(_gaps(found, *service))
    if sum((gap.end - gap.start for gap in gaps), timedelta()) == service[1] - service[0]:
        raise NoUseError("; ".join(sorted({gap.reason for gap in gaps})))
    lacking = any(interval.reactive_units is None for interval in found.intervals)
    if lacking:
        found.intervals = [replace(each, reactive_units=None) for each in found.intervals]
    try:
        usage = Usage.of(found.intervals, service=service)
    except UsageError as error:
        raise NoUseError(str(error)) from error
    return StoredUse(point.code, usage, gaps, window.reactive and lacking)


def _service(bindings: Sequence[Binding], window: Window) -> tuple[datetime, datetime]:
    """Return the part of the window from the first meter to the last."""
    start = max(window.start, min((each.since for each in bindings), default=window.end))
    ends = [window.end if each.until is None else each.until for each in bindings]
    end = min(window.end, max(ends, default=window.start))
    if start >= end:
        raise NoUseError("no meter in this time")
    return _to_second(start), _to_second(end)


async def _read_binding(
    uow: UnitOfWork, binding: Binding, register: RegisterType, window: Window, found: _Found
) -> None:
    since = max(binding.since, window.counted_from - AROUND)
    until = window.end + AROUND if binding.until is None else binding.until
    until = min(until, window.end + AROUND) + timedelta(microseconds=1)  # the last one belongs

    async def good(counter: RegisterType) -> list[Reading]:
        history = await uow.readings.history(
            binding.organisation_id, binding.meter_id, counter, since, until
        )
        return [reading for reading in history if reading.quality is ReadingQuality.GOOD]

    reactive = {
        reading.read_at: reading.value
        for reading in (await good(REACTIVE_ENERGY_IMPORT) if window.reactive else ())
    }
    _tile(await good(register), reactive, binding.ct * binding.pt, found)


def _tile(
    readings: Sequence[Reading],
    reactive: Mapping[datetime, Decimal],
    ratio: Decimal,
    found: _Found,
) -> None:
    """Turn readings into the intervals between them; those of one second are one."""
    before: Reading | None = None
    for now in readings:
        if before is None:
            before = now
            continue
        start, end = _to_second(before.read_at), _to_second(now.read_at)
        if start == end:
            continue
        reason = doubt(
            now.register,
            CounterReading(now.value, now.read_at),
            CounterReading(before.value, before.read_at),
        )
        if reason is None:
            lagging = _rise(reactive, before.read_at, now.read_at)
            found.intervals.append(
                Interval(
                    start,
                    end,
                    (now.value - before.value) * ratio,
                    None if lagging is None else lagging * ratio,
                )
            )
        else:
            found.doubts.append(Gap(start, end, reason))
        before = now


def _rise(values: Mapping[datetime, Decimal], before: datetime, now: datetime) -> Decimal | None:
    if before not in values or now not in values or values[now] < values[before]:
        return None
    return values[now] - values[before]


def _gaps(found: _Found, start: datetime, end: datetime) -> Iterator[Gap]:
    """Yield the stretches of a time that no interval covers."""
    known = [Gap(each.start, each.end, "") for each in found.intervals]
    reached = start
    for stretch in sorted((*known, *found.doubts), key=lambda each: each.start):
        if reached < min(stretch.start, end):
            yield Gap(reached, min(stretch.start, end), NO_READINGS)
        reached = max(reached, min(stretch.start, end))
        until = max(reached, min(stretch.end, end))
        if stretch.reason and reached < until:
            yield Gap(reached, until, stretch.reason)
        reached = until
    if reached < end:
        yield Gap(reached, end, NO_READINGS)


def _to_second(instant: datetime) -> datetime:
    return instant.replace(microsecond=0)
