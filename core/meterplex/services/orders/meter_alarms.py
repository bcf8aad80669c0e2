"""What people must know about the credit of a meter, as events of the meter."""

from datetime import datetime
from enum import StrEnum

import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.domain.estate import Meter
from meterplex.domain.readings import DeviceEventRecord, EventKind
from meterplex.services.estate.site_policies import load_parameters
from meterplex.services.follow_up.notices import queue_notice


class CreditAlarm(StrEnum):
    """Codes of the events."""

    FOREIGN_PURCHASE = "foreign_purchase"
    """Somebody else sold to the meter (F61)."""
    PURCHASE_COUNT = "purchase_count"
    """Its wallet is not as purchases can have left it (F61)."""
    PURCHASE_COUNT_END = "purchase_count_end"
    """90 % of all counts are used: the account must be opened anew in the meter."""
    ORDER_CONFLICT = "order_conflict"
    """What was read contradicts an order: two people decide."""
    ORDER_UNCERTAIN = "order_uncertain"
    """An order was sent and is not proven for too long."""


async def raise_alarm(
    uow: UnitOfWork, meter: Meter, code: CreditAlarm, detail: str, at: datetime
) -> None:
    """Add an event of the meter, and a notice to the phone that gets the alarms of its site."""
    event = DeviceEventRecord(
        id=uuid_utils.compat.uuid7(),
        organisation_id=meter.organisation_id,
        subject="meter",
        subject_id=meter.id,
        kind=EventKind.FLAG_RAISED,
        code=code,
        at=at,
        detail=detail,
    )
    await uow.events.add_all([event])
    organisation = await uow.organisations.get(meter.organisation_id)
    site = await uow.sites.get(meter.organisation_id, meter.site_id)
    await queue_notice(
        uow,
        meter.organisation_id,
        code,
        f"{site.name}: meter {meter.serial}: {code.replace('_', ' ')}: {detail}",
        recipient=(await load_parameters(uow, site)).sms_number,
        language=organisation.language,
        at=at,
        site_id=site.id,
    )
