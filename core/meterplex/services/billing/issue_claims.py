"""What is claimed from an account beside its use: entry, bill, and credit set against it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account, Category
from meterplex.domain.bills import BillId, FeeId, IssuedBill, ShareRunId
from meterplex.domain.deductions import allocate
from meterplex.domain.estate import Site
from meterplex.domain.ledger import EntryKind, Posting, customer, receivable, revenue
from meterplex.services.billing.settle_bills import note_paid
from meterplex.services.books.book_entries import book
from meterplex.services.orders.deduct_dues import dues_of, postings_of

BILL_NUMBERS: Final = "bill"
"""The sequence of a site that bills are numbered by."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What an account is to pay, and why.

    Attributes:
        earned: what the revenue is for.
        amount_units: ledger units, whole minor units, above zero.
    """

    kind: EntryKind
    category: Category
    title: str
    earned: str
    since: date
    until: date
    due_on: date
    amount_units: int
    lines: tuple[Mapping[str, Any], ...]
    fee_id: FeeId | None = None
    share_run_id: ShareRunId | None = None


async def claim(
    uow: UnitOfWork, site: Site, account: Account, made: Claim, *, at: datetime, operator: str
) -> IssuedBill:
    """Book a claim, set the account's credit against it, and write the bill.

    To be called with the account held.
    """
    entry = await book(
        uow,
        site,
        made.kind,
        [Posting(receivable(account.id, made.category), revenue(made.earned), made.amount_units)],
        currency=account.currency,
        at=at,
        operator=operator,
        account=account,
        memo=f"{made.title} {made.since} to {made.until}",
    )
    bill = IssuedBill(
        id=BillId(uuid_utils.compat.uuid7()),
        organisation_id=account.organisation_id,
        site_id=site.id,
        account_id=account.id,
        number=await take_bill_number(uow, site, at),
        category=made.category,
        title=made.title,
        since=made.since,
        until=made.until,
        issued_at=at,
        due_on=made.due_on,
        currency=account.currency,
        amount_units=made.amount_units,
        lines=made.lines,
        fee_id=made.fee_id,
        share_run_id=made.share_run_id,
        entry_id=None if entry is None else entry.id,
    )
    return await put_bill(uow, site, account, bill, operator=operator)


async def put_bill(
    uow: UnitOfWork, site: Site, account: Account, bill: IssuedBill, *, operator: str
) -> IssuedBill:
    """Write a new bill whose claim is booked, and set the account's credit against what is owed."""
    await uow.bills.add(bill)
    await note_paid(uow, account.organisation_id, account.id, account.currency, bill.issued_at)
    await settle_from_wallet(uow, site, account, at=bill.issued_at, operator=operator)
    return await uow.bills.get(account.organisation_id, bill.id)


async def take_bill_number(uow: UnitOfWork, site: Site, at: datetime) -> str:
    """Return the next number of a site's bills, such as ``EAST-B2026-000123``."""
    year = at.astimezone(ZoneInfo(site.time_zone)).year
    sequence = await uow.site_records.take_number(site.organisation_id, site.id, BILL_NUMBERS)
    return f"{site.code.upper()}-B{year}-{sequence:06d}"


async def settle_from_wallet(
    uow: UnitOfWork, site: Site, account: Account, *, at: datetime, operator: str
) -> int:
    """Set the credit of an account against what it owes, in its order of deduction.

    Debts under plans are left alone: they were agreed to be paid from payments.

    Returns:
        The ledger units that were set off; never more than the credit above zero.
    """
    wallet = customer(account.id)
    balances = await uow.ledger.balances(account.organisation_id, account.currency, [wallet])
    credit_units = max(balances[wallet], 0)
    if not credit_units:
        return 0
    dues = await dues_of(uow, account)
    deduction = allocate(credit_units, dues, account.deduction_order, at=at)
    await book(
        uow,
        site,
        EntryKind.SETTLEMENT,
        postings_of(account, wallet, deduction.allocations),
        currency=account.currency,
        at=at,
        operator=operator,
        account=account,
        memo="credit set against what is owed",
    )
    return credit_units - deduction.rest_units
