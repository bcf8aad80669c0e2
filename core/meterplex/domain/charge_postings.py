"""How the amount of a charge is booked: who pays it, and what it is earned or collected for."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, Category
from meterplex.domain.ledger import (
    LedgerAccount,
    Posting,
    customer,
    receivable,
    revenue,
    signed,
    take_credit,
    tax,
)
from meterplex.domain.registers import Utility


def shares_of(lines: Iterable[Mapping[str, Any]], utility: Utility) -> dict[LedgerAccount, int]:
    """Return what charge lines are earned for: each tax apart, the rest the utility's revenue."""
    shares: Counter[LedgerAccount] = Counter()
    for line in lines:
        code = line.get("tax_code", "")
        shares[tax(code) if code else revenue(utility)] += line["amount_units"]
    return {target: amount for target, amount in sorted(shares.items()) if amount}


def charge_postings(
    account: Account,
    mode: AccountMode,
    balance_units: int,
    shares: Mapping[LedgerAccount, int],
) -> tuple[Posting, ...]:
    """Return the postings of a charge whose balance is kept on the server.

    Prepaid credit is taken down to the overdraft, the rest is owed; post-paid all is owed. What
    is given back goes where it would have come from, before anything is taken.

    Args:
        balance_units: of the wallet before.
        shares: ledger units by what they are for; below zero gives back.
    """
    owed = receivable(account.id, Category.UTILITY)
    wallet = customer(account.id)
    postings: list[Posting] = []
    for target, amount in sorted(shares.items(), key=lambda share: (share[1] > 0, share[0])):
        if not mode.prepaid:
            postings += signed(owed, target, amount)
            continue
        taken = take_credit(balance_units, account.overdraft_units, owed, wallet, target, amount)
        balance_units += wallet_change(account, taken)
        postings += taken
    return tuple(postings)


def wallet_change(account: Account, postings: Iterable[Posting]) -> int:
    """Return by how much postings change the wallet of an account."""
    wallet = customer(account.id)
    return sum(
        posting.amount_units * ((posting.credit == wallet) - (posting.debit == wallet))
        for posting in postings
    )
