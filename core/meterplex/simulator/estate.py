"""An estate in a box: buses of twins on a business clock, reachable as real ones are.

Twins come from the models that plugins declare; the simulator knows no device by itself.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from meterplex.plugin_manager import PluginManager
from meterplex.sdk import DeviceTwin, SettingsError
from meterplex.simulator.bus import TwinBus
from meterplex.simulator.faults import NO_FAULTS, FaultRates, Faults
from meterplex.simulator.serving import Access, open_pty, serve_gateway, serve_raw
from meterplex.simulator.wire import Pace, Wire

_TURN_S_MIN = 0.002
"""Shortest pause between two turns of moving twins on."""


@dataclass(frozen=True, slots=True)
class BusinessClock:
    """The time that twins live in: it starts at a moment and runs ``speed`` times as fast.

    Link time-outs and wires stay in real time.
    """

    start: datetime
    speed: float = 1.0
    monotonic: Callable[[], float] = time.monotonic
    began: float = field(default=0.0)

    @classmethod
    def starting(
        cls, start: datetime, speed: float = 1.0, monotonic: Callable[[], float] = time.monotonic
    ) -> Self:
        """Return a clock that begins to run now."""
        return cls(start, speed, monotonic, monotonic())

    def now(self) -> datetime:
        """Return the business time, aware."""
        return self.start + timedelta(seconds=(self.monotonic() - self.began) * self.speed)


class AccessKind(StrEnum):
    """How a bus is reached."""

    RAW = "rtu"
    """A serial server: RTU over TCP."""
    GATEWAY = "tcp"
    """A Modbus TCP gateway."""
    PTY = "pty"
    """A pseudo-terminal."""


@dataclass(frozen=True, slots=True)
class TwinPlan:
    """One simulated device."""

    model: str
    address: str
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BusPlan:
    """One bus of simulated devices.

    Attributes:
        name: unique in the estate; part of the seeds.
        port: to listen on; 0 takes a free one.
        pace: None answers at once.
        dead: addresses that are off the bus at first.
    """

    name: str
    twins: Sequence[TwinPlan]
    access: AccessKind = AccessKind.RAW
    host: str = "127.0.0.1"
    port: int = 0
    pace: Pace | None = None
    dead: frozenset[str] = frozenset()
    faults: FaultRates = NO_FAULTS


@dataclass(frozen=True, slots=True)
class SimulatedBus:
    """One bus that runs."""

    name: str
    bus: TwinBus
    wire: Wire
    access: Access

    @property
    def url(self) -> str:
        """Channel URL under which a head-end reaches it."""
        return self.access.url


class SimulatedEstate:
    """Buses of twins that live on one clock.

    Attributes:
        buses: by name, in the order in which they were opened.
    """

    def __init__(self, plugins: PluginManager, clock: BusinessClock, seed: int = 0) -> None:
        self.buses: dict[str, SimulatedBus] = {}
        self.clock = clock
        self._plugins = plugins
        self._seed = seed
        self._life: asyncio.Task[None] | None = None

    async def open_bus(self, plan: BusPlan) -> SimulatedBus:
        """Make a bus and let it be reached.

        Raises:
            SettingsError: an address or a setting of a twin is not usable, an address is given
                twice, or a dead one has no twin.
            PluginError: a model is unknown or has no twin.
            OSError: the port is taken.
        """
        seed = self._seed_of(plan.name)
        bus = TwinBus(self._make_twins(plan), Faults(plan.faults, seed))
        bus.advance(self.clock.now())
        missing = plan.dead - bus.twins.keys()
        if missing:
            raise SettingsError(f"bus {plan.name}: no device at {', '.join(sorted(missing))}")
        for address in plan.dead:
            bus.kill(address)
        wire = Wire(bus, plan.pace)
        access: Access
        match plan.access:
            case AccessKind.RAW:
                access = await serve_raw(wire, plan.host, plan.port)
            case AccessKind.GATEWAY:
                access = await serve_gateway(wire, plan.host, plan.port)
            case AccessKind.PTY:
                access = open_pty(wire)
        made = SimulatedBus(plan.name, bus, wire, access)
        self.buses[plan.name] = made
        return made

    def start(self, tick_s: float = 1.0) -> None:
        """Let all twins live, each moved on once per ``tick_s`` of real time."""
        self._life = asyncio.get_running_loop().create_task(self._live(tick_s))

    async def close(self) -> None:
        """Stop life and shut every bus."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)
        for bus in self.buses.values():
            bus.wire.close()
            bus.access.close()

    def _make_twins(self, plan: BusPlan) -> dict[str, DeviceTwin]:
        twins: dict[str, DeviceTwin] = {}
        for twin in plan.twins:
            address = self._plugins.check_address(twin.model, twin.address)
            if address in twins:
                raise SettingsError(f"bus {plan.name}: address {address} is given twice")
            seed = self._seed_of(f"{plan.name}/{address}")
            twins[address] = self._plugins.make_twin(twin.model, address, twin.settings, seed)
        return twins

    def _seed_of(self, name: str) -> int:
        return zlib.crc32(f"{self._seed}/{name}".encode())

    async def _live(self, tick_s: float) -> None:
        """Move all twins on, spread over the tick: no wire waits for a whole estate."""
        while True:
            twins = [twin for bus in self.buses.values() for twin in bus.bus.twins.values()]
            turns = max(1, min(len(twins), int(tick_s / _TURN_S_MIN)))
            for turn in range(turns):
                now = self.clock.now()
                for twin in twins[turn::turns]:
                    twin.advance(now)
                await asyncio.sleep(tick_s / turns)
