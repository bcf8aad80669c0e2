"""The one way into the ledger: dated, in an open period, and never half."""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account
from meterplex.domain.estate import OrganisationId, Site
from meterplex.domain.ledger import Entry, EntryId, EntryKind, Posting, period_of, reverse
from meterplex.domain.prepayment.orders import OrderId


async def book(
    uow: UnitOfWork,
    site: Site,
    kind: EntryKind,
    postings: Sequence[Posting],
    *,
    currency: str,
    at: datetime,
    operator: str,
    account: Account | None = None,
    order_id: OrderId | None = None,
    memo: str = "",
) -> Entry | None:
    """Book postings as one entry, in the month of the site's local day or the first open one after.

    Args:
        account: whose statement shows it.
        operator: who, or which rule, books.

    Returns:
        The entry; None when there is nothing to post.
    """
    if not postings:
        return None
    entry = Entry(
        id=EntryId(uuid_utils.compat.uuid7()),
        organisation_id=site.organisation_id,
        kind=kind,
        currency=currency,
        booked_at=at,
        period=await uow.ledger.open_period(
            site.organisation_id, period_of(at.astimezone(ZoneInfo(site.time_zone)).date())
        ),
        postings=tuple(postings),
        operator=operator,
        account_id=None if account is None else account.id,
        order_id=order_id,
        memo=memo,
    )
    await uow.ledger.add(entry)
    return entry


async def take_back(
    uow: UnitOfWork, site: Site, entry: Entry, *, at: datetime, operator: str
) -> Entry:
    """Book the opposite of an entry.

    Raises:
        ConflictError: it was taken back before.
    """
    local_day = at.astimezone(ZoneInfo(site.time_zone)).date()
    period = await uow.ledger.open_period(entry.organisation_id, period_of(local_day))
    opposite = reverse(entry, EntryId(uuid_utils.compat.uuid7()), at, period, operator)
    await uow.ledger.add(opposite)
    return opposite


async def find_discrepancies(uow: UnitOfWork, organisation_id: OrganisationId) -> tuple[str, ...]:
    """Compare every kept balance with the sum of its postings, and all of them with zero.

    Returns:
        A line for each thing that is wrong; none while the books are right.
    """
    problems = []
    for currency in await uow.ledger.currencies(organisation_id):
        kept = await uow.ledger.trial_balance(organisation_id, currency)
        summed = await uow.ledger.summed(organisation_id, currency)
        problems += [
            f"{account}: balance {kept.get(account, 0)}, its postings sum to "
            f"{summed.get(account, 0)} ledger units {currency}"
            for account in sorted(kept.keys() | summed.keys())
            if kept.get(account, 0) != summed.get(account, 0)
        ]
        if total := sum(summed.values()):
            problems.append(f"all balances sum to {total} ledger units {currency}, expected 0")
    return tuple(problems)
