"""Bindings of meters that were never read begin at their first reading.

An estate file may give a meter to an account before anything has read it. The binding then waits:
nothing is charged, until the first good reading becomes what it began with.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.db.accounts import BindingOpening
from meterplex.db.outbox import OutboxMessage
from meterplex.domain.estate import Binding, BindingId, OrganisationId
from meterplex.domain.readings import Reading, ReadingQuality
from meterplex.services.charging.charge_readings import charge_meters
from meterplex.services.follow_up.outbox_worker import Handler

FIRST_READING: Final = "first_reading"
"""Topic of the outbox: a binding waits for its first reading; the subject is its identifier."""

_AT_ONCE: Final = timedelta(microseconds=1)


class NotReadYetError(Exception):
    """The meter was not read well since its binding began."""


async def await_first_readings(
    uow: UnitOfWork, bindings: Collection[Binding], at: datetime
) -> None:
    """Have bindings begin at the first reading of their meters."""
    await uow.outbox.add_all(
        OutboxMessage(
            id=uuid_utils.compat.uuid7(),
            organisation_id=binding.organisation_id,
            topic=FIRST_READING,
            subject=str(binding.id),
            created_at=at,
            due_at=at,
        )
        for binding in bindings
    )


def first_reading_handler(database: Database, wall: Callable[[], datetime]) -> Handler:
    """Return what handles the topic ``first_reading`` of the outbox.

    It raises ``NotReadYetError`` while there is no reading, so that it is called again later.
    """

    async def handle(message: OutboxMessage) -> None:
        at = wall()
        async with database.unit_of_work() as uow:
            binding = await _held(uow, message.organisation_id, BindingId(UUID(message.subject)))
            if not await _begin(uow, binding, at):
                return
            await uow.commit()
        await charge_meters(database, binding.organisation_id, [binding.meter_id], at)

    return handle


async def _held(uow: UnitOfWork, organisation_id: OrganisationId, binding_id: BindingId) -> Binding:
    """Return a binding as it is now, with its account held."""
    binding = await uow.bindings.get(organisation_id, binding_id)
    if binding.account_id is None:
        return binding
    await uow.accounts.lock(organisation_id, binding.account_id)
    return await uow.bindings.get(organisation_id, binding_id)


async def _begin(uow: UnitOfWork, binding: Binding, at: datetime) -> bool:
    """Begin a binding at its first readings; tell whether there was anything to do."""
    openings = await uow.binding_openings.of_binding(binding.organisation_id, binding.id)
    if binding.until is not None or openings:
        return False
    first = await _first_readings(uow, binding, at)
    if not first:
        raise NotReadYetError(f"binding {binding.id}: its meter was not read yet")
    # Registers that came with later reads only are no part of where it began.
    since = min(reading.read_at for reading in first)
    await uow.bindings.replace(replace(binding, since=since))
    await uow.binding_openings.add_all(
        BindingOpening(binding.organisation_id, binding.id, reading.register, reading.value)
        for reading in first
        if reading.read_at == since
    )
    return True


async def _first_readings(uow: UnitOfWork, binding: Binding, at: datetime) -> list[Reading]:
    """Return the first good reading of each counter since a binding began."""
    last = await uow.readings.last_good_counters(
        binding.organisation_id, [binding.meter_id], before=at + _AT_ONCE
    )
    first = []
    for reading in last.values():
        history = await uow.readings.history(
            binding.organisation_id,
            binding.meter_id,
            reading.register,
            binding.since,
            at + _AT_ONCE,
        )
        good = [each for each in history if each.quality is ReadingQuality.GOOD]
        first += good[:1]
    return first
