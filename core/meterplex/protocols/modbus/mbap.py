"""Modbus TCP framing: Modbus Messaging on TCP/IP Implementation Guide V1.0b, clause 3.1.3.

::

    transaction (2)  protocol, always 0 (2)  length of the rest (2)  unit (1)  PDU (1..253)

There is no checksum: TCP has its own. A reply names its request by the transaction number.
"""

import struct
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from meterplex.protocols.errors import EncodeError, FrameError
from meterplex.protocols.modbus.pdu import (
    EXCEPTION_FLAG,
    EXCEPTION_PDU_LENGTH,
    PDU_LENGTH_MAX,
    Request,
)
from meterplex.protocols.spans import Span

HEADER_LENGTH: Final = 7
_HEADER: Final = struct.Struct(">HHHB")
_SHOWN_MAX: Final = 32


def encode_adu(transaction: int, unit: int, pdu: bytes) -> bytes:
    """Return the frame of ``pdu``.

    Raises:
        EncodeError: transaction outside 0..65535, unit outside 0..255, or the PDU is empty or
            longer than 253 bytes.
    """
    if not 0 <= transaction <= 0xFFFF:
        raise EncodeError(f"transaction {transaction}, expected 0..65535")
    if not 0 <= unit <= 0xFF:
        raise EncodeError(f"unit address {unit}, expected 0..255")
    if not 1 <= len(pdu) <= PDU_LENGTH_MAX:
        raise EncodeError(f"PDU of {len(pdu)} bytes, expected 1..{PDU_LENGTH_MAX}")
    return _HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu


def decode_adu(frame: bytes) -> tuple[int, int, bytes]:
    """Return transaction, unit and PDU of one frame.

    Raises:
        FrameError: too short, of another protocol, or not as long as it says.
    """
    if not HEADER_LENGTH < len(frame) <= HEADER_LENGTH + PDU_LENGTH_MAX:
        raise FrameError(
            f"{len(frame)} bytes, expected {HEADER_LENGTH + 1}..{HEADER_LENGTH + PDU_LENGTH_MAX}, "
            f"frame {_shorten(frame)}"
        )
    transaction, protocol, length, unit = _HEADER.unpack_from(frame)
    if protocol != 0:
        raise FrameError(f"protocol {protocol}, expected 0, frame {_shorten(frame)}")
    if length != len(frame) - HEADER_LENGTH + 1:
        raise FrameError(
            f"length {length}, expected {len(frame) - HEADER_LENGTH + 1}, frame {_shorten(frame)}"
        )
    return transaction, unit, frame[HEADER_LENGTH:]


@dataclass(frozen=True, slots=True)
class MbapDelimiter:
    """Finds the reply to one request in a stream of Modbus TCP.

    It looks for the one header that fits, so garbage and other replies before it do not matter.

    Attributes:
        transaction: number of the request.
        unit: the device's address.
        request: what was asked.
    """

    transaction: int
    unit: int
    request: Request

    @property
    def key(self) -> Hashable:
        """None: a reply names its request."""
        return None

    @property
    def reply_length_max(self) -> int:
        """Longest fitting reply: the normal one, or an exception (9 bytes)."""
        return HEADER_LENGTH + max(self.request.reply_length, EXCEPTION_PDU_LENGTH)

    def find(self, buffer: bytes) -> Span | None:
        """Return the first normal reply that fits, else the first exception, else None."""
        return self._search(
            buffer, self.request.reply_head, self.request.reply_length
        ) or self._search(buffer, self.request.exception_head, EXCEPTION_PDU_LENGTH)

    def _search(self, buffer: bytes, head: bytes, length: int) -> Span | None:
        start = buffer.find(_HEADER.pack(self.transaction, 0, length + 1, self.unit) + head)
        end = start + HEADER_LENGTH + length
        return Span(start, end) if start >= 0 and end <= len(buffer) else None

    def explain(self, buffer: bytes) -> str:
        """Say what came instead: cut short, or the field of the header that does not fit."""
        if not buffer:
            return "nothing came"
        start = max(buffer.find(self.transaction.to_bytes(2, "big") + b"\0\0"), 0)
        frame = buffer[start:]
        return f"{self._mismatch(frame)}: {_shorten(frame)}"

    def _mismatch(self, frame: bytes) -> str:
        if len(frame) <= HEADER_LENGTH:
            return f"{len(frame)} of {HEADER_LENGTH + self.request.reply_length} bytes"
        transaction, protocol, length, unit = _HEADER.unpack_from(frame)
        pdu = frame[HEADER_LENGTH : HEADER_LENGTH + length - 1]
        expected = self.request.reply_head
        if protocol != 0:
            return f"protocol {protocol}, expected 0"
        if transaction != self.transaction:
            return f"transaction {transaction}, expected {self.transaction}"
        if unit != self.unit:
            return f"frame from address {unit}, expected {self.unit}"
        if frame[HEADER_LENGTH] & ~EXCEPTION_FLAG != self.request.function:
            return f"function {frame[HEADER_LENGTH]:02X}, expected {self.request.function:02X}"
        if length != self.request.reply_length + 1:
            return f"length {length}, expected {self.request.reply_length + 1}"
        if expected.startswith(pdu[: len(expected)]):
            return f"{len(frame)} of {HEADER_LENGTH + self.request.reply_length} bytes"
        came = pdu[1 : len(expected)]
        return f"{came.hex(' ').upper()}, expected {expected[1:].hex(' ').upper()}"


def _shorten(data: bytes) -> str:
    shown = data[:_SHOWN_MAX].hex(" ").upper()
    return shown if len(data) <= _SHOWN_MAX else f"{shown} ..."
