"""``meterplex account``: wallets, what belongs to them, and their life from opening to closing."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import click

from meterplex.cli.account_changes import (
    close,
    convert,
    resume,
    set_,
    suspend,
    swap,
    tariff,
)
from meterplex.cli.account_opening import add_meter, open_, remove_meter, transfer
from meterplex.cli.account_options import account_fields, binding_fields
from meterplex.cli.billing_options import DAY, at_account
from meterplex.cli.group import FailingGroup
from meterplex.cli.output import format_time, json_option, print_json, print_lines, print_table
from meterplex.cli.program import Program, operator_option, pass_program, run
from meterplex.db.supply import SupplyDecided
from meterplex.domain.accounts import AccountState
from meterplex.domain.ledger import Entry, LedgerAccount
from meterplex.domain.operators import Right
from meterplex.services.accounts.balances import AccountBalance
from meterplex.services.accounts.customer_file import (
    AccountFile,
    AccountLine,
    MeterFile,
    account_file,
    list_accounts,
    statement,
)
from meterplex.services.books.amounts import format_amount


@click.group(cls=FailingGroup)
def account() -> None:
    """Open, change and close accounts, and see what is known of them.

    Looking needs a signed-in operator with the right account.read at the account's site, changing
    one with account.manage.
    """


for command in (
    open_,
    add_meter,
    remove_meter,
    transfer,
    suspend,
    resume,
    set_,
    tariff,
    convert,
    swap,
    close,
):
    account.add_command(command)


@account.command("list")
@click.option("--site", metavar="CODE", help="Only this site.")
@click.option(
    "--state",
    "states",
    type=click.Choice([state.value for state in AccountState]),
    multiple=True,
    help="Only in this state.  [default: all but closed]",
)
@operator_option
@json_option
@pass_program
def list_(program: Program, site: str | None, states: tuple[str, ...], as_json: bool) -> None:
    """List accounts with their balances; closed ones with --state closed."""
    chosen = {AccountState(state) for state in states} or set(AccountState) - {AccountState.CLOSED}
    lines = run(_list(program, site, chosen))
    if as_json:
        print_json([_line_fields(line) for line in lines])
        return
    print_table(
        ("number", "customer", "site", "mode", "state", "balance ", "owed ", ""),
        (
            (
                line.account.number,
                line.customer.name,
                line.site.code,
                line.account.mode,
                line.account.state,
                format_amount(_credit(line.balance), line.account.currency),
                format_amount(sum(line.balance.owed_units.values()), line.account.currency),
                line.account.currency,
            )
            for line in lines
        ),
    )


async def _list(
    program: Program, code: str | None, states: Collection[AccountState]
) -> tuple[AccountLine, ...]:
    async with program.database() as database:
        operator = (await program.session(database)).operator
        async with database.unit_of_work(read_only=True) as uow:
            organisation = await program.organisation(uow)
            if code is None:
                sites = await uow.sites.all(organisation.id)
            else:
                sites = (await program.site(uow, organisation, code),)
        seen = [site for site in sites if operator.may(Right.ACCOUNT_READ, site.id)]
        if not seen:
            await program.require(
                database, operator, [Right.ACCOUNT_READ], [site.id for site in sites] or [None]
            )
        async with database.unit_of_work(read_only=True) as uow:
            return await list_accounts(uow, organisation.id, seen, states)


def _line_fields(line: AccountLine) -> dict[str, Any]:
    return account_fields(line.account) | {
        "site": line.site.code,
        "customer": line.customer.number,
        "customer_name": line.customer.name,
        "balance": format_amount(_credit(line.balance), line.account.currency),
        "owed": _owed(line.balance, line.account.currency),
    }


def _credit(balance: AccountBalance) -> int:
    """Return what an account has, wherever it is."""
    return (
        balance.wallet_units
        + sum(balance.in_meter_units.values())
        + sum(balance.in_transit_units.values())
    )


def _owed(balance: AccountBalance, currency: str) -> dict[str, str]:
    return {
        category.value: format_amount(units, currency)
        for category, units in balance.owed_units.items()
        if units
    }


@account.command
@click.argument("number", metavar="ACCOUNT")
@operator_option
@json_option
@pass_program
def show(program: Program, number: str, as_json: bool) -> None:
    """Show an account: customer, balances, meters with their places, and what supply should be."""

    async def look() -> tuple[AccountFile, dict[Any, SupplyDecided | None]]:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.ACCOUNT_READ)
            async with database.unit_of_work(read_only=True) as uow:
                found = await account_file(uow, place.account)
                decided = await uow.supply_states.all(place.account.organisation_id)
            return found, {each.binding.id: decided.get(each.binding.id) for each in found.meters}

    shown, decided = run(look())
    if as_json:
        print_json(_file_fields(shown, decided))
        return
    currency, balance = shown.account.currency, shown.balance
    print_lines(
        f"account   {shown.account.number}, {shown.account.state}, {shown.account.mode}, "
        f"tariff {shown.account.tariff or 'none'}",
        f"customer  {shown.customer.number} {shown.customer.name} {shown.customer.phone}",
        f"site      {shown.site.code}",
        f"opened    {format_time(shown.account.opened_at)}",
        f"wallet    {format_amount(balance.wallet_units, currency)} {currency}",
        f"owed      {_owed(balance, currency) or 'nothing'}",
        f"payable   {format_amount(balance.payable_units, currency)} {currency}",
    )
    print_table(
        ("usage point", "meter", "channel", "since", "until", "in meter ", "coming ", "supply"),
        (_meter_row(each, shown, decided.get(each.binding.id)) for each in shown.meters),
    )


def _meter_row(
    each: MeterFile, shown: AccountFile, decided: SupplyDecided | None
) -> tuple[object, ...]:
    binding, currency = each.binding, shown.account.currency
    return (
        each.usage_point.code,
        each.meter.serial,
        each.channel.code,
        format_time(binding.since),
        format_time(binding.until),
        format_amount(shown.balance.in_meter_units[binding.id], currency),
        format_amount(shown.balance.in_transit_units[binding.id], currency),
        "" if decided is None else f"{decided.wanted}: {decided.reason}",
    )


def _file_fields(shown: AccountFile, decided: dict[Any, SupplyDecided | None]) -> dict[str, Any]:
    currency, balance = shown.account.currency, shown.balance
    return account_fields(shown.account) | {
        "site": shown.site.code,
        "customer": {
            "number": shown.customer.number,
            "name": shown.customer.name,
            "phone": shown.customer.phone,
            "email": shown.customer.email,
            "language": shown.customer.language,
        },
        "wallet": format_amount(balance.wallet_units, currency),
        "owed": _owed(balance, currency),
        "payable": format_amount(balance.payable_units, currency),
        "meters": [
            _meter_fields(each, shown, decided.get(each.binding.id)) for each in shown.meters
        ],
    }


def _meter_fields(
    each: MeterFile, shown: AccountFile, decided: SupplyDecided | None
) -> dict[str, Any]:
    binding, currency, balance = each.binding, shown.account.currency, shown.balance
    return binding_fields(binding) | {
        "usage_point": each.usage_point.code,
        "utility": each.usage_point.utility,
        "meter": each.meter.serial,
        "model": each.meter.model,
        "address": each.meter.address,
        "channel": each.channel.code,
        "gateway": None if each.gateway is None else each.gateway.code,
        "state": each.meter.state,
        "openings": {
            opening.register.slug: {
                "opening": opening.opening_value,
                "closing": opening.closing_value,
            }
            for opening in each.openings
        },
        "in_meter": format_amount(balance.in_meter_units[binding.id], currency),
        "in_transit": format_amount(balance.in_transit_units[binding.id], currency),
        "supply": None
        if decided is None
        else {"wanted": decided.wanted, "reason": decided.reason, "at": decided.decided_at},
    }


@account.command("statement")
@click.argument("number", metavar="ACCOUNT")
@click.option("--from", "start", type=DAY, help="First day, UTC.")
@click.option("--to", "end", type=DAY, help="Day after the last, UTC.")
@operator_option
@json_option
@pass_program
def statement_(
    program: Program, number: str, start: datetime | None, end: datetime | None, as_json: bool
) -> None:
    """Show all that was booked for an account, in order."""
    span = [None if day is None else day.replace(tzinfo=UTC) for day in (start, end)]

    async def look() -> tuple[Entry, ...]:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.ACCOUNT_READ)
            async with database.unit_of_work(read_only=True) as uow:
                return await statement(uow, place.account, span[0], span[1])

    entries = run(look())
    if as_json:
        print_json([_entry_fields(entry) for entry in entries])
        return
    print_table(
        ("booked", "kind", "from", "to", "amount ", "", "memo"),
        (
            (
                format_time(entry.booked_at),
                entry.kind,
                _kind(posting.debit),
                _kind(posting.credit),
                format_amount(posting.amount_units, entry.currency),
                entry.currency,
                entry.memo,
            )
            for entry in entries
            for posting in entry.postings
        ),
    )


def _kind(name: LedgerAccount) -> str:
    """Return a ledger account without the identifiers in its name."""
    return name.kind.value


def _entry_fields(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "kind": entry.kind,
        "booked_at": entry.booked_at,
        "period": entry.period.isoformat(),
        "currency": entry.currency,
        "operator": entry.operator,
        "order": entry.order_id,
        "reverses": entry.reverses_id,
        "memo": entry.memo,
        "postings": [
            {
                "debit": str(posting.debit),
                "credit": str(posting.credit),
                "amount": format_amount(posting.amount_units, entry.currency),
            }
            for posting in entry.postings
        ],
    }
