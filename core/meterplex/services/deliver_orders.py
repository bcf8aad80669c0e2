"""Delivers orders to meters: what is known is durable before any byte that could move value leaves.

::

    read the wallet -> commit ARMED (count, amount, baseline) -> send -> commit what is proven

Silence, errors and damaged answers prove nothing: the order is UNCERTAIN, and only the wallet, read
again, settles it. Until then the same count and amount may be sent again, never another. An order
that was ARMED when the program stopped is UNCERTAIN at the next start.

Each step is a commit of its own, made only if the order is still as it was read; its account is
held meanwhile. See prepayment-protocol sections 4.2 to 4.5.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Protocol

import structlog

from meterplex.db import Database, UnitOfWork
from meterplex.db.errors import (
    ConflictError,
    DatabaseUnavailableError,
    TransactionConflictError,
)
from meterplex.domain.estate import Binding, BindingId, Meter, MeterId, OrganisationId
from meterplex.domain.prepayment import (
    AnswerStep,
    AnswerVerdict,
    Arming,
    ArmingRefusal,
    Comparison,
    CountCapability,
    Direction,
    Next,
    OrderState,
    PrepaymentRules,
    Verdict,
    Wallet,
    alarm_due,
    count_alarm,
    may_arm,
    may_log_in,
    retry_delay,
    send_again,
)
from meterplex.domain.prepayment.answers import LOG_IN_PERIOD, Answer, AnswerKind
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep, StepCode
from meterplex.domain.supply import SupplyState
from meterplex.sdk import (
    Capability,
    CreditState,
    DeviceMismatchError,
    DriverError,
    Identity,
    PluginError,
)
from meterplex.services.compare_counts import account_for
from meterplex.services.crash_points import CrashHook, CrashPoint, Moment, no_crash
from meterplex.services.hoard_limit import hoard_limit
from meterplex.services.meter_alarms import CreditAlarm, raise_alarm
from meterplex.services.meter_wallets import (
    currency_amount,
    expected_of,
    meter_number,
    moved_by,
    put_wallet,
    wallet_of,
)
from meterplex.services.order_answers import answer_of
from meterplex.services.order_evidence import (
    DIRECT,
    LinkFacts,
    capability_document,
    fence_facts,
    last_fence,
    looks_in_a_row,
    read_document,
)
from meterplex.services.settle_orders import (
    HeldOrder,
    OrderMovedError,
    book_foreign,
    confirm,
    hold_order,
    move,
    zone_of,
)

log = structlog.get_logger(__name__)

DONE_BY: Final = "delivery"
STORE_RETRY_S: Final = 1.0
"""How long to wait before what happened is stored again."""
HELD_LOOK: Final = timedelta(minutes=30)
"""When an order that is held is tried again, unless somebody asks for it."""

Change = Callable[[UnitOfWork, HeldOrder], Awaitable[CreditOrder]]


class CreditMeter(Protocol):
    """What a delivery asks of a meter; every ``MeterDriver`` gives it."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...
    @property
    def count_max(self) -> int: ...
    @property
    def withdraws_absolutely(self) -> bool: ...
    async def identify(self) -> Identity: ...
    async def read_clock(self) -> datetime: ...
    async def read_supply(self) -> SupplyState: ...
    async def read_credit(self) -> CreditState: ...
    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState: ...
    async def withdraw_credit(self, count: int, amount: Decimal) -> CreditState: ...


@dataclass(frozen=True, slots=True)
class _Read:
    """A wallet that was just read, and when."""

    wallet: Wallet
    at: datetime
    meter_clock: datetime | None = None

    @property
    def detail(self) -> dict[str, Any]:
        return read_document(self.wallet, self.at, self.meter_clock)


@dataclass(frozen=True, slots=True)
class DueOrder:
    """An order that is to be looked at now, and the meter that it is for."""

    order: CreditOrder
    meter_id: MeterId


@dataclass(frozen=True, slots=True)
class OrderDelivery:
    """Delivers the orders of all organisations, each attempt over a driver that is handed in.

    Attributes:
        clock: current time in UTC.
        rules: of prepayment.
        crash: see ``crash_points``.
    """

    database: Database
    clock: Callable[[], datetime]
    rules: PrepaymentRules = field(default=PrepaymentRules())
    crash: CrashHook = no_crash

    async def recover(self) -> int:
        """Make every ARMED order UNCERTAIN, and have all that wait looked at now.

        To be called at start-up, before anything is delivered. Returns how many were ARMED.
        """
        async with self.database.unit_of_work(read_only=True) as uow:
            armed = await uow.orders.in_states({OrderState.ARMED})
        for order in armed:
            sentence = "the program stopped before the answer was stored"
            await self._store_uncertain(order, StepCode.RESTARTED, sentence, {}, timedelta(0))
        await self.wake(None)
        return len(armed)

    async def wake(self, meters: Collection[tuple[OrganisationId, MeterId]] | None) -> None:
        """Have the orders of some meters, or all, looked at now: a link was restored."""
        async with self.database.unit_of_work() as uow:
            await uow.orders.wake(meters, self.clock())
            await uow.commit()

    async def due(self) -> tuple[CreditOrder, ...]:
        """Return the orders that are to be looked at now, oldest first."""
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.orders.due(self.clock())

    async def due_on_meters(self) -> tuple[DueOrder, ...]:
        """Return the orders that are to be looked at now with their meters, oldest first."""
        async with self.database.unit_of_work(read_only=True) as uow:
            orders = await uow.orders.due(self.clock())
            meters: dict[BindingId, MeterId] = {}
            for organisation_id in {order.organisation_id for order in orders}:
                wanted = {order.binding_id for order in orders if order.binding_id is not None}
                bindings = await uow.bindings.by_ids(organisation_id, wanted)
                meters |= {each.id: each.meter_id for each in bindings.values()}
        return tuple(
            DueOrder(order, meters[order.binding_id])
            for order in orders
            if order.binding_id is not None
        )

    async def attempt(
        self, order: CreditOrder, meter: CreditMeter, link: LinkFacts = DIRECT
    ) -> CreditOrder:
        """Bring an order that is PAID or UNCERTAIN one step further, as far as can be proven now.

        Returns:
            The order as it then is; as it was found when somebody else moved it meanwhile.

        Raises:
            DatabaseError: what comes next could not be stored; nothing was sent after that.
        """
        try:
            if order.state is OrderState.PAID:
                return await self._begin(order, meter, link)
            if order.state is OrderState.UNCERTAIN:
                return await self._look(order, meter, link)
        except (OrderMovedError, ConflictError):
            return await self._now(order)
        except (DatabaseUnavailableError, TransactionConflictError):
            await self._unarm(order)
            raise
        return order

    async def _now(self, order: CreditOrder) -> CreditOrder:
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.orders.get(order.organisation_id, order.id)

    async def _unarm(self, order: CreditOrder) -> None:
        """Leave no order ARMED whose commit went unanswered: nothing was sent after it."""
        while True:
            try:
                found = await self._now(order)
                if found.state is OrderState.ARMED:
                    sentence = "the database did not answer in time"
                    await self._store_uncertain(
                        found, StepCode.RESTARTED, sentence, {}, retry_delay(1)
                    )
            except (DatabaseUnavailableError, TransactionConflictError):
                await asyncio.sleep(STORE_RETRY_S)
            except OrderMovedError:
                return
            else:
                return

    async def put_off(self, order: CreditOrder, reason: str) -> CreditOrder:
        """Note that nothing could be asked of the meter, and when it is tried again."""
        try:
            return await self._put_off(order, StepCode.UNREAD, reason)
        except OrderMovedError:
            return await self._now(order)

    # -- PAID: read the baseline and arm -------------------------------------------------------

    async def _begin(self, order: CreditOrder, meter: CreditMeter, link: LinkFacts) -> CreditOrder:
        try:
            obstacle = await self._supply_obstacle(order, meter)
            read = await self._read(meter, link)
        except DeviceMismatchError as error:
            return await self._freeze(order, StepCode.IDENTITY, str(error), {})
        except (DriverError, PluginError) as error:
            return await self._put_off(order, StepCode.UNREAD, str(error))
        if obstacle:
            return await self._put_off(order, StepCode.HELD, obstacle, read=read)
        armed = await self._arm(order, meter, read)
        if armed.state is not OrderState.ARMED:
            return armed
        return await self._send(armed, meter, link)

    async def _supply_obstacle(self, order: CreditOrder, meter: CreditMeter) -> str:
        """Return why a withdrawal has to wait for the supply; empty when it need not."""
        if order.direction is Direction.DELIVER or not meter.withdraws_absolutely:
            return ""
        supply = await meter.read_supply()
        return (
            "" if supply.connected is False else f"credit is taken back with supply off: {supply}"
        )

    async def _read(self, meter: CreditMeter, link: LinkFacts) -> _Read:
        self.crash(CrashPoint.BASELINE_READ, Moment.BEFORE)
        identity = await meter.identify()
        wallet = wallet_of(await meter.read_credit(), meter_number(identity.serial))
        clock = None
        if link.frame_lifetime is not None and Capability.CLOCK in meter.capabilities:
            clock = await meter.read_clock()
        self.crash(CrashPoint.BASELINE_READ, Moment.AFTER)
        return _Read(wallet, self.clock(), clock)

    async def _arm(self, order: CreditOrder, meter: CreditMeter, read: _Read) -> CreditOrder:
        capability = _capability(meter)

        async def change(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
            others = await uow.orders.open_of_binding(order.organisation_id, _binding(held).id)
            if not may_arm([other.state for other in others if other.id != order.id]):
                raise OrderMovedError("another order of the binding is on its way")
            decided = self.rules.arm(
                order.id,
                order.direction,
                order.deliver_units,
                read.wallet,
                capability,
                bound_to=expected_of(_meter(held)),
                armed_at=self.clock(),
                hoard_units=await hoard_limit(uow, held.account, held.site),
            )
            if isinstance(decided, ArmingRefusal) and decided.state is OrderState.CONFLICT:
                return await self._conflict(uow, held, StepCode.IDENTITY, decided.sentence, read)
            compared = await account_for(
                uow,
                held.account,
                held.site,
                _binding(held),
                _meter(held),
                read.wallet,
                read_at=read.at,
                rules=self.rules,
            )
            if compared.outcome is Comparison.CONFLICT:
                return await self._conflict(uow, held, StepCode.IDENTITY, compared.sentence, read)
            if isinstance(decided, ArmingRefusal):
                return await self._wait(uow, held, StepCode.HELD, decided.sentence, read)
            if count_alarm(decided.count, capability):
                await self._tell_count_end(uow, held, decided, capability)
            return await self._armed(uow, held, decided, capability)

        return await self._change(order, CrashPoint.ARMED, change)

    async def _tell_count_end(
        self, uow: UnitOfWork, held: HeldOrder, arming: Arming, capability: CountCapability
    ) -> None:
        if not count_alarm(arming.count - 1, capability):
            sentence = f"purchase {arming.count} of at most {capability.count_max}"
            alarm = CreditAlarm.PURCHASE_COUNT_END
            await raise_alarm(uow, _meter(held), alarm, sentence, self.clock())

    async def _armed(
        self, uow: UnitOfWork, held: HeldOrder, arming: Arming, capability: CountCapability
    ) -> CreditOrder:
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
        }
        step = OrderStep(now, moved.state, StepCode.ARMED, sentence, DONE_BY, detail)
        return await move(uow, held, moved, step)

    # -- ARMED: send ---------------------------------------------------------------------------

    async def _send(self, order: CreditOrder, meter: CreditMeter, link: LinkFacts) -> CreditOrder:
        arming = _arming(order)
        send = meter.withdraw_credit
        if order.direction is Direction.DELIVER:
            send = meter.deliver_credit
        self.crash(CrashPoint.FIRST_BYTE, Moment.BEFORE)
        read, reason = None, ""
        try:
            credit = await send(arming.count, currency_amount(arming.amount_units))
            answer = Answer(AnswerKind.ACCEPTED)
            read = _Read(wallet_of(credit), self.clock())
        except Exception as error:  # noqa: BLE001 - whatever it was, bytes may be out
            answer, reason = answer_of(error, link), f"{type(error).__name__}: {error}"
        self.crash(CrashPoint.LAST_BYTE, Moment.AFTER)
        self.crash(CrashPoint.ANSWER_READ, Moment.AFTER)
        verdict = self.rules.after_answer(arming, answer, sent_before=arming.attempt > 1)
        return await self._store_answer(order, meter, link, verdict, answer, read, reason)

    async def _store_answer(
        self,
        order: CreditOrder,
        meter: CreditMeter,
        link: LinkFacts,
        verdict: AnswerVerdict,
        answer: Answer,
        read: _Read | None,
        reason: str,
    ) -> CreditOrder:
        detail = {"answer": answer.kind.value, "reason": reason}
        sentence = f"{verdict.sentence}: {reason}" if reason else verdict.sentence
        if verdict.step is AnswerStep.ARM_LATER:
            return await self._store_unsent(order, sentence, detail)
        if verdict.step is AnswerStep.BOOK:
            return await self._confirm(order, StepCode.ANSWER, sentence, read, detail)
        if verdict.step is AnswerStep.READ_BACK and read is not None:
            judged = await self._judge(order, meter, read)
            if judged.next is Next.CONFIRM:
                return await self._confirm(
                    order, judged.evidence, judged.sentence, read, detail, judged.foreign_units
                )
            sentence = f"accepted, but {judged.sentence}"
            detail |= read.detail
        held = verdict.sentence if verdict.step is AnswerStep.HOLD else ""
        delay = max(retry_delay(1), link.drain_time)
        if verdict.step is AnswerStep.LOG_IN:
            delay = await self._log_in_delay(order, delay)
        return await self._store_uncertain(
            order, StepCode.ANSWER, sentence, detail, delay, held=held
        )

    async def _log_in_delay(self, order: CreditOrder, delay: timedelta) -> timedelta:
        """Return how long to keep away from a meter that locks itself after failed log-ins."""
        now = self.clock()
        async with self.database.unit_of_work(read_only=True) as uow:
            steps = await uow.orders.steps(order.organisation_id, order.id)
        failed = [
            step.at for step in steps if step.detail.get("answer") == AnswerKind.AUTHENTICATION
        ]
        return delay if may_log_in([*failed, now], now) else LOG_IN_PERIOD

    async def _store_unsent(
        self, order: CreditOrder, sentence: str, detail: dict[str, Any]
    ) -> CreditOrder:
        """Bring an order whose bytes never left back to waiting."""

        async def change(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
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
                due_at=now + retry_delay(unsent + 1),
            )
            step = OrderStep(now, moved.state, StepCode.NOT_SENT, sentence, DONE_BY, detail)
            return await move(uow, held, moved, step)

        return await self._persist(order, CrashPoint.UNCERTAIN, change)

    async def _store_uncertain(
        self,
        order: CreditOrder,
        code: str,
        sentence: str,
        detail: dict[str, Any],
        delay: timedelta,
        *,
        held: str = "",
    ) -> CreditOrder:
        async def change(uow: UnitOfWork, at_hand: HeldOrder) -> CreditOrder:
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
            return await move(uow, at_hand, moved, step)

        return await self._persist(order, CrashPoint.UNCERTAIN, change)

    async def _confirm(
        self,
        order: CreditOrder,
        code: str,
        sentence: str,
        read: _Read | None,
        detail: dict[str, Any],
        foreign_units: int = 0,
    ) -> CreditOrder:
        async def change(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
            detail_now = detail if read is None else detail | read.detail
            step = OrderStep(
                self.clock(), OrderState.CONFIRMED, code, sentence, DONE_BY, detail_now
            )
            confirmed = await confirm(uow, held, step, foreign_units=foreign_units)
            if read is None:
                arming = _arming(order)
                wallet = moved_by(arming.baseline, arming.count, arming.change_units)
                await put_wallet(uow, _binding(held), wallet, self.clock())
            else:
                await put_wallet(uow, _binding(held), read.wallet, read.at)
            return confirmed

        return await self._persist(order, CrashPoint.CONFIRMED, change)

    # -- UNCERTAIN: read evidence --------------------------------------------------------------

    async def _look(self, order: CreditOrder, meter: CreditMeter, link: LinkFacts) -> CreditOrder:
        try:
            read = await self._read(meter, link)
        except DeviceMismatchError as error:
            return await self._freeze(order, StepCode.IDENTITY, str(error), {})
        except (DriverError, PluginError) as error:
            return await self._put_off(order, StepCode.UNREAD, str(error), link=link)
        verdict = await self._judge(order, meter, read)
        code, sentence = verdict.evidence, verdict.sentence
        match verdict.next:
            case Next.CONFIRM:
                return await self._confirm(order, code, sentence, read, {}, verdict.foreign_units)
            case Next.CONFLICT:
                return await self._freeze(order, code, sentence, read.detail)
            case Next.FENCE:
                return await self._fence(order, verdict, read, link)
            case Next.SEND_AGAIN if not order.held:
                return await self._send_again(order, verdict, meter, read, link)
            case _:
                return await self._put_off(order, code, sentence, read=read, link=link)

    async def _judge(self, order: CreditOrder, meter: CreditMeter, read: _Read) -> Verdict:
        async with self.database.unit_of_work(read_only=True) as uow:
            assert order.binding_id is not None
            binding = await uow.bindings.get(order.organisation_id, order.binding_id)
        return self.rules.judge(
            _arming(order), read.wallet, _capability(meter), sole_seller=binding.sole_seller
        )

    async def _send_again(
        self,
        order: CreditOrder,
        verdict: Verdict,
        meter: CreditMeter,
        read: _Read,
        link: LinkFacts,
    ) -> CreditOrder:
        try:
            obstacle = await self._supply_obstacle(order, meter)
        except (DriverError, PluginError) as error:
            obstacle = str(error)
        if obstacle:
            return await self._put_off(
                order, verdict.evidence, f"{verdict.sentence}; {obstacle}", read=read, link=link
            )

        async def change(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
            again = send_again(_arming(held.order))
            return await self._armed(uow, held, again, _capability(meter))

        armed = await self._change(order, CrashPoint.ARMED, change)
        return await self._send(armed, meter, link)

    async def _fence(
        self, order: CreditOrder, verdict: Verdict, read: _Read, link: LinkFacts
    ) -> CreditOrder:
        """Bring an order whose count another purchase took back to waiting."""

        async def change(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
            now = self.clock()
            seen = OrderStep(
                now, order.state, verdict.evidence, verdict.sentence, DONE_BY, read.detail
            )
            steps = await uow.orders.steps(order.organisation_id, order.id)
            facts = fence_facts(order, [*steps, seen], zone=zone_of(held), link=link)
            fence = None if facts is None else self.rules.fence_of(facts)
            if fence is None:
                return await self._wait(uow, held, verdict.evidence, verdict.sentence, read)
            await move(uow, held, order, seen)
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
            await move(uow, held, moved, step)
            await book_foreign(uow, held, _binding(held), verdict.foreign_units, now)
            alarm = CreditAlarm.FOREIGN_PURCHASE
            await raise_alarm(uow, _meter(held), alarm, verdict.sentence, now)
            await put_wallet(uow, _binding(held), read.wallet, read.at)
            return moved

        return await self._change(order, CrashPoint.FENCE, change)

    # -- waiting and freezing ------------------------------------------------------------------

    async def _put_off(
        self,
        order: CreditOrder,
        code: str,
        sentence: str,
        *,
        read: _Read | None = None,
        link: LinkFacts = DIRECT,
    ) -> CreditOrder:
        async def change(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
            return await self._wait(uow, held, code, sentence, read, link)

        return await self._change(order, CrashPoint.UNCERTAIN, change)

    async def _wait(
        self,
        uow: UnitOfWork,
        held: HeldOrder,
        code: str,
        sentence: str,
        read: _Read | None,
        link: LinkFacts = DIRECT,
    ) -> CreditOrder:
        """Note a look without a result, and when the next one is."""
        now, order = self.clock(), held.order
        steps = await uow.orders.steps(order.organisation_id, order.id)
        delay = retry_delay(looks_in_a_row(steps) + 1)
        if code == StepCode.HELD:
            delay = HELD_LOOK
        detail = {} if read is None else read.detail
        step = OrderStep(now, order.state, code, sentence, DONE_BY, detail)
        moved = replace(
            order,
            due_at=now + max(delay, link.drain_time),
            outcome=sentence,
            held=sentence if code == StepCode.HELD else order.held,
        )
        facts = fence_facts(order, [*steps, step], zone=zone_of(held), link=link)
        fence = None if facts is None else self.rules.fence_of(facts)
        if fence is not None and order.state is OrderState.UNCERTAIN:
            moved = replace(moved, fence=fence.value)
        await move(uow, held, moved, step)
        return await self._alarm(uow, replace(held, order=moved), steps)

    async def _alarm(
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
        await raise_alarm(uow, _meter(held), CreditAlarm.ORDER_UNCERTAIN, sentence, now)
        step = OrderStep(now, order.state, StepCode.ALARM, sentence, DONE_BY)
        return await move(uow, held, order, step)

    async def _freeze(
        self, order: CreditOrder, code: str, sentence: str, detail: dict[str, Any]
    ) -> CreditOrder:
        async def change(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
            return await self._conflict(uow, held, code, sentence, None, detail)

        return await self._change(order, CrashPoint.UNCERTAIN, change)

    async def _conflict(
        self,
        uow: UnitOfWork,
        held: HeldOrder,
        code: str,
        sentence: str,
        read: _Read | None,
        detail: dict[str, Any] | None = None,
    ) -> CreditOrder:
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
        frozen = await move(uow, held, moved, step)
        await raise_alarm(uow, _meter(held), CreditAlarm.ORDER_CONFLICT, sentence, now)
        return frozen

    # -- commits -------------------------------------------------------------------------------

    async def _change(self, order: CreditOrder, point: CrashPoint, change: Change) -> CreditOrder:
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

    async def _persist(self, order: CreditOrder, point: CrashPoint, change: Change) -> CreditOrder:
        """Store what happened after a send; a database that is away must not lose it."""
        waiting = False
        while True:
            try:
                return await self._change(order, point, change)
            except (DatabaseUnavailableError, TransactionConflictError) as error:
                if not waiting:
                    log.warning("order waits to be stored", order=str(order.id), error=str(error))
                waiting = True
                await asyncio.sleep(STORE_RETRY_S)


def _capability(meter: CreditMeter) -> CountCapability:
    checked = Capability.COUNT_CHECKED in meter.capabilities
    return CountCapability(checked, meter.count_max, meter.withdraws_absolutely)


def _arming(order: CreditOrder) -> Arming:
    assert order.arming is not None
    return order.arming


def _binding(held: HeldOrder) -> Binding:
    assert held.binding is not None
    return held.binding


def _meter(held: HeldOrder) -> Meter:
    assert held.meter is not None
    return held.meter
