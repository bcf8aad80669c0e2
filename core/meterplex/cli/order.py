"""``meterplex order``: what became of orders, and what people decide about them."""

from collections.abc import Sequence
from uuid import UUID

import click

from meterplex.cli.billing_options import AtAccount, at_account, dry_run_option
from meterplex.cli.group import FailingGroup
from meterplex.cli.order_answer import names_of, order_fields, print_orders, step_fields
from meterplex.cli.output import format_time, json_option, print_json, print_table, tell
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.cli.second_person import approval_of, approval_option, ask, show_asked
from meterplex.db import Database
from meterplex.domain.approvals import Approval, ApprovalKind
from meterplex.domain.operators import Right
from meterplex.domain.prepayment import LIVE, OrderId, OrderState, PrepaymentRules
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep
from meterplex.services.orders.decide_orders import (
    Decision,
    resolve_conflict,
    retry_order,
    void_order,
)

RULES = PrepaymentRules()
OUTCOMES = [OrderState.CONFIRMED.value, OrderState.VOIDED.value, OrderState.PAID.value]


@click.group(cls=FailingGroup)
def order() -> None:
    """Look at orders for credit, and decide what their delivery cannot."""


@order.command("list")
@click.argument("number", metavar="ACCOUNT")
@click.option("--open", "only_open", is_flag=True, help="Only those that are not settled.")
@operator_option
@json_option
@pass_program
def list_(program: Program, number: str, only_open: bool, as_json: bool) -> None:
    """List the orders of an account, oldest first. Needs the right account.read."""

    async def look() -> list[dict[str, object]]:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.ACCOUNT_READ)
            account = place.account
            async with database.unit_of_work(read_only=True) as uow:
                states = LIVE if only_open else frozenset(OrderState)
                orders = await uow.orders.of_account(account.organisation_id, account.id, states)
            names = await names_of(database, account.organisation_id, orders)
        return [order_fields(each, *names[each.id]) for each in orders]

    found = run(look())
    if as_json:
        print_json(found)
    else:
        print_orders(found)


@order.command
@click.argument("order_id", metavar="ORDER", type=click.UUID)
@operator_option
@json_option
@pass_program
def show(program: Program, order_id: UUID, as_json: bool) -> None:
    """Show an order and every step it went through. Needs the right account.read."""

    async def look() -> tuple[CreditOrder, Sequence[OrderStep], tuple[str, str | None]]:
        async with program.database() as database:
            _, found = await at_order(program, database, order_id, Right.ACCOUNT_READ)
            async with database.unit_of_work(read_only=True) as uow:
                steps = await uow.orders.steps(found.organisation_id, found.id)
            names = await names_of(database, found.organisation_id, [found])
        return found, steps, names[found.id]

    found, steps, names = run(look())
    fields = order_fields(found, *names)
    if as_json:
        print_json(fields | {"steps": [step_fields(each) for each in steps]})
        return
    print_orders([fields])
    print_table(
        ("at", "state", "what", "", "by"),
        (
            (format_time(each.at), each.state, each.code, each.sentence, each.done_by)
            for each in steps
        ),
    )


@order.command
@click.argument("order_id", metavar="ORDER", type=click.UUID)
@click.option("--reason", required=True, help="Why it is given up.")
@dry_run_option
@operator_option
@json_option
@pass_program
def void(program: Program, order_id: UUID, reason: str, dry_run: bool, as_json: bool) -> None:
    """Give an order up that no meter can take any more; its money is then to be paid out.

    One that was sent is not sent again from now on, and can be given up when a fence stands between
    it and the meter: say the same again then. Needs the right money.refund.
    """

    async def work() -> tuple[CreditOrder, tuple[str, str | None]]:
        async with program.database() as database:
            place, found = await at_order(program, database, order_id, Right.MONEY_REFUND)
            moved = await void_order(
                database,
                found.organisation_id,
                found.id,
                at=now(),
                operator=place.operator.name,
                reason=reason,
                rules=RULES,
                dry_run=dry_run,
            )
            names = await names_of(database, found.organisation_id, [found])
        return moved, names[found.id]

    _show(*run(work()), as_json=as_json, dry_run=dry_run)


@order.command
@click.argument("order_id", metavar="ORDER", type=click.UUID)
@dry_run_option
@operator_option
@json_option
@pass_program
def retry(program: Program, order_id: UUID, dry_run: bool, as_json: bool) -> None:
    """Have an order tried now, also one that was held. Needs the right money.vend."""

    async def work() -> tuple[CreditOrder, tuple[str, str | None]]:
        async with program.database() as database:
            place, found = await at_order(program, database, order_id, Right.MONEY_VEND)
            moved = await retry_order(
                database,
                found.organisation_id,
                found.id,
                at=now(),
                operator=place.operator.name,
                dry_run=dry_run,
            )
            names = await names_of(database, found.organisation_id, [found])
        return moved, names[found.id]

    _show(*run(work()), as_json=as_json, dry_run=dry_run)


@order.command
@click.argument("order_id", metavar="ORDER", type=click.UUID)
@click.option("--to", type=click.Choice(OUTCOMES), required=True, help="What becomes of it.")
@click.option("--reason", required=True, help="Why: what was found at the meter.")
@approval_option
@dry_run_option
@operator_option
@json_option
@pass_program
def resolve(
    program: Program,
    order_id: UUID,
    to: str,
    reason: str,
    approval: UUID | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Settle an order whose evidence contradicts it, as two people decide.

    confirmed: the meter has it; voided: it never will, and the money goes back; paid: it is sent
    anew. Without --approval the second person is asked for, and it ends with 4. Needs the right
    money.approve.
    """

    async def work() -> tuple[CreditOrder, tuple[str, str | None]] | Approval:
        async with program.database() as database:
            place, found = await at_order(program, database, order_id, Right.MONEY_APPROVE)
            decision = Decision(
                found.organisation_id,
                found.id,
                OrderState(to),
                reason.strip(),
                approval_of(approval),
            )
            if approval is None:
                return await ask(
                    database,
                    place.operator,
                    ApprovalKind.CONFLICT,
                    decision.body,
                    subject=f"order {found.id} becomes {to}",
                    reason=reason,
                    site_id=place.site.id,
                )
            moved = await resolve_conflict(
                database,
                decision,
                at=now(),
                operator=place.operator,
                rules=RULES,
                dry_run=dry_run,
            )
            names = await names_of(database, found.organisation_id, [found])
        return moved, names[found.id]

    answer = run(work())
    if isinstance(answer, Approval):
        show_asked(answer, as_json=as_json)
        return
    _show(*answer, as_json=as_json, dry_run=dry_run)


async def at_order(
    program: Program, database: Database, order_id: UUID, right: Right
) -> tuple[AtAccount, CreditOrder]:
    """Return an order, its account, and the signed-in operator, who holds a right at its site.

    Raises:
        NotFoundError: there is none of this identifier.
        OperatorError: nobody is signed in, or without this right.
    """
    signed_in = (await program.session(database)).operator
    async with database.unit_of_work(read_only=True) as uow:
        found = await uow.orders.get(signed_in.organisation_id, OrderId(order_id))
        account = await uow.accounts.get(signed_in.organisation_id, found.account_id)
    return await at_account(program, database, account.number, right), found


def _show(
    found: CreditOrder, names: tuple[str, str | None], *, as_json: bool, dry_run: bool
) -> None:
    fields = order_fields(found, *names)
    if as_json:
        print_json(fields | {"dry_run": dry_run})
    else:
        print_orders([fields])
    if dry_run:
        tell("nothing was kept")
