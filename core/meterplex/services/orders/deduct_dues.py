"""What a payment settles before it becomes credit, in the order that the account declares."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account, Category
from meterplex.domain.bills import AccountDebt
from meterplex.domain.deductions import Allocation, Deduction, Due, allocate
from meterplex.domain.ledger import LedgerAccount, Posting, debt, receivable

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
    debts = await uow.debt_plans.of_account(account.organisation_id, account.id)
    dues = await dues_of(uow, account, debts)
    plans = [each.plan for each in debts]
    return allocate(payment_units, dues, account.deduction_order, plans, at=at)


async def dues_of(
    uow: UnitOfWork, account: Account, debts: Iterable[AccountDebt] = ()
) -> tuple[Due, ...]:
    """Return what an account owes by the ledger: one due a category, and one a debt."""
    dues_by_name = {
        receivable(account.id, category): Due(category, category.value, 0, account.opened_at)
        for category in OWED
    } | {debt(each.id): Due(Category.DEBT, each.plan.key, 0, each.created_at) for each in debts}
    balances = await uow.ledger.lock(account.organisation_id, account.currency, list(dues_by_name))
    return tuple(
        replace(due, amount_units=-balances[name])
        for name, due in dues_by_name.items()
        if balances[name] < 0
    )


def claim_of(account: Account, due: Due) -> LedgerAccount:
    """Return the ledger account that a due is owed on."""
    if due.category is Category.DEBT:
        return debt(UUID(due.key))
    return receivable(account.id, due.category)


def postings_of(
    account: Account, source: LedgerAccount, allocations: Iterable[Allocation]
) -> tuple[Posting, ...]:
    """Return the postings that give a payment, or credit, to what is owed."""
    return tuple(
        Posting(source, claim_of(account, each.due), each.amount_units) for each in allocations
    )


def settled_by(allocations: Iterable[Allocation]) -> tuple[Settled, ...]:
    """Return allocations as they are told and kept."""
    return tuple(
        Settled(each.due.category, each.due.key, each.amount_units) for each in allocations
    )
