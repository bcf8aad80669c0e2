"""The path between a driver and a device.

A driver makes bytes, gives them to :meth:`Link.exchange` with a :class:`Delimiter`, and gets back
the bytes of one reply that fits. It never opens sockets, never sleeps, never sees another device's
traffic. What is on the other side (serial port, TCP gateway, dialled-in DTU, a concentrator's
transparent forward) it cannot tell, except for :attr:`Link.framing`.
"""

from collections.abc import Hashable
from enum import StrEnum
from typing import Protocol

from meterplex.protocols.spans import Span as Span


class Framing(StrEnum):
    """How a request is wrapped on the wire."""

    RAW = "raw"
    """As the driver made it. Modbus drivers add address and CRC (RTU)."""
    TCP = "tcp"
    """Modbus TCP: the driver adds an MBAP header; the gateway makes RTU of it."""


class Delimiter(Protocol):
    """Finds, in what has come in so far, the one reply that fits a request. Sans-I/O, no state.

    Made anew for each request by the protocol module (``meterplex.protocols``).
    """

    @property
    def key(self) -> Hashable:
        """What a reply is known by; None where each reply names its request (a transaction id).

        Replies to two requests of equal key could be taken for each other, so a link keeps such
        requests apart for as long as a reply may be late.
        """

    @property
    def reply_length_max(self) -> int:
        """Longest fitting reply in bytes; the time-out follows from it."""

    def find(self, buffer: bytes) -> Span | None:
        """Return where a whole reply that fits lies, or None while there is none.

        Bytes before it may be anything: garbage, the request's own echo, other devices' frames.
        Must accept any bytes and never raise.
        """

    def explain(self, buffer: bytes) -> str:
        """Say in a few words what the buffer holds instead of a fitting reply, for the error."""


class Link(Protocol):
    """A half-duplex path to the devices of one channel; at most one exchange at a time on it."""

    @property
    def framing(self) -> Framing:
        """How requests on this link must be wrapped."""

    async def exchange(
        self, request: bytes, delimiter: Delimiter, *, control: bool = False
    ) -> bytes:
        """Send a request when the line is free and return the reply that fits it.

        The link waits for its turn and the silence the line needs, derives the time-out from the
        line's speed, both lengths and the model's response time, and after a time-out lets the
        line drain before anybody's next request.

        Args:
            request: the whole frame.
            delimiter: finds the reply and refuses what cannot belong to the request.
            control: True for every request that can move supply, value or a setting. Such a
                request is not sent after the command's ``not_after``.

        Raises:
            LinkUnavailableError: not sent, the channel is down.
            ExpiredError: not sent, ``not_after`` has passed.
            LinkTimeoutError: sent (wholly or in part), no fitting reply came.
        """
