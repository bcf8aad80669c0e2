"""``meterplex demo``: simulated devices, read and commanded through the real program."""

import asyncio
import secrets
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import click
import msgspec

from meterplex.cli.demo.estate import TIME_ZONE, DemoEstate, estate_text
from meterplex.cli.demo.scene import Scene
from meterplex.cli.demo.screen import show
from meterplex.cli.demo.story import Story
from meterplex.cli.demo.telling import Telling
from meterplex.cli.errors import ExitCode
from meterplex.cli.log_output import configure_log
from meterplex.cli.output import print_json, print_lines, tell
from meterplex.cli.program import Program, pass_program
from meterplex.cli.serve import http_server, listen, make_head_end, stop_signal, working
from meterplex.cli.workers import make_workers
from meterplex.db import Database, migrations
from meterplex.domain.operators import Operator, Role
from meterplex.services.estate.files import read_estate_file
from meterplex.services.estate.import_estate import ImportReport, import_estate
from meterplex.services.operators.manage_operators import NewOperator, add_operator, grants_of
from meterplex.services.operators.sign_in import PasswordHasher
from meterplex.settings import (
    DatabaseSettings,
    HttpSettings,
    NoticeSettings,
    Settings,
)
from meterplex.simulator.estate import BusinessClock, SimulatedEstate
from meterplex.simulator.precise_loop import precise_loop

OPERATOR: Final = "demo"
SPEED_MAX: Final = 120
"""Beyond it the few real seconds in which nobody need look at the clock are too short."""
STARTS_AT: Final = datetime(2026, 3, 2, 8, 32, tzinfo=ZoneInfo(TIME_ZONE)).astimezone(UTC)
"""Business time at the start: a Monday, 28 minutes before supply may be taken from anybody."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What was asked for on the command line.

    Attributes:
        seconds: stop after so long; None runs until Ctrl-C.
        speed: of the business clock; time-outs on the line stay real.
        folder: for database and estate file; None makes one that is deleted at the end.
    """

    seconds: float | None
    speed: float
    seed: int
    port: int
    folder: Path | None


@click.command()
@click.option("--seconds", type=click.FloatRange(min=1), help="Stop by itself after so long.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0.1, max=SPEED_MAX),
    default=60,
    show_default=True,
    help="How fast the business clock runs, for devices and program; the lines stay real.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of loads and noise.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the health answers.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep database and estate file here; otherwise they are deleted at the end.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@pass_program
def demo(
    program: Program,
    seconds: float | None,
    speed: float,
    seed: int,
    port: int,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Run two sites with 324 simulated meters on 12 buses and two tenants, and tell what happens.

    The meters speak Modbus RTU at 9600 baud over pseudo-terminals, serial servers and gateways.
    Three are dead, one bus is noisy. One meter is disconnected and reconnected, a dead one comes
    back.

    A shop, whose balance is on the server, uses up its first purchase: it is warned three times,
    disconnected when the lead of 5 minutes is over and the window opens at 09:00 (it is Monday,
    2 March 2026, from 08:32 on), pays, and is reconnected. A home buys credit into its meter,
    once with its line cut in mid-delivery. The books are checked in the end.

    Ends with exit code 0 only if all of that was seen; at the usual speed it takes 40 seconds.
    """
    configure_log(program.settings.log)
    options = DemoOptions(seconds, speed, seed, port, folder)
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        telling = runner.run(_run(program, options))
    if as_json:
        print_json(telling.summary())
    else:
        print_lines(*telling.lines())
    sys.exit(ExitCode.OK if telling.complete else ExitCode.ERROR)


async def _run(program: Program, options: DemoOptions) -> Telling:
    stop = stop_signal()
    async with AsyncExitStack() as stack:
        folder = options.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="meterplex-demo-"))
        )
        settings = _settings(program.settings, folder, options)
        listener = listen(settings)
        await migrations.upgrade(settings.db.url)
        database = await stack.enter_async_context(await Database.open(settings.db.url))
        clock = BusinessClock.starting(STARTS_AT, options.speed)
        simulated = SimulatedEstate(program.plugins, clock, options.seed)
        stack.push_async_callback(simulated.close)
        estate = await DemoEstate.open(simulated)
        simulated.start()
        report = await _import(program, database, folder / "estate.toml", estate)
        operator = await _add_operator(database, clock.now())
        plugins, wall = program.plugins, clock.now
        head_end = make_head_end(database, plugins, settings, wall, options.speed)
        await stack.enter_async_context(http_server(head_end, listener))
        workers = make_workers(database, plugins, settings, head_end, wall)
        await stack.enter_async_context(working(head_end, plugins, workers))
        host, port = listener.getsockname()[:2]
        tell(f"estate file {folder / 'estate.toml'}; health at http://{host}:{port}/healthz")
        notices = Path(settings.notices.file)
        scene = Scene(database, plugins, head_end, estate, operator, wall, notices)
        story = Story(scene, report)
        await _tell(story, stop, options.seconds)
    return story.telling


async def _import(
    program: Program, database: Database, file: Path, estate: DemoEstate
) -> ImportReport:
    await asyncio.to_thread(file.write_text, estate_text(estate), "utf-8")
    draft, at = read_estate_file(file), estate.simulated.clock.now()
    return await import_estate(database, program.plugins, draft, operator=OPERATOR, at=at)


async def _add_operator(database: Database, at: datetime) -> Operator:
    """Add who does what people do in the demo, with a password that nobody knows."""
    async with database.unit_of_work(read_only=True) as uow:
        (organisation,) = await uow.organisations.all()
    grants = grants_of([Role.ADMIN], [], [])
    new = NewOperator(OPERATOR, secrets.token_urlsafe(), "en", grants)
    return await add_operator(database, PasswordHasher(), organisation.id, new, by=None, at=at)


async def _tell(story: Story, stop: asyncio.Event, seconds: float | None) -> None:
    """Let the story happen, and show it, until the time is over or a signal comes."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(story.run()), group.create_task(show(story))]
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            pass
        for task in tasks:
            task.cancel()
    await story.close()


def _settings(settings: Settings, folder: Path, options: DemoOptions) -> Settings:
    """Return the settings of a demo in a folder, whose database must be a new one.

    Raises:
        ClickException: an earlier demo left its database there.
    """
    file = folder / "demo.sqlite"
    if file.exists():
        raise click.ClickException(f"{file} is of an earlier demo: take another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return msgspec.structs.replace(
        settings,
        db=DatabaseSettings(f"sqlite:///{file}"),
        http=HttpSettings(settings.http.host, options.port),
        # The supply loop has to look at the clock every few minutes, in business time.
        supply=msgspec.structs.replace(settings.supply, sweep_s=min(60 / options.speed, 20.0)),
        notices=NoticeSettings(str(folder / "notices.jsonl")),
    )
