"""What a delivery commits about an order: each step durable, with what proved it.

A step is one transaction, made only if the order is still as it was read, with its account held.
What happened on the wire is stored however long the database is away: it must not be lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import structlog

from meterplex.db import Database, UnitOfWork
from meterplex.db.errors import (
    AppendOnlyError,
    DatabaseUnavailableError,
    TransactionConflictError,
)
from meterplex.domain.estate import Binding, Meter
from meterplex.domain.prepayment import (
    Arming,
    CountCapability,
    FenceFacts,
    OrderState,
    PrepaymentRules,
    Verdict,
    Wallet,
    alarm_due,
    next_fence_read,
    retry_delay,
)
from meterplex.domain.prepayment.answers import AnswerKind
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep, StepCode
from meterplex.services.orders import settle_orders
from meterplex.services.orders.crash_points import CrashHook, CrashPoint, Moment
from meterplex.services.orders.evidence import (
    DIRECT,
    LinkFacts,
    capability_document,
    fence_facts,
    last_fence,
    looks_in_a_row,
    read_document,
)
from meterplex.services.orders.meter_alarms import CreditAlarm, raise_alarm
from meterplex.services.orders.meter_wallets import moved_by, put_wallet
from meterplex.services.orders.settle_orders import (
    HeldOrder,
    OrderMovedError,
    book_foreign,
    hold_order,
    zone_of,
)
from meterplex.services.orders.use_since import SHOWN, shown_document

log = structlog.get_logger(__name__)

DONE_BY: Final = "delivery"
STORE_RETRY_S: Final = 1.0
"""How long to wait before what happened is stored again."""
_PASSING: Final = (DatabaseUnavailableError, TransactionConflictError, AppendOnlyError)
"""What does not hinder for ever; a month that was closed meanwhile gives way to the next."""
HELD_LOOK: Final = timedelta(minutes=30)
"""When an order that is held is tried again, unless somebody asks for it."""

Change = Callable[[UnitOfWork, HeldOrder], Awaitable[CreditOrder]]
"""Does a step on an order that is held."""


@dataclass(frozen=True, slots=True)
class WalletRead:
    """A wallet that was just read, and when.

    Attributes:
        meter_clock: naive, as the meter showed it; None where it was not read.
        counter: see ``use_since``; None where it was not read.
    """

    wallet: Wallet
    at: datetime
    meter_clock: datetime | None = None
    counter: Decimal | None = None

    @property
    def detail(self) -> dict[str, Any]:
        """The read as it is kept with a step."""
        return read_document(self.wallet, self.at, self.meter_clock)


@dataclass(frozen=True, slots=True)
class OrderJournal:
    """Writes the steps of deliveries; the attributes are those of ``OrderDelivery``."""

    database: Database
    clock: Callable[[], datetime]
    rules: PrepaymentRules
    crash: CrashHook

    async def now(self, order: CreditOrder) -> CreditOrder:
        """Return the order as it is now."""
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.orders.get(order.organisation_id, order.id)

    async def armed(
        self,
        uow: UnitOfWork,
        held: HeldOrder,
        arming: Arming,
        capability: CountCapability,
        link: LinkFacts,
        read: WalletRead,
    ) -> CreditOrder:
        """Arm a held order, for its first attempt or the next.

        Args:
            read: right before; of the first attempt it is the baseline.
        """
        now = self.clock()
        moved = replace(
            held.order,
            state=OrderState.ARMED,
            arming=arming,
            sent_at=now,
            ever_sent=True,
            fence="",
            held="",
            due_at=None,
        )
        sentence = f"count {arming.count}, attempt {arming.attempt}"
        detail = {
            "frame_hash": arming.frame_hash,
            "count": arming.count,
            "attempt": arming.attempt,
            "capability": capability_document(capability),
            "path": link.path,
        }
        if read.counter is not None:
            detail[SHOWN] = shown_document(read.wallet, read.counter)
        step = OrderStep(now, moved.state, StepCode.ARMED, sentence, DONE_BY, detail)
        return await settle_orders.move(uow, held, moved, step)

    async def store_unsent(
        self,
        order: CreditOrder,
        sentence: str,
        detail: dict[str, Any],
        *,
        delay_min: timedelta = timedelta(0),
    ) -> CreditOrder:
        """Bring an order whose bytes never left back to waiting."""

        async def note(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
            now = self.clock()
            steps = await uow.orders.steps(order.organisation_id, order.id)
            fence = last_fence(steps)
            unsent = sum(step.code == StepCode.NOT_SENT for step in steps)
            moved = replace(
                order,
                state=OrderState.PAID,
                arming=None,
                ever_sent=bool(fence),
                fence=fence,
                held=sentence if detail["answer"] == AnswerKind.NOT_SENT else "",
                due_at=now + max(retry_delay(unsent + 1), delay_min),
                outcome=sentence,
            )
            step = OrderStep(now, moved.state, StepCode.NOT_SENT, sentence, DONE_BY, detail)
            return await settle_orders.move(uow, held, moved, step)

        return await self.persist(order, CrashPoint.UNCERTAIN, note)

    async def store_uncertain(
        self,
        order: CreditOrder,
        code: str,
        sentence: str,
        detail: dict[str, Any],
        delay: timedelta,
        *,
        held: str = "",
    ) -> CreditOrder:
        """Note that an order was sent and is not proven, and when it is looked at."""

        async def note(uow: UnitOfWork, at_hand: HeldOrder) -> CreditOrder:
            now = self.clock()
            moved = replace(
                order,
                state=OrderState.UNCERTAIN,
                uncertain_at=order.uncertain_at or now,
                due_at=now + delay,
                held=held,
                outcome=sentence,
            )
            step = OrderStep(now, moved.state, code, sentence, DONE_BY, detail)
            return await settle_orders.move(uow, at_hand, moved, step)

        return await self.persist(order, CrashPoint.UNCERTAIN, note)

    async def confirm(
        self,
        order: CreditOrder,
        code: str,
        sentence: str,
        read: WalletRead | None,
        detail: dict[str, Any],
        foreign_units: int = 0,
    ) -> CreditOrder:
        """Settle an order as proven."""

        async def note(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
            detail_now = detail if read is None else detail | read.detail
            step = OrderStep(
                self.clock(), OrderState.CONFIRMED, code, sentence, DONE_BY, detail_now
            )
            confirmed = await settle_orders.confirm(uow, held, step, foreign_units=foreign_units)
            if read is None:
                arming = arming_of(order)
                wallet = moved_by(arming.baseline, arming.count, arming.change_units)
                await put_wallet(uow, binding_of(held), wallet, self.clock())
            else:
                await put_wallet(uow, binding_of(held), read.wallet, read.at)
            return confirmed

        return await self.persist(order, CrashPoint.CONFIRMED, note)

    async def fence(
        self, order: CreditOrder, verdict: Verdict, read: WalletRead, link: LinkFacts
    ) -> CreditOrder:
        """Bring an order whose count another purchase took back to waiting."""

        async def note(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
            now = self.clock()
            seen = OrderStep(
                now, order.state, verdict.evidence, verdict.sentence, DONE_BY, read.detail
            )
            steps = await uow.orders.steps(order.organisation_id, order.id)
            facts = fence_facts(order, [*steps, seen], zone=zone_of(held), link=link)
            fence = None if facts is None else self.rules.fence_of(facts)
            if fence is None:
                return await self.wait(
                    uow, held, verdict.evidence, verdict.sentence, read.detail, link
                )
            await settle_orders.move(uow, held, order, seen)
            moved = replace(
                order,
                state=OrderState.PAID,
                arming=None,
                uncertain_at=None,
                fence=fence.value,
                due_at=now,
                outcome=verdict.sentence,
            )
            step = OrderStep(now, moved.state, fence.value, verdict.sentence, DONE_BY)
            await settle_orders.move(uow, held, moved, step)
            await book_foreign(uow, held, binding_of(held), verdict.foreign_units, now)
            alarm = CreditAlarm.FOREIGN_PURCHASE
            await raise_alarm(uow, meter_of(held), alarm, verdict.sentence, now)
            await put_wallet(uow, binding_of(held), read.wallet, read.at)
            return moved

        return await self.change(order, CrashPoint.FENCE, note)

    async def put_off(
        self,
        order: CreditOrder,
        code: str,
        sentence: str,
        *,
        read: WalletRead | None = None,
        link: LinkFacts = DIRECT,
        detail: Mapping[str, Any] | None = None,
        delay_min: timedelta = timedelta(0),
    ) -> CreditOrder:
        """Note a look without a result; see :meth:`wait`."""
        told = dict(detail or {}) if read is None else read.detail

        async def note(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
            delay = max(delay_min, link.drain_time)
            return await self.wait(uow, held, code, sentence, told, link, delay_min=delay)

        return await self.change(order, CrashPoint.UNCERTAIN, note)

    async def wait(
        self,
        uow: UnitOfWork,
        held: HeldOrder,
        code: str,
        sentence: str,
        detail: Mapping[str, Any],
        link: LinkFacts = DIRECT,
        *,
        delay_min: timedelta = timedelta(0),
    ) -> CreditOrder:
        """Note a look without a result, and when the next one is."""
        now, order = self.clock(), held.order
        steps = await uow.orders.steps(order.organisation_id, order.id)
        delay = retry_delay(looks_in_a_row(steps) + 1)
        if code == StepCode.HELD:
            delay = HELD_LOOK
        step = OrderStep(now, order.state, code, sentence, DONE_BY, detail)
        moved = replace(
            order,
            due_at=now + max(delay, delay_min),
            outcome=sentence,
            held=sentence if code == StepCode.HELD else order.held,
        )
        if order.state is OrderState.UNCERTAIN:
            facts = fence_facts(order, [*steps, step], zone=zone_of(held), link=link)
            moved = self._fenced(moved, facts, now, delay_min)
        await settle_orders.move(uow, held, moved, step)
        return await self.alarm(uow, replace(held, order=moved), steps)

    def _fenced(
        self, order: CreditOrder, facts: FenceFacts | None, now: datetime, delay_min: timedelta
    ) -> CreditOrder:
        """Return an uncertain order with the fence that was found, or with when to look for it."""
        fence = None if facts is None else self.rules.fence_of(facts)
        if fence is not None:
            return replace(order, fence=fence.value)
        wanted = next_fence_read(facts) if facts is not None and order.held else None
        if wanted is None or order.due_at is None or wanted <= now:
            return order
        return replace(order, due_at=min(order.due_at, max(wanted, now + delay_min)))

    async def alarm(
        self, uow: UnitOfWork, held: HeldOrder, steps: Collection[OrderStep]
    ) -> CreditOrder:
        """Tell people, once, of an order that is uncertain for too long."""
        now, order = self.clock(), held.order
        since = order.uncertain_at
        if order.state is not OrderState.UNCERTAIN or since is None or not alarm_due(since, now):
            return order
        if any(step.code == StepCode.ALARM and step.at >= since for step in steps):
            return order
        sentence = f"sent, and not proven since {since.isoformat(timespec='seconds')}"
        await raise_alarm(uow, meter_of(held), CreditAlarm.ORDER_UNCERTAIN, sentence, now)
        step = OrderStep(now, order.state, StepCode.ALARM, sentence, DONE_BY)
        return await settle_orders.move(uow, held, order, step)

    async def freeze(
        self, order: CreditOrder, code: str, sentence: str, detail: dict[str, Any]
    ) -> CreditOrder:
        """Note that evidence contradicts an order."""

        async def note(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
            return await self.conflict(uow, held, code, sentence, None, detail)

        return await self.change(order, CrashPoint.UNCERTAIN, note)

    async def conflict(
        self,
        uow: UnitOfWork,
        held: HeldOrder,
        code: str,
        sentence: str,
        read: WalletRead | None,
        detail: dict[str, Any] | None = None,
    ) -> CreditOrder:
        """Freeze a held order and its meter: two people decide."""
        now = self.clock()
        moved = replace(
            held.order,
            state=OrderState.CONFLICT,
            due_at=None,
            held="two people decide",
            outcome=sentence,
        )
        detail = read.detail if read is not None else detail or {}
        step = OrderStep(now, moved.state, code, sentence, DONE_BY, detail)
        frozen = await settle_orders.move(uow, held, moved, step)
        await raise_alarm(uow, meter_of(held), CreditAlarm.ORDER_CONFLICT, sentence, now)
        return frozen

    async def change(self, order: CreditOrder, point: CrashPoint, change: Change) -> CreditOrder:
        """Do one step in a transaction of its own.

        Raises:
            OrderMovedError: the order is not any more as it was read.
        """
        async with self.database.unit_of_work() as uow:
            held = await hold_order(uow, order.organisation_id, order.id)
            if held.order != order:
                raise OrderMovedError(f"order {order.id} was moved meanwhile")
            moved = await change(uow, held)
            self.crash(point, Moment.BEFORE)
            await uow.commit()
        self.crash(point, Moment.AFTER)
        return moved

    async def persist(self, order: CreditOrder, point: CrashPoint, change: Change) -> CreditOrder:
        """Store what happened after a send; a database that is away must not lose it."""
        waiting = False
        while True:
            try:
                return await self.change(order, point, change)
            except _PASSING as error:
                if not waiting:
                    log.warning("order waits to be stored", order=str(order.id), error=str(error))
                waiting = True
                await asyncio.sleep(STORE_RETRY_S)


def arming_of(order: CreditOrder) -> Arming:
    """Return the arming of an order that has one."""
    assert order.arming is not None
    return order.arming


def binding_of(held: HeldOrder) -> Binding:
    """Return the binding of an order that goes through a meter."""
    assert held.binding is not None
    return held.binding


def meter_of(held: HeldOrder) -> Meter:
    """Return the meter of an order that goes through one."""
    assert held.meter is not None
    return held.meter
