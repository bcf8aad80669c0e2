"""How orders are shown, waited for, and counted as an exit code."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final, NoReturn
from uuid import UUID

from meterplex.cli.errors import ExitCode
from meterplex.cli.output import print_table, tell
from meterplex.cli.program import now
from meterplex.db import Database
from meterplex.domain.estate import OrganisationId
from meterplex.domain.prepayment import OrderId, OrderState
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep
from meterplex.services.books.amounts import format_amount

POLL_S: Final = 0.2
WAIT: Final = timedelta(minutes=2)
"""How long ``--wait`` waits: a link is drained and tried three times by then."""

_CODES: Final = {
    OrderState.PAID: ExitCode.TIMEOUT,
    OrderState.ARMED: ExitCode.TIMEOUT,
    OrderState.UNCERTAIN: ExitCode.TIMEOUT,
    OrderState.CONFIRMED: ExitCode.OK,
    OrderState.CONFLICT: ExitCode.CONFLICT,
    OrderState.VOIDED: ExitCode.CONFLICT,
}


async def wait_settled(
    database: Database, organisation_id: OrganisationId, order_id: OrderId
) -> CreditOrder:
    """Wait until an order is settled or needs people, at most :data:`WAIT`."""
    last = now() + WAIT
    while True:
        async with database.unit_of_work(read_only=True) as uow:
            order = await uow.orders.get(organisation_id, order_id)
        if order.settled or order.state is OrderState.CONFLICT or now() > last:
            return order
        await asyncio.sleep(POLL_S)


def end_waiting(order: CreditOrder) -> NoReturn:
    """End a command that waited for an order: tell what is not well, and exit with its code."""
    if order.state is not OrderState.CONFIRMED:
        why = order.held or order.outcome or "another order of the meter, or its turn, comes first"
        tell(f"order {order.id} is {order.state}, not delivered: {why}")
    raise SystemExit(_CODES[order.state])


def order_fields(order: CreditOrder, account: str, meter: str | None) -> dict[str, Any]:
    """Return an order as JSON values."""
    return {
        "id": order.id,
        "kind": order.kind.value,
        "state": order.state.value,
        "account": account,
        "meter": meter,
        "currency": order.currency,
        "amount": format_amount(order.amount_units, order.currency),
        "through_meter": format_amount(order.deliver_units, order.currency),
        "method": order.method,
        "channel": order.channel,
        "asked_by": order.asked_by,
        "created_at": order.created_at,
        "count": None if order.arming is None else order.arming.count,
        "attempt": None if order.arming is None else order.arming.attempt,
        "due_at": order.due_at,
        "settled_at": order.settled_at,
        "reverses": order.reverses_id,
        "fence": order.fence,
        "held": order.held,
        "outcome": order.outcome,
    }


def step_fields(step: OrderStep) -> dict[str, Any]:
    """Return a step as JSON values."""
    return {
        "number": step.number,
        "at": step.at,
        "state": step.state.value,
        "code": step.code,
        "sentence": step.sentence,
        "done_by": step.done_by,
        "detail": dict(step.detail),
    }


def print_orders(orders: Iterable[dict[str, Any]]) -> None:
    """Print orders as a table."""
    names = ("id", "kind", "account", "meter", "amount", "state", "asked_by", "outcome")
    titles = ("order", "kind", "account", "meter", "amount ", "state", "asked by", "")
    print_table(titles, ([order[name] for name in names] for order in orders))


async def names_of(
    database: Database, organisation_id: OrganisationId, orders: Iterable[CreditOrder]
) -> dict[UUID, tuple[str, str | None]]:
    """Return the account's number and the meter's serial of each order."""
    async with database.unit_of_work(read_only=True) as uow:
        accounts = await uow.accounts.by_ids(organisation_id, {each.account_id for each in orders})
        bindings = await uow.bindings.by_ids(
            organisation_id, {each.binding_id for each in orders if each.binding_id is not None}
        )
        meters = await uow.meters.by_ids(
            organisation_id, {each.meter_id for each in bindings.values()}
        )
    serials = {each.id: meters[each.meter_id].serial for each in bindings.values()}
    return {
        each.id: (
            accounts[each.account_id].number,
            None if each.binding_id is None else serials[each.binding_id],
        )
        for each in orders
    }
