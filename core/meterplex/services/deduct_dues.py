"""What a payment settles before it becomes credit, in the order that the account declares."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account, Category
from meterplex.domain.deductions import Allocation, Deduction, Due, allocate
from meterplex.domain.ledger import LedgerAccount, Posting, receivable

OWED: Final = tuple(category for category in Category if category is not Category.DEBT)
"""Categories that an account owes in one sum each; debts are owed by plan."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a payment gave to one due, in ledger units."""

    category: Category
    key: str
    amount_units: int


async def deduct(
    uow: UnitOfWork, account: Account, payment_units: int, *, at: datetime
) -> Deduction:
    """Deal a payment out over what an account owes; its receivables are held until the end."""
    dues = await dues_of(uow, account)
    return allocate(payment_units, dues, account.deduction_order, at=at)


async def dues_of(uow: UnitOfWork, account: Account) -> tuple[Due, ...]:
    """Return what an account owes by the ledger, one due a category."""
    names = {receivable(account.id, category): category for category in OWED}
    balances = await uow.ledger.lock(account.organisation_id, account.currency, list(names))
    return tuple(
        Due(category, category.value, -balances[name], account.opened_at)
        for name, category in names.items()
        if balances[name] < 0
    )


def postings_of(
    account: Account, source: LedgerAccount, allocations: Iterable[Allocation]
) -> tuple[Posting, ...]:
    """Return the postings that give a payment, or credit, to what is owed."""
    return tuple(
        Posting(source, receivable(account.id, each.due.category), each.amount_units)
        for each in allocations
    )


def settled_by(allocations: Iterable[Allocation]) -> tuple[Settled, ...]:
    """Return allocations as they are told and kept."""
    return tuple(
        Settled(each.due.category, each.due.key, each.amount_units) for each in allocations
    )
