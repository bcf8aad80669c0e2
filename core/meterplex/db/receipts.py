"""Repository of receipts and their prints: both are only ever added."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from meterplex.db import money_tables as tables
from meterplex.db.identified import IdentifiedRepository
from meterplex.domain.estate import AccountId, OrganisationId, SiteId
from meterplex.domain.ledger import EntryId


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A receipt as it was written.

    Attributes:
        entry_id: of the movement of money that it proves; one has one receipt.
        document: see ``services.receipts.issue_receipt``.
    """

    id: UUID
    organisation_id: OrganisationId
    site_id: SiteId
    account_id: AccountId
    entry_id: EntryId
    order_id: UUID | None
    number: str
    issued_at: datetime
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReceiptPrint:
    """One print of a receipt; copy 0 is the original."""

    copy: int
    printed_at: datetime
    printed_by: str


class Receipts(IdentifiedRepository[StoredReceipt]):
    """The receipts; lists come in the order of issue.

    ``add`` raises ``ConflictError`` for an entry that has a receipt already.
    """

    table = tables.receipt
    kind = StoredReceipt
    order = "issued_at"

    async def of_entry(
        self, organisation_id: OrganisationId, entry_id: EntryId
    ) -> StoredReceipt | None:
        """Return the receipt of a movement of money."""
        return await self._find(organisation_id, tables.receipt.c.entry_id == entry_id)

    async def of_order(
        self, organisation_id: OrganisationId, order_id: UUID
    ) -> tuple[StoredReceipt, ...]:
        """Return the receipts of an order: of its payment, or of what was paid out."""
        return await self._select(organisation_id, tables.receipt.c.order_id == order_id)

    async def by_number(
        self, organisation_id: OrganisationId, number: str
    ) -> tuple[StoredReceipt, ...]:
        """Return the receipts of a number; sites whose codes differ in case only may share one."""
        return await self._select(organisation_id, tables.receipt.c.number == number)

    async def between(
        self,
        organisation_id: OrganisationId,
        site_ids: Collection[SiteId],
        start: datetime,
        end: datetime,
        account_id: AccountId | None = None,
    ) -> tuple[StoredReceipt, ...]:
        """Return the receipts that sites issued in ``[start, end)``."""
        columns = tables.receipt.c
        where = [
            columns.site_id.in_(sorted(site_ids)),
            columns.issued_at >= start,
            columns.issued_at < end,
        ]
        where += [] if account_id is None else [columns.account_id == account_id]
        return await self._select(organisation_id, *where)

    async def prints(
        self, organisation_id: OrganisationId, receipt_id: UUID
    ) -> tuple[ReceiptPrint, ...]:
        """Return all prints of a receipt, the original first."""
        columns = tables.receipt_copy.c
        rows = await self._rows(
            sa.select(columns["copy"], columns.printed_at, columns.printed_by)
            .where(columns.organisation_id == organisation_id, columns.receipt_id == receipt_id)
            .order_by(columns["copy"])
        )
        return tuple(ReceiptPrint(**row) for row in rows)

    async def add_print(
        self, organisation_id: OrganisationId, receipt_id: UUID, made: ReceiptPrint
    ) -> None:
        """Add a print.

        Raises:
            ConflictError: the copy of this number was printed already.
        """
        row = {
            "organisation_id": organisation_id,
            "receipt_id": receipt_id,
            "copy": made.copy,
            "printed_at": made.printed_at,
            "printed_by": made.printed_by,
        }
        await self._insert(tables.receipt_copy, [row])
