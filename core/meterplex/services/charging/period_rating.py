"""What the billing periods of counters come to, and what that adds to what was charged before."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final, TypeAlias

from meterplex.domain.charged_use import reactive_use, span_start, usage_of, whole_second
from meterplex.domain.charges import TariffVersionId
from meterplex.domain.charging import Point, Shown, Tiling, tile
from meterplex.domain.tariff import (
    Bill,
    ChargeLine,
    ComponentError,
    Rating,
    Usage,
    UsageError,
    charges_since,
)
from meterplex.services.charging.charged_counters import Counter
from meterplex.services.tariffs.book import TariffSpan

_MICROSECOND: Final = timedelta(microseconds=1)

PeriodKey: TypeAlias = tuple[TariffVersionId, datetime]
"""A tariff version and the start of a billing period under it, in UTC."""

MutableLines: TypeAlias = dict[PeriodKey, tuple[ChargeLine, ...]]
Lines: TypeAlias = Mapping[PeriodKey, tuple[ChargeLine, ...]]


@dataclass(slots=True)
class Plan:
    """The tiles of a counter, and the periods that are rated again because of them.

    Attributes:
        full: tiles of all readings.
        past: of those not after what is charged; None when nothing there may have changed.
        begin: the accepted reading before anything that may have changed.
        since: where rating begins: the start of that reading's billing period.
        rated: lines by period of ``full``, then of ``past``.
        problem: why it cannot be rated; empty when it can.
    """

    counter: Counter
    full: Tiling
    past: Tiling | None
    begin: Shown
    since: datetime
    rated: tuple[MutableLines, MutableLines] = field(default_factory=lambda: ({}, {}))
    problem: str = ""

    @property
    def last(self) -> Point | None:
        """The last accepted reading after the start; None when there is none."""
        return self.full.points[-1] if self.full.points else None

    @property
    def grows(self) -> bool:
        """Whether there is a tile after what is charged."""
        return self.last is not None and self.last.at > self.counter.until


def plan(counter: Counter) -> Plan | None:
    """Return what is to be rated of a counter; None when nothing is and nothing is held."""
    shown = [Shown(each.at, each.count, each.quality) for each in counter.readings]
    full = tile(counter.start, shown, counter.limits, counter.decisions)
    if counter.changed_since is None:
        grows = full.points and full.points[-1].at > counter.until
        if not grows and full.hold is None and not counter.holds:
            return None
        begin = _last_sure(counter.start, full.points, counter.until)
        return Plan(counter, full, None, begin, _rate_from(counter, begin))
    earlier = [each for each in shown if each.at <= counter.until]
    past = tile(counter.start, earlier, counter.limits, counter.decisions)
    unchanged = counter.changed_since - _MICROSECOND
    begin = min(
        (_last_sure(counter.start, tiling.points, unchanged) for tiling in (full, past)),
        key=lambda shown: shown.at,
    )
    return Plan(counter, full, past, begin, _rate_from(counter, begin))


def _last_sure(start: Shown, points: Iterable[Point], until: datetime) -> Shown:
    """Return the last accepted reading that nothing after ``until`` can change."""
    sure = [point for point in points if point.sure and point.at <= until]
    return Shown(sure[-1].at, sure[-1].count) if sure else start


def _rate_from(counter: Counter, begin: Shown) -> datetime:
    """Return the start of the billing period in which a reading lies, or of the binding."""
    spans = counter.spans
    span = next((each for each in reversed(spans) if each.start <= begin.at), spans[0])
    start = span_start(span.tariff, span.tariff.billing_span, begin.at)
    return max(start, whole_second(counter.binding.since)).astimezone(UTC)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One use under one version; ``slot`` says of which tiles of the plan."""

    plan: Plan
    slot: int
    usage: Usage


def rate(plans: Iterable[Plan]) -> None:
    """Rate the periods of many counters, all of a tariff version together.

    What cannot be rated says why in ``Plan.problem``.
    """
    jobs: dict[TariffSpan, list[_Job]] = defaultdict(list)
    for each in plans:
        try:
            for slot, tiling in enumerate((each.full, each.past)):
                if tiling is not None:
                    for span, usage in _usages(each, tiling):
                        jobs[span].append(_Job(each, slot, usage))
        except UsageError as error:
            each.problem = str(error)
    for span, of_span in jobs.items():
        for job, rating in zip(of_span, _rate_many(span, of_span), strict=True):
            if rating is not None:
                for bill in rating.bills:
                    key = span.id, bill.start.astimezone(UTC)
                    job.plan.rated[job.slot][key] = bill.lines


def _usages(each: Plan, tiling: Tiling) -> Iterable[tuple[TariffSpan, Usage]]:
    """Yield the use under each version in force.

    Raises:
        UsageError: some of it is under none.
    """
    counter, points = each.counter, tiling.points
    if not points:
        return
    end = whole_second(points[-1].at)
    if end <= each.since:
        return
    if each.since < counter.spans[0].start:
        raise UsageError(
            f"the first version of tariff {counter.spans[0].tariff.id} is valid from "
            f"{counter.spans[0].tariff.valid_from}"
        )
    for span in counter.spans:
        service = max(each.since, span.start), min(end, span.end)
        if service[0] < service[1]:
            reactive = None
            if span.tariff.power_factor is not None:
                reactive = reactive_use(counter.start, points, counter.reactive)
            yield span, usage_of(counter.start, points, counter.scale, service, reactive)


def _rate_many(span: TariffSpan, jobs: Sequence[_Job]) -> Sequence[Rating | None]:
    try:
        return span.rater.rate_many([job.usage for job in jobs])
    except (UsageError, ComponentError):
        return [_rate_one(span, job) for job in jobs]


def _rate_one(span: TariffSpan, job: _Job) -> Rating | None:
    try:
        return span.rater.rate(job.usage)
    except (UsageError, ComponentError) as error:
        job.plan.problem = str(error)
        return None


def added(before: Lines, after: Lines) -> MutableLines:
    """Return what periods add to the lines that they had, in order of time; nothing is left out.

    A period that is no more gives back all that it had.
    """
    changes = {}
    for key in sorted(before.keys() | after.keys(), key=lambda key: (key[1], key[0])):
        lines = charges_since(before.get(key, ()), _bill(key[1], after.get(key, ())))
        if lines:
            changes[key] = lines
    return changes


def _bill(start: datetime, lines: tuple[ChargeLine, ...]) -> Bill:
    """Return lines as the bill that ``charges_since`` looks at the lines of."""
    end = max((line.end for line in lines), default=start)
    total = sum(line.amount_units for line in lines)
    return Bill(start, end, Fraction(0), lines, total, 0)
