from decimal import Decimal
from fractions import Fraction

import pytest

from meterplex.domain.money import (
    Rounding,
    ledger_decimal,
    minor_decimal,
    round_ratio,
    to_ledger_units,
    to_minor_units,
)


@pytest.mark.parametrize(
    ("numerator", "denominator", "half_up", "half_even"),
    [
        (0, 1, 0, 0),
        (1, 2, 1, 0),
        (3, 2, 2, 2),
        (5, 2, 3, 2),
        (-1, 2, -1, 0),
        (-5, 2, -3, -2),
        (4, 3, 1, 1),
        (5, 3, 2, 2),
        (-5, 3, -2, -2),
        (10**40 + 1, 2, (10**40 + 2) // 2, 10**40 // 2),
    ],
)
def test_halves_go_where_the_mode_says(
    numerator: int, denominator: int, half_up: int, half_even: int
) -> None:
    assert round_ratio(numerator, denominator, Rounding.HALF_UP) == half_up
    assert round_ratio(numerator, denominator, Rounding.HALF_EVEN) == half_even


def test_amount_becomes_ledger_units() -> None:
    assert to_ledger_units(Fraction("1.38825"), Rounding.HALF_UP) == 13883
    assert to_ledger_units(Fraction("1.38825"), Rounding.HALF_EVEN) == 13882


@pytest.mark.parametrize(
    ("currency", "minor", "text"),
    [("CNY", 5628, "56.28"), ("JPY", 56, "56"), ("KWD", 56279, "56.279")],
)
def test_payable_has_the_decimals_of_the_currency(currency: str, minor: int, text: str) -> None:
    assert to_minor_units(562789, currency, Rounding.HALF_UP) == minor
    assert minor_decimal(minor, currency) == Decimal(text)


def test_ledger_amount_shows_four_decimals() -> None:
    assert str(ledger_decimal(50000)) == "5.0000"
    assert str(ledger_decimal(-1)) == "-0.0001"
