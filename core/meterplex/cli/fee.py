"""``meterplex fee``: rent, property fees and packages, claimed with the calendar."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import click

from meterplex.cli.billing_options import (
    BILL_COLUMNS,
    DAY,
    NUMBER,
    at_account,
    at_site,
    bill_fields,
    bill_row,
    dry_run_option,
    numbers_of,
    today_at,
)
from meterplex.cli.group import FailingGroup
from meterplex.cli.output import json_option, print_json, print_table, tell
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.domain.accounts import Category
from meterplex.domain.bills import AccountFee, FeeId, IssuedBill
from meterplex.domain.estate import AccountId, Site, SiteId
from meterplex.domain.fees import FeePeriod
from meterplex.domain.operators import Right
from meterplex.services.billing import charge_fees as service

PERIODS = [period.name.lower() for period in FeePeriod]


@click.group(cls=FailingGroup)
def fee() -> None:
    """Agree rent and fees with accounts, and claim what is due."""


@fee.command
@click.argument("number", metavar="ACCOUNT")
@click.argument("text", metavar="TEXT")
@click.argument("price", type=NUMBER)
@click.option("--from", "starts_on", type=DAY, required=True, help="First local day.")
@click.option("--to", "ends_on", type=DAY, help="First local day without it.")
@click.option("--rent", is_flag=True, help="It is rent: a category of its own in deductions.")
@click.option("--period", type=click.Choice(PERIODS), default="month", show_default=True)
@click.option("--area", "area_m2", type=NUMBER, help="Square metres that PRICE is for one of.")
@click.option("--afterwards", is_flag=True, help="Due when its period has ended.")
@click.option("--due-days", type=int, default=0, show_default=True, help="Days to pay.")
@dry_run_option
@operator_option
@json_option
@pass_program
def add(
    program: Program,
    number: str,
    text: str,
    price: Decimal,
    starts_on: datetime,
    ends_on: datetime | None,
    rent: bool,
    period: str,
    area_m2: Decimal | None,
    afterwards: bool,
    due_days: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Agree a fee of PRICE for each period; with --area, PRICE is for a square metre.

    A part of a period costs its days' part. Needs a signed-in operator with the right bill.manage.
    """

    async def work() -> AccountFee:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.BILL_MANAGE)
            new = service.NewFee(
                account_id=place.account.id,
                category=Category.RENT if rent else Category.FEE,
                text=text,
                price=price,
                starts_on=starts_on.date(),
                period=service.parse_fee_period(period, "period"),
                area_m2=area_m2,
                ends_on=None if ends_on is None else ends_on.date(),
                in_advance=not afterwards,
                due_days=due_days,
            )
            return await service.add_fee(
                database,
                place.account.organisation_id,
                new,
                at=now(),
                operator=place.operator.name,
                dry_run=dry_run,
            )

    _print([run(work())], number, as_json=as_json, dry_run=dry_run)


@fee.command
@click.argument("fee_id", metavar="ID", type=click.UUID)
@click.argument("ends_on", metavar="DATE", type=DAY)
@dry_run_option
@operator_option
@json_option
@pass_program
def end(program: Program, fee_id: UUID, ends_on: datetime, dry_run: bool, as_json: bool) -> None:
    """Let a fee end; DATE is the first local day without it.

    Needs a signed-in operator with the right bill.manage.
    """

    async def work() -> tuple[AccountFee, str]:
        async with program.database() as database:
            signed_in = (await program.session(database)).operator
            async with database.unit_of_work(read_only=True) as uow:
                _, account = await service.find_fee(uow, signed_in.organisation_id, FeeId(fee_id))
            place = await at_account(program, database, account.number, Right.BILL_MANAGE)
            ended = await service.end_fee(
                database,
                account.organisation_id,
                FeeId(fee_id),
                ends_on.date(),
                at=now(),
                operator=place.operator.name,
                dry_run=dry_run,
            )
        return ended, account.number

    ended, number = run(work())
    _print([ended], number, as_json=as_json, dry_run=dry_run)


@fee.command("list")
@click.argument("number", metavar="ACCOUNT")
@operator_option
@json_option
@pass_program
def list_(program: Program, number: str, as_json: bool) -> None:
    """List the fees of an account. Needs a signed-in operator with the right account.read."""

    async def look() -> tuple[AccountFee, ...]:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.ACCOUNT_READ)
            async with database.unit_of_work(read_only=True) as uow:
                return await uow.fees.of_account(place.account.organisation_id, place.account.id)

    _print(run(look()), number, as_json=as_json)


@fee.command
@click.option("--site", "site_code", metavar="CODE", help="Only accounts of a site.")
@click.option("--until", type=DAY, help="Last local day that counts; otherwise today.")
@dry_run_option
@operator_option
@json_option
@pass_program
def charge(
    program: Program,
    site_code: str | None,
    until: datetime | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Claim all fees whose period has begun, or has ended for those that are paid afterwards.

    Each period is claimed once, so the command can be run every day. Credit of the account is set
    against what is claimed. Needs a signed-in operator with the right bill.manage.
    """
    last = now().date() if until is None else until.date()

    async def work() -> tuple[
        tuple[IssuedBill, ...], Mapping[AccountId, str], Mapping[SiteId, Site]
    ]:
        async with program.database() as database:
            organisation, site, operator = await at_site(
                program, database, site_code, Right.BILL_MANAGE
            )
            bills = await service.charge_fees(
                database,
                organisation.id,
                last,
                at=now(),
                operator=operator.name,
                site_ids=None if site is None else [site.id],
                dry_run=dry_run,
            )
            async with database.unit_of_work(read_only=True) as uow:
                sites = {each.id: each for each in await uow.sites.all(organisation.id)}
            return bills, await numbers_of(database, organisation), sites

    bills, known, sites = run(work())
    tell(f"{len(bills)} bills{' would be issued' if dry_run else ''}")
    dated = [(each, known[each.account_id], today_at(sites[each.site_id])) for each in bills]
    if as_json:
        print_json([bill_fields(*each) for each in dated])
    else:
        print_table(BILL_COLUMNS, (bill_row(*each) for each in dated))


def _fields(fee: AccountFee, number: str) -> dict[str, Any]:
    agreed = fee.fee
    return {
        "id": fee.id,
        "account": number,
        "category": agreed.category.value,
        "text": agreed.text,
        "price": str(agreed.price),
        "currency": agreed.currency,
        "period": agreed.period.name.lower(),
        "area_m2": None if agreed.area_m2 is None else str(agreed.area_m2),
        "from": _day(agreed.starts_on),
        "to": _day(agreed.ends_on),
        "in_advance": agreed.in_advance,
        "due_days": agreed.due_days,
        "charged_until": _day(fee.charged_until),
    }


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _print(
    fees: list[AccountFee] | tuple[AccountFee, ...],
    number: str,
    *,
    as_json: bool,
    dry_run: bool = False,
) -> None:
    shown = [_fields(each, number) for each in fees]
    if dry_run:
        tell("dry run: nothing was kept")
    if as_json:
        print_json(shown)
        return
    columns = ("id", "category", "text", "price", "period", "area_m2", "from", "to")
    print_table(
        (*columns, "charged until"),
        ((*(each[name] for name in columns), each["charged_until"]) for each in shown),
    )
