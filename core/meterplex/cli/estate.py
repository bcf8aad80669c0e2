"""``meterplex import`` and ``meterplex export``: the estate in and out of files."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import click

from meterplex.cli.errors import ExitCode
from meterplex.cli.group import FailingGroup
from meterplex.cli.output import json_option, print_json, print_table, progress_bar, tell
from meterplex.cli.program import Program, now, operator_name_option, pass_program, run
from meterplex.services.accounts.customer_file import AccountFile, account_file
from meterplex.services.estate.export_estate import write_accounts, write_meters, write_states
from meterplex.services.estate.files import EstateProblem, read_estate_file
from meterplex.services.estate.import_estate import EstateRefusedError, ImportReport, import_estate
from meterplex.services.metering.meter_states import MeterStatus, meter_states


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Judge the file and count, but write nothing.")
@operator_name_option
@json_option
@pass_program
@click.pass_context
def import_(
    context: click.Context,
    program: Program,
    file: Path,
    dry_run: bool,
    operator: str,
    as_json: bool,
) -> None:
    """Take in an estate (.toml or .xlsx): sites, buildings, units, gateways, channels, meters.

    Everything or nothing: every problem is told with its row and column, and then nothing is
    imported. The same file again changes nothing. A running head-end reads new meters at once.
    """
    content = read_estate_file(file)

    async def take_in() -> ImportReport:
        with progress_bar(f"importing {file.name}") as bar:
            async with program.database() as database:
                return await import_estate(
                    database,
                    program.plugins,
                    content,
                    operator=operator,
                    at=now(),
                    dry_run=dry_run,
                    reading_interval=program.settings.reading.interval,
                    progress=bar.show,
                )

    try:
        report = run(take_in())
    except EstateRefusedError as error:
        _show_refused(error, as_json=as_json)
        context.exit(ExitCode.ERROR)
    _show_report(report, as_json=as_json)


def _show_refused(error: EstateRefusedError, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "imported": False,
                "problems": [_problem(problem) for problem in error.problems],
                "warnings": [_problem(warning) for warning in error.warnings],
            }
        )
    for problem in error.problems:
        tell(f"error: {problem}")
    tell(str(error))


def _show_report(report: ImportReport, *, as_json: bool) -> None:
    for warning in report.warnings:
        tell(f"warning: {warning}")
    if as_json:
        print_json(
            {
                "imported": not report.dry_run,
                "organisation": report.organisation,
                "tables": report.tables,
                "warnings": [_problem(warning) for warning in report.warnings],
            }
        )
        return
    print_table(
        ("table", "added ", "updated ", "unchanged "),
        (
            (name, count.added, count.updated, count.unchanged)
            for name, count in report.tables.items()
            if count.added or count.updated or count.unchanged
        ),
    )
    if report.dry_run:
        tell("dry run: nothing was written")


def _problem(problem: EstateProblem) -> dict[str, object]:
    return {
        "table": problem.table,
        "row": problem.row,
        "line": problem.line,
        "column": problem.column,
        "reason": problem.reason,
    }


@click.group(cls=FailingGroup)
def export() -> None:
    """Write the estate as CSV."""


def _export_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--site", metavar="CODE", help="Only this site."),
        click.option(
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            help="File to write; stdout otherwise.",
        ),
        json_option,
        pass_program,
    )
    for option in reversed(options):
        command = option(command)
    return command


@export.command
@_export_options
def meters(program: Program, site: str | None, output: Path | None, as_json: bool) -> None:
    """Write the meters with the columns of an estate file."""
    _export(program, site, output, write_meters, as_json=as_json)


@export.command
@_export_options
def states(program: Program, site: str | None, output: Path | None, as_json: bool) -> None:
    """Write the state, freshness and newest registers of every meter."""
    _export(program, site, output, write_states, as_json=as_json)


@export.command
@click.option("--site", metavar="CODE", help="Only this site.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; stdout otherwise.",
)
@pass_program
def accounts(program: Program, site: str | None, output: Path | None) -> None:
    """Write the accounts with the columns of an estate file."""
    found = run(_account_files(program, site))
    if output is None:
        write_accounts(found, sys.stdout)
        return
    with output.open("w", encoding="utf-8", newline="") as out:
        write_accounts(found, out)
    tell(f"{len(found)} accounts written to {output}")


async def _account_files(program: Program, code: str | None) -> tuple[AccountFile, ...]:
    async with program.database() as database, database.unit_of_work(read_only=True) as uow:
        organisation = await program.organisation(uow)
        if code is None:
            found = await uow.accounts.all(organisation.id)
        else:
            site = await program.site(uow, organisation, code)
            found = await uow.accounts.in_site(organisation.id, site.id)
        return tuple([await account_file(uow, each) for each in found])


def _export(
    program: Program,
    site: str | None,
    output: Path | None,
    write: Callable[[tuple[MeterStatus, ...], TextIO], None],
    *,
    as_json: bool,
) -> None:
    found = run(load_states(program, site))
    if as_json:
        print_json([status_fields(status) for status in found])
    elif output is None:
        write(found, sys.stdout)
    else:
        with output.open("w", encoding="utf-8", newline="") as out:
            write(found, out)
        tell(f"{len(found)} meters written to {output}")


async def load_states(program: Program, site: str | None) -> tuple[MeterStatus, ...]:
    """Return what is known of the meters of the organisation or of one site.

    Raises:
        NotFoundError: there is no such organisation or site.
    """
    async with program.database() as database:
        async with database.unit_of_work(read_only=True) as uow:
            organisation = await program.organisation(uow)
            if site is not None:
                await program.site(uow, organisation, site)
        return await meter_states(database, organisation.id, now(), site_code=site)


def status_fields(status: MeterStatus) -> dict[str, object]:
    """Return a meter's state for JSON."""
    meter, point, binding = status.meter, status.usage_point, status.binding
    return {
        "site": status.site.code,
        "serial": meter.serial,
        "model": meter.model,
        "channel": status.channel.code,
        "address": meter.address,
        "usage_point": None if point is None else point.code,
        "ct": None if binding is None else binding.ct,
        "pt": None if binding is None else binding.pt,
        "state": meter.state,
        "state_since": meter.state_since,
        "lost_reason": meter.lost_reason,
        "flags": sorted(meter.flags),
        "last_good_at": status.last_good_at,
        "age_s": None if status.age is None else int(status.age.total_seconds()),
        "interval_s": int(status.interval.total_seconds()),
        "fresh": status.is_fresh,
        "readings": {
            reading.register.slug: reading.value
            for reading in sorted(status.readings, key=lambda each: each.register.slug)
        },
    }
