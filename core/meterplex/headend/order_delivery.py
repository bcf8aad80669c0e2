"""Decides which order is tried when, and over which line; what a try does is in the services.

Rows are looked at when somebody announces a commit, when a meter answers again that was silent, and
every :attr:`OrderDispatch.poll_s` for commits of other programs. A meter has one order tried at a
time, oldest first. A closed or lost line costs nothing but the try.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from hashlib import sha256
from typing import Any, Final, TypeVar

import structlog

from meterplex.db.errors import DatabaseError
from meterplex.domain.estate import MeterId, OrganisationId
from meterplex.domain.prepayment import OrderState
from meterplex.domain.prepayment.credit_order import CreditOrder
from meterplex.headend.bus import Bus, Member
from meterplex.headend.line import Line
from meterplex.headend.line_link import LineLink
from meterplex.headend.supervision import supervise
from meterplex.headend.turns import Order, WorkClass
from meterplex.sdk import (
    Capability,
    CreditState,
    Identity,
    LinkError,
    MeterDriver,
    MeterSnapshot,
    OutcomeUnknownError,
    PluginError,
    RegisterType,
    SettingsError,
    SupplyState,
)
from meterplex.services.orders.crash_points import no_crash
from meterplex.services.orders.deliver_orders import DueOrder, OrderDelivery
from meterplex.services.orders.evidence import LinkFacts

log = structlog.get_logger(__name__)

DEADLINE_S: Final = 120.0
PATH_DIGITS: Final = 16

Found = tuple[Bus, Member]
Result = TypeVar("Result")


@dataclass(slots=True)
class SupervisedMeter:
    """A meter's driver whose every call is bounded, whatever it does.

    Attributes:
        silent: the link failed in some call.
    """

    bus: Bus
    member: Member
    link: LineLink
    driver: MeterDriver
    silent: bool = False

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the driver can do."""
        return self.driver.capabilities

    @property
    def count_max(self) -> int:
        """Largest purchase count."""
        return self.driver.count_max

    @property
    def withdraws_absolutely(self) -> bool:
        """Whether a withdrawal writes what is to remain."""
        return self.driver.withdraws_absolutely

    async def identify(self) -> Identity:
        """See ``MeterDriver``."""
        return await self._bounded(self.driver.identify())

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """See ``MeterDriver``."""
        return await self._bounded(self.driver.read(registers))

    async def read_clock(self) -> datetime:
        """See ``MeterDriver``."""
        return await self._bounded(self.driver.read_clock())

    async def read_supply(self) -> SupplyState:
        """See ``MeterDriver``."""
        return await self._bounded(self.driver.read_supply())

    async def read_credit(self) -> CreditState:
        """See ``MeterDriver``."""
        return await self._bounded(self.driver.read_credit())

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        """See ``MeterDriver``."""
        return await self._bounded(self.driver.deliver_credit(count, amount))

    async def withdraw_credit(self, count: int, amount: Decimal) -> CreditState:
        """See ``MeterDriver``."""
        return await self._bounded(self.driver.withdraw_credit(count, amount))

    async def _bounded(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            return await supervise(work, self.link, deadline_s=DEADLINE_S)
        except (LinkError, OutcomeUnknownError):
            self.silent = True
            raise
        except PluginError as error:
            self.bus.plugins.report_failure(self.member.meter.model, "credit", error)
            raise


@dataclass(slots=True)
class OrderDispatch:
    """Tries the orders of all buses of a head-end.

    Attributes:
        find: returns the bus and member of a meter; None when it is on none of ours.
        poll_s: how often rows are looked for that nobody announced.
        due_orders: how many were due at the last look.
    """

    delivery: OrderDelivery
    find: Callable[[MeterId], Found | None]
    poll_s: float = 0.5
    due_orders: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _busy: dict[MeterId, asyncio.Task[None]] = field(default_factory=dict)
    _silent: set[MeterId] = field(default_factory=set)

    def announce(self) -> None:
        """Look at once: an order was just committed. Never blocks."""
        self._wake.set()

    async def answered(
        self, organisation_id: OrganisationId, meters: Collection[MeterId], *, restored: bool
    ) -> None:
        """Have what waits on meters that answer looked at now.

        Args:
            restored: they, or their channel, were lost before; otherwise only those count that
                kept silent when an order was tried last.
        """
        woken = set(meters) if restored else self._silent.intersection(meters)
        if woken:
            await self.delivery.wake([(organisation_id, meter_id) for meter_id in woken])
            self._silent -= woken
            self._wake.set()

    async def run(self) -> None:
        """Deliver for ever. Being cancelled leaves every order as its row says."""
        blind = False
        try:
            while True:
                self._wake.clear()
                try:
                    self._start(await self.delivery.due_on_meters())
                except DatabaseError as error:
                    if not blind:
                        log.warning("orders not looked up", error=str(error))
                    blind = True
                else:
                    blind = False
                try:
                    async with asyncio.timeout(self.poll_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            await self._stop()

    def _start(self, due: Sequence[DueOrder]) -> None:
        """Serve the meters that are not being served, each with its oldest order."""
        self.due_orders = len(due)
        for each in due:
            found = self.find(each.meter_id)
            if found is not None and each.meter_id not in self._busy:
                task = asyncio.create_task(self._try(each, found))
                self._busy[each.meter_id] = task
                task.add_done_callback(partial(self._tried, each.meter_id))

    def _tried(self, meter_id: MeterId, task: asyncio.Task[None]) -> None:
        del self._busy[meter_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("order delivery failed", meter=str(meter_id), exc_info=error)
        else:
            self._wake.set()  # the next of this meter, and what was committed meanwhile

    async def _try(self, due: DueOrder, found: Found) -> None:
        bus, member = found
        order = due.order
        turn = Order(WorkClass.CREDIT, promise=order.created_at.timestamp())
        crash = None if self.delivery.crash is no_crash else self.delivery.crash
        try:
            link = bus.link(member, turn, crash=crash)
            meter = SupervisedMeter(bus, member, link, bus.driver(member, link))
        except (PluginError, SettingsError) as error:
            await self.delivery.put_off(order, str(error))
            return
        if _waits_for_close(order, bus.line):
            await bus.line.renew(turn)
        facts = facts_of(link)
        try:
            if await self.delivery.attempt(order, meter, facts) == order:
                await asyncio.sleep(self.poll_s)
        except DatabaseError as error:
            log.warning("order not brought further", order=str(order.id), error=str(error))
            await asyncio.sleep(self.poll_s)
        finally:
            if meter.silent:
                self._silent.add(due.meter_id)

    async def _stop(self) -> None:
        tasks: Iterable[asyncio.Task[None]] = [*self._busy.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def facts_of(link: LineLink) -> LinkFacts:
    """Return what orders must know of a link; the protocols here give frames no expiry."""
    line = link.line
    path = sha256(line.settings.url.text.encode()).hexdigest()
    return LinkFacts(
        drain_time=timedelta(seconds=line.drain_time_s(link.response_time_s)),
        path=path[:PATH_DIGITS],
        session_closed_at=line.closed_at if line.channel_type.direct else None,
        control_sent=lambda: link.control_sent,
    )


def _waits_for_close(order: CreditOrder, line: Line) -> bool:
    """Tell whether an order that somebody wants to give up can only be once its session is over."""
    if not (order.state is OrderState.UNCERTAIN and order.held and line.channel_type.direct):
        return False
    if order.sent_at is None or line.closed_at is None:
        return False
    return line.closed_at < order.sent_at
