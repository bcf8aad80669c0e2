"""Bypass (F75): a meter's controller is out of the trip circuit, and the program keeps out.

Two people start it, one may end it. While it lasts no automatic command goes to the meter, and an
event stands that tells so; its end is a person's word, even when its time is over. Until then those
who may end it are told every day.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.db.outbox import OutboxMessage
from meterplex.db.supply import BypassId, StoredBypass
from meterplex.domain.approvals import Approval, ApprovalId, ApprovalKind
from meterplex.domain.estate import Meter
from meterplex.domain.operators import Operator, Right
from meterplex.domain.readings import DeviceEventRecord, EventKind
from meterplex.services.accounts.messages import reconsider_supply
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.follow_up.notices import tell_operators
from meterplex.services.follow_up.outbox_worker import Handler
from meterplex.services.operators import approvals
from meterplex.services.operators.audit import record

BYPASSED: Final = "bypass"
"""Code of the event that stands while a meter is bypassed."""

BYPASS_OVER: Final = "bypass_over"
"""Topic of the outbox, and kind of the notice: the time of a bypass is over."""

_REMIND_AFTER: Final = timedelta(days=1)


async def ask_bypass(
    database: Database,
    operator: Operator,
    meter: Meter,
    *,
    until: datetime,
    reason: str,
    at: datetime,
    dry_run: bool = False,
) -> Approval:
    """Ask a second person for the bypass of a meter.

    Raises:
        MoneyInputError: it would end before it begins.
        ForbiddenError, OperatorInputError: see ``approvals.ask``.
    """
    _check_until(until, at)
    async with database.unit_of_work() as uow:
        approval = await approvals.ask(
            uow,
            operator,
            ApprovalKind.BYPASS,
            _content(meter, until),
            subject=f"bypass of meter {meter.serial} until {until:%Y-%m-%d %H:%M %Z}",
            reason=reason,
            site_id=meter.site_id,
            at=at,
        )
        if not dry_run:
            await uow.commit()
    return approval


async def start_bypass(
    database: Database,
    operator: Operator,
    meter: Meter,
    *,
    until: datetime,
    approval_id: ApprovalId,
    at: datetime,
    dry_run: bool = False,
) -> StoredBypass:
    """Begin a bypass that a second person approved.

    Raises:
        MoneyInputError: it would end before it begins.
        ApprovalError: it was not approved, or something else was.
        ConflictError: the meter is bypassed already.
    """
    _check_until(until, at)
    async with database.unit_of_work() as uow:
        used = await approvals.require(
            uow, operator, approval_id, ApprovalKind.BYPASS, _content(meter, until), at=at
        )
        assert used.decided_by is not None
        asker = await uow.operators.get(meter.organisation_id, used.asked_by)
        decider = await uow.operators.get(meter.organisation_id, used.decided_by)
        bypass = StoredBypass(
            BypassId(uuid_utils.compat.uuid7()),
            meter.organisation_id,
            meter.id,
            used.reason,
            at,
            until,
            asker.name,
            decider.name,
            used.id,
        )
        await uow.bypasses.add(bypass)
        await _note(uow, bypass, EventKind.FLAG_RAISED, operator, at)
        await _remind(uow, bypass, at, due_at=until)
        if not dry_run:
            await uow.commit()
    return bypass


async def end_bypass(
    database: Database, operator: Operator, meter: Meter, *, at: datetime, dry_run: bool = False
) -> StoredBypass:
    """End the bypass of a meter: the controller is back in the circuit.

    Raises:
        MoneyConflictError: it is not bypassed.
    """
    async with database.unit_of_work() as uow:
        ended = await uow.bypasses.end(meter.organisation_id, meter.id, at, operator.name)
        if ended is None:
            raise MoneyConflictError("meter", f"{meter.serial} is not bypassed")
        await _note(uow, ended, EventKind.FLAG_CLEARED, operator, at)
        if not dry_run:
            await uow.commit()
    return ended


def bypass_handler(database: Database, wall: Callable[[], datetime]) -> Handler:
    """Return what handles the topic ``bypass_over``: it tells who may end what should be over."""

    async def handle(message: OutboxMessage) -> None:
        at = wall()
        async with database.unit_of_work() as uow:
            bypass = await uow.bypasses.get(
                message.organisation_id, BypassId(UUID(message.subject))
            )
            if bypass.ended_at is None and bypass.bypass.overdue_at(at):
                await _tell_overdue(uow, bypass, at)
                await uow.commit()

    return handle


async def _tell_overdue(uow: UnitOfWork, bypass: StoredBypass, at: datetime) -> None:
    meter = await uow.meters.get(bypass.organisation_id, bypass.meter_id)
    site = await uow.sites.get(bypass.organisation_id, meter.site_id)
    until = bypass.until.astimezone(ZoneInfo(site.time_zone))
    text = (
        f"{site.name}: meter {meter.serial} is still out of the trip circuit, which should have"
        f" ended at {until:%Y-%m-%d %H:%M}: {bypass.reason}. Put its controller back and say so:"
        f" meterplex supply bypass end {meter.serial}"
    )
    await tell_operators(
        uow, bypass.organisation_id, BYPASS_OVER, text, Right.SUPPLY_HOLD, at, site.id
    )
    await _remind(uow, bypass, at, due_at=at + _REMIND_AFTER)


async def _remind(uow: UnitOfWork, bypass: StoredBypass, at: datetime, due_at: datetime) -> None:
    message = OutboxMessage(
        id=uuid_utils.compat.uuid7(),
        organisation_id=bypass.organisation_id,
        topic=BYPASS_OVER,
        subject=str(bypass.id),
        created_at=at,
        due_at=due_at,
    )
    await uow.outbox.add_all([message])


async def _note(
    uow: UnitOfWork, bypass: StoredBypass, kind: EventKind, operator: Operator, at: datetime
) -> None:
    """Write event and audit entry, and have the supply decided again."""
    organisation_id = bypass.organisation_id
    event = DeviceEventRecord(
        id=uuid_utils.compat.uuid7(),
        organisation_id=organisation_id,
        subject="meter",
        subject_id=bypass.meter_id,
        kind=kind,
        code=BYPASSED,
        at=at,
        detail=f"{bypass.reason}, until {bypass.until.isoformat()}",
    )
    await uow.events.add_all([event])
    binding = await uow.bindings.open_of_meter(organisation_id, bypass.meter_id)
    if binding is not None and binding.account_id is not None:
        account = await uow.accounts.get(organisation_id, binding.account_id)
        await reconsider_supply(uow, account, at)
    word = "start" if kind is EventKind.FLAG_RAISED else "end"
    await record(
        uow,
        organisation_id,
        operator.name,
        f"bypass.{word}",
        f"meter {bypass.meter_id}",
        {"reason": bypass.reason, "until": bypass.until.isoformat()},
        at,
    )


def _check_until(until: datetime, at: datetime) -> None:
    if until <= at:
        raise MoneyInputError("until", f"{until.isoformat()}: expected a time to come")


def _content(meter: Meter, until: datetime) -> Mapping[str, Any]:
    return {"meter": str(meter.id), "until": until.isoformat()}
