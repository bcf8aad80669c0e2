"""``meterplex receipt``: find receipts, print them, and tell true ones from invented ones."""

import asyncio
from datetime import datetime, time
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import click

from meterplex.cli.errors import ExitCode
from meterplex.cli.group import FailingGroup
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
from meterplex.db.receipts import ReceiptPrint
from meterplex.domain.operators import Operator, Right
from meterplex.domain.receipts import Language, Receipt
from meterplex.services.accounts.find_accounts import find_account
from meterplex.services.books.amounts import format_amount
from meterplex.services.receipts.documents import Paper, find_font, render_html, render_pdf
from meterplex.services.receipts.issue_receipt import IssuedReceipt, find_receipt, issued
from meterplex.services.receipts.print_receipt import print_receipt, verify

_DAY: Final = click.DateTime(["%Y-%m-%d"])
_FILE: Final = click.Path(path_type=Path, dir_okay=False, writable=True)


@click.group(cls=FailingGroup)
def receipt() -> None:
    """Show, print and check receipts."""


@receipt.command
@click.argument("number")
@operator_option
@json_option
@pass_program
def show(program: Program, number: str, as_json: bool) -> None:
    """Show a receipt and its prints, without printing it."""

    async def work() -> tuple[IssuedReceipt, tuple[ReceiptPrint, ...]]:
        async with program.database() as database:
            found, operator = await _find(program, database, number)
            async with database.unit_of_work(read_only=True) as uow:
                return found, await uow.receipts.prints(operator.organisation_id, found.stored.id)

    found, prints = run(work())
    if as_json:
        print_json(document(found) | {"prints": prints})
        return
    print_lines(*_told(found))
    for each in prints:
        name = f"copy {each.copy}" if each.copy else "original"
        print_lines(f"{name} printed {format_time(each.printed_at)} by {each.printed_by}")


@receipt.command("list")
@click.option("--from", "first", type=_DAY, required=True, metavar="DATE", help="First local day.")
@click.option(
    "--to", "until", type=_DAY, required=True, metavar="DATE", help="The day after the last."
)
@click.option("--site", "site_code", required=True, metavar="CODE", help="Who issued them.")
@click.option("--account", "account_number", metavar="NUMBER", help="Only of this account.")
@operator_option
@json_option
@pass_program
def list_(
    program: Program,
    first: datetime,
    until: datetime,
    site_code: str,
    account_number: str | None,
    as_json: bool,
) -> None:
    """List the receipts of a site in the order of issue."""

    async def work() -> list[IssuedReceipt]:
        async with program.database() as database:
            async with database.unit_of_work(read_only=True) as uow:
                organisation = await program.organisation(uow)
                site = await program.site(uow, organisation, site_code)
            await program.operator(database, Right.ACCOUNT_READ, site_id=site.id)
            zone = ZoneInfo(site.time_zone)
            start, end = (datetime.combine(day.date(), time.min, zone) for day in (first, until))
            async with database.unit_of_work(read_only=True) as uow:
                account_id = None
                if account_number is not None:
                    account_id = (await find_account(uow, organisation.id, account_number)).id
                found = await uow.receipts.between(
                    organisation.id, [site.id], start, end, account_id
                )
            return [issued(each) for each in found]

    found = run(work())
    if as_json:
        print_json([document(each) for each in found])
        return
    print_table(
        ("number", "issued", "kind", "account", "customer", "paid ", "currency", "cashier"),
        (
            (
                each.number,
                format_time(each.facts.issued_at),
                each.facts.kind,
                each.facts.account,
                each.facts.customer,
                _paid(each),
                each.facts.currency,
                each.facts.cashier,
            )
            for each in found
        ),
    )


@receipt.command("print")
@click.argument("number")
@click.option("--html", "html_file", type=_FILE, metavar="FILE", help="Write a page.")
@click.option("--pdf", "pdf_file", type=_FILE, metavar="FILE", help="Write a PDF file.")
@click.option(
    "--language",
    type=click.Choice([each.value for each in Language]),
    help="Otherwise the customer's language.",
)
@click.option(
    "--paper",
    type=click.Choice([each.value for each in Paper]),
    default=Paper.A5.value,
    show_default=True,
    help="Its size.",
)
@click.option("--dry-run", is_flag=True, help="Write the next print, but do not count it.")
@operator_option
@json_option
@pass_program
def print_(
    program: Program,
    number: str,
    html_file: Path | None,
    pdf_file: Path | None,
    language: str | None,
    paper: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Print a receipt into a file: the original first, then copies that are marked as such."""
    if (html_file is None) == (pdf_file is None):
        raise click.UsageError("name one file: --html FILE or --pdf FILE")
    configured = program.settings.receipt.font
    font = find_font(Path(configured) if configured else None)

    file = html_file or pdf_file
    assert file is not None
    part = file.with_name(f"{file.name}.part")

    async def render(printed: Receipt) -> Path:
        """Write it beside its place: what cannot be written there is not counted either."""
        if html_file is not None:
            part.write_text(render_html(printed, Paper(paper)), "utf-8")
        else:
            page = await asyncio.to_thread(render_pdf, printed, Paper(paper), font=font)
            part.write_bytes(page)
        return part

    async def work() -> tuple[Receipt, Path]:
        async with program.database() as database:
            found, operator = await _find(program, database, number)
            made = await print_receipt(
                database,
                found,
                render,
                language=None if language is None else Language(language),
                at=now(),
                operator=operator.name,
                dry_run=dry_run,
            )
        return made.receipt, made.page

    printed, page = run(work())
    page.replace(file)
    name = f"copy {printed.copy}" if printed.copy else "the original"
    tell(f"{name} of {printed.number} is in {file}{', not counted' if dry_run else ''}")
    if as_json:
        print_json(
            {
                "number": str(printed.number),
                "copy": printed.copy,
                "file": str(file),
                "dry_run": dry_run,
            }
        )


@receipt.command("verify")
@click.argument("number")
@click.argument("check")
@operator_option
@json_option
@pass_program
@click.pass_context
def verify_(
    context: click.Context, program: Program, number: str, check: str, as_json: bool
) -> None:
    """Compare the check text on a paper with the receipt; exit code 1 when it is another.

    What is printed then has to be what stands on the paper, figure by figure.
    """

    async def work() -> IssuedReceipt:
        async with program.database() as database:
            found, _ = await _find(program, database, number)
            return found

    found = run(work())
    genuine = verify(found, check)
    if as_json:
        print_json({"number": found.number, "genuine": genuine} | (_shown(found, genuine)))
    elif genuine:
        tell("the check text is right; compare these figures with the paper:")
        print_lines(*_told(found))
    else:
        tell(f"{found.number}: the check text is not that of this receipt")
    context.exit(ExitCode.OK if genuine else ExitCode.ERROR)


async def _find(
    program: Program, database: Database, number: str
) -> tuple[IssuedReceipt, Operator]:
    """Return a receipt of a site whose accounts the signed-in operator may read.

    Raises:
        ForbiddenError: there is no such site.
        UnknownThingError: there is no such receipt there.
    """
    operator = (await program.session(database)).operator
    sites = operator.sites_with(Right.ACCOUNT_READ)
    if sites is not None and not sites:
        await program.require(database, operator, [Right.ACCOUNT_READ], [None])
    async with database.unit_of_work(read_only=True) as uow:
        return await find_receipt(uow, operator.organisation_id, number, sites), operator


def document(found: IssuedReceipt) -> dict[str, object]:
    """Return a receipt as JSON."""
    facts = found.facts
    return {
        "number": found.number,
        "kind": facts.kind,
        "issued_at": facts.issued_at,
        "site": facts.site,
        "account": facts.account,
        "customer": facts.customer,
        "paid": _paid(found),
        "currency": facts.currency,
        "items": [
            {"kind": item.kind, "amount": format_amount(item.amount_units, facts.currency)}
            for item in facts.items
        ],
        "method": facts.method,
        "cashier": facts.cashier,
        "order": facts.order or None,
        "refers_to": facts.refers_to or None,
        "check": found.verification,
    }


def _shown(found: IssuedReceipt, genuine: bool) -> dict[str, object]:
    return {"receipt": document(found)} if genuine else {}


def _paid(found: IssuedReceipt) -> str:
    return format_amount(found.receipt().paid_units, found.facts.currency)


def _told(found: IssuedReceipt) -> list[str]:
    facts = found.facts
    head = f"{found.number}, {facts.kind}, {format_time(facts.issued_at)}"
    items = [
        f"  {item.kind} {format_amount(item.amount_units, facts.currency)}" for item in facts.items
    ]
    return [
        head,
        f"{facts.account} {facts.customer}, {facts.site}",
        *items,
        f"paid {_paid(found)} {facts.currency} by {facts.method} to {facts.cashier}",
        f"check {found.verification}",
    ]
