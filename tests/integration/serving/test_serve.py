"""``meterplex serve`` as its operator meets it."""

import asyncio
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from meterplex.simulator.wire import Pace

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from tests.conftest import PostgresCluster
    from tests.integration.serving.conftest import Observer, Program, Town

    Observing = Callable[[str], AbstractAsyncContextManager[Observer]]

pytestmark = pytest.mark.integration

MODEL = "acrel_dtsy1352"
WaitUntil = Callable[..., Any]


async def test_health_readiness_and_metrics(
    program: "Program", town: "Town", wait_until: WaitUntil
) -> None:
    bus = await town.open_bus("bus-1", {"1": MODEL, "2": MODEL})
    bus.bus.kill("2")
    await program.import_estate(town.estate())

    async with program.serving() as serving, httpx.AsyncClient(base_url=serving.url) as client:
        await wait_until(lambda: len(bus.bus.requests["1"]) > 2, 20, "meter 1 is read")
        ready, health, metrics = [
            await client.get(path) for path in ("/readyz", "/healthz", "/metrics")
        ]

    assert (ready.status_code, ready.json()) == (200, {"ready": True, "fault": ""})
    body = health.json()
    assert (health.status_code, body["status"], body["ready"]) == (200, "ok", True)
    acrel = next(plugin for plugin in body["plugins"] if plugin["name"] == "acrel_dtsy")
    assert {"state": "loaded", "problems": [], "failures": 0}.items() <= acrel.items()
    assert {"site": "east", "channel": "bus-1", "meters": 2}.items() <= body["buses"][0].items()
    assert metrics.headers["content-type"].startswith("text/plain")
    figures = dict(
        line.rsplit(" ", 1) for line in metrics.text.splitlines() if not line.startswith("#")
    )
    labels = '{channel="bus-1",site="east"}'
    assert figures["meterplex_ready"] == "1.0"
    assert figures[f"meterplex_bus_meters{labels}"] == "2.0"
    assert float(figures[f"meterplex_bus_exchanges_total{labels}"]) >= 3
    assert float(figures[f"meterplex_bus_timeouts_total{labels}"]) >= 1
    assert figures['meterplex_plugin_up{plugin="acrel_dtsy"}'] == "1.0"
    assert figures['meterplex_plugin_failures_total{plugin="acrel_dtsy"}'] == "0.0"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
async def test_a_signal_ends_it_quickly_with_what_was_read_stored(
    number: signal.Signals,
    program: "Program",
    town: "Town",
    wait_until: WaitUntil,
    observing: "Observing",
    sqlite_database_url: str,
) -> None:
    bus = await town.open_bus("bus-1", {str(at): MODEL for at in range(1, 31)}, Pace.at(9600))
    await program.import_estate(town.estate(interval="1h"))

    async with program.serving() as serving:
        await wait_until(lambda: bus.bus.counters.exchanges >= 6, 20, "some meters are read")
        answered = bus.bus.counters.exchanges - 1  # the last one may still be on its way
        serving.process.send_signal(number)
        code = await serving.ended(within_s=5)

    assert (code, "Traceback" in serving.said()) == (0, False)
    async with observing(sqlite_database_url) as observer:
        stored = {key[0] for key in await observer.readings()}
        (run,) = await observer.runs()
    assert answered <= len(stored) < 30
    assert set(run.succeeded) == stored


async def test_a_port_that_is_taken_is_one_line(program: "Program") -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = await program.but(METERPLEX_HTTP__PORT=str(port)).run("serve")

    assert (code, out) == (1, "")
    assert err.splitlines() == [f"error: http 127.0.0.1:{port}: Address already in use"]


async def test_an_estate_imported_meanwhile_is_read_without_restart(
    program: "Program", town: "Town", wait_until: WaitUntil
) -> None:
    first = await town.open_bus("bus-1", {"1": MODEL})
    async with program.serving() as serving:
        assert (await serving.health())["buses"] == []

        await program.import_estate(town.estate())
        await wait_until(lambda: first.bus.counters.exchanges > 0, 20, "the first bus is read")

        second = await town.open_bus("bus-2", {"7": MODEL})
        await program.import_estate(town.estate())
        await wait_until(lambda: second.bus.counters.exchanges > 0, 20, "the second bus is read")

        assert {bus["channel"] for bus in (await serving.health())["buses"]} == {"bus-1", "bus-2"}


async def test_what_is_read_while_the_file_is_locked_is_stored_later(
    program: "Program",
    town: "Town",
    wait_until: WaitUntil,
    observing: "Observing",
    sqlite_database_url: str,
) -> None:
    bus = await town.open_bus("bus-1", {"1": MODEL})
    await program.import_estate(town.estate())
    lock = sqlite3.connect(sqlite_database_url.removeprefix("sqlite:///"), isolation_level=None)
    async with program.serving(), observing(sqlite_database_url) as observer:
        await wait_until(lambda: bus.bus.counters.exchanges > 1, 20, "it is read")
        await asyncio.sleep(0.5)
        lock.execute("BEGIN EXCLUSIVE")
        before = {run.id for run in await observer.runs()}
        asked = len(bus.bus.requests["1"])
        await wait_until(lambda: len(bus.bus.requests["1"]) >= asked + 3, 20, "it is read on")
        assert {run.id for run in await observer.runs()} == before
        lock.rollback()
        lock.close()

        await runs_arrive(observer, len(before) + 3)


async def runs_arrive(observer: "Observer", count: int) -> None:
    """Wait until so many runs are stored."""
    async with asyncio.timeout(20):
        while True:
            if len(await observer.runs()) >= count:
                return
            await asyncio.sleep(0.1)


class Cable:
    """Between a program and PostgreSQL's socket; it can be pulled out and put back."""

    def __init__(self, near: Path, far: Path) -> None:
        self._near, self._far = near, far
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def plug(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._near)

    def pull(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._near.unlink(missing_ok=True)
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._far)
        self._writers |= {writer, far_writer}
        ways = ((reader, far_writer), (far_reader, writer))
        await asyncio.gather(*(self._carry(*way) for way in ways), return_exceptions=True)
        self._writers -= {writer, far_writer}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def cable(folder: Path, cluster: "PostgresCluster") -> AsyncIterator[Cable]:
    socket_name = ".s.PGSQL.5432"
    cable = Cable(folder / socket_name, cluster.folder / socket_name)
    await cable.plug()
    try:
        yield cable
    finally:
        cable.pull()


async def test_what_is_read_while_the_server_is_away_is_stored_later(
    make_program: "Callable[[str], Program]",
    town: "Town",
    wait_until: WaitUntil,
    observing: "Observing",
    utc_now: "Callable[[], datetime]",
    postgres_cluster: "PostgresCluster",
    postgres_database_url: str,
    tmp_path: Path,
) -> None:
    bus = await town.open_bus("bus-1", {"1": MODEL})
    through_cable = postgres_database_url.replace(str(postgres_cluster.folder), str(tmp_path))
    program = make_program(through_cable)
    async with (
        cable(tmp_path, postgres_cluster) as line,
        observing(postgres_database_url) as observer,
    ):
        await program.import_estate(town.estate())
        async with program.serving() as serving, httpx.AsyncClient(base_url=serving.url) as client:
            await runs_arrive(observer, 2)
            line.pull()
            away_at = utc_now()
            asked = len(bus.bus.requests["1"])
            await wait_until(lambda: len(bus.bus.requests["1"]) >= asked + 3, 20, "it is read on")
            ready = await client.get("/readyz")
            back_at = utc_now()
            await line.plug()
            before = len(await observer.runs())
            await runs_arrive(observer, before + 3)
            ready_again = await client.get("/readyz")

        read_at = {key[2] for key in await observer.readings()}
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert ready.json()["fault"].startswith("database: ")
    assert ready_again.status_code == 200
    assert len([at for at in read_at if away_at < at < back_at]) >= 2
    said = serving.said()
    assert "Traceback" not in said
    for text in ("runs wait to be stored", "runs are stored again", "commands not looked up"):
        assert said.count(text) == 1, said
