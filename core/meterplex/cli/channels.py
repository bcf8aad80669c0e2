"""``meterplex channels``: the paths to the devices, and whether they can be opened."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

import click
import msgspec

from meterplex.cli.errors import ExitCode
from meterplex.cli.group import FailingGroup
from meterplex.cli.output import format_time, json_option, print_json, print_table, progress_bar
from meterplex.cli.program import Program, pass_program, run
from meterplex.db import UnitOfWork
from meterplex.db.errors import NotFoundError
from meterplex.domain.estate import Channel, Organisation, SiteId
from meterplex.domain.intervals import format_window
from meterplex.headend.direct import configure_channel
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import DriverError
from meterplex.services.estate.file_format import nearest

OPEN_DEADLINE_S = 10.0
AT_ONCE = 16


class ChannelTest(msgspec.Struct, frozen=True):
    """Whether one channel could be opened, and how long that took."""

    channel: str
    url: str
    ok: bool
    open_ms: float
    result: str


@click.group(cls=FailingGroup)
def channels() -> None:
    """List channels and test whether they can be opened."""


@channels.command("list")
@click.option("--site", metavar="CODE", help="Only this site.")
@json_option
@pass_program
def list_(program: Program, site: str | None, as_json: bool) -> None:
    """List the channels with their state and how many meters each carries."""

    async def look(
        uow: UnitOfWork, organisation: Organisation
    ) -> tuple[tuple[Channel, ...], dict[SiteId, str], list[int]]:
        found = await _channels_of(program, uow, organisation, site)
        counts = [len(await uow.meters.on_channel(organisation.id, each.id)) for each in found]
        codes = {each.id: each.code for each in await uow.sites.all(organisation.id)}
        return found, codes, counts

    found, codes, counts = run(program.in_estate(look))
    if as_json:
        print_json(
            [
                {
                    "site": codes[channel.site_id],
                    "code": channel.code,
                    "url": channel.url,
                    "meters": count,
                    "reading_window": format_window(channel.window),
                    "state": channel.state,
                    "state_since": channel.state_since,
                    "lost_reason": channel.lost_reason,
                }
                for channel, count in zip(found, counts, strict=True)
            ]
        )
        return
    print_table(
        ("site", "channel", "URL", "meters ", "window", "state", "since", "reason"),
        (
            (
                codes[channel.site_id],
                channel.code,
                channel.url,
                count,
                format_window(channel.window),
                channel.state,
                format_time(channel.state_since),
                channel.lost_reason,
            )
            for channel, count in zip(found, counts, strict=True)
        ),
    )


@channels.command
@click.argument("names", nargs=-1, metavar="[CHANNEL]...")
@click.option("--site", metavar="CODE", help="Only this site.")
@click.option("--url", "urls", multiple=True, help="Test this URL; no database is needed.")
@json_option
@pass_program
@click.pass_context
def test(
    context: click.Context,
    program: Program,
    names: tuple[str, ...],
    site: str | None,
    urls: tuple[str, ...],
    as_json: bool,
) -> None:
    """Open each channel and close it again: is the host or collector there?

    No byte is sent. A serial port or a gateway that takes one connection only is busy while the
    head-end has it.
    """

    async def look(uow: UnitOfWork, organisation: Organisation) -> list[tuple[str, str]]:
        found = await _channels_of(program, uow, organisation, site)
        known = {channel.code: channel for channel in found}
        for name in names:
            if name not in known:
                raise NotFoundError(f"no channel {name!r}{nearest(name, known)}")
        return [(each.code, each.url) for each in found if not names or each.code in names]

    if urls and (names or site):
        raise click.UsageError("give channels of the estate or --url, not both")
    targets = [("", url) for url in urls] or run(program.in_estate(look))
    with progress_bar("testing channels") as bar:
        results = run(_test_all(program.plugins, targets, bar.show))
    if as_json:
        print_json(results)
    else:
        print_table(
            ("channel", "URL", "ms ", "result"),
            ((each.channel, each.url, f"{each.open_ms:.0f}", each.result) for each in results),
        )
    context.exit(ExitCode.OK if all(each.ok for each in results) else ExitCode.ERROR)


async def _channels_of(
    program: Program, uow: UnitOfWork, organisation: Organisation, site_code: str | None
) -> tuple[Channel, ...]:
    if site_code is None:
        return await uow.channels.all(organisation.id)
    site = await program.site(uow, organisation, site_code)
    return await uow.channels.in_site(organisation.id, site.id)


class _Nobody:
    """Receives what a channel says while it is only being tested."""

    def bytes_received(self, data: bytes) -> None:
        """Drop it."""

    def connection_lost(self, reason: str) -> None:
        """Say nothing: the test is over."""


async def _test_all(
    plugins: PluginManager, targets: Sequence[tuple[str, str]], show: Callable[[int, int], None]
) -> list[ChannelTest]:
    turns = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(name: str, url: str) -> ChannelTest:
        nonlocal done
        async with turns:
            result = await _test(plugins, name, url)
        done += 1
        show(done, len(targets))
        return result

    return await asyncio.gather(*(one(name, url) for name, url in targets))


async def _test(plugins: PluginManager, name: str, url: str) -> ChannelTest:
    started = monotonic()
    ok = False
    try:
        channel_type, settings = configure_channel(plugins, url)
        async with asyncio.timeout(OPEN_DEADLINE_S):
            transport = await channel_type.open(settings, _Nobody())
        transport.close()
        ok, result = True, "open"
    except DriverError as error:
        result = str(error)
    except TimeoutError:
        result = f"not open within {OPEN_DEADLINE_S:.0f} s"
    return ChannelTest(name, url, ok, (monotonic() - started) * 1000, result)
