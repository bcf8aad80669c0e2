"""``meterplex command``: asks meters for something, alone or in batches; a head-end delivers it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click

from meterplex.cli.command_answer import (
    BatchAnswer,
    exit_code,
    find_answer,
    show_answer,
    wait_settled,
)
from meterplex.cli.errors import ExitCode
from meterplex.cli.group import FailingGroup
from meterplex.cli.output import format_time, json_option, print_json, print_lines, tell
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.db import Database
from meterplex.domain.approvals import Approval, ApprovalId
from meterplex.domain.commands import CommandKind, CommandState
from meterplex.domain.estate import Meter, OrganisationId
from meterplex.domain.intervals import parse_interval
from meterplex.domain.supply_gate import DisconnectCause
from meterplex.services.metering.issue_commands import (
    NOT_AFTER_MAX,
    CommandBatch,
    ask_second_person,
    find_meters,
    find_site_meters,
    issue_commands,
    needs_second_person,
)
from meterplex.services.operators.manage_operators import refusals_noted

METERS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Targets:
    """Which meters are meant, and how the command goes.

    Attributes:
        within: how long from now it may be sent.
        confirmed: ``--yes`` was said.
        approval_id: of a second person, where a batch needs one.
        reason: for the second person.
    """

    serials: tuple[str, ...]
    site: str | None
    file: Path | None
    within: timedelta
    wait: bool
    confirmed: bool
    approval_id: ApprovalId | None
    reason: str
    dry_run: bool
    as_json: bool


@click.group(cls=FailingGroup)
def command() -> None:
    """Ask meters to disconnect, reconnect, take settings, or be read now.

    Each meter gets a durable row of its own; a running head-end sends it, and it counts as done
    only when the wanted state was read back. Exit codes with --wait: 0 all confirmed, 5 refused,
    6 not proven in time, 1 impossible. Needs a signed-in operator with the right supply.command at
    the site of every meter, for reading report.read; more than 10 disconnects need a second one
    and end with 4 until that one has approved.
    """


def _interval(_context: object, _parameter: object, text: str) -> timedelta:
    try:
        within = parse_interval(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if within > NOT_AFTER_MAX:
        raise click.BadParameter("a command lives at most 10m")
    return within


def _target_options(asking: Callable[..., None]) -> Callable[..., Any]:
    """Give a command the options that say which meters and how, as one argument ``targets``."""

    def with_targets(
        program: Program,
        serials: tuple[str, ...],
        site: str | None,
        file: Path | None,
        within: timedelta,
        wait: bool,
        confirmed: bool,
        approval: UUID | None,
        reason: str,
        dry_run: bool,
        as_json: bool,
        **own: str | None,
    ) -> None:
        targets = Targets(
            serials,
            site,
            file,
            within,
            wait,
            confirmed,
            None if approval is None else ApprovalId(approval),
            reason,
            dry_run,
            as_json,
        )
        asking(program, targets, **own)

    with_targets.__doc__ = asking.__doc__
    with_targets.__name__ = asking.__name__
    wrapped: Callable[..., Any] = with_targets
    options = (
        click.argument("serials", nargs=-1, metavar="[METER]..."),
        click.option("--site", metavar="CODE", help="All meters of a site."),
        click.option(
            "--all-of-file",
            "file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The meters of a text file, one serial a line.",
        ),
        click.option(
            "--within",
            default="10m",
            show_default=True,
            callback=_interval,
            metavar="TIME",
            help="Not sent later than this from now.",
        ),
        click.option("--wait", is_flag=True, help="Wait until every command is settled."),
        click.option("--yes", "confirmed", is_flag=True, help="Really several meters."),
        click.option(
            "--approval",
            type=click.UUID,
            metavar="ID",
            help="Of a second person, for more than 10 disconnects; without it one is asked for.",
        ),
        click.option("--reason", default="", help="Why, for the second person."),
        click.option("--dry-run", is_flag=True, help="Check everything, but ask no meter."),
        operator_option,
        json_option,
        pass_program,
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


@command.command
@click.option(
    "--cause",
    type=click.Choice([each.value for each in DisconnectCause]),
    help="Why; for arrears where somebody pays for the use, else for a shortage. Safety takes the "
    "right supply.force.",
)
@_target_options
def disconnect(program: Program, targets: Targets, cause: str | None) -> None:
    """Open the relay or close the valve, if nothing speaks against it when it is sent."""
    why = None if cause is None else DisconnectCause(cause)
    _ask(program, targets, CommandKind.DISCONNECT, cause=why)


@command.command
@_target_options
def reconnect(program: Program, targets: Targets) -> None:
    """Return to the automatic mode and expect the supply to be on."""
    _ask(program, targets, CommandKind.RECONNECT)


@command.command
@_target_options
def hold(program: Program, targets: Targets) -> None:
    """Keep the supply on, whatever the credit."""
    _ask(program, targets, CommandKind.HOLD)


@command.command
@_target_options
def automatic(program: Program, targets: Targets) -> None:
    """Return to the automatic mode, whatever the supply then is."""
    _ask(program, targets, CommandKind.AUTOMATIC)


@command.command
@click.option("--sharp", required=True, help="Currency units per unit.")
@click.option("--peak", required=True, help="Currency units per unit.")
@click.option("--flat", required=True, help="Currency units per unit.")
@click.option("--valley", required=True, help="Currency units per unit.")
@_target_options
def prices(program: Program, targets: Targets, **rates: str) -> None:
    """Write the prices of the four rates."""
    _ask(program, targets, CommandKind.WRITE_PRICES, rates)


@command.command
@click.option("--alarm-1", help="First low-credit warning, currency units.")
@click.option("--alarm-2", help="Second low-credit warning, currency units.")
@click.option("--overdraft", help="How far below zero supply goes on, currency units.")
@click.option("--hoard", help="Most credit the meter takes, currency units.")
@click.option("--overload-kw", help="Power above which the meter disconnects.")
@_target_options
def limits(program: Program, targets: Targets, **given: str | None) -> None:
    """Write the limits that are given; the others stay."""
    arguments = {name: text for name, text in given.items() if text is not None}
    _ask(program, targets, CommandKind.WRITE_LIMITS, arguments)


@command.command
@click.option(
    "--season",
    "seasons",
    multiple=True,
    required=True,
    metavar="MM-DD=TABLE",
    help="From this day of each year on, this day table; the first table is 0.",
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    required=True,
    metavar="HH:MM=RATE,...",
    help="Rates of a day: sharp, peak, flat, valley, deep_valley; from 00:00 on.",
)
@_target_options
def calendar(
    program: Program, targets: Targets, seasons: tuple[str, ...], tables: tuple[str, ...]
) -> None:
    """Write the time-of-use calendar."""
    arguments = {"seasons": ",".join(seasons)}
    arguments |= {f"table_{number}": table for number, table in enumerate(tables)}
    _ask(program, targets, CommandKind.WRITE_CALENDAR, arguments)


@command.command
@_target_options
def clock(program: Program, targets: Targets) -> None:
    """Set the meter's clock to the local time of its site."""
    _ask(program, targets, CommandKind.SYNC_CLOCK)


@command.command
@_target_options
def read(program: Program, targets: Targets) -> None:
    """Read the meter now and store the readings."""
    _ask(program, targets, CommandKind.READ)


@command.command
@click.argument("batch", type=click.UUID)
@click.option("--wait", is_flag=True, help="Wait until every command is settled.")
@json_option
@pass_program
@click.pass_context
def status(
    context: click.Context, program: Program, batch: UUID, wait: bool, as_json: bool
) -> None:
    """Show the commands of a batch."""

    async def look() -> BatchAnswer:
        async with program.database() as database:
            async with database.unit_of_work(read_only=True) as uow:
                organisation = await program.organisation(uow)
            if wait:
                return await wait_settled(database, organisation.id, batch)
            return await find_answer(database, organisation.id, batch)

    answer = run(look())
    show_answer(answer, as_json=as_json)
    context.exit(exit_code(answer.commands))


def _ask(
    program: Program,
    targets: Targets,
    kind: CommandKind,
    arguments: Mapping[str, str] | None = None,
    cause: DisconnectCause | None = None,
) -> None:
    async def ask() -> BatchAnswer | Approval:
        async with program.database() as database:
            organisation_id, meters = await _meters(program, database, targets)
            operator = (await program.session(database)).operator
            if len(meters) > 1 and not targets.confirmed and kind is not CommandKind.READ:
                raise click.UsageError(f"{kind} for {len(meters)} meters: say --yes")
            at = now()
            async with refusals_noted(database, operator, f"command.{kind}", _subject(meters), at):
                if needs_second_person(kind, meters) and targets.approval_id is None:
                    return await ask_second_person(
                        database,
                        operator,
                        kind,
                        meters,
                        reason=targets.reason,
                        at=at,
                        cause=cause,
                        dry_run=targets.dry_run,
                    )
                batch = await issue_commands(
                    database,
                    program.plugins,
                    organisation_id,
                    meters,
                    kind,
                    arguments or {},
                    asked_by=operator,
                    at=at,
                    not_after=at + targets.within,
                    approval_id=targets.approval_id,
                    cause=cause,
                    dry_run=targets.dry_run,
                )
            if targets.dry_run:
                serials = {meter.id: meter.serial for meter in meters}
                return BatchAnswer(batch.id, batch.commands, serials)
            _say(batch)
            if targets.wait:
                return await wait_settled(database, organisation_id, batch.id)
            return await find_answer(database, organisation_id, batch.id)

    answer = run(ask())
    if targets.dry_run:
        tell("dry run: nothing was written")
    if isinstance(answer, Approval):
        _show_asked(answer, targets)
        return
    show_answer(answer, as_json=targets.as_json)
    states = {each.state for each in answer.commands}
    if targets.wait or states == {CommandState.FAILED}:
        click.get_current_context().exit(exit_code(answer.commands))


def _subject(meters: Collection[Meter]) -> str:
    if len(meters) == 1:
        return f"meter {next(iter(meters)).id}"
    return f"{len(meters)} meters"


def _show_asked(approval: Approval, targets: Targets) -> None:
    """Tell that a second person has to decide first; that is no success."""
    if targets.as_json:
        print_json({"approval": approval.id, "lapses_at": approval.lapses_at})
    elif not targets.dry_run:
        print_lines(str(approval.id))
    tell(
        f"{approval.subject} need a second person: after meterplex approval approve, until "
        f"{format_time(approval.lapses_at)}, say the same with --approval"
    )
    click.get_current_context().exit(ExitCode.CONFLICT)


def _say(batch: CommandBatch) -> None:
    count = len(batch.commands)
    tell(f"batch {batch.id}: {count} command{'s' * (count != 1)}; a running head-end delivers them")


async def _meters(
    program: Program, database: Database, targets: Targets
) -> tuple[OrganisationId, tuple[Meter, ...]]:
    named = targets.serials
    if targets.file is not None:
        named += _serials(targets.file)
    if bool(named) == (targets.site is not None):
        raise click.UsageError("name meters, or a site with --site")
    async with database.unit_of_work(read_only=True) as uow:
        organisation = await program.organisation(uow)
        if targets.site is None:
            meters = await find_meters(uow, organisation.id, named)
        else:
            meters = await find_site_meters(uow, organisation.id, targets.site)
    if len(meters) > METERS_MAX:
        raise click.UsageError(f"{len(meters)} meters, at most {METERS_MAX} in a batch")
    return organisation.id, meters


def _serials(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file}: not a text file: {error}") from error
    return tuple(line.strip() for line in lines if line.strip())
