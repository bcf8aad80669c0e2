"""The sewage charge: what flows in flows out again, mostly.

Sewage is not metered. Utilities charge it by the water used: all of it, or a share because gardens
and kettles keep some, sometimes with a number of units a month that are free.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

from meterplex.sdk import (
    WATER,
    BillSoFar,
    ComponentField,
    ComponentLine,
    ComponentSettings,
    FieldKind,
    TariffComponent,
    Unit,
)


def charge(settings: ComponentSettings, bill: BillSoFar) -> Sequence[ComponentLine]:
    """Return the charge for the share of the water that is above the free units of the months.

    A part of a month has its part of the free units, as it has of a standing charge.
    """
    free = bill.months * Fraction(settings.decimal("free_units"))
    share = Fraction(settings.decimal("share_percent")) / 100
    units = max(bill.units - free, Fraction(0)) * share
    if not units:
        return ()
    price = settings.decimal("price")
    amount = units * Fraction(price)
    return (ComponentLine(amount, units, Unit.CUBIC_METRE.value, price),)


def check(settings: ComponentSettings) -> Iterator[tuple[str, str]]:
    """Yield the fields whose values cannot be."""
    for name in ("price", "free_units"):
        if settings.decimal(name) < 0:
            yield name, f"{settings.decimal(name)} is negative"
    if not 0 < settings.decimal("share_percent") <= 100:
        yield "share_percent", f"{settings.decimal('share_percent')} is not above 0 and at most 100"


SEWAGE: Final = TariffComponent(
    kind="sewage",
    title="Sewage charge",
    fields=(
        ComponentField("price", FieldKind.DECIMAL, "currency units per m3 of sewage"),
        ComponentField(
            "share_percent", FieldKind.DECIMAL, "m3 of sewage per 100 m3 of water", Decimal(100)
        ),
        ComponentField(
            "free_units", FieldKind.DECIMAL, "m3 of water a month without charge", Decimal(0)
        ),
    ),
    charge=charge,
    check=check,
    utilities=frozenset({WATER}),
)
