"""Decides about held readings: what a person released, rejected or explained moves money again.

What is decided is kept with the hold and charged at once. A reading that is accepted becomes a
good one, in a revision of its own, so that later ones are compared with it.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from meterplex.db import Database, UnitOfWork
from meterplex.domain.charges import HoldId, HoldReason, HoldState, ReadingHold
from meterplex.domain.estate import Binding, OrganisationId
from meterplex.domain.readings import Reading, ReadingQuality, ReadingSource
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.charging.charge_entries import hold_event
from meterplex.services.charging.charge_readings import ChargingOutcome, charge_meters
from meterplex.services.charging.charged_counters import RULE
from meterplex.services.operators.audit import record
from meterplex.services.tariffs.book import TariffBook


@dataclass(frozen=True, slots=True)
class HoldDecision:
    """What becomes of a held reading.

    Attributes:
        state: RELEASED, when it shows what is right; REJECTED, when it never moves money and the
            next one is compared with those before; NEW_START, when the counter began anew.
        closing_value: for a new start, the last value of the old count.
        opening_value: for a new start, the first value of the new count.
    """

    state: HoldState
    closing_value: Decimal | None = None
    opening_value: Decimal | None = None


async def settle_hold(
    database: Database,
    organisation_id: OrganisationId,
    hold_id: HoldId,
    decision: HoldDecision,
    *,
    at: datetime,
    operator: str,
    book: TariffBook | None = None,
    dry_run: bool = False,
) -> ChargingOutcome:
    """Settle a held reading as a person decided, and charge what it held up.

    Args:
        dry_run: check everything, but settle and charge nothing.

    Raises:
        NotFoundError: there is no such hold.
        MoneyInputError: a new start without both values, or with impossible ones.
        MoneyConflictError: it is settled, or the decision cannot be about it.
    """
    async with database.unit_of_work() as uow:
        hold = await uow.reading_holds.get(organisation_id, hold_id)
        binding = await uow.bindings.get(organisation_id, hold.binding_id)
        if binding.account_id is not None:
            await uow.accounts.lock(organisation_id, binding.account_id)
            hold = await uow.reading_holds.get(organisation_id, hold_id)
        _check(hold, decision)
        settled = replace(
            hold,
            state=decision.state,
            closing_value=decision.closing_value,
            opening_value=decision.opening_value,
            settled_at=at,
            settled_by=operator,
        )
        await uow.reading_holds.put_all([settled])
        await uow.events.add_all([hold_event(settled, binding.meter_id, at)])
        if decision.state is not HoldState.REJECTED:
            await _accept(uow, binding, settled)
        await _note(uow, settled, at)
        if dry_run:
            return ChargingOutcome()
        await uow.commit()
    return await charge_meters(
        database, organisation_id, [binding.meter_id], at, since=hold.read_at, book=book
    )


def _check(hold: ReadingHold, decision: HoldDecision) -> None:
    if hold.state is not HoldState.OPEN and hold.settled_by != RULE:
        raise MoneyConflictError("hold", f"it was {hold.state} by {hold.settled_by}")
    if decision.state is HoldState.OPEN:
        raise MoneyInputError("decision", "expected released, rejected or new_start")
    falls = hold.reason in {HoldReason.NEGATIVE, HoldReason.RESET}
    if decision.state is HoldState.RELEASED and falls and hold.register.cumulative:
        raise MoneyConflictError(
            "decision", f"a counter does not fall ({hold.detail}): reject it, or name a new start"
        )
    if decision.state is HoldState.NEW_START:
        _check_new_start(hold, decision)


def _check_new_start(hold: ReadingHold, decision: HoldDecision) -> None:
    if not hold.register.cumulative:
        raise MoneyConflictError("decision", f"{hold.register.slug} is no counter")
    for field in ("closing_value", "opening_value"):
        value = getattr(decision, field)
        if value is None or not value.is_finite() or value < 0:
            raise MoneyInputError(field, f"{value}: expected what a counter can show")
    if decision.opening_value is not None and decision.opening_value > hold.value:
        raise MoneyInputError(
            "opening_value", f"{decision.opening_value} is more than {hold.value}, read after it"
        )


async def _accept(uow: UnitOfWork, binding: Binding, hold: ReadingHold) -> None:
    """Keep the reading as a good one; a money register keeps its own."""
    assert hold.settled_at is not None
    good = Reading(
        binding.meter_id,
        hold.register,
        hold.read_at,
        hold.value,
        ReadingQuality.GOOD,
        ReadingSource.MANUAL,
        reason=f"{hold.state} by {hold.settled_by}",
    )
    await uow.readings.store(hold.organisation_id, [good], received_at=hold.settled_at)


async def _note(uow: UnitOfWork, hold: ReadingHold, at: datetime) -> None:
    detail = {
        "register": hold.register.slug,
        "read_at": hold.read_at.isoformat(),
        "value": str(hold.value),
        "reason": str(hold.reason),
        "decision": str(hold.state),
    }
    if hold.closing_value is not None and hold.opening_value is not None:
        detail |= {"closing": str(hold.closing_value), "opening": str(hold.opening_value)}
    await record(
        uow, hold.organisation_id, hold.settled_by, "hold.settle", f"hold {hold.id}", detail, at
    )
