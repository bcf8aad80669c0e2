"""Turns the readings of meters into charges, once each, for many accounts in one transaction.

What a period costs is rated whole; a charge is that minus what the period was charged before. So
charging may run at any time, as often as anybody likes, also twice at once: the accounts are
locked, and what is charged already adds nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from meterplex.db import Database, UnitOfWork
from meterplex.db.outbox import OutboxMessage
from meterplex.domain.accounts import Account, AccountState
from meterplex.domain.charges import Charge, HoldReason, ReadingHold
from meterplex.domain.estate import AccountId, Binding, MeterId, OrganisationId
from meterplex.domain.plausibility import OTHER_METER
from meterplex.services.charging.charge_drafts import Draft, draft_charges
from meterplex.services.charging.charge_entries import book_charges
from meterplex.services.charging.charged_counters import RULE, CounterLoader, Uncharged
from meterplex.services.charging.metered_charges import draft_metered
from meterplex.services.charging.period_rating import plan, rate
from meterplex.services.tariffs.book import TariffBook

ACCOUNTS_AT_ONCE: Final = 1_000
"""Accounts that are charged in one transaction."""


@dataclass(frozen=True, slots=True)
class ChargingOutcome:
    """What a run of charging did.

    Attributes:
        charges: by account, those of one in the order in which they were booked.
        held: readings that wait for a decision since this run.
        uncharged: bindings that could not be charged.
    """

    charges: tuple[Charge, ...] = ()
    held: tuple[ReadingHold, ...] = ()
    uncharged: tuple[Uncharged, ...] = ()


async def charge_meters(
    database: Database,
    organisation_id: OrganisationId,
    meter_ids: Collection[MeterId],
    at: datetime,
    *,
    since: datetime | None = None,
    book: TariffBook | None = None,
    operator: str = RULE,
    dry_run: bool = False,
) -> ChargingOutcome:
    """Charge what the readings of some meters show; those without an account are left alone.

    Args:
        meter_ids: of any site of the organisation.
        at: now; the charges are booked in its month.
        since: time of the oldest reading that may be new; None looks for it, which takes longer.
        book: keeps tariffs ready between calls.
        dry_run: do all of it, but keep nothing.

    Raises:
        DatabaseError: nothing of the batch of accounts at work was kept; call again.
    """
    book = TariffBook() if book is None else book
    meters = frozenset(meter_ids)
    async with database.unit_of_work(read_only=True) as uow:
        accounts = await uow.charges.accounts_of_meters(organisation_id, meters)

    async def charge(account_ids: Sequence[AccountId]) -> ChargingOutcome:
        async with database.unit_of_work() as uow:
            run = _Run(uow, organisation_id, book, at, operator)
            done = await run.charge(account_ids, meters, since)
            if not dry_run:
                await uow.commit()
        return done

    return _together(
        await _run_batches(charge, _batches(accounts), 2 if database.writes_at_once else 1)
    )


async def _run_batches(
    charge: Callable[[Sequence[AccountId]], Awaitable[ChargingOutcome]],
    batches: Sequence[Sequence[AccountId]],
    at_once: int,
) -> Sequence[ChargingOutcome]:
    """Charge batches, some at once: one is rated while the database stores another."""
    outcomes: dict[int, ChargingOutcome] = {}
    waiting = enumerate(batches)

    async def work() -> None:
        for number, account_ids in waiting:
            outcomes[number] = await charge(account_ids)

    workers = [asyncio.create_task(work()) for _ in range(min(at_once, len(batches)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [outcomes[number] for number in range(len(batches))]


def _together(outcomes: Iterable[ChargingOutcome]) -> ChargingOutcome:
    done = tuple(outcomes)
    return ChargingOutcome(
        tuple(charge for each in done for charge in each.charges),
        tuple(hold for each in done for hold in each.held),
        tuple(problem for each in done for problem in each.uncharged),
    )


def _batches(account_ids: Sequence[AccountId]) -> Sequence[Sequence[AccountId]]:
    return [
        account_ids[first : first + ACCOUNTS_AT_ONCE]
        for first in range(0, len(account_ids), ACCOUNTS_AT_ONCE)
    ]


def _is_doubtful(hold: ReadingHold) -> bool:
    return hold.reason is HoldReason.SUSPECT


def _of_stranger(hold: ReadingHold) -> ReadingHold:
    if not _is_doubtful(hold):
        return hold
    return replace(hold, reason=HoldReason.REPLACED, detail="another device answers at this place")


@dataclass(frozen=True, slots=True)
class _Run:
    """Charging of one batch of accounts, in one transaction."""

    uow: UnitOfWork
    organisation_id: OrganisationId
    book: TariffBook
    at: datetime
    operator: str

    async def charge(
        self,
        account_ids: Collection[AccountId],
        meter_ids: Set[MeterId],
        since: datetime | None,
    ) -> ChargingOutcome:
        """Charge; the bindings are read again under the locks."""
        locked = await self.uow.accounts.lock_all(self.organisation_id, account_ids)
        accounts = {
            account.id: account for account in locked if account.state is not AccountState.CLOSED
        }
        found = await self.uow.charges.bindings_of(self.organisation_id, accounts.keys())
        bindings = [each for each in found if each.meter_id in meter_ids]
        on_server = [each for each in bindings if not _in_meter(each)]
        in_meter = [each for each in bindings if _in_meter(each)]
        loader = CounterLoader(self.uow, self.organisation_id, self.book)
        drafts, uncharged = await self._draft_rated(loader, accounts, on_server, since)
        if in_meter:
            drafts += await draft_metered(
                self.uow, self.organisation_id, accounts, in_meter, self.book, self.at
            )
        drafts = await self._name_strangers(drafts)
        charges = await book_charges(self.uow, self.organisation_id, drafts, self.at, self.operator)
        return ChargingOutcome(
            charges, tuple(hold for draft in drafts for hold in draft.raised), tuple(uncharged)
        )

    async def _name_strangers(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Say of doubtful readings that another device gave them, where one is known to answer."""
        doubtful = {
            draft.binding.meter_id for draft in drafts if any(map(_is_doubtful, draft.raised))
        }
        if not doubtful:
            return list(drafts)
        meters = await self.uow.meters.by_ids(self.organisation_id, doubtful)
        replaced = {meter.id for meter in meters.values() if OTHER_METER in meter.flags}
        return [
            replace(draft, raised=tuple(map(_of_stranger, draft.raised)))
            if draft.binding.meter_id in replaced
            else draft
            for draft in drafts
        ]

    async def _draft_rated(
        self,
        loader: CounterLoader,
        accounts: Mapping[AccountId, Account],
        bindings: Sequence[Binding],
        since: datetime | None,
    ) -> tuple[list[Draft], list[Uncharged]]:
        counters = await loader.load(accounts, bindings, since)
        plans = [each for each in map(plan, counters) if each is not None]
        rate(plans)
        problems = [
            Uncharged(each.counter.binding.id, each.problem) for each in plans if each.problem
        ]
        drafts = [draft_charges(each, self.at) for each in plans if not each.problem]
        return drafts, [*loader.problems, *problems]


def _in_meter(binding: Binding) -> bool:
    return binding.mode is not None and binding.mode.in_meter


def readings_handler(
    database: Database, book: TariffBook, wall: Callable[[], datetime]
) -> Callable[[OutboxMessage], Awaitable[None]]:
    """Return what the worker does with messages of ``reading_messages.READINGS``.

    Their payload names ``meters`` and may name ``since``, the time of the oldest reading that it
    tells of.

    Args:
        wall: current time in UTC.
    """

    async def handle(message: OutboxMessage) -> None:
        since = message.payload.get("since")
        await charge_meters(
            database,
            message.organisation_id,
            {MeterId(UUID(each)) for each in message.payload["meters"]},
            wall(),
            since=None if since is None else datetime.fromisoformat(since),
            book=book,
        )

    return handle
