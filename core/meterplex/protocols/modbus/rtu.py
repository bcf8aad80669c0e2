"""Modbus RTU framing: Modbus over Serial Line V1.02, clause 2.5.1.

::

    address (1)  PDU (1..253)  CRC (2, low byte first)

RTU has no transaction number: a reply is known by address, function, counts and CRC alone. What
this cannot tell apart: a late reply to an earlier read of as many registers (the delimiter's key
keeps such requests apart), and the echo of function 06, which equals its reply.

Where a write's own first 8 bytes happen to verify as its reply (one write in 65536, by its CRC),
that reply is never accepted: a time-out and a read-back are better than an echo believed.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from fastcrc.crc16 import modbus as crc16

from meterplex.protocols.errors import EncodeError, FrameError
from meterplex.protocols.modbus.pdu import (
    EXCEPTION_FLAG,
    EXCEPTION_PDU_LENGTH,
    Function,
    Request,
    read_request,
)
from meterplex.protocols.spans import Span

BROADCAST: Final = 0
UNIT_MAX: Final = 247
"""Highest address of a device (clause 2.2)."""

ADU_LENGTH_MIN: Final = 4
ADU_LENGTH_MAX: Final = 256
_OVERHEAD: Final = 3  # address and CRC
_EXCEPTION_LENGTH: Final = EXCEPTION_PDU_LENGTH + _OVERHEAD
_ECHO_LENGTH: Final = 8  # replies of functions 06 and 16, requests of 03 and 04
_SHOWN_MAX: Final = 32
_READS: Final = (Function.READ_HOLDING, Function.READ_INPUT)


def encode_adu(unit: int, pdu: bytes) -> bytes:
    """Return the frame of ``pdu`` for the device ``unit`` (0 is everyone).

    Raises:
        EncodeError: the address is outside 0..247 or the PDU is empty or longer than 253 bytes.
    """
    if not BROADCAST <= unit <= UNIT_MAX:
        raise EncodeError(f"unit address {unit}, expected 0..{UNIT_MAX}")
    if not ADU_LENGTH_MIN <= len(pdu) + _OVERHEAD <= ADU_LENGTH_MAX:
        raise EncodeError(f"PDU of {len(pdu)} bytes, expected 1..{ADU_LENGTH_MAX - _OVERHEAD}")
    body = bytes((unit,)) + pdu
    return body + crc16(body).to_bytes(2, "little")


def decode_adu(frame: bytes) -> tuple[int, bytes]:
    """Return address and PDU of one frame.

    Raises:
        FrameError: too short, too long, or its CRC is wrong.
    """
    if not ADU_LENGTH_MIN <= len(frame) <= ADU_LENGTH_MAX:
        raise FrameError(
            f"{len(frame)} bytes, expected {ADU_LENGTH_MIN}..{ADU_LENGTH_MAX}, "
            f"frame {frame[:ADU_LENGTH_MAX].hex(' ').upper()}"
        )
    if crc16(frame) != 0:
        raise FrameError(f"{_crc_fault(frame)}, frame {frame.hex(' ').upper()}")
    return frame[0], frame[1:-2]


@dataclass(frozen=True, slots=True)
class RtuDelimiter:
    """Finds the reply of one device to one request.

    Attributes:
        unit: the device's address.
        request: what was asked.
        sent: the bytes that left, so that their echo is not taken for the reply.
    """

    unit: int
    request: Request
    sent: bytes
    _head: bytes = field(init=False, repr=False, compare=False)
    _length: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Frozen, yet looked at on every burst that comes in: worked out once.
        object.__setattr__(self, "_head", bytes((self.unit,)) + self.request.reply_head)
        object.__setattr__(self, "_length", self.request.reply_length + _OVERHEAD)

    @property
    def key(self) -> Hashable:
        """Address and function, for a read the length of its reply as well.

        An exception names the function alone, so a late one could refuse a later request: that
        must not happen to a write, whose refusal is believed. A read that fails is read again.
        """
        function = self.request.function
        if function in _READS:
            return self.unit, function, self._length
        return self.unit, function

    @property
    def reply_length_max(self) -> int:
        """Longest fitting reply: the normal one, or an exception (5 bytes)."""
        return max(self._length, _EXCEPTION_LENGTH)

    @property
    def _exception_head(self) -> bytes:
        return bytes((self.unit,)) + self.request.exception_head

    def find(self, buffer: bytes) -> Span | None:
        """Return the first normal reply that fits, else the first exception, else None.

        What is returned always has the right address, function, counts and CRC. The request's own
        echo is passed over, except that of function 06.
        """
        return self._search(buffer, self._head, self._length) or self._search(
            buffer, self._exception_head, _EXCEPTION_LENGTH
        )

    def _search(self, buffer: bytes, head: bytes, length: int) -> Span | None:
        start = buffer.find(head)
        while 0 <= start <= len(buffer) - length:
            frame = buffer[start : start + length]
            if crc16(frame) == 0 and not self._echoes(frame):
                return Span(start, start + length)
            start = buffer.find(head, start + 1)
        return None

    def _echoes(self, frame: bytes) -> bool:
        """Whether a candidate is the echo, cut short or with what came behind it.

        A frame followed by zero bytes still verifies, and the line often reads as zero when it
        turns round: without this, the echo of a read of 2 registers from 04xx and one such byte
        would be its reply.
        """
        return frame != self.sent and (frame.startswith(self.sent) or self.sent.startswith(frame))

    def explain(self, buffer: bytes) -> str:
        """Say what came instead, by the nearest miss: cut short, CRC, another frame, noise."""
        if not buffer:
            return "nothing came"
        rest = buffer.replace(self.sent, b"") if self.sent else buffer
        if not rest:
            return "only the request's own echo came"
        return (
            self._explain_fitting_head(rest)
            or self._explain_other_frame(rest)
            or self._explain_start(rest)
            or f"{len(rest)} bytes that are no frame: {_shorten(rest)}"
        )

    def _explain_fitting_head(self, buffer: bytes) -> str | None:
        for head, length in (
            (self._head, self._length),
            (self._exception_head, _EXCEPTION_LENGTH),
        ):
            start = buffer.find(head)
            if start >= 0:
                frame = buffer[start : start + length]
                if len(frame) < length:
                    return f"{len(frame)} of {length} bytes: {_shorten(frame)}"
                return f"{_crc_fault(frame)}, frame {_shorten(frame)}"
        return None

    def _explain_other_frame(self, buffer: bytes) -> str | None:
        faults = [self._mismatch(frame) for frame in _frames(buffer)]
        # A frame of the right device says more than one of a neighbour.
        return min(faults, key=lambda fault: fault.startswith("frame from"), default=None)

    def _explain_start(self, buffer: bytes) -> str | None:
        if self._head.startswith(buffer):
            return f"{len(buffer)} of {self._length} bytes: {_shorten(buffer)}"
        if buffer[0] == self.unit:
            return f"{self._mismatch(buffer)}, in {_shorten(buffer)}"
        return None

    def _mismatch(self, frame: bytes) -> str:
        """Name the first thing by which a frame of at least 2 bytes does not fit."""
        function = self.request.function
        if frame[0] != self.unit:
            return f"frame from address {frame[0]}, expected {self.unit}"
        if frame[1] & ~EXCEPTION_FLAG != function:
            return f"function {frame[1]:02X}, expected {function:02X}"
        came, expected = frame[2 : len(self._head)], self._head[2:]
        if came == expected:
            return f"{len(frame)} bytes, expected {self._length}"
        if len(expected) == 1:
            return f"byte count {came[0]}, expected {expected[0]}"
        return f"repeats {came.hex(' ').upper()}, expected {expected.hex(' ').upper()}"


@lru_cache(maxsize=8192)
def read_exchange(unit: int, function: int, start: int, count: int) -> tuple[bytes, RtuDelimiter]:
    """Return frame and delimiter of a read, kept because a head-end asks the same for ever.

    Raises:
        EncodeError: see :func:`encode_adu` and :func:`.pdu.read_request`.
    """
    request = read_request(function, start, count)
    frame = encode_adu(unit, request.pdu)
    return frame, RtuDelimiter(unit, request, frame)


def _frames(buffer: bytes) -> Iterator[bytes]:
    """Yield what verifies as a frame of the functions known here, at any offset."""
    for start in range(len(buffer) - _EXCEPTION_LENGTH + 1):
        for length in {_EXCEPTION_LENGTH, _ECHO_LENGTH, buffer[start + 2] + 5}:
            frame = buffer[start : start + length]
            if len(frame) == length and crc16(frame) == 0:
                yield frame


def _crc_fault(frame: bytes) -> str:
    computed = crc16(frame[:-2]).to_bytes(2, "little")
    return f"CRC {frame[-2:].hex(' ').upper()}, computed {computed.hex(' ').upper()}"


def _shorten(data: bytes) -> str:
    shown = data[:_SHOWN_MAX].hex(" ").upper()
    return shown if len(data) <= _SHOWN_MAX else f"{shown} ..."
