"""Commands that open accounts and give or take their meters."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import click

from meterplex.cli.account_options import (
    account_fields,
    amount_of,
    binding_fields,
    limit_options,
    limits_of,
    readings_by_point,
    readings_option,
)
from meterplex.cli.billing_options import NUMBER, at_account, at_site, dry_run_option
from meterplex.cli.output import json_option, print_json, tell
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Category, parse_deduction_order
from meterplex.domain.operators import Right
from meterplex.services.accounts import account_meters as meters
from meterplex.services.accounts.customers import NewCustomer
from meterplex.services.accounts.open_account import (
    AccountLimits,
    NewBinding,
    OpenAccount,
    OpenedAccount,
    open_account,
)
from meterplex.services.accounts.transfer_account import TransferAccount, transfer_account

MODES = [mode.value for mode in AccountMode]


def _customer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that name its customer."""
    options = (
        click.option("--customer", metavar="NUMBER", help="A customer that there is."),
        click.option("--name", default="", help="Otherwise the name of a new one."),
        click.option("--phone", default="", help="Of the new one, for notices."),
        click.option("--email", default="", help="Of the new one."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _customer(
    number: str, customer: str | None, name: str, phone: str, email: str
) -> NewCustomer | str:
    """Return whose account it is; a new customer gets the number of the account.

    Raises:
        click.UsageError: neither or both are named.
    """
    if (customer is None) == (not name):
        raise click.UsageError("name a customer with --customer, or a new one with --name")
    return NewCustomer(number, name, phone, email) if customer is None else customer


def parse_order(
    _context: object, _parameter: object, text: str | None
) -> tuple[Category, ...] | None:
    """Read an order of deduction; None when none is given."""
    if text is None:
        return None
    try:
        return parse_deduction_order(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("open")
@click.argument("number", metavar="ACCOUNT")
@click.option("--site", required=True, metavar="CODE", help="Where.")
@_customer_options
@click.option("--mode", type=click.Choice(MODES), required=True, help="How is paid.")
@click.option("--tariff", default="", metavar="CODE", help="[default: of the site]")
@click.option("--usage-point", "points", multiple=True, metavar="CODE", help="What it takes over.")
@readings_option
@limit_options
@click.option(
    "--deduct",
    callback=parse_order,
    metavar="ORDER",
    help="What a payment settles first, such as debt,rent,fee,utility.",
)
@click.option("--heads", type=int, help="People, for sharing by head.")
@click.option("--overload-kw", type=NUMBER, help="Power above which its meters disconnect.")
@click.option("--balance", metavar="AMOUNT", help="Credit brought along, not sold here.")
@click.option("--pay", metavar="AMOUNT", help="First purchase.")
@click.option("--method", default="cash", show_default=True, help="How the first one is paid.")
@dry_run_option
@operator_option
@json_option
@pass_program
def open_(
    program: Program,
    /,
    number: str,
    site: str,
    customer: str | None,
    name: str,
    phone: str,
    email: str,
    mode: str,
    tariff: str,
    points: tuple[str, ...],
    readings: tuple[str, ...],
    deduct: tuple[Category, ...] | None,
    heads: int | None,
    overload_kw: Decimal | None,
    balance: str | None,
    pay: str | None,
    method: str,
    dry_run: bool,
    as_json: bool,
    **limits: str | None,
) -> None:
    """Open an account with usage points, limits, and what it brings along: all or nothing."""
    by_point = readings_by_point(readings)
    _check_points(by_point, points)

    async def work() -> OpenedAccount:
        async with program.database() as database:
            organisation, _, operator = await at_site(program, database, site, Right.ACCOUNT_MANAGE)
            if pay is not None:
                await at_site(program, database, site, Right.MONEY_VEND)
            currency = organisation.currency
            wanted = OpenAccount(
                organisation.id,
                site,
                number,
                _customer(number, customer, name, phone, email),
                AccountMode(mode),
                tariff,
                tuple(NewBinding(each, readings=by_point.get(each, {})) for each in points),
                AccountLimits(**limits_of(limits, currency)),
                amount_of(balance, currency, "balance"),
                head_count=heads,
                overload_kw=overload_kw,
                purchase_units=amount_of(pay, currency, "pay"),
                method=method,
                **({} if deduct is None else {"deduction_order": deduct}),
            )
            return await open_account(
                database,
                program.plugins,
                wanted,
                at=now(),
                operator=operator.name,
                dry_run=dry_run,
            )

    _show(run(work()), as_json=as_json, dry_run=dry_run)


def _check_points(by_point: dict[str, Any], points: tuple[str, ...]) -> None:
    if strange := sorted(by_point.keys() - set(points)):
        raise click.UsageError(f"--reading: {', '.join(strange)} is not named by --usage-point")


def _show(opened: OpenedAccount, *, as_json: bool, dry_run: bool) -> None:
    if dry_run:
        tell("dry run: nothing was kept")
    if as_json:
        print_json(
            account_fields(opened.account)
            | {
                "id": opened.account.id,
                "customer": opened.customer.number,
                "bindings": [binding_fields(each) for each in opened.bindings],
                "receipt": None if opened.sale is None else opened.sale.receipt,
                "dry_run": dry_run,
            }
        )
        return
    count = len(opened.bindings)
    tell(f"account {opened.account.number}: opened with {count} meter{'s' * (count != 1)}")
    if opened.sale is not None:
        tell(f"first purchase: receipt {opened.sale.receipt}")


@click.command("add-meter")
@click.argument("number", metavar="ACCOUNT")
@click.argument("points", nargs=-1, required=True, metavar="USAGE_POINT...")
@click.option("--mode", type=click.Choice(MODES), help="[default: of the account]")
@click.option("--tariff", default="", metavar="CODE", help="[default: of the account]")
@readings_option
@dry_run_option
@operator_option
@json_option
@pass_program
def add_meter(
    program: Program,
    number: str,
    points: tuple[str, ...],
    mode: str | None,
    tariff: str,
    readings: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Give an account the meters of more usage points."""
    by_point = readings_by_point(readings)
    _check_points(by_point, points)

    async def work() -> list[dict[str, Any]]:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.ACCOUNT_MANAGE)
            new = tuple(
                NewBinding(
                    each,
                    None if mode is None else AccountMode(mode),
                    tariff,
                    readings=by_point.get(each, {}),
                )
                for each in points
            )
            bindings = await meters.add_meters(
                database,
                program.plugins,
                place.account.organisation_id,
                place.account.id,
                new,
                at=now(),
                operator=place.operator.name,
                dry_run=dry_run,
            )
        return [binding_fields(each) for each in bindings]

    _say(run(work()), f"account {number}: {len(points)} added", as_json=as_json, dry_run=dry_run)


@click.command("remove-meter")
@click.argument("number", metavar="ACCOUNT")
@click.argument("point", metavar="USAGE_POINT")
@readings_option
@dry_run_option
@operator_option
@json_option
@pass_program
def remove_meter(
    program: Program,
    number: str,
    point: str,
    readings: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take a usage point from an account; its meter then measures for nobody."""
    by_point = readings_by_point(readings)
    _check_points(by_point, (point,))

    async def work() -> dict[str, Any]:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.ACCOUNT_MANAGE)
            binding = await meters.remove_meter(
                database,
                place.account.organisation_id,
                place.account.id,
                point,
                readings=by_point.get(point),
                at=now(),
                operator=place.operator.name,
                dry_run=dry_run,
            )
        return binding_fields(binding)

    _say(run(work()), f"account {number}: {point} removed", as_json=as_json, dry_run=dry_run)


@click.command
@click.argument("number", metavar="ACCOUNT")
@click.argument("new_number", metavar="NEW_ACCOUNT")
@_customer_options
@click.option("--with-credit", is_flag=True, help="The credit goes to the new owner too.")
@readings_option
@dry_run_option
@operator_option
@json_option
@pass_program
def transfer(
    program: Program,
    number: str,
    new_number: str,
    customer: str | None,
    name: str,
    phone: str,
    email: str,
    with_credit: bool,
    readings: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Give the meters of an account to a new owner's new account, as of one reading.

    The account before stays with what it owes and is owed, to be closed.
    """
    by_point = readings_by_point(readings)

    async def work() -> OpenedAccount:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.ACCOUNT_MANAGE)
            wanted = TransferAccount(
                place.account.organisation_id,
                place.account.id,
                new_number,
                _customer(new_number, customer, name, phone, email),
                with_credit,
                by_point,
            )
            return await transfer_account(
                database,
                program.plugins,
                wanted,
                at=now(),
                operator=place.operator.name,
                dry_run=dry_run,
            )

    _show(run(work()), as_json=as_json, dry_run=dry_run)


def _say(value: object, text: str, *, as_json: bool, dry_run: bool) -> None:
    if dry_run:
        tell("dry run: nothing was kept")
    if as_json:
        print_json(value)
    else:
        tell(text)
