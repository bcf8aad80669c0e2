"""Which line a channel URL leads to, however it is written, and what the estate has on it."""

import socket
from pathlib import Path

from meterplex.db import Database
from meterplex.domain.estate import Meter
from meterplex.sdk import ChannelUrl, SettingsError


def line_of(url: ChannelUrl) -> str:
    """Return what a channel URL leads to: the URL without its settings.

    Two channels of one line would talk across each other.
    """
    port = "" if url.port is None else f":{url.port}"
    if url.scheme in {"tcp", "serial"}:
        return f"{url.scheme}://{url.host}{port}{url.path.rstrip('/')}"
    return url.text.partition("?")[0]


def same_line(first: str, second: str) -> bool:
    """Whether two channel URLs lead to the same line from this machine.

    Names of hosts are looked up and links of serial ports followed. A malformed URL leads nowhere.
    """
    try:
        return _resolved(ChannelUrl.parse(first)) == _resolved(ChannelUrl.parse(second))
    except SettingsError:
        return first == second


def _resolved(url: ChannelUrl) -> str:
    if url.scheme == "serial":
        return f"serial://{Path(url.path).resolve()}"
    if url.scheme == "tcp":
        return f"tcp://{_address(url.host)}:{url.port}"
    return line_of(url)


def _address(host: str) -> str:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return host
    return min(str(entry[4][0]) for entry in found)


async def find_known_device(database: Database, channel_url: str, address: str) -> Meter | None:
    """Return the installed meter of any organisation at an address of a line.

    Args:
        address: in its model's normal form.
    """
    async with database.unit_of_work(read_only=True) as uow:
        for organisation in await uow.organisations.all():
            for channel in await uow.channels.all(organisation.id):
                if same_line(channel.url, channel_url):
                    for meter in await uow.meters.on_channel(organisation.id, channel.id):
                        if meter.address == address:
                            return meter
    return None
