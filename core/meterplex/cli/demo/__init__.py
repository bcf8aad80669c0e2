"""``meterplex demo``: simulated devices, read and commanded through the real program."""

import asyncio
import secrets
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import msgspec

from meterplex.cli.demo.estate import DemoEstate, estate_text
from meterplex.cli.demo.screen import show
from meterplex.cli.demo.story import Story
from meterplex.cli.errors import ExitCode
from meterplex.cli.log_output import configure_log
from meterplex.cli.output import print_json, print_lines, tell
from meterplex.cli.program import Program, now, pass_program
from meterplex.cli.serve import http_server, listen, make_head_end, stop_signal, working
from meterplex.cli.workers import make_workers
from meterplex.db import Database, migrations
from meterplex.domain.operators import Operator, Role
from meterplex.headend.head_end import HeadEnd
from meterplex.services.estate_files import read_estate_file
from meterplex.services.import_estate import ImportReport, import_estate
from meterplex.services.operators import NewOperator, add_operator, grants_of
from meterplex.services.sign_in import PasswordHasher
from meterplex.settings import DatabaseSettings, HttpSettings, Settings
from meterplex.simulator.estate import BusinessClock, SimulatedEstate
from meterplex.simulator.precise_loop import precise_loop

OPERATOR: Final = "demo"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What was asked for on the command line.

    Attributes:
        seconds: stop after so long; None runs until Ctrl-C.
        speed: of the devices' clocks; time-outs on the line stay real.
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
    type=click.FloatRange(min=0.1, max=3600),
    default=60,
    show_default=True,
    help="How fast the devices' clocks run; the lines stay at their real speed.",
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
    """Run two sites with 324 simulated meters on 12 buses, and tell what happens.

    The meters speak Modbus RTU at 9600 baud over pseudo-terminals, serial servers and gateways.
    Three are dead, one bus is noisy. One meter is disconnected and reconnected, a dead one comes
    back. Ends with exit code 0 only if all of that was seen.
    """
    configure_log(program.settings.log)
    options = DemoOptions(seconds, speed, seed, port, folder)
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        story = runner.run(_run(program, options))
    if as_json:
        print_json(story.summary())
    else:
        print_lines(*story.lines())
    sys.exit(ExitCode.OK if story.complete else ExitCode.ERROR)


async def _run(program: Program, options: DemoOptions) -> Story:
    stop = stop_signal()
    async with AsyncExitStack() as stack:
        folder = options.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="meterplex-demo-"))
        )
        folder.mkdir(parents=True, exist_ok=True)
        settings = _settings(program.settings, folder / "demo.sqlite", options.port)
        simulated = SimulatedEstate(
            program.plugins, BusinessClock.starting(now(), options.speed), options.seed
        )
        stack.push_async_callback(simulated.close)
        estate = await DemoEstate.open(simulated)
        simulated.start()
        listener = listen(settings)
        await migrations.upgrade(settings.db.url)
        database = await stack.enter_async_context(await Database.open(settings.db.url))
        report = await _import(program, database, folder, estate)
        operator = await _add_operator(database)
        head_end = make_head_end(database, program.plugins, settings)
        await stack.enter_async_context(http_server(head_end, listener))
        workers = make_workers(database, program.plugins, settings, head_end, now)
        await stack.enter_async_context(working(head_end, program.plugins, workers))
        host, port = listener.getsockname()[:2]
        tell(f"estate file {folder / 'estate.toml'}; health at http://{host}:{port}/healthz")
        story = Story(database, program.plugins, head_end, estate, report, operator)
        await _tell(story, head_end, stop, options.seconds)
    return story


async def _import(
    program: Program, database: Database, folder: Path, estate: DemoEstate
) -> ImportReport:
    file = folder / "estate.toml"
    file.write_text(estate_text(estate), "utf-8")
    return await import_estate(
        database, program.plugins, read_estate_file(file), operator="demo", at=now()
    )


async def _add_operator(database: Database) -> Operator:
    """Add who does what people do in the demo, with a password that nobody knows."""
    async with database.unit_of_work(read_only=True) as uow:
        (organisation,) = await uow.organisations.all()
        known = await uow.operators.by_name(organisation.id, OPERATOR)
    if known is not None:
        return known
    grants = grants_of([Role.ADMIN], [], [])
    new = NewOperator(OPERATOR, secrets.token_urlsafe(), "en", grants)
    return await add_operator(database, PasswordHasher(), organisation.id, new, by=None, at=now())


async def _tell(
    story: Story, head_end: HeadEnd, stop: asyncio.Event, seconds: float | None
) -> None:
    """Let the story happen, and show it, until the time is over or a signal comes."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(story.run()), group.create_task(show(head_end, story))]
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            pass
        for task in tasks:
            task.cancel()
    await story.close()


def _settings(settings: Settings, file: Path, port: int) -> Settings:
    return msgspec.structs.replace(
        settings,
        db=DatabaseSettings(f"sqlite:///{file}"),
        http=HttpSettings(settings.http.host, port),
    )
