"""From tiles to use: accepted readings as the intervals that are rated."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from meterplex.domain.charging import Point, Shown
from meterplex.domain.registers import RegisterType
from meterplex.domain.tariff import Span, TariffVersion, Usage, UsageError
from meterplex.domain.tariff.usage import DECIMALS_MAX


@dataclass(frozen=True, slots=True)
class UnitScale:
    """What a step of a register is in primary units, after ct and pt.

    Attributes:
        factor: and ``decimals``: a step is ``factor * 10 ** -decimals`` units.
    """

    factor: int
    decimals: int

    @classmethod
    def of(cls, register: RegisterType, ct: Decimal, pt: Decimal) -> "UnitScale":
        """Return the scale of a register behind transformers.

        Raises:
            UsageError: a step has more decimals than can be rated.
        """
        step = (register.resolution * ct * pt).normalize()
        exponent = step.as_tuple().exponent
        assert isinstance(exponent, int), "ratios are finite"
        decimals = max(0, -exponent)
        if decimals > DECIMALS_MAX:
            raise UsageError(f"a step of {step} has more than {DECIMALS_MAX} decimals")
        return cls(int(step.scaleb(decimals)), decimals)

    def units(self, steps: int) -> Decimal:
        """Return steps as units."""
        return Decimal(steps * self.factor).scaleb(-self.decimals)


def whole_second(at: datetime) -> datetime:
    """Return the second that a time lies in: readings count from there."""
    return at.replace(microsecond=0)


def usage_of(
    start: Shown,
    points: Sequence[Point],
    scale: UnitScale,
    service: tuple[datetime, datetime],
    reactive: Sequence[int] | None = None,
) -> Usage:
    """Return the use between points, the first after ``start``.

    Args:
        service: what is billed of it.
        reactive: steps of kvarh used up to each point, of the same register resolution; None
            where not measured.
    """
    edges = np.array(
        [int(start.at.timestamp()), *(int(point.at.timestamp()) for point in points)], np.int64
    )
    return Usage(
        starts=edges[:-1],
        ends=edges[1:],
        steps=np.array([point.used * scale.factor for point in points], np.int64),
        decimals=scale.decimals,
        reactive_steps=None
        if reactive is None
        else np.array([steps * scale.factor for steps in reactive], np.int64),
        service=service,
    )


def reactive_use(
    start: Shown, points: Sequence[Point], readings: Sequence[Shown]
) -> list[int] | None:
    """Return the reactive steps used up to each point; None where they were never measured.

    What was measured at no point counts for the next one that has it; a counter that falls gives
    nothing.
    """
    counts = {each.at: each.count for each in readings}
    last = counts.get(start.at)
    used = []
    seen = False
    for point in points:
        count = counts.get(point.at)
        used.append(0 if count is None or last is None else max(count - last, 0))
        seen |= count is not None and last is not None
        last = last if count is None else count
    return used if seen else None


def span_start(tariff: TariffVersion, span: Span, at: datetime) -> datetime:
    """Return when the month or year of a tariff's calendar began in which a time lies."""
    return _span_start(tariff.time_zone, span, at.astimezone(UTC))


@lru_cache(maxsize=1024)
def _span_start(time_zone: str, span: Span, at: datetime) -> datetime:
    """Return it; readings of many meters are of the same times."""
    zone = ZoneInfo(time_zone)
    first = at.astimezone(zone).date().replace(day=1)
    if span is Span.YEAR:
        first = first.replace(month=1)
    return datetime.combine(first, time.min, zone)
