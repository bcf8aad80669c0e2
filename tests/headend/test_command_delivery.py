"""Commands from row to wire and back, on simulated time."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from meterplex.db.errors import DatabaseUnavailableError
from meterplex.domain.commands import CommandKind, CommandState
from meterplex.headend.command_delivery import CommandDelivery
from meterplex.simulator.virtual_time import run_in_virtual_time

NewWorld = Callable[..., Any]


async def deliver(world: Any, seconds: float, *, poll_s: float = 0.5) -> None:
    """Let the delivery run for some seconds."""
    delivery = CommandDelivery(world.rows, world.find, world.wall, poll_s)
    task = asyncio.create_task(delivery.run())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def states(world: Any) -> list[CommandState]:
    return [state for state, _ in world.rows.moves]


def test_a_disconnect_is_marked_then_sent_then_read_back(new_world: NewWorld) -> None:
    world = new_world()
    sent_when_marked: list[int] = []
    world.rows.on_move = lambda _: sent_when_marked.append(len(world.wire.sent))

    async def run() -> Any:
        command = world.ask("2", CommandKind.DISCONNECT)
        await deliver(world, 2)
        return world.now(command)

    command = run_in_virtual_time(run())
    assert command.state is CommandState.CONFIRMED
    assert states(world) == [CommandState.SENT, CommandState.CONFIRMED]
    assert sent_when_marked == [0, 2]
    assert [text for _, text in world.wire.sent] == ["2:off", "2:read"]
    assert world.wire.devices["2"].forced_off


def test_a_reconnect_that_fee_control_keeps_off_is_refused(new_world: NewWorld) -> None:
    world = new_world()
    world.wire.devices["1"].fee_control_off = True

    async def run() -> Any:
        command = world.ask("1", CommandKind.RECONNECT)
        await deliver(world, 5)
        return world.now(command)

    command = run_in_virtual_time(run())
    assert command.state is CommandState.REFUSED
    assert command.outcome == "disconnected, automatic"
    assert world.wire.words("auto") == ["1:auto"]


def test_a_lost_answer_is_settled_by_reading_and_never_sent_again(new_world: NewWorld) -> None:
    world = new_world()
    world.wire.devices["1"].mute_after = {"off"}

    async def run() -> Any:
        command = world.ask("1", CommandKind.DISCONNECT)
        await deliver(world, 20)
        return world.now(command)

    assert run_in_virtual_time(run()).state is CommandState.CONFIRMED
    assert states(world) == [CommandState.SENT, CommandState.UNKNOWN, CommandState.CONFIRMED]
    assert world.wire.words("off") == ["1:off"]


def test_a_lost_request_is_sent_again_only_after_reading(new_world: NewWorld) -> None:
    world = new_world()
    world.wire.devices["1"].deaf_to = {"off"}

    async def run() -> Any:
        command = world.ask("1", CommandKind.DISCONNECT)
        task = asyncio.create_task(deliver(world, 30))
        await asyncio.sleep(1)
        assert world.now(command).state is CommandState.UNKNOWN
        world.wire.devices["1"].deaf_to = set()
        await task
        return world.now(command)

    assert run_in_virtual_time(run()).state is CommandState.CONFIRMED
    assert world.wire.words("off", "read") == ["1:off", "1:read", "1:off", "1:read"]


def test_nothing_is_sent_after_its_time_and_the_outcome_is_read_in_the_end(
    new_world: NewWorld,
) -> None:
    world = new_world()
    device = world.wire.devices["1"]
    device.alive = False

    async def run() -> Any:
        command = world.ask("1", CommandKind.DISCONNECT, within_s=60)
        task = asyncio.create_task(deliver(world, 200))
        await asyncio.sleep(100)
        assert world.now(command).state is CommandState.UNKNOWN
        device.alive = True
        await task
        return world.now(command)

    command = run_in_virtual_time(run())
    assert command.state is CommandState.REFUSED
    assert command.outcome.startswith("not taken")
    assert all(at <= 60 for at, text in world.wire.sent if text == "1:off")
    assert world.wire.words("off") == ["1:off"]


def test_a_command_whose_line_is_down_expires_unsent(new_world: NewWorld) -> None:
    world = new_world()
    world.wire.down = "no such port"

    async def run() -> Any:
        command = world.ask("1", CommandKind.DISCONNECT, within_s=30)
        await deliver(world, 90)
        return world.now(command)

    assert run_in_virtual_time(run()).state is CommandState.EXPIRED
    assert world.wire.sent == []


def test_a_line_that_comes_back_in_time_gets_the_command(new_world: NewWorld) -> None:
    world = new_world()
    world.wire.down = "no such port"

    async def run() -> Any:
        command = world.ask("1", CommandKind.DISCONNECT)
        task = asyncio.create_task(deliver(world, 120))
        await asyncio.sleep(30)
        world.wire.down = ""
        await task
        return world.now(command)

    assert run_in_virtual_time(run()).state is CommandState.CONFIRMED


def test_a_refusal_is_final(new_world: NewWorld) -> None:
    world = new_world()
    world.wire.devices["1"].refuses = {"off"}

    async def run() -> Any:
        command = world.ask("1", CommandKind.DISCONNECT)
        await deliver(world, 60)
        return world.now(command)

    command = run_in_virtual_time(run())
    assert command.state is CommandState.REFUSED
    assert "refuses off" in command.outcome
    assert world.wire.words("off") == ["1:off"]


def test_a_missing_capability_fails_unsent(new_world: NewWorld) -> None:
    world = new_world()

    async def run() -> Any:
        command = world.ask("1", CommandKind.SYNC_CLOCK)
        await deliver(world, 5)
        return world.now(command)

    command = run_in_virtual_time(run())
    assert command.state is CommandState.FAILED
    assert "clock" in command.outcome
    assert world.wire.sent == []


def test_a_newer_supply_command_overrules_the_older_one(new_world: NewWorld) -> None:
    world = new_world()

    async def run() -> Any:
        older = world.ask("1", CommandKind.DISCONNECT)
        newer = world.ask("1", CommandKind.RECONNECT, at_s=0.001)
        await deliver(world, 5)
        return world.now(older), world.now(newer)

    older, newer = run_in_virtual_time(run())
    assert older.state is CommandState.FAILED
    assert newer.state is CommandState.CONFIRMED
    assert world.wire.words("off") == []


def test_an_unknown_disconnect_is_not_repeated_once_a_reconnect_was_asked_for(
    new_world: NewWorld,
) -> None:
    world = new_world()
    world.wire.devices["1"].deaf_to = {"off"}

    async def run() -> Any:
        older = world.ask("1", CommandKind.DISCONNECT)
        task = asyncio.create_task(deliver(world, 30))
        await asyncio.sleep(1)
        newer = world.ask("1", CommandKind.RECONNECT, at_s=1)
        await task
        return world.now(older), world.now(newer)

    older, newer = run_in_virtual_time(run())
    assert older.state is CommandState.REFUSED
    assert newer.state is CommandState.CONFIRMED
    assert world.wire.words("off") == ["1:off"]
    assert not world.wire.devices["1"].forced_off


def test_an_announced_disconnect_leaves_after_the_exchange_in_flight(new_world: NewWorld) -> None:
    world = new_world(20, interval_s=1)

    async def run() -> Any:
        loop = asyncio.get_running_loop()
        delivery = CommandDelivery(world.rows, world.find, world.wall, poll_s=60)
        tasks = [asyncio.create_task(delivery.run()), asyncio.create_task(world.bus.run())]
        await asyncio.sleep(5.005)
        command = world.ask("9", CommandKind.DISCONNECT, at_s=5)
        committed_at = loop.time()
        delivery.announce([command])
        await asyncio.sleep(2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert world.now(command).state is CommandState.CONFIRMED
        return committed_at, next(at for at, text in world.wire.sent if text == "9:off")

    committed_at, sent_at = run_in_virtual_time(run())
    between = [text for at, text in world.wire.sent if committed_at < at < sent_at]
    assert between == []


def test_an_on_demand_read_is_confirmed_or_fails_with_its_reason(new_world: NewWorld) -> None:
    world = new_world()
    world.wire.devices["2"].alive = False

    async def run() -> Any:
        good, bad = world.ask("1", CommandKind.READ), world.ask("2", CommandKind.READ)
        await deliver(world, 5)
        return world.now(good), world.now(bad)

    good, bad = run_in_virtual_time(run())
    assert good.state is CommandState.CONFIRMED
    assert bad.state is CommandState.FAILED
    assert "LinkTimeoutError" in bad.outcome
    assert [len(finished.taken) for finished in world.sink.runs] == [1, 0]


def test_a_row_that_moved_elsewhere_is_not_sent(new_world: NewWorld) -> None:
    world = new_world()

    async def run() -> Any:
        command = world.ask("1", CommandKind.DISCONNECT)
        stale = await world.rows.unsettled()
        await world.rows.move(command, CommandState.FAILED, "withdrawn")

        async def unsettled() -> Any:
            return stale

        world.rows.unsettled = unsettled
        await deliver(world, 1)
        return world.now(command)

    assert run_in_virtual_time(run()).outcome == "withdrawn"
    assert world.wire.sent == []


def test_what_cannot_be_marked_as_sent_is_not_sent(new_world: NewWorld) -> None:
    world = new_world()

    def crash(to: CommandState) -> None:
        if to is CommandState.SENT:
            raise DatabaseUnavailableError("the disk is full")

    world.rows.on_move = crash

    async def run() -> Any:
        command = world.ask("1", CommandKind.DISCONNECT)
        await deliver(world, 1)
        return world.now(command)

    assert run_in_virtual_time(run()).state is CommandState.QUEUED
    assert world.wire.sent == []


def test_not_after_is_kept_to_the_millisecond_on_a_busy_line(new_world: NewWorld) -> None:
    world = new_world(20, interval_s=0.2)
    not_after_s = 3.0

    async def run() -> Any:
        delivery = CommandDelivery(world.rows, world.find, world.wall, poll_s=0.01)
        tasks = [asyncio.create_task(delivery.run()), asyncio.create_task(world.bus.run())]
        commands = []
        for number in range(200):
            await asyncio.sleep(0.015)
            at_s = asyncio.get_running_loop().time()
            address = str(number % 20 + 1)
            left_s = not_after_s - at_s
            commands.append(world.ask(address, CommandKind.DISCONNECT, left_s, at_s))
        await asyncio.sleep(5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [world.now(command) for command in commands]

    commands = run_in_virtual_time(run())
    assert {CommandState.CONFIRMED, CommandState.EXPIRED} <= {c.state for c in commands}
    assert all(at <= not_after_s for at, text in world.wire.sent if text.endswith(":off"))
    assert all(c.not_after - c.created_at <= timedelta(seconds=3) for c in commands)
