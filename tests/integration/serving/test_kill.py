"""SIGKILL in mid-run, again and again: what was acknowledged stays, what is late is not sent.

Meters fall silent and come back meanwhile, so that commands are found by a new process in every
state, some of them after their ``not_after``.
"""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from meterplex.domain.commands import SETTLED, Command, CommandKind, CommandState
from meterplex.domain.estate import Meter, OrganisationId
from meterplex.services.metering.issue_commands import issue_commands

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from decimal import Decimal

    from tests.integration.serving.conftest import (
        Observer,
        Program,
        ReadingKey,
        Request,
        Serving,
        SimulatedBus,
        Town,
    )

pytestmark = pytest.mark.integration

MODEL = "acrel_dtsy1352"
WRITE_FORCE = bytes((0x10, 0x00, 0x57, 0x00, 0x02, 0x04))
FRAME_OF = {
    CommandKind.DISCONNECT: bytes((0, 1, 0, 1)),
    CommandKind.RECONNECT: bytes((0, 0, 0, 0)),
}
"""Force control after section 3 of the meter's sheet: on and open, or off."""
ON_THE_WAY = timedelta(milliseconds=200)
"""From the head-end's last look at the clock to the twin, on a busy machine."""


@dataclass
class Ordeal:
    """One run of kills.

    Attributes:
        seen: every reading that a query has shown so far.
        busy_until: when the last command of a meter has passed.
        turns: how many commands a meter has got.
        cut_off: commands found SENT after a kill.
    """

    program: "Program"
    town: "Town"
    observer: "Observer"
    organisation_id: OrganisationId
    meters: tuple[Meter, ...]
    random: Random
    now: Callable[[], datetime]
    seen: "dict[ReadingKey, Decimal]" = field(default_factory=dict)
    busy_until: dict[UUID, datetime] = field(default_factory=dict)
    turns: Counter[UUID] = field(default_factory=Counter)
    cut_off: int = 0

    async def run(self, kills: int) -> None:
        standing_by = await self.program.stand_by()
        for _ in range(kills):
            serving, standing_by = standing_by, await self._follow(standing_by)
            await self._mid_run(serving)
            self._disturb()
            await self._look()
            await self._command()
            await asyncio.sleep(self.random.uniform(0, 0.3))
            serving.kill()
            assert await serving.ended() == -9, serving.said()
            await self._check_nothing_lost()
        await self._settle(standing_by)

    async def _follow(self, serving: "Serving") -> "Serving":
        serving.go()
        successor = await self.program.stand_by()
        await serving.up()
        return successor

    async def _mid_run(self, serving: "Serving") -> None:
        """Issue commands and look at readings while it works."""
        until = asyncio.get_running_loop().time() + self.random.uniform(0.4, 1.4)
        while asyncio.get_running_loop().time() < until:
            await self._command()
            await self._look()
            await asyncio.sleep(0.1)
        assert serving.process.returncode is None, serving.said()

    def _disturb(self) -> None:
        """Take some meters off their buses and put others back."""
        for bus in self.town.buses.values():
            for address in bus.models:
                if address in bus.bus.dead:
                    bus.bus.revive(address)
                elif self.random.random() < 0.25:
                    bus.bus.kill(address)

    async def _command(self) -> None:
        """Ask for the other state of a meter that waits for nothing."""
        now = self.now()
        free = [each for each in self.meters if self.busy_until.get(each.id, now) <= now]
        if not free:
            return
        meter = self.random.choice(free)
        kind = list(FRAME_OF)[self.turns[meter.id] % 2]
        not_after = now + timedelta(seconds=self.random.uniform(0.3, 4))
        await issue_commands(
            *(self.observer.database, self.town.plugins, self.organisation_id, [meter], kind, {}),
            asked_by="test",
            at=now,
            not_after=not_after,
        )
        self.turns[meter.id] += 1
        self.busy_until[meter.id] = not_after + 2 * ON_THE_WAY

    async def _look(self) -> None:
        """Note what a query shows now."""
        self.seen |= await self.observer.readings(self.now() - timedelta(seconds=10))

    async def _check_nothing_lost(self) -> None:
        found = await self.observer.readings()
        assert {key: found.get(key) for key in self.seen} == self.seen
        commands = await self.observer.commands()
        self.cut_off += sum(command.state is CommandState.SENT for command in commands)

    async def _settle(self, serving: "Serving") -> None:
        """Let everything answer, and wait until every command has its end."""
        for bus in self.town.buses.values():
            for address in bus.bus.dead:
                bus.bus.revive(address)
        serving.go()
        await serving.up()
        try:
            async with asyncio.timeout(40):
                while {each.state for each in await self.observer.commands()} - SETTLED:
                    await self._look()
                    await asyncio.sleep(0.2)
        finally:
            serving.kill()
            await serving.ended()

    # -- verdicts ------------------------------------------------------------------------------

    def place(self, meter: Meter) -> "SimulatedBus":
        return self.town.buses[meter.serial.rpartition("-")[0]]

    def requests(self, meter: Meter) -> "list[Request]":
        return self.place(meter).bus.requests[meter.address]

    def wrong_values(self, readings: "dict[ReadingKey, Decimal]") -> list[str]:
        """Name the readings that the meter did not hold when it was last asked."""
        meters = {meter.id: meter for meter in self.meters}
        wrong = []
        for (meter_id, register, read_at, _), value in readings.items():
            if register == "active_energy_import":
                requests = self.requests(meters[meter_id])
                asked = bisect_left(requests, read_at, key=lambda each: each.at)
                held = requests[asked - 1].energy_kwh
                if value != held:
                    wrong.append(f"{meters[meter_id].serial} {read_at}: {value}, held {held}")
        return wrong

    def frames(self, meter: Meter) -> list[tuple[datetime, bytes]]:
        """Return time and force control of every control frame that came to a meter."""
        frames = [
            (each.at, each.burst) for each in self.requests(meter) if each.burst[1] not in (3, 4)
        ]
        assert all(burst[1:7] == WRITE_FORCE for _, burst in frames)
        return [(at, burst[7:11]) for at, burst in frames]

    def misplaced_frames(self, commands: tuple[Command, ...]) -> list[str]:
        """Name the control frames that no command of that time asked for."""
        misplaced = []
        for meter in self.meters:
            own = [command for command in commands if command.meter_id == meter.id]
            for at, force in self.frames(meter):
                asked = [each for each in own if each.created_at <= at]
                fits = asked and FRAME_OF[asked[-1].kind] == force
                if not fits or at > asked[-1].not_after + ON_THE_WAY:
                    misplaced.append(f"{meter.serial} {at}: {force.hex(' ')}, last {asked[-1:]}")
        return misplaced

    def held_already(self, command: Command) -> bool:
        """Whether the meter was as the command wants it when it was settled.

        One that was cut off between its mark and its first byte is read, and then is confirmed
        without a frame if there was nothing to change.
        """
        (meter,) = (each for each in self.meters if each.id == command.meter_id)
        assert command.settled_at is not None
        before = [force for at, force in self.frames(meter) if at <= command.settled_at]
        now = before[-1] if before else FRAME_OF[CommandKind.RECONNECT]
        return now == FRAME_OF[command.kind]

    def sent(self, command: Command) -> bool:
        """Whether a frame came to the meter while this was its command."""
        (meter,) = (each for each in self.meters if each.id == command.meter_id)
        last = command.not_after + ON_THE_WAY
        return any(command.created_at <= at <= last for at, _ in self.frames(meter))


async def go_through(
    kills: int,
    program: "Program",
    town: "Town",
    observer: "Observer",
    now: Callable[[], datetime],
) -> Ordeal:
    """Kill the program so often, and prove that nothing was lost, doubled or sent too late."""
    for number in range(3):
        await town.open_bus(f"bus-{number}", {str(at): MODEL for at in range(1, 7)})
    await program.import_estate(town.estate())
    organisation_id, meters = await observer.estate()
    ordeal = Ordeal(program, town, observer, organisation_id, meters, Random(kills), now)

    await ordeal.run(kills)

    readings, commands = await observer.readings(), await observer.commands()
    states = Counter(command.state.value for command in commands)
    frames = sum(len(ordeal.frames(meter)) for meter in meters)
    print(f"\n{kills} kills: {len(ordeal.seen)} readings seen before one, {len(readings)} stored;")
    print(f"{frames} control frames, {ordeal.cut_off} commands cut off while SENT;", end=" ")
    print("commands:", ", ".join(f"{state} {number}" for state, number in states.items()))
    assert {key: readings.get(key) for key in ordeal.seen} == ordeal.seen
    assert [key for key in readings if key[3] > 0] == [], "a reading was stored twice"
    assert ordeal.wrong_values(readings) == []
    assert ordeal.misplaced_frames(commands) == []
    assert {command.state for command in commands} <= SETTLED
    confirmed = [each for each in commands if each.state is CommandState.CONFIRMED]
    unsent = [each for each in confirmed if not ordeal.sent(each)]
    assert [each for each in unsent if not ordeal.held_already(each)] == []
    assert len(unsent) <= ordeal.cut_off
    # One that was cut off, and then read as not taken, may expire as well.
    never_sent = [each for each in commands if not each.attempts]
    assert [each for each in never_sent if ordeal.sent(each)] == []
    assert states[CommandState.CONFIRMED] > kills
    assert states[CommandState.EXPIRED] > 0
    assert len(ordeal.seen) > 50 * kills
    return ordeal


async def test_twenty_kills_on_sqlite(
    program: "Program",
    town: "Town",
    sqlite_database_url: str,
    observing: "Callable[[str], AbstractAsyncContextManager[Observer]]",
    utc_now: Callable[[], datetime],
) -> None:
    async with observing(sqlite_database_url) as observer:
        ordeal = await go_through(20, program, town, observer, utc_now)

    assert ordeal.cut_off > 0


async def test_some_kills_on_postgresql(
    make_program: "Callable[[str], Program]",
    town: "Town",
    postgres_database_url: str,
    observing: "Callable[[str], AbstractAsyncContextManager[Observer]]",
    utc_now: Callable[[], datetime],
) -> None:
    async with observing(postgres_database_url) as observer:
        await go_through(4, make_program(postgres_database_url), town, observer, utc_now)
