"""Delivery against the simulated DTSY1352: whatever is lost on the way, value is where it is."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.conftest import Estate
from tests.services.prepaid_desk import YUAN, Desk, open_desk

from meterplex.db import Database
from meterplex.db.errors import AppendOnlyError, DatabaseUnavailableError
from meterplex.domain.ledger import in_meter, suspense, transit
from meterplex.domain.prepayment import OrderState, PrepaymentRules, Verdict
from meterplex.domain.prepayment.answers import AnswerStep, AnswerVerdict
from meterplex.domain.prepayment.evidence import Evidence, Next
from meterplex.sdk import (
    DamagedReplyError,
    DeviceMismatchError,
    DeviceRefusedError,
    LinkTimeoutError,
    LinkUnavailableError,
    OutcomeUnknownError,
    RefusalReason,
)
from meterplex.sdk.testing.links import (
    Attempt,
    Disturbance,
    flip_bit,
    from_control_on,
    lose_reply,
    lose_request,
    on_control,
    undisturbed,
)
from meterplex.services.orders.answers import answer_of
from meterplex.services.orders.crash_points import CrashHook, CrashPoint, Moment
from meterplex.services.orders.evidence import LinkFacts


class Killed(BaseException):
    """The program ended here."""


def kill_at(point: CrashPoint, moment: Moment) -> CrashHook:
    def crash(at: CrashPoint, when: Moment) -> None:
        if (at, when) == (point, moment):
            raise Killed

    return crash


async def events(desk: Desk) -> list[str]:
    async with desk.database.unit_of_work(read_only=True) as uow:
        found = await uow.events.newest(desk.account.organisation_id, desk.meter.id)
    return [event.code for event in found]


async def test_month_that_is_closed_after_the_send_loses_no_answer(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(50, "k-1")
    refused: list[CrashPoint] = []

    def close_once(point: CrashPoint, moment: Moment) -> None:
        if (point, moment) == (CrashPoint.CONFIRMED, Moment.BEFORE) and not refused:
            refused.append(point)
            raise AppendOnlyError("append-only: the period is closed")

    assert await desk.deliver(close_once) == [OrderState.CONFIRMED]
    assert refused
    assert await desk.balances() == {"cash": -50 * YUAN, "meter": 50 * YUAN}


async def test_paid_order_is_delivered_and_proven(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(100, "k-1")
    assert sale.state is OrderState.PAID
    assert await desk.balances() == {"cash": -100 * YUAN, "transit": 100 * YUAN}
    assert await desk.deliver() == [OrderState.CONFIRMED]
    assert (desk.count, desk.held_cents) == (1, 10_000)
    assert await desk.balances() == {"cash": -100 * YUAN, "meter": 100 * YUAN}
    codes = [(step.state, step.code) for step in await desk.steps(sale.order_id)]
    assert codes == [("paid", "asked"), ("armed", "armed"), ("confirmed", "E1")]


@pytest.mark.parametrize(
    ("disturb", "taken"),
    [
        pytest.param(lose_request, False, id="request-lost"),
        pytest.param(lose_reply, True, id="answer-lost"),
        pytest.param(flip_bit(20), True, id="answer-damaged"),
    ],
)
async def test_silence_is_settled_by_the_wallet(
    database: Database, estate: Estate, disturb: Disturbance, taken: bool
) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(30, "k-1")
    desk.link.disturb = on_control(disturb)
    assert await desk.deliver() == [OrderState.UNCERTAIN]
    assert await desk.balances() == {"cash": -30 * YUAN, "transit": 30 * YUAN}
    assert desk.count == int(taken)
    desk.link.disturb = undisturbed
    assert await desk.deliver() == []  # not before the link has drained
    desk.clock.advance(seconds=6)
    assert await desk.deliver() == [OrderState.CONFIRMED]
    assert (desk.count, desk.held_cents) == (1, 3_000)
    assert await desk.balances() == {"cash": -30 * YUAN, "meter": 30 * YUAN}
    order = await desk.order(sale.order_id)
    assert order.arming is not None
    assert (order.arming.count, order.arming.attempt) == (1, 1 if taken else 2)


async def test_frames_that_come_late_again_are_taken_once(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(30, "k-1")
    late: list[bytes] = []

    def hold_back(attempt: Attempt) -> bytes:
        late.append(attempt.request)
        return b""

    desk.link.disturb = on_control(hold_back)
    await desk.deliver()
    desk.clock.advance(seconds=6)
    await desk.deliver()
    desk.link.disturb = undisturbed
    assert len(late) == 2
    for frame in late * 2:
        desk.twin.receive(frame)
    await desk.settle()
    assert (desk.count, desk.held_cents) == (1, 3_000)
    await desk.vend(5, "k-2")
    await desk.deliver()
    for frame in late:
        desk.twin.receive(frame)
    assert (desk.count, desk.held_cents) == (2, 3_500)
    assert await desk.balances() == {"cash": -35 * YUAN, "meter": 35 * YUAN}


async def test_orders_of_a_meter_go_one_after_the_other(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    first, second = await desk.vend(30, "k-1"), await desk.vend(20, "k-2")
    desk.link.disturb = on_control(lose_reply)
    driver, delivery = desk.driver(), desk.delivery()
    due = await delivery.due()
    assert [order.id for order in due] == [first.order_id, second.order_id]
    assert (await delivery.attempt(due[0], driver)).state is OrderState.UNCERTAIN
    assert (await delivery.attempt(due[1], driver)).state is OrderState.PAID
    assert await delivery.due() == ()
    desk.link.disturb = undisturbed
    await desk.settle()
    assert (desk.count, desk.held_cents) == (2, 5_000)


async def test_retries_grow_slower_and_people_are_told(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(30, "k-1")
    desk.link.disturb = from_control_on(lose_request)
    await desk.deliver()
    waits = []
    for _ in range(6):
        order = await desk.order(sale.order_id)
        assert order.due_at is not None
        waits.append(round((order.due_at - desk.clock.now).total_seconds()))
        desk.clock.now = order.due_at
        assert await desk.deliver() == [OrderState.UNCERTAIN]
    assert waits == [5, 5, 30, 120, 600, 1800]
    assert (await events(desk)).count("order_uncertain") == 1
    desk.link.disturb = undisturbed
    await desk.delivery().wake([(desk.account.organisation_id, desk.meter.id)])
    assert await desk.deliver() == [OrderState.CONFIRMED]


async def test_blind_meter_is_never_sent_a_purchase_twice(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate, count_checked="false")
    sale = await desk.vend(30, "k-1")
    desk.link.disturb = on_control(lose_request)
    await desk.deliver()
    desk.link.disturb = undisturbed
    await desk.settle(4)
    assert (await desk.order(sale.order_id)).state is OrderState.UNCERTAIN
    assert len(desk.link.control_frames) == 1
    assert await desk.balance(transit(desk.binding.id)) == 30 * YUAN


async def test_blind_meter_confirms_what_it_took(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, count_checked="false")
    await desk.vend(30, "k-1")
    desk.link.disturb = on_control(lose_reply)
    await desk.deliver()
    desk.link.disturb = undisturbed
    await desk.settle()
    assert await desk.balances() == {"cash": -30 * YUAN, "meter": 30 * YUAN}


async def test_count_that_another_took_is_a_fence(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(30, "k-1")
    desk.link.disturb = on_control(lose_request)
    await desk.deliver()
    desk.link.disturb = undisturbed
    await desk.driver().deliver_credit(1, Decimal("7.00"))  # a handheld
    desk.clock.advance(seconds=6)
    assert await desk.deliver() == [OrderState.PAID]
    assert (await desk.order(sale.order_id)).fence == "F1"
    assert await desk.balance(suspense(desk.binding.id)) == -7 * YUAN
    assert await desk.deliver() == [OrderState.CONFIRMED]
    assert (desk.count, desk.held_cents) == (2, 3_700)
    assert await desk.balance(in_meter(desk.binding.id)) == 37 * YUAN
    assert "foreign_purchase" in await events(desk)


async def test_purchase_elsewhere_before_arming_is_accounted_for(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(30, "k-1")
    await desk.deliver()
    await desk.driver().deliver_credit(2, Decimal("7.00"))
    await desk.vend(10, "k-2")
    assert await desk.deliver() == [OrderState.CONFIRMED]
    assert await desk.balance(suspense(desk.binding.id)) == -7 * YUAN
    assert await desk.balance(in_meter(desk.binding.id)) == 47 * YUAN
    assert (desk.count, desk.held_cents) == (3, 4_700)


async def test_evidence_that_contradicts_freezes_the_meter(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(30, "k-1")
    desk.link.disturb = on_control(lose_request)
    await desk.deliver()
    desk.link.disturb = undisturbed
    desk.twin.body.wallet.purchase_count = 9
    desk.clock.advance(seconds=6)
    assert await desk.deliver() == [OrderState.CONFLICT]
    assert "order_conflict" in await events(desk)
    await desk.vend(10, "k-2")
    assert await desk.deliver() == []
    assert (await desk.order(sale.order_id)).due_at is None


async def test_another_meter_at_the_address_gets_nothing(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    desk.twin._registers.serial = bytes.fromhex("000000000099")
    await desk.vend(30, "k-1")
    assert await desk.deliver() == [OrderState.CONFLICT]
    assert desk.link.control_frames == []


async def test_meter_that_cannot_be_read_leaves_the_order_waiting(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(30, "k-1")
    desk.link.disturb = lose_request
    assert await desk.deliver() == [OrderState.PAID]
    assert [step.code for step in await desk.steps(sale.order_id)] == ["asked", "unread"]
    desk.link.disturb = undisturbed
    desk.clock.advance(seconds=6)
    assert await desk.deliver() == [OrderState.CONFIRMED]


async def test_hoard_limit_holds_an_order_at_arming(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(30, "k-1")
    await desk.change_account(hoard_units=20 * YUAN)
    assert await desk.deliver() == [OrderState.PAID]
    assert "hoard limit" in (await desk.order(sale.order_id)).held
    await desk.change_account(hoard_units=30 * YUAN)
    desk.clock.advance(minutes=31)
    assert await desk.deliver() == [OrderState.CONFIRMED]


async def test_frozen_binding_takes_no_vend(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(30, "k-1")
    async with database.unit_of_work() as uow:
        await uow.bindings.replace(replace(desk.binding, frozen=True))
        await uow.commit()
    assert await desk.deliver() == []


async def test_bytes_that_never_left_leave_the_order_as_it_was(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    desk.link_facts = LinkFacts(control_sent=lambda: bool(desk.link.control_frames))
    sale = await desk.vend(30, "k-1")
    delivery = desk.delivery()

    class Refusing:
        """A driver that refuses before it sends."""

        def __getattr__(self, name: str) -> object:
            return getattr(desk.driver(), name)

        async def deliver_credit(self, count: int, amount: Decimal) -> object:
            raise DeviceRefusedError("not now")

    (order,) = await delivery.due()
    refusing: object = Refusing()
    waiting = await delivery.attempt(order, refusing, desk.link_facts)  # type: ignore[arg-type]
    assert (waiting.state, waiting.ever_sent, waiting.arming) == (OrderState.PAID, False, None)
    assert "not now" in waiting.held
    await desk.settle()
    assert (await desk.order(sale.order_id)).state is OrderState.CONFIRMED


POINTS = [
    CrashPoint.BASELINE_READ,
    CrashPoint.ARMED,
    CrashPoint.FIRST_BYTE,
    CrashPoint.LAST_BYTE,
    CrashPoint.ANSWER_READ,
    CrashPoint.CONFIRMED,
]


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize(
    ("point", "checked"),
    [
        *(pytest.param(point, "true", id=f"{point}-count-checked") for point in POINTS),
        *(pytest.param(point, "false", id=f"{point}-blind") for point in POINTS[1:4]),
    ],
)
async def test_program_that_ends_anywhere_loses_and_doubles_nothing(
    database: Database, estate: Estate, point: CrashPoint, moment: Moment, checked: str
) -> None:
    desk = await open_desk(database, estate, count_checked=checked)
    sale = await desk.vend(30, "k-1")
    crash = kill_at(point, moment)
    try:
        await desk.deliver(crash)
    except Killed:
        await desk.delivery().recover()
    await desk.settle(3)
    order = await desk.order(sale.order_id)
    sent = len(desk.link.control_frames)
    if checked == "true" or sent:
        assert order.state is OrderState.CONFIRMED
        assert (desk.count, desk.held_cents) == (1, 3_000)
    else:  # armed, never sent, and nobody may send to a blind meter what may have been sent
        assert (order.state, desk.held_cents) == (OrderState.UNCERTAIN, 0)
    total = {"cash": -30 * YUAN}
    where = "meter" if order.state is OrderState.CONFIRMED else "transit"
    assert await desk.balances() == total | {where: 30 * YUAN}


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("point", [CrashPoint.UNCERTAIN, CrashPoint.FENCE])
async def test_program_that_ends_while_in_doubt_loses_and_doubles_nothing(
    database: Database, estate: Estate, point: CrashPoint, moment: Moment
) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(30, "k-1")
    desk.link.disturb = on_control(lose_request)
    crash = kill_at(point, moment)
    for act in (lambda: None, lambda: desk.driver().deliver_credit(1, Decimal("7.00"))):
        made = act()
        if made is not None:
            desk.link.disturb = undisturbed
            await made
        desk.clock.advance(seconds=6)
        try:
            await desk.deliver(crash)
        except Killed:
            await desk.delivery().recover()
    desk.link.disturb = undisturbed
    await desk.settle(4)
    assert (desk.count, desk.held_cents) == (2, 3_700)
    assert await desk.balances() == {
        "cash": -30 * YUAN,
        "meter": 37 * YUAN,
        "suspense": -7 * YUAN,
    }


@pytest.mark.parametrize(
    ("kind", "step"), [("hold", AnswerStep.HOLD), ("log-in", AnswerStep.LOG_IN)]
)
async def test_answer_that_asks_for_a_person_or_a_pause(
    database: Database, estate: Estate, kind: str, step: AnswerStep
) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(30, "k-1")
    verdict = AnswerVerdict(OrderState.UNCERTAIN, step, kind)
    desk.rules = PrepaymentRules(after_answer=lambda *_, **__: verdict)
    desk.link.disturb = on_control(lose_request)
    await desk.deliver()
    order = await desk.order(sale.order_id)
    assert (order.state, bool(order.held)) == (OrderState.UNCERTAIN, kind == "hold")
    desk.rules, desk.link.disturb = PrepaymentRules(), undisturbed
    desk.clock.advance(seconds=10)
    states = await desk.deliver()
    assert states == [OrderState.UNCERTAIN if kind == "hold" else OrderState.CONFIRMED]


async def test_answer_that_names_meter_and_count_needs_no_read_back(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(30, "k-1")
    verdict = AnswerVerdict(OrderState.CONFIRMED, AnswerStep.BOOK, "named")
    desk.rules = PrepaymentRules(after_answer=lambda *_, **__: verdict)
    assert await desk.deliver() == [OrderState.CONFIRMED]
    desk.rules = PrepaymentRules()
    await desk.vend(10, "k-2")
    assert await desk.deliver() == [OrderState.CONFIRMED]
    assert await desk.balances() == {"cash": -40 * YUAN, "meter": 40 * YUAN}


async def test_wrong_rule_of_evidence_would_be_seen(database: Database, estate: Estate) -> None:
    """The rules are handed in: one that confirms unread silence shows in the meter."""
    desk = await open_desk(database, estate)
    await desk.vend(30, "k-1")
    desk.rules = PrepaymentRules(
        judge=lambda *_, **__: Verdict(Evidence.E1, Next.CONFIRM, "believed")
    )
    desk.link.disturb = on_control(lose_request)
    await desk.deliver()
    desk.link.disturb = undisturbed
    await desk.settle()
    assert await desk.balance(in_meter(desk.binding.id)) == 30 * YUAN
    assert desk.held_cents == 0


async def test_order_whose_arming_was_not_answered_is_not_left_armed(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(30, "k-1")

    def fail(point: CrashPoint, moment: Moment) -> None:
        if (point, moment) == (CrashPoint.ARMED, Moment.AFTER):
            raise DatabaseUnavailableError("the commit went unanswered")

    with pytest.raises(DatabaseUnavailableError):
        await desk.deliver(fail)
    assert (await desk.order(sale.order_id)).state is OrderState.UNCERTAIN
    await desk.settle()
    assert (desk.count, desk.held_cents) == (1, 3_000)


class SayingNo:
    """The desk's driver, whose meter refuses what it is asked in one method."""

    def __init__(self, desk: Desk, method: str, reason: RefusalReason) -> None:
        self.desk = desk
        self.method = method
        self.error = DeviceRefusedError("no", reason=reason)
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return self.refuse if name == self.method else getattr(self.desk.driver(), name)

    async def refuse(self, *_: object) -> None:
        self.asked += 1
        raise self.error


@pytest.mark.parametrize(
    ("reason", "held"),
    [
        (RefusalReason.OVER_HOARD, "hold too much"),
        (RefusalReason.CUSTOMER_MISMATCH, "another customer"),
        (RefusalReason.DUPLICATE, ""),
        (RefusalReason.COUNT_WRONG, ""),
        (RefusalReason.AUTHENTICATION, ""),
        (RefusalReason.OTHER, ""),
    ],
)
async def test_refusal_is_never_a_failure_and_some_wait_for_a_person(
    database: Database, estate: Estate, reason: RefusalReason, held: str
) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(30, "k-1")
    driver: Any = SayingNo(desk, "deliver_credit", reason)
    delivery = desk.delivery()
    (order,) = await delivery.due()
    refused = await delivery.attempt(order, driver)
    assert refused.state is OrderState.UNCERTAIN
    assert held in refused.held
    assert bool(refused.held) == bool(held)
    assert await desk.balance(transit(desk.binding.id)) == 30 * YUAN
    await desk.settle(3)
    settled = OrderState.UNCERTAIN if held else OrderState.CONFIRMED
    assert (await desk.order(sale.order_id)).state is settled


@pytest.mark.parametrize("facts", [LinkFacts(), LinkFacts(control_sent=lambda: False)])
@pytest.mark.parametrize("method", ["read_credit", "deliver_credit"])
async def test_meter_is_not_logged_in_to_often(
    database: Database, estate: Estate, method: str, facts: LinkFacts
) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(30, "k-1")
    driver: Any = SayingNo(desk, method, RefusalReason.AUTHENTICATION)
    delivery = desk.delivery()
    begun = desk.clock.now
    for _ in range(20):  # a link that comes and goes
        await delivery.wake(None)
        for order in await delivery.due():
            await delivery.attempt(order, driver, facts)
        desk.clock.advance(minutes=2)
    assert desk.clock.now - begun < timedelta(hours=1)
    assert driver.asked == 2
    desk.clock.advance(hours=1)
    await desk.deliver()
    await desk.settle(2)
    assert (desk.count, desk.held_cents) == (1, 3_000)


STATED = [reason for reason in RefusalReason if reason is not RefusalReason.OTHER]
UNKNOWN, SENT, UNSENT = (
    LinkFacts(),
    LinkFacts(control_sent=lambda: True),
    LinkFacts(drain_time=timedelta(0), control_sent=lambda: False),
)


@pytest.mark.parametrize(
    ("error", "facts", "kind"),
    [
        (LinkUnavailableError("gone"), UNKNOWN, "not_sent"),
        (LinkUnavailableError("gone"), SENT, "silence"),
        (LinkTimeoutError("late"), UNKNOWN, "silence"),
        (LinkTimeoutError("late"), UNSENT, "not_sent"),
        (OutcomeUnknownError("late"), SENT, "silence"),
        (DamagedReplyError("noise"), UNKNOWN, "damaged"),
        (DeviceMismatchError("other"), UNKNOWN, "damaged"),
        (DeviceRefusedError("no"), UNKNOWN, "other_error"),
        *((DeviceRefusedError("no", reason=each), SENT, each) for each in STATED),
        (DeviceRefusedError("no"), UNSENT, "not_sent"),
        (ValueError("bug"), UNKNOWN, "silence"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_error_is_read_as_an_answer(error: Exception, facts: LinkFacts, kind: str) -> None:
    assert answer_of(error, facts).kind == kind
