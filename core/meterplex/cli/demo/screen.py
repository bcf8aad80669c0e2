"""The live table of the demo: freshness per bus, last runs, last events, the story so far."""

import asyncio
import sys

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from meterplex.cli.demo.story import Story
from meterplex.cli.output import tell
from meterplex.headend.bus import Bus
from meterplex.headend.head_end import HeadEnd

REFRESH_S = 0.5
LINE_EVERY_S = 5.0
EVENTS_SHOWN = 6


async def show(head_end: HeadEnd, story: Story) -> None:
    """Show the demo until cancelled: a live table on a screen, else a line now and then."""
    if not sys.stderr.isatty():
        await _show_lines(head_end, story)
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        while True:
            events = Text("\n".join(["", *await story.newest_events(EVENTS_SHOWN)]), style="dim")
            live.update(Group(_buses(head_end), events, _steps(story)), refresh=True)
            await asyncio.sleep(REFRESH_S)


async def _show_lines(head_end: HeadEnd, story: Story) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        buses = [bus.status() for bus in head_end.buses.values()]
        lost = sum(bus.lost for bus in buses)
        oldest = max((bus.oldest_age_s or 0.0 for bus in buses), default=0.0)
        seen = sum(bool(step.seen) for step in story.steps)
        tell(
            f"{len(buses)} buses, {sum(bus.meters for bus in buses)} meters, {lost} lost, "
            f"oldest reading {oldest:.1f} s, {seen} of {len(story.steps)} steps seen"
        )


def _buses(head_end: HeadEnd) -> Table:
    table = Table(title="buses", box=None, pad_edge=False, header_style="bold")
    for column in ("bus", "path", "live", "lost", "oldest", "run", "last run", "time-outs"):
        numeric = column not in ("bus", "path", "last run")
        table.add_column(column, justify="right" if numeric else "left")
    for bus in sorted(head_end.buses.values(), key=lambda bus: bus.channel.code):
        status = bus.status()
        age, run_s = status.oldest_age_s, status.run_s
        table.add_row(
            status.channel.code,
            status.fault or status.channel.url.partition("?")[0],
            str(status.live),
            f"[red]{status.lost}[/]" if status.lost else "0",
            "" if age is None else f"{age:.1f} s",
            "" if run_s is None else f"{run_s:.1f} s",
            _last_run(bus),
            str(status.timeouts),
        )
    return table


def _last_run(bus: Bus) -> str:
    run = bus.last_run
    if run is None:
        return ""
    return f"{len(run.succeeded)} read, {len(run.failed)} failed"


def _steps(story: Story) -> Text:
    lines = [
        f"{'✔' if step.seen else '·'} {step.text}" + (f": {step.seen}" if step.seen else "")
        for step in story.steps
    ]
    return Text("\n".join(["", *lines]))
