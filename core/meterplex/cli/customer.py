"""``meterplex customer``: who has accounts."""

from typing import Any

import click

from meterplex.cli.billing_options import dry_run_option
from meterplex.cli.group import FailingGroup
from meterplex.cli.output import json_option, print_json, print_table, tell
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.domain.accounts import Account, Customer
from meterplex.domain.operators import Right
from meterplex.services.accounts.customers import CustomerChange, edit_customer, find_customer


@click.group(cls=FailingGroup)
def customer() -> None:
    """See and change who has accounts.

    Looking needs a signed-in operator with the right account.read, changing account.manage, both
    at the whole organisation: a customer may have accounts at all its sites.
    """


@customer.command("list")
@operator_option
@json_option
@pass_program
def list_(program: Program, as_json: bool) -> None:
    """List all customers."""

    async def look() -> tuple[Customer, ...]:
        async with program.database() as database:
            operator = await program.operator(database, Right.ACCOUNT_READ)
            async with database.unit_of_work(read_only=True) as uow:
                return await uow.customers.all(operator.organisation_id)

    found = run(look())
    if as_json:
        print_json([_fields(each) for each in found])
        return
    print_table(
        ("number", "name", "phone", "email", "language"),
        ((each.number, each.name, each.phone, each.email, each.language) for each in found),
    )


@customer.command
@click.argument("number", metavar="CUSTOMER")
@operator_option
@json_option
@pass_program
def show(program: Program, number: str, as_json: bool) -> None:
    """Show a customer and the accounts it has or had."""

    async def look() -> tuple[Customer, tuple[Account, ...]]:
        async with program.database() as database:
            operator = await program.operator(database, Right.ACCOUNT_READ)
            async with database.unit_of_work(read_only=True) as uow:
                found = await find_customer(uow, operator.organisation_id, number)
                return found, await uow.accounts.of_customer(found.organisation_id, found.id)

    found, accounts = run(look())
    if as_json:
        print_json(
            _fields(found)
            | {"accounts": [{"number": each.number, "state": each.state} for each in accounts]}
        )
        return
    print_table(
        ("account", "state", "mode", "tariff"),
        ((each.number, each.state, each.mode, each.tariff) for each in accounts),
    )


@customer.command
@click.argument("number", metavar="CUSTOMER")
@click.option("--name", help="Another name.")
@click.option("--phone", help="Another phone number, for notices.")
@click.option("--email", help="Another address.")
@click.option("--language", help="Of notices: zh or en; empty takes the organisation's.")
@dry_run_option
@operator_option
@json_option
@pass_program
def edit(
    program: Program, /, number: str, dry_run: bool, as_json: bool, **changes: str | None
) -> None:
    """Change the name, contacts or language of a customer."""

    async def work() -> Customer:
        async with program.database() as database:
            operator = await program.operator(database, Right.ACCOUNT_MANAGE)
            return await edit_customer(
                database,
                operator.organisation_id,
                number,
                CustomerChange(**changes),
                at=now(),
                operator=operator.name,
                dry_run=dry_run,
            )

    changed = run(work())
    if dry_run:
        tell("dry run: nothing was kept")
    if as_json:
        print_json(_fields(changed) | {"dry_run": dry_run})
    else:
        tell(f"customer {changed.number}: {changed.name}")


def _fields(each: Customer) -> dict[str, Any]:
    return {
        "number": each.number,
        "name": each.name,
        "phone": each.phone,
        "email": each.email,
        "language": each.language,
    }
