"""The audit log: what operators and rules did, or were refused, in a chain that shows tampering."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from meterplex.db import Database, UnitOfWork
from meterplex.domain import audit
from meterplex.domain.audit import AuditEntry, AuditFault, AuditRecord
from meterplex.domain.estate import OrganisationId

_BATCH: Final = 1000


async def record(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    operator: str,
    action: str,
    subject: str,
    detail: Mapping[str, str],
    at: datetime,
) -> AuditEntry:
    """Add an entry inside the transaction of what it tells of: both are kept, or neither.

    It should be the last thing before the commit: the organisation's chain is held until then.

    Raises:
        NotFoundError: there is no such organisation.
    """
    return await uow.audit.append(
        AuditRecord(organisation_id, at, operator, action, subject, detail)
    )


async def verify(database: Database, organisation_id: OrganisationId) -> AuditFault | None:
    """Return the first entry of an organisation's log that is not what was written, or None."""
    last: AuditEntry | None = None
    async with database.unit_of_work(read_only=True) as uow:
        while True:
            after = 0 if last is None else last.sequence
            entries = await uow.audit.entries(organisation_id, after=after, limit=_BATCH)
            fault = audit.verify(entries, after=last)
            if fault is not None or not entries:
                return fault
            last = entries[-1]
