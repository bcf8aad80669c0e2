"""``meterplex vend``, ``refund``, ``reverse`` and ``payout``: money in and out at the desk."""

from typing import Any
from uuid import UUID

import click

from meterplex.cli.billing_options import AtAccount, at_account, dry_run_option
from meterplex.cli.order import at_order
from meterplex.cli.order_answer import end_waiting, wait_settled
from meterplex.cli.output import json_option, print_json, print_lines, tell
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.cli.second_person import (
    approval_of,
    approval_option,
    ask,
    reason_option,
    show_asked,
)
from meterplex.db import Database
from meterplex.domain.approvals import Approval
from meterplex.domain.estate import BindingId
from meterplex.domain.operators import Right
from meterplex.domain.prepayment.credit_order import CreditOrder
from meterplex.sdk import Capability
from meterplex.services.accounts.find_accounts import open_bindings
from meterplex.services.books.amounts import format_amount, parse_amount
from meterplex.services.books.errors import UnknownThingError
from meterplex.services.orders.pay_out import Payout, PayoutRequest, pay_out
from meterplex.services.orders.refund_credit import (
    Refund,
    RefundRequest,
    SecondPersonNeededError,
    refund_credit,
)
from meterplex.services.orders.reverse_order import Reversal, ReversalRequest, reverse_order
from meterplex.services.orders.vend_credit import Sale, VendRequest, vend_credit

key_option = click.option(
    "--key",
    required=True,
    help="Of your own choice: the same request again under the same key is done once.",
)
meter_option = click.option("--meter", metavar="SERIAL", help="Which meter, where several hold.")
channel_option = click.option(
    "--channel", default="desk", show_default=True, help="Where it is asked for, for reports."
)
wait_option = click.option(
    "--wait", is_flag=True, help="Wait up to 2 minutes until the meter has proven it."
)


@click.command
@click.argument("number", metavar="ACCOUNT")
@click.argument("amount")
@click.option("--method", default="cash", show_default=True, help="How it is paid.")
@channel_option
@key_option
@meter_option
@wait_option
@dry_run_option
@operator_option
@json_option
@pass_program
def vend(
    program: Program,
    number: str,
    amount: str,
    method: str,
    channel: str,
    key: str,
    meter: str | None,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take a payment: what is owed first, the rest becomes credit.

    Credit that a meter keeps is sent to it by a running head-end, and counts as delivered only when
    the meter has proven it. Needs a signed-in operator with the right money.vend. Exit codes with
    --wait: 0 delivered, 4 contradicted or given up, 6 not proven yet.
    """

    async def work() -> tuple[Sale, CreditOrder | None]:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.MONEY_VEND)
            account = place.account
            request = VendRequest(
                account.organisation_id,
                account.id,
                parse_amount(amount, account.currency, "amount"),
                key,
                method,
                channel,
                await _binding(database, place, meter),
            )
            sale = await vend_credit(
                database, request, at=now(), operator=place.operator.name, dry_run=dry_run
            )
            if not wait or dry_run:
                return sale, None
            return sale, await wait_settled(database, account.organisation_id, sale.order_id)

    sale, order = run(work())
    currency = sale.currency
    fields = {
        "order": sale.order_id,
        "account": number,
        "amount": format_amount(sale.amount_units, currency),
        "currency": currency,
        "settled": [
            {"category": each.category.value, "amount": format_amount(each.amount_units, currency)}
            for each in sale.settled
        ],
        "credit": format_amount(sale.credit_units, currency),
        "state": (sale if order is None else order).state.value,
        "balance": format_amount(sale.wallet_units, currency),
        "receipt": sale.receipt,
        "repeated": sale.repeated,
        "dry_run": dry_run,
    }
    _show(fields, as_json=as_json)
    if order is not None:
        end_waiting(order)


@click.command
@click.argument("number", metavar="ACCOUNT")
@click.argument("amount")
@channel_option
@key_option
@meter_option
@approval_option
@reason_option
@wait_option
@dry_run_option
@operator_option
@json_option
@pass_program
def refund(
    program: Program,
    number: str,
    amount: str,
    channel: str,
    key: str,
    meter: str | None,
    approval: UUID | None,
    reason: str,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take unused credit back, to be paid out with ``payout``.

    Credit in a meter is taken back by a running head-end first. Needs a signed-in operator with the
    right money.refund; above the site's refund_alone_max a second one, and ends with 4 until that
    one has approved.
    """

    async def work() -> tuple[Refund, CreditOrder | None] | Approval:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.MONEY_REFUND)
            account = place.account
            binding_id = await _binding(database, place, meter)
            request = RefundRequest(
                account.organisation_id,
                account.id,
                parse_amount(amount, account.currency, "amount"),
                key,
                channel,
                binding_id,
                approval_of(approval),
            )
            try:
                done = await refund_credit(
                    database,
                    request,
                    at=now(),
                    operator=place.operator,
                    can_withdraw=await _can_withdraw(program, database, place, binding_id),
                    dry_run=dry_run,
                )
            except SecondPersonNeededError as error:
                return await _ask(database, place, error, f"refund of {amount}", reason)
            if not wait or dry_run:
                return done, None
            return done, await wait_settled(database, account.organisation_id, done.order_id)

    answer = run(work())
    if isinstance(answer, Approval):
        show_asked(answer, as_json=as_json)
        return
    done, order = answer
    fields = {
        "order": done.order_id,
        "account": number,
        "amount": format_amount(done.amount_units, done.currency),
        "currency": done.currency,
        "state": (done if order is None else order).state.value,
        "to_pay_out": format_amount(done.payable_units, done.currency),
        "repeated": done.repeated,
        "dry_run": dry_run,
    }
    _show(fields, as_json=as_json)
    if order is not None:
        end_waiting(order)


@click.command
@click.argument("order_id", metavar="ORDER", type=click.UUID)
@click.option("--reason", required=True, help="What was wrong.")
@channel_option
@key_option
@click.option("--debt-consented", is_flag=True, help="The customer will owe what is used of it.")
@approval_option
@wait_option
@dry_run_option
@operator_option
@json_option
@pass_program
def reverse(
    program: Program,
    order_id: UUID,
    reason: str,
    channel: str,
    key: str,
    debt_consented: bool,
    approval: UUID | None,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Undo a whole vend that was made in error, once, on the day it was made.

    By another operator than the seller, with the right money.reverse; above the site's
    refund_alone_max a second one, and ends with 4 until that one has approved. A meter must have
    given the credit back before it is booked.
    """

    async def work() -> tuple[Reversal, CreditOrder | None] | Approval:
        async with program.database() as database:
            place, order = await at_order(program, database, order_id, Right.MONEY_REVERSE)
            request = ReversalRequest(
                order.organisation_id,
                order.id,
                key,
                reason,
                channel,
                debt_consented,
                approval_of(approval),
            )
            try:
                done = await reverse_order(
                    database,
                    request,
                    at=now(),
                    operator=place.operator,
                    can_withdraw=await _can_withdraw(program, database, place, order.binding_id),
                    dry_run=dry_run,
                )
            except SecondPersonNeededError as error:
                return await _ask(database, place, error, f"reversal of {order_id}", reason)
            if not wait or dry_run:
                return done, None
            return done, await wait_settled(database, order.organisation_id, done.order_id)

    answer = run(work())
    if isinstance(answer, Approval):
        show_asked(answer, as_json=as_json)
        return
    done, settled = answer
    fields = {
        "order": done.order_id,
        "reverses": done.reverses_id,
        "amount": format_amount(done.amount_units, done.currency),
        "currency": done.currency,
        "state": (done if settled is None else settled).state.value,
        "owed": format_amount(done.debt_units, done.currency),
        "repeated": done.repeated,
        "dry_run": dry_run,
    }
    _show(fields, as_json=as_json)
    if settled is not None:
        end_waiting(settled)


@click.command
@click.argument("number", metavar="ACCOUNT")
@click.argument("amount")
@click.option("--method", default="cash", show_default=True, help="How it is paid out.")
@key_option
@approval_option
@reason_option
@dry_run_option
@operator_option
@json_option
@pass_program
def payout(
    program: Program,
    number: str,
    amount: str,
    method: str,
    key: str,
    approval: UUID | None,
    reason: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Pay out what is owed back to a customer: refunds and orders that were given up.

    Needs a signed-in operator with the right money.payout; above the site's refund_alone_max a
    second one, and ends with 4 until that one has approved.
    """

    async def work() -> Payout | Approval:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.MONEY_PAYOUT)
            account = place.account
            request = PayoutRequest(
                account.organisation_id,
                account.id,
                parse_amount(amount, account.currency, "amount"),
                key,
                method,
                approval_of(approval),
            )
            try:
                return await pay_out(
                    database, request, at=now(), operator=place.operator, dry_run=dry_run
                )
            except SecondPersonNeededError as error:
                return await _ask(database, place, error, f"payout of {amount}", reason)

    done = run(work())
    if isinstance(done, Approval):
        show_asked(done, as_json=as_json)
        return
    fields = {
        "entry": done.entry_id,
        "account": number,
        "amount": format_amount(done.amount_units, done.currency),
        "currency": done.currency,
        "method": done.method,
        "to_pay_out": format_amount(done.left_units, done.currency),
        "repeated": done.repeated,
        "dry_run": dry_run,
    }
    _show(fields, as_json=as_json)


async def _binding(database: Database, place: AtAccount, serial: str | None) -> BindingId | None:
    if serial is None:
        return None
    async with database.unit_of_work(read_only=True) as uow:
        bindings = await open_bindings(uow, place.account)
        meters = await uow.meters.by_ids(
            place.account.organisation_id, {each.meter_id for each in bindings}
        )
    for binding in bindings:
        if meters[binding.meter_id].serial == serial:
            return binding.id
    raise UnknownThingError("meter", f"account {place.account.number} has no meter {serial!r}")


async def _can_withdraw(
    program: Program, database: Database, place: AtAccount, binding_id: BindingId | None
) -> bool:
    """Tell whether all meters that may be meant can give credit back."""
    async with database.unit_of_work(read_only=True) as uow:
        bindings = await open_bindings(uow, place.account)
        meant = [
            each
            for each in bindings
            if each.mode is not None and each.mode.in_meter and binding_id in (None, each.id)
        ]
        meters = await uow.meters.by_ids(
            place.account.organisation_id, {each.meter_id for each in meant}
        )
    models = [program.plugins.models.get(each.model) for each in meters.values()]
    return all(
        model is not None and Capability.WITHDRAW_CREDIT in model.capabilities for model in models
    )


async def _ask(
    database: Database, place: AtAccount, error: SecondPersonNeededError, what: str, reason: str
) -> Approval:
    return await ask(
        database,
        place.operator,
        error.kind,
        error.content,
        subject=f"account {place.account.number}: {what}",
        reason=reason,
        site_id=place.site.id,
    )


def _show(fields: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(fields)
        return
    said = {name: value for name, value in fields.items() if value not in ("", None, [], False)}
    print_lines(*(f"{name.replace('_', ' ')}: {_words(value)}" for name, value in said.items()))
    if fields["dry_run"]:
        tell("nothing was kept")


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{each['category']} {each['amount']}" for each in value)
    return str(value)
