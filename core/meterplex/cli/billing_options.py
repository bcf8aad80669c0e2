"""What the commands of bills, fees, shares and debts have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from meterplex.cli.program import Program, now
from meterplex.db import Database
from meterplex.domain.accounts import Account
from meterplex.domain.bills import IssuedBill
from meterplex.domain.estate import AccountId, Organisation, Site
from meterplex.domain.operators import Operator, Right
from meterplex.services.accounts.find_accounts import find_account
from meterplex.services.books.amounts import format_amount

DAY: Final = click.DateTime(["%Y-%m-%d"])


class Month(click.ParamType[date]):
    """A month such as 2026-07, as its first day."""

    name = "month"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> date:
        """Read it."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(f"{value}-01")
        except ValueError:
            self.fail(f"{value!r}: expected a month such as 2026-07", param, ctx)


class Number(click.ParamType[Decimal]):
    """A decimal number."""

    name = "number"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        """Read it."""
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite():
            self.fail(f"{value!r}: expected a number", param, ctx)
        return number


MONTH: Final = Month()
NUMBER: Final = Number()


def dry_run_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option ``--dry-run``."""
    text = "Do all of it, show what would be, keep nothing."
    return click.option("--dry-run", is_flag=True, help=text)(command)


@dataclass(frozen=True, slots=True)
class AtAccount:
    """Who acts, and on which account."""

    operator: Operator
    account: Account
    site: Site


async def at_account(
    program: Program, database: Database, number: str, *rights: Right
) -> AtAccount:
    """Return an account and the signed-in operator, who holds the rights at its site.

    Raises:
        UnknownAccountError: there is none of the number.
        OperatorError: nobody is signed in, or without these rights.
    """
    signed_in = (await program.session(database)).operator
    async with database.unit_of_work(read_only=True) as uow:
        account = await find_account(uow, signed_in.organisation_id, number)
        site = await uow.sites.get(account.organisation_id, account.site_id)
    operator = await program.operator(database, *rights, site_id=site.id)
    return AtAccount(operator, account, site)


async def at_site(
    program: Program, database: Database, code: str | None, *rights: Right
) -> tuple[Organisation, Site | None, Operator]:
    """Return a site and the signed-in operator, who holds the rights there.

    Args:
        code: None for the whole organisation.
    """
    async with database.unit_of_work(read_only=True) as uow:
        organisation = await program.organisation(uow)
        site = None if code is None else await program.site(uow, organisation, code)
    site_id = None if site is None else site.id
    return organisation, site, await program.operator(database, *rights, site_id=site_id)


async def numbers_of(database: Database, organisation: Organisation) -> dict[AccountId, str]:
    """Return the numbers of all accounts."""
    async with database.unit_of_work(read_only=True) as uow:
        return {each.id: each.number for each in await uow.accounts.all(organisation.id)}


def bill_fields(bill: IssuedBill, account: str, today: date) -> dict[str, Any]:
    """Return a bill as JSON values, with how it stands on a local date."""
    return {
        "number": bill.number,
        "account": account,
        "category": bill.category.value,
        "title": bill.title,
        "since": bill.since.isoformat(),
        "until": bill.until.isoformat(),
        "issued_at": bill.issued_at,
        "due_on": bill.due_on.isoformat(),
        "currency": bill.currency,
        "amount": format_amount(bill.amount_units, bill.currency),
        "paid": format_amount(bill.paid_units, bill.currency),
        "outstanding": format_amount(bill.outstanding_units, bill.currency),
        "status": bill.status(today).value,
        "days_late": bill.days_late(today),
        "rounding": format_amount(bill.rounding_units, bill.currency),
        "lines": [
            {key: value for key, value in line.items() if key != "amount_units"}
            | {"amount": format_amount(line["amount_units"], bill.currency)}
            for line in bill.lines
        ],
    }


BILL_COLUMNS: Final = ("number", "account", "for", "since", "until", "due", "amount ", "open ", "")


def bill_row(bill: IssuedBill, account: str, today: date) -> tuple[object, ...]:
    """Return a bill as a row under :data:`BILL_COLUMNS`."""
    return (
        bill.number,
        account,
        bill.title,
        bill.since,
        bill.until,
        bill.due_on,
        format_amount(bill.amount_units, bill.currency),
        format_amount(bill.outstanding_units, bill.currency),
        bill.status(today),
    )


def today_at(site: Site) -> date:
    """Return the local date of a site now."""
    return now().astimezone(ZoneInfo(site.time_zone)).date()
