"""``meterplex tariff publish``, ``list``, ``show`` and ``preview``: tariffs that are in force."""

import json
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from meterplex.cli.billing_options import DAY, at_account, at_site, dry_run_option
from meterplex.cli.output import (
    format_time,
    json_option,
    print_json,
    print_lines,
    print_table,
    tell,
)
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.cli.tariff_options import FILE, one_line_each, read_tariff_file
from meterplex.db.tariff_versions import PublishedTariff
from meterplex.domain.money import ledger_decimal
from meterplex.domain.operators import Right
from meterplex.domain.tariff import TariffVersion
from meterplex.services.books.errors import UnknownTariffError
from meterplex.services.tariffs.book import TariffBook
from meterplex.services.tariffs.preview_bill import PointPreview, preview_bill
from meterplex.services.tariffs.publish_tariff import Publication, publish_tariff
from meterplex.services.tariffs.rated_document import describe


@click.command
@click.argument("file", metavar="TARIFF", type=FILE)
@dry_run_option
@operator_option
@json_option
@pass_program
def publish(program: Program, file: Path, dry_run: bool, as_json: bool) -> None:
    """Publish a tariff version: what is used from its first day on is charged by it.

    Needs a signed-in operator with the right tariff.manage. A published version never changes.
    """
    with one_line_each():
        version = read_tariff_file(program, file)
    done = run(_publish(program, version, dry_run=dry_run))
    if as_json:
        fields = _fields(done.published)
        print_json(fields | {"known_before": done.known, "dry_run": dry_run})
        return
    was = "was published before" if done.known else "is published"
    told = "would be published" if dry_run and not done.known else was
    print_lines(f"{done.published.code} version {done.published.version} {told}")


async def _publish(program: Program, version: TariffVersion, *, dry_run: bool) -> Publication:
    async with program.database() as database:
        organisation, _, operator = await at_site(program, database, None, Right.TARIFF_MANAGE)
        return await publish_tariff(
            database, organisation.id, version, at=now(), operator=operator.name, dry_run=dry_run
        )


def _fields(each: PublishedTariff) -> dict[str, Any]:
    return {
        "id": str(each.id),
        "code": each.code,
        "version": each.version,
        "utility": each.utility,
        "currency": each.currency,
        "valid_from": each.valid_from.isoformat(),
        "sha256": each.sha256,
        "published_at": each.published_at,
        "published_by": each.published_by,
    }


@click.command("list")
@json_option
@pass_program
def list_(program: Program, as_json: bool) -> None:
    """List the published tariff versions, in the order of their first days."""
    found = run(program.in_estate(lambda uow, whose: uow.tariff_versions.all(whose.id)))
    if as_json:
        print_json([_fields(each) for each in found])
        return
    print_table(
        ("code", "version ", "utility", "currency", "valid from", "published", "by"),
        (
            (
                each.code,
                each.version,
                each.utility,
                each.currency,
                each.valid_from,
                format_time(each.published_at),
                each.published_by,
            )
            for each in found
        ),
    )


@click.command
@click.argument("code", metavar="CODE")
@click.option("--version", "number", type=int, help="[default: the last one]")
@json_option
@pass_program
def show(program: Program, code: str, number: int | None, as_json: bool) -> None:
    """Print a published version as the JSON form of its file.

    With --json as ``document``, beside who published it and when.
    """
    found = run(program.in_estate(lambda uow, whose: uow.tariff_versions.of_code(whose.id, code)))
    wanted = [each for each in found if number in {None, each.version}]
    if not wanted:
        raise UnknownTariffError("code", f"no published version of tariff {code!r}")
    document = json.loads(wanted[-1].document)
    print_json(_fields(wanted[-1]) | {"document": document} if as_json else document)


@click.command
@click.option("--account", "number", metavar="ACCOUNT", required=True, help="By its number.")
@click.option("--from", "first", type=DAY, required=True, help="First local day.")
@click.option("--to", "last", type=DAY, required=True, help="Local day, not included.")
@click.option("--tariff", "other", metavar="CODE|FILE", default="", help="Another tariff.")
@operator_option
@json_option
@pass_program
def preview(
    program: Program, number: str, first: datetime, last: datetime, other: str, as_json: bool
) -> None:
    """Show what an account's use costs, under its tariff or another; nothing is booked.

    Needs a signed-in operator with the right account.read at the account's site.
    """
    tariff: TariffVersion | str = other
    if other and Path(other).exists():
        with one_line_each():
            tariff = read_tariff_file(program, Path(other))
    points = run(_preview(program, number, (first.date(), last.date()), tariff))
    if as_json:
        print_json([_preview_fields(each) for each in points])
        return
    print_table(
        ("usage point", "meter", "from", "to", "amount "),
        (
            (
                each.usage_point,
                each.meter,
                format_time(each.start),
                format_time(each.end),
                each.problem or ledger_decimal(each.total_units),
            )
            for each in points
        ),
    )
    tell(f"total {ledger_decimal(sum(each.total_units for each in points))}")


def _preview_fields(each: PointPreview) -> dict[str, Any]:
    return {
        "usage_point": each.usage_point,
        "meter": each.meter,
        "start": each.start,
        "end": each.end,
        "problem": each.problem,
        "ratings": [describe(rating) for rating in each.ratings],
        "total": str(ledger_decimal(each.total_units)),
    }


async def _preview(
    program: Program, number: str, days: tuple[date, date], tariff: TariffVersion | str
) -> tuple[PointPreview, ...]:
    if days[0] >= days[1]:
        raise click.UsageError(f"--to {days[1]}: expected a later day than {days[0]}")
    async with program.database() as database:
        found = await at_account(program, database, number, Right.ACCOUNT_READ)
        zone = ZoneInfo(found.site.time_zone)
        start, end = (datetime.combine(day, time.min, zone) for day in days)
        book = TariffBook(program.plugins.tariff_components)
        async with database.unit_of_work(read_only=True) as uow:
            return await preview_bill(uow, found.account, start, end, book, at=now(), tariff=tariff)
