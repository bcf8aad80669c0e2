from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.domain.accounts import Category
from meterplex.domain.estate import AccountId, BindingId, OrganisationId
from meterplex.domain.ledger import (
    BROUGHT_IN,
    ROUNDING,
    Entry,
    EntryId,
    EntryKind,
    LedgerAccount,
    LedgerError,
    LedgerKind,
    Posting,
    cash,
    changes,
    customer,
    debt,
    in_meter,
    next_period,
    open_period,
    period_of,
    receivable,
    refund_payable,
    revenue,
    reverse,
    signed,
    suspense,
    take_credit,
    tax,
    transit,
)

ACCOUNT = AccountId(UUID(int=7))
BINDING = BindingId(UUID(int=8))
AT = datetime(2026, 7, 1, 8, tzinfo=UTC)
WALLET, OWED, EARNED = (
    customer(ACCOUNT),
    receivable(ACCOUNT, Category.UTILITY),
    revenue("electricity"),
)

NAMES = (WALLET, OWED, EARNED, cash("cash"), transit(BINDING), in_meter(BINDING), ROUNDING)
postings = st.builds(
    lambda pair, amount: Posting(pair[0], pair[1], amount),
    st.permutations(NAMES).map(lambda names: names[:2]),
    st.integers(1, 10**15),
)


def entry(*booked: Posting) -> Entry:
    return Entry(
        EntryId(UUID(int=1)),
        OrganisationId(UUID(int=2)),
        EntryKind.PAYMENT,
        "CNY",
        AT,
        date(2026, 7, 1),
        booked,
        "anna",
        account_id=ACCOUNT,
    )


@given(st.lists(postings, max_size=20))
def test_changes_of_any_postings_sum_to_zero(booked: list[Posting]) -> None:
    assert sum(changes(booked).values()) == 0


@given(st.lists(postings, min_size=1, max_size=20))
def test_entry_and_its_reversal_change_nothing(booked: list[Posting]) -> None:
    first = entry(*booked)
    back = reverse(first, EntryId(UUID(int=3)), AT, date(2026, 8, 1), "bert")
    assert changes(first.postings + back.postings) == {}


def test_reversal_names_what_it_takes_back() -> None:
    first = entry(Posting(cash("cash"), WALLET, 100))
    back = reverse(first, EntryId(UUID(int=3)), AT, date(2026, 8, 1), "bert")
    assert (back.reverses_id, back.kind, back.period) == (
        first.id,
        EntryKind.REVERSAL,
        date(2026, 8, 1),
    )
    assert (back.account_id, back.operator) == (ACCOUNT, "bert")


@pytest.mark.parametrize("amount", [0, -1])
def test_posting_of_no_amount_is_refused(amount: int) -> None:
    with pytest.raises(LedgerError, match=f"amount {amount} ledger units, expected above 0"):
        Posting(WALLET, EARNED, amount)


def test_posting_to_the_account_it_comes_from_is_refused() -> None:
    with pytest.raises(LedgerError, match="debits and credits customer:"):
        Posting(WALLET, WALLET, 1)


def test_entry_without_posting_is_refused() -> None:
    with pytest.raises(LedgerError, match="no posting"):
        entry()


@pytest.mark.parametrize(
    ("account", "text"),
    [
        (ROUNDING, "rounding"),
        (BROUGHT_IN, "brought_in"),
        (cash("bank"), "cash:bank"),
        (WALLET, f"customer:{ACCOUNT}"),
        (transit(BINDING), f"transit:{BINDING}"),
        (in_meter(BINDING), f"meter:{BINDING}"),
        (EARNED, "revenue:electricity"),
        (refund_payable(ACCOUNT), f"refund_payable:{ACCOUNT}"),
        (suspense(BINDING), f"suspense:{BINDING}"),
        (receivable(ACCOUNT, Category.RENT), f"receivable:{ACCOUNT}/rent"),
        (debt(UUID(int=9)), f"debt:{UUID(int=9)}"),
        (tax("VAT13"), "tax:VAT13"),
    ],
)
def test_ledger_account_is_named_by_kind_and_subject(account: LedgerAccount, text: str) -> None:
    assert str(account) == text


def test_every_kind_of_the_protocol_is_there() -> None:
    words = "cash customer transit meter revenue refund_payable suspense rounding receivable debt"
    assert {*words.split(), "tax", "brought_in"} == set(LedgerKind)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (5, (Posting(WALLET, EARNED, 5),)),
        (0, ()),
        (-5, (Posting(EARNED, WALLET, 5),)),
    ],
)
def test_signed_amount_goes_its_way_or_back(amount: int, expected: tuple[Posting, ...]) -> None:
    assert signed(WALLET, EARNED, amount) == expected


@pytest.mark.parametrize(
    ("balance", "overdraft", "amount", "from_wallet", "owed"),
    [
        (100, 0, 60, 60, 0),
        (100, 0, 100, 100, 0),
        (100, 0, 130, 100, 30),
        (100, 50, 130, 130, 0),
        (100, 50, 200, 150, 50),
        (0, 0, 10, 0, 10),
        (-50, 50, 10, 0, 10),
        (-70, 50, 10, 0, 10),  # an overdraft that was made smaller later
        (100, 0, 0, 0, 0),
        (100, 0, -10, -10, 0),
    ],
)
def test_charge_takes_the_wallet_to_its_overdraft_and_the_rest_is_owed(
    balance: int, overdraft: int, amount: int, from_wallet: int, owed: int
) -> None:
    moved = changes(take_credit(balance, overdraft, OWED, WALLET, EARNED, amount))
    assert moved.get(WALLET, 0) == -from_wallet
    assert moved.get(OWED, 0) == -owed
    assert moved.get(EARNED, 0) == amount


@given(st.integers(-1000, 1000), st.integers(0, 500), st.integers(1, 3000))
def test_charge_never_takes_the_wallet_below_its_overdraft(
    balance: int, overdraft: int, amount: int
) -> None:
    moved = changes(take_credit(balance, overdraft, OWED, WALLET, EARNED, amount))
    assert balance + moved.get(WALLET, 0) >= min(balance, -overdraft)


@pytest.mark.parametrize(
    ("day", "period", "after"),
    [
        (date(2026, 1, 31), date(2026, 1, 1), date(2026, 2, 1)),
        (date(2028, 2, 29), date(2028, 2, 1), date(2028, 3, 1)),
        (date(2026, 12, 1), date(2026, 12, 1), date(2027, 1, 1)),
    ],
)
def test_periods_are_months(day: date, period: date, after: date) -> None:
    assert period_of(day) == period
    assert next_period(period) == after


@pytest.mark.parametrize(
    ("closed", "opened"),
    [
        ([], date(2026, 11, 1)),
        ([date(2026, 10, 1)], date(2026, 11, 1)),
        ([date(2026, 11, 1)], date(2026, 12, 1)),
        ([date(2026, 12, 1), date(2026, 11, 1)], date(2027, 1, 1)),
    ],
)
def test_what_is_late_goes_into_the_first_open_period(closed: list[date], opened: date) -> None:
    assert open_period(date(2026, 11, 1), closed) == opened
