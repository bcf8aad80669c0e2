"""Fees that come with the calendar: agreed, ended, and booked once for each period (F70, F101).

Each period of a fee is claimed with its bill in the transaction that moves the date up to which
the fee is charged, so it is claimed once, whoever runs this and however often.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Final

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.domain.accounts import Account, AccountState, Category
from meterplex.domain.bills import AccountFee, FeeId, IssuedBill
from meterplex.domain.estate import AccountId, OrganisationId, SiteId
from meterplex.domain.fees import Fee, FeeDue, FeePeriod, fees_due
from meterplex.domain.ledger import EntryKind
from meterplex.services.accounts.find_accounts import checked_name, hold_account
from meterplex.services.accounts.messages import reconsider_supply
from meterplex.services.billing.issue_claims import Claim, claim
from meterplex.services.books.amounts import format_amount
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.operators.audit import record

LIVING: Final = frozenset({AccountState.OPEN, AccountState.SUSPENDED})
"""Accounts that owe fees; one that is being closed owes no new ones."""


@dataclass(frozen=True, slots=True)
class NewFee:
    """A fee as agreed; see :class:`~meterplex.domain.fees.Fee`."""

    account_id: AccountId
    category: Category
    text: str
    price: Decimal
    starts_on: date
    period: FeePeriod = FeePeriod.MONTH
    area_m2: Decimal | None = None
    ends_on: date | None = None
    in_advance: bool = True
    due_days: int = 0


async def add_fee(
    database: Database,
    organisation_id: OrganisationId,
    new: NewFee,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> AccountFee:
    """Agree a fee with an account; it is claimed by :func:`charge_fees`.

    Raises:
        FeeError: a price, area, category or span that means nothing.
        MoneyError: no such account, one that is closed, or no text.
    """
    async with database.unit_of_work() as uow:
        account = await hold_account(uow, organisation_id, new.account_id, LIVING)
        fee_id = FeeId(uuid_utils.compat.uuid7())
        fee = Fee(
            key=str(fee_id),
            category=new.category,
            text=checked_name(new.text, "text"),
            price=new.price,
            currency=account.currency,
            starts_on=new.starts_on,
            period=new.period,
            area_m2=new.area_m2,
            ends_on=new.ends_on,
            in_advance=new.in_advance,
            due_days=new.due_days,
        )
        added = AccountFee(fee_id, organisation_id, account.id, fee, new.starts_on, operator)
        await uow.fees.add(added)
        detail = {"text": fee.text, "price": str(fee.price), "from": str(fee.starts_on)}
        subject = f"account {account.number}"
        await record(uow, organisation_id, operator, "fee.add", subject, detail, at)
        if not dry_run:
            await uow.commit()
    return added


async def end_fee(
    database: Database,
    organisation_id: OrganisationId,
    fee_id: FeeId,
    ends_on: date,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> AccountFee:
    """Let a fee end; ``ends_on`` is the first date without it.

    Raises:
        NotFoundError: the organisation has no such fee.
        FeeError: it would end before it begins.
        MoneyConflictError: it is charged further than that already.
    """
    async with database.unit_of_work() as uow:
        found = await uow.fees.get(organisation_id, fee_id)
        account = await hold_account(
            uow, organisation_id, found.account_id, frozenset(AccountState)
        )
        found = await uow.fees.get(organisation_id, fee_id)
        if ends_on < found.charged_until:
            reason = f"{ends_on}: charged until {found.charged_until}, it cannot end before"
            raise MoneyConflictError("ends_on", reason)
        ended = replace(found, fee=replace(found.fee, ends_on=ends_on))
        await uow.fees.replace(ended)
        detail = {"text": found.fee.text, "ends_on": str(ends_on)}
        subject = f"account {account.number}"
        await record(uow, organisation_id, operator, "fee.end", subject, detail, at)
        if not dry_run:
            await uow.commit()
    return ended


async def charge_fees(
    database: Database,
    organisation_id: OrganisationId,
    until: date,
    *,
    at: datetime,
    operator: str,
    site_ids: Collection[SiteId] | None = None,
    dry_run: bool = False,
) -> tuple[IssuedBill, ...]:
    """Claim what of all fees begins (in advance) or has ended (afterwards) by a local date.

    Args:
        until: the last date that counts; running again up to it claims nothing more.
        site_ids: of the accounts; None for all.

    Returns:
        The bills, in the order of the accounts' numbers; in a dry run their numbers are what they
        would be one by one.
    """
    async with database.unit_of_work(read_only=True) as uow:
        accounts = {account.id: account for account in await uow.accounts.all(organisation_id)}
        due = {
            fee.account_id
            for fee in await uow.fees.all(organisation_id)
            if fee.charged_until < fee.target(until)
        }
    chosen = [
        account
        for account in accounts.values()
        if account.id in due
        and account.state in LIVING
        and (site_ids is None or account.site_id in site_ids)
    ]
    bills: list[IssuedBill] = []
    for account in chosen:
        async with database.unit_of_work() as uow:
            bills += await _charge_account(uow, account, until, at, operator)
            if not dry_run:
                await uow.commit()
    return tuple(bills)


async def _charge_account(
    uow: UnitOfWork, chosen: Account, until: date, at: datetime, operator: str
) -> list[IssuedBill]:
    account = await uow.accounts.lock(chosen.organisation_id, chosen.id)
    if account.state not in LIVING:
        return []
    bills: list[IssuedBill] = []
    for fee in await uow.fees.of_account(account.organisation_id, account.id):
        target = fee.target(until)
        if fee.charged_until < target:
            for due in fees_due(fee.fee, fee.charged_until, target):
                bills += await _claim_due(uow, account, fee, due, at, operator)
            await uow.fees.replace(replace(fee, charged_until=target))
    if bills:
        await reconsider_supply(uow, account, at)
        total = sum(bill.amount_units for bill in bills)
        detail = {
            "bills": ", ".join(bill.number for bill in bills),
            "amount": format_amount(total, account.currency),
        }
        subject = f"account {account.number}"
        await record(uow, account.organisation_id, operator, "fee.charge", subject, detail, at)
    return bills


async def _claim_due(
    uow: UnitOfWork,
    account: Account,
    fee: AccountFee,
    due: FeeDue,
    at: datetime,
    operator: str,
) -> list[IssuedBill]:
    if due.amount_units == 0:
        return []
    site = await uow.sites.get(account.organisation_id, account.site_id)
    text = fee.fee.text
    line = {"text": f"{text} {due.start} - {due.end}", "amount_units": due.amount_units}
    made = Claim(
        kind=EntryKind.FEE,
        category=fee.fee.category,
        title=text,
        earned=fee.fee.category.value,
        since=due.start,
        until=due.end,
        due_on=due.due_on,
        amount_units=due.amount_units,
        lines=(line,),
        fee_id=fee.id,
    )
    return [await claim(uow, site, account, made, at=at, operator=operator)]


async def find_fee(
    uow: UnitOfWork, organisation_id: OrganisationId, fee_id: FeeId
) -> tuple[AccountFee, Account]:
    """Return a fee with its account.

    Raises:
        NotFoundError: the organisation has no such fee.
    """
    fee = await uow.fees.get(organisation_id, fee_id)
    return fee, await uow.accounts.get(organisation_id, fee.account_id)


def parse_fee_period(text: str, field: str) -> FeePeriod:
    """Read ``month``, ``quarter``, ``half_year`` or ``year``.

    Raises:
        MoneyInputError: another word.
    """
    try:
        return FeePeriod[text.upper()]
    except KeyError as error:
        known = ", ".join(period.name.lower() for period in FeePeriod)
        raise MoneyInputError(field, f"{text!r}: expected one of {known}") from error
