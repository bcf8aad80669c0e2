"""A driver on a channel URL, without estate or database: for commissioning and for tests."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from meterplex.headend.line import Line, Trace
from meterplex.headend.line_link import LineLink
from meterplex.headend.turns import Order, WorkClass
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import (
    BusTolerance,
    ChannelSettings,
    ChannelType,
    ChannelUrl,
    MeterDriver,
    SettingsError,
)


def configure_channel(plugins: PluginManager, url_text: str) -> tuple[ChannelType, ChannelSettings]:
    """Return the type of a channel URL and its checked settings.

    Raises:
        SettingsError: the URL is malformed, its scheme is unknown, or a setting is wrong.
    """
    url = ChannelUrl.parse(url_text)
    channel_type = plugins.channel_types.get(url.scheme)
    if channel_type is None:
        known = ", ".join(sorted(plugins.channel_types)) or "none"
        raise SettingsError(
            f"channel URL {url_text!r}: unknown scheme {url.scheme!r}; known: {known}"
        )
    return channel_type, channel_type.configure(url)


@asynccontextmanager
async def open_line(
    plugins: PluginManager, url_text: str, *, trace: Trace | None = None
) -> AsyncIterator[Line]:
    """Give a line on a channel URL; it is opened by its first exchange and closed at the end.

    Raises:
        SettingsError: see :func:`configure_channel`.
    """
    channel_type, settings = configure_channel(plugins, url_text)
    line = Line(channel_type, settings, trace=trace)
    try:
        yield line
    finally:
        line.close()


def link_on(line: Line, tolerance: BusTolerance) -> LineLink:
    """Return a link for work that nobody competes with."""
    response_time_s = line.settings.timing.response_time_s
    return LineLink(
        line,
        Order(WorkClass.ON_DEMAND),
        tolerance.response_time_max_s if response_time_s is None else response_time_s,
        tolerance.gap_characters,
    )


@asynccontextmanager
async def open_driver(
    plugins: PluginManager,
    model_id: str,
    channel_url: str,
    address: str,
    settings: Mapping[str, str],
    *,
    trace: Trace | None = None,
) -> AsyncIterator[MeterDriver]:
    """Give a driver for one device on a channel URL.

    Raises:
        SettingsError: no such model, or a wrong URL, address or setting.
        PluginError: the plugin could not make its driver.
    """
    normal_address = plugins.check_address(model_id, address)
    tolerance = plugins.models[model_id].bus
    async with open_line(plugins, channel_url, trace=trace) as line:
        link = link_on(line, tolerance)
        yield plugins.make_driver(model_id, link, normal_address, settings)
