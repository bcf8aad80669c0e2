from typing import Any

import pytest
from tests.conftest import Estate
from tests.services.orders.test_refund_credit import move
from tests.services.orders.test_vend_credit import owe
from tests.services.prepaid_desk import YUAN, Desk, open_desk

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Category
from meterplex.domain.approvals import ApprovalKind
from meterplex.domain.ledger import EntryKind, Posting, customer, receivable, revenue
from meterplex.domain.operators import Operator
from meterplex.domain.prepayment import OrderId, OrderState, ReversalRefusal
from meterplex.sdk import SupplyAction
from meterplex.sdk.testing.links import lose_request, on_control
from meterplex.services.books.errors import BusyError, MeterUnfitError
from meterplex.services.orders.refund_credit import SecondPersonNeededError
from meterplex.services.orders.reverse_order import (
    Reversal,
    ReversalRefusedError,
    ReversalRequest,
    reverse_order,
)

SERVER = AccountMode.PREPAID_SERVER


async def undo(
    desk: Desk, order_id: OrderId, key: str, by: Operator | None = None, **more: Any
) -> Reversal:
    names = ("debt_consented", "approval_id")
    fields = {name: more.pop(name) for name in names if name in more}
    request = ReversalRequest(desk.account.organisation_id, order_id, key, "typed twice", **fields)
    return await reverse_order(
        desk.database, request, at=desk.clock(), operator=by or desk.manager, **more
    )


async def refusals(desk: Desk, *arguments: Any, **more: Any) -> set[ReversalRefusal]:
    with pytest.raises(ReversalRefusedError) as refused:
        await undo(desk, *arguments, **more)
    assert refused.value.field == "order"
    return set(refused.value.refusals)


async def test_reversal_takes_back_all_that_the_vend_booked(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate, SERVER)
    await owe(desk, Category.RENT, 30)
    before = await desk.balances()
    sale = await desk.vend(50, "k-1")
    reversal = await undo(desk, sale.order_id, "r-1")
    assert (reversal.state, reversal.debt_units) == (OrderState.CONFIRMED, 0)
    assert await desk.balances() == before
    assert await desk.balance(receivable(desk.account.id, Category.RENT)) == -30 * YUAN


async def test_vend_is_reversed_once(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER)
    sale = await desk.vend(50, "k-1")
    first = await undo(desk, sale.order_id, "r-1")
    assert (await undo(desk, sale.order_id, "r-1")).order_id == first.order_id
    assert await refusals(desk, sale.order_id, "r-2") == {
        ReversalRefusal.REVERSED,
        ReversalRefusal.USED,
    }
    assert ReversalRefusal.KIND in await refusals(desk, first.order_id, "r-3")
    assert await desk.balances() == {}


async def test_seller_and_another_day_are_refused(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER)
    sale = await desk.vend(50, "k-1")
    assert await refusals(desk, sale.order_id, "r-1", desk.cashier) == {ReversalRefusal.PERSON}
    desk.clock.advance(hours=12)  # midnight has passed in Shanghai
    assert await refusals(desk, sale.order_id, "r-1") == {ReversalRefusal.DAY}


async def test_used_credit_becomes_a_debt_with_consent_only(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate, SERVER)
    sale = await desk.vend(50, "k-1")
    used = Posting(customer(desk.account.id), revenue("electricity"), 20 * YUAN)
    await move(desk, EntryKind.CHARGE, used)
    assert await refusals(desk, sale.order_id, "r-1") == {ReversalRefusal.USED}
    reversal = await undo(desk, sale.order_id, "r-1", debt_consented=True)
    assert reversal.debt_units == 20 * YUAN
    assert await desk.balances() == {"receivable": -20 * YUAN, "revenue": 20 * YUAN}


async def test_order_that_was_never_sent_is_given_up(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(50, "k-1")
    await undo(desk, sale.order_id, "r-1")
    assert (await desk.order(sale.order_id)).state is OrderState.VOIDED
    assert await desk.balances() == {}
    assert await desk.deliver() == []


async def test_order_on_its_way_is_finished_first(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(50, "k-1")
    desk.link.disturb = on_control(lose_request)
    await desk.deliver()
    with pytest.raises(BusyError):
        await undo(desk, sale.order_id, "r-1")


async def test_meter_gives_the_credit_back_before_the_reversal_is_booked(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(50, "k-1")
    await desk.deliver()
    await desk.driver().set_supply(SupplyAction.DISCONNECT)
    with pytest.raises(MeterUnfitError):
        await undo(desk, sale.order_id, "r-0", can_withdraw=False)
    reversal = await undo(desk, sale.order_id, "r-1")
    assert reversal.state is OrderState.PAID
    assert await desk.balances() == {"cash": -50 * YUAN, "meter": 50 * YUAN}
    assert await desk.deliver() == [OrderState.CONFIRMED]
    assert (desk.count, desk.held_cents) == (2, 0)
    assert await desk.balances() == {}


async def test_large_reversal_needs_a_second_person(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER)
    sale = await desk.vend(501, "k-1")
    with pytest.raises(SecondPersonNeededError) as needed:
        await undo(desk, sale.order_id, "r-1", desk.manager)
    desk.cashier, desk.manager = desk.manager, desk.cashier  # the manager asks, another allows
    approval = await desk.approve(ApprovalKind.REVERSAL, dict(needed.value.content))
    await undo(desk, sale.order_id, "r-1", desk.cashier, approval_id=approval)
    assert await desk.balances() == {}


async def test_dry_run_keeps_nothing(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER)
    sale = await desk.vend(50, "k-1")
    await undo(desk, sale.order_id, "r-1", dry_run=True)
    assert await desk.balances() == {"cash": -50 * YUAN, "customer": 50 * YUAN}
