"""The one way into the ledger: dated, in an open period, and never half."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account
from meterplex.domain.estate import OrganisationId, Site
from meterplex.domain.ledger import (
    Entry,
    EntryId,
    EntryKind,
    LedgerKind,
    Posting,
    period_of,
    reverse,
)
from meterplex.domain.money import ledger_decimal
from meterplex.domain.prepayment.orders import OrderId
from meterplex.services.billing.settle_bills import note_paid

CLAIMS: Final = frozenset(
    {EntryKind.CHARGE, EntryKind.ADJUSTMENT, EntryKind.FEE, EntryKind.SHARE, EntryKind.BILL}
)
"""What makes claims: whoever books these writes the bill over them, if there is one."""


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

    What settles claims is noted on their bills and debt plans.

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
    await _note_settled(uow, entry)
    return entry


@dataclass(frozen=True, slots=True)
class EntryDraft:
    """An entry that has no period yet; see :func:`book` for what is what."""

    id: EntryId
    site: Site
    kind: EntryKind
    postings: tuple[Posting, ...]
    currency: str
    operator: str
    account: Account | None = None
    memo: str = ""


async def book_all(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    drafts: Sequence[EntryDraft],
    at: datetime,
    *,
    first: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Book many entries of an organisation at once, each as :func:`book` would.

    Args:
        first: writes what refers to the entries, before others have to wait for their accounts.
    """
    periods: dict[str, date] = {}
    for zone in {draft.site.time_zone for draft in drafts}:
        wanted = period_of(at.astimezone(ZoneInfo(zone)).date())
        periods[zone] = await uow.ledger.open_period(organisation_id, wanted)
    await uow.ledger.add_all(
        [
            Entry(
                id=draft.id,
                organisation_id=organisation_id,
                kind=draft.kind,
                currency=draft.currency,
                booked_at=at,
                period=periods[draft.site.time_zone],
                postings=draft.postings,
                operator=draft.operator,
                account_id=None if draft.account is None else draft.account.id,
                memo=draft.memo,
            )
            for draft in drafts
        ],
        first=first,
    )


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
    await _note_settled(uow, opposite)
    return opposite


async def _note_settled(uow: UnitOfWork, entry: Entry) -> None:
    kinds = {
        account.kind for posting in entry.postings for account in (posting.debit, posting.credit)
    }
    owed = kinds & {LedgerKind.RECEIVABLE, LedgerKind.DEBT}
    if owed and entry.kind not in CLAIMS and entry.account_id is not None:
        await note_paid(
            uow, entry.organisation_id, entry.account_id, entry.currency, entry.booked_at
        )


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
            f"{account}: balance {ledger_decimal(kept.get(account, 0))}, its postings sum to "
            f"{ledger_decimal(summed.get(account, 0))} {currency}"
            for account in sorted(kept.keys() | summed.keys())
            if kept.get(account, 0) != summed.get(account, 0)
        ]
        if total := sum(summed.values()):
            problems.append(f"all balances sum to {ledger_decimal(total)} {currency}, expected 0")
    return tuple(problems)
