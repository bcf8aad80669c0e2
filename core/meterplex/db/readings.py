"""Repository of readings."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from meterplex.db import tables
from meterplex.db.partitions import ReadingPartitions
from meterplex.db.reading_store import KEY, ReadingStore, StoreResult, same_key
from meterplex.db.registers import Registers
from meterplex.db.repository import Repository
from meterplex.domain.estate import MeterId, OrganisationId
from meterplex.domain.readings import Reading, ReadingQuality
from meterplex.domain.registers import RegisterType


class Readings(Repository):
    """The readings of all meters. Values go in and come out as the meter shows them."""

    def __init__(self, connection: AsyncConnection, partitions: ReadingPartitions | None) -> None:
        super().__init__(connection)
        self._store = ReadingStore(connection, partitions)

    async def store(
        self,
        organisation_id: OrganisationId,
        readings: Collection[Reading],
        *,
        received_at: datetime,
    ) -> StoreResult:
        """Store a batch; ``Reading.revision`` is not looked at.

        A reading is known already when the newest revision of its key has its value and quality,
        or any revision has its value, quality, source and reason (a batch that is told again after
        a correction). Every other one becomes the next revision, in the order of the batch.

        Raises:
            MissingReferenceError: the organisation has no such meter.
            InvalidValueError: a naive time, a value beyond 64 bits of steps.
            RegisterChangedError: a register type is not what it was.
            TransactionConflictError: another writer was in the way; store the batch again.
        """
        return await self._store.take(organisation_id, readings, received_at)

    async def latest(
        self, organisation_id: OrganisationId, meter_ids: Collection[MeterId] | None = None
    ) -> tuple[Reading, ...]:
        """Return the newest reading of each register of some meters, or of all.

        Ordered by meter and register.
        """
        meter, register, reading = tables.meter.c, tables.register_type.c, tables.reading.c
        newest = (
            sa.select(sa.func.max(reading.read_at))
            .where(
                reading.organisation_id == meter.organisation_id,
                reading.meter_id == meter.id,
                reading.register_id == register.id,
            )
            .scalar_subquery()
        )
        keys = sa.select(
            meter.id.label("meter_id"), register.id.label("register_id"), newest.label("read_at")
        )
        keys = keys.select_from(tables.meter.join(tables.register_type, sa.true())).where(
            meter.organisation_id == organisation_id
        )
        if meter_ids is not None:
            keys = keys.where(meter.id.in_(meter_ids))
        key = keys.subquery()
        on_key = sa.and_(*(key.c[name] == reading[name] for name in KEY))
        return await self._newest_revisions(
            sa.select(tables.reading)
            .join(key, on_key)
            .where(reading.organisation_id == organisation_id)
            .order_by(reading.meter_id, reading.register_id)
        )

    async def history(
        self,
        organisation_id: OrganisationId,
        meter_id: MeterId,
        register: RegisterType,
        start: datetime,
        end: datetime,
    ) -> tuple[Reading, ...]:
        """Return the readings of ``[start, end)``, oldest first, each in its newest revision."""
        columns = tables.reading.c
        return await self._newest_revisions(
            self._of(organisation_id, meter_id, register)
            .where(columns.read_at >= start, columns.read_at < end)
            .order_by(columns.read_at)
        )

    async def revisions(
        self,
        organisation_id: OrganisationId,
        meter_id: MeterId,
        register: RegisterType,
        read_at: datetime,
    ) -> tuple[Reading, ...]:
        """Return every revision of one reading, the first one first."""
        columns = tables.reading.c
        return await self._readings(
            self._of(organisation_id, meter_id, register)
            .where(columns.read_at == read_at)
            .order_by(columns.revision)
        )

    async def last_before(
        self,
        organisation_id: OrganisationId,
        meter_id: MeterId,
        register: RegisterType,
        at: datetime,
    ) -> Reading | None:
        """Return the last reading before ``at``: the day's end when ``at`` is the next midnight."""
        columns = tables.reading.c
        readings = await self._readings(
            self._of(organisation_id, meter_id, register)
            .where(columns.read_at < at)
            .order_by(columns.read_at.desc(), columns.revision.desc())
            .limit(1)
        )
        return readings[0] if readings else None

    async def newest_times(self, organisation_id: OrganisationId) -> Mapping[MeterId, datetime]:
        """Return when each meter was last read well; meters never read are left out."""
        meter, register, reading = tables.meter.c, tables.register_type.c, tables.reading.c
        newest = (
            sa.select(sa.func.max(reading.read_at))
            .where(
                reading.organisation_id == meter.organisation_id,
                reading.meter_id == meter.id,
                reading.register_id == register.id,
                reading.quality == ReadingQuality.GOOD,
            )
            .scalar_subquery()
        )
        times = (
            sa.select(meter.id, newest.label("read_at"))
            .select_from(tables.meter.join(tables.register_type, sa.true()))
            .where(meter.organisation_id == organisation_id)
            .subquery()
        )
        rows = await self._rows(
            sa.select(times.c.id, sa.func.max(times.c.read_at).label("read_at"))
            .where(times.c.read_at.is_not(None))
            .group_by(times.c.id)
        )
        return {row["id"]: row["read_at"] for row in rows}

    def _of(
        self, organisation_id: OrganisationId, meter_id: MeterId, register: RegisterType
    ) -> sa.Select[Any]:
        columns = tables.reading.c
        number = (
            sa.select(tables.register_type.c.id)
            .where(tables.register_type.c.slug == register.slug)
            .scalar_subquery()
        )
        return sa.select(tables.reading).where(
            columns.organisation_id == organisation_id,
            columns.meter_id == meter_id,
            columns.register_id == number,
        )

    async def _newest_revisions(self, query: sa.Select[Any]) -> tuple[Reading, ...]:
        reading, newer = tables.reading, tables.reading.alias("newer")
        is_newer = sa.and_(same_key(newer, reading), newer.c.revision > reading.c.revision)
        return await self._readings(query.where(~sa.exists().where(is_newer)))

    async def _readings(self, query: sa.Select[Any]) -> tuple[Reading, ...]:
        rows = await self._rows(query)
        registers = await Registers(self._connection).all() if rows else {}
        return tuple(_reading(row, registers[row["register_id"]]) for row in rows)


def _reading(row: sa.RowMapping, register: RegisterType) -> Reading:
    return Reading(
        meter_id=row["meter_id"],
        register=register,
        read_at=row["read_at"],
        value=register.from_steps(row["value"]),
        quality=row["quality"],
        source=row["source"],
        revision=row["revision"],
        reason=row["reason"],
    )
