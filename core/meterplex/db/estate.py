"""Repositories of the estate: who owns what, where it stands, and which wire leads to it.

``add`` raises ``ConflictError`` for a code, serial or address that is taken, and
``MissingReferenceError`` for a site, channel ... that the organisation does not have. ``get``
raises ``NotFoundError``. Lists come in the order of their codes.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa

from meterplex.db import tables
from meterplex.db.errors import NotFoundError
from meterplex.db.identified import IdentifiedRepository, columns_of
from meterplex.db.repository import Repository
from meterplex.domain.estate import (
    AccountId,
    Binding,
    BindingId,
    Building,
    Channel,
    ChannelId,
    Gateway,
    LinkState,
    LostReason,
    Meter,
    MeterId,
    Organisation,
    OrganisationId,
    ReadingWindow,
    Site,
    SiteId,
    Unit,
    UsagePoint,
    UsagePointId,
)

Thing = TypeVar("Thing", Site, Building, Unit, Gateway, Channel, Meter, UsagePoint, Binding)
Linked = TypeVar("Linked", Gateway, Channel, Meter)


class Organisations(Repository):
    """The property groups of this installation."""

    async def add(self, organisation: Organisation) -> None:
        """Add one."""
        await self._insert(tables.organisation, [columns_of(organisation)])

    async def get(self, organisation_id: OrganisationId) -> Organisation:
        """Return one.

        Raises:
            NotFoundError: there is none of this identifier.
        """
        table = tables.organisation
        row = await self._row(sa.select(table).where(table.c.id == organisation_id))
        if row is None:
            raise NotFoundError(f"no organisation {organisation_id}")
        return Organisation(**row)

    async def named(self, name: str) -> Organisation | None:
        """Return the one of this name; the oldest when there are several."""
        table = tables.organisation
        rows = await self._rows(sa.select(table).where(table.c.name == name).order_by(table.c.id))
        return Organisation(**rows[0]) if rows else None

    async def all(self) -> tuple[Organisation, ...]:
        """Return all, in the order of their names."""
        table = tables.organisation
        rows = await self._rows(sa.select(table).order_by(table.c.name, table.c.id))
        return tuple(Organisation(**row) for row in rows)


class Sites(IdentifiedRepository[Site]):
    """The sub-properties."""

    table = tables.site
    kind = Site

    async def by_code(self, organisation_id: OrganisationId, code: str) -> Site | None:
        """Return the site of this code."""
        return await self._find(organisation_id, tables.site.c.code == code)


class InSite(IdentifiedRepository[Thing]):
    """Things of a site."""

    async def in_site(self, organisation_id: OrganisationId, site_id: SiteId) -> tuple[Thing, ...]:
        """Return all of a site."""
        return await self._select(organisation_id, self.table.c.site_id == site_id)


class CodedInSite(InSite[Thing]):
    """Things that have a code in their site."""

    async def by_code(
        self, organisation_id: OrganisationId, site_id: SiteId, code: str
    ) -> Thing | None:
        """Return the one of this code in a site."""
        columns = self.table.c
        return await self._find(organisation_id, columns.site_id == site_id, columns.code == code)


class Buildings(CodedInSite[Building]):
    """The buildings."""

    table = tables.building
    kind = Building


class Units(CodedInSite[Unit]):
    """What is let."""

    table = tables.unit
    kind = Unit


class UsagePoints(CodedInSite[UsagePoint]):
    """The metering points."""

    table = tables.usage_point
    kind = UsagePoint

    async def below(
        self, organisation_id: OrganisationId, parent_id: UsagePointId
    ) -> tuple[UsagePoint, ...]:
        """Return the ones directly below a usage point."""
        return await self._select(organisation_id, tables.usage_point.c.parent_id == parent_id)


class LinkedRepository(InSite[Linked]):
    """Things that can be reached or lost."""

    async def set_state(
        self,
        organisation_id: OrganisationId,
        identifier: UUID,
        state: LinkState,
        *,
        since: datetime,
        reason: LostReason | None = None,
    ) -> bool:
        """Write the state; return False when it was in this state, for this reason, already.

        ``since`` is kept when nothing changes, so that an outage is told once.
        """
        columns = self.table.c
        changed = sa.or_(columns.state != state, columns.lost_reason.is_distinct_from(reason))
        result = await self._execute(
            sa.update(self.table)
            .where(self._is(organisation_id, identifier), changed)
            .values(state=state, state_since=since, lost_reason=reason)
        )
        return result.rowcount > 0

    async def in_state(
        self, organisation_id: OrganisationId, state: LinkState
    ) -> tuple[Linked, ...]:
        """Return all in a state, for the reports of what is lost."""
        return await self._select(organisation_id, self.table.c.state == state)


class Gateways(LinkedRepository[Gateway], CodedInSite[Gateway]):
    """The gateways."""

    table = tables.gateway
    kind = Gateway


class Channels(LinkedRepository[Channel], CodedInSite[Channel]):
    """The channels."""

    table = tables.channel
    kind = Channel

    def _from_row(self, row: sa.RowMapping) -> Channel:
        columns = dict(row)
        window = ReadingWindow(columns.pop("window_start"), columns.pop("window_end"))
        return Channel(**columns, window=window)

    def _to_row(self, thing: Channel) -> dict[str, Any]:
        row = columns_of(thing)
        window: ReadingWindow = row.pop("window")
        return row | {"window_start": window.start, "window_end": window.end}


class Meters(LinkedRepository[Meter]):
    """The meters; lists come in the order of their serials and leave out removed ones."""

    table = tables.meter
    kind = Meter
    order = "serial"

    def _to_row(self, thing: Meter) -> dict[str, Any]:
        row = columns_of(thing)
        return row | {"settings": dict(thing.settings)}

    async def all(self, organisation_id: OrganisationId) -> tuple[Meter, ...]:
        """Return all installed meters of the organisation."""
        return await self._select(organisation_id, self._installed)

    async def in_site(self, organisation_id: OrganisationId, site_id: SiteId) -> tuple[Meter, ...]:
        """Return the installed meters of a site."""
        return await self._select(
            organisation_id, self._installed, tables.meter.c.site_id == site_id
        )

    async def in_state(
        self, organisation_id: OrganisationId, state: LinkState
    ) -> tuple[Meter, ...]:
        """Return the installed meters in a state."""
        return await self._select(organisation_id, self._installed, tables.meter.c.state == state)

    async def on_channel(
        self, organisation_id: OrganisationId, channel_id: ChannelId
    ) -> tuple[Meter, ...]:
        """Return the installed meters of a channel."""
        return await self._select(
            organisation_id, self._installed, tables.meter.c.channel_id == channel_id
        )

    async def by_serial(self, organisation_id: OrganisationId, serial: str) -> Meter | None:
        """Return the meter of this serial, installed or removed."""
        return await self._find(organisation_id, tables.meter.c.serial == serial)

    async def at_address(self, channel_url: str, address: str) -> tuple[Meter, ...]:
        """Return the installed meters of any organisation at an address of a channel."""
        columns = tables.meter.c
        on_channel = sa.and_(
            tables.channel.c.organisation_id == columns.organisation_id,
            tables.channel.c.id == columns.channel_id,
        )
        rows = await self._rows(
            sa.select(tables.meter)
            .join(tables.channel, on_channel)
            .where(tables.channel.c.url == channel_url, columns.address == address, self._installed)
        )
        return tuple(self._from_row(row) for row in rows)

    async def set_flags(
        self, organisation_id: OrganisationId, meter_id: MeterId, flags: frozenset[str]
    ) -> None:
        """Write the conditions that the meter reported last."""
        where = self._is(organisation_id, meter_id)
        await self._execute(sa.update(tables.meter).where(where).values(flags=flags))

    @property
    def _installed(self) -> sa.ColumnElement[bool]:
        return tables.meter.c.removed_at.is_(None)


class Bindings(IdentifiedRepository[Binding]):
    """Which meter is at which usage point; lists come in the order of their beginnings."""

    table = tables.binding
    kind = Binding
    order = "since"

    async def of_meter(
        self, organisation_id: OrganisationId, meter_id: MeterId
    ) -> tuple[Binding, ...]:
        """Return all bindings of a meter, the ended ones too."""
        return await self._select(organisation_id, tables.binding.c.meter_id == meter_id)

    async def of_usage_point(
        self, organisation_id: OrganisationId, usage_point_id: UsagePointId
    ) -> tuple[Binding, ...]:
        """Return all bindings of a usage point, the ended ones too."""
        return await self._select(
            organisation_id, tables.binding.c.usage_point_id == usage_point_id
        )

    async def open_of_meter(
        self, organisation_id: OrganisationId, meter_id: MeterId
    ) -> Binding | None:
        """Return the binding that a meter is in now."""
        columns = tables.binding.c
        return await self._find(
            organisation_id, columns.meter_id == meter_id, columns.until.is_(None)
        )

    async def open_of_meters(
        self, organisation_id: OrganisationId, meter_ids: Collection[MeterId]
    ) -> tuple[Binding, ...]:
        """Return the bindings that some meters are in now."""
        columns = tables.binding.c
        return await self._select(
            organisation_id, columns.meter_id.in_(meter_ids), columns.until.is_(None)
        )

    async def of_account(
        self, organisation_id: OrganisationId, account_id: AccountId
    ) -> tuple[Binding, ...]:
        """Return all bindings of an account, the ended ones too."""
        return await self._select(organisation_id, tables.binding.c.account_id == account_id)

    async def open(self, organisation_id: OrganisationId) -> tuple[Binding, ...]:
        """Return all bindings that have not ended."""
        return await self._select(organisation_id, tables.binding.c.until.is_(None))

    async def end(
        self, organisation_id: OrganisationId, binding_id: BindingId, until: datetime
    ) -> None:
        """End an open binding.

        Raises:
            NotFoundError: the organisation has no open binding of this identifier.
        """
        where = sa.and_(self._is(organisation_id, binding_id), tables.binding.c.until.is_(None))
        result = await self._execute(sa.update(tables.binding).where(where).values(until=until))
        if result.rowcount == 0:
            raise NotFoundError(f"no open binding {binding_id} in this organisation")
