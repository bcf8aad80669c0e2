"""Repository of readings."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from meterplex.db import tables
from meterplex.db.reading_store import KEY, ReadingStore, StoreResult, same_key
from meterplex.db.registers import Registers
from meterplex.db.repository import Repository
from meterplex.domain.estate import MeterId, OrganisationId
from meterplex.domain.readings import Reading, ReadingQuality
from meterplex.domain.registers import RegisterType

_LAST: Final = ("organisation_id", *KEY)


class Readings(Repository):
    """The readings of all meters. Values go in and come out as the meter shows them."""

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
        return await ReadingStore(self._connection).take(organisation_id, readings, received_at)

    async def latest(
        self, organisation_id: OrganisationId, meter_ids: Collection[MeterId] | None = None
    ) -> tuple[Reading, ...]:
        """Return the newest reading of each register of some meters, or of all.

        Ordered by meter and register.
        """
        return await self._at_last(_last_times(organisation_id, meter_ids))

    async def last_good_counters(
        self, organisation_id: OrganisationId, meter_ids: Collection[MeterId], *, before: datetime
    ) -> Mapping[tuple[MeterId, str], Reading]:
        """Return the last good reading before a time of each counter, by meter and slug."""
        good = _newest_revision() & (tables.reading.c.quality == ReadingQuality.GOOD)
        times = _last_times(
            organisation_id, meter_ids, good, tables.reading.c.read_at < before
        ).where(tables.register_type.c.cumulative)
        readings = await self._at_last(times)
        return {(reading.meter_id, reading.register.slug): reading for reading in readings}

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
        times = _last_times(
            organisation_id, None, tables.reading.c.quality == ReadingQuality.GOOD
        ).subquery()
        rows = await self._rows(
            sa.select(times.c.meter_id, sa.func.max(times.c.read_at).label("read_at"))
            .where(times.c.read_at.is_not(None))
            .group_by(times.c.meter_id)
        )
        return {row["meter_id"]: row["read_at"] for row in rows}

    async def _at_last(self, times: sa.Select[Any]) -> tuple[Reading, ...]:
        # Materialized, or PostgreSQL asks for the last time once for each reading it looks at.
        key = times.cte("last_times").prefix_with("MATERIALIZED")
        columns = tables.reading.c
        return await self._newest_revisions(
            sa.select(tables.reading)
            .join(key, sa.and_(*(key.c[name] == columns[name] for name in _LAST)))
            .order_by(columns.meter_id, columns.register_id)
        )

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
        return await self._readings(query.where(_newest_revision()))

    async def _readings(self, query: sa.Select[Any]) -> tuple[Reading, ...]:
        rows = await self._rows(query)
        registers = await Registers(self._connection).all() if rows else {}
        return tuple(_reading(row, registers[row["register_id"]]) for row in rows)


def _newest_revision() -> sa.ColumnElement[bool]:
    """Return the condition that a reading is its key's newest revision.

    A scalar subquery and no anti-join: PostgreSQL answers it from the key's index for each row,
    and still finds a ``max`` over such rows at the index's end.
    """
    reading, other = tables.reading, tables.reading.alias("other_revision")
    newest = sa.select(sa.func.max(other.c.revision)).where(same_key(other, reading))
    return reading.c.revision == newest.correlate(reading).scalar_subquery()


def _last_times(
    organisation_id: OrganisationId,
    meter_ids: Collection[MeterId] | None,
    *where: sa.ColumnElement[bool],
) -> sa.Select[Any]:
    """Select the time of the last reading of each meter and register, NULL where there is none.

    Asks for each pair on its own: the key's index answers that from its end, where grouping would
    go through all readings.
    """
    meter, register, reading = tables.meter.c, tables.register_type.c, tables.reading.c
    last = (
        sa.select(sa.func.max(reading.read_at))
        .where(
            reading.organisation_id == meter.organisation_id,
            reading.meter_id == meter.id,
            reading.register_id == register.id,
            *where,
        )
        .correlate(tables.meter, tables.register_type)
        .scalar_subquery()
    )
    times = (
        sa.select(
            meter.organisation_id,
            meter.id.label("meter_id"),
            register.id.label("register_id"),
            last.label("read_at"),
        )
        .select_from(tables.meter.join(tables.register_type, sa.true()))
        .where(meter.organisation_id == organisation_id)
    )
    return times if meter_ids is None else times.where(meter.id.in_(meter_ids))


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
