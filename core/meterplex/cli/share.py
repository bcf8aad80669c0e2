"""``meterplex share``: common costs, shared out with a statement."""

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from meterplex.cli.billing_options import (
    DAY,
    NUMBER,
    at_account,
    at_site,
    dry_run_option,
)
from meterplex.cli.group import FailingGroup
from meterplex.cli.output import json_option, print_json, print_lines, print_table, tell
from meterplex.cli.print_sheet import sheet_options, write_sheet_file
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.db import Database
from meterplex.db.errors import NotFoundError
from meterplex.domain.bills import ShareRun
from meterplex.domain.estate import BuildingId, Site
from meterplex.domain.operators import Right
from meterplex.domain.receipts import Language
from meterplex.domain.sharing import SharingBasis
from meterplex.services.billing import share_costs as service
from meterplex.services.billing.billing_sheets import Issuer, share_sheet
from meterplex.services.billing.share_costs import Cost, GivenAmount, ResidualOf, UseOf
from meterplex.services.books.amounts import format_amount, parse_amount
from meterplex.services.receipts.documents import Sheet


@click.group(cls=FailingGroup)
def share() -> None:
    """Share common costs out by area, head count, equal parts or use."""


@share.command("run")
@click.argument("name")
@click.option("--site", "site_code", required=True, metavar="CODE", help="Whose accounts.")
@click.option("--from", "since", type=DAY, required=True, help="First local day.")
@click.option("--to", "until", type=DAY, required=True, help="The day after the last.")
@click.option(
    "--by",
    "basis",
    type=click.Choice([each.value for each in SharingBasis]),
    required=True,
    help="What decides the parts.",
)
@click.option("--amount", type=NUMBER, help="The cost.")
@click.option("--residual-of", metavar="POINT", help="Cost of what a main meter has over its subs.")
@click.option("--use-of", metavar="POINT", help="Cost of what a common usage point used.")
@click.option("--price", type=NUMBER, help="Of a unit; without it --use-of takes the charges.")
@click.option("--building", metavar="CODE", help="Only accounts with a meter in it.")
@click.option("--account", "numbers", multiple=True, metavar="NUMBER", help="Only these accounts.")
@click.option("--utility", default="electricity", show_default=True, help="Whose use weighs.")
@click.option(
    "--net-days", type=int, default=service.NET_DAYS, show_default=True, help="Days to pay."
)
@dry_run_option
@operator_option
@json_option
@pass_program
def run_(
    program: Program,
    name: str,
    site_code: str,
    since: datetime,
    until: datetime,
    basis: str,
    amount: Decimal | None,
    residual_of: str | None,
    use_of: str | None,
    price: Decimal | None,
    building: str | None,
    numbers: tuple[str, ...],
    utility: str,
    net_days: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Share the cost NAME out, once for its first day.

    The shares sum to the cost to the cent; each becomes a bill. --dry-run prints the statement
    only. Needs a signed-in operator with the right bill.manage.
    """

    async def work() -> tuple[ShareRun, tuple[str, ...]]:
        async with program.database() as database:
            organisation, site, operator = await at_site(
                program, database, site_code, Right.BILL_MANAGE
            )
            assert site is not None
            chosen = [(await at_account(program, database, each)).account.id for each in numbers]
            request = service.ShareRequest(
                site,
                name,
                since.date(),
                until.date(),
                SharingBasis(basis),
                _cost(organisation.currency, amount, residual_of, use_of, price),
                building_id=await _building(database, site, building),
                account_ids=frozenset(chosen) if chosen else None,
                utility=utility,
                net_days=net_days,
            )
            shared = await service.share_costs(
                database, request, at=now(), operator=operator.name, dry_run=dry_run
            )
        return shared.run, tuple(bill.number for bill in shared.bills)

    shared, bills = run(work())
    tell("dry run: nothing was kept" if dry_run else f"{len(bills)} bills")
    _print(shared, site_code, as_json=as_json)


@share.command("list")
@click.option("--site", "site_code", required=True, metavar="CODE", help="Whose.")
@operator_option
@json_option
@pass_program
def list_(program: Program, site_code: str, as_json: bool) -> None:
    """List the costs that were shared at a site. Needs a signed-in operator with report.read."""

    async def look() -> tuple[ShareRun, ...]:
        async with program.database() as database:
            organisation, site, _ = await at_site(program, database, site_code, Right.REPORT_READ)
            assert site is not None
            async with database.unit_of_work(read_only=True) as uow:
                return await uow.share_runs.of_site(organisation.id, site.id)

    runs = run(look())
    if as_json:
        print_json([_fields(each, site_code) for each in runs])
        return
    print_table(
        ("name", "since", "until", "by", "amount "),
        (
            (each.name, each.since, each.until, each.basis, _amount(each, each.amount_units))
            for each in runs
        ),
    )


@share.command
@click.argument("name")
@click.option("--site", "site_code", required=True, metavar="CODE", help="Whose.")
@click.option("--from", "since", type=DAY, required=True, help="First local day of it.")
@operator_option
@json_option
@pass_program
def show(program: Program, name: str, site_code: str, since: datetime, as_json: bool) -> None:
    """Show the statement of a shared cost. Needs a signed-in operator with report.read."""
    first: date = since.date()

    async def look() -> ShareRun:
        async with program.database() as database:
            organisation, site, _ = await at_site(program, database, site_code, Right.REPORT_READ)
            assert site is not None
            async with database.unit_of_work(read_only=True) as uow:
                return await uow.share_runs.find(organisation.id, site.id, name, first)

    _print(run(look()), site_code, as_json=as_json)


@share.command("print")
@click.argument("name")
@click.option("--site", "site_code", required=True, metavar="CODE", help="Whose.")
@click.option("--from", "since", type=DAY, required=True, help="First local day of it.")
@sheet_options
@operator_option
@json_option
@pass_program
def print_(
    program: Program,
    name: str,
    site_code: str,
    since: datetime,
    html_file: Path | None,
    pdf_file: Path | None,
    language: str | None,
    as_json: bool,
) -> None:
    """Write the statement of a shared cost into a file.

    Needs a signed-in operator with the right report.read.
    """

    async def look() -> tuple[Sheet, ShareRun]:
        async with program.database() as database:
            organisation, site, _ = await at_site(program, database, site_code, Right.REPORT_READ)
            assert site is not None
            async with database.unit_of_work(read_only=True) as uow:
                found = await uow.share_runs.find(organisation.id, site.id, name, since.date())
        issuer = Issuer(organisation.name, site.name, site.time_zone)
        return share_sheet(found, issuer, Language(language or organisation.language)), found

    sheet, found = run(look())
    title = f"{found.name} {found.since}"
    file = write_sheet_file(program, sheet, title, found.created_at, html_file, pdf_file)
    if as_json:
        print_json({"name": found.name, "file": str(file)})


def _cost(
    currency: str,
    amount: Decimal | None,
    residual_of: str | None,
    use_of: str | None,
    price: Decimal | None,
) -> Cost:
    given = [each for each in (amount, residual_of, use_of) if each is not None]
    if len(given) != 1:
        raise click.UsageError("name one cost: --amount, --residual-of or --use-of")
    if amount is not None:
        return GivenAmount(parse_amount(amount, currency, "amount"))
    if use_of is not None:
        return UseOf(use_of, price)
    if price is None or residual_of is None:
        raise click.UsageError("--residual-of needs the --price of a unit")
    return ResidualOf(residual_of, price)


async def _building(database: Database, site: Site, code: str | None) -> BuildingId | None:
    if code is None:
        return None
    async with database.unit_of_work(read_only=True) as uow:
        found = await uow.buildings.by_code(site.organisation_id, site.id, code)
    if found is None:
        raise NotFoundError(f"no building {code!r} at site {site.code!r}")
    return found.id


def _amount(shared: ShareRun, amount_units: int) -> str:
    return format_amount(amount_units, shared.currency)


def _fields(shared: ShareRun, site_code: str) -> dict[str, Any]:
    told = shared.statement
    return {
        "name": shared.name,
        "site": site_code,
        "since": shared.since.isoformat(),
        "until": shared.until.isoformat(),
        "basis": shared.basis.value,
        "currency": shared.currency,
        "amount": _amount(shared, shared.amount_units),
        "cost": told["cost"],
        "total_weight": told["total_weight"],
        "shares": [
            {
                "account": each["account"],
                "weight": each["weight"],
                "amount": _amount(shared, each["amount_units"]),
            }
            for each in told["shares"]
        ],
        "created_at": shared.created_at.astimezone(ZoneInfo("UTC")),
        "created_by": shared.created_by,
    }


def _print(shared: ShareRun, site_code: str, *, as_json: bool) -> None:
    fields = _fields(shared, site_code)
    if as_json:
        print_json(fields)
        return
    print_lines(
        f"{shared.name}: {fields['amount']} {shared.currency} by {shared.basis}, "
        f"{shared.since} to {shared.until}",
        *(f"{name}: {value}" for name, value in fields["cost"].items()),
    )
    print_table(
        ("account", f"of {fields['total_weight']} ", f"{shared.currency} "),
        ((each["account"], each["weight"], each["amount"]) for each in fields["shares"]),
    )
