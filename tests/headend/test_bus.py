"""A bus reading its meters on simulated time."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import time
from decimal import Decimal
from itertools import pairwise
from typing import Any, NoReturn

import pytest

from meterplex.domain.estate import LinkState, LostReason, ReadingWindow
from meterplex.domain.readings import ReadingSource
from meterplex.domain.registers import VOLTAGE_L1, RegisterType
from meterplex.headend.reading_plan import PROBE_S
from meterplex.sdk import (
    Identity,
    Link,
    MeterDriver,
    MeterSnapshot,
    RegisterValue,
)
from meterplex.simulator.virtual_time import run_in_virtual_time

NewWorld = Callable[..., Any]


async def read_for(world: Any, seconds: float) -> None:
    task = asyncio.create_task(world.bus.run())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def changes(world: Any) -> list[tuple[str, LinkState, LostReason | None]]:
    return [
        (change.subject, change.state, change.reason)
        for finished in world.sink.runs
        for change in finished.changes
    ]


def reads_of(world: Any, address: str) -> list[float]:
    return [at for at, text in world.wire.sent if text == f"{address}:read"]


def test_each_meter_is_read_once_an_interval(new_world: NewWorld) -> None:
    world = new_world(3, interval_s=10)
    run_in_virtual_time(read_for(world, 95))
    assert [len(reads_of(world, address)) for address in "123"] == [10, 10, 10]
    assert len(world.sink.runs) == 10


def test_a_run_has_a_success_and_a_failure_list(new_world: NewWorld) -> None:
    world = new_world(3)
    world.wire.devices["2"].alive = False
    run_in_virtual_time(read_for(world, 1))
    run = world.sink.runs[0].run
    assert run.source is ReadingSource.SCHEDULED
    assert run.succeeded == (world.members["1"].meter.id, world.members["3"].meter.id)
    assert [failure.meter_id for failure in run.failed] == [world.members["2"].meter.id]
    assert run.failed[0].reason.startswith("LinkTimeoutError: meter 2")
    assert run.ended_at > run.started_at


def test_a_meter_is_lost_once_and_restored_once(new_world: NewWorld) -> None:
    world = new_world(3)

    async def run() -> None:
        task = asyncio.create_task(read_for(world, 400))
        await asyncio.sleep(25)
        world.wire.devices["2"].alive = False
        await asyncio.sleep(200)
        world.wire.devices["2"].alive = True
        await task

    run_in_virtual_time(run())
    of_meter_2 = [
        (change.state, change.reason)
        for finished in world.sink.runs
        for change in finished.changes
        if change.subject_id == world.members["2"].meter.id
    ]
    assert of_meter_2 == [
        (LinkState.REACHED, None),
        (LinkState.LOST, LostReason.METER),
        (LinkState.REACHED, None),
    ]


def test_what_answers_in_place_of_a_lost_meter_is_asked_who_it_is(new_world: NewWorld) -> None:
    world = new_world(3)

    async def run() -> None:
        task = asyncio.create_task(read_for(world, 400))
        await asyncio.sleep(25)
        world.wire.devices["2"].alive = False
        await asyncio.sleep(200)
        world.wire.devices["2"].serial = "90000001"
        world.wire.devices["2"].alive = True
        await task

    run_in_virtual_time(run())
    told = [
        snapshot.serial
        for finished in world.sink.runs
        for snapshot in finished.taken
        if snapshot.meter.id == world.members["2"].meter.id
    ]
    assert [serial for serial in told if serial] == ["90000001"]


def test_dead_meters_cost_one_short_probe_each_probe_interval(new_world: NewWorld) -> None:
    world = new_world(27, interval_s=1)
    for address in ("5", "6", "7"):
        world.wire.devices[address].alive = False
    run_in_virtual_time(read_for(world, 400))
    probes = [at for at, text in world.wire.sent if text == "5:who" and at > 60]
    assert len(probes) <= (400 - 60) / PROBE_S + 1
    gaps = [later - sooner for sooner, later in pairwise(reads_of(world, "1"))]
    assert max(gaps) < 3


def test_a_revived_meter_is_seen_within_a_minute(new_world: NewWorld) -> None:
    world = new_world(27, interval_s=1800)
    world.wire.devices["5"].alive = False

    async def run() -> Any:
        task = asyncio.create_task(read_for(world, 1000))
        await asyncio.sleep(600)
        world.wire.devices["5"].alive = True
        await task
        return min(at for at in reads_of(world, "5") if at > 600)

    assert run_in_virtual_time(run()) <= 660


def test_a_bus_on_which_nobody_answers_has_its_line_cut(new_world: NewWorld) -> None:
    world = new_world(3)
    for device in world.wire.devices.values():
        device.alive = False
    run_in_virtual_time(read_for(world, 60))
    lost = [reason for subject, state, reason in changes(world) if state is LinkState.LOST]
    assert lost == [LostReason.LINE] * 3


def test_a_channel_that_cannot_be_opened_is_lost_once_with_its_meters(new_world: NewWorld) -> None:
    world = new_world(2)
    world.wire.down = "no such port"

    async def run() -> None:
        task = asyncio.create_task(read_for(world, 300))
        await asyncio.sleep(120)
        world.wire.down = ""
        await task

    run_in_virtual_time(run())
    assert sorted(changes(world), key=str) == sorted(
        [
            ("channel", LinkState.LOST, LostReason.LINE),
            ("meter", LinkState.LOST, LostReason.LINE),
            ("meter", LinkState.LOST, LostReason.LINE),
            ("channel", LinkState.REACHED, None),
            ("meter", LinkState.REACHED, None),
            ("meter", LinkState.REACHED, None),
        ],
        key=str,
    )


def test_nothing_is_read_outside_the_window_and_commands_still_are(new_world: NewWorld) -> None:
    world = new_world(1, interval_s=600)
    # The world starts at 20:00 in Shanghai.
    world.bus.channel = replace(world.bus.channel, window=ReadingWindow(time(21), time(22)))

    async def run() -> None:
        task = asyncio.create_task(read_for(world, 3 * 3600))
        await asyncio.sleep(60)
        await world.bus.read_now(world.members["1"].meter.id, ReadingSource.ON_DEMAND)
        await task

    run_in_virtual_time(run())
    times = reads_of(world, "1")
    assert times[0] == pytest.approx(60, abs=1)
    assert times[1] == pytest.approx(3600, abs=61)
    assert max(times) < 7200


def test_a_read_on_demand_goes_before_the_scheduled_ones(new_world: NewWorld) -> None:
    world = new_world(20)

    async def run() -> None:
        task = asyncio.create_task(read_for(world, 5))
        await asyncio.sleep(0.01)
        await world.bus.read_now(world.members["20"].meter.id, ReadingSource.ON_DEMAND)
        await task

    run_in_virtual_time(run())
    assert [text for _, text in world.wire.sent][:3] == ["1:read", "20:read", "2:read"]


def test_status_tells_lost_late_and_oldest(new_world: NewWorld) -> None:
    world = new_world(3, interval_s=10)
    world.wire.devices["3"].alive = False

    async def run() -> Any:
        await read_for(world, 100)
        await asyncio.sleep(30)
        return world.bus.status()

    status = run_in_virtual_time(run())
    assert (status.meters, status.live, status.lost, status.late) == (3, 2, 1, 2)
    assert 30 < status.oldest_age_s < 41
    assert status.timeouts < status.exchanges
    assert status.run_s is not None


class Broken(MeterDriver):
    """A driver that does what it must not; the good ones beside it must not notice."""

    def __init__(self, misdeed: Callable[[], Awaitable[Any]]) -> None:
        self._misdeed = misdeed

    async def identify(self) -> Identity:
        return await self.read()  # type: ignore[return-value]  # misbehaves in the same way

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        snapshot: MeterSnapshot = await self._misdeed()
        return snapshot


async def raise_it() -> NoReturn:
    raise ZeroDivisionError


async def wait_for_ever() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError


async def return_nonsense() -> str:
    return "nonsense"


async def return_another_register() -> MeterSnapshot:
    return MeterSnapshot((RegisterValue(VOLTAGE_L1, Decimal(230)),))


@pytest.mark.parametrize(
    "misdeed", [raise_it, wait_for_ever, return_nonsense, return_another_register]
)
def test_a_misbehaving_driver_at_most_doubles_the_cycle_of_the_others(
    new_world: NewWorld, misdeed: Callable[[], Any]
) -> None:
    good = new_world(20, interval_s=0.5)
    run_in_virtual_time(read_for(good, 200))

    def driver(link: Link, address: str, settings: Mapping[str, str]) -> MeterDriver:
        plain = new_world(1).bus.plugins.models["word_meter"].driver
        return Broken(misdeed) if address in ("3", "4") else plain(link, address, settings)

    world = new_world(20, interval_s=0.5, driver=driver)
    run_in_virtual_time(read_for(world, 200))
    assert len(reads_of(world, "1")) >= len(reads_of(good, "1")) / 2
    lost = [reason for subject, state, reason in changes(world) if state is LinkState.LOST]
    assert lost == [LostReason.PLUGIN] * 2
    assert world.bus.plugins.plugins[0].failures > 0


def test_a_disabled_plugin_loses_its_meters_and_costs_nothing(new_world: NewWorld) -> None:
    world = new_world(2)
    world.bus.plugins.disable("meterplex", "it blocked the event loop")
    run_in_virtual_time(read_for(world, 60))
    assert world.wire.sent == []
    assert {reason for _, state, reason in changes(world) if state is LinkState.LOST} == {
        LostReason.PLUGIN
    }
