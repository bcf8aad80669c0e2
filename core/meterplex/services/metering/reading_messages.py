"""What follows from stored readings, as rows of the outbox."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.db.outbox import OutboxMessage
from meterplex.domain.estate import MeterId, OrganisationId

READINGS: Final = "readings"
"""Charge what the new readings of some meters show; the payload names ``meters`` and ``since``."""


async def tell_readings(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    meters: Collection[MeterId],
    *,
    since: datetime,
    at: datetime,
) -> None:
    """Have new readings charged, where somebody pays for what the meters measure.

    Args:
        since: time of the oldest reading.
    """
    if not meters:
        return
    message = OutboxMessage(
        id=uuid_utils.compat.uuid7(),
        organisation_id=organisation_id,
        topic=READINGS,
        subject="",
        created_at=at,
        due_at=at,
        payload={"meters": sorted(map(str, meters)), "since": since.isoformat()},
    )
    await uow.outbox.add_all([message])
