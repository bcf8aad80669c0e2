"""``meterplex serve``: head-end, workers and health answers, until told to stop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime

import click
import structlog
import uuid_utils.compat
import uvicorn

from meterplex.api.health import make_app
from meterplex.cli.log_output import configure_log
from meterplex.cli.output import tell
from meterplex.cli.program import Program, now, pass_program, run
from meterplex.cli.workers import Workers, limiter_of, make_workers
from meterplex.db import Database, migrations
from meterplex.headend.head_end import HeadEnd
from meterplex.headend.watchdog import Watchdog
from meterplex.plugin_manager import PluginManager
from meterplex.services.health import HealthSource
from meterplex.settings import Settings

log = structlog.get_logger(__name__)


@click.command()
@click.option("--seconds", type=click.FloatRange(min=0), help="Stop by itself after so long.")
@pass_program
def serve(program: Program, seconds: float | None) -> None:
    """Read and command the meters of the database, and answer for health and metrics.

    The database is upgraded first. Stops on Ctrl-C or SIGTERM: what was read is stored, what was
    asked for and not sent stays in its row.
    """
    configure_log(program.settings.log)
    run(_serve(program, seconds))


async def _serve(program: Program, seconds: float | None) -> None:
    settings, stop = program.settings, stop_signal()
    listener = listen(settings)
    if program.database_file is not None:
        program.database_file.parent.mkdir(parents=True, exist_ok=True)
    await migrations.upgrade(settings.db.url)
    async with await Database.open(settings.db.url) as database:
        head_end = make_head_end(database, program.plugins, settings)
        workers = make_workers(database, program.plugins, settings, head_end, now)
        async with (
            http_server(head_end, listener),
            working(head_end, program.plugins, workers),
        ):
            host, port = listener.getsockname()[:2]
            tell(f"serving; health at http://{host}:{port}/healthz")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await stop.wait()


def make_head_end(
    database: Database,
    plugins: PluginManager,
    settings: Settings,
    wall: Callable[[], datetime] = now,
    pace: float = 1.0,
) -> HeadEnd:
    """Make the head-end of a program; for ``pace`` see there."""
    return HeadEnd(
        database,
        plugins,
        wall,
        uuid_utils.compat.uuid7,
        settings.headend.command_poll_s,
        settings.headend.estate_poll_s,
        settings.headend.read_deadline_s,
        settings.headend.call_attempts,
        limiter_of(settings.supply),
        pace,
    )


@asynccontextmanager
async def working(
    head_end: HeadEnd, plugins: PluginManager, workers: Workers
) -> AsyncIterator[None]:
    """Let head-end and workers work under the watchdog; an error of their own ends the program.

    Must be entered in the main thread.
    """

    def disable(plugin: str, where: str) -> None:
        plugins.disable(plugin, f"blocked the event loop in {where}")
        log.error("plugin disabled", plugin=plugin, where=where)

    with Watchdog(plugins.packages, disable):
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(head_end.run()),
                group.create_task(workers.outbox.run()),
                group.create_task(workers.supply.run()),
                group.create_task(workers.fees.run()),
            ]
            yield
            for task in tasks:
                task.cancel()


class _Server(uvicorn.Server):
    """Leaves signals to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@asynccontextmanager
async def http_server(source: HealthSource, listener: socket.socket) -> AsyncIterator[None]:
    """Answer for a program on a listening socket."""
    config = uvicorn.Config(make_app(source), log_config=None, access_log=False, lifespan="off")
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


def listen(settings: Settings) -> socket.socket:
    """Listen where the settings say.

    Raises:
        OSError: the port is taken or not ours to take.
    """
    host, port = settings.http.host, settings.http.port
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"http {host}:{port}: {error.strerror}") from error
    listener.listen()
    return listener


def stop_signal() -> asyncio.Event:
    """Return what is set when the program is asked to stop, by Ctrl-C or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop
