"""Looks whether the books are right: a line for each thing that is not (``ledger check``)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account, Category
from meterplex.domain.bills import IssuedBill, spread_outstanding
from meterplex.domain.charges import Charge, ChargeKind
from meterplex.domain.estate import OrganisationId
from meterplex.domain.ledger import debt, next_period
from meterplex.domain.money import ledger_decimal
from meterplex.services.billing.settle_bills import billed_units_open
from meterplex.services.books.book_entries import find_discrepancies
from meterplex.services.books.close_period import trial_balance


async def check_books(uow: UnitOfWork, organisation_id: OrganisationId) -> tuple[str, ...]:
    """Return what is wrong with the books of an organisation; nothing while they are right.

    Balances against postings and zero, entries, closed periods, bills and debt plans against what
    is owed, and the tiles of charges.
    """
    problems = list(await find_discrepancies(uow, organisation_id))
    if bare := await uow.ledger.count_bare_entries(organisation_id):
        problems.append(f"{bare} ledger entries have no posting")
    problems += await _check_periods(uow, organisation_id)
    for account in await uow.accounts.all(organisation_id):
        problems += await _check_bills(uow, account)
        problems += await _check_debts(uow, account)
        charges = await uow.charges.of_account(organisation_id, account.id)
        problems += check_charges(account, charges)
    return tuple(problems)


async def _check_periods(uow: UnitOfWork, organisation_id: OrganisationId) -> list[str]:
    return [
        f"period {closed.period:%Y-%m}: its postings do not sum to what it was closed with"
        for closed in await uow.ledger.closed_periods(organisation_id)
        if await trial_balance(uow, organisation_id, until=next_period(closed.period))
        != closed.trial_balance
    ]


async def _check_bills(uow: UnitOfWork, account: Account) -> list[str]:
    bills: dict[Category, list[IssuedBill]] = defaultdict(list)
    for bill in await uow.bills.of_account(account.organisation_id, account.id):
        bills[bill.category].append(bill)
    problems = []
    for of_category in bills.values():
        still_open = await billed_units_open(
            uow, account.organisation_id, account.id, account.currency, tuple(of_category)
        )
        paid = spread_outstanding([bill.amount_units for bill in of_category], still_open)
        problems += [
            f"bill {bill.number} of account {account.number}: "
            f"{ledger_decimal(bill.paid_units)} {bill.currency} paid, "
            f"{ledger_decimal(paid_units)} by what is owed"
            for bill, paid_units in zip(of_category, paid, strict=True)
            if bill.paid_units != paid_units
        ]
    return problems


async def _check_debts(uow: UnitOfWork, account: Account) -> list[str]:
    organisation_id = account.organisation_id
    debts = await uow.debt_plans.of_account(organisation_id, account.id, ended=True)
    names = [debt(each.id) for each in debts]
    left = await uow.ledger.balances(organisation_id, account.currency, names)
    return [
        f"debt plan {each.name} of account {account.number}: {ledger_decimal(-left[name])} of "
        f"{ledger_decimal(each.plan.debt_units)} {each.currency} are left"
        for each, name in zip(debts, names, strict=True)
        if not 0 <= -left[name] <= each.plan.debt_units
        or (each.ended_at is not None) != (left[name] == 0)
    ]


def check_charges(account: Account, charges: Sequence[Charge]) -> Iterator[str]:
    """Yield where the charges of an account leave gaps, overlap, or differ from their lines."""
    tiles: dict[tuple[str, str], list[Charge]] = defaultdict(list)
    for charge in charges:
        if charge.kind is not ChargeKind.METERED and charge.amount_units != sum(
            line["amount_units"] for line in charge.lines
        ):
            yield f"charge {charge.id} of account {account.number}: its lines sum to another amount"
        if charge.kind is not ChargeKind.ADJUSTMENT:
            tiles[str(charge.binding_id), charge.register.slug].append(charge)
    for of_register in tiles.values():
        ordered = sorted(of_register, key=lambda charge: charge.from_at)
        for before, after in pairwise(ordered):
            if before.to_at != after.from_at:
                yield (
                    f"charges {before.id} and {after.id} of account {account.number}: one ends "
                    f"{before.to_at.isoformat()}, the next begins {after.from_at.isoformat()}"
                )
