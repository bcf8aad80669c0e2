"""The live screen of the demo: buses, tenants with balances and orders, events, the story."""

import asyncio
import sys
from collections.abc import Iterable
from datetime import datetime

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from meterplex.cli.demo.scene import TenantView
from meterplex.cli.demo.story import Story
from meterplex.cli.output import tell
from meterplex.headend.bus import Bus
from meterplex.headend.head_end import HeadEnd

REFRESH_S = 0.5
LINE_EVERY_S = 5.0
EVENTS_SHOWN = 6


async def show(story: Story) -> None:
    """Show the demo until cancelled: a live table on a screen, else a line now and then."""
    head_end = story.scene.head_end
    if not sys.stderr.isatty():
        await _show_lines(head_end, story)
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        while True:
            events = Text("\n".join(["", *await story.newest_events(EVENTS_SHOWN)]), style="dim")
            tenants = _tenants(await story.scene.tenants(), story.scene.local())
            shown = Group(_buses(head_end), tenants, events, _steps(story))
            live.update(shown, refresh=True)
            await asyncio.sleep(REFRESH_S)


async def _show_lines(head_end: HeadEnd, story: Story) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        buses = [bus.status() for bus in head_end.buses.values()]
        lost = sum(bus.lost for bus in buses)
        oldest = max((bus.oldest_age_s or 0.0 for bus in buses), default=0.0)
        for tenant in await story.scene.tenants():
            tell(f"{story.scene.local():%a %H:%M} {_line(tenant)}")
        tell(
            f"{len(buses)} buses, {sum(bus.meters for bus in buses)} meters, {lost} lost, "
            f"oldest reading {oldest:.1f} s, {story.telling.progress}"
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


def _tenants(tenants: Iterable[TenantView], local: datetime) -> Table:
    table = Table(
        title=f"tenants on {local:%A at %H:%M}", box=None, pad_edge=False, header_style="bold"
    )
    for column in ("account", "balance", "supply", "orders", "last notice"):
        table.add_column(column, justify="right" if column == "balance" else "left")
    for each in tenants:
        supply = "on" if each.supplied else "[red]off[/]"
        table.add_row(each.account, each.balance, supply, each.orders, each.notice)
    return table


def _line(tenant: TenantView) -> str:
    supply = "on" if tenant.supplied else "off"
    return f"{tenant.account}: balance {tenant.balance}, supply {supply}, {tenant.orders}"


def _last_run(bus: Bus) -> str:
    run = bus.last_run
    if run is None:
        return ""
    return f"{len(run.succeeded)} read, {len(run.failed)} failed"


def _steps(story: Story) -> Text:
    lines = [
        f"{'✔' if step.seen else '✘' if step.fault else '·'} {step.text}"
        + (f": {step.seen or step.fault}" if step.seen or step.fault else "")
        for step in story.telling.steps
    ]
    return Text("\n".join(["", *lines]))
