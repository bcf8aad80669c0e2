"""The gate, asked in the transaction that marks a command sent (protocol 3.1, 3.2).

What takes supply away, in effect or by name, is marked sent only if nothing speaks against it
there and then: the account is held, so that no payment comes between, and so are the rows of the
breakers, under which the sent disconnects are counted one after the other. What is refused never
leaves; what is only too much at once goes to quarantine, and the breaker opens.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.db.supply import SYSTEM, StoredBreaker
from meterplex.domain.approvals import ApprovalId, ApprovalKind, ApprovalState
from meterplex.domain.commands import SUPPLY_ACTIONS, Command, CommandKind, CommandState
from meterplex.domain.estate import OrganisationId, SiteId
from meterplex.domain.limiter import LimiterScope, LimiterVerdict, verdict
from meterplex.domain.operators import OperatorState, Right
from meterplex.domain.supply import SupplyAction
from meterplex.domain.supply_gate import (
    Authority,
    DisconnectCause,
    GateFacts,
    GateRefusal,
    Refusal,
    is_excess,
    refusals,
)
from meterplex.domain.supply_policy import LimiterPolicy
from meterplex.domain.supply_wish import may_take_supply
from meterplex.services.follow_up.notices import tell_operators
from meterplex.services.operators.audit import record
from meterplex.services.supply.supply_case import SupplyCase, load_case

OUTCOME_LENGTH_MAX: Final = 1000

ASKED_WITHOUT_ACCOUNT: Final = frozenset({Refusal.D5, Refusal.D6, Refusal.D7})
"""Rules that a meter is asked whose use nobody pays for: there is no customer to protect."""


class Marking(StrEnum):
    """What became of a command that was to be marked sent."""

    SENT = "sent"
    NOT_SENT = "not_sent"
    """It was refused or quarantined, or its row had moved on."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """The breakers, held, and what the limiter says under them."""

    system: StoredBreaker
    tenant: StoredBreaker
    limiter: LimiterVerdict

    @property
    def closed(self) -> bool:
        return self.system.breaker.closed and self.tenant.breaker.closed


async def mark_sent(
    uow: UnitOfWork, command: Command, at: datetime, limiter: LimiterPolicy
) -> Marking:
    """Mark a supply command sent in the caller's transaction, if the gate lets it pass.

    The transaction is to be committed either way: a refusal is written too.
    """
    if SUPPLY_ACTIONS[command.kind] is SupplyAction.HOLD:
        return await _move_to_sent(uow, command, at)
    bypass = await uow.bypasses.of_meter(command.organisation_id, command.meter_id)
    if bypass is not None and command.kind is not CommandKind.DISCONNECT:
        return await _move_bypassed(uow, command, at)
    binding = await uow.bindings.open_of_meter(command.organisation_id, command.meter_id)
    if binding is not None and binding.account_id is not None:
        await uow.accounts.lock(command.organisation_id, binding.account_id)
        held = await uow.bindings.open_of_meter(command.organisation_id, command.meter_id)
        if held != binding:  # it went to another account meanwhile; it is tried again
            return Marking.NOT_SENT
    elif command.kind is not CommandKind.DISCONNECT:
        return await _move_to_sent(uow, command, at)
    meter = await uow.meters.get(command.organisation_id, command.meter_id)
    case = await load_case(uow, meter, at)
    if not takes_supply(case, SUPPLY_ACTIONS[command.kind]):
        return await _move_to_sent(uow, command, at)
    counted = await _count(uow, command, at, limiter)
    found = judge(case, await _facts(uow, command, case, counted))
    if found:
        await _turn_back(uow, command, found, counted, case.site.id, at)
        return Marking.NOT_SENT
    marking = await _move_to_sent(uow, command, at)
    if marking is Marking.SENT:
        await uow.sent_disconnects.add(uuid_utils.compat.uuid7(), command, at)
    return marking


def takes_supply(case: SupplyCase, action: SupplyAction) -> bool:
    """Whether an action may leave the customer without supply, and so needs the gate."""
    return may_take_supply(
        action,
        balance_units=case.balance_units,
        limit_units=case.limit_units,
        balance_in_meter=case.in_meter,
    )


def judge(case: SupplyCase, facts: GateFacts) -> tuple[GateRefusal, ...]:
    """Return what speaks against a disconnect of a meter, with an account or without."""
    found = refusals(facts, case.parameters.supply)
    if case.account is not None:
        return found
    return tuple(each for each in found if each.rule in ASKED_WITHOUT_ACCOUNT)


def cause_of(command: Command, case: SupplyCase) -> DisconnectCause:
    """Return why a command takes supply away; one that only releases a meter does it for credit."""
    if command.cause:
        return DisconnectCause(command.cause)
    return DisconnectCause.ARREARS if case.account else DisconnectCause.SHORTAGE


async def authority_of(
    uow: UnitOfWork, organisation_id: OrganisationId, asked_by: str, site_id: SiteId
) -> Authority:
    """Return what lets whoever asked ask; who is no operator is a rule of the program."""
    operator = await uow.operators.by_name(organisation_id, asked_by)
    if operator is None:
        return Authority.RULE
    if operator.state is not OperatorState.ACTIVE:
        return Authority.NONE
    if operator.may(Right.SUPPLY_FORCE, site_id):
        return Authority.FORCE
    may_command = operator.may(Right.SUPPLY_COMMAND, site_id)
    return Authority.COMMAND if may_command else Authority.NONE


async def _move_bypassed(uow: UnitOfWork, command: Command, at: datetime) -> Marking:
    """Send what a person asks of a bypassed meter; rules are silent there (F75)."""
    asked_by = await uow.operators.by_name(command.organisation_id, command.asked_by)
    if asked_by is not None:
        return await _move_to_sent(uow, command, at)
    await uow.commands.move(
        command.organisation_id,
        command.id,
        {command.state},
        CommandState.FAILED,
        at=at,
        outcome="the meter is bypassed: no automatic commands",
    )
    return Marking.NOT_SENT


async def _move_to_sent(uow: UnitOfWork, command: Command, at: datetime) -> Marking:
    moved = await uow.commands.move(
        command.organisation_id, command.id, {command.state}, CommandState.SENT, at=at
    )
    return Marking.NOT_SENT if moved is None else Marking.SENT


async def _count(
    uow: UnitOfWork, command: Command, at: datetime, policy: LimiterPolicy
) -> _Counted:
    organisation_id = command.organisation_id
    system, tenant = await uow.breakers.lock(organisation_id)
    times = await uow.sent_disconnects.times(organisation_id, command.meter_id, at)
    meters = await uow.sent_disconnects.meter_counts(organisation_id)
    return _Counted(system, tenant, verdict(times, meters, at, policy))


async def _facts(
    uow: UnitOfWork, command: Command, case: SupplyCase, counted: _Counted
) -> GateFacts:
    organisation_id = command.organisation_id
    authority = await authority_of(uow, organisation_id, command.asked_by, case.site.id)
    batch_size = 1
    if command.batch_id is not None and authority is not Authority.RULE:
        batch = await uow.commands.of_batch(organisation_id, command.batch_id)
        batch_size = sum(1 for each in batch if each.kind is command.kind)
    return replace(
        case.facts(cause_of(command, case), authority),
        limiter=counted.limiter,
        breaker_closed=counted.closed,
        quarantined=await uow.commands.has_quarantined(organisation_id, command.meter_id),
        batch_size=batch_size,
        batch_approved=await _approved(uow, command),
        audited=await uow.audit.tells_of_command(command),
    )


async def _approved(uow: UnitOfWork, command: Command) -> bool:
    """Whether a second person approved the batch; what exactly was checked when it was asked."""
    if command.approval_id is None:
        return False
    approval = await uow.approvals.get(command.organisation_id, ApprovalId(command.approval_id))
    is_used = approval.state is ApprovalState.USED and approval.kind is ApprovalKind.SUPPLY_BATCH
    return is_used and approval.decided_by not in (None, approval.asked_by)


async def _turn_back(
    uow: UnitOfWork,
    command: Command,
    found: Collection[GateRefusal],
    counted: _Counted,
    site_id: SiteId,
    at: datetime,
) -> None:
    """Refuse or quarantine a command, open breakers, and write down why."""
    excess = is_excess(tuple(found))
    outcome = "; ".join(str(each) for each in found)[:OUTCOME_LENGTH_MAX]
    moved = await uow.commands.move(
        command.organisation_id,
        command.id,
        {command.state},
        CommandState.QUARANTINED if excess else CommandState.FAILED,
        at=at,
        outcome=outcome,
    )
    if moved is None:
        return
    opened = await _open_breakers(uow, command, counted, at) if excess else ()
    if opened:
        text = f"the breaker of {' and '.join(opened)} opened: {counted.limiter}"
        organisation_id = command.organisation_id
        await tell_operators(uow, organisation_id, "breaker", text, Right.SUPPLY_APPROVE, at)
    await record(
        uow,
        command.organisation_id,
        command.asked_by,
        "command.quarantine" if excess else "command.refuse",
        f"meter {command.meter_id}",
        {
            "command": str(command.id),
            "rules": ", ".join(sorted({each.rule for each in found})),
            "reasons": outcome,
            "opened": ", ".join(opened),
        },
        at,
    )


async def _open_breakers(
    uow: UnitOfWork, command: Command, counted: _Counted, at: datetime
) -> tuple[str, ...]:
    """Open the breakers over whose limits it went; those that were open stay as they were."""
    breakers = {
        LimiterScope.SYSTEM: counted.system,
        LimiterScope.TENANT: counted.tenant,
    }
    opened = []
    for scope in dict.fromkeys(each.scope for each in counted.limiter.excess):
        breaker = breakers.get(scope)
        if breaker is not None and breaker.breaker.closed:
            reason = f"{counted.limiter} (command {command.id})"
            await uow.breakers.put(replace(breaker, opened_at=at, reason=reason))
            opened.append(SYSTEM if scope is LimiterScope.SYSTEM else "the organisation")
    return tuple(opened)
