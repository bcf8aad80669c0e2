"""``meterplex ledger``: the books, looked at, checked and closed."""

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

import click

from meterplex.cli.billing_options import MONTH, at_account, dry_run_option
from meterplex.cli.errors import ExitCode
from meterplex.cli.group import FailingGroup
from meterplex.cli.names import SpokenNames, load_names, told_of
from meterplex.cli.output import (
    format_time,
    json_option,
    print_json,
    print_table,
    progress_bar,
    tell,
)
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.db.ledger import ClosedPeriod
from meterplex.domain.ledger import Entry, next_period
from meterplex.domain.money import ledger_decimal
from meterplex.domain.operators import Right
from meterplex.services.books import close_period as service
from meterplex.services.books.check_books import check_books


@click.group(cls=FailingGroup)
def ledger() -> None:
    """Look at the double-entry ledger, check it, and close its months."""


@ledger.command
@json_option
@pass_program
@click.pass_context
def check(context: click.Context, program: Program, as_json: bool) -> None:
    """Check the books of all organisations; exit code 1 when anything is wrong.

    Balances are compared with their postings and with zero, closed periods with what they were
    closed with, bills and debt plans with what is owed, and charges with each other: no gap, no
    overlap.
    """

    async def look() -> dict[str, tuple[str, ...]]:
        found = {}
        async with program.database() as database:
            async with database.unit_of_work(read_only=True) as uow:
                organisations = await uow.organisations.all()
            with progress_bar("organisations") as bar:
                for done, organisation in enumerate(organisations, 1):
                    async with database.unit_of_work(read_only=True) as uow:
                        found[organisation.name] = await check_books(uow, organisation.id)
                    bar.show(done, len(organisations))
        return found

    found = run(look())
    problems = [(name, line) for name, lines in found.items() for line in lines]
    if as_json:
        print_json({"organisations": len(found), "problems": _by_name(found)})
    else:
        tell(f"{len(found)} organisations, {len(problems)} problems")
        for name, line in problems:
            click.echo(f"{name}: {line}")
    context.exit(ExitCode.ERROR if problems else ExitCode.OK)


def _by_name(found: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {name: lines for name, lines in found.items() if lines}


@ledger.command("trial-balance")
@click.option("--period", type=MONTH, help="Up to the end of a month; otherwise up to now.")
@operator_option
@json_option
@pass_program
def trial_balance(program: Program, period: date | None, as_json: bool) -> None:
    """Show all balances: they sum to zero in each currency.

    Needs a signed-in operator with the right report.read.
    """

    async def look() -> tuple[Mapping[str, int], SpokenNames]:
        async with program.database() as database:
            operator = await program.operator(database, Right.REPORT_READ)
            organisation_id = operator.organisation_id
            until = None if period is None else next_period(period)
            async with database.unit_of_work(read_only=True) as uow:
                balances = await service.trial_balance(uow, organisation_id, until=until)
                return balances, await load_names(uow, organisation_id, balances)

    balances, names = run(look())
    _print_balances(balances, names, as_json=as_json)


@ledger.command
@click.option("--account", "number", metavar="NUMBER", help="All entries on its statement.")
@click.option("--order", "order_id", type=click.UUID, help="All entries of an order.")
@operator_option
@json_option
@pass_program
def entries(program: Program, number: str | None, order_id: UUID | None, as_json: bool) -> None:
    """List ledger entries with their postings.

    Needs a signed-in operator with the right report.read.
    """
    if (number is None) == (order_id is None):
        raise click.UsageError("name an account or an order: --account or --order")

    async def look() -> tuple[tuple[Entry, ...], SpokenNames]:
        async with program.database() as database:
            if number is not None:
                place = await at_account(program, database, number, Right.REPORT_READ)
                account = place.account
                organisation_id = account.organisation_id
                async with database.unit_of_work(read_only=True) as uow:
                    found = await uow.ledger.of_account(organisation_id, account.id)
                    return found, await load_names(uow, organisation_id, told_of(*found))
            operator = await program.operator(database, Right.REPORT_READ)
            organisation_id = operator.organisation_id
            assert order_id is not None
            async with database.unit_of_work(read_only=True) as uow:
                found = await uow.ledger.of_order(organisation_id, order_id)
                return found, await load_names(uow, organisation_id, told_of(*found))

    found, names = run(look())
    if as_json:
        print_json([_entry_fields(entry) for entry in found])
        return
    print_table(
        ("booked", "period", "kind", "from", "to", "amount ", "by", "memo"),
        (
            (
                format_time(entry.booked_at),
                f"{entry.period:%Y-%m}",
                entry.kind,
                names.said(posting.debit),
                names.said(posting.credit),
                ledger_decimal(posting.amount_units),
                entry.operator,
                names.said(entry.memo),
            )
            for entry in found
            for posting in entry.postings
        ),
    )


@ledger.command("close-period")
@click.argument("period", type=MONTH)
@dry_run_option
@operator_option
@json_option
@pass_program
def close_period(program: Program, period: date, dry_run: bool, as_json: bool) -> None:
    """Close a month for ever: the oldest that is open, when it is over and the books are right.

    What becomes known later is booked in the next open month, as an adjustment. Needs a signed-in
    operator with the right ledger.close_period for the whole organisation.
    """

    async def work() -> tuple[ClosedPeriod, SpokenNames]:
        async with program.database() as database:
            operator = await program.operator(database, Right.LEDGER_CLOSE_PERIOD)
            closed = await service.close_period(
                database,
                operator.organisation_id,
                period,
                at=now(),
                operator=operator.name,
                dry_run=dry_run,
            )
            async with database.unit_of_work(read_only=True) as uow:
                names = await load_names(uow, operator.organisation_id, closed.trial_balance)
        return closed, names

    closed, names = run(work())
    tell(f"{period:%Y-%m} {'would be' if dry_run else 'is'} closed")
    _print_balances(closed.trial_balance, names, as_json=as_json)


def _print_balances(balances: Mapping[str, int], names: SpokenNames, *, as_json: bool) -> None:
    rows = [(*name.split(" ", 1), ledger_decimal(units)) for name, units in balances.items()]
    if as_json:
        print_json(
            [
                {"currency": currency, "account": account, "balance": str(balance)}
                for currency, account, balance in rows
            ]
        )
        return
    print_table(
        ("currency", "account", "balance "),
        ((currency, names.said(account), balance) for currency, account, balance in rows),
    )


def _entry_fields(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "kind": entry.kind.value,
        "currency": entry.currency,
        "booked_at": entry.booked_at,
        "period": f"{entry.period:%Y-%m}",
        "operator": entry.operator,
        "order": entry.order_id,
        "reverses": entry.reverses_id,
        "memo": entry.memo,
        "postings": [
            {
                "from": str(posting.debit),
                "to": str(posting.credit),
                "amount": str(ledger_decimal(posting.amount_units)),
            }
            for posting in entry.postings
        ],
    }
