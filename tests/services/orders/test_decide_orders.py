from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.conftest import Estate
from tests.services.orders.test_deliver_orders import Killed, kill_at
from tests.services.prepaid_desk import YUAN, Desk, open_desk

from meterplex.db import Database
from meterplex.db.errors import NotFoundError
from meterplex.domain.approvals import ApprovalError, ApprovalKind
from meterplex.domain.ledger import suspense
from meterplex.domain.prepayment import OrderId, OrderState, PrepaymentRules
from meterplex.domain.prepayment.credit_order import CreditOrder
from meterplex.sdk.testing.links import lose_request, on_control, undisturbed
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.orders.crash_points import CrashPoint, Moment
from meterplex.services.orders.decide_orders import (
    Decision,
    resolve_conflict,
    retry_order,
    void_order,
)
from meterplex.services.orders.evidence import LinkFacts

RULES = PrepaymentRules()
SHANGHAI = ZoneInfo("Asia/Shanghai")


async def give_up(desk: Desk, order_id: OrderId, **more: Any) -> CreditOrder:
    return await void_order(
        desk.database,
        desk.account.organisation_id,
        order_id,
        at=desk.clock(),
        operator="cashier",
        rules=RULES,
        **{"reason": "wrong meter"} | more,
    )


async def decide(desk: Desk, order_id: OrderId, to: OrderState, **more: Any) -> CreditOrder:
    decision = Decision(desk.account.organisation_id, order_id, to, "looked at the meter")
    approval = await desk.approve(ApprovalKind.CONFLICT, decision.body)
    allowed = replace(decision, approval_id=approval)
    return await resolve_conflict(
        desk.database, allowed, at=desk.clock(), operator=desk.cashier, rules=RULES, **more
    )


async def lose(desk: Desk, yuan: int = 30) -> OrderId:
    """Sell, and lose the frame on its way."""
    sale = await desk.vend(yuan, "k-1")
    desk.link.disturb = on_control(lose_request)
    assert await desk.deliver() == [OrderState.UNCERTAIN]
    desk.link.disturb = undisturbed
    return sale.order_id


async def test_order_that_was_never_sent_is_given_up(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(30, "k-1")
    assert (await give_up(desk, sale.order_id)).state is OrderState.VOIDED
    assert await desk.balances() == {"cash": -30 * YUAN, "refund_payable": 30 * YUAN}
    assert await desk.deliver() == []
    with pytest.raises(MoneyConflictError, match="it is voided"):
        await give_up(desk, sale.order_id)


@pytest.mark.parametrize("moment", Moment)
async def test_giving_up_is_one_commit(database: Database, estate: Estate, moment: Moment) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(30, "k-1")
    with pytest.raises(Killed):
        await give_up(desk, sale.order_id, crash=kill_at(CrashPoint.VOIDED, moment))
    done = moment is Moment.AFTER
    assert (await desk.order(sale.order_id)).settled is done
    where = "refund_payable" if done else "transit"
    assert await desk.balances() == {"cash": -30 * YUAN, where: 30 * YUAN}


async def test_order_that_was_sent_waits_for_a_fence(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    order_id = await lose(desk)
    held = await give_up(desk, order_id)
    assert (held.state, held.fence) == (OrderState.UNCERTAIN, "")
    desk.clock.advance(seconds=40)
    assert await desk.deliver() == [OrderState.UNCERTAIN]  # not taken, and not sent again
    assert len(desk.link.control_frames) == 1
    assert (await give_up(desk, order_id)).state is OrderState.UNCERTAIN
    closed = desk.clock.now
    desk.link_facts = LinkFacts(timedelta(seconds=1), session_closed_at=closed)
    desk.clock.advance(minutes=11)
    await desk.deliver()
    desk.clock.advance(minutes=31)
    await desk.deliver()
    assert (await desk.order(order_id)).fence == "F3"
    assert (await give_up(desk, order_id)).state is OrderState.VOIDED
    assert await desk.balances() == {"cash": -30 * YUAN, "refund_payable": 30 * YUAN}


async def test_frame_that_has_expired_by_the_meters_clock_is_fenced(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    desk.link_facts = LinkFacts(frame_lifetime=timedelta(minutes=10))
    order_id = await lose(desk)
    await give_up(desk, order_id)
    desk.clock.advance(seconds=40)
    desk.twin.body.set_clock(desk.clock.now.astimezone(SHANGHAI).replace(tzinfo=None))
    await desk.deliver()
    assert (await desk.order(order_id)).fence == ""
    desk.clock.advance(minutes=31)
    desk.twin.body.set_clock(desk.clock.now.astimezone(SHANGHAI).replace(tzinfo=None))
    await desk.deliver()
    assert (await desk.order(order_id)).fence == "F4"
    assert (await give_up(desk, order_id)).state is OrderState.VOIDED


async def test_held_order_is_sent_again_when_a_person_says_so(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    order_id = await lose(desk)
    await give_up(desk, order_id)
    await retry_order(
        database, desk.account.organisation_id, order_id, at=desk.clock(), operator="cashier"
    )
    assert await desk.deliver() == [OrderState.CONFIRMED]
    with pytest.raises(MoneyConflictError):
        await retry_order(
            database, desk.account.organisation_id, order_id, at=desk.clock(), operator="cashier"
        )


async def contradict(desk: Desk, count: int) -> OrderId:
    order_id = await lose(desk)
    desk.twin.body.wallet.purchase_count = count
    desk.clock.advance(seconds=6)
    assert await desk.deliver() == [OrderState.CONFLICT]
    return order_id


async def test_two_people_find_that_the_meter_has_it(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    order_id = await lose(desk)
    await desk.driver().deliver_credit(1, Decimal("30.00"))
    desk.twin.body.wallet.purchase_count = 2  # which no purchase explains
    desk.clock.advance(seconds=6)
    assert await desk.deliver() == [OrderState.CONFLICT]
    desk.twin.body.wallet.purchase_count = 1
    assert (await decide(desk, order_id, OrderState.CONFIRMED)).state is OrderState.CONFIRMED
    assert await desk.balances() == {"cash": -30 * YUAN, "meter": 30 * YUAN}
    await desk.vend(5, "k-2")
    assert await desk.deliver() == [OrderState.CONFIRMED]
    assert await desk.balance(suspense(desk.binding.id)) == 0


@pytest.mark.parametrize("to", [OrderState.VOIDED, OrderState.PAID])
async def test_two_people_find_that_another_took_the_count(
    database: Database, estate: Estate, to: OrderState
) -> None:
    desk = await open_desk(database, estate)
    order_id = await contradict(desk, 3)
    decided = await decide(desk, order_id, to)
    assert (decided.state, decided.fence) == (to, "F1" if to is OrderState.PAID else "")
    assert (await desk.steps(order_id))[-1].code == "F1"
    if to is OrderState.VOIDED:
        assert await desk.balances() == {"cash": -30 * YUAN, "refund_payable": 30 * YUAN}


async def test_renewed_wallet_is_a_fence(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(10, "k-0")
    await desk.deliver()
    order_id = await lose(desk)
    wallet = desk.twin.body.wallet
    wallet.purchase_count, wallet.remaining, wallet.total_purchased = 0, 0, 0
    desk.clock.advance(seconds=6)
    assert await desk.deliver() == [OrderState.CONFLICT]
    await decide(desk, order_id, OrderState.VOIDED)
    assert (await desk.steps(order_id))[-1].code == "F2"


async def test_nobody_decides_alone_or_without_a_fence(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    order_id = await lose(desk)
    organisation_id = desk.account.organisation_id
    decision = Decision(organisation_id, order_id, OrderState.VOIDED, "why not")
    with pytest.raises(MoneyConflictError, match="expected conflict"):
        await resolve_conflict(
            database, decision, at=desk.clock(), operator=desk.cashier, rules=RULES
        )
    desk.twin.body.wallet.total_purchased += 1000  # but no count: contradicts
    desk.clock.advance(seconds=6)
    assert await desk.deliver() == [OrderState.CONFLICT]
    with pytest.raises(ApprovalError):
        await resolve_conflict(
            database, decision, at=desk.clock(), operator=desk.cashier, rules=RULES
        )
    with pytest.raises(MoneyConflictError, match="could still be taken"):
        await decide(desk, order_id, OrderState.VOIDED)
    assert (await desk.order(order_id)).state is OrderState.CONFLICT


async def test_order_that_was_never_sent_cannot_be_in_the_meter(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    desk.twin._registers.serial = bytes.fromhex("000000000099")
    sale = await desk.vend(30, "k-1")
    assert await desk.deliver() == [OrderState.CONFLICT]
    with pytest.raises(MoneyConflictError, match="never sent"):
        await decide(desk, sale.order_id, OrderState.CONFIRMED)
    await decide(desk, sale.order_id, OrderState.VOIDED, dry_run=True)
    assert (await desk.order(sale.order_id)).state is OrderState.CONFLICT
    await decide(desk, sale.order_id, OrderState.PAID)
    desk.twin._registers.serial = bytes.fromhex(desk.meter.serial.zfill(12))
    assert await desk.deliver() == [OrderState.CONFIRMED]


async def test_bad_input_is_named(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(30, "k-1")
    with pytest.raises(MoneyInputError) as refused:
        await give_up(desk, sale.order_id, reason=" ")
    assert refused.value.field == "reason"
    with pytest.raises(NotFoundError):
        await give_up(desk, OrderId(desk.account.id))
    assert await desk.balances() == {"cash": -30 * YUAN, "transit": 30 * YUAN}
