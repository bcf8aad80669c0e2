"""The reading store: takes batches in bulk, and may be told the same thing twice.

A batch is first put whole into a temporary table (COPY on PostgreSQL) and from there taken over
by statements that are the same on both databases. Each leaves out what is there, so two writers
of one batch store it once, without a lock of their own.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from meterplex.db import tables
from meterplex.db.errors import InvalidValueError
from meterplex.db.registers import Registers
from meterplex.db.repository import Repository
from meterplex.db.types import EnumText, UtcDateTime
from meterplex.domain.estate import OrganisationId
from meterplex.domain.readings import Reading, ReadingQuality, ReadingSource

ANOTHER_VALUE: Final = "another value for the same time"
"""Reason of a later revision whose reading brought none."""

KEY: Final = ("meter_id", "register_id", "read_at")
"""What a reading is known by in its organisation."""

_incoming: Final = sa.Table(
    "incoming_reading",
    sa.MetaData(),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("meter_id", sa.Uuid, nullable=False),
    sa.Column("register_id", sa.SmallInteger, nullable=False),
    sa.Column("read_at", UtcDateTime, nullable=False),
    sa.Column("value", sa.BigInteger, nullable=False),
    sa.Column("quality", EnumText(ReadingQuality), nullable=False),
    sa.Column("source", EnumText(ReadingSource), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    prefixes=["TEMPORARY"],
)
"""The batch in its order; it lives as long as the connection and is emptied before each use."""

_INSERT_INCOMING: Final = str(sa.insert(_incoming).compile(dialect=sqlite.dialect()))

_STEPS_LIMIT: Final = 1 << 63

_ORGANISATION: Final = sa.bindparam("organisation", type_=sa.Uuid)
_RECEIVED: Final = sa.bindparam("received", type_=UtcDateTime)


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What became of a batch.

    Attributes:
        inserted: first values of their keys.
        unchanged: known already.
        revised: other values for known keys, kept as new revisions.
    """

    inserted: int
    unchanged: int
    revised: int


class ReadingStore(Repository):
    """Takes batches over; see :meth:`meterplex.db.readings.Readings.store` for the rules."""

    async def take(
        self,
        organisation_id: OrganisationId,
        readings: Collection[Reading],
        received_at: datetime,
    ) -> StoreResult:
        """Store a batch."""
        if not readings:
            return StoreResult(0, 0, 0)
        numbers = await Registers(self._connection).ensure({each.register for each in readings})
        await self._fill(_rows(readings, numbers))
        given = {"organisation": organisation_id, "received": received_at}
        inserted = (await self._execute(self._first_values(), given)).rowcount
        revised = 0
        if inserted < len(readings):
            revised = await self._revise(given)
        return StoreResult(inserted, len(readings) - inserted - revised, revised)

    async def _fill(self, rows: Sequence[tuple[Any, ...]]) -> None:
        await self._execute(CreateTable(_incoming, if_not_exists=True))
        await self._execute(sa.delete(_incoming))
        names = _incoming.columns.keys()
        if self._postgresql:
            await self._copy(_incoming.name, names, rows)
        else:
            await self._execute_plain(_INSERT_INCOMING, _bound(rows, self._connection.dialect))

    def _first_values(self) -> sa.Insert:
        return self._take_over(sa.literal(0), _incoming.c.reason, sa.true())

    async def _revise(self, given: dict[str, Any]) -> int:
        """Store what is not known as next revisions, one a key and round; return how many."""
        unknown = _unknown()
        left = sa.select(_incoming.c.position).where(unknown).limit(1)
        first_of_key = (
            sa.select(sa.func.min(_incoming.c.position))
            .where(unknown)
            .group_by(*(_incoming.c[name] for name in KEY))
        )
        stored = tables.reading.alias("stored")
        next_revision = (
            sa.select(sa.func.max(stored.c.revision) + 1)
            .where(_same_key_as_incoming(stored))
            .scalar_subquery()
        )
        statement = self._take_over(
            next_revision, _reason_of_revision(), _incoming.c.position.in_(first_of_key)
        )
        revised = 0
        while (await self._execute(left, given)).first() is not None:
            revised += (await self._execute(statement, given)).rowcount
        return revised

    def _take_over(
        self,
        revision: sa.ColumnElement[int],
        reason: sa.ColumnElement[str],
        where: sa.ColumnElement[bool],
    ) -> sa.Insert:
        """Return the INSERT of incoming readings, in key order so that writers do not deadlock."""
        incoming = _incoming.c
        columns = {
            "organisation_id": _ORGANISATION,
            "meter_id": incoming.meter_id,
            "register_id": incoming.register_id,
            "read_at": incoming.read_at,
            "revision": revision,
            "value": incoming.value,
            "quality": incoming.quality,
            "source": incoming.source,
            "reason": reason,
            "received_at": _RECEIVED,
        }
        order = [*(incoming[name] for name in KEY), incoming.position]
        query = sa.select(*columns.values()).where(where).order_by(*order)
        return self._insert_new(tables.reading).from_select(list(columns), query)


def _rows(readings: Iterable[Reading], numbers: Mapping[str, int]) -> list[tuple[Any, ...]]:
    """Return the batch as rows of the temporary table.

    Raises:
        InvalidValueError: a time is naive, a value is no number or more than 64 bits of steps.
    """
    return [
        (
            position,
            reading.meter_id,
            numbers[reading.register.slug],
            _aware(reading.read_at),
            _steps(reading),
            reading.quality,
            reading.source,
            reading.reason,
        )
        for position, reading in enumerate(readings)
    ]


def _bound(rows: Iterable[tuple[Any, ...]], dialect: sa.Dialect) -> list[tuple[Any, ...]]:
    """Return rows as the driver takes them.

    A batch has few meters and times in many rows, so each value is made once; that is a third of
    the time for which storing a batch keeps SQLite's other writers waiting.
    """
    processors = [
        column.type.dialect_impl(dialect).bind_processor(dialect) or _as_it_is
        for column in _incoming.columns
    ]
    made: list[dict[Any, Any]] = [{} for _ in processors]
    bound = []
    for row in rows:
        for value, known, process in zip(row, made, processors, strict=True):
            if value not in known:
                known[value] = process(value)
        bound.append(tuple(known[value] for value, known in zip(row, made, strict=True)))
    return bound


def _as_it_is(value: object) -> object:
    return value


def _aware(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise InvalidValueError(f"reading at {at.isoformat()}: the time has no zone")
    return at


def _steps(reading: Reading) -> int:
    try:
        steps = reading.register.to_steps(reading.value)
    except ValueError as error:
        raise InvalidValueError(str(error)) from error
    if not -_STEPS_LIMIT <= steps < _STEPS_LIMIT:
        raise InvalidValueError(
            f"register {reading.register.slug}: {reading.value} is more than can be stored"
        )
    return steps


def same_key(one: sa.FromClause, other: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that two rows of readings are of one key."""
    return sa.and_(*(one.c[name] == other.c[name] for name in ("organisation_id", *KEY)))


def _same_key_as_incoming(stored: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(
        stored.c.organisation_id == _ORGANISATION,
        *(stored.c[name] == _incoming.c[name] for name in KEY),
    )


def _reason_of_revision() -> sa.ColumnElement[str]:
    return sa.case((_incoming.c.reason == "", ANOTHER_VALUE), else_=_incoming.c.reason)


def _unknown() -> sa.ColumnElement[bool]:
    """Return the condition that an incoming reading is not stored yet."""
    stored, newer = tables.reading.alias("known"), tables.reading.alias("newer")
    incoming = _incoming.c
    newest = ~sa.exists().where(same_key(newer, stored), newer.c.revision > stored.c.revision)
    told_before = sa.and_(
        stored.c.source == incoming.source,
        stored.c.reason.in_([incoming.reason, _reason_of_revision()]),
    )
    known = (
        sa.exists()
        .where(
            _same_key_as_incoming(stored),
            stored.c.value == incoming.value,
            stored.c.quality == incoming.quality,
            sa.or_(newest, told_before),
        )
        .correlate(_incoming)
    )
    return ~known
