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
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol

from meterplex.db import Database, UnitOfWork
from meterplex.db.errors import (
    ConflictError,
    DatabaseUnavailableError,
    TransactionConflictError,
)
from meterplex.domain.estate import BindingId, MeterId, OrganisationId
from meterplex.domain.estate_rules import plain_number
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
    count_alarm,
    may_arm,
    may_log_in,
    retry_delay,
    send_again,
)
from meterplex.domain.prepayment.answers import LOG_IN_PERIOD, Answer, AnswerKind
from meterplex.domain.prepayment.credit_order import CreditOrder, StepCode
from meterplex.domain.registers import RegisterType
from meterplex.domain.supply import SupplyState
from meterplex.sdk import (
    Capability,
    CreditState,
    DeviceMismatchError,
    DriverError,
    Identity,
    MeterSnapshot,
    PluginError,
)
from meterplex.services.orders.answers import answer_of, refused_log_in
from meterplex.services.orders.compare_counts import account_for
from meterplex.services.orders.crash_points import CrashHook, CrashPoint, Moment, no_crash
from meterplex.services.orders.evidence import (
    DIRECT,
    LinkFacts,
)
from meterplex.services.orders.hoard_limit import hoard_limit
from meterplex.services.orders.journal import (
    STORE_RETRY_S,
    OrderJournal,
    WalletRead,
    arming_of,
    binding_of,
    meter_of,
)
from meterplex.services.orders.meter_alarms import CreditAlarm, raise_alarm
from meterplex.services.orders.meter_wallets import (
    currency_amount,
    expected_of,
    wallet_of,
)
from meterplex.services.orders.settle_orders import HeldOrder, OrderMovedError
from meterplex.services.orders.use_since import counter_of, read_counter, use_since

LOG_IN_FAILED: Final = {"log_in": "failed"}
"""Detail of a step at which the meter refused the log-in."""


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
    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot: ...
    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState: ...
    async def withdraw_credit(self, count: int, amount: Decimal) -> CreditState: ...


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

    @property
    def journal(self) -> OrderJournal:
        """Where its steps are written."""
        return OrderJournal(self.database, self.clock, self.rules, self.crash)

    async def recover(self) -> int:
        """Make every ARMED order UNCERTAIN, and have all that wait looked at now.

        To be called at start-up, before anything is delivered. Returns how many were ARMED.
        """
        async with self.database.unit_of_work(read_only=True) as uow:
            armed = await uow.orders.in_states({OrderState.ARMED})
        for order in armed:
            sentence = "the program stopped before the answer was stored"
            await self.journal.store_uncertain(
                order, StepCode.RESTARTED, sentence, {}, timedelta(0)
            )
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
            # A link that comes and goes wakes its orders each time; a meter still locks itself.
            if order.outcome and not may_log_in(await self._failed_log_ins(order), self.clock()):
                return await self._put_off_locked(order)
            if order.state is OrderState.PAID:
                return await self._begin(order, meter, link)
            if order.state is OrderState.UNCERTAIN:
                return await self._look(order, meter, link)
        except (OrderMovedError, ConflictError):
            return await self.journal.now(order)
        except (DatabaseUnavailableError, TransactionConflictError):
            await self._unarm(order)
            raise
        return order

    async def _unarm(self, order: CreditOrder) -> None:
        """Leave no order ARMED whose commit went unanswered: nothing was sent after it."""
        while True:
            try:
                found = await self.journal.now(order)
                if found.state is OrderState.ARMED:
                    sentence = "the database did not answer in time"
                    await self.journal.store_uncertain(
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
            return await self.journal.put_off(order, StepCode.UNREAD, reason)
        except OrderMovedError:
            return await self.journal.now(order)

    # -- PAID: read the baseline and arm -------------------------------------------------------

    async def _begin(self, order: CreditOrder, meter: CreditMeter, link: LinkFacts) -> CreditOrder:
        try:
            obstacle = await self._supply_obstacle(order, meter)
            read = await self._read(order, meter, link)
        except DeviceMismatchError as error:
            return await self.journal.freeze(order, StepCode.IDENTITY, str(error), {})
        except (DriverError, PluginError) as error:
            return await self._put_off_unread(order, error, link)
        if obstacle:
            return await self.journal.put_off(order, StepCode.HELD, obstacle, read=read)
        armed = await self._arm(order, meter, read, link)
        if armed.state is not OrderState.ARMED:
            return armed
        return await self._send(armed, meter, link)

    async def _put_off_unread(
        self, order: CreditOrder, error: Exception, link: LinkFacts
    ) -> CreditOrder:
        delay, detail = link.drain_time, {}
        if refused_log_in(error):
            delay, detail = await self._log_in_delay(order, delay), LOG_IN_FAILED
        return await self.journal.put_off(
            order, StepCode.UNREAD, str(error), link=link, detail=detail, delay_min=delay
        )

    async def _put_off_locked(self, order: CreditOrder) -> CreditOrder:
        sentence = "the meter refused the log-in too often within the hour"
        return await self.journal.put_off(order, StepCode.UNREAD, sentence, delay_min=LOG_IN_PERIOD)

    async def _supply_obstacle(self, order: CreditOrder, meter: CreditMeter) -> str:
        """Return why a withdrawal has to wait for the supply; empty when it need not."""
        if order.direction is Direction.DELIVER or not meter.withdraws_absolutely:
            return ""
        supply = await meter.read_supply()
        return (
            "" if supply.connected is False else f"credit is taken back with supply off: {supply}"
        )

    async def _read(self, order: CreditOrder, meter: CreditMeter, link: LinkFacts) -> WalletRead:
        self.crash(CrashPoint.BASELINE_READ, Moment.BEFORE)
        identity = await meter.identify()
        wallet = wallet_of(await meter.read_credit(), plain_number(identity.serial))
        clock = None
        if link.frame_lifetime is not None and Capability.CLOCK in meter.capabilities:
            clock = await meter.read_clock()
        counter = await self._counter(order, meter, wallet)
        self.crash(CrashPoint.BASELINE_READ, Moment.AFTER)
        return WalletRead(wallet, self.clock(), clock, counter)

    async def _counter(
        self, order: CreditOrder, meter: CreditMeter, wallet: Wallet
    ) -> Decimal | None:
        """Return the main counter where the wallet does not tell enough; see ``use_since``."""
        if wallet.total_purchased_units is not None:
            return None
        async with self.database.unit_of_work(read_only=True) as uow:
            register = await counter_of(uow, order)
        return None if register is None else await read_counter(meter, register)

    async def _arm(
        self, order: CreditOrder, meter: CreditMeter, read: WalletRead, link: LinkFacts
    ) -> CreditOrder:
        capability = _capability(meter)

        async def change(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
            others = await uow.orders.open_of_binding(order.organisation_id, binding_of(held).id)
            if not may_arm([other.state for other in others if other.id != order.id]):
                raise OrderMovedError("another order of the binding is on its way")
            decided = self.rules.arm(
                order.id,
                order.direction,
                order.deliver_units,
                read.wallet,
                capability,
                bound_to=expected_of(meter_of(held)),
                armed_at=self.clock(),
                hoard_units=await hoard_limit(uow, held.account, held.site),
            )
            if isinstance(decided, ArmingRefusal) and decided.state is OrderState.CONFLICT:
                return await self.journal.conflict(
                    uow, held, StepCode.IDENTITY, decided.sentence, read
                )
            compared = await account_for(
                uow,
                held.account,
                held.site,
                binding_of(held),
                meter_of(held),
                read.wallet,
                read_at=read.at,
                rules=self.rules,
            )
            if compared.outcome is Comparison.CONFLICT:
                return await self.journal.conflict(
                    uow, held, StepCode.IDENTITY, compared.sentence, read
                )
            if isinstance(decided, ArmingRefusal):
                return await self.journal.wait(
                    uow, held, StepCode.HELD, decided.sentence, read.detail
                )
            if count_alarm(decided.count, capability):
                await self._tell_count_end(uow, held, decided, capability)
            return await self.journal.armed(uow, held, decided, capability, link, read)

        return await self.journal.change(order, CrashPoint.ARMED, change)

    async def _tell_count_end(
        self, uow: UnitOfWork, held: HeldOrder, arming: Arming, capability: CountCapability
    ) -> None:
        if not count_alarm(arming.count - 1, capability):
            sentence = f"purchase {arming.count} of at most {capability.count_max}"
            alarm = CreditAlarm.PURCHASE_COUNT_END
            await raise_alarm(uow, meter_of(held), alarm, sentence, self.clock())

    # -- ARMED: send ---------------------------------------------------------------------------

    async def _send(self, order: CreditOrder, meter: CreditMeter, link: LinkFacts) -> CreditOrder:
        arming = arming_of(order)
        send = meter.withdraw_credit
        if order.direction is Direction.DELIVER:
            send = meter.deliver_credit
        self.crash(CrashPoint.FIRST_BYTE, Moment.BEFORE)
        read, failure = None, None
        try:
            credit = await send(arming.count, currency_amount(arming.amount_units))
            answer = Answer(AnswerKind.ACCEPTED)
            read = WalletRead(wallet_of(credit), self.clock())
        except Exception as error:  # noqa: BLE001 - whatever it was, bytes may be out
            answer, failure = answer_of(error, link), error
        self.crash(CrashPoint.LAST_BYTE, Moment.AFTER)
        self.crash(CrashPoint.ANSWER_READ, Moment.AFTER)
        verdict = self.rules.after_answer(arming, answer, sent_before=arming.attempt > 1)
        return await self._store_answer(order, meter, link, verdict, answer, read, failure)

    async def _store_answer(
        self,
        order: CreditOrder,
        meter: CreditMeter,
        link: LinkFacts,
        verdict: AnswerVerdict,
        answer: Answer,
        read: WalletRead | None,
        failure: Exception | None,
    ) -> CreditOrder:
        reason = "" if failure is None else f"{type(failure).__name__}: {failure}"
        detail = {"answer": answer.kind.value, "reason": reason}
        if refused_log_in(failure):
            detail |= LOG_IN_FAILED
        sentence = f"{verdict.sentence}: {reason}" if reason else verdict.sentence
        if verdict.step is AnswerStep.ARM_LATER:
            delay = timedelta(0)
            if refused_log_in(failure):
                delay = await self._log_in_delay(order, delay)
            return await self.journal.store_unsent(order, sentence, detail, delay_min=delay)
        if verdict.step is AnswerStep.BOOK:
            return await self.journal.confirm(order, StepCode.ANSWER, sentence, read, detail)
        if verdict.step is AnswerStep.READ_BACK and read is not None:
            counter = await self._counter(order, meter, read.wallet)
            judged = await self._judge(order, meter, replace(read, counter=counter))
            if judged.next is Next.CONFIRM:
                return await self.journal.confirm(
                    order, judged.evidence, judged.sentence, read, detail, judged.foreign_units
                )
            sentence = f"accepted, but {judged.sentence}"
            detail |= read.detail
        held = verdict.sentence if verdict.step is AnswerStep.HOLD else ""
        delay = max(retry_delay(1), link.drain_time)
        if verdict.step is AnswerStep.LOG_IN:
            delay = await self._log_in_delay(order, delay)
        return await self.journal.store_uncertain(
            order, StepCode.ANSWER, sentence, detail, delay, held=held
        )

    async def _log_in_delay(self, order: CreditOrder, delay: timedelta) -> timedelta:
        """Return how long to keep away from a meter that locks itself after failed log-ins."""
        now = self.clock()
        failed = await self._failed_log_ins(order)
        return delay if may_log_in([*failed, now], now) else LOG_IN_PERIOD

    async def _failed_log_ins(self, order: CreditOrder) -> list[datetime]:
        async with self.database.unit_of_work(read_only=True) as uow:
            steps = await uow.orders.steps(order.organisation_id, order.id)
        return [step.at for step in steps if LOG_IN_FAILED.items() <= step.detail.items()]

    # -- UNCERTAIN: read evidence --------------------------------------------------------------

    async def _look(self, order: CreditOrder, meter: CreditMeter, link: LinkFacts) -> CreditOrder:
        try:
            read = await self._read(order, meter, link)
        except DeviceMismatchError as error:
            return await self.journal.freeze(order, StepCode.IDENTITY, str(error), {})
        except (DriverError, PluginError) as error:
            return await self._put_off_unread(order, error, link)
        verdict = await self._judge(order, meter, read)
        code, sentence = verdict.evidence, verdict.sentence
        match verdict.next:
            case Next.CONFIRM:
                return await self.journal.confirm(
                    order, code, sentence, read, {}, verdict.foreign_units
                )
            case Next.CONFLICT:
                return await self.journal.freeze(order, code, sentence, read.detail)
            case Next.FENCE:
                return await self.journal.fence(order, verdict, read, link)
            case Next.SEND_AGAIN if not order.held:
                return await self._send_again(order, verdict, meter, read, link)
            case _:
                return await self.journal.put_off(order, code, sentence, read=read, link=link)

    async def _judge(self, order: CreditOrder, meter: CreditMeter, read: WalletRead) -> Verdict:
        async with self.database.unit_of_work(read_only=True) as uow:
            assert order.binding_id is not None
            binding = await uow.bindings.get(order.organisation_id, order.binding_id)
            use = await use_since(uow, order, read.wallet, read.counter, read.at)
        return self.rules.judge(
            arming_of(order),
            read.wallet,
            _capability(meter),
            sole_seller=binding.sole_seller,
            use=use,
        )

    async def _send_again(
        self,
        order: CreditOrder,
        verdict: Verdict,
        meter: CreditMeter,
        read: WalletRead,
        link: LinkFacts,
    ) -> CreditOrder:
        try:
            obstacle = await self._supply_obstacle(order, meter)
        except (DriverError, PluginError) as error:
            obstacle = str(error)
        if obstacle:
            return await self.journal.put_off(
                order, verdict.evidence, f"{verdict.sentence}; {obstacle}", read=read, link=link
            )

        async def change(uow: UnitOfWork, held: HeldOrder) -> CreditOrder:
            again = send_again(arming_of(held.order))
            return await self.journal.armed(uow, held, again, _capability(meter), link, read)

        armed = await self.journal.change(order, CrashPoint.ARMED, change)
        return await self._send(armed, meter, link)


def _capability(meter: CreditMeter) -> CountCapability:
    checked = Capability.COUNT_CHECKED in meter.capabilities
    return CountCapability(checked, meter.count_max, meter.withdraws_absolutely)
