"""``meterplex supply``: what keeps supply on, what was decided, and what people have to decide."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import click

from meterplex.cli.errors import ExitCode
from meterplex.cli.group import FailingGroup
from meterplex.cli.names import SpokenNames, load_names
from meterplex.cli.output import (
    format_time,
    json_option,
    print_json,
    print_lines,
    print_table,
    tell,
)
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.db import Database
from meterplex.db.supply import SYSTEM, StoredBreaker, StoredBypass, StoredHold, StoredHoldId
from meterplex.domain.approvals import Approval, ApprovalId
from meterplex.domain.commands import Command, CommandId, CommandKind, CommandState
from meterplex.domain.estate import MeterId, Site
from meterplex.domain.operators import Right
from meterplex.domain.supply_gate import DisconnectCause
from meterplex.domain.supply_holds import HoldOwner
from meterplex.services.accounts.find_accounts import find_account
from meterplex.services.metering.issue_commands import (
    ask_second_person,
    find_meters,
    issue_commands,
    needs_second_person,
)
from meterplex.services.operators.manage_operators import refusals_noted
from meterplex.services.supply import breaker as breakers
from meterplex.services.supply.bypass import ask_bypass, end_bypass, start_bypass
from meterplex.services.supply.shortage import UNTIL, ShedPlan, plan_shortage
from meterplex.services.supply.supply_holds import end_hold, set_hold

dry_run_option = click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
approval_option = click.option(
    "--approval",
    type=click.UUID,
    metavar="ID",
    help="Of a second person; without it one is asked for.",
)


@click.group(cls=FailingGroup)
def supply() -> None:
    """See and steer what keeps supply on and what takes it away."""


def _time(_context: object, _parameter: object, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: expected such as 2026-11-20T18:00") from error


def until_option(*, required: bool) -> Callable[..., Any]:
    """Give a command the option that names an end."""
    return click.option(
        "--until",
        required=required,
        callback=_time,
        metavar="TIME",
        help="Such as 2026-11-20T18:00, at the site where it names no offset.",
    )


def at_site(at: datetime, site: Site) -> datetime:
    """Return a time that names no offset as one of the site's."""
    return at if at.tzinfo else at.replace(tzinfo=ZoneInfo(site.time_zone))


@supply.command
@click.option("--account", metavar="NUMBER", help="Of one account only.")
@operator_option
@json_option
@pass_program
def status(program: Program, account: str | None, as_json: bool) -> None:
    """Show what was decided last for each meter that somebody pays for, and why."""

    async def look() -> list[dict[str, object]]:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                organisation_id = operator.organisation_id
                states = await uow.supply_states.all(organisation_id)
                accounts = {each.id: each for each in await uow.accounts.all(organisation_id)}
                meters = {each.id: each for each in await uow.meters.all(organisation_id)}
                wanted = None
                if account is not None:
                    wanted = (await find_account(uow, organisation_id, account)).id
                rows = []
                for binding in await uow.bindings.open(organisation_id):
                    owner = accounts.get(binding.account_id) if binding.account_id else None
                    meter, decided = meters.get(binding.meter_id), states.get(binding.id)
                    if owner is None or meter is None or wanted not in (None, owner.id):
                        continue
                    if not operator.may(Right.REPORT_READ, meter.site_id):
                        continue
                    rows.append(
                        {
                            "account": owner.number,
                            "meter": meter.serial,
                            "seen": sorted(each for each in meter.flags if "supply" in each),
                            "wanted": "" if decided is None else decided.wanted,
                            "reason": "" if decided is None else decided.reason,
                            "generation": 0 if decided is None else decided.generation,
                            "decided_at": None if decided is None else decided.decided_at,
                        }
                    )
        return rows

    rows = run(look())
    if as_json:
        print_json(rows)
        return
    print_table(
        ("account", "meter", "seen", "wanted", "why", "decided"),
        (
            (
                row["account"],
                row["meter"],
                ", ".join(row["seen"]) if isinstance(row["seen"], list) else "",
                row["wanted"],
                row["reason"],
                format_time(row["decided_at"] if isinstance(row["decided_at"], datetime) else None),
            )
            for row in rows
        ),
    )


# -- holds -------------------------------------------------------------------------------------


@supply.group(cls=FailingGroup)
def hold() -> None:
    """Keep supply on, whatever the balance."""


@hold.command("set")
@click.option("--account", metavar="NUMBER", help="Of one account.")
@click.option("--site", metavar="CODE", help="Of all accounts of a site.")
@click.option(
    "--owner",
    type=click.Choice([HoldOwner.OPERATOR.value, HoldOwner.CARE.value, HoldOwner.WEATHER.value]),
    default=HoldOwner.OPERATOR.value,
    show_default=True,
    help="care: somebody's life or health depends on it.",
)
@click.option("--reason", required=True, help="A line for whoever asks later.")
@until_option(required=False)
@dry_run_option
@operator_option
@json_option
@pass_program
def set_(
    program: Program,
    account: str | None,
    site: str | None,
    owner: str,
    reason: str,
    until: datetime | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Set a hold, until a time or until it is ended."""
    if (account is None) == (site is None):
        raise click.UsageError("name --account or --site")

    async def write() -> _Written:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                organisation = await program.organisation(uow)
                if account is not None:
                    held = await find_account(uow, organisation.id, account)
                    where = await uow.sites.get(organisation.id, held.site_id)
                else:
                    assert site is not None
                    held, where = None, await program.site(uow, organisation, site)
            await program.require(database, operator, [Right.SUPPLY_HOLD], [where.id])
            stored = await set_hold(
                database,
                where,
                held,
                HoldOwner(owner),
                reason=reason,
                until=None if until is None else at_site(until, where),
                at=now(),
                operator=operator.name,
                dry_run=dry_run,
            )
            return await _written(database, stored)

    _show_one(run(write()), as_json=as_json, dry_run=dry_run)


@hold.command("end")
@click.argument("hold_id", metavar="ID", type=click.UUID)
@dry_run_option
@operator_option
@json_option
@pass_program
def end_(program: Program, hold_id: UUID, dry_run: bool, as_json: bool) -> None:
    """End a hold."""

    async def write() -> _Written:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                found = await uow.supply_holds.get(operator.organisation_id, hold_id)
            await program.require(database, operator, [Right.SUPPLY_HOLD], [found.site_id])
            ended = await end_hold(
                database,
                operator.organisation_id,
                StoredHoldId(hold_id),
                at=now(),
                operator=operator.name,
                dry_run=dry_run,
            )
            return await _written(database, ended)

    _show_one(run(write()), as_json=as_json, dry_run=dry_run)


@hold.command("list")
@operator_option
@json_option
@pass_program
def list_holds(program: Program, as_json: bool) -> None:
    """List the holds that nobody has ended."""

    async def look() -> list[dict[str, object]]:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                organisation_id = operator.organisation_id
                holds = await uow.supply_holds.not_ended(organisation_id)
                sites = {each.id: each.code for each in await uow.sites.all(organisation_id)}
                accounts = {
                    each.id: each.number for each in await uow.accounts.all(organisation_id)
                }
        return [
            {
                "id": each.id,
                "site": sites[each.site_id],
                "account": None if each.account_id is None else accounts[each.account_id],
                "owner": each.owner,
                "reason": each.reason,
                "until": each.until,
                "set_by": each.set_by,
            }
            for each in holds
            if operator.may(Right.REPORT_READ, each.site_id)
        ]

    _show_rows(run(look()), as_json=as_json)


# -- bypass ------------------------------------------------------------------------------------


@supply.group(cls=FailingGroup)
def bypass() -> None:
    """Keep the program away from a meter whose controller is out of the trip circuit."""


@bypass.command
@click.argument("serial", metavar="METER")
@until_option(required=True)
@click.option("--reason", default="", help="Why, for the second person and the log.")
@approval_option
@dry_run_option
@operator_option
@json_option
@pass_program
def start(
    program: Program,
    serial: str,
    until: datetime,
    reason: str,
    approval: UUID | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Begin a bypass; two people, exit 4 until the second has approved."""

    async def write() -> Approval | _Written:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                (meter,) = await find_meters(uow, operator.organisation_id, [serial])
                site = await uow.sites.get(operator.organisation_id, meter.site_id)
            await program.require(database, operator, [Right.SUPPLY_HOLD], [meter.site_id])
            end = at_site(until, site)
            if approval is None:
                return await ask_bypass(
                    database, operator, meter, until=end, reason=reason, at=now(), dry_run=dry_run
                )
            begun = await start_bypass(
                database,
                operator,
                meter,
                until=end,
                approval_id=ApprovalId(approval),
                at=now(),
                dry_run=dry_run,
            )
            return await _written(database, begun)

    _show_approval_or(run(write()), as_json=as_json, dry_run=dry_run)


@bypass.command("end")
@click.argument("serial", metavar="METER")
@dry_run_option
@operator_option
@json_option
@pass_program
def end_of_bypass(program: Program, serial: str, dry_run: bool, as_json: bool) -> None:
    """End a bypass: the controller is back in the circuit."""

    async def write() -> _Written:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                (meter,) = await find_meters(uow, operator.organisation_id, [serial])
            await program.require(database, operator, [Right.SUPPLY_HOLD], [meter.site_id])
            ended = await end_bypass(database, operator, meter, at=now(), dry_run=dry_run)
            return await _written(database, ended)

    _show_one(run(write()), as_json=as_json, dry_run=dry_run)


@bypass.command("list")
@operator_option
@json_option
@pass_program
def list_bypasses(program: Program, as_json: bool) -> None:
    """List the meters that are bypassed, and which should be over."""

    async def look() -> list[dict[str, object]]:
        async with program.database() as database:
            operator = await program.operator(database, Right.REPORT_READ)
            async with database.unit_of_work(read_only=True) as uow:
                found = await uow.bypasses.not_ended(operator.organisation_id)
                meters = {each.id: each for each in await uow.meters.all(operator.organisation_id)}
        return [
            {
                "meter": meters[each.meter_id].serial,
                "since": each.since,
                "until": each.until,
                "overdue": each.bypass.overdue_at(now()),
                "reason": each.reason,
                "asked_by": each.asked_by,
                "approved_by": each.approved_by,
            }
            for each in found
        ]

    _show_rows(run(look()), as_json=as_json)


# -- breaker and quarantine --------------------------------------------------------------------


@supply.group("breaker", cls=FailingGroup)
def breaker_group() -> None:
    """See and close the breakers that stop disconnects when too many are wanted at once."""


@breaker_group.command
@operator_option
@json_option
@pass_program
def show(program: Program, as_json: bool) -> None:
    """Show the breakers of the system and of the organisation."""

    async def look() -> list[dict[str, object]]:
        async with program.database() as database:
            operator = await program.operator(database, Right.REPORT_READ)
            async with database.unit_of_work(read_only=True) as uow:
                found = await breakers.show_breakers(uow, operator.organisation_id)
        return [_breaker_fields(each) for each in found]

    _show_rows(run(look()), as_json=as_json)


@breaker_group.command
@click.option("--system", is_flag=True, help="That of the whole system.")
@click.option("--reason", default="", help="Why, for the second person.")
@approval_option
@dry_run_option
@operator_option
@json_option
@pass_program
def close(
    program: Program,
    system: bool,
    reason: str,
    approval: UUID | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Close a breaker; two people, exit 4 until the second has approved."""

    async def write() -> Approval | dict[str, object]:
        async with program.database() as database:
            operator = await program.operator(database, Right.SUPPLY_APPROVE)
            scope = SYSTEM if system else str(operator.organisation_id)
            if approval is None:
                return await breakers.ask_close(
                    database, operator, scope, reason=reason, at=now(), dry_run=dry_run
                )
            closed = await breakers.close_breaker(
                database, operator, scope, ApprovalId(approval), at=now(), dry_run=dry_run
            )
        return _breaker_fields(closed)

    _show_approval_or(run(write()), as_json=as_json, dry_run=dry_run)


def _breaker_fields(each: StoredBreaker) -> dict[str, object]:
    return {
        "breaker": SYSTEM if each.scope == SYSTEM else "organisation",
        "state": each.breaker.state,
        "opened_at": each.opened_at,
        "reason": each.reason,
        "outage_ended_at": each.outage_ended_at,
    }


@supply.group(cls=FailingGroup)
def quarantine() -> None:
    """Decide about disconnects that were too many at once."""


@quarantine.command("list")
@operator_option
@json_option
@pass_program
def list_quarantined(program: Program, as_json: bool) -> None:
    """List what waits."""

    async def look() -> list[dict[str, object]]:
        async with program.database() as database:
            operator = await program.operator(database, Right.REPORT_READ)
            organisation_id = operator.organisation_id
            async with database.unit_of_work(read_only=True) as uow:
                found = await uow.commands.in_states({CommandState.QUARANTINED}, organisation_id)
                meters = {each.id: each.serial for each in await uow.meters.all(organisation_id)}
        return [_command_fields(each, meters) for each in found]

    _show_rows(run(look()), as_json=as_json)


@quarantine.command
@click.argument("command_id", metavar="COMMAND", type=click.UUID)
@dry_run_option
@operator_option
@json_option
@pass_program
def release(program: Program, command_id: UUID, dry_run: bool, as_json: bool) -> None:
    """Ask for it again in one's own name; it passes limiter and gate like any other."""
    _decide(program, command_id, release=True, dry_run=dry_run, as_json=as_json)


@quarantine.command
@click.argument("command_id", metavar="COMMAND", type=click.UUID)
@dry_run_option
@operator_option
@json_option
@pass_program
def drop(program: Program, command_id: UUID, dry_run: bool, as_json: bool) -> None:
    """Give it up, and hold the supply on for a day."""
    _decide(program, command_id, release=False, dry_run=dry_run, as_json=as_json)


def _decide(
    program: Program, command_id: UUID, *, release: bool, dry_run: bool, as_json: bool
) -> None:
    work = breakers.release_quarantined if release else breakers.drop_quarantined

    async def write() -> dict[str, object]:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            word = "release" if release else "drop"
            async with refusals_noted(
                database, operator, f"quarantine.{word}", f"command {command_id}", now()
            ):
                done = await work(
                    database, operator, CommandId(command_id), at=now(), dry_run=dry_run
                )
            async with database.unit_of_work(read_only=True) as uow:
                meters = {
                    each.id: each.serial for each in await uow.meters.all(operator.organisation_id)
                }
        return _command_fields(done, meters)

    _show_one(run(write()), as_json=as_json, dry_run=dry_run)


def _command_fields(each: Command, serials: dict[MeterId, str]) -> dict[str, object]:
    return {
        "id": each.id,
        "meter": serials.get(each.meter_id, str(each.meter_id)),
        "kind": each.kind,
        "cause": each.cause,
        "state": each.state,
        "asked_by": each.asked_by,
        "created_at": each.created_at,
        "outcome": each.outcome,
    }


# -- shortage ----------------------------------------------------------------------------------


@supply.command
@click.option("--site", required=True, metavar="CODE")
@click.option("--reduce-to", required=True, metavar="KW", help="What the site may draw.")
@until_option(required=True)
@click.option("--yes", "confirmed", is_flag=True, help="Really; without it, only the plan.")
@click.option("--reason", default="", help="Why, for the second person.")
@approval_option
@dry_run_option
@operator_option
@json_option
@pass_program
def shortage(
    program: Program,
    site: str,
    reduce_to: str,
    until: datetime,
    confirmed: bool,
    reason: str,
    approval: UUID | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Shed load, largest demand first, until a time; more than 10 meters need a second person."""
    try:
        target_kw = Decimal(reduce_to)
    except InvalidOperation as error:
        raise click.UsageError(f"--reduce-to {reduce_to!r}: expected kW") from error

    async def work() -> tuple[ShedPlan, Approval | None]:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                where = await program.site(uow, await program.organisation(uow), site)
            await program.require(database, operator, [Right.SUPPLY_COMMAND], [where.id])
            plan = await plan_shortage(database, program.plugins, where, target_kw, now())
            meters = [each.meter for each in plan.shed]
            if not (confirmed or approval) or not meters:
                return plan, None
            kind, cause = CommandKind.DISCONNECT, DisconnectCause.SHORTAGE
            if needs_second_person(kind, meters) and approval is None:
                asked = await ask_second_person(
                    database,
                    operator,
                    kind,
                    meters,
                    reason=reason,
                    at=now(),
                    cause=cause,
                    dry_run=dry_run,
                )
                return plan, asked
            await issue_commands(
                database,
                program.plugins,
                where.organisation_id,
                meters,
                kind,
                {UNTIL: at_site(until, where).isoformat()},
                asked_by=operator,
                at=now(),
                approval_id=None if approval is None else ApprovalId(approval),
                cause=cause,
                dry_run=dry_run,
            )
        return plan, None

    plan, asked = run(work())
    rows = [{"meter": each.meter.serial, "power_kw": str(each.power_kw)} for each in plan.shed]
    if as_json:
        print_json({"before_kw": str(plan.before_kw), "after_kw": str(plan.after_kw), "shed": rows})
    else:
        _show_rows(rows, as_json=False)
    tell(f"{plan.before_kw} kW now, {plan.after_kw} kW after, {len(plan.kept)} protected")
    if asked is not None:
        _tell_asked(asked)


# -- showing -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Written:
    """A hold or bypass as it is kept, and what its identifiers are called."""

    stored: StoredHold | StoredBypass
    names: SpokenNames

    def for_people(self) -> dict[str, object]:
        fields = asdict(self.stored)
        del fields["organisation_id"]
        return {
            name.removesuffix("_id"): self.names.said(_text(value))
            for name, value in fields.items()
        }


async def _written(database: Database, stored: StoredHold | StoredBypass) -> _Written:
    async with database.unit_of_work(read_only=True) as uow:
        names = await load_names(uow, stored.organisation_id, asdict(stored).values())
    return _Written(stored, names)


def _show_one(done: dict[str, object] | _Written, *, as_json: bool, dry_run: bool) -> None:
    if dry_run:
        tell("dry run: nothing was written")
    if as_json:
        print_json(asdict(done.stored) if isinstance(done, _Written) else done)
        return
    fields = done.for_people() if isinstance(done, _Written) else done
    print_table(("", ""), ((name, _text(value)) for name, value in fields.items()))


def _show_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    names = list(rows[0]) if rows else []
    print_table(names, ([_text(value) for value in row.values()] for row in rows))


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return format_time(value)
    return "" if value is None else str(value)


def _show_approval_or(
    done: Approval | dict[str, object] | _Written, *, as_json: bool, dry_run: bool
) -> None:
    if not isinstance(done, Approval):
        _show_one(done, as_json=as_json, dry_run=dry_run)
        return
    if as_json:
        print_json({"approval": done.id, "lapses_at": done.lapses_at})
    elif not dry_run:
        print_lines(str(done.id))
    _tell_asked(done)


def _tell_asked(asked: Approval) -> None:
    """Tell that a second person has to decide first; that is no success."""
    tell(
        f"{asked.subject}: a second person decides, with meterplex approval approve {asked.id}; "
        f"then, until {format_time(asked.lapses_at)}, say the same with --approval"
    )
    click.get_current_context().exit(ExitCode.CONFLICT)
