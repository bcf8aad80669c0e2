"""Closes a month of the books for ever; what becomes known late is booked in the next open one."""

from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from meterplex.db import Database, UnitOfWork
from meterplex.db.ledger import ClosedPeriod
from meterplex.domain.estate import OrganisationId
from meterplex.domain.ledger import next_period
from meterplex.services.books.book_entries import find_discrepancies
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.operators.audit import record

FIELD: Final = "period"


class BooksWrongError(MoneyConflictError):
    """The books do not balance: they are looked into before anything is closed."""


async def close_period(
    database: Database,
    organisation_id: OrganisationId,
    period: date,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> ClosedPeriod:
    """Close a month: the oldest that is open, over at every site, with books that are right.

    Returns:
        The period with the trial balance it was closed with: all that was ever booked up to its
        end, by currency and ledger account.

    Raises:
        MoneyInputError: not the first of a month, or one that is not over.
        MoneyConflictError: closed already, or a month before it is open.
        BooksWrongError: a balance differs from its postings, or they do not sum to zero.
    """
    async with database.unit_of_work() as uow:
        await _check_over(uow, organisation_id, period, at)
        await uow.ledger.hold_still()
        await _check_turn(uow, organisation_id, period)
        problems = await find_discrepancies(uow, organisation_id)
        if problems:
            raise BooksWrongError(FIELD, "; ".join(problems))
        balances = await trial_balance(uow, organisation_id, until=next_period(period))
        closed = ClosedPeriod(period, at, operator, balances)
        await uow.ledger.close_period(organisation_id, closed)
        detail = {"period": f"{period:%Y-%m}", "accounts": str(len(balances))}
        subject = f"period {period:%Y-%m}"
        await record(uow, organisation_id, operator, "ledger.close_period", subject, detail, at)
        if not dry_run:
            await uow.commit()
    return closed


async def trial_balance(
    uow: UnitOfWork, organisation_id: OrganisationId, *, until: date | None = None
) -> dict[str, int]:
    """Return the balances by ``currency account``, as their postings sum them, without zeros.

    Args:
        until: the first period that does not count; None for all.
    """
    return {
        f"{currency} {account}": units
        for currency in await uow.ledger.currencies(organisation_id)
        for account, units in (
            await uow.ledger.summed(organisation_id, currency, until=until)
        ).items()
        if units
    }


async def _check_over(
    uow: UnitOfWork, organisation_id: OrganisationId, period: date, at: datetime
) -> None:
    if period.day != 1:
        raise MoneyInputError(FIELD, f"{period}: expected the first day of a month")
    end = next_period(period)
    for site in await uow.sites.all(organisation_id):
        if at.astimezone(ZoneInfo(site.time_zone)).date() < end:
            raise MoneyInputError(FIELD, f"{period:%Y-%m} is not over at site {site.code!r}")


async def _check_turn(uow: UnitOfWork, organisation_id: OrganisationId, period: date) -> None:
    closed = [each.period for each in await uow.ledger.closed_periods(organisation_id)]
    if period in closed:
        raise MoneyConflictError(FIELD, f"{period:%Y-%m} is closed already")
    oldest = await uow.ledger.oldest_period(organisation_id)
    due = next_period(closed[-1]) if closed else oldest
    if due is not None and due < period:
        raise MoneyConflictError(FIELD, f"{due:%Y-%m} is open: months are closed in order")
    if due is not None and period < due and closed:
        raise MoneyConflictError(FIELD, f"{period:%Y-%m} is before {due:%Y-%m}, the oldest open")
