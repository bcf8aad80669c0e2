"""``serial:///dev/ttyUSB0?baud=9600&parity=N``: an RS-485 bus on a port of this machine."""

import asyncio
import os
from typing import Final

import serial

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
    Setting("baud", "bit/s", "9600"),
    Setting("parity", "none, even or odd", "N", ("N", "E", "O")),
    Setting("stopbits", "one or two", "1", ("1", "2")),
    Setting("echo", "yes where the adapter hears itself", "no", ("yes", "no")),
    Setting("latency", "what driver and adapter add to a round trip at worst, s", "0.05"),
    Setting("late", "how long after a time-out a reply may still come, s", "0.5"),
    Setting("response", "longest silence of a device; overrides the model's, s", ""),
)
READ_MAX: Final = 4096


def configure(url: ChannelUrl) -> ChannelSettings:
    """Check a ``serial`` URL.

    Raises:
        SettingsError: no device path, a host, or a setting that is unknown or out of range.
    """
    if url.host or not url.path.startswith("/") or url.path == "/":
        raise SettingsError(f"channel URL {url.text!r}: expected serial:///dev/...")
    timing, values = line_timing(url, SETTINGS)
    echo = values["echo"] == "yes"
    return ChannelSettings(url, Framing.RAW, timing, True, echo, values)


class _Port:
    """An open serial port, read when the kernel says so."""

    def __init__(self, port: serial.Serial, receiver: Receiver) -> None:
        self._port = port
        self._fd = port.fileno()
        self._receiver = receiver
        self._unsent = bytearray()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def write(self, data: bytes) -> None:
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        try:
            sent = os.write(self._fd, self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lose(error)
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._fd, self._flush)
        else:
            self._loop.remove_writer(self._fd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, READ_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self._receiver.bytes_received(data)
        else:
            self._lose(OSError("the port hung up"))

    def _lose(self, error: OSError) -> None:
        self.close()
        self._receiver.connection_lost(error.strerror or str(error))

    def close(self) -> None:
        if self._port.is_open:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._port.close()


async def open_serial(settings: ChannelSettings, receiver: Receiver) -> Transport:
    """Open the port for us alone.

    Raises:
        LinkUnavailableError: it does not exist, is in use, or refuses the line settings.
    """
    url, values = settings.url, settings.values
    try:
        port = serial.Serial(
            url.path,
            baudrate=int(values["baud"]),
            parity=values["parity"],
            stopbits=int(values["stopbits"]),
            timeout=0,
            exclusive=True,
        )
    except (OSError, ValueError) as error:
        raise LinkUnavailableError(f"{url.text}: {error}") from error
    os.set_blocking(port.fileno(), False)
    return _Port(port, receiver)


SERIAL: Final = ChannelType(
    scheme="serial",
    title="RS-485 bus on a serial port",
    configure=configure,
    open=open_serial,
    settings=SETTINGS,
    direct=True,
)
