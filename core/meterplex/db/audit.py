"""Repository of the audit log: only ever appended to."""

from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from meterplex.db import tables
from meterplex.db.errors import NotFoundError
from meterplex.db.repository import Repository
from meterplex.domain.audit import AuditEntry, AuditRecord, append
from meterplex.domain.commands import Command
from meterplex.domain.estate import OrganisationId


class AuditLog(Repository):
    """The hash chains of the organisations."""

    async def append(self, record: AuditRecord) -> AuditEntry:
        """Add a record at the end of its organisation's chain.

        Holds the chain until the transaction ends, so that two writers follow each other.

        Raises:
            NotFoundError: there is no such organisation.
        """
        await self._hold_chain(record.organisation_id)
        entry = append(await self.last(record.organisation_id), record)
        await self._insert(tables.audit_entry, [_to_row(entry)])
        return entry

    async def last(self, organisation_id: OrganisationId) -> AuditEntry | None:
        """Return the newest entry of a chain."""
        columns = tables.audit_entry.c
        rows = await self._rows(
            sa.select(tables.audit_entry)
            .where(columns.organisation_id == organisation_id)
            .order_by(columns.sequence.desc())
            .limit(1)
        )
        return _from_row(rows[0]) if rows else None

    async def last_of(self, organisation_id: OrganisationId, action: str) -> int:
        """Return the number of the newest entry about an action; 0 when there is none."""
        columns = tables.audit_entry.c
        newest = await self._execute(
            sa.select(sa.func.max(columns.sequence)).where(
                columns.organisation_id == organisation_id, columns.action == action
            )
        )
        return newest.scalar_one() or 0

    async def tells_of_command(self, command: Command) -> bool:
        """Whether the asking of a command is in the chain."""
        columns = tables.audit_entry.c
        result = await self._execute(
            sa.select(
                sa.exists().where(
                    columns.organisation_id == command.organisation_id,
                    columns.action == f"command.{command.kind}",
                    columns.at >= command.created_at,
                    columns.detail["command"].as_string() == str(command.id),
                )
            )
        )
        return bool(result.scalar_one())

    async def entries(
        self, organisation_id: OrganisationId, after: int = 0, limit: int = 1000
    ) -> tuple[AuditEntry, ...]:
        """Return entries in order, from the one after number ``after`` on."""
        columns = tables.audit_entry.c
        rows = await self._rows(
            sa.select(tables.audit_entry)
            .where(columns.organisation_id == organisation_id, columns.sequence > after)
            .order_by(columns.sequence)
            .limit(limit)
        )
        return tuple(_from_row(row) for row in rows)

    async def _hold_chain(self, organisation_id: OrganisationId) -> None:
        """Lock the organisation's row; on SQLite the transaction is the only writer anyway."""
        columns = tables.organisation.c
        row = await self._row(
            sa.select(columns.id)
            .where(columns.id == organisation_id)
            .with_for_update(key_share=True)
        )
        if row is None:
            raise NotFoundError(f"no organisation {organisation_id}")


def _to_row(entry: AuditEntry) -> dict[str, Any]:
    record = {field.name: getattr(entry.record, field.name) for field in fields(entry.record)}
    return record | {
        "detail": dict(entry.record.detail),
        "sequence": entry.sequence,
        "previous_hash": entry.previous_hash,
        "hash": entry.hash,
    }


def _from_row(row: sa.RowMapping) -> AuditEntry:
    record = AuditRecord(**{field.name: row[field.name] for field in fields(AuditRecord)})
    return AuditEntry(record, row["sequence"], row["previous_hash"], row["hash"])
