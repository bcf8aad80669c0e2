"""Breakers and quarantine: what is left to people after too many disconnects at once."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.db.supply import SYSTEM, StoredBreaker
from meterplex.domain.approvals import Approval, ApprovalId, ApprovalKind
from meterplex.domain.commands import Command, CommandId, CommandState
from meterplex.domain.estate import OrganisationId
from meterplex.domain.limiter import BreakerError
from meterplex.domain.operators import Operator, Right, require_right
from meterplex.domain.supply_gate import DisconnectCause
from meterplex.domain.supply_holds import HoldOwner
from meterplex.domain.supply_policy import DEFAULT_POLICY, needs_settling
from meterplex.services.books.errors import MoneyConflictError
from meterplex.services.metering.issue_commands import NOT_AFTER_MAX, write_commands
from meterplex.services.operators import approvals
from meterplex.services.operators.audit import record
from meterplex.services.supply.supply_holds import add_hold

log = structlog.get_logger(__name__)

DROPPED_FOR: Final = timedelta(hours=24)
"""How long what was dropped from quarantine is held on, so that no rule asks again at once."""


async def show_breakers(
    uow: UnitOfWork, organisation_id: OrganisationId
) -> tuple[StoredBreaker, StoredBreaker]:
    """Return the breakers of the system and of an organisation."""
    return await uow.breakers.get(SYSTEM), await uow.breakers.get(str(organisation_id))


async def ask_close(
    database: Database,
    operator: Operator,
    scope: str,
    *,
    reason: str,
    at: datetime,
    dry_run: bool = False,
) -> Approval:
    """Ask a second person to close a breaker.

    Raises:
        MoneyConflictError: it is closed.
        ForbiddenError, OperatorInputError: see ``approvals.ask``.
    """
    async with database.unit_of_work() as uow:
        breaker = await uow.breakers.get(scope)
        approval = await approvals.ask(
            uow,
            operator,
            ApprovalKind.BREAKER_CLOSE,
            _content(breaker),
            subject=f"close the breaker of {_name(scope)}",
            reason=reason,
            site_id=None,
            at=at,
        )
        if not dry_run:
            await uow.commit()
    return approval


async def close_breaker(
    database: Database,
    operator: Operator,
    scope: str,
    approval_id: ApprovalId,
    *,
    at: datetime,
    dry_run: bool = False,
) -> StoredBreaker:
    """Close a breaker that a second person allowed to close, as it opened then.

    Raises:
        ApprovalError: it was not approved, or for another opening.
        MoneyConflictError: it is closed already.
    """
    organisation_id = operator.organisation_id
    async with database.unit_of_work() as uow:
        system, tenant = await uow.breakers.lock(organisation_id)
        breaker = system if scope == SYSTEM else tenant
        content = _content(breaker)
        used = await approvals.require(
            uow, operator, approval_id, ApprovalKind.BREAKER_CLOSE, content, at=at
        )
        assert used.decided_by is not None
        first = await uow.operators.get(organisation_id, used.asked_by)
        second = await uow.operators.get(organisation_id, used.decided_by)
        try:
            breaker.breaker.closed_by(first.name, second.name)
        except BreakerError as error:
            raise MoneyConflictError("breaker", str(error)) from error
        closed = replace(breaker, opened_at=None, reason="")
        await uow.breakers.put(closed)
        detail = {"asked_by": first.name, "approved_by": second.name, "reason": used.reason}
        subject = f"breaker {scope}"
        await record(
            uow, organisation_id, operator.name, "supply.breaker.close", subject, detail, at
        )
        if not dry_run:
            await uow.commit()
    return closed


async def release_quarantined(
    database: Database,
    operator: Operator,
    command_id: CommandId,
    *,
    at: datetime,
    dry_run: bool = False,
) -> Command:
    """Ask for a quarantined disconnect again, as a person; it passes the gate like any other.

    Raises:
        NotFoundError: there is no such command.
        ForbiddenError: the operator has not the right to command this supply.
        MoneyConflictError: it does not wait in quarantine.
    """
    async with database.unit_of_work() as uow:
        old = await _taken_out(uow, operator, command_id, "asked for again by a person", at)
        new = Command(
            id=CommandId(uuid_utils.compat.uuid7()),
            organisation_id=old.organisation_id,
            meter_id=old.meter_id,
            kind=old.kind,
            asked_by=operator.name,
            created_at=at,
            not_after=at + NOT_AFTER_MAX,
            arguments=old.arguments,
            cause=old.cause or DisconnectCause.ARREARS.value,
        )
        await write_commands(uow, [new])
        if not dry_run:
            await uow.commit()
    return new


async def drop_quarantined(
    database: Database,
    operator: Operator,
    command_id: CommandId,
    *,
    at: datetime,
    dry_run: bool = False,
) -> Command:
    """Give a quarantined disconnect up, and hold the supply on for a day.

    Raises:
        NotFoundError, ForbiddenError, MoneyConflictError: see :func:`release_quarantined`.
    """
    async with database.unit_of_work() as uow:
        old = await _taken_out(uow, operator, command_id, "dropped by a person", at)
        binding = await uow.bindings.open_of_meter(old.organisation_id, old.meter_id)
        if binding is not None and binding.account_id is not None:
            account = await uow.accounts.get(old.organisation_id, binding.account_id)
            site = await uow.sites.get(old.organisation_id, account.site_id)
            await add_hold(
                uow,
                site,
                account,
                HoldOwner.OPERATOR,
                reason="disconnect dropped from quarantine",
                until=at + DROPPED_FOR,
                at=at,
                operator=operator.name,
            )
        subject = f"meter {old.meter_id}"
        detail = {"command": str(old.id)}
        await record(uow, old.organisation_id, operator.name, "command.drop", subject, detail, at)
        if not dry_run:
            await uow.commit()
    return old


async def _taken_out(
    uow: UnitOfWork, operator: Operator, command_id: CommandId, outcome: str, at: datetime
) -> Command:
    organisation_id = operator.organisation_id
    command = await uow.commands.get(organisation_id, command_id)
    meter = await uow.meters.get(organisation_id, command.meter_id)
    require_right(operator, Right.SUPPLY_COMMAND, meter.site_id)
    moved = await uow.commands.move(
        organisation_id,
        command_id,
        {CommandState.QUARANTINED},
        CommandState.FAILED,
        at=at,
        outcome=outcome,
    )
    if moved is None:
        raise MoneyConflictError("command", f"it is {command.state}, expected quarantined")
    return moved


async def watch_time(database: Database, at: datetime) -> bool:
    """Note that the program is at work; return whether time had a hole that needs settling.

    To be called at start and then more often than the longest gap that needs none. A gap since
    the last call, either way, means that nobody watched, or that the clock jumped.
    """
    async with database.unit_of_work() as uow:
        system = await uow.breakers.lock_system()
        gap = timedelta(0) if system.seen_at is None else at - system.seen_at
        outage = needs_settling(DEFAULT_POLICY, gap)
        ended_at = at if outage else system.outage_ended_at
        await uow.breakers.put(replace(system, seen_at=at, outage_ended_at=ended_at))
        await uow.commit()
    if outage:
        log.warning(
            "outage or clock jump: no rule disconnects for now", seconds=gap.total_seconds()
        )
    return outage


def _content(breaker: StoredBreaker) -> Mapping[str, Any]:
    if breaker.opened_at is None:
        raise MoneyConflictError("breaker", f"that of {_name(breaker.scope)} is closed already")
    return {"scope": breaker.scope, "opened_at": breaker.opened_at.isoformat()}


def _name(scope: str) -> str:
    return "the system" if scope == SYSTEM else "the organisation"
