"""Repository of first answers to requests that move money or a switch."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from meterplex.db import money_tables as tables
from meterplex.db.identified import columns_of
from meterplex.db.repository import Repository
from meterplex.domain.estate import OrganisationId


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key that was used, for which body, and what was answered."""

    organisation_id: OrganisationId
    caller: str
    route: str
    key: str
    body_hash: str
    answer: Mapping[str, Any]
    created_at: datetime


class IdempotencyKeys(Repository):
    """The keys of all organisations."""

    async def find(
        self, organisation_id: OrganisationId, caller: str, route: str, key: str
    ) -> KeyRow | None:
        """Return a key of a caller on a route; None when it was not used."""
        columns = tables.idempotency_key.c
        row = await self._row(
            sa.select(tables.idempotency_key).where(
                columns.organisation_id == organisation_id,
                columns.caller == caller,
                columns.route == route,
                columns.key == key,
            )
        )
        return None if row is None else KeyRow(**row)

    async def add(self, row: KeyRow) -> None:
        """Add one.

        Raises:
            ConflictError: it was used meanwhile.
        """
        await self._insert(tables.idempotency_key, [columns_of(row) | {"answer": dict(row.answer)}])
