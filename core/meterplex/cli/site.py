"""``meterplex site``: what a site decides for itself."""

from collections.abc import Mapping
from datetime import date

import click

from meterplex.cli.group import FailingGroup
from meterplex.cli.output import json_option, print_json, print_table, tell
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.db.site_records import Holiday
from meterplex.domain.commands import CommandKind, CommandState
from meterplex.domain.operators import Right
from meterplex.services.estate.site_policies import PARAMETERS, set_holidays, set_parameters
from meterplex.services.metering.issue_commands import NobodyCanError, issue_commands

dry_run_option = click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")


@click.group(cls=FailingGroup)
def site() -> None:
    """See and set what a site decides for itself."""


@site.group(cls=FailingGroup)
def policy() -> None:
    """Default parameters, and the rules for taking supply away."""


@policy.command
@click.argument("code", metavar="SITE")
@json_option
@pass_program
def show(program: Program, code: str, as_json: bool) -> None:
    """Show all parameters of a site."""

    async def look() -> Mapping[str, str]:
        async with program.database() as database, database.unit_of_work(read_only=True) as uow:
            found = await program.site(uow, await program.organisation(uow), code)
            return await uow.site_records.policy(found.organisation_id, found.id)

    document = run(look())
    values = {name: document.get(name, each.default) for name, each in PARAMETERS.items()}
    if as_json:
        print_json(values)
        return
    print_table(
        ("parameter", "value", "from", "meaning"),
        (
            (name, values[name], "site" if name in document else "default", each.meaning)
            for name, each in PARAMETERS.items()
        ),
    )


@policy.command("set")
@click.argument("code", metavar="SITE")
@click.argument("changes", metavar="NAME=VALUE...", nargs=-1, required=True)
@dry_run_option
@operator_option
@json_option
@pass_program
def set_(
    program: Program, code: str, changes: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Set parameters; an empty value gives the default back.

    A new overload_kw is written to all meters of the site that can keep it; those that cannot are
    listed.
    """
    wanted = dict(_pair(each) for each in changes)

    async def write() -> tuple[Mapping[str, str], list[str]]:
        async with program.database() as database:
            operator = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                found = await program.site(uow, await program.organisation(uow), code)
                meters = await uow.meters.in_site(found.organisation_id, found.id)
            await program.require(database, operator, [Right.ESTATE_MANAGE], [found.id])
            if wanted.get("overload_kw") and meters:
                await program.require(database, operator, [Right.SUPPLY_COMMAND], [found.id])
            document = await set_parameters(
                database, found, wanted, at=now(), operator=operator.name, dry_run=dry_run
            )
            unfit: list[str] = []
            if wanted.get("overload_kw") and meters:
                try:
                    batch = await issue_commands(
                        database,
                        program.plugins,
                        found.organisation_id,
                        meters,
                        CommandKind.WRITE_LIMITS,
                        {"overload_kw": wanted["overload_kw"]},
                        asked_by=operator,
                        at=now(),
                        dry_run=dry_run,
                    )
                except NobodyCanError:
                    unfit = [each.serial for each in meters]
                else:
                    serials = {each.id: each.serial for each in meters}
                    unfit = [
                        serials[each.meter_id]
                        for each in batch.commands
                        if each.state is CommandState.FAILED
                    ]
        return document, unfit

    document, unfit = run(write())
    if dry_run:
        tell("dry run: nothing was written")
    if unfit:
        tell(f"cannot keep an overload threshold: {', '.join(unfit)}")
    if as_json:
        print_json({"set": document, "unfit": unfit})
    else:
        print_table(("parameter", "value"), document.items())


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"{text!r}: expected NAME=VALUE")
    return name.strip(), value.strip()


@site.command
@click.argument("code", metavar="SITE")
@click.argument("year", type=click.IntRange(2000, 2200))
@click.option(
    "--day",
    "days",
    multiple=True,
    metavar="DATE[=NAME]",
    help="A holiday; with any, they replace the year's calendar.",
)
@click.option(
    "--working", multiple=True, metavar="DATE[=NAME]", help="A weekend day that is worked."
)
@dry_run_option
@operator_option
@json_option
@pass_program
def holidays(
    program: Program,
    code: str,
    year: int,
    days: tuple[str, ...],
    working: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show, or replace, the holidays of a year."""

    async def work() -> tuple[Holiday, ...]:
        async with program.database() as database:
            async with database.unit_of_work(read_only=True) as uow:
                found = await program.site(uow, await program.organisation(uow), code)
                known = await uow.site_records.holidays(found.organisation_id, found.id)
            if not days and not working:
                return tuple(each for each in known if each.day.year == year)
            operator = (await program.session(database)).operator
            await program.require(database, operator, [Right.ESTATE_MANAGE], [found.id])
            return await set_holidays(
                database,
                found,
                year,
                dict(_day(each) for each in days),
                working=dict(_day(each) for each in working),
                at=now(),
                operator=operator.name,
                dry_run=dry_run,
            )

    found = run(work())
    if dry_run:
        tell("dry run: nothing was written")
    rows = [{"day": each.day, "name": each.name, "working": each.working} for each in found]
    if as_json:
        print_json([row | {"day": str(row["day"])} for row in rows])
    else:
        print_table(("day", "name", "working"), ([*row.values()] for row in rows))


def _day(text: str) -> tuple[date, str]:
    day, _, name = text.partition("=")
    try:
        return date.fromisoformat(day.strip()), name.strip()
    except ValueError as error:
        raise click.UsageError(f"{text!r}: expected such as 2026-10-01=National Day") from error
