"""Orders over a bus of the head-end, to the simulated DTSY1352."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from types import ModuleType
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from tests.conftest import Estate
from tests.services.prepaid_desk import YUAN, Desk, open_desk

from meterplex import hookimpl
from meterplex.db import Database
from meterplex.domain.prepayment import OrderId, OrderState
from meterplex.domain.prepayment.credit_order import CreditOrder
from meterplex.domain.readings import RunId
from meterplex.headend.bus import Bus, FinishedRun, Member
from meterplex.headend.line import Line
from meterplex.headend.order_delivery import OrderDispatch, SupervisedMeter, facts_of
from meterplex.headend.reading_plan import MeterPlan
from meterplex.headend.turns import Order, WorkClass
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import (
    ChannelSettings,
    ChannelType,
    ChannelUrl,
    Framing,
    LineTiming,
    LinkUnavailableError,
    Receiver,
)
from meterplex.services.orders.crash_points import CrashPoint, Moment
from meterplex.services.orders.decide_orders import void_order
from meterplex.services.orders.deliver_orders import OrderDelivery
from meterplex_acrel_dtsy import models

SALE = bytes((0x20, 0x01, 0x00))
"""Function and start of the frame that sells, after section 3 of the meter's sheet."""

pytestmark = pytest.mark.integration


@dataclass
class TwinWire:
    """A channel whose only device is the desk's meter."""

    desk: Desk
    down: str = ""
    mute: bool = False
    direct: bool = True
    dead: bool = False
    opened: int = 0
    loses: bytes = b""
    """Function and address of the requests that never arrive."""
    lost: list[bytes] = field(default_factory=list)
    heard: bytes = b""
    """The first byte of a request whose others have not come yet."""
    receiver: Receiver | None = None

    async def open(self, _: ChannelSettings, receiver: Receiver) -> "TwinWire":
        if self.down:
            raise LinkUnavailableError(self.down)
        self.receiver = receiver
        self.opened += 1
        return self

    def write(self, data: bytes) -> None:
        if self.dead:
            return
        data = self.heard + data
        self.heard = data if len(data) == 1 else b""
        if self.heard:
            return
        if self.loses and data[1:].startswith(self.loses):
            self.lost.append(data)
            return
        reply = b"" if self.mute else self.desk.twin.receive(data)
        if reply:
            asyncio.get_running_loop().call_soon(self._answer, reply)

    def _answer(self, reply: bytes) -> None:
        if self.receiver is not None and not self.dead:
            self.receiver.bytes_received(reply)

    def close(self) -> None:
        self.receiver = None


class Forgetful:
    async def put(self, finished: FinishedRun) -> None:
        """Store nothing."""


def make_bus(desk: Desk, wire: TwinWire, url: str = "twin://bus") -> Bus:
    settings = ChannelSettings(
        ChannelUrl.parse(url), Framing.RAW, LineTiming(0.00001, 0.01, 0.05), True
    )
    channel_type = ChannelType("twin", "a twin", lambda _: settings, wire.open, direct=wire.direct)
    model = models.dtsy1352()
    hooks = ModuleType("twin_hooks")
    vars(hooks)["meterplex_meter_models"] = hookimpl(lambda: [model])
    meter = desk.meter
    fields = {name: getattr(meter, name) for name in type(meter).__dataclass_fields__}
    fields |= {"model": model.id, "address": "1", "settings": {"count_checked": "true"}}
    member = Member(type(meter)(**fields), model, MeterPlan(1e9, 1e9))
    return Bus(
        site="east",
        channel=desk.estate.channel,
        line=Line(channel_type, settings, desk.clock),
        zone=ZoneInfo("Asia/Shanghai"),
        plugins=PluginManager.load((hooks,), ()),
        sink=Forgetful(),
        wall=desk.clock,
        new_id=lambda: RunId(uuid4()),
        members={meter.id: member},
    )


@asynccontextmanager
async def dispatching(
    desk: Desk, wire: TwinWire, *, url: str = "twin://bus"
) -> AsyncIterator[OrderDispatch]:
    bus = make_bus(desk, wire, url)
    delivery = OrderDelivery(desk.database, desk.clock)
    dispatch = OrderDispatch(
        delivery,
        lambda meter_id: (bus, bus.members[meter_id]) if meter_id in bus.members else None,
        poll_s=0.02,
    )
    task = asyncio.create_task(dispatch.run())
    try:
        yield dispatch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        bus.line.close()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(1000):
        if await holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come about")


async def reaches(desk: Desk, order_id: object, state: OrderState) -> None:
    async def reached() -> bool:
        return (await desk.order(order_id)).state is state

    await until(reached)


async def test_orders_reach_their_meter_in_turn(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    sales = [await desk.vend(10, f"k-{number}") for number in range(3)]
    async with dispatching(desk, TwinWire(desk)) as dispatch:
        dispatch.announce()
        await reaches(desk, sales[-1].order_id, OrderState.CONFIRMED)
    assert (desk.count, desk.held_cents) == (3, 3_000)


async def test_order_waits_for_a_line_and_goes_when_the_meter_answers(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(10, "k-1")
    wire = TwinWire(desk, down="no such port")
    async with dispatching(desk, wire) as dispatch:

        async def tried() -> bool:
            return len(await desk.steps(sale.order_id)) > 1

        await until(tried)
        order = await desk.order(sale.order_id)
        assert (order.state, order.ever_sent) == (OrderState.PAID, False)
        wire.down = ""

        async def confirmed() -> bool:  # a line that failed rests before it is opened again
            await dispatch.answered(desk.account.organisation_id, [desk.meter.id], restored=False)
            return (await desk.order(sale.order_id)).state is OrderState.CONFIRMED

        await until(confirmed)


async def test_only_what_met_silence_is_woken_by_a_reading(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(10, "k-1")
    await desk.change_account(hoard_units=1)
    async with dispatching(desk, TwinWire(desk)) as dispatch:

        async def held() -> bool:
            return bool((await desk.order(sale.order_id)).held)

        await until(held)
        due_at = (await desk.order(sale.order_id)).due_at
        await dispatch.answered(desk.account.organisation_id, [desk.meter.id], restored=False)
        assert (await desk.order(sale.order_id)).due_at == due_at
        await desk.change_account(hoard_units=None)
        await dispatch.answered(desk.account.organisation_id, [desk.meter.id], restored=True)
        await reaches(desk, sale.order_id, OrderState.CONFIRMED)


async def give_up(desk: Desk, order_id: OrderId) -> OrderState:
    given_up = await void_order(
        desk.database,
        desk.account.organisation_id,
        order_id,
        at=desk.clock(),
        operator=desk.manager.name,
        reason="paid twice",
        rules=desk.rules,
    )
    return given_up.state


async def look_until(desk: Desk, order_id: OrderId, **span: float) -> CreditOrder:
    """Let time pass, look by look, and return the order as the last one left it."""
    end = desk.clock.now + timedelta(**span)
    while True:
        order = await desk.order(order_id)
        assert order.due_at is not None
        if order.due_at > end:
            desk.clock.now = end
            return order
        desk.clock.now = max(desk.clock.now, order.due_at)
        await until(partial(_moved_on, desk, order))


async def _moved_on(desk: Desk, before: CreditOrder) -> bool:
    return (await desk.order(before.id)).due_at != before.due_at


async def test_order_is_given_up_when_its_session_is_long_over(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(10, "k-1")
    wire = TwinWire(desk, loses=SALE)
    async with dispatching(desk, wire):
        await reaches(desk, sale.order_id, OrderState.UNCERTAIN)
        assert await give_up(desk, sale.order_id) is OrderState.UNCERTAIN
        sessions = wire.opened
        order = await look_until(desk, sale.order_id, minutes=9)
        assert wire.opened == sessions + 1
        assert order.fence == ""
        order = await look_until(desk, sale.order_id, minutes=3)
        assert order.fence == "F3"
        assert await give_up(desk, sale.order_id) is OrderState.VOIDED
    assert len(wire.lost) == 1
    assert (desk.count, desk.held_cents) == (0, 0)
    assert await desk.balances() == {"cash": -10 * YUAN, "refund_payable": 10 * YUAN}


async def test_link_that_may_store_frames_gives_no_fence(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(10, "k-1")
    wire = TwinWire(desk, loses=SALE, direct=False)
    async with dispatching(desk, wire):
        await reaches(desk, sale.order_id, OrderState.UNCERTAIN)
        await give_up(desk, sale.order_id)
        order = await look_until(desk, sale.order_id, hours=3)
        assert (order.state, order.fence, wire.opened) == (OrderState.UNCERTAIN, "", 1)
        assert await give_up(desk, sale.order_id) is OrderState.UNCERTAIN


async def test_frame_that_left_over_another_path_is_not_fenced(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(10, "k-1")
    wire = TwinWire(desk, loses=SALE)
    async with dispatching(desk, wire):
        await reaches(desk, sale.order_id, OrderState.UNCERTAIN)
    await give_up(desk, sale.order_id)
    async with dispatching(desk, TwinWire(desk), url="twin://other"):
        order = await look_until(desk, sale.order_id, hours=3)
    assert (order.state, order.fence) == (OrderState.UNCERTAIN, "")


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize(
    "point", [CrashPoint.FIRST_BYTE, CrashPoint.LAST_BYTE, CrashPoint.ANSWER_READ]
)
async def test_program_that_ends_between_the_bytes_loses_and_doubles_nothing(
    database: Database, estate: Estate, point: CrashPoint, moment: Moment
) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(10, "k-1")
    wire = TwinWire(desk)

    def crash(at: CrashPoint, when: Moment) -> None:
        if (at, when) == (point, moment):
            wire.dead = True
            program.cancel()

    bus = make_bus(desk, wire)
    (member,) = bus.members.values()
    delivery = desk.delivery(crash)
    link = bus.link(member, Order(WorkClass.CREDIT), crash=crash)
    meter = SupervisedMeter(bus, member, link, bus.driver(member, link))
    (order,) = await delivery.due()
    program = asyncio.create_task(delivery.attempt(order, meter, facts_of(link)))
    with suppress(asyncio.CancelledError):
        await program
    assert wire.dead
    bus.line.close()
    assert (await desk.order(order.id)).state is OrderState.ARMED
    await delivery.recover()
    async with dispatching(desk, TwinWire(desk)):
        desk.clock.advance(seconds=10)
        await until(partial(_settled, desk, order))
    assert (desk.count, desk.held_cents) == (1, 1_000)
    assert await desk.balances() == {"cash": -10 * YUAN, "meter": 10 * YUAN}


async def _settled(desk: Desk, order: CreditOrder) -> bool:
    return (await desk.order(order.id)).state is OrderState.CONFIRMED
