"""Orders over a bus of the head-end, to the simulated DTSY1352."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import ModuleType
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from tests.conftest import Estate
from tests.services.prepaid_desk import Desk, open_desk

from meterplex import hookimpl
from meterplex.db import Database
from meterplex.domain.prepayment import OrderState
from meterplex.domain.readings import RunId
from meterplex.headend.bus import Bus, FinishedRun, Member
from meterplex.headend.line import Line
from meterplex.headend.order_delivery import OrderDispatch
from meterplex.headend.reading_plan import MeterPlan
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
from meterplex.services.deliver_orders import OrderDelivery
from meterplex_acrel_dtsy import models

pytestmark = pytest.mark.integration


@dataclass
class TwinWire:
    """A channel whose only device is the desk's meter."""

    desk: Desk
    down: str = ""
    mute: bool = False
    receiver: Receiver | None = None

    async def open(self, _: ChannelSettings, receiver: Receiver) -> "TwinWire":
        if self.down:
            raise LinkUnavailableError(self.down)
        self.receiver = receiver
        return self

    def write(self, data: bytes) -> None:
        reply = b"" if self.mute else self.desk.twin.receive(data)
        if reply and self.receiver is not None:
            asyncio.get_running_loop().call_soon(self.receiver.bytes_received, reply)

    def close(self) -> None:
        self.receiver = None


class Forgetful:
    async def put(self, finished: FinishedRun) -> None:
        """Store nothing."""


def make_bus(desk: Desk, wire: TwinWire) -> Bus:
    settings = ChannelSettings(
        ChannelUrl.parse("twin://bus"), Framing.RAW, LineTiming(0.00001, 0.01, 0.05), True
    )
    channel_type = ChannelType("twin", "a twin", lambda _: settings, wire.open)
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
        line=Line(channel_type, settings, lambda: datetime.now(UTC)),
        zone=ZoneInfo("Asia/Shanghai"),
        plugins=PluginManager.load((hooks,), ()),
        sink=Forgetful(),
        wall=lambda: datetime.now(UTC),
        new_id=lambda: RunId(uuid4()),
        members={meter.id: member},
    )


@asynccontextmanager
async def dispatching(desk: Desk, wire: TwinWire) -> AsyncIterator[OrderDispatch]:
    bus = make_bus(desk, wire)
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
