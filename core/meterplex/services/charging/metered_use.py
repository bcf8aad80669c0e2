"""What a usage point used between two times, by its readings, if that is known throughout."""

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Final

from meterplex.db import UnitOfWork
from meterplex.domain.estate import UsagePoint
from meterplex.services.books.errors import MoneyConflictError
from meterplex.services.tariffs.backtest_use import NoUseError, Window, read_use

STEP: Final = Decimal("0.001")
"""To what use at the edges, between two readings, is rounded."""


async def metered_units(
    uow: UnitOfWork, point: UsagePoint, start: datetime, end: datetime
) -> Decimal:
    """Return the units of the utility that a usage point used in ``[start, end)``.

    Use between two readings that enclose an edge is spread evenly over their time.

    Raises:
        MoneyConflictError: it had no meter throughout, or its readings leave gaps.
    """
    field = "usage_point"
    try:
        stored = await read_use(uow, point.organisation_id, point, Window(start, end, start))
    except NoUseError as error:
        raise MoneyConflictError(field, f"{point.code!r}: {error}") from error
    usage = stored.usage
    if stored.gaps:
        gap = stored.gaps[0]
        reason = f"{point.code!r}: {gap.reason} from {gap.start} to {gap.end}"
        raise MoneyConflictError(field, reason)
    first, last = usage.service or (start, end)
    if (first, last) != (start, end):
        raise MoneyConflictError(field, f"{point.code!r}: had a meter from {first} to {last} only")
    begin, finish = int(start.timestamp()), int(end.timestamp())
    total = Fraction()
    for since, until, steps in zip(
        usage.starts.tolist(), usage.ends.tolist(), usage.steps.tolist(), strict=True
    ):
        inside = min(until, finish) - max(since, begin)
        if inside > 0:
            total += Fraction(steps * inside, until - since)
    units = total / Fraction(10**usage.decimals)
    return (Decimal(units.numerator) / units.denominator).quantize(STEP, ROUND_HALF_EVEN)
