from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, Category, CustomerId
from meterplex.domain.charge_postings import charge_postings, shares_of, wallet_change
from meterplex.domain.estate import AccountId, OrganisationId, SiteId
from meterplex.domain.ledger import LedgerAccount, Posting, customer, receivable, revenue, tax
from meterplex.domain.registers import ELECTRICITY

ACCOUNT = Account(
    AccountId(UUID(int=1)),
    OrganisationId(UUID(int=2)),
    SiteId(UUID(int=3)),
    CustomerId(UUID(int=4)),
    "A1",
    AccountMode.PREPAID_SERVER,
    "CNY",
    datetime(2026, 7, 1, tzinfo=UTC),
    overdraft_units=10,
)
WALLET, OWED = customer(ACCOUNT.id), receivable(ACCOUNT.id, Category.UTILITY)
EARNED, VAT = revenue("electricity"), tax("VAT13")


def test_taxes_are_shares_of_their_own() -> None:
    lines: list[dict[str, Any]] = [
        {"amount_units": 100},
        {"amount_units": 13, "tax_code": "VAT13"},
        {"amount_units": -20},
        {"amount_units": 5, "tax_code": "NONE"},
        {"amount_units": -5, "tax_code": "NONE"},
    ]
    assert shares_of(lines, ELECTRICITY) == {EARNED: 80, VAT: 13}


@pytest.mark.parametrize(
    ("balance", "shares", "expected"),
    [
        pytest.param(100, {EARNED: 60}, [Posting(WALLET, EARNED, 60)], id="covered"),
        pytest.param(
            50,
            {EARNED: 70},
            [Posting(WALLET, EARNED, 60), Posting(OWED, EARNED, 10)],
            id="past-the-overdraft",
        ),
        pytest.param(
            50,
            {EARNED: 60, VAT: 8},
            [Posting(WALLET, EARNED, 60), Posting(OWED, VAT, 8)],
            id="the-next-share-finds-less",
        ),
        pytest.param(-10, {EARNED: 5}, [Posting(OWED, EARNED, 5)], id="nothing-left"),
        pytest.param(
            -10,
            {EARNED: 5, VAT: -3},
            [Posting(VAT, WALLET, 3), Posting(WALLET, EARNED, 3), Posting(OWED, EARNED, 2)],
            id="given-back-first",
        ),
        pytest.param(0, {}, [], id="nothing"),
    ],
)
def test_prepaid_charges(
    balance: int, shares: dict[LedgerAccount, int], expected: list[Posting]
) -> None:
    postings = charge_postings(ACCOUNT, AccountMode.PREPAID_SERVER, balance, shares)
    assert list(postings) == expected


def test_postpaid_charges_are_owed_and_given_back_there() -> None:
    postings = charge_postings(ACCOUNT, AccountMode.POSTPAID, 1000, {EARNED: 60, VAT: -8})
    assert postings == (Posting(VAT, OWED, 8), Posting(OWED, EARNED, 60))
    assert wallet_change(ACCOUNT, postings) == 0
