"""Money as integers: ledger units, minor units, and the one place where amounts are rounded.

A ledger unit is 1/10000 of the currency unit. Charges and balances are ledger units; payments
and bills are whole minor units (cents, fen).
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Final

LEDGER_DECIMALS: Final = 4
LEDGER_UNITS: Final = 10**LEDGER_DECIMALS
"""Ledger units in one currency unit."""

_NO_MINOR_UNIT = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"

MINOR_DECIMALS: Final[Mapping[str, int]] = MappingProxyType(
    dict.fromkeys(_NO_MINOR_UNIT.split(), 0) | dict.fromkeys(_THOUSANDTHS.split(), 3)
)
"""Currencies whose minor unit is not 1/100 (ISO 4217, list one)."""


class Rounding(StrEnum):
    """What happens to a half; both leave every other value at its nearest integer."""

    HALF_UP = "half_up"
    """Away from zero, as people do it on paper."""
    HALF_EVEN = "half_even"


def round_ratio(numerator: int, denominator: int, rounding: Rounding) -> int:
    """Return the integer nearest to ``numerator / denominator``; the denominator is positive."""
    whole, rest = divmod(abs(numerator), denominator)
    half = 2 * rest - denominator
    if half > 0 or (half == 0 and (rounding is Rounding.HALF_UP or whole % 2)):
        whole += 1
    return whole if numerator >= 0 else -whole


def to_ledger_units(amount: Fraction, rounding: Rounding) -> int:
    """Return an exact amount of the currency as ledger units."""
    return round_ratio(amount.numerator * LEDGER_UNITS, amount.denominator, rounding)


def minor_decimals(currency: str) -> int:
    """Return how many decimals the minor unit of an ISO 4217 currency has."""
    return MINOR_DECIMALS.get(currency, 2)


def to_minor_units(amount_units: int, currency: str, rounding: Rounding) -> int:
    """Return ledger units as whole minor units: what can be paid."""
    return round_ratio(amount_units, 10 ** (LEDGER_DECIMALS - minor_decimals(currency)), rounding)


def ledger_decimal(amount_units: int) -> Decimal:
    """Return ledger units as an amount of the currency with all four decimals."""
    return Decimal(amount_units).scaleb(-LEDGER_DECIMALS)


def minor_decimal(amount_minor: int, currency: str) -> Decimal:
    """Return minor units as an amount of the currency with the decimals of its minor unit."""
    return Decimal(amount_minor).scaleb(-minor_decimals(currency))
