"""``tcp://host:port?framing=rtu|tcp``: a TCP connection to a gateway or serial server."""

import asyncio
from typing import Final

from meterplex.headend.line_settings import line_timing
from meterplex.sdk import (
    ChannelSettings,
    ChannelType,
    ChannelUrl,
    Framing,
    LinkUnavailableError,
    Receiver,
    Setting,
    SettingsError,
    Transport,
)

SETTINGS: Final = (
    Setting("framing", "rtu over the connection, or Modbus TCP", "rtu", ("rtu", "tcp")),
    Setting("baud", "speed of the bus behind the gateway, bit/s", "9600"),
    Setting("parity", "of the bus behind the gateway", "N", ("N", "E", "O")),
    Setting("stopbits", "of the bus behind the gateway", "1", ("1", "2")),
    Setting("latency", "what network and gateway add to a round trip at worst, s", "0.5"),
    Setting("late", "how long after a time-out a reply may still come, s", "2"),
    Setting("response", "longest silence of a device; overrides the model's, s", ""),
)
READ_MAX: Final = 4096


def configure(url: ChannelUrl) -> ChannelSettings:
    """Check a ``tcp`` URL.

    Raises:
        SettingsError: no host or port, a path, or a setting that is unknown or out of range.
    """
    if not url.host or url.port is None:
        raise SettingsError(f"channel URL {url.text!r}: expected tcp://host:port")
    if url.path not in ("", "/"):
        raise SettingsError(f"channel URL {url.text!r}: unexpected path {url.path!r}")
    timing, values = line_timing(url, SETTINGS)
    framing = Framing.TCP if values["framing"] == "tcp" else Framing.RAW
    return ChannelSettings(url, framing, timing, shared_bus=True, values=values)


class _Stream(asyncio.BufferedProtocol):
    """Hands what an asyncio connection brings to a receiver.

    Reads into a buffer of its own: asyncio makes 256 KiB anew for each burst of a plain protocol.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._transport: asyncio.Transport | None = None
        self._closed = False
        self._receiver = receiver
        self._buffer = memoryview(bytearray(READ_MAX))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._receiver.bytes_received(self._buffer[:nbytes].tobytes())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            self._receiver.connection_lost(str(exc) if exc else "the peer closed the connection")

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.abort()


async def open_tcp(settings: ChannelSettings, receiver: Receiver) -> Transport:
    """Connect.

    Raises:
        LinkUnavailableError: refused, unreachable or unknown host.
    """
    url = settings.url
    assert url.port is not None
    loop = asyncio.get_running_loop()
    try:
        _, stream = await loop.create_connection(lambda: _Stream(receiver), url.host, url.port)
    except OSError as error:
        raise LinkUnavailableError(f"{url.text}: {error.strerror or error}") from error
    return stream


TCP: Final = ChannelType(
    scheme="tcp",
    title="TCP connection to a gateway or serial server",
    configure=configure,
    open=open_tcp,
    settings=SETTINGS,
    direct=True,
)
