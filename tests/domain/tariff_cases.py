"""Random tariffs and use from a seed: rich in edges, small enough for a million of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random

from tests.domain.tariff_oracle import OracleBill

from meterplex.domain.money import Rounding
from meterplex.domain.registers import ELECTRICITY, GAS, HEAT, WATER
from meterplex.domain.tariff import (
    BillSoFar,
    Block,
    BlockAllocation,
    Component,
    ComponentField,
    ComponentLine,
    ComponentSettings,
    DayPlan,
    DayType,
    Demand,
    FieldKind,
    Holidays,
    Interval,
    Minimum,
    PowerFactor,
    PowerFactorStep,
    Rating,
    Season,
    Slot,
    Span,
    Standing,
    Surcharge,
    TariffComponent,
    TariffVersion,
    Usage,
)

ZONES = (
    "Asia/Shanghai",
    "Asia/Shanghai",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Santiago",
)
MOMENTS = (
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2028, 2, 29, 12, tzinfo=UTC),
    datetime(2026, 6, 30, 16, tzinfo=UTC),
    datetime(2026, 12, 31, 16, tzinfo=UTC),
)
"""New years, month ends, clock changes, a leap day."""

LENGTHS_S = (900, 1800, 1800, 3600, 600, 1799, 1801, 7200, 21_600, 10_007)
LONG_S = (86_400, 86_399, 604_800)


@dataclass(frozen=True)
class Case:
    """Use to be rated, for the engine and for the oracle."""

    intervals: list[Interval]
    service: tuple[datetime, datetime] | None
    opening: Decimal

    @property
    def usage(self) -> Usage:
        return Usage.of(self.intervals, opening_units=self.opening, service=self.service)


def decimal(random: Random, most: int, decimals: int) -> Decimal:
    return Decimal(random.randint(0, most)).scaleb(-decimals)


def random_tariff(random: Random) -> TariffVersion:
    bands = tuple(f"band {n}" for n in range(random.choice((1, 1, 2, 2, 3, 5))))
    blocks = random_blocks(random)
    electric = random.random() < 0.6
    seasons = random_seasons(random, bands, blocks)
    tariff = TariffVersion(
        id="random",
        version=1,
        utility=ELECTRICITY if electric else random.choice((WATER, GAS, HEAT)),
        currency="CNY",
        time_zone=random.choice(ZONES),
        valid_from=date(2020, 1, 1),
        rounding=random.choice(tuple(Rounding)),
        block_span=random.choice((Span.MONTH, Span.YEAR)),
        billing_span=random.choice((Span.MONTH, Span.MONTH, Span.MONTH, Span.YEAR)),
        block_allocation=random.choice(tuple(BlockAllocation)),
        bands=bands,
        seasons=seasons,
        blocks=blocks,
        prices=random_prices(random, len(blocks), len(bands)),
        holidays=random_holidays(random),
        standing=tuple(
            Standing(
                f"standing {n}", random.choice((Span.DAY, Span.MONTH)), decimal(random, 9999, 2)
            )
            for n in range(random.choice((0, 1, 2)))
        ),
        demand=tuple(
            Demand(f"demand {n}", random.choice((15, 30)), decimal(random, 9999, 2))
            for n in range(random.choice((0, 0, 1, 2)) if electric else 0)
        ),
        power_factor=random_power_factor(random) if electric and random.random() < 0.3 else None,
        surcharges=random_surcharges(random),
        minimum=Minimum(Span.MONTH, decimal(random, 9999, 2)) if random.random() < 0.2 else None,
    )
    return with_components(random, tariff) if random.random() < 0.25 else tariff


def charge_drain(settings: ComponentSettings, bill: BillSoFar) -> Sequence[ComponentLine]:
    """Units above free ones, with a fee for each day: two lines that must be told apart."""
    price, free = settings.decimal("price"), settings.decimal("free_units")
    units = max(bill.units - bill.months * Fraction(free), Fraction(0))
    return (
        ComponentLine(units * Fraction(price), units, "m3", price, "drained"),
        ComponentLine(bill.days * Fraction(price) / 7, block="pipe"),
    )


def charge_dues(settings: ComponentSettings, bill: BillSoFar) -> Sequence[ComponentLine]:
    """A third of a percentage of all lines before it."""
    so_far = sum(line.amount_units for line in bill.lines)
    return (ComponentLine(Fraction(so_far * settings.integer("percent"), 3_000_000)),)


DRAIN = TariffComponent(
    kind="drain",
    title="Drain",
    fields=(
        ComponentField("price", FieldKind.DECIMAL, "per unit"),
        ComponentField("free_units", FieldKind.DECIMAL, "a month", Decimal(0)),
    ),
    charge=charge_drain,
    plugin="drains",
)
DUES = TariffComponent(
    kind="dues",
    title="Dues",
    fields=(ComponentField("percent", FieldKind.INTEGER, "of all before", 1),),
    charge=charge_dues,
    plugin="guild",
)
COMPONENTS = {"drain": DRAIN, "dues": DUES}


def drain(price: Decimal, free: Decimal = Decimal(0), name: str = "drain") -> Component:
    values = ComponentSettings((("price", price), ("free_units", free)))
    return Component(DRAIN, name, values)


def dues(percent: int, name: str = "dues") -> Component:
    return Component(DUES, name, ComponentSettings((("percent", percent),)))


def with_components(random: Random, tariff: TariffVersion) -> TariffVersion:
    """The tariff with components of plugins, on which its percentages are taken as well."""
    components = (
        drain(decimal(random, 9999, 4), decimal(random, 300, 1)),
        *([dues(random.randint(1, 30))] if random.random() < 0.5 else []),
    )
    surcharges = tuple(
        replace(each, applies_to=(*each.applies_to, random.choice(components).name))
        if each.percent is not None
        else each
        for each in tariff.surcharges
    )
    return replace(tariff, components=components, surcharges=surcharges)


def random_blocks(random: Random) -> tuple[Block, ...]:
    limits = sorted({random.randint(1, 4000) for _ in range(random.choice((0, 1, 2, 3)))})
    decimals = random.choice((0, 0, 1, 4))
    blocks = [
        Block(f"block {n}", Decimal(limit).scaleb(-decimals)) for n, limit in enumerate(limits)
    ]
    return (*blocks, Block(f"block {len(limits)}"))


def random_prices(random: Random, blocks: int, bands: int) -> tuple[tuple[Decimal, ...], ...]:
    return tuple(
        tuple(decimal(random, 9999, random.choice((4, 4, 6))) for _ in range(bands))
        for _ in range(blocks)
    )


def random_seasons(
    random: Random, bands: tuple[str, ...], blocks: tuple[Block, ...]
) -> tuple[Season, ...]:
    seasons: list[Season] = []
    for index in range(random.choice((1, 1, 2, 3))):
        first = date(2028, 1, 1) + timedelta(days=random.randrange(366))
        if random.random() < 0.3:
            first = random.choice((date(2028, 2, 29), date(2028, 7, 1), date(2028, 1, 1)))
        if any((each.month, each.day) == (first.month, first.day) for each in seasons):
            continue
        own = random_blocks(random) if random.random() < 0.4 else None
        prices = None
        if own is not None or random.random() < 0.3:
            prices = random_prices(random, len(own or blocks), len(bands))
        days = random_days(random, bands)
        seasons.append(Season(f"season {index}", first.month, first.day, days, own, prices))
    return tuple(seasons)


def random_days(random: Random, bands: tuple[str, ...]) -> tuple[DayPlan, ...]:
    types = list(DayType)
    random.shuffle(types)
    at = random.choice((0, 0, 1, 2, 3))
    return tuple(
        DayPlan(tuple(some), random_slots(random, bands))
        for some in (types[:at], types[at:])
        if some
    )


def random_slots(random: Random, bands: tuple[str, ...]) -> tuple[Slot, ...]:
    minutes = {0} | {
        random.choice((random.randrange(0, 1440, 30), random.randrange(1440), 120, 150, 180))
        for _ in range(random.choice((0, 1, 2, 4)))
    }
    return tuple(Slot(time(*divmod(at, 60)), random.choice(bands)) for at in sorted(minutes))


def random_holidays(random: Random) -> Holidays:
    moment = random.choice(MOMENTS).date()
    around = random.sample([moment + timedelta(days=n) for n in range(-3, 4)], 4)
    return Holidays(frozenset(around[:2]), frozenset(around[2:]))


def random_power_factor(random: Random) -> PowerFactor:
    table = [
        PowerFactorStep(Decimal("0.5"), Decimal("0.01"), below=Decimal("0.90")),
        PowerFactorStep(Decimal("1"), Decimal("0.01"), below=Decimal("0.70")),
        PowerFactorStep(
            Decimal("-0.15"), Decimal("0.01"), above=Decimal("0.90"), at_most=Decimal("-0.75")
        ),
    ]
    return PowerFactor(
        Decimal("0.90"), ("energy", "demand"), tuple(random.sample(table[:1], 1) + table[1:])
    )


def random_surcharges(random: Random) -> tuple[Surcharge, ...]:
    surcharges: list[Surcharge] = []
    for index in range(random.choice((0, 1, 2, 3))):
        name = f"surcharge {index}"
        if random.random() < 0.4:
            surcharges.append(Surcharge(name, per_unit=decimal(random, 500, 4)))
        else:
            before = ["energy", "standing", "demand", "power_factor", *(s.name for s in surcharges)]
            named = tuple(random.sample(before, random.randint(1, len(before))))
            percent = decimal(random, 2500, 2) - 5
            surcharges.append(Surcharge(name, percent=percent, applies_to=named))
    return tuple(surcharges)


def random_case(random: Random) -> Case:
    moment = random.choice(MOMENTS) + timedelta(minutes=random.choice((0, 0, -30, 7, -1441)))
    length = random.choice(LENGTHS_S if random.random() < 0.95 else LONG_S)
    count = random.choice((1, 2, 3, 5))
    start = moment - timedelta(seconds=length * random.randrange(count + 1))
    reactive = random.random() < 0.4
    steady = decimal(random, 50_000, 3)
    intervals = []
    for _ in range(count):
        if random.random() < 0.1:
            length = random.choice(LENGTHS_S)
        end = start + timedelta(seconds=length)
        units = (
            steady if random.random() < 0.3 else decimal(random, 50_000, random.choice((1, 2, 3)))
        )
        lagging = decimal(random, 40_000, 3) if reactive else None
        intervals.append(Interval(start, end, units, lagging))
        start = end + timedelta(seconds=random.choice((0, 0, 0, 0, 900, 86_400)))
    opening = decimal(random, 5000, 1) if random.random() < 0.3 else Decimal(0)
    return Case(intervals, random_service(random, intervals), opening)


def random_service(
    random: Random, intervals: Sequence[Interval]
) -> tuple[datetime, datetime] | None:
    if random.random() < 0.7:
        return None
    first, last = intervals[0].start, intervals[-1].end
    seconds = int((last - first).total_seconds())
    begin = first + timedelta(seconds=random.randrange(-90_000, seconds))
    return begin, begin + timedelta(seconds=random.randrange(1, seconds + 200_000))


def corrected(random: Random, case: Case) -> Case:
    """The same use with one reading corrected: what one interval loses, its neighbour gains."""
    intervals = list(case.intervals)
    at = random.randrange(len(intervals))
    moved = (intervals[at].units / 2).quantize(Decimal("0.001"))
    intervals[at] = replace(intervals[at], units=intervals[at].units - moved)
    to = (at + 1) % len(intervals)
    intervals[to] = replace(intervals[to], units=intervals[to].units + moved)
    return replace(case, intervals=intervals)


def differences(rating: Rating, oracle: Sequence[OracleBill]) -> list[str]:
    """Say where the two do not agree to the ledger unit."""
    found = []
    if len(rating.bills) != len(oracle):
        found.append(f"{len(rating.bills)} bills, oracle {len(oracle)}")
    for bill, other in zip(rating.bills, oracle, strict=False):
        energy = {
            (line.block, line.band, line.price): (line.units, line.amount_units)
            for line in bill.lines
            if line.kind == "energy"
        }
        others: dict[str, int] = defaultdict(int)
        for line in bill.lines:
            if line.kind != "energy":
                others[line.component] += line.amount_units
        pairs = (
            ("start", bill.start.timestamp(), other.start.timestamp()),
            ("end", bill.end.timestamp(), other.end.timestamp()),
            ("energy", energy, other.energy),
            ("others", others, other.others),
            ("total", bill.total_units, other.total_units),
            ("payable", bill.payable_minor, other.payable_minor),
        )
        found += [
            f"{what}: {ours}, oracle {theirs}" for what, ours, theirs in pairs if ours != theirs
        ]
    return found
