"""What usage points have used, from the stored good readings of their main counters.

Readings are judged as charging judges them: a counter that rolled over goes on; one that fell, or
rose faster than anything can flow, is not believed, and that stretch is left out and named, as is
time that no two readings enclose. An interval that reaches over the edge of
the time in question is kept whole: the engine cuts it there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from meterplex.db import UnitOfWork
from meterplex.domain.charged_registers import MAIN_COUNTERS
from meterplex.domain.charging import CounterLimits, Held, Shown, recognise
from meterplex.domain.estate import Binding, OrganisationId, UsagePoint
from meterplex.domain.readings import Reading, ReadingQuality
from meterplex.domain.registers import REACTIVE_ENERGY_IMPORT, RegisterType
from meterplex.domain.tariff import Interval, Usage, UsageError

AROUND: Final = (timedelta(days=2), timedelta(days=62))
"""How far outside the time in question a reading may lie to tell what was used at its edge; the
second where the first is not enough, as with meters that are read by hand."""

GAP_MAX: Final = timedelta(days=366)
"""Longest time between two readings. Far longer than charging allows: no money moves here, and a
use that is spread evenly is nearer to the truth, for block counters above all, than none."""

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
    reactive: dict[datetime, Decimal] = {}
    if window.reactive:
        measured = await _good_readings(uow, binding, REACTIVE_ENERGY_IMPORT, window)
        reactive = {reading.read_at: reading.value for reading in measured}
    readings = await _good_readings(uow, binding, register, window)
    _tile(readings, reactive, binding.ct * binding.pt, found)


async def _good_readings(
    uow: UnitOfWork, binding: Binding, register: RegisterType, window: Window
) -> list[Reading]:
    """Return the good readings of a binding in the window, and as far around it as is needed."""
    first = max(binding.since, window.counted_from)
    last = window.end if binding.until is None else min(binding.until, window.end)
    readings: list[Reading] = []
    for around in AROUND:
        until = window.end + around
        if binding.until is not None:
            until = min(until, binding.until)
        history = await uow.readings.history(
            binding.organisation_id,
            binding.meter_id,
            register,
            max(binding.since, window.counted_from - around),
            until + timedelta(microseconds=1),  # the last one belongs
        )
        readings = [each for each in history if each.quality is ReadingQuality.GOOD]
        if readings and readings[0].read_at <= first and readings[-1].read_at >= last:
            break
    return readings


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
        limits = CounterLimits.of(now.register, gap_max=GAP_MAX)
        verdict = recognise(_shown(before), _shown(now), limits)
        if isinstance(verdict, Held):
            found.doubts.append(Gap(start, end, verdict.detail))
        else:
            lagging = _rise(reactive, before.read_at, now.read_at)
            units = now.register.from_steps(verdict.used) * ratio
            found.intervals.append(
                Interval(start, end, units, None if lagging is None else lagging * ratio)
            )
        before = now


def _shown(reading: Reading) -> Shown:
    return Shown(reading.read_at, reading.register.to_steps(reading.value))


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
