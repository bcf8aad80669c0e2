"""``meterplex tariff download``: brings a tariff to meters that charge by themselves."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import click

from meterplex.cli.errors import ExitCode, UnknownNameError
from meterplex.cli.output import json_option, print_json, print_table, tell
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.cli.tariff_options import FILE, one_line_each, read_tariff_file
from meterplex.db import Database, UnitOfWork
from meterplex.domain.commands import Command
from meterplex.domain.estate import Meter, MeterId, Organisation
from meterplex.services.metering.issue_commands import find_meters, find_site_meters
from meterplex.services.operators.manage_operators import refusals_noted
from meterplex.services.tariffs.download_tariff import (
    DownloadError,
    Holding,
    MeterHolding,
    download_tariff,
    find_download,
    holdings,
)

POLL_S: Final = 0.2
GRACE: Final = timedelta(seconds=30)
"""How long after the last moment of sending a read-back may still prove what was sent."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A download as it is now, with the serials of its meters."""

    batch_id: UUID
    commands: Sequence[Command]
    serials: Mapping[MeterId, str]

    @property
    def holdings(self) -> tuple[MeterHolding, ...]:
        return holdings(self.commands)


@click.command
@click.argument("file", metavar="TARIFF", type=FILE)
@click.argument("serials", nargs=-1, metavar="[METER]...")
@click.option("--site", "site_code", metavar="CODE", help="All meters of a site.")
@click.option("--early", is_flag=True, help="Although the tariff is not valid yet.")
@click.option("--wait", is_flag=True, help="Wait until every meter holds it or has refused.")
@click.option("--yes", "confirmed", is_flag=True, help="Really several meters.")
@click.option("--dry-run", is_flag=True, help="Show which meters can hold it; send nothing.")
@operator_option
@json_option
@pass_program
def download(
    program: Program,
    file: Path,
    serials: tuple[str, ...],
    site_code: str | None,
    early: bool,
    wait: bool,
    confirmed: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring a tariff to the meters that can hold it.

    A running head-end writes prices and calendar and reads them back. Meters that cannot hold the
    tariff are listed as refused, with the reason. Exit codes with --wait: 0 all hold it, 5 one
    refused, 6 not proven in time. Needs a signed-in operator with the right supply.command.
    """
    if bool(serials) == (site_code is not None):
        raise click.UsageError("name meters, or a site with --site")
    with one_line_each():
        tariff = read_tariff_file(program, file)

    async def bring() -> _Answer:
        async with program.database() as database:
            async with database.unit_of_work(read_only=True) as uow:
                organisation = await program.organisation(uow)
                meters = await _meters(uow, organisation, serials, site_code)
            operator = (await program.session(database)).operator
            if len(meters) > 1 and not (confirmed or dry_run):
                raise click.UsageError(f"a tariff for {len(meters)} meters: say --yes")
            at, subject = now(), f"tariff {tariff.id} version {tariff.version}"
            async with refusals_noted(database, operator, "tariff.download", subject, at):
                batch = await download_tariff(
                    database,
                    program.plugins,
                    organisation,
                    meters,
                    tariff,
                    asked_by=operator,
                    at=at,
                    early=early,
                    dry_run=dry_run,
                )
            if wait and not dry_run:
                tell(f"batch {batch.id}: a running head-end brings it")
                return await _settled(database, organisation, batch.id)
            serial_of = {meter.id: meter.serial for meter in meters}
            return _Answer(batch.id, batch.commands, serial_of)

    try:
        answer = run(bring())
    except DownloadError as error:
        tell(f"error: {error}")
        raise click.exceptions.Exit(ExitCode.CONFLICT) from error
    if dry_run:
        tell("dry run: nothing was written")
    _show(answer, as_json=as_json)
    if wait and not dry_run:
        click.get_current_context().exit(_code(answer))


@click.command("download-status")
@click.argument("batch", type=click.UUID)
@click.option("--wait", is_flag=True, help="Wait until every meter holds it or has refused.")
@json_option
@pass_program
@click.pass_context
def download_status(
    context: click.Context, program: Program, batch: UUID, wait: bool, as_json: bool
) -> None:
    """Show which meters hold a tariff that was brought to them, and which refused it and why."""

    async def look() -> _Answer:
        async with program.database() as database:
            async with database.unit_of_work(read_only=True) as uow:
                organisation = await program.organisation(uow)
            if wait:
                return await _settled(database, organisation, batch)
            return await _answer(database, organisation, batch)

    answer = run(look())
    _show(answer, as_json=as_json)
    context.exit(_code(answer))


async def _meters(
    uow: UnitOfWork, organisation: Organisation, serials: Sequence[str], site_code: str | None
) -> tuple[Meter, ...]:
    if site_code is None:
        return await find_meters(uow, organisation.id, serials)
    return await find_site_meters(uow, organisation.id, site_code)


async def _answer(database: Database, organisation: Organisation, batch_id: UUID) -> _Answer:
    async with database.unit_of_work(read_only=True) as uow:
        commands = await find_download(uow, organisation, batch_id)
        meters = await uow.meters.all(organisation.id)
    if not commands:
        raise UnknownNameError(f"no download {batch_id}")
    return _Answer(batch_id, commands, {meter.id: meter.serial for meter in meters})


async def _settled(database: Database, organisation: Organisation, batch_id: UUID) -> _Answer:
    """Wait until nothing is pending any more, or until it is too late for that."""
    while True:
        answer = await _answer(database, organisation, batch_id)
        last = max(command.not_after for command in answer.commands) + GRACE
        pending = any(each.state is Holding.PENDING for each in answer.holdings)
        if not pending or now() > last:
            return answer
        await asyncio.sleep(POLL_S)


def _code(answer: _Answer) -> ExitCode:
    states = {each.state for each in answer.holdings}
    if Holding.REFUSED in states:
        return ExitCode.REFUSED
    return ExitCode.TIMEOUT if Holding.PENDING in states else ExitCode.OK


def _show(answer: _Answer, *, as_json: bool) -> None:
    rows = [
        (answer.serials.get(each.meter_id, str(each.meter_id)), each.state, each.reason)
        for each in answer.holdings
    ]
    if as_json:
        named = [dict(zip(("meter", "state", "reason"), row, strict=True)) for row in rows]
        print_json({"batch": answer.batch_id, "meters": named})
        return
    print_table(("meter", "tariff", "reason"), rows)
    counts = Counter(state for _, state, _ in rows)
    tell(f"batch {answer.batch_id}: " + ", ".join(f"{n} {s}" for s, n in sorted(counts.items())))
