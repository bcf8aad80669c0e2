"""Kinds of channel: how a path to devices is opened from its URL."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self
from urllib.parse import parse_qsl, urlsplit

from meterplex.sdk.errors import SettingsError
from meterplex.sdk.links import Framing
from meterplex.sdk.models import Setting


@dataclass(frozen=True, slots=True)
class ChannelUrl:
    """A channel URL taken apart: ``scheme://host:port/path?key=value``.

    ``serial:///dev/ttyUSB0?baud=9600&parity=N`` has the path ``/dev/ttyUSB0`` and no host.
    """

    text: str
    scheme: str
    host: str
    port: int | None
    path: str
    query: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a URL apart.

        Raises:
            SettingsError: no scheme, a port that is no number, or a key given twice.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError as error:
            raise SettingsError(f"channel URL {text!r}: {error}") from error
        if not parts.scheme or "://" not in text:
            raise SettingsError(
                f"channel URL {text!r}: expected scheme://..., for example tcp://10.0.0.5:502"
            )
        query = dict(pairs)
        if len(query) != len(pairs):
            raise SettingsError(f"channel URL {text!r}: a setting is given twice")
        return cls(text, parts.scheme, parts.hostname or "", port, parts.path, query)


class Receiver(Protocol):
    """What a transport calls. All calls come on the event loop."""

    def bytes_received(self, data: bytes) -> None:
        """Bytes came in."""

    def connection_lost(self, reason: str) -> None:
        """The path is gone; nothing more will come. Called at most once, not after ``close``."""


class Transport(Protocol):
    """An open byte path."""

    def write(self, data: bytes) -> None:
        """Send bytes in order; does not wait for them to leave."""

    def close(self) -> None:
        """Give the path up at once. May be called twice."""


@dataclass(frozen=True, slots=True)
class LineTiming:
    """What the scheduler must know of a path.

    Attributes:
        character_s: time of one character on the slowest line behind the path.
        late_s: how long after its time-out a reply may still come in; requests whose replies could
            be taken for each other are kept apart for so long.
        latency_s: what the path adds to a round trip, at worst.
        response_time_s: longest silence of a device here; None takes the model's.
    """

    character_s: float
    late_s: float
    latency_s: float = 0.0
    response_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """A channel URL, checked by its channel type.

    Attributes:
        shared_bus: True where an RS-485 bus is behind it, with its limit of devices.
        echo: True where each request comes back before its reply (two-wire adapters).
        values: the settings of the URL, completed by their defaults.
    """

    url: ChannelUrl
    framing: Framing
    timing: LineTiming
    shared_bus: bool
    echo: bool = False
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChannelType:
    """A kind of channel that dials out.

    Attributes:
        scheme: of its URLs, unique over all plugins.
        title: for people.
        configure: checks a URL and derives the timing; raises ``SettingsError``. No I/O.
        open: opens the path; raises ``LinkUnavailableError``.
        settings: the query keys it knows.
        direct: nothing on the path stores frames: what was sent is out, or lost, once the path is
            closed and its drain time is over. A concentrator or modem that keeps frames to send
            them later is not direct. Orders rely on it, so leave it False where it is not certain.
    """

    scheme: str
    title: str
    configure: Callable[[ChannelUrl], ChannelSettings]
    open: Callable[[ChannelSettings, Receiver], Awaitable[Transport]]
    settings: tuple[Setting, ...] = field(default=())
    direct: bool = False
