"""A tariff version: the data from which bills are made, as written by its author.

Nothing here is checked: a version may be unsound until :func:`~meterplex.domain.tariff.faults.
find_faults` found nothing, and :class:`~meterplex.domain.tariff.rating.Rater` takes no other.
Components are evaluated in the order energy, standing, demand, those of plugins, power factor,
surcharges as listed, minimum.
"""

from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias

from meterplex.domain.money import Rounding
from meterplex.domain.registers import ELECTRICITY, GAS, HEAT, WATER, Unit, Utility
from meterplex.domain.tariff.components import Component

BASE_UNITS: Final[dict[Utility, Unit]] = {
    ELECTRICITY: Unit.KWH,
    WATER: Unit.CUBIC_METRE,
    GAS: Unit.CUBIC_METRE,
    HEAT: Unit.KWH,
}
"""What prices per unit are for, by utility."""


class Span(StrEnum):
    """A calendar span in the tariff's time zone."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class BlockAllocation(StrEnum):
    """Which units of a period fall into which block."""

    CHRONOLOGICAL = "chronological"
    """A unit belongs to the block in force when it is used: prepayment."""
    PRO_RATA = "pro_rata"
    """The billing period's total is cut into blocks, and each block is shared over the bands in
    proportion to their use: monthly bills."""


class DayType(StrEnum):
    """Kinds of days that may have slots of their own."""

    WORKDAY = "workday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"
    HOLIDAY = "holiday"


class ComponentKind(StrEnum):
    """Kinds of charges."""

    ENERGY = "energy"
    STANDING = "standing"
    DEMAND = "demand"
    PLUGIN = "plugin"
    """A component that a plugin brings; it goes by its name."""
    POWER_FACTOR = "power_factor"
    SURCHARGE = "surcharge"
    MINIMUM = "minimum"


KINDS_NAMED: Final = (
    ComponentKind.ENERGY,
    ComponentKind.STANDING,
    ComponentKind.DEMAND,
    ComponentKind.POWER_FACTOR,
)
"""What ``applies_to`` may name as a kind, whether or not the tariff has such a component."""

POWER_FACTOR_NAME: Final = "power factor"
"""How the lines of the power factor call their component; energy and minimum go by their kind."""


@dataclass(frozen=True, slots=True)
class Block:
    """A step of the block tariff; ``up_to`` is cumulative, None for the last."""

    name: str
    up_to: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """A band in force from a local time on, until the next slot or the end of the day."""

    at: time
    band: str


@dataclass(frozen=True, slots=True)
class DayPlan:
    """The slots of the days of some types."""

    types: tuple[DayType, ...]
    slots: tuple[Slot, ...]


Prices: TypeAlias = tuple[tuple[Decimal, ...], ...]


@dataclass(frozen=True, slots=True)
class Season:
    """A part of the year, from a day on until the next season begins.

    Attributes:
        month: and ``day``, its first day. In common years 29 February means 1 March.
        blocks: of its own, else the tariff's.
        prices: of its own [block][band], else the tariff's.
    """

    name: str
    month: int
    day: int
    days: tuple[DayPlan, ...]
    blocks: tuple[Block, ...] | None = None
    prices: Prices | None = None


@dataclass(frozen=True, slots=True)
class Holidays:
    """Days that are not what their weekday says.

    Attributes:
        dates: holidays.
        working_days: Saturdays and Sundays worked in exchange for a holiday (as in China): they
            are workdays.
    """

    dates: frozenset[date] = frozenset()
    working_days: frozenset[date] = frozenset()

    def day_type(self, day: date) -> DayType:
        """Return what kind of day it is."""
        if day in self.dates:
            return DayType.HOLIDAY
        if day in self.working_days or day.weekday() < 5:
            return DayType.WORKDAY
        return DayType.SATURDAY if day.weekday() == 5 else DayType.SUNDAY


@dataclass(frozen=True, slots=True)
class Standing:
    """A fixed charge per day or month; a part of a month counts by its days."""

    name: str
    per: Span
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Demand:
    """A charge for the highest mean power of the billing period.

    Attributes:
        window_min: minutes over which the mean is taken, aligned to the hour.
    """

    name: str
    window_min: int
    price_per_kw: Decimal


@dataclass(frozen=True, slots=True)
class PowerFactorStep:
    """``percent`` for each ``per`` that the mean power factor is below or above a threshold.

    Attributes:
        below: the threshold; this or ``above`` is set. A step below ends where the next one
            begins, so the China table of 1983 is 0.5 % below 0.90, 1 % below 0.70, 2 % below 0.65.
        at_most: the most that this step adds; with the sign of ``percent``.
    """

    percent: Decimal
    per: Decimal
    below: Decimal | None = None
    above: Decimal | None = None
    at_most: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PowerFactor:
    """A surcharge or rebate by the mean power factor of the billing period.

    The mean is the active over the apparent energy, rounded half up to two decimals as the tables
    of utilities are.
    """

    target: Decimal
    applies_to: tuple[str, ...]
    table: tuple[PowerFactorStep, ...]


@dataclass(frozen=True, slots=True)
class Surcharge:
    """A charge, tax or (negative) rebate: per unit used, or percent of named components.

    Attributes:
        applies_to: kinds (energy, standing, demand, power_factor) and names of components before
            it; for ``per_unit`` it is empty.
        tax_code: the tax it is booked under.
    """

    name: str
    per_unit: Decimal | None = None
    percent: Decimal | None = None
    applies_to: tuple[str, ...] = ()
    tax_code: str = ""


@dataclass(frozen=True, slots=True)
class Minimum:
    """The lowest bill of a billing period; parts count as those of a standing charge."""

    per: Span
    amount: Decimal


@dataclass(frozen=True, slots=True)
class TariffVersion:
    """One dated version of a tariff.

    Attributes:
        time_zone: IANA name.
        valid_from: local date; the next version ends this one.
        block_span: month or year after which the block counter starts again.
        billing_span: month or year of one bill; amounts are rounded cumulatively inside it.
        blocks: used by seasons that have none of their own; may then be empty.
        prices: likewise, [block][band] per base unit of the utility.
        components: those of plugins, by kind and then as listed.
    """

    id: str
    version: int
    utility: Utility
    currency: str
    time_zone: str
    valid_from: date
    rounding: Rounding
    block_span: Span
    billing_span: Span
    block_allocation: BlockAllocation
    bands: tuple[str, ...]
    seasons: tuple[Season, ...]
    blocks: tuple[Block, ...] = ()
    prices: Prices = ()
    holidays: Holidays = field(default=Holidays())
    standing: tuple[Standing, ...] = ()
    demand: tuple[Demand, ...] = ()
    components: tuple[Component, ...] = ()
    power_factor: PowerFactor | None = None
    surcharges: tuple[Surcharge, ...] = ()
    minimum: Minimum | None = None

    def blocks_of(self, season: Season) -> tuple[Block, ...]:
        """Return the blocks in force in a season."""
        return self.blocks if season.blocks is None else season.blocks

    def prices_of(self, season: Season) -> Prices:
        """Return the prices in force in a season, [block][band]."""
        return self.prices if season.prices is None else season.prices
