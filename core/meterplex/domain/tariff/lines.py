"""From what was measured to the lines of a bill: the components in their order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import isqrt, lcm

from meterplex.domain.money import round_ratio, to_ledger_units, to_minor_units
from meterplex.domain.tariff.blocks import Cell, Use
from meterplex.domain.tariff.calendar import TariffCalendar
from meterplex.domain.tariff.charges import Bill, ChargeLine
from meterplex.domain.tariff.components import BillSoFar, Component
from meterplex.domain.tariff.demand import Peak
from meterplex.domain.tariff.version import (
    BASE_UNITS,
    KINDS_NAMED,
    POWER_FACTOR_NAME,
    ComponentKind,
    Demand,
    PowerFactor,
    PowerFactorStep,
    Span,
    TariffVersion,
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured for one bill, in steps.

    Attributes:
        uses: by number of the cell.
        peaks: by length of the window in seconds.
        reactive: kvarh; None where not measured.
    """

    uses: Mapping[int, Use] = field(default_factory=dict)
    peaks: Mapping[int, Peak] = field(default_factory=dict)
    reactive: Fraction | None = None


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """The part of a billing period that is billed, local, with what it counts for.

    Attributes:
        counts: of days, and of months (parts of a month by its days). A day counts for the side
            on which it ends, so that parts add up.
    """

    start: datetime
    end: datetime
    counts: Mapping[Span, Fraction]

    @classmethod
    def between(cls, start: datetime, end: datetime) -> "ServiceTime":
        """Count the days and months of ``[start, end)``, two instants on the tariff's clock."""
        days = (end.date() - start.date()).days
        months = Fraction(0)
        day = start.date()
        while day < end.date():
            following = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
            length = (following - day.replace(day=1)).days
            months += Fraction((min(following, end.date()) - day).days, length)
            day = following
        return cls(start, end, {Span.DAY: Fraction(days), Span.MONTH: months})


@dataclass(frozen=True, slots=True, eq=False)
class BillMaker:
    """Makes the bills of a sound tariff version."""

    tariff: TariffVersion
    calendar: TariffCalendar
    cells: tuple[Cell, ...]
    prices: tuple[Fraction, ...]
    """Of the cells."""

    @classmethod
    def of(
        cls, tariff: TariffVersion, calendar: TariffCalendar, cells: tuple[Cell, ...]
    ) -> "BillMaker":
        """Prepare a version."""
        return cls(tariff, calendar, cells, tuple(Fraction(cell.price) for cell in cells))

    def bill(self, time: ServiceTime, measured: Measured, steps_per_unit: int) -> Bill:
        """Return the bill of a service time."""
        draft = _Draft(self, time, measured, steps_per_unit)
        lines = draft.lines()
        total = sum(line.amount_units for line in lines)
        payable = to_minor_units(total, self.tariff.currency, self.tariff.rounding)
        return Bill(time.start, time.end, draft.units, lines, total, payable)


class _Draft:
    """A bill in the making: what each component came to so far."""

    def __init__(
        self, maker: BillMaker, time: ServiceTime, measured: Measured, steps_per_unit: int
    ) -> None:
        self._maker = maker
        self._tariff = maker.tariff
        self._time = time
        self._measured = measured
        self._steps_per_unit = steps_per_unit
        self._lines: list[ChargeLine] = []
        self.units = _sum(use.steps for use in measured.uses.values()) / steps_per_unit

    def lines(self) -> tuple[ChargeLine, ...]:
        """Return the lines in the order of the components."""
        for line in self._components():
            self._lines.append(line)  # not extend: a component looks at those before it
        self._lines.extend(self._minimum(sum(line.amount_units for line in self._lines)))
        return tuple(self._lines)

    def _components(self) -> Iterator[ChargeLine]:
        yield from self._energy()
        for standing in self._tariff.standing:
            yield from self._timed(standing.name, standing.per, standing.amount)
        for demand in self._tariff.demand:
            yield from self._demand(demand)
        for component in self._tariff.components:
            yield from self._plugin(component)
        if self._tariff.power_factor is not None and self._measured.reactive is not None:
            yield from self._power_factor(self._tariff.power_factor, self._measured.reactive)
        yield from self._surcharges()

    def _energy(self) -> Iterator[ChargeLine]:
        unit = BASE_UNITS[self._tariff.utility].value
        for number, use in sorted(self._measured.uses.items()):
            cell = self._maker.cells[number]
            units = use.steps / self._steps_per_unit
            yield ChargeLine(
                kind=ComponentKind.ENERGY,
                component=ComponentKind.ENERGY.value,
                amount_units=self._round(units * self._maker.prices[number]),
                start=self._maker.calendar.local(use.start),
                end=self._maker.calendar.local(use.end),
                units=units,
                unit=unit,
                price=cell.price,
                block=cell.block,
                band=cell.band,
            )

    def _timed(self, name: str, per: Span, amount: Decimal) -> Iterator[ChargeLine]:
        count = self._time.counts[per]
        if count:
            yield ChargeLine(
                kind=ComponentKind.STANDING,
                component=name,
                amount_units=self._round(count * Fraction(amount)),
                start=self._time.start,
                end=self._time.end,
                units=count,
                unit=per.value,
                price=amount,
            )

    def _demand(self, demand: Demand) -> Iterator[ChargeLine]:
        window_s = demand.window_min * 60
        peak = self._measured.peaks.get(window_s)
        if peak is not None:
            power_kw = peak.steps * 3600 / (window_s * self._steps_per_unit)
            yield ChargeLine(
                kind=ComponentKind.DEMAND,
                component=demand.name,
                amount_units=self._round(power_kw * Fraction(demand.price_per_kw)),
                start=self._maker.calendar.local(peak.start),
                end=self._maker.calendar.local(peak.start + window_s),
                units=power_kw,
                unit="kW",
                price=demand.price_per_kw,
            )

    def _plugin(self, component: Component) -> Iterator[ChargeLine]:
        bill = BillSoFar(
            utility=self._tariff.utility,
            currency=self._tariff.currency,
            start=self._time.start,
            end=self._time.end,
            days=self._time.counts[Span.DAY],
            months=self._time.counts[Span.MONTH],
            units=self.units,
            lines=tuple(self._lines),
        )
        for line in component.charge(bill):
            yield ChargeLine(
                kind=ComponentKind.PLUGIN,
                component=component.name,
                amount_units=self._round(Fraction(line.amount)),
                start=self._time.start,
                end=self._time.end,
                units=None if line.units is None else Fraction(line.units),
                unit=line.unit,
                price=line.price,
                block=line.block,
            )

    def _power_factor(self, rule: PowerFactor, reactive: Fraction) -> Iterator[ChargeLine]:
        mean = mean_power_factor(self.units * self._steps_per_unit, reactive)
        percent = power_factor_percent(rule, mean)
        if percent:
            yield self._share(
                ComponentKind.POWER_FACTOR,
                POWER_FACTOR_NAME,
                percent,
                rule.applies_to,
                power_factor=mean,
            )

    def _surcharges(self) -> Iterator[ChargeLine]:
        for surcharge in self._tariff.surcharges:
            if surcharge.per_unit is None:
                yield self._share(
                    ComponentKind.SURCHARGE,
                    surcharge.name,
                    Fraction(surcharge.percent or 0),
                    surcharge.applies_to,
                    tax_code=surcharge.tax_code,
                )
                continue
            yield ChargeLine(
                kind=ComponentKind.SURCHARGE,
                component=surcharge.name,
                amount_units=self._round(self.units * Fraction(surcharge.per_unit)),
                start=self._time.start,
                end=self._time.end,
                units=self.units,
                unit=BASE_UNITS[self._tariff.utility].value,
                price=surcharge.per_unit,
                tax_code=surcharge.tax_code,
            )

    def _share(
        self,
        kind: ComponentKind,
        name: str,
        percent: Fraction,
        applies_to: Sequence[str],
        *,
        power_factor: Decimal | None = None,
        tax_code: str = "",
    ) -> ChargeLine:
        """Return a percentage of what the named components came to."""
        kinds = [kind for kind in KINDS_NAMED if kind in applies_to]
        base = sum(
            line.amount_units
            for line in self._lines
            if line.component in applies_to or line.kind in kinds
        )
        return ChargeLine(
            kind=kind,
            component=name,
            amount_units=round_ratio(
                base * percent.numerator, 100 * percent.denominator, self._tariff.rounding
            ),
            start=self._time.start,
            end=self._time.end,
            base_units=base,
            percent=percent,
            power_factor=power_factor,
            tax_code=tax_code,
        )

    def _minimum(self, total: int) -> Iterator[ChargeLine]:
        minimum = self._tariff.minimum
        if minimum is None:
            return
        lowest = self._round(self._time.counts[minimum.per] * Fraction(minimum.amount))
        if total < lowest:
            yield ChargeLine(
                kind=ComponentKind.MINIMUM,
                component=ComponentKind.MINIMUM.value,
                amount_units=lowest - total,
                start=self._time.start,
                end=self._time.end,
                base_units=total,
            )

    def _round(self, amount: Fraction) -> int:
        return to_ledger_units(amount, self._tariff.rounding)


def mean_power_factor(active: Fraction, reactive: Fraction) -> Decimal:
    """Return active over apparent energy, rounded half up to two decimals; 1 when there is none.

    Exact: no root is taken of what is not a square.
    """
    common = lcm(active.denominator, reactive.denominator)
    used, lagging = int(active * common), int(reactive * common)
    square = used * used + lagging * lagging
    if not square:
        return Decimal(1)
    hundredths = (isqrt(40_000 * used * used // square) + 1) // 2
    return Decimal(hundredths).scaleb(-2)


def power_factor_percent(rule: PowerFactor, mean: Decimal) -> Fraction:
    """Return what the table gives for a mean power factor, each step over its own stretch."""
    below = [(step, step.below) for step in rule.table if step.below is not None]
    above = [(step, step.above) for step in rule.table if step.above is not None]
    ends_below = [threshold for _, threshold in below[1:]] + [mean]
    ends_above = [threshold for _, threshold in above[1:]] + [mean]
    total = Fraction(0)
    for (step, start), end in zip(below, ends_below, strict=False):
        total += _step_percent(step, start - max(mean, end))
    for (step, start), end in zip(above, ends_above, strict=False):
        total += _step_percent(step, min(mean, end) - start)
    return total


def _step_percent(step: PowerFactorStep, distance: Decimal) -> Fraction:
    percent = Fraction(step.percent) * Fraction(max(distance, Decimal(0))) / Fraction(step.per)
    if step.at_most is None:
        return percent
    return min(percent, Fraction(step.at_most), key=abs)


def _sum(values: Iterable[Fraction]) -> Fraction:
    return sum(values, Fraction(0))
