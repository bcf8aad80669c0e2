"""Asks meters for something: one durable row a meter, committed before anything is sent.

The head-end delivers the rows. A meter that cannot do what is asked gets its row too, FAILED from
the start, so that a batch always answers for every meter that was named.

A person needs the right for it at the site of every meter, and for many disconnects at once a
second person (prepayment-protocol 3.2); what a rule asks for has passed the gate instead.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.db.errors import NotFoundError
from meterplex.domain.approvals import Approval, ApprovalId, ApprovalKind
from meterplex.domain.audit import AuditRecord
from meterplex.domain.commands import Command, CommandId, CommandKind, CommandState
from meterplex.domain.estate import Meter, OrganisationId, SiteId
from meterplex.domain.operators import Operator, Right, require_right
from meterplex.domain.supply_gate import DisconnectCause
from meterplex.domain.supply_policy import SupplyPolicy
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import Capability, SettingsError
from meterplex.services.metering.command_arguments import check_arguments
from meterplex.services.operators import approvals

NOT_AFTER_MAX: Final = timedelta(minutes=10)
"""A command lives no longer (prepayment-protocol section 3)."""

NEEDED: Final[Mapping[CommandKind, Capability | None]] = {
    CommandKind.DISCONNECT: Capability.SUPPLY,
    CommandKind.RECONNECT: Capability.SUPPLY,
    CommandKind.HOLD: Capability.HOLD_SUPPLY,
    CommandKind.AUTOMATIC: Capability.SUPPLY,
    CommandKind.WRITE_PRICES: Capability.PRICES,
    CommandKind.WRITE_LIMITS: Capability.LIMITS,
    CommandKind.WRITE_CALENDAR: Capability.CALENDAR,
    CommandKind.SYNC_CLOCK: Capability.CLOCK,
    CommandKind.READ: None,
}
"""What a meter's model must have for a kind of command."""


class NobodyCanError(Exception):
    """Not one of the meters can do what was asked; nothing was written."""


@dataclass(frozen=True, slots=True)
class CommandBatch:
    """Commands that were asked for together, in the order of their meters."""

    id: UUID
    commands: tuple[Command, ...]


async def issue_commands(
    database: Database,
    plugins: PluginManager,
    organisation_id: OrganisationId,
    meters: Collection[Meter],
    kind: CommandKind,
    arguments: Mapping[str, str],
    *,
    asked_by: Operator | str,
    at: datetime,
    not_after: datetime | None = None,
    approval_id: ApprovalId | None = None,
    cause: DisconnectCause | None = None,
    dry_run: bool = False,
) -> CommandBatch:
    """Write one command a meter, with an audit entry each, in one transaction.

    Args:
        arguments: see ``services.metering.command_arguments``.
        asked_by: a signed-in operator, or the name of a rule.
        at: now.
        not_after: the commands are never sent later; None gives them :data:`NOT_AFTER_MAX`.
        approval_id: of a second person, where :func:`needs_second_person`; otherwise ignored.
        cause: why supply is taken away; None is for arrears where somebody pays for the use, and
            for shortage where nobody does.
        dry_run: do all of it, but keep nothing.

    Raises:
        SettingsError: no meter, an argument that the kind does not take, or a time that has
            passed or is too far off.
        NobodyCanError: not one of the meters can do it.
        ForbiddenError: the operator has not the right at the site of a meter.
        ApprovalError: it needs a second person, whose approval this is not.
    """
    not_after = at + NOT_AFTER_MAX if not_after is None else not_after
    if not at < not_after <= at + NOT_AFTER_MAX:
        raise SettingsError(f"not_after {not_after.isoformat()}: expected within 10 min from now")
    if not meters:
        raise SettingsError("no meter was named")
    check_arguments(kind, arguments)
    if isinstance(asked_by, Operator):
        check_rights(asked_by, kind, meters, cause)
    batch_id = uuid_utils.compat.uuid7()
    commands = []
    for meter in meters:
        obstacle = find_obstacle(plugins, meter, kind)
        command = Command(
            id=CommandId(uuid_utils.compat.uuid7()),
            organisation_id=organisation_id,
            meter_id=meter.id,
            kind=kind,
            asked_by=asked_by.name if isinstance(asked_by, Operator) else asked_by,
            created_at=at,
            not_after=not_after,
            arguments=dict(arguments),
            batch_id=batch_id,
            state=CommandState.FAILED if obstacle else CommandState.QUEUED,
            settled_at=at if obstacle else None,
            outcome=obstacle,
        )
        commands.append(command)
    if all(command.state is CommandState.FAILED for command in commands):
        raise NobodyCanError(f"{kind}: {'; '.join(sorted({each.outcome for each in commands}))}")
    async with database.unit_of_work() as uow:
        if isinstance(asked_by, Operator) and needs_second_person(kind, meters):
            content, what = _approved_content(kind, meters, cause), ApprovalKind.SUPPLY_BATCH
            used = await approvals.require(uow, asked_by, approval_id, what, content, at=at)
            commands = [replace(command, approval_id=used.id) for command in commands]
        if kind is CommandKind.DISCONNECT:
            commands = [await _with_cause(uow, command, cause) for command in commands]
        await write_commands(uow, commands)
        if not dry_run:
            await uow.commit()
    return CommandBatch(batch_id, tuple(commands))


async def _with_cause(uow: UnitOfWork, command: Command, cause: DisconnectCause | None) -> Command:
    if cause is None:
        binding = await uow.bindings.open_of_meter(command.organisation_id, command.meter_id)
        paid_for = binding is not None and binding.account_id is not None
        cause = DisconnectCause.ARREARS if paid_for else DisconnectCause.SHORTAGE
    return replace(command, cause=cause.value)


async def write_commands(uow: UnitOfWork, commands: Sequence[Command]) -> None:
    """Write commands with an audit entry each, in the caller's transaction."""
    await uow.commands.add_all(commands)
    for command in commands:
        await uow.audit.append(_audit_record(command))


def needs_second_person(kind: CommandKind, meters: Collection[Meter]) -> bool:
    """Whether a person may not do this alone."""
    return kind is CommandKind.DISCONNECT and len(meters) > SupplyPolicy().batch_alone_max


async def ask_second_person(
    database: Database,
    operator: Operator,
    kind: CommandKind,
    meters: Collection[Meter],
    *,
    reason: str,
    at: datetime,
    cause: DisconnectCause | None = None,
    dry_run: bool = False,
) -> Approval:
    """Ask for the approval of exactly these meters and this action.

    Raises:
        ForbiddenError: the operator has not the right at the site of a meter.
        OperatorInputError: no reason.
    """
    check_rights(operator, kind, meters, cause)
    sites = {meter.site_id for meter in meters}
    async with database.unit_of_work() as uow:
        approval = await approvals.ask(
            uow,
            operator,
            ApprovalKind.SUPPLY_BATCH,
            _approved_content(kind, meters, cause),
            subject=f"{kind} {len(meters)} meters",
            reason=reason,
            site_id=sites.pop() if len(sites) == 1 else None,
            at=at,
        )
        if not dry_run:
            await uow.commit()
    return approval


def check_rights(
    operator: Operator,
    kind: CommandKind,
    meters: Collection[Meter],
    cause: DisconnectCause | None = None,
) -> None:
    """See that an operator may ask these meters for this; safety takes the right to force.

    Raises:
        ForbiddenError: not at the site of every one of them.
    """
    right = Right.REPORT_READ if kind is CommandKind.READ else Right.SUPPLY_COMMAND
    if cause is DisconnectCause.SAFETY:
        right = Right.SUPPLY_FORCE
    sites: set[SiteId] = {meter.site_id for meter in meters}
    for site_id in sorted(sites, key=str):
        require_right(operator, right, site_id)


def _approved_content(
    kind: CommandKind, meters: Collection[Meter], cause: DisconnectCause | None
) -> dict[str, Any]:
    content = {"action": kind.value, "meters": sorted(str(meter.id) for meter in meters)}
    return content if cause is None else content | {"cause": cause.value}


def find_obstacle(plugins: PluginManager, meter: Meter, kind: CommandKind) -> str:
    """Say why a meter cannot do it; empty when it can."""
    model, needed = plugins.models.get(meter.model), NEEDED[kind]
    if model is None:
        return f"no plugin has the model {meter.model}"
    if needed is not None and needed not in model.capabilities:
        return f"{meter.model} has no capability {needed}"
    return ""


def _audit_record(command: Command) -> AuditRecord:
    return AuditRecord(
        organisation_id=command.organisation_id,
        at=command.created_at,
        operator=command.asked_by,
        action=f"command.{command.kind}",
        subject=f"meter {command.meter_id}",
        detail={
            "command": str(command.id),
            "batch": str(command.batch_id),
            "not_after": command.not_after.isoformat(),
            "state": command.state,
            **({} if command.approval_id is None else {"approval": str(command.approval_id)}),
            **command.arguments,
        },
    )


async def find_meters(
    uow: UnitOfWork, organisation_id: OrganisationId, serials: Sequence[str]
) -> tuple[Meter, ...]:
    """Return the installed meters of these serials, in their order, each once.

    Raises:
        NotFoundError: names every serial that no installed meter has.
    """
    found = {serial: await uow.meters.by_serial(organisation_id, serial) for serial in serials}
    installed = {
        serial: meter
        for serial, meter in found.items()
        if meter is not None and meter.removed_at is None
    }
    if missing := [serial for serial in found if serial not in installed]:
        raise NotFoundError(f"no meter {', '.join(missing)}")
    return tuple(installed.values())


async def find_site_meters(
    uow: UnitOfWork, organisation_id: OrganisationId, site_code: str
) -> tuple[Meter, ...]:
    """Return the installed meters of a site.

    Raises:
        NotFoundError: there is no such site.
    """
    site = await uow.sites.by_code(organisation_id, site_code)
    if site is None:
        raise NotFoundError(f"no site {site_code}")
    return await uow.meters.in_site(organisation_id, site.id)
