import pytest

from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import (
    ACCOUNT_MOVES,
    DEDUCTION_ORDER,
    AccountState,
    Category,
    format_deduction_order,
    parse_deduction_order,
)


def test_deduction_order_is_read_as_it_is_written() -> None:
    order = (Category.UTILITY, Category.FEE, Category.DEBT, Category.RENT)
    assert parse_deduction_order(format_deduction_order(order)) == order
    assert parse_deduction_order(" debt, rent ,fee,utility") == DEDUCTION_ORDER


@pytest.mark.parametrize(
    "text",
    ["", "debt", "debt,rent,fee", "debt,rent,fee,fee", "debt,rent,fee,water", "debt,rent,,fee"],
)
def test_deduction_order_names_each_category_once(text: str) -> None:
    with pytest.raises(ValueError, match="expected each of debt, rent, fee, utility once"):
        parse_deduction_order(text)


@pytest.mark.parametrize(
    ("mode", "in_meter", "prepaid"),
    [
        (AccountMode.PREPAID_SERVER, False, True),
        (AccountMode.PREPAID_METER, True, True),
        (AccountMode.POSTPAID, False, False),
        (AccountMode.CARD, True, True),
        (AccountMode.TOKEN, True, True),
        (AccountMode.PACKAGE, False, True),
    ],
)
def test_mode_says_who_keeps_the_balance_and_when_is_paid(
    mode: AccountMode, in_meter: bool, prepaid: bool
) -> None:
    assert (mode.in_meter, mode.prepaid) == (in_meter, prepaid)


def test_closed_account_is_never_opened_again() -> None:
    assert ACCOUNT_MOVES[AccountState.CLOSED] == frozenset()
    assert ACCOUNT_MOVES[AccountState.CLOSING] == {AccountState.CLOSED}
    assert set(ACCOUNT_MOVES) == set(AccountState)
