"""An exact and slow second opinion on rating, for tests and benchmarks only.

It shares the data classes of a tariff with the engine and nothing else. It thinks in other terms:
it walks over time in small pieces, asks for each one what the wall clock shows, keeps every unit as
a fraction, and rounds with ``Decimal``.
"""

from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

from meterplex.domain.money import Rounding
from meterplex.domain.tariff import (
    BillSoFar,
    BlockAllocation,
    ChargeLine,
    ComponentKind,
    DayType,
    Interval,
    PowerFactor,
    PowerFactorStep,
    Season,
    Span,
    TariffVersion,
)

EXACT = Context(prec=60)
MODES = {Rounding.HALF_UP: ROUND_HALF_UP, Rounding.HALF_EVEN: ROUND_HALF_EVEN}


@dataclass(frozen=True)
class OracleBill:
    """A bill as the oracle sees it; energy by block, band and price, others by name."""

    start: datetime
    end: datetime
    energy: dict[tuple[str, str, Decimal], tuple[Fraction, int]]
    others: dict[str, int]
    total_units: int
    payable_minor: int


@dataclass(frozen=True)
class Piece:
    """A stretch of an interval in which the wall clock crosses no edge."""

    start: datetime
    end: datetime
    units: Fraction
    reactive: Fraction


class Oracle:
    """Rates one meter under one version."""

    def __init__(self, tariff: TariffVersion) -> None:
        self.tariff = tariff
        self.zone = ZoneInfo(tariff.time_zone)
        clocks = {slot.at for s in tariff.seasons for plan in s.days for slot in plan.slots}
        self.seconds_of_day = sorted(at.hour * 3600 + at.minute * 60 for at in clocks)

    # Time

    def local(self, instant: datetime) -> datetime:
        return instant.astimezone(self.zone)

    def edges(self, start: datetime, end: datetime) -> list[datetime]:
        """Instants where anything may change: slots at every offset, quarters when it moves."""
        first, last = self.local(start), self.local(end)
        offsets = {first.utcoffset(), last.utcoffset()}
        days = (last.date() - first.date()).days
        found = {start, end}
        for day in range(-1, days + 2):
            midnight = datetime.combine(first.date() + timedelta(days=day), time.min, UTC)
            offset = midnight.replace(tzinfo=self.zone).utcoffset()
            later = (midnight + timedelta(days=1)).replace(tzinfo=self.zone).utcoffset()
            marks: Iterable[int] = self.seconds_of_day
            if offset != later:
                marks = sorted({*marks, *range(0, 86_400, 900)})
            for mark in marks:
                for each in {offset, later, *offsets}:
                    assert each is not None
                    instant = midnight + timedelta(seconds=mark) - each
                    if start < instant < end:
                        found.add(instant)
        return sorted(found)

    def number(self, instant: datetime, span: Span) -> int:
        local = self.local(instant)
        return local.year if span is Span.YEAR else local.year * 12 + local.month - 1

    def first_day(self, number: int, span: Span) -> date:
        if span is Span.YEAR:
            return date(number, 1, 1)
        return date(number // 12, number % 12 + 1, 1)

    def instant(self, day: date) -> datetime:
        """The first instant of a local day, found by walking."""
        instant = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=15)
        while self.local(instant).date() < day:
            instant += timedelta(minutes=15)
        return instant

    def season(self, instant: datetime) -> Season:
        local = self.local(instant)
        begun = [s for s in self.tariff.seasons if (s.month, s.day) <= (local.month, local.day)]
        return max(begun or self.tariff.seasons, key=lambda s: (s.month, s.day))

    def band(self, instant: datetime) -> str:
        local = self.local(instant)
        day = local.date()
        if day in self.tariff.holidays.dates:
            kind = DayType.HOLIDAY
        elif day.weekday() > 4 and day not in self.tariff.holidays.working_days:
            kind = (DayType.SATURDAY, DayType.SUNDAY)[day.weekday() - 5]
        else:
            kind = DayType.WORKDAY
        (plan,) = [p for p in self.season(instant).days if kind in p.types]
        return [slot.band for slot in plan.slots if slot.at <= local.time()][-1]

    # Rating

    def pieces(self, intervals: Iterable[Interval], cuts: Iterable[datetime]) -> Iterator[Piece]:
        for row in intervals:
            start, end = row.start.astimezone(UTC), row.end.astimezone(UTC)
            edges = sorted({*self.edges(start, end), *(c for c in cuts if start < c < end)})
            length = Fraction(int((end - start).total_seconds()))
            for begin, until in pairwise(edges):
                share = int((until - begin).total_seconds()) / length
                reactive = Fraction(row.reactive_units or 0) * share
                yield Piece(begin, until, Fraction(row.units) * share, reactive)

    def rate(
        self,
        intervals: list[Interval],
        service: tuple[datetime, datetime] | None = None,
        opening: Decimal = Decimal(0),
    ) -> list[OracleBill]:
        span = self.tariff.billing_span
        begin = service[0] if service else intervals[0].start
        until = service[1] if service else intervals[-1].end
        first, last = self.number(begin, span), self.number(until - timedelta(seconds=1), span)
        bounds = [self.instant(self.first_day(n, span)) for n in range(first, last + 2)]
        if service:
            bounds[0], bounds[-1] = (each.astimezone(UTC) for each in service)
        else:
            bounds[0] = max(bounds[0], self.instant(self.tariff.valid_from))
        pieces = list(self.pieces(intervals, bounds))
        counters = self.counters(pieces, Fraction(opening))
        bills = []
        for start, end in pairwise(bounds):
            counted = zip(pieces, counters, strict=True)
            inside = [(piece, used) for piece, used in counted if start <= piece.start < end]
            bills.append(self.bill(start, end, inside, intervals))
        return bills

    def counters(self, pieces: list[Piece], opening: Fraction) -> list[Fraction]:
        """Units used in the block period before each piece."""
        counters: list[Fraction] = []
        used, period = opening, None
        for piece in pieces:
            number = self.number(piece.start, self.tariff.block_span)
            if period is not None and number != period:
                used = Fraction(0)
            period = number
            counters.append(used)
            used += piece.units
        return counters

    def blocks(
        self, season: Season, counter: Fraction, units: Fraction
    ) -> Iterator[tuple[int, Fraction]]:
        low = Fraction(0)
        for row, block in enumerate(self.tariff.blocks_of(season)):
            high = counter + units if block.up_to is None else Fraction(block.up_to)
            inside = min(counter + units, high) - max(counter, low)
            if inside > 0:
                yield row, inside
            low = high

    def chronological(
        self, pieces: list[tuple[Piece, Fraction]]
    ) -> dict[tuple[str, str, Decimal], Fraction]:
        use: dict[tuple[str, str, Decimal], Fraction] = defaultdict(Fraction)
        for piece, counter in pieces:
            season, band = self.season(piece.start), self.band(piece.start)
            for row, units in self.blocks(season, counter, piece.units):
                use[self.cell(season, row, band)] += units
        return use

    def pro_rata(
        self, pieces: list[tuple[Piece, Fraction]]
    ) -> dict[tuple[str, str, Decimal], Fraction]:
        groups: list[tuple[object, Season, Fraction, dict[str, Fraction]]] = []
        for piece, counter in pieces:
            season = self.season(piece.start)
            table = self.tariff.blocks_of(season), self.tariff.prices_of(season)
            key = self.number(piece.start, self.tariff.block_span), table
            if not groups or groups[-1][0] != key:
                groups.append((key, season, counter, defaultdict(Fraction)))
            groups[-1][3][self.band(piece.start)] += piece.units
        use: dict[tuple[str, str, Decimal], Fraction] = defaultdict(Fraction)
        for _, season, counter, by_band in groups:
            total = sum(by_band.values(), Fraction(0))
            for row, units in self.blocks(season, counter, total):
                for band, share in by_band.items():
                    use[self.cell(season, row, band)] += units * share / total
        return use

    def cell(self, season: Season, row: int, band: str) -> tuple[str, str, Decimal]:
        price = self.tariff.prices_of(season)[row][self.tariff.bands.index(band)]
        return self.tariff.blocks_of(season)[row].name, band, price

    def bill(
        self,
        start: datetime,
        end: datetime,
        pieces: list[tuple[Piece, Fraction]],
        intervals: list[Interval],
    ) -> OracleBill:
        tariff = self.tariff
        chronological = tariff.block_allocation is BlockAllocation.CHRONOLOGICAL
        use = (self.chronological if chronological else self.pro_rata)(pieces)
        energy = {
            cell: (units, self.ledger(units * Fraction(cell[2])))
            for cell, units in use.items()
            if units
        }
        used = sum((piece.units for piece, _ in pieces), Fraction(0))
        kinds = {"energy": sum(amount for _, amount in energy.values())}
        others: dict[str, int] = defaultdict(int)
        lines = [
            ChargeLine(ComponentKind.ENERGY, "energy", amount, start, end)
            for _, amount in energy.values()
        ]

        def add(kind: str, name: str, amount: int) -> None:
            others[name] += amount
            kinds[kind] = kinds.get(kind, 0) + amount
            if kind != name:
                kinds[name] = kinds.get(name, 0) + amount
            if kind in ("standing", "demand", "plugin"):
                lines.append(ChargeLine(ComponentKind(kind), name, amount, start, end))

        days = self.days(start, end)
        for standing in tariff.standing:
            count = self.count(standing.per, days)
            if count:
                add("standing", standing.name, self.ledger(count * Fraction(standing.amount)))
        for demand in tariff.demand:
            power = self.peak_kw(start, end, intervals, demand.window_min)
            if power:
                add("demand", demand.name, self.ledger(power * Fraction(demand.price_per_kw)))
        for component in tariff.components:
            so_far = BillSoFar(
                utility=tariff.utility,
                currency=tariff.currency,
                start=self.local(start),
                end=self.local(end),
                days=self.count(Span.DAY, days),
                months=self.count(Span.MONTH, days),
                units=used,
                lines=tuple(lines),
            )
            for line in component.type.charge(component.settings, so_far):
                add("plugin", component.name, self.ledger(Fraction(line.amount)))
        measured = bool(intervals) and intervals[0].reactive_units is not None
        if tariff.power_factor is not None and measured:
            reactive = sum((piece.reactive for piece, _ in pieces), Fraction(0))
            percent = self.power_factor_percent(tariff.power_factor, used, reactive)
            if percent:
                base = sum(kinds.get(name, 0) for name in tariff.power_factor.applies_to)
                add("power_factor", "power factor", self.percentage(base, percent))
        for surcharge in tariff.surcharges:
            if surcharge.per_unit is not None:
                add(
                    surcharge.name, surcharge.name, self.ledger(used * Fraction(surcharge.per_unit))
                )
            else:
                base = sum(kinds.get(name, 0) for name in surcharge.applies_to)
                percent = Fraction(surcharge.percent or 0)
                add(surcharge.name, surcharge.name, self.percentage(base, percent))
        total = kinds["energy"] + sum(others.values())
        if tariff.minimum is not None:
            count = self.count(tariff.minimum.per, days)
            lowest = self.ledger(count * Fraction(tariff.minimum.amount))
            if total < lowest:
                others["minimum"] = lowest - total
                total = lowest
        payable = self.rounded(Fraction(total, 100))
        return OracleBill(start, end, energy, others, total, payable)

    def days(self, start: datetime, end: datetime) -> list[date]:
        first, last = self.local(start).date(), self.local(end).date()
        return [first + timedelta(days=n) for n in range((last - first).days)]

    def count(self, per: Span, days: list[date]) -> Fraction:
        if per is Span.DAY:
            return Fraction(len(days))
        return sum((Fraction(1, days_of_month(day)) for day in days), Fraction(0))

    def peak_kw(
        self, start: datetime, end: datetime, intervals: list[Interval], window_min: int
    ) -> Fraction:
        window = timedelta(minutes=window_min)
        energy: dict[datetime, Fraction] = defaultdict(Fraction)
        for row in intervals:
            begin, until = max(row.start, start), min(row.end, end)
            length = int((row.end - row.start).total_seconds())
            while begin < until:
                local = self.local(begin)
                into = timedelta(minutes=local.minute % window_min, seconds=local.second)
                edge = min(until, begin.astimezone(UTC) - into + window)
                share = Fraction(int((edge - begin).total_seconds()), length)
                energy[(begin.astimezone(UTC) - into)] += Fraction(row.units) * share
                begin = edge
        return max(energy.values(), default=Fraction(0)) * 60 / window_min

    def power_factor_percent(
        self, rule: PowerFactor, active: Fraction, reactive: Fraction
    ) -> Fraction:
        mean = Fraction(1)
        if active or reactive:
            square = active**2 / (active**2 + reactive**2)
            root = EXACT.sqrt(EXACT.divide(Decimal(square.numerator), Decimal(square.denominator)))
            mean = Fraction(root.quantize(Decimal("0.01"), ROUND_HALF_UP))
        total = Fraction(0)
        steps = [s for s in rule.table if s.below is not None]
        for index, step in enumerate(steps):
            floor = Fraction(steps[index + 1].below or 0) if index + 1 < len(steps) else mean
            total += capped(step, Fraction(step.below or 0) - max(floor, mean))
        steps = [s for s in rule.table if s.above is not None]
        for index, step in enumerate(steps):
            ceiling = Fraction(steps[index + 1].above or 0) if index + 1 < len(steps) else mean
            total += capped(step, min(ceiling, mean) - Fraction(step.above or 0))
        return total

    # Rounding

    def ledger(self, amount: Fraction) -> int:
        return self.rounded(amount * 10_000)

    def percentage(self, base: int, percent: Fraction) -> int:
        return self.rounded(base * percent / 100)

    def rounded(self, exact: Fraction) -> int:
        value = EXACT.divide(Decimal(exact.numerator), Decimal(exact.denominator))
        return int(value.to_integral_value(MODES[self.tariff.rounding]))


def capped(step: PowerFactorStep, distance: Fraction) -> Fraction:
    percent = Fraction(step.percent) * max(distance, Fraction(0)) / Fraction(step.per)
    if step.at_most is not None and abs(percent) > abs(step.at_most):
        return Fraction(step.at_most)
    return percent


def days_of_month(day: date) -> int:
    return monthrange(day.year, day.month)[1]
