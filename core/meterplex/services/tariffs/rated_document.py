"""A rating as a document: what ``tariff rate --json`` prints and what a dry run shows."""

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Final, TypeAlias

from meterplex.domain.money import ledger_decimal, minor_decimal
from meterplex.domain.tariff import Bill, ChargeLine, ComponentKind, Rating

UNITS_DECIMALS: Final = 6
"""Units that are no finite decimals, or very long ones, are shown so far."""

Document: TypeAlias = dict[str, object]


def describe(rating: Rating, *, spans: bool = False) -> Document:
    """Return a rating as plain values; ``spans`` adds to each line when its units were used."""
    return {
        "tariff": rating.tariff,
        "version": rating.version,
        "currency": rating.currency,
        "periods": [_bill(bill, rating, spans=spans) for bill in rating.bills],
        "total": str(ledger_decimal(rating.total_units)),
    }


def _bill(bill: Bill, rating: Rating, *, spans: bool) -> Document:
    return {
        "start": bill.start.isoformat(),
        "end": bill.end.isoformat(),
        "units": format_units(bill.units, rating.decimals),
        "lines": [_line(line, rating.decimals, spans=spans) for line in bill.lines],
        "total": str(ledger_decimal(bill.total_units)),
        "payable": str(minor_decimal(bill.payable_minor, rating.currency)),
    }


def _line(line: ChargeLine, decimals: int, *, spans: bool) -> Document:
    document: Document = {"component": line.component}
    if line.kind is ComponentKind.ENERGY:
        document |= {"block": line.block, "band": line.band}
    elif line.block:
        document["block"] = line.block
    if line.units is not None and line.price is not None:
        measured = line.kind in (ComponentKind.ENERGY, ComponentKind.SURCHARGE)
        document["units"] = format_units(line.units, decimals if measured else 0)
        if not measured:
            document["unit"] = line.unit
        document["price"] = f"{line.price:f}"
    if line.base_units is not None:
        document["base"] = str(ledger_decimal(line.base_units))
    if line.power_factor is not None:
        document["power_factor"] = str(line.power_factor)
    if line.percent is not None:
        document["percent"] = format_units(line.percent, 0)
    document["amount"] = str(ledger_decimal(line.amount_units))
    if spans:
        document |= {"start": line.start.isoformat(), "end": line.end.isoformat()}
    return document


def format_units(units: Fraction, decimals: int) -> str:
    """Return units with at least ``decimals`` decimals, and as many as they have up to six."""
    most = max(decimals, UNITS_DECIMALS)
    shown = (Decimal(units.numerator) / units.denominator).quantize(
        Decimal(1).scaleb(-most), ROUND_HALF_EVEN
    )
    text = f"{shown:f}"
    while text[-1] == "0" and len(text) - text.index(".") - 1 > decimals:
        text = text[:-1]
    return text.removesuffix(".")
