"""Amounts as people give them, checked once at the edge and whole ledger units from there on."""

import re
from decimal import Decimal
from typing import Final

from meterplex.domain.money import LEDGER_DECIMALS, ledger_decimal, minor_decimals
from meterplex.services.books.errors import AmountError

AMOUNT_MAX: Final = 10**12
"""Currency units; more is a slip of the finger, and still far from what the database holds."""

_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?")


def parse_amount(amount: str | Decimal, currency: str, field: str) -> int:
    """Return an amount that is paid, above zero and in whole minor units, as ledger units.

    Args:
        amount: of the currency, such as ``12.50``: no exponent, no signs of thousands.
        field: name of the argument, for the error.

    Raises:
        AmountError: not a number, not above zero, over :data:`AMOUNT_MAX`, or with more decimals
            than the currency's minor unit has.
    """
    units = parse_limit(amount, currency, field)
    if units == 0:
        raise AmountError(field, f"{amount}: expected more than 0")
    return units


def parse_limit(amount: str | Decimal, currency: str, field: str) -> int:
    """Return a threshold, which may be zero, as ledger units; otherwise :func:`parse_amount`.

    Raises:
        AmountError: as there, and for what is below zero.
    """
    units = parse_signed(amount, currency, field)
    if units < 0:
        raise AmountError(field, f"{amount}: expected no less than 0")
    return units


def parse_signed(amount: str | Decimal, currency: str, field: str) -> int:
    """Return a balance, which may be below zero, as ledger units; otherwise :func:`parse_amount`.

    Raises:
        AmountError: as there, for the size of the amount without its sign.
    """
    value = _decimal(amount, field)
    if abs(value) > AMOUNT_MAX:
        raise AmountError(field, f"{amount}: expected at most {AMOUNT_MAX} {currency}")
    decimals = minor_decimals(currency)
    rounded = value.quantize(Decimal(1).scaleb(-decimals))
    if rounded != value:
        raise AmountError(field, f"{amount}: {currency} has {decimals} decimals")
    return int(rounded.scaleb(LEDGER_DECIMALS))


def format_amount(amount_units: int, currency: str) -> str:
    """Return ledger units as an amount: with the minor unit's decimals, or all four if needed."""
    amount = ledger_decimal(amount_units)
    short = amount.quantize(Decimal(1).scaleb(-minor_decimals(currency)))
    return f"{short if short == amount else amount:f}"


def _decimal(amount: str | Decimal, field: str) -> Decimal:
    if isinstance(amount, Decimal):
        if not amount.is_finite():
            raise AmountError(field, f"{amount}: expected a number")
        return amount
    text = amount.strip()
    if not _DECIMAL.fullmatch(text):
        raise AmountError(field, f"{amount!r}: expected an amount such as 12.50")
    return Decimal(text)
