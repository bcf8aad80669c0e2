"""Sound tariffs and use in few words, for tests to vary with ``replace``."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from meterplex.domain.money import Rounding
from meterplex.domain.registers import ELECTRICITY
from meterplex.domain.tariff import (
    Bill,
    Block,
    BlockAllocation,
    DayPlan,
    DayType,
    Interval,
    Rater,
    Season,
    Slot,
    Span,
    TariffVersion,
    Usage,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")
EVERY_DAY = tuple(DayType)


def slots(**bands: str) -> tuple[Slot, ...]:
    """``slots(at_0000="valley", at_0600="peak")``."""
    return tuple(
        Slot(time(int(key[3:5]), int(key[5:])), band) for key, band in sorted(bands.items())
    )


def one_season(*plan: Slot) -> tuple[Season, ...]:
    return (Season("all year", 1, 1, (DayPlan(EVERY_DAY, plan),)),)


def decimals(*rows: str) -> tuple[tuple[Decimal, ...], ...]:
    return tuple(tuple(Decimal(cell) for cell in row.split()) for row in rows)


def blocks(*limits: str) -> tuple[Block, ...]:
    limited = [Block(f"block {n}", Decimal(limit)) for n, limit in enumerate(limits, start=1)]
    return (*limited, Block(f"block {len(limits) + 1}"))


FLAT = TariffVersion(
    id="flat",
    version=1,
    utility=ELECTRICITY,
    currency="CNY",
    time_zone="Asia/Shanghai",
    valid_from=date(2026, 1, 1),
    rounding=Rounding.HALF_UP,
    block_span=Span.MONTH,
    billing_span=Span.MONTH,
    block_allocation=BlockAllocation.CHRONOLOGICAL,
    bands=("all",),
    seasons=one_season(*slots(at_0000="all")),
    blocks=blocks(),
    prices=decimals("0.5000"),
)
"""One price."""


def at(text: str, zone: ZoneInfo = SHANGHAI) -> datetime:
    """``at("2026-07-01 06:30")`` on the wall clock of a zone."""
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def used(start: str, end: str, units: str, reactive: str | None = None) -> Interval:
    return Interval(
        at(start), at(end), Decimal(units), None if reactive is None else Decimal(reactive)
    )


def month_of(units: str, first: str = "2026-07-01", last: str = "2026-08-01") -> Interval:
    return used(first, last, units)


def rate(tariff: TariffVersion, *intervals: Interval) -> tuple[Bill, ...]:
    return Rater(tariff).rate(Usage.of(intervals)).bills


def only_bill(tariff: TariffVersion, *intervals: Interval) -> Bill:
    (bill,) = rate(tariff, *intervals)
    return bill


def amounts(bill: Bill) -> list[tuple[str, ...]]:
    """The lines of a bill as component, block, band, units, amount in ledger units."""
    return [
        (line.component, line.block, line.band, str(line.units), str(line.amount_units))
        for line in bill.lines
    ]


def evenly(start: datetime, length: timedelta, units: Sequence[Decimal]) -> list[Interval]:
    return [Interval(start + n * length, start + (n + 1) * length, u) for n, u in enumerate(units)]


def total_of(bill: Bill) -> Fraction:
    return Fraction(bill.total_units, 10_000)
