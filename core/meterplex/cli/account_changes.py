"""Commands that change, convert, swap and close what there is."""

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, TextIO
from uuid import UUID

import click

from meterplex.cli.account_opening import MODES, parse_order
from meterplex.cli.account_options import (
    account_fields,
    binding_fields,
    limit_options,
    limits_of,
    readings_by_point,
    readings_of_meter,
    readings_option,
)
from meterplex.cli.billing_options import NUMBER, AtAccount, at_account, dry_run_option
from meterplex.cli.output import json_option, print_json, tell
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.cli.second_person import ask, show_asked
from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, Category
from meterplex.domain.approvals import Approval, ApprovalId, ApprovalKind
from meterplex.domain.operators import Right
from meterplex.services.accounts.account_meters import ChangeTariff, change_tariff
from meterplex.services.accounts.change_account import AccountChange, change_account
from meterplex.services.accounts.close_account import CloseAccount, Closing, close_account
from meterplex.services.accounts.convert_account import ConvertAccount, convert_account
from meterplex.services.accounts.suspend_account import resume_account, suspend_account
from meterplex.services.accounts.swap_meter import (
    NewMeter,
    Swap,
    SwapMeter,
    SwapStep,
    estimate_content,
    swap_meter,
)
from meterplex.services.books.amounts import parse_limit
from meterplex.services.operators import approvals
from meterplex.services.orders.refund_credit import SecondPersonNeededError

Change = Callable[[Database, AtAccount], Awaitable[Account]]


def _change(program: Program, number: str, work: Change, *, as_json: bool, dry_run: bool) -> None:
    async def change() -> Account:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.ACCOUNT_MANAGE)
            return await work(database, place)

    changed = run(change())
    if dry_run:
        tell("dry run: nothing was kept")
    if as_json:
        print_json(account_fields(changed) | {"dry_run": dry_run})
    else:
        tell(f"account {changed.number}: {changed.state}, {changed.mode}, tariff {changed.tariff}")


def _with_reason(act: Callable[..., Awaitable[Account]], reason: str, *, dry_run: bool) -> Change:
    """Return the change that an act makes whose reason goes into the audit log."""

    async def work(database: Database, place: AtAccount) -> Account:
        return await act(
            database,
            place.account.organisation_id,
            place.account.id,
            reason=reason,
            at=now(),
            operator=place.operator.name,
            dry_run=dry_run,
        )

    return work


@click.command
@click.argument("number", metavar="ACCOUNT")
@click.option("--reason", default="", help="For the audit log.")
@dry_run_option
@operator_option
@json_option
@pass_program
def suspend(program: Program, number: str, reason: str, dry_run: bool, as_json: bool) -> None:
    """Take no payments for an account until it is resumed; charges and supply go on."""
    work = _with_reason(suspend_account, reason, dry_run=dry_run)
    _change(program, number, work, as_json=as_json, dry_run=dry_run)


@click.command
@click.argument("number", metavar="ACCOUNT")
@click.option("--reason", default="", help="For the audit log.")
@dry_run_option
@operator_option
@json_option
@pass_program
def resume(program: Program, number: str, reason: str, dry_run: bool, as_json: bool) -> None:
    """Let a suspended account go on."""
    work = _with_reason(resume_account, reason, dry_run=dry_run)
    _change(program, number, work, as_json=as_json, dry_run=dry_run)


@click.command("set")
@click.argument("number", metavar="ACCOUNT")
@limit_options
@click.option(
    "--deduct",
    callback=parse_order,
    metavar="ORDER",
    help="What a payment settles first, such as debt,rent,fee,utility.",
)
@click.option("--heads", type=int, help="People, for sharing by head.")
@click.option("--overload-kw", type=NUMBER, help="Power above which its meters disconnect.")
@dry_run_option
@operator_option
@json_option
@pass_program
def set_(
    program: Program,
    /,
    number: str,
    deduct: tuple[Category, ...] | None,
    heads: int | None,
    overload_kw: Decimal | None,
    dry_run: bool,
    as_json: bool,
    **limits: str | None,
) -> None:
    """Change limits, deductions or heads; "default" gives a limit the site's default back."""

    async def work(database: Database, place: AtAccount) -> Account:
        change = AccountChange(
            limits_of(limits, place.account.currency), deduct, heads, overload_kw
        )
        return await change_account(
            database,
            place.account.organisation_id,
            place.account.id,
            change,
            at=now(),
            operator=place.operator.name,
            dry_run=dry_run,
        )

    _change(program, number, work, as_json=as_json, dry_run=dry_run)


@click.command
@click.argument("number", metavar="ACCOUNT")
@click.argument("code", metavar="TARIFF")
@click.option("--usage-point", default="", metavar="CODE", help="Only for this one.")
@click.option(
    "--prices",
    type=click.File(encoding="utf-8"),
    help="JSON file of prices of its own, for one usage point.",
)
@readings_option
@dry_run_option
@operator_option
@json_option
@pass_program
def tariff(
    program: Program,
    number: str,
    code: str,
    usage_point: str,
    prices: TextIO | None,
    readings: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Rate use by another tariff from now on; what was used before keeps the one it had."""
    override = None if prices is None else _override(prices.read())

    async def work(database: Database, place: AtAccount) -> Account:
        wanted = ChangeTariff(
            place.account.organisation_id,
            place.account.id,
            code,
            usage_point,
            override,
            readings_by_point(readings),
        )
        return await change_tariff(
            database,
            program.plugins,
            wanted,
            at=now(),
            operator=place.operator.name,
            dry_run=dry_run,
        )

    _change(program, number, work, as_json=as_json, dry_run=dry_run)


def _override(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--prices: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise click.UsageError("--prices: expected a JSON object")
    return document


@click.command
@click.argument("number", metavar="ACCOUNT")
@click.option("--mode", type=click.Choice(MODES), required=True, help="How is paid from now on.")
@click.option("--tariff", "code", default="", metavar="CODE", help="From now on.")
@click.option("--credit-to", default="", metavar="USAGE_POINT", help="Whose meter gets the credit.")
@readings_option
@dry_run_option
@operator_option
@json_option
@pass_program
def convert(
    program: Program,
    number: str,
    mode: str,
    code: str,
    credit_to: str,
    readings: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Convert an account in place to another way of paying; its credit goes along."""

    async def work(database: Database, place: AtAccount) -> Account:
        wanted = ConvertAccount(
            place.account.organisation_id,
            place.account.id,
            AccountMode(mode),
            code,
            readings_by_point(readings),
            credit_to,
        )
        converted, _ = await convert_account(
            database,
            program.plugins,
            wanted,
            at=now(),
            operator=place.operator.name,
            dry_run=dry_run,
        )
        return converted

    _change(program, number, work, as_json=as_json, dry_run=dry_run)


@click.command
@click.argument("number", metavar="ACCOUNT")
@click.argument("usage_point")
@click.argument("serial", metavar="NEW_METER")
@click.option("--model", default="", help="Of a meter that the estate does not have yet.")
@click.option("--address", default="", help="Of that meter.  [default: that of the old one]")
@click.option(
    "--final", "final", multiple=True, metavar="VALUE", help="What the old meter shows last."
)
@click.option(
    "--opening", "opening", multiple=True, metavar="VALUE", help="What the new meter shows first."
)
@click.option("--remaining", metavar="AMOUNT", help="Estimated credit of a dead old meter.")
@click.option("--reason", default="", help="Why it is estimated; asks for a second person.")
@click.option("--approval", type=click.UUID, help="Of the second person.")
@dry_run_option
@operator_option
@json_option
@pass_program
def swap(
    program: Program,
    number: str,
    usage_point: str,
    serial: str,
    model: str,
    address: str,
    final: tuple[str, ...],
    opening: tuple[str, ...],
    remaining: str | None,
    reason: str,
    approval: UUID | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put another meter in the place of one; its credit goes along.

    What cannot be done yet is named; ask again to go on. With --remaining the credit of a dead
    meter is estimated: ask with --reason, have it approved, and say --approval.
    """

    async def work() -> Swap:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.ACCOUNT_MANAGE)
            wanted = SwapMeter(
                place.account.organisation_id,
                place.account.id,
                usage_point,
                NewMeter(serial, model, address, readings_of_meter(opening)),
                readings_of_meter(final),
                None
                if remaining is None
                else parse_limit(remaining, place.account.currency, "remaining"),
                None if approval is None else ApprovalId(approval),
            )
            if reason and approval is None:
                return await _ask(database, place, wanted, reason, dry_run=dry_run)
            return await swap_meter(
                database,
                program.plugins,
                wanted,
                at=now(),
                operator=place.operator,
                dry_run=dry_run,
            )

    done = run(work())
    if dry_run:
        tell("dry run: nothing was kept")
    if as_json:
        binding = None if done.binding is None else binding_fields(done.binding)
        print_json({"step": done.step, "waiting": done.waiting, "binding": binding})
    elif done.waiting:
        tell(f"waits: {done.waiting}")
    else:
        tell(f"account {number}: meter {serial} measures {usage_point}")


async def _ask(
    database: Database, place: AtAccount, wanted: SwapMeter, reason: str, *, dry_run: bool
) -> Swap:
    """Ask for the second person of an estimate."""
    async with database.unit_of_work() as uow:
        asked = await approvals.ask(
            uow,
            place.operator,
            ApprovalKind.ESTIMATE_SWAP,
            estimate_content(wanted),
            subject=f"account {place.account.number}, {wanted.usage_point}: swap a dead meter",
            reason=reason,
            site_id=place.site.id,
            at=now(),
        )
        if not dry_run:
            await uow.commit()
    return Swap(SwapStep.SETTLE_ORDERS, f"approval {asked.id} of a second person")


@click.command
@click.argument("number", metavar="ACCOUNT")
@readings_option
@click.option("--settle", default="", metavar="METHOD", help="What is still owed is paid so, now.")
@click.option("--pay-out", default="", metavar="METHOD", help="What is left is paid out so, now.")
@click.option("--approval", type=click.UUID, help="Of a second person, for a large payout.")
@click.option("--reason", default="", help="For the record.")
@dry_run_option
@operator_option
@json_option
@pass_program
def close(
    program: Program,
    number: str,
    readings: tuple[str, ...],
    settle: str,
    pay_out: str,
    approval: UUID | None,
    reason: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Close an account for good: final charges, credit back, debts set off, the rest paid out.

    What cannot be done yet is named; ask again to go on. Paying needs the right money.vend,
    paying out money.payout; above the site's limit a second person, and it ends with 4 until that
    one has approved.
    """
    rights = [Right.ACCOUNT_MANAGE]
    rights += [Right.MONEY_VEND] if settle else []
    rights += [Right.MONEY_PAYOUT] if pay_out else []

    async def work() -> Closing | Approval:
        async with program.database() as database:
            place = await at_account(program, database, number, *rights)
            wanted = CloseAccount(
                place.account.organisation_id,
                place.account.id,
                readings_by_point(readings),
                settle,
                pay_out,
                reason,
                None if approval is None else ApprovalId(approval),
            )
            try:
                return await close_account(
                    database, wanted, at=now(), operator=place.operator, dry_run=dry_run
                )
            except SecondPersonNeededError as error:
                return await ask(
                    database,
                    place.operator,
                    error.kind,
                    error.content,
                    subject=f"account {number}: payout at its closing",
                    reason=reason or "the account is closed",
                    site_id=place.site.id,
                )

    closing = run(work())
    if isinstance(closing, Approval):
        show_asked(closing, as_json=as_json)
        return
    if dry_run:
        tell("dry run: nothing was kept")
    if as_json:
        print_json(
            account_fields(closing.account)
            | {"step": closing.step, "waiting": closing.waiting, "closed": closing.closed}
        )
    elif closing.closed:
        tell(f"account {number} is closed")
    else:
        tell(f"account {number}: {closing.step} waits: {closing.waiting}")
