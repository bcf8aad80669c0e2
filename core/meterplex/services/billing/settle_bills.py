"""Keeps bills and debt plans in step with the ledger: the oldest is settled first.

What an account owes in a category is its receivable. A bill over charges claims what was booked
already, so what no bill names yet is taken off; the rest is open, and it is the newest bills that
it is open of. Reckoned so, a payment, its reversal, a settlement from credit or a debt that moves
under a plan all leave bills and books agreeing, in whatever order they come.
"""

from datetime import datetime
from typing import Final

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Category
from meterplex.domain.bills import IssuedBill, spread_outstanding
from meterplex.domain.estate import AccountId, OrganisationId
from meterplex.domain.ledger import EntryKind, debt, receivable

CHARGED: Final = (EntryKind.CHARGE, EntryKind.ADJUSTMENT)
"""What claims use before there is a bill over it."""


async def note_paid(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    account_id: AccountId,
    currency: str,
    at: datetime,
) -> None:
    """Write what of each bill of an account is settled, and which debts are paid off.

    To be called with the account held, after what was booked for it.
    """
    for category in Category:
        if category is not Category.DEBT:
            await _note_bills(uow, organisation_id, account_id, currency, category)
    await _note_plans(uow, organisation_id, account_id, currency, at)


async def _note_bills(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    account_id: AccountId,
    currency: str,
    category: Category,
) -> None:
    bills = await uow.bills.of_account(organisation_id, account_id, category)
    if not bills:
        return
    outstanding = await billed_units_open(uow, organisation_id, account_id, currency, bills)
    paid = spread_outstanding([bill.amount_units for bill in bills], outstanding)
    for bill, paid_units in zip(bills, paid, strict=True):
        if bill.paid_units != paid_units:
            await uow.bills.set_paid(organisation_id, bill.id, paid_units)


async def billed_units_open(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    account_id: AccountId,
    currency: str,
    bills: tuple[IssuedBill, ...],
) -> int:
    """Return what the ledger says is still owed of all bills of an account in one category."""
    category = bills[0].category
    owed = receivable(account_id, category)
    balances = await uow.ledger.balances(organisation_id, currency, [owed])
    unbilled = 0
    if category is Category.UTILITY:
        charged = -await uow.ledger.moved(organisation_id, currency, owed, CHARGED)
        unbilled = charged - sum(bill.amount_units - bill.rounding_units for bill in bills)
    return max(-balances[owed] - unbilled, 0)


async def _note_plans(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    account_id: AccountId,
    currency: str,
    at: datetime,
) -> None:
    plans = await uow.debt_plans.of_account(organisation_id, account_id, ended=True)
    names = {plan.id: debt(plan.id) for plan in plans}
    if not names:
        return
    balances = await uow.ledger.balances(organisation_id, currency, list(names.values()))
    left = {plan_id: -balances[name] for plan_id, name in names.items()}
    for plan in plans:
        if plan.ended_at is None and left[plan.id] == 0:
            await uow.debt_plans.set_ended(organisation_id, plan.id, at)
        elif plan.ended_at is not None and left[plan.id] > 0:
            await uow.debt_plans.set_ended(organisation_id, plan.id, None)
