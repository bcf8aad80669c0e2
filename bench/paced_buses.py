"""Buses of Acrel twins on paced pseudo-terminals, in a process of their own.

The wire keeps its own time: nothing that a master does in its process can hold it up.
"""

import asyncio
import multiprocessing
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from meterplex.headend import builtin_channels
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import ChannelUrl
from meterplex.simulator.estate import (
    AccessKind,
    BusinessClock,
    BusPlan,
    SimulatedEstate,
    TwinPlan,
)
from meterplex.simulator.precise_loop import precise_loop
from meterplex.simulator.wire import Pace

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

MODEL = "acrel_dtsy1352"
BAUD = 9600
TURN_ROUND_S = 0.005
"""Shorter than the twin's own 20 ms: the shorter an exchange, the more a master's delay counts."""
SNAPSHOT_START, SNAPSHOT_COUNT = 0x0200, 48


@dataclass(frozen=True, slots=True)
class Wires:
    """What all wires together have seen since the start.

    Attributes:
        at: when this was, in seconds of one monotonic clock.
        needed_s: time that exchanges needed the wires.
        lateness_s_max: how late the wires' own process was at worst.
    """

    at: float
    exchanges: int
    needed_s: float
    gap_violations: int
    collisions: int
    lateness_s_max: float


def exchange_s(registers: int) -> float:
    """Time of the wire that a read of some registers needs, with both gaps."""
    pace = Pace.at(BAUD)
    characters = 8 + 5 + 2 * registers
    return characters * pace.character_s + max(TURN_ROUND_S, pace.gap_s) + pace.gap_s


class PacedBuses:
    """The near side: channel URLs, and what the wires saw.

    Args:
        buses: how many.
        meters: on each, at addresses from 1.
        dead: how many of each bus are dead at first: the ones with the highest addresses.
    """

    def __init__(self, buses: int, meters: int, dead: int = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self._near, self._far = context.Pipe()
        self._process = context.Process(
            target=_run, args=(self._far, buses, meters, dead), daemon=True
        )

    def __enter__(self) -> Self:
        self._process.start()
        self._far.close()  # else nobody would notice that the other process has died
        self.urls: list[str] = self._near.recv()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.join()

    @property
    def paths(self) -> list[str]:
        """The pseudo-terminals."""
        return [ChannelUrl.parse(url).path for url in self.urls]

    def look(self) -> Wires:
        """Return what the wires have seen."""
        self._near.send("look")
        wires: Wires = self._near.recv()
        return wires

    def revive(self, address: int) -> None:
        """Put a dead meter of every bus back."""
        self._near.send(str(address))


def _run(far: "Connection[object, object]", buses: int, meters: int, dead: int) -> None:
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        runner.run(_serve(far, buses, meters, dead))


async def _serve(far: "Connection[object, object]", buses: int, meters: int, dead: int) -> None:
    plugins = PluginManager.load((builtin_channels,))
    estate = SimulatedEstate(plugins, BusinessClock.starting(datetime.now(UTC)))
    settings = {"turn_round_ms": str(TURN_ROUND_S * 1000)}
    addresses = [str(address) for address in range(1, meters + 1)]
    for number in range(buses):
        plan = BusPlan(
            f"bus-{number + 1}",
            [TwinPlan(MODEL, address, settings) for address in addresses],
            AccessKind.PTY,
            pace=Pace.at(BAUD),
            dead=frozenset(addresses[meters - dead :]),
        )
        await estate.open_bus(plan)
    estate.start()
    far.send([bus.url for bus in estate.buses.values()])
    loop = asyncio.get_running_loop()
    loop.add_reader(far.fileno(), lambda: _obey(far, estate))
    await loop.create_future()


def _obey(far: "Connection[object, object]", estate: SimulatedEstate) -> None:
    word = far.recv()
    if word == "look":
        far.send(_look(estate))
    else:
        for bus in estate.buses.values():
            bus.bus.revive(str(word))


def _look(estate: SimulatedEstate) -> Wires:
    counters = [bus.bus.counters for bus in estate.buses.values()]
    return Wires(
        asyncio.get_running_loop().time(),
        sum(each.exchanges for each in counters),
        sum(each.wire_busy_s for each in counters),
        sum(each.gap_violations for each in counters),
        sum(each.collisions for each in counters),
        max(each.lateness_s_max for each in counters),
    )
