"""What rating gives: charge lines that explain themselves, bills, and what is still to charge."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from meterplex.domain.tariff.version import ComponentKind


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """One amount and all it was made from.

    Attributes:
        component: its name in the tariff; energy, power factor and minimum by their kind.
        amount_units: ledger units.
        start: and ``end``, local: the use or time that is charged; for demand, the window.
        units: exact; of ``unit`` (kWh, m3, kW, day, month).
        price: for one unit.
        block: and ``band`` of energy; of a plugin's component, what tells its lines apart.
        base_units: ledger units that ``percent`` was taken of; for the minimum, the bill without.
        power_factor: mean, that gave ``percent``.
    """

    kind: ComponentKind
    component: str
    amount_units: int
    start: datetime
    end: datetime
    units: Fraction | None = None
    unit: str = ""
    price: Decimal | None = None
    block: str = ""
    band: str = ""
    base_units: int | None = None
    percent: Fraction | None = None
    power_factor: Decimal | None = None
    tax_code: str = ""

    @property
    def identity(self) -> Hashable:
        """What stays the same while a bill grows."""
        return self.kind, self.component, self.block, self.band, self.price


@dataclass(frozen=True, slots=True)
class Bill:
    """One billing period, or the part of it that was in service.

    Attributes:
        start: and ``end``, local.
        units: used in it.
        total_units: ledger units, the sum of the lines.
        payable_minor: the total in minor units of the currency, rounded once.
    """

    start: datetime
    end: datetime
    units: Fraction
    lines: tuple[ChargeLine, ...]
    total_units: int
    payable_minor: int


@dataclass(frozen=True, slots=True)
class Rating:
    """The bills of one use under one tariff version, in order of time.

    Attributes:
        decimals: of the units as they were given.
    """

    tariff: str
    version: int
    currency: str
    decimals: int
    bills: tuple[Bill, ...]

    @property
    def total_units(self) -> int:
        """Ledger units of all bills."""
        return sum(bill.total_units for bill in self.bills)


def charges_since(charged: Sequence[ChargeLine], bill: Bill) -> tuple[ChargeLine, ...]:
    """Return what a bill that has grown adds to the lines charged for it before.

    Each amount is the bill's rounded amount so far minus what was charged, so the sum of all
    charges of a period is its bill however often it was charged. Lines that the bill no longer
    has are taken back; lines that do not change are left out.
    """
    before: dict[Hashable, list[ChargeLine]] = {}
    for line in charged:
        before.setdefault(line.identity, []).append(line)
    charges = [_difference(line, before.pop(line.identity, [])) for line in bill.lines]
    charges.extend(
        _difference(replace(lines[-1], amount_units=0, units=_none(lines[-1].units)), lines)
        for lines in before.values()
    )
    return tuple(charge for charge in charges if charge.amount_units or charge.units)


def _difference(line: ChargeLine, before: Sequence[ChargeLine]) -> ChargeLine:
    units = line.units
    if units is not None:
        units -= sum((each.units or Fraction(0) for each in before), Fraction(0))
    amount = line.amount_units - sum(each.amount_units for each in before)
    return replace(line, amount_units=amount, units=units)


def _none(units: Fraction | None) -> Fraction | None:
    return None if units is None else Fraction(0)
