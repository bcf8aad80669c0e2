"""Repository of the outbox: what is to follow from a committed fact, at least once, in order."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from meterplex.db import money_tables as tables
from meterplex.db.bulk_rows import BulkRows, json_text
from meterplex.db.repository import Repository
from meterplex.domain.estate import OrganisationId


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """Something to be done because of what was committed with it.

    Attributes:
        topic: says who does it.
        subject: what it is about, as the topic names it.
        due_at: not before.
    """

    id: UUID
    organisation_id: OrganisationId
    topic: str
    subject: str
    created_at: datetime
    due_at: datetime
    payload: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    done_at: datetime | None = None
    last_error: str = ""


_PLAIN: Final = tuple(name for name in OutboxMessage.__dataclass_fields__ if name != "payload")
_plain: Final = attrgetter(*_PLAIN)
_MESSAGES: Final = BulkRows.adding(tables.outbox, *_PLAIN, "payload")


class Outbox(Repository):
    """The outbox of all organisations."""

    async def add_all(self, messages: Iterable[OutboxMessage]) -> None:
        """Add messages."""
        await self._write_bulk(
            _MESSAGES, [(*_plain(each), json_text(each.payload)) for each in messages]
        )

    async def due(
        self, topics: Collection[str], now: datetime, limit: int = 100
    ) -> tuple[OutboxMessage, ...]:
        """Return messages of some topics that are due, oldest first.

        Whatever waits behind an older message of its subject that was put off is left out.
        """
        columns = tables.outbox.c
        older = tables.outbox.alias("older").c
        blocked = sa.exists().where(
            older.done_at.is_(None),
            older.attempts > 0,
            older.due_at > now,
            older.organisation_id == columns.organisation_id,
            older.topic == columns.topic,
            older.subject == columns.subject,
            older.id < columns.id,
        )
        rows = await self._rows(
            sa.select(tables.outbox)
            .where(
                columns.done_at.is_(None),
                columns.due_at <= now,
                columns.topic.in_(sorted(topics)),
                ~blocked,
            )
            .order_by(columns.id)
            .limit(limit)
        )
        return tuple(OutboxMessage(**row) for row in rows)

    async def open_count(self) -> int:
        """Return how many messages wait."""
        columns = tables.outbox.c
        result = await self._execute(
            sa.select(sa.func.count()).select_from(tables.outbox).where(columns.done_at.is_(None))
        )
        return int(result.scalar_one())

    async def finish(self, message: OutboxMessage, at: datetime) -> bool:
        """Note that a message was done; of several callers one wins."""
        return await self._change(message, done_at=at, attempts=message.attempts + 1)

    async def put_off(self, message: OutboxMessage, due_at: datetime, error: str) -> bool:
        """Note that a message could not be done, and when it is tried again."""
        return await self._change(
            message, due_at=due_at, attempts=message.attempts + 1, last_error=error
        )

    async def _change(self, message: OutboxMessage, **values: object) -> bool:
        columns = tables.outbox.c
        result = await self._execute(
            sa.update(tables.outbox)
            .where(
                columns.organisation_id == message.organisation_id,
                columns.id == message.id,
                columns.done_at.is_(None),
            )
            .values(**values)
        )
        return result.rowcount > 0
