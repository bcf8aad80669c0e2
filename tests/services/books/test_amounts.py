"""Amounts at the edge: what is taken, and that everything else names its field."""

from decimal import Decimal

import pytest

from meterplex.services.books.amounts import (
    AMOUNT_MAX,
    format_amount,
    parse_amount,
    parse_limit,
    parse_signed,
)
from meterplex.services.books.errors import AmountError


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [
        pytest.param("12.50", "CNY", 125_000, id="two decimals"),
        pytest.param("0.01", "CNY", 100, id="one fen"),
        pytest.param(" 7 ", "CNY", 70_000, id="blanks around"),
        pytest.param("12.500", "CNY", 125_000, id="zeros behind"),
        pytest.param(Decimal("1E+2"), "CNY", 1_000_000, id="decimal with exponent"),
        pytest.param("1.234", "KWD", 12_340, id="thousandths"),
        pytest.param("500", "JPY", 5_000_000, id="no minor unit"),
        pytest.param(str(AMOUNT_MAX), "CNY", AMOUNT_MAX * 10_000, id="most"),
    ],
)
def test_payable_amounts_become_ledger_units(
    amount: str | Decimal, currency: str, units: int
) -> None:
    assert parse_amount(amount, currency, "amount") == units


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        pytest.param("-1", "CNY", id="negative"),
        pytest.param("0", "CNY", id="zero"),
        pytest.param("0.00", "CNY", id="zero with decimals"),
        pytest.param("0.005", "CNY", id="half a fen"),
        pytest.param("1." + "0" * 29 + "1", "CNY", id="a trace of a fen"),
        pytest.param("1.5", "JPY", id="half a yen"),
        pytest.param(f"{AMOUNT_MAX}.01", "CNY", id="too much"),
        pytest.param("NaN", "CNY", id="no number as text"),
        pytest.param(Decimal("NaN"), "CNY", id="no number"),
        pytest.param(Decimal("Infinity"), "CNY", id="infinite"),
        pytest.param(Decimal("1E+999999"), "CNY", id="huge exponent"),
        pytest.param(Decimal("1E-999999"), "CNY", id="tiny exponent"),
        pytest.param("1e3", "CNY", id="exponent as text"),
        pytest.param("1,000", "CNY", id="thousands"),
        pytest.param("", "CNY", id="empty"),
        pytest.param("٣", "CNY", id="digits of another script"),
    ],
)
def test_anything_else_is_refused_by_the_name_of_its_field(
    amount: str | Decimal, currency: str
) -> None:
    with pytest.raises(AmountError) as refused:
        parse_amount(amount, currency, "first_purchase")
    assert refused.value.field == "first_purchase"
    assert str(refused.value).startswith("first_purchase: ")


def test_a_limit_may_be_zero_and_never_below() -> None:
    assert parse_limit("0", "CNY", "overdraft") == 0
    with pytest.raises(AmountError):
        parse_limit("-0.01", "CNY", "overdraft")


def test_a_balance_may_be_below_zero() -> None:
    assert parse_signed("-3.20", "CNY", "balance") == -32_000


@pytest.mark.parametrize(
    ("units", "currency", "text"),
    [
        (125_000, "CNY", "12.50"),
        (-100, "CNY", "-0.01"),
        (125_001, "CNY", "12.5001"),
        (5_000_000, "JPY", "500"),
        (12_340, "KWD", "1.234"),
        (0, "CNY", "0.00"),
    ],
)
def test_amounts_are_written_as_short_as_is_exact(units: int, currency: str, text: str) -> None:
    assert format_amount(units, currency) == text
