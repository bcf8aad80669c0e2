"""``meterplex debt``: old debts paid off by agreement."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import click

from meterplex.cli.billing_options import DAY, NUMBER, at_account, dry_run_option
from meterplex.cli.group import FailingGroup
from meterplex.cli.output import json_option, print_json, print_table, tell
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.domain.accounts import Category
from meterplex.domain.debt_plans import InstalmentPeriod, Instalments, PaymentShare
from meterplex.domain.operators import Right
from meterplex.services.billing import debt_plans as service
from meterplex.services.billing.debt_plans import DebtState
from meterplex.services.books.amounts import format_amount, parse_amount

ARREARS = [category.value for category in Category if category is not Category.DEBT]


@click.group(cls=FailingGroup)
def debt() -> None:
    """Put debts under plans, and see how far they are paid off."""


@debt.command
@click.argument("number", metavar="ACCOUNT")
@click.argument("name", metavar="NAME")
@click.option("--arrears", type=click.Choice(ARREARS), help="Move what is owed for this.")
@click.option("--amount", type=NUMBER, help="Otherwise all that is owed; of an old debt, its sum.")
@click.option("--percent", type=NUMBER, help="Share of each payment that goes to the debt.")
@click.option("--instalment", type=NUMBER, help="Amount that falls due each period.")
@click.option("--first", "first_on", type=DAY, help="Local day of the first instalment.")
@click.option("--weekly", is_flag=True, help="Instalments each week instead of each month.")
@dry_run_option
@operator_option
@json_option
@pass_program
def add(
    program: Program,
    number: str,
    name: str,
    arrears: str | None,
    amount: Decimal | None,
    percent: Decimal | None,
    instalment: Decimal | None,
    first_on: datetime | None,
    weekly: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put a debt under a plan: a share of each payment, or instalments.

    With --arrears what the account owes is moved, otherwise a debt from before is brought in.
    Payments give to it what the plan says, in the account's order of deduction, until nothing is
    left. Needs a signed-in operator with the right bill.manage.
    """

    async def work() -> DebtState:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.BILL_MANAGE)
            currency = place.account.currency
            new = service.NewDebtPlan(
                account_id=place.account.id,
                name=name,
                amount_units=None if amount is None else parse_amount(amount, currency, "amount"),
                category=None if arrears is None else Category(arrears),
                percent=percent,
                instalment_units=None
                if instalment is None
                else parse_amount(instalment, currency, "instalment"),
                first_on=None if first_on is None else first_on.date(),
                period=InstalmentPeriod.WEEK if weekly else InstalmentPeriod.MONTH,
            )
            added = await service.add_debt_plan(
                database,
                place.account.organisation_id,
                new,
                at=now(),
                operator=place.operator.name,
                dry_run=dry_run,
            )
        return DebtState(added, added.plan.debt_units, 0)

    _print([run(work())], number, as_json=as_json, dry_run=dry_run)


@debt.command("list")
@click.argument("number", metavar="ACCOUNT")
@click.option("--all", "ended", is_flag=True, help="Those that are paid off too.")
@operator_option
@json_option
@pass_program
def list_(program: Program, number: str, ended: bool, as_json: bool) -> None:
    """List the debt plans of an account. Needs a signed-in operator with account.read."""

    async def look() -> tuple[DebtState, ...]:
        async with program.database() as database:
            place = await at_account(program, database, number, Right.ACCOUNT_READ)
            async with database.unit_of_work(read_only=True) as uow:
                return await service.debt_states(uow, place.account, at=now(), ended=ended)

    _print(run(look()), number, as_json=as_json)


def _fields(state: DebtState, number: str) -> dict[str, Any]:
    plan, currency = state.debt.plan, state.debt.currency
    return {
        "id": state.debt.id,
        "account": number,
        "name": state.debt.name,
        "rule": _rule(plan.rule, currency),
        "currency": currency,
        "amount": format_amount(plan.debt_units, currency),
        "paid": format_amount(state.paid_units, currency),
        "left": format_amount(state.left_units, currency),
        "due": format_amount(state.due_units, currency),
        "created_at": state.debt.created_at,
        "ended_at": state.debt.ended_at,
    }


def _rule(rule: PaymentShare | Instalments, currency: str) -> str:
    if isinstance(rule, PaymentShare):
        return f"{rule.percent} % of each payment"
    amount = format_amount(rule.amount_units, currency)
    return f"{amount} each {rule.period} from {rule.first_on}"


def _print(
    states: Sequence[DebtState], number: str, *, as_json: bool, dry_run: bool = False
) -> None:
    shown = [_fields(each, number) for each in states]
    if dry_run:
        tell("dry run: nothing was kept")
    if as_json:
        print_json(shown)
        return
    print_table(
        ("id", "name", "rule", "amount ", "paid ", "left ", "due now "),
        (
            tuple(each[name] for name in ("id", "name", "rule", "amount", "paid", "left", "due"))
            for each in shown
        ),
    )
