"""Books drafted charges: entries, charges, how far each register is charged, and what follows."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.db.outbox import OutboxMessage
from meterplex.domain.charge_postings import charge_postings, shares_of, wallet_change
from meterplex.domain.charges import Charge, ChargeKind, HoldState, ReadingHold
from meterplex.domain.estate import AccountId, OrganisationId
from meterplex.domain.ledger import EntryId, EntryKind, Posting, customer, signed
from meterplex.domain.readings import DeviceEventRecord, EventKind
from meterplex.services.accounts.messages import SUPPLY
from meterplex.services.books.book_entries import EntryDraft, book_all
from meterplex.services.charging.charge_drafts import Draft

READING_HELD = "reading_held"
"""Code of the device events when a reading is held, and when it is held no longer."""


async def book_charges(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    drafts: Sequence[Draft],
    at: datetime,
    operator: str,
) -> tuple[Charge, ...]:
    """Book drafts in the transaction of the caller, who holds their accounts.

    Returns:
        The charges with their entries.
    """
    balances = await _balances(uow, organisation_id, drafts)
    linked = await _with_links(uow, drafts)
    booked: list[Charge] = []
    entries: list[EntryDraft] = []
    for draft, charge in linked:
        postings = _postings(draft, charge, balances)
        entry_id = EntryId(uuid_utils.compat.uuid7()) if postings else None
        if entry_id is not None:
            entries.append(_entry(draft, charge, entry_id, postings, operator))
        booked.append(replace(charge, entry_id=entry_id))

    async def write() -> None:
        await uow.charges.put_registers(
            [draft.register for draft in drafts if draft.register is not None]
        )
        await uow.charges.add_all(booked)
        await uow.charges.put_periods([row for draft in drafts for row in draft.periods])
        await _note_holds(uow, organisation_id, drafts, at)
        await uow.outbox.add_all(_messages(organisation_id, drafts, at))

    await book_all(uow, organisation_id, entries, at, first=write)
    return tuple(booked)


async def _balances(
    uow: UnitOfWork, organisation_id: OrganisationId, drafts: Collection[Draft]
) -> dict[AccountId, int]:
    """Return the wallets of the prepaid accounts that are charged, held until the commit."""
    by_currency: dict[str, set[AccountId]] = defaultdict(set)
    for draft in drafts:
        if draft.paid_from is None and any(charge.amount_units for charge in draft.charges):
            by_currency[draft.account.currency].add(draft.account.id)
    balances: dict[AccountId, int] = {}
    for currency, account_ids in sorted(by_currency.items()):
        wallets = {customer(account_id): account_id for account_id in account_ids}
        held = await uow.ledger.lock(organisation_id, currency, list(wallets))
        balances |= {wallets[wallet]: balance for wallet, balance in held.items()}
    return balances


async def _with_links(uow: UnitOfWork, drafts: Collection[Draft]) -> list[tuple[Draft, Charge]]:
    """Return the charges, adjustments with the charge whose past they change."""
    linked = []
    for draft in drafts:
        for charge in draft.charges:
            if charge.kind is ChargeKind.ADJUSTMENT:
                changed_at = min(draft.corrected_at or charge.to_at, charge.to_at)
                changed = await uow.charges.tile_at(
                    charge.organisation_id, charge.binding_id, charge.register, changed_at
                )
                reason = f"readings of {changed_at:%Y-%m-%d %H:%M} UTC or later became known"
                adjusts_id = None if changed is None else changed.id
                linked.append((draft, replace(charge, adjusts_id=adjusts_id, reason=reason)))
            else:
                linked.append((draft, charge))
    return linked


def _postings(draft: Draft, charge: Charge, balances: dict[AccountId, int]) -> tuple[Posting, ...]:
    account, mode = draft.account, draft.binding.mode
    shares = shares_of(charge.lines, draft.utility)
    if draft.paid_from is not None:
        return tuple(
            posting
            for target, amount in shares.items()
            for posting in signed(draft.paid_from, target, amount)
        )
    balance = balances.get(account.id, 0)
    postings = charge_postings(account, mode or account.mode, balance, shares)
    balances[account.id] = balance + wallet_change(account, postings)
    return postings


def _entry(
    draft: Draft, charge: Charge, entry_id: EntryId, postings: Sequence[Posting], operator: str
) -> EntryDraft:
    zone = ZoneInfo(draft.site.time_zone)
    start, end = charge.from_at.astimezone(zone), charge.to_at.astimezone(zone)
    adjusts = charge.kind is ChargeKind.ADJUSTMENT
    what = f"{draft.utility} of {start:%Y-%m}" if adjusts else draft.utility
    return EntryDraft(
        id=entry_id,
        site=draft.site,
        kind=EntryKind.ADJUSTMENT if adjusts else EntryKind.CHARGE,
        postings=tuple(postings),
        currency=draft.account.currency,
        operator=operator,
        account=draft.account,
        memo=f"{what}, {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}",
    )


async def _note_holds(
    uow: UnitOfWork, organisation_id: OrganisationId, drafts: Collection[Draft], at: datetime
) -> None:
    holds = [hold for draft in drafts for hold in (*draft.raised, *draft.settled)]
    meters = {draft.binding.id: draft.binding.meter_id for draft in drafts}
    await uow.reading_holds.put_all(holds)
    await uow.events.add_all(hold_event(hold, meters[hold.binding_id], at) for hold in holds)
    accepted = [reading for draft in drafts for reading in draft.accepted]
    if accepted:
        await uow.readings.store(organisation_id, accepted, received_at=at)


def hold_event(hold: ReadingHold, meter_id: UUID, at: datetime) -> DeviceEventRecord:
    """Return the event of a hold that was raised or settled."""
    raised = hold.state is HoldState.OPEN
    told = hold.detail if raised else f"{hold.state} by {hold.settled_by}"
    return DeviceEventRecord(
        id=uuid_utils.compat.uuid7(),
        organisation_id=hold.organisation_id,
        subject="meter",
        subject_id=meter_id,
        kind=EventKind.FLAG_RAISED if raised else EventKind.FLAG_CLEARED,
        code=READING_HELD,
        at=at,
        detail=f"{hold.register.slug} {hold.value}: {hold.reason}: {told}",
    )


def _messages(
    organisation_id: OrganisationId, drafts: Collection[Draft], at: datetime
) -> Iterator[OutboxMessage]:
    """Yield that supply is to be decided again, once for each account that was charged."""
    charged = {
        draft.account.id for draft in drafts if any(charge.amount_units for charge in draft.charges)
    }
    payload: Mapping[str, str] = {}
    for account_id in sorted(charged):
        yield OutboxMessage(
            id=uuid_utils.compat.uuid7(),
            organisation_id=organisation_id,
            topic=SUPPLY,
            subject=str(account_id),
            created_at=at,
            due_at=at,
            payload=payload,
        )
