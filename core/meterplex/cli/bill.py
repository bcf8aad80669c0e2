"""``meterplex bill``: post-paid bills, and those of fees and shares."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import click

from meterplex.cli.billing_options import (
    BILL_COLUMNS,
    MONTH,
    at_account,
    at_site,
    bill_fields,
    bill_row,
    dry_run_option,
    numbers_of,
    today_at,
)
from meterplex.cli.group import FailingGroup
from meterplex.cli.output import json_option, print_json, print_lines, print_table, tell
from meterplex.cli.print_sheet import sheet_options, write_sheet_file
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.domain.bills import IssuedBill
from meterplex.domain.estate import AccountId, Site, SiteId
from meterplex.domain.ledger import next_period
from meterplex.domain.operators import Right
from meterplex.domain.receipts import Language
from meterplex.services.billing import issue_bills as service
from meterplex.services.billing.billing_sheets import Issuer, Payer, bill_sheet
from meterplex.services.receipts.documents import Sheet


@click.group(cls=FailingGroup)
def bill() -> None:
    """Bill what is paid afterwards, and see who has paid."""


@bill.command
@click.option("--site", "site_code", required=True, metavar="CODE", help="Whose accounts.")
@click.option("--month", type=MONTH, required=True, help="Such as 2026-07; it must be over.")
@click.option(
    "--net-days", type=int, default=service.NET_DAYS, show_default=True, help="Days to pay."
)
@click.option("--account", "numbers", multiple=True, metavar="NUMBER", help="Only these accounts.")
@dry_run_option
@operator_option
@json_option
@pass_program
def issue(
    program: Program,
    site_code: str,
    month: date,
    net_days: int,
    numbers: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bill the post-paid accounts of a site for a month.

    An account that has its bill already gets no other one, so the command can be run again. What
    became known late since the last bill is a line that names its month. Needs a signed-in
    operator with the right bill.manage.
    """

    async def work() -> tuple[tuple[IssuedBill, ...], Mapping[AccountId, str], Site]:
        async with program.database() as database:
            organisation, site, operator = await at_site(
                program, database, site_code, Right.BILL_MANAGE
            )
            assert site is not None
            known = await numbers_of(database, organisation)
            chosen = [(await at_account(program, database, each)).account.id for each in numbers]
            bills = await service.issue_bills(
                database,
                site,
                month,
                at=now(),
                operator=operator.name,
                net_days=net_days,
                account_ids=chosen or None,
                dry_run=dry_run,
            )
        return bills, known, site

    bills, known, site = run(work())
    tell(f"{len(bills)} bills of {month:%Y-%m}{' would be issued' if dry_run else ''}")
    _print(bills, known, {site.id: site}, as_json=as_json)


@bill.command("list")
@click.option("--site", "site_code", metavar="CODE", help="Only of a site.")
@click.option("--account", "number", metavar="NUMBER", help="Only of an account.")
@click.option("--month", type=MONTH, help="Only for days of this month.")
@click.option("--unpaid", is_flag=True, help="Only what is not paid.")
@operator_option
@json_option
@pass_program
def list_(
    program: Program,
    site_code: str | None,
    number: str | None,
    month: date | None,
    unpaid: bool,
    as_json: bool,
) -> None:
    """List bills, each paid, open or in arrears by today.

    Needs a signed-in operator with the right account.read.
    """

    async def look() -> tuple[
        tuple[IssuedBill, ...], Mapping[AccountId, str], Mapping[SiteId, Site]
    ]:
        async with program.database() as database:
            account_id, site_ids = None, None
            if number is not None:
                place = await at_account(program, database, number, Right.ACCOUNT_READ)
                account_id = place.account.id
            else:
                _, site, _ = await at_site(program, database, site_code, Right.ACCOUNT_READ)
                site_ids = None if site is None else [site.id]
            async with database.unit_of_work(read_only=True) as uow:
                organisation = await program.organisation(uow)
                sites = {each.id: each for each in await uow.sites.all(organisation.id)}
                bills = await uow.bills.search(
                    organisation.id,
                    site_ids=site_ids,
                    account_id=account_id,
                    months=None if month is None else (month, next_period(month)),
                    unpaid=unpaid,
                )
            return bills, await numbers_of(database, organisation), sites

    bills, known, sites = run(look())
    _print(bills, known, sites, as_json=as_json)


@bill.command
@click.argument("number")
@operator_option
@json_option
@pass_program
def show(program: Program, number: str, as_json: bool) -> None:
    """Show a bill with its lines. Needs a signed-in operator with the right account.read."""

    async def look() -> tuple[IssuedBill, str, Site]:
        async with program.database() as database:
            signed_in = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                found = await service.find_bill(uow, signed_in.organisation_id, number)
                account = await uow.accounts.get(found.organisation_id, found.account_id)
                site = await uow.sites.get(found.organisation_id, found.site_id)
            await program.operator(database, Right.ACCOUNT_READ, site_id=site.id)
        return found, account.number, site

    found, account, site = run(look())
    fields = bill_fields(found, account, today_at(site))
    if as_json:
        print_json(fields)
        return
    names = ("number", "account", "title", "since", "until", "due_on", "status")
    print_lines(*(f"{name}: {fields[name]}" for name in names))
    print_table(
        ("line", "units ", "price ", f"{found.currency} "),
        (
            (line["text"], line.get("units"), line.get("price"), line["amount"])
            for line in fields["lines"]
        ),
    )
    print_lines(
        f"rounding {fields['rounding']}",
        f"to pay {fields['amount']} {found.currency}, paid {fields['paid']}",
    )


@bill.command("print")
@click.argument("number")
@sheet_options
@operator_option
@json_option
@pass_program
def print_(
    program: Program,
    number: str,
    html_file: Path | None,
    pdf_file: Path | None,
    language: str | None,
    as_json: bool,
) -> None:
    """Write a bill into a file. Needs a signed-in operator with the right account.read."""

    async def look() -> tuple[Sheet, IssuedBill]:
        async with program.database() as database:
            signed_in = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                found = await service.find_bill(uow, signed_in.organisation_id, number)
                account = await uow.accounts.get(found.organisation_id, found.account_id)
                customer = await uow.customers.get(found.organisation_id, account.customer_id)
                site = await uow.sites.get(found.organisation_id, found.site_id)
                organisation = await uow.organisations.get(found.organisation_id)
            await program.operator(database, Right.ACCOUNT_READ, site_id=site.id)
        sheet = bill_sheet(
            found,
            Issuer(organisation.name, site.name, site.time_zone),
            Payer(account.number, customer.name),
            Language(language or customer.language or organisation.language),
            today_at(site),
        )
        return sheet, found

    sheet, found = run(look())
    file = write_sheet_file(program, sheet, found.number, found.issued_at, html_file, pdf_file)
    if as_json:
        print_json({"number": found.number, "file": str(file)})


def _print(
    bills: tuple[IssuedBill, ...],
    known: Mapping[AccountId, str],
    sites: Mapping[SiteId, Site],
    *,
    as_json: bool,
) -> None:
    dated = [(each, known[each.account_id], today_at(sites[each.site_id])) for each in bills]
    if as_json:
        print_json([bill_fields(*each) for each in dated])
    else:
        print_table(BILL_COLUMNS, (bill_row(*each) for each in dated))
