"""A real ``meterplex serve`` in a process of its own, before buses of twins in the test's process.

The twins live only while they are asked, fast enough that no two answers of one are alike; each
bus keeps every request with the time at which it came.
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from meterplex.db import Database, tables
from meterplex.db.database import create_engine, driver_url
from meterplex.domain.commands import Command, CommandState
from meterplex.domain.estate import Meter, MeterId, OrganisationId
from meterplex.domain.readings import ReadingRun
from meterplex.headend import builtin_channels
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import DeviceTwin
from meterplex.sdk.testing.reference import make_twin as make_reference_twin
from meterplex.simulator.bus import Answer, TwinBus
from meterplex.simulator.serving import TcpAccess, serve_raw
from meterplex.simulator.wire import Pace, Wire

LIFE_SPEED = 600
START_UP_S = 30.0
STANDBY = """
import sys
import meterplex.cli.serve, meterplex.cli.estate, sqlalchemy.dialects.sqlite.aiosqlite, asyncpg
from meterplex.cli import main
print("standing by", file=sys.stderr, flush=True)
sys.stdin.readline()
main(prog_name="meterplex")
"""
"""The program with its imports done, waiting for a line: then it starts in no time."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Request:
    """One burst that came to a bus, and what the device it names showed then.

    Attributes:
        energy_kwh: the counter of an Acrel twin, else None.
    """

    at: datetime
    burst: bytes
    energy_kwh: Decimal | None


class RecordedBus(TwinBus):
    """Keeps every request, by address."""

    def __init__(self, twins: Mapping[str, DeviceTwin]) -> None:
        super().__init__(twins)
        self.requests: dict[str, list[Request]] = {address: [] for address in twins}
        self._born = utc_now()
        self.advance(self._born)

    def ask(self, burst: bytes) -> Answer | None:
        now = utc_now()
        self.advance(self._born + LIFE_SPEED * (now - self._born))
        address = str(burst[0])
        if address in self.requests:
            body = getattr(self.twins[address], "body", None)
            energy = None if body is None else Decimal(sum(body.energy_wh) // 10) / 100
            self.requests[address].append(Request(now, burst, energy))
        return super().ask(burst)


@dataclass
class SimulatedBus:
    """A recorded bus at a TCP port."""

    code: str
    bus: RecordedBus
    wire: Wire
    access: TcpAccess
    models: Mapping[str, str]

    def serial(self, address: str) -> str:
        return f"{self.code}-{address}"


@dataclass
class Town:
    """Buses of twins, and the estate file that describes them."""

    plugins: PluginManager
    buses: dict[str, SimulatedBus] = field(default_factory=dict)

    async def open_bus(
        self, code: str, models: Mapping[str, str], pace: Pace | None = None
    ) -> SimulatedBus:
        """Make a bus; ``models`` are by address, unknown ones are kinds of the reference meter."""
        twins: dict[str, DeviceTwin] = {}
        for number, (address, model) in enumerate(models.items()):
            settings = {
                "load_kw": "8",
                "start_energy_kwh": f"{address}000.00",
                "remaining": "10000",
                "turn_round_ms": "5",
            }
            twins[address] = (
                self.plugins.make_twin(model, address, settings, number)
                if model in self.plugins.models
                else make_reference_twin(address, settings, number)
            )
        bus = RecordedBus(twins)
        wire = Wire(bus, pace)
        opened = SimulatedBus(code, bus, wire, await serve_raw(wire), models)
        self.buses[code] = opened
        return opened

    def estate(self, interval: str = "1s", query: str = "&late=0.2") -> str:
        """Return the estate file of all buses."""
        parts = [
            '[organisation]\nname = "Harbour"\ncurrency = "CNY"\nlanguage = "zh"\n',
            '[[site]]\ncode = "east"\nname = "East"\ntime_zone = "Asia/Shanghai"\n'
            f'utilities = ["electricity"]\nreading_interval = "{interval}"\n',
        ]
        for code, bus in self.buses.items():
            url = f"{bus.access.url}{query}"
            parts.append(f'[[channel]]\nsite = "east"\ncode = "{code}"\nurl = "{url}"\n')
            parts += [
                f'[[meter]]\nsite = "east"\nserial = "{bus.serial(address)}"\n'
                f'model = "{model}"\nchannel = "{code}"\naddress = "{address}"\n'
                for address, model in bus.models.items()
            ]
        return "\n".join(parts)

    def close(self) -> None:
        for bus in self.buses.values():
            bus.wire.close()
            bus.access.close()


@pytest.fixture
async def make_town() -> AsyncIterator[Callable[[], Town]]:
    """Return a function that gives a town without buses."""
    plugins, towns = PluginManager.load((builtin_channels,)), []

    def make() -> Town:
        towns.append(Town(plugins))
        return towns[-1]

    yield make
    for town in towns:
        town.close()


@pytest.fixture
def town(make_town: Callable[[], Town]) -> Town:
    """A town without buses."""
    return make_town()


@dataclass
class Serving:
    """A running ``meterplex serve``."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    url: str = ""
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _up: asyncio.Event = field(default_factory=asyncio.Event)
    _listening: asyncio.Task[None] | None = None

    def listen(self) -> None:
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode().rstrip())
            if self.lines == ["standing by"]:
                self._ready.set()
            if found := re.match(r"serving; health at (http://\S+)/healthz", self.lines[-1]):
                self.url = found[1]
                self._up.set()
        self._ready.set()
        self._up.set()

    async def ready(self) -> None:
        """Wait until its imports are done."""
        async with asyncio.timeout(START_UP_S):
            await self._ready.wait()

    def go(self) -> None:
        """Let a process that stands by start."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def up(self) -> None:
        """Wait until it serves."""
        async with asyncio.timeout(START_UP_S):
            await self._up.wait()
        assert self.url, self.said()

    def said(self) -> str:
        return "\n".join(self.lines)

    def kill(self) -> None:
        """End it with SIGKILL, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()

    async def ended(self, within_s: float = START_UP_S) -> int:
        """Wait for its end and return its exit code."""
        async with asyncio.timeout(within_s):
            code = await self.process.wait()
        assert self._listening is not None
        await self._listening
        return code

    async def health(self) -> dict[str, Any]:
        async with httpx.AsyncClient() as client:
            found: dict[str, Any] = (await client.get(f"{self.url}/healthz")).json()
        return found

    async def plugin(self, name: str) -> dict[str, Any]:
        """Return what the health answer says of one plugin."""
        plugins = (await self.health())["plugins"]
        (found,) = (plugin for plugin in plugins if plugin["name"] == name)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Program:
    """The command line, with the settings of one test."""

    folder: Path
    environment: Mapping[str, str]

    def but(self, **environment: str) -> "Program":
        """Return the same with other settings, given as environment variables."""
        return Program(self.folder, {**self.environment, **environment})

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command to its end; returns exit code, stdout and stderr."""
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("meterplex")),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
            cwd=self.folder,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def import_estate(self, text: str) -> None:
        file = self.folder / "estate.toml"
        file.write_text(text, encoding="utf-8")
        code, out, err = await self.run("import", str(file))
        assert code == 0, out + err

    async def stand_by(self) -> Serving:
        """Start a ``serve`` that has done its imports and waits for ``go``."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", STANDBY, "serve"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
            cwd=self.folder,
        )
        serving = Serving(process)
        serving.listen()
        return serving

    @asynccontextmanager
    async def standing_by(self) -> AsyncIterator[Serving]:
        """Give a ``serve`` that waits for ``go``; what is left of it is killed at the end."""
        serving = await self.stand_by()
        try:
            yield serving
        finally:
            serving.kill()
            await serving.ended()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Serving]:
        """Give a ``serve`` that is up."""
        async with self.standing_by() as serving:
            serving.go()
            await serving.up()
            yield serving


@pytest.fixture
def make_program(tmp_path: Path) -> Callable[[str], Program]:
    """Return a function that gives the command line for a database."""

    def make(database_url: str) -> Program:
        environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("METERPLEX")},
            "METERPLEX_DB__URL": database_url,
            "METERPLEX_HTTP__PORT": "0",
            "METERPLEX_LOG__FORMAT": "json",
            "METERPLEX_HEADEND__ESTATE_POLL_S": "0.5",
            "METERPLEX_HEADEND__COMMAND_POLL_S": "0.1",
            # These tests switch their few meters all the time.
            "METERPLEX_SUPPLY__TENANT_MIN": "100000",
            "METERPLEX_SUPPLY__SYSTEM_MIN": "100000",
            "METERPLEX_SUPPLY__METER_DAY_MAX": "100000",
        }
        return Program(tmp_path, environment)

    return make


@pytest.fixture
def program(make_program: Callable[[str], Program], sqlite_database_url: str) -> Program:
    """The command line on an SQLite database without rows."""
    return make_program(sqlite_database_url)


async def wait_until(
    holds: Callable[[], bool], within_s: float, what: str, *, look_every_s: float = 0.02
) -> None:
    """Wait for something that another process brings about."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, f"not in {within_s:g} s: {what}"
        await asyncio.sleep(look_every_s)


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    """Return :func:`wait_until`."""
    return wait_until


ReadingKey = tuple[MeterId, str, datetime, int]
"""Meter, register, time, revision."""


class Observer:
    """Looks into a database as any other program would."""

    def __init__(self, database: Database, engine: AsyncEngine) -> None:
        self.database = database
        self._engine = engine

    async def readings(self, since: datetime | None = None) -> dict[ReadingKey, Decimal]:
        """Return the values of all readings, or of those taken since a time."""
        row, register = tables.reading.c, tables.register_type.c
        query = sa.select(
            *(row.meter_id, register.slug, row.read_at, row.revision),
            *(row.value, register.resolution_exponent),
        ).join(tables.register_type)
        if since is not None:
            query = query.where(row.read_at >= since)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        found = {
            (meter, slug, at, revision): Decimal(steps).scaleb(exponent)
            for meter, slug, at, revision, steps, exponent in rows
        }
        assert len(found) == len(rows)
        return found

    async def estate(self) -> tuple[OrganisationId, tuple[Meter, ...]]:
        async with self.database.unit_of_work(read_only=True) as uow:
            (organisation,) = await uow.organisations.all()
            return organisation.id, await uow.meters.all(organisation.id)

    async def commands(self) -> tuple[Command, ...]:
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.commands.in_states(frozenset(CommandState))

    async def runs(self) -> tuple[ReadingRun, ...]:
        organisation_id, _ = await self.estate()
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.runs.newest(organisation_id, limit=10_000)


@asynccontextmanager
async def observing(url: str) -> AsyncIterator[Observer]:
    engine = create_engine(driver_url(url), connections=2, read_only=True)
    async with await Database.open(url) as database:
        try:
            yield Observer(database, engine)
        finally:
            await engine.dispose()


@pytest.fixture(name="observing")
def observing_fixture() -> Callable[[str], AbstractAsyncContextManager[Observer]]:
    """Return a function that opens a database for looking."""
    return observing


@pytest.fixture(name="utc_now")
def utc_now_fixture() -> Callable[[], datetime]:
    """Return the clock by which requests are noted."""
    return utc_now
