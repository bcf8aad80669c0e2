"""Orders in the database: moves are compare-and-set, and one order of a binding is in flight."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.conftest import Estate
from tests.services.prepaid_desk import Desk, open_desk

from meterplex.db import Database
from meterplex.db.errors import AppendOnlyError, ConflictError, IllegalMoveError
from meterplex.db.idempotency import KeyRow
from meterplex.domain.prepayment import (
    Arming,
    Direction,
    OrderId,
    OrderState,
    PurchaseRecord,
    Wallet,
)
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep, StepCode

AT = datetime(2026, 3, 2, 4, tzinfo=UTC)


def step(state: OrderState, code: str = StepCode.RETRY) -> OrderStep:
    return OrderStep(AT, state, code, "a test", "test", {"answer": "none"})


async def placed(desk: Desk, key: str) -> CreditOrder:
    sale = await desk.vend(30, key)
    return await desk.order(sale.order_id)


def armed(order: CreditOrder, attempt: int = 1) -> CreditOrder:
    record = PurchaseRecord(4, 5_000, AT, "m")
    baseline = Wallet(1, 4, 5_000, "77", "c", (record,))
    arming = Arming(
        order.id, Direction.DELIVER, 5, order.deliver_units, baseline, AT, attempt, "mark"
    )
    return replace(order, state=OrderState.ARMED, arming=arming, due_at=None, ever_sent=True)


async def move(desk: Desk, order: CreditOrder, moved: CreditOrder) -> bool:
    async with desk.database.unit_of_work() as uow:
        done = await uow.orders.move(order, moved, step(moved.state))
        await uow.commit()
    return done


async def test_order_comes_back_as_it_was_written(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    order = await placed(desk, "k-1")
    assert await move(desk, order, armed(order))
    assert await desk.order(order.id) == armed(order)
    assert [each.number for each in await desk.steps(order.id)] == [1, 2]
    assert (await desk.steps(order.id))[-1].detail == {"answer": "none"}


async def test_of_two_movers_one_wins(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    order = await placed(desk, "k-1")
    assert await move(desk, order, armed(order))
    assert not await move(desk, order, armed(order))
    uncertain = replace(armed(order), state=OrderState.UNCERTAIN)
    assert await move(desk, armed(order), uncertain)
    again = armed(order, attempt=2)
    assert await move(desk, uncertain, again)
    assert not await move(desk, armed(order), replace(order, state=OrderState.PAID))


async def test_order_cannot_go_where_no_order_goes(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    order = await placed(desk, "k-1")
    with pytest.raises(IllegalMoveError):
        await move(desk, order, replace(order, state=OrderState.CONFIRMED))


async def test_one_order_of_a_binding_is_in_flight(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    first, second = await placed(desk, "k-1"), await placed(desk, "k-2")
    await move(desk, first, armed(first))
    with pytest.raises(ConflictError):
        await move(desk, second, armed(second))


async def test_due_orders_leave_out_what_has_to_wait(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    first, second = await placed(desk, "k-1"), await placed(desk, "k-2")

    async def due(at: datetime) -> list[OrderId]:
        async with database.unit_of_work(read_only=True) as uow:
            return [order.id for order in await uow.orders.due(at)]

    later = desk.clock()
    assert await due(later) == [first.id, second.id]
    waiting = replace(first, due_at=later + timedelta(minutes=5))
    await move(desk, first, waiting)
    assert await due(later) == [second.id]
    async with database.unit_of_work() as uow:
        await uow.orders.wake([(desk.account.organisation_id, desk.meter.id)], later)
        await uow.commit()
    assert await due(later) == [first.id, second.id]
    await move(desk, replace(first, due_at=later), armed(first))
    assert await due(later) == []


async def test_steps_are_never_changed(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    await placed(desk, "k-1")
    with pytest.raises(AppendOnlyError):
        async with database.unit_of_work() as uow:
            await uow.orders._execute_plain("UPDATE credit_order_step SET sentence = 'x'", [()])


async def test_orders_of_another_organisation_are_not_seen(
    database: Database, estate: Estate, other_estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    await placed(desk, "k-1")
    async with database.unit_of_work(read_only=True) as uow:
        other = other_estate.organisation.id
        assert await uow.orders.by_key(other, "k-1") is None
        assert await uow.orders.of_account(other, desk.account.id) == ()
        assert await uow.orders.open_of_binding(other, desk.binding.id) == ()


async def test_key_is_used_once(database: Database, estate: Estate) -> None:
    row = KeyRow(estate.organisation.id, "cashier", "vend", "k-1", "00", {"order": "1"}, AT)
    async with database.unit_of_work() as uow:
        await uow.idempotency_keys.add(row)
        await uow.commit()
    async with database.unit_of_work() as uow:
        found = await uow.idempotency_keys.find(estate.organisation.id, "cashier", "vend", "k-1")
        assert found == row
        with pytest.raises(ConflictError):
            await uow.idempotency_keys.add(row)
