"""Post-paid bills: once a month, of what was charged, rounded once, with a due date (F87, F105)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, AccountState, Category
from meterplex.domain.billed_use import billed, describe_use, gather, unbilled
from meterplex.domain.billing import BillLine, PostpaidBill, issue_bill, minor_step_units
from meterplex.domain.bills import BillId, IssuedBill
from meterplex.domain.charges import ChargeKind
from meterplex.domain.estate import AccountId, BindingId, OrganisationId, Site
from meterplex.domain.ledger import ROUNDING, EntryKind, next_period, receivable, signed
from meterplex.services.accounts.messages import reconsider_supply
from meterplex.services.billing.issue_claims import put_bill, take_bill_number
from meterplex.services.books.amounts import format_amount
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import MoneyInputError, UnknownThingError
from meterplex.services.operators.audit import record

TITLE: Final = "use"
NET_DAYS: Final = 14
"""Days to pay, where nothing else is said (choice)."""
LATE: Final = timedelta(days=1)
"""How long after its time of booking a charge may be committed; older ones are not looked up."""


@dataclass(frozen=True, slots=True)
class _Work:
    """The months to bill: one of a site."""

    site: Site
    month: date
    net_days: int
    at: datetime
    operator: str

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.site.time_zone)

    def midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone)


async def issue_bills(
    database: Database,
    site: Site,
    month: date,
    *,
    at: datetime,
    operator: str,
    net_days: int = NET_DAYS,
    account_ids: Collection[AccountId] | None = None,
    dry_run: bool = False,
) -> tuple[IssuedBill, ...]:
    """Bill what the post-paid accounts of a site used in a month, and what came late since.

    An account that has a bill for the month gets none, nor does one that owes nothing for it;
    what it may have got back stays for its next bill. Each account is a transaction of its own.

    Args:
        month: its first day; it must be over at the site.
        account_ids: whom to bill; None for all.

    Returns:
        The new bills, in the order of the accounts' numbers; in a dry run without numbers.

    Raises:
        MoneyInputError: not the first of a month, or one that is not over.
    """
    work = _Work(site, month, net_days, at, operator)
    if month.day != 1:
        raise MoneyInputError("month", f"{month}: expected the first day of a month")
    if at < work.midnight(next_period(month)):
        raise MoneyInputError("month", f"{month:%Y-%m} is not over at site {site.code!r}")
    if net_days < 0:
        raise MoneyInputError("net_days", f"{net_days}: expected no less than 0")
    async with database.unit_of_work(read_only=True) as uow:
        accounts = await uow.accounts.in_site(site.organisation_id, site.id)
    bills = []
    for account in accounts:
        if account_ids is not None and account.id not in account_ids:
            continue
        if account.state is AccountState.CLOSED:
            continue
        async with database.unit_of_work() as uow:
            bill = await _bill_account(uow, work, account.id)
            if bill is None:
                continue
            if dry_run:
                bill = replace(bill, number="")
            else:
                await uow.commit()
        bills.append(bill)
    return tuple(bills)


async def _bill_account(uow: UnitOfWork, work: _Work, account_id: AccountId) -> IssuedBill | None:
    account = await uow.accounts.lock(work.site.organisation_id, account_id)
    organisation_id, end = account.organisation_id, next_period(work.month)
    before = await uow.bills.of_account(organisation_id, account.id, Category.UTILITY)
    if any(bill.until >= end for bill in before):
        return None
    lines = await _lines(uow, work, account, before)
    payable = issue_bill(
        TITLE,
        (work.month, end),
        [BillLine(line["text"], line["amount_units"]) for line in lines],
        currency=account.currency,
        issued_on=work.at.astimezone(work.zone).date(),
        net_days=work.net_days,
    )
    if payable.payable_minor <= 0:
        return None
    bill = await _write(uow, work, account, payable, lines)
    await reconsider_supply(uow, account, work.at)
    detail = {
        "account": account.number,
        "month": f"{work.month:%Y-%m}",
        "amount": format_amount(bill.amount_units, bill.currency),
    }
    subject = f"bill {bill.number}"
    await record(uow, organisation_id, work.operator, "bill.issue", subject, detail, work.at)
    return bill


async def _lines(
    uow: UnitOfWork, work: _Work, account: Account, before: Sequence[IssuedBill]
) -> list[dict[str, Any]]:
    """Return what is charged up to the month's end and on no bill yet."""
    points = await postpaid_points(uow, account)
    since = await _first_month(uow, work, account, before)
    if not points or since is None:
        return []
    charges = await uow.charges.of_account(
        account.organisation_id, account.id, work.midnight(since)
    )
    mine = [
        charge
        for charge in charges
        if charge.binding_id in points and charge.kind is not ChargeKind.METERED
    ]
    charged = {
        key: use
        for key, use in gather(mine, points, work.zone).items()
        if since <= key.month <= work.month
    }
    said = billed(line for bill in before for line in bill.lines)
    said = {key: use for key, use in said.items() if since <= key.month}
    return [describe_use(key, use, work.month) for key, use in unbilled(charged, said)]


async def _first_month(
    uow: UnitOfWork, work: _Work, account: Account, before: Sequence[IssuedBill]
) -> date | None:
    """Return the first month of which charges may have become known since the last bill."""
    booked_from = account.opened_at if not before else before[-1].issued_at
    oldest = await uow.bills.oldest_charged_since(
        account.organisation_id, account.id, booked_from - LATE
    )
    if oldest is None:
        return None
    after = before[-1].until if before else work.month
    return min(oldest.astimezone(work.zone).date().replace(day=1), after, work.month)


async def postpaid_points(uow: UnitOfWork, account: Account) -> dict[BindingId, str]:
    """Return the codes of the usage points that an account pays for afterwards, by binding."""
    bindings = [
        binding
        for binding in await uow.bindings.of_account(account.organisation_id, account.id)
        if binding.mode is AccountMode.POSTPAID
    ]
    points = await uow.usage_points.by_ids(
        account.organisation_id, {binding.usage_point_id for binding in bindings}
    )
    return {binding.id: points[binding.usage_point_id].code for binding in bindings}


async def _write(
    uow: UnitOfWork,
    work: _Work,
    account: Account,
    payable: PostpaidBill,
    lines: Sequence[dict[str, Any]],
) -> IssuedBill:
    entry = await book(
        uow,
        work.site,
        EntryKind.BILL,
        signed(receivable(account.id, Category.UTILITY), ROUNDING, payable.rounding_units),
        currency=account.currency,
        at=work.at,
        operator=work.operator,
        account=account,
        memo=f"rounding of the bill of {work.month:%Y-%m}",
    )
    bill = IssuedBill(
        id=BillId(uuid_utils.compat.uuid7()),
        organisation_id=account.organisation_id,
        site_id=work.site.id,
        account_id=account.id,
        number=await take_bill_number(uow, work.site, work.at),
        category=Category.UTILITY,
        title=f"{TITLE} {work.month:%Y-%m}",
        since=payable.start,
        until=payable.end,
        issued_at=work.at,
        due_on=payable.due_on,
        currency=account.currency,
        amount_units=payable.payable_minor * minor_step_units(account.currency),
        lines=tuple(lines),
        entry_id=None if entry is None else entry.id,
    )
    return await put_bill(uow, work.site, account, bill, operator=work.operator)


async def find_bill(uow: UnitOfWork, organisation_id: OrganisationId, number: str) -> IssuedBill:
    """Return the bill of a number.

    Raises:
        UnknownThingError: the organisation has none, or two sites have one.
    """
    found = await uow.bills.by_number(organisation_id, number)
    if len(found) != 1:
        raise UnknownThingError("bill", f"{len(found) or 'no'} bill {number!r}")
    return found[0]
