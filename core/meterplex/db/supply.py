"""Repositories of what decides about supply: holds, bypasses, breakers, sent disconnects."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, NewType
from uuid import UUID

import sqlalchemy as sa

from meterplex.db import money_tables as tables
from meterplex.db import tables as estate
from meterplex.db.identified import IdentifiedRepository, columns_of
from meterplex.db.repository import Repository
from meterplex.domain.accounts import Category
from meterplex.domain.charges import ChargeKind, HoldState
from meterplex.domain.commands import Command, CommandId
from meterplex.domain.estate import (
    AccountId,
    BindingId,
    MeterId,
    OrganisationId,
    SiteId,
)
from meterplex.domain.limiter import Breaker, BreakerState, MeterCounts, SendTimes
from meterplex.domain.supply_holds import Bypass, HoldOwner, SupplyHold

StoredHoldId = NewType("StoredHoldId", UUID)
BypassId = NewType("BypassId", UUID)

SYSTEM: Final = "system"
"""Scope of the breaker over all organisations."""
DAY: Final = timedelta(days=1)

SUPPLY_AMISS: Final = ("supply_off", "supply_held", "supply_forced_off")
"""Flags of meters whose supply is not simply on."""


@dataclass(frozen=True, slots=True)
class StoredHold:
    """A hold as it is kept; ``account_id`` is None for all accounts of the site."""

    id: StoredHoldId
    organisation_id: OrganisationId
    site_id: SiteId
    account_id: AccountId | None
    owner: str
    reason: str
    since: datetime
    until: datetime | None
    set_by: str
    ended_at: datetime | None = None
    ended_by: str = ""

    @property
    def hold(self) -> SupplyHold:
        """What it does."""
        return SupplyHold(HoldOwner(self.owner), self.reason, self.until)


@dataclass(frozen=True, slots=True)
class StoredBypass:
    """A bypass of a meter as it is kept."""

    id: BypassId
    organisation_id: OrganisationId
    meter_id: MeterId
    reason: str
    since: datetime
    until: datetime
    asked_by: str
    approved_by: str
    approval_id: UUID
    ended_at: datetime | None = None
    ended_by: str = ""

    @property
    def bypass(self) -> Bypass:
        """What it does."""
        return Bypass(self.since, self.until, self.asked_by, self.approved_by, self.reason)


@dataclass(frozen=True, slots=True)
class StoredBreaker:
    """A breaker with, for that of the system, what is known of the program's own time.

    Attributes:
        scope: ``system``, or an organisation.
        outage_ended_at: when the last outage or jump of the clock ended.
        seen_at: when the program was last seen at work.
    """

    scope: str
    opened_at: datetime | None = None
    reason: str = ""
    outage_ended_at: datetime | None = None
    seen_at: datetime | None = None

    @property
    def breaker(self) -> Breaker:
        """Its state."""
        if self.opened_at is None:
            return Breaker()
        return Breaker(BreakerState.OPEN, self.opened_at, self.reason)


@dataclass(frozen=True, slots=True)
class SupplyDecided:
    """What was decided last for the supply of a binding.

    Attributes:
        wanted: a ``SupplyAction``; empty where the supply is left as it is.
        generation: how often the wish has changed.
        not_before: a reconnect that waits its turn among many.
        command_id: the last one issued for it.
    """

    organisation_id: OrganisationId
    binding_id: BindingId
    wanted: str
    reason: str
    generation: int
    decided_at: datetime
    not_before: datetime | None = None
    command_id: CommandId | None = None


class SupplyHolds(IdentifiedRepository[StoredHold]):
    """The holds; lists come in the order in which they were set."""

    table = tables.supply_hold
    kind = StoredHold
    order = "since"

    async def set_for(
        self, organisation_id: OrganisationId, site_id: SiteId, account_id: AccountId | None = None
    ) -> tuple[StoredHold, ...]:
        """Return the holds of a site, and of one of its accounts, that nobody has ended."""
        columns = tables.supply_hold.c
        whose: list[sa.ColumnElement[bool]] = [columns.account_id.is_(None)]
        if account_id is not None:
            whose.append(columns.account_id == account_id)
        return await self._select(
            organisation_id,
            columns.site_id == site_id,
            columns.ended_at.is_(None),
            sa.or_(*whose),
        )

    async def end(
        self, organisation_id: OrganisationId, hold_id: StoredHoldId, at: datetime, by: str
    ) -> StoredHold | None:
        """End a hold; None when it is ended already, or not there."""
        columns = tables.supply_hold.c
        result = await self._execute(
            sa.update(tables.supply_hold)
            .where(self._is(organisation_id, hold_id), columns.ended_at.is_(None))
            .values(ended_at=at, ended_by=by)
            .returning(tables.supply_hold)
        )
        row = result.mappings().one_or_none()
        return None if row is None else self._from_row(row)

    async def not_ended(self, organisation_id: OrganisationId) -> tuple[StoredHold, ...]:
        """Return all that nobody has ended."""
        return await self._select(organisation_id, tables.supply_hold.c.ended_at.is_(None))


class Bypasses(IdentifiedRepository[StoredBypass]):
    """The bypasses; lists come in the order in which they began."""

    table = tables.bypass
    kind = StoredBypass
    order = "since"

    async def of_meter(
        self, organisation_id: OrganisationId, meter_id: MeterId
    ) -> StoredBypass | None:
        """Return the bypass that a meter is in."""
        columns = tables.bypass.c
        return await self._find(
            organisation_id, columns.meter_id == meter_id, columns.ended_at.is_(None)
        )

    async def end(
        self, organisation_id: OrganisationId, meter_id: MeterId, at: datetime, by: str
    ) -> StoredBypass | None:
        """End the bypass of a meter; None when it is in none."""
        columns = tables.bypass.c
        result = await self._execute(
            sa.update(tables.bypass)
            .where(
                columns.organisation_id == organisation_id,
                columns.meter_id == meter_id,
                columns.ended_at.is_(None),
            )
            .values(ended_at=at, ended_by=by)
            .returning(tables.bypass)
        )
        row = result.mappings().one_or_none()
        return None if row is None else self._from_row(row)

    async def not_ended(self, organisation_id: OrganisationId) -> tuple[StoredBypass, ...]:
        """Return all that nobody has ended."""
        return await self._select(organisation_id, tables.bypass.c.ended_at.is_(None))

    async def count(self) -> int:
        """Return how many meters are bypassed, of all organisations."""
        result = await self._execute(
            sa.select(sa.func.count())
            .select_from(tables.bypass)
            .where(tables.bypass.c.ended_at.is_(None))
        )
        return int(result.scalar_one())


class Breakers(Repository):
    """The breakers of the system and of the organisations."""

    async def lock(self, organisation_id: OrganisationId) -> tuple[StoredBreaker, StoredBreaker]:
        """Return those of the system and of an organisation, held until the transaction ends.

        Under them the sent disconnects are counted, one after the other.
        """
        return await self._held(SYSTEM), await self._held(str(organisation_id))

    async def lock_system(self) -> StoredBreaker:
        """Return that of the system, held until the transaction ends."""
        return await self._held(SYSTEM)

    async def get(self, scope: str) -> StoredBreaker:
        """Return the breaker of a scope; a closed one where none was ever written."""
        row = await self._row(sa.select(tables.breaker).where(tables.breaker.c.scope == scope))
        return StoredBreaker(scope) if row is None else StoredBreaker(**row)

    async def count_open(self) -> int:
        """Return how many are open."""
        result = await self._execute(
            sa.select(sa.func.count())
            .select_from(tables.breaker)
            .where(tables.breaker.c.opened_at.is_not(None))
        )
        return int(result.scalar_one())

    async def put(self, breaker: StoredBreaker) -> None:
        """Write one that is held."""
        await self._execute(
            sa.update(tables.breaker)
            .where(tables.breaker.c.scope == breaker.scope)
            .values(columns_of(breaker))
        )

    async def _held(self, scope: str) -> StoredBreaker:
        query = sa.select(tables.breaker).where(tables.breaker.c.scope == scope).with_for_update()
        row = await self._row(query)
        if row is None:
            await self._execute(
                self._insert_new(tables.breaker), [columns_of(StoredBreaker(scope))]
            )
            row = await self._row(query)
        assert row is not None
        return StoredBreaker(**row)


class SentDisconnects(Repository):
    """When what takes supply away was marked sent; only ever added to."""

    async def add(self, identifier: UUID, command: Command, sent_at: datetime) -> None:
        """Note that a command was marked sent."""
        row = {
            "id": identifier,
            "organisation_id": command.organisation_id,
            "meter_id": command.meter_id,
            "command_id": command.id,
            "sent_at": sent_at,
        }
        await self._insert(tables.disconnect_sent, [row])

    async def times(
        self, organisation_id: OrganisationId, meter_id: MeterId, now: datetime
    ) -> SendTimes:
        """Return the times of the last day, and any later than now."""
        columns = tables.disconnect_sent.c
        rows = await self._rows(
            sa.select(columns.organisation_id, columns.meter_id, columns.sent_at).where(
                columns.sent_at > now - DAY
            )
        )
        of_tenant = [row for row in rows if row["organisation_id"] == organisation_id]
        return SendTimes(
            meter=tuple(row["sent_at"] for row in of_tenant if row["meter_id"] == meter_id),
            tenant=tuple(row["sent_at"] for row in of_tenant),
            system=tuple(row["sent_at"] for row in rows),
        )

    async def meter_counts(self, organisation_id: OrganisationId) -> MeterCounts:
        """Return how many meters are installed: of the organisation, and of all."""
        columns = estate.meter.c
        of_tenant = sa.case((columns.organisation_id == organisation_id, 1), else_=0)
        (row,) = await self._rows(
            sa.select(
                sa.func.coalesce(sa.func.sum(of_tenant), 0).label("tenant"),
                sa.func.count().label("system"),
            ).where(columns.removed_at.is_(None))
        )
        return MeterCounts(int(row["tenant"]), int(row["system"]))


class SupplyStates(Repository):
    """What was decided for bindings, and what decisions stand on."""

    async def find(
        self, organisation_id: OrganisationId, binding_id: BindingId
    ) -> SupplyDecided | None:
        """Return what was decided last for a binding."""
        columns = tables.supply_state.c
        row = await self._row(
            sa.select(tables.supply_state).where(
                columns.organisation_id == organisation_id, columns.binding_id == binding_id
            )
        )
        return None if row is None else SupplyDecided(**row)

    async def all(self, organisation_id: OrganisationId) -> Mapping[BindingId, SupplyDecided]:
        """Return what was decided last, by binding."""
        rows = await self._rows(
            sa.select(tables.supply_state).where(
                tables.supply_state.c.organisation_id == organisation_id
            )
        )
        return {row["binding_id"]: SupplyDecided(**row) for row in rows}

    async def put(self, decided: SupplyDecided) -> None:
        """Write what was decided for a binding."""
        row = columns_of(decided)
        columns = tables.supply_state.c
        result = await self._execute(
            sa.update(tables.supply_state)
            .where(
                columns.organisation_id == decided.organisation_id,
                columns.binding_id == decided.binding_id,
            )
            .values(row)
        )
        if result.rowcount == 0:
            await self._insert(tables.supply_state, [row])

    async def charged_until(
        self, organisation_id: OrganisationId, binding_ids: Collection[BindingId]
    ) -> Mapping[BindingId, datetime]:
        """Return the time of the newest real reading that was charged, by binding."""
        columns = tables.charge.c
        rows = await self._rows(
            sa.select(columns.binding_id, sa.func.max(columns.to_at).label("at"))
            .where(
                columns.organisation_id == organisation_id,
                columns.binding_id.in_(binding_ids),
                columns.kind.in_([ChargeKind.REGULAR, ChargeKind.METERED]),
            )
            .group_by(columns.binding_id)
        )
        return {row["binding_id"]: row["at"] for row in rows}

    async def with_held_readings(
        self, organisation_id: OrganisationId, binding_ids: Collection[BindingId]
    ) -> frozenset[BindingId]:
        """Return the bindings that have a reading in doubt, which nobody has judged."""
        columns = tables.reading_hold.c
        rows = await self._rows(
            sa.select(columns.binding_id)
            .where(
                columns.organisation_id == organisation_id,
                columns.binding_id.in_(binding_ids),
                columns.state == HoldState.OPEN,
            )
            .distinct()
        )
        return frozenset(row["binding_id"] for row in rows)

    async def overdue_units(
        self,
        organisation_id: OrganisationId,
        account_id: AccountId,
        today: date,
        categories: Collection[Category],
    ) -> int:
        """Return what is unpaid of the bills of some categories that were due before a day."""
        columns = tables.bill.c
        unpaid = columns.amount_units - columns.paid_units
        result = await self._execute(
            sa.select(sa.func.coalesce(sa.func.sum(unpaid), 0)).where(
                columns.organisation_id == organisation_id,
                columns.account_id == account_id,
                columns.category.in_(sorted(categories)),
                columns.due_on < today,
                columns.paid_units < columns.amount_units,
            )
        )
        return int(result.scalar_one())

    async def to_look_at(
        self, organisation_id: OrganisationId, today: date
    ) -> tuple[AccountId, ...]:
        """Return the accounts whose supply may have to change though no money moved.

        Those that are low or in arrears, whose time may have come; and those with a meter whose
        supply is not simply on.
        """
        warning, bill, binding = tables.warning.c, tables.bill.c, estate.binding.c
        meter = estate.meter
        amiss = sa.or_(*(_has_flag(meter.c.flags, flag) for flag in SUPPLY_AMISS))
        found = sa.union(
            sa.select(warning.account_id).where(
                warning.organisation_id == organisation_id, warning.ended_at.is_(None)
            ),
            sa.select(bill.account_id).where(
                bill.organisation_id == organisation_id,
                bill.paid_units < bill.amount_units,
                bill.due_on < today,
            ),
            sa.select(binding.account_id)
            .select_from(
                estate.binding.join(
                    meter,
                    sa.and_(
                        meter.c.organisation_id == binding.organisation_id,
                        meter.c.id == binding.meter_id,
                    ),
                )
            )
            .where(
                binding.organisation_id == organisation_id,
                binding.until.is_(None),
                binding.account_id.is_not(None),
                amiss,
            ),
        )
        rows = (await self._execute(found)).all()
        return tuple(sorted((AccountId(row[0]) for row in rows), key=str))


def _has_flag(flags: sa.ColumnElement[Any], flag: str) -> sa.ColumnElement[bool]:
    """Whether a set of words, kept as a JSON list, has a word."""
    return sa.cast(flags, sa.Text).like(f'%"{flag}"%')
