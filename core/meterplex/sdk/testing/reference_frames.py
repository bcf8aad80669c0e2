"""Frames of the reference meter: a made-up protocol with nothing in it but what a kit needs.

======  =======  =========================================
offset  length   field
======  =======  =========================================
0       1        start, 7E
1       1        address, 1..250
2       1        operation; in a refusal 7F
3       1        n, number of data bytes
4       n        data; in a refusal one byte: a ``RefusalCode``
4 + n   4        CRC-32 of all before it, big endian
======  =======  =========================================

Driver and twin share this module, unlike those of a real meter: where there is no sheet, there is
nothing that both could misread.
"""

import zlib
from collections.abc import Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from meterplex.sdk.links import Span

START: Final = 0x7E
REFUSAL: Final = 0x7F
OVERHEAD: Final = 8
"""Bytes of a frame without its data."""


class Operation(IntEnum):
    """What a request asks for; from 80 on it changes the meter."""

    IDENTIFY = 0x01
    READ = 0x02
    READ_WALLET = 0x03
    READ_PRICES = 0x04
    READ_LIMITS = 0x05
    READ_CALENDAR = 0x06
    READ_CLOCK = 0x07
    READ_EVENTS = 0x08
    READ_FROZEN = 0x09
    SET_SUPPLY = 0x81
    DELIVER = 0x82
    WITHDRAW = 0x83
    WRITE_PRICES = 0x84
    WRITE_LIMITS = 0x85
    WRITE_CALENDAR = 0x86
    WRITE_CLOCK = 0x87


class RefusalCode(IntEnum):
    """Why the meter says no."""

    OTHER = 0x04
    DUPLICATE = 0x05
    COUNT_WRONG = 0x06


def encode_frame(address: int, operation: int, data: bytes) -> bytes:
    """Return a whole frame."""
    body = bytes([START, address, operation, len(data)]) + data
    return body + zlib.crc32(body).to_bytes(4)


def frame_at(buffer: bytes, start: int) -> bytes | None:
    """Return the whole and undamaged frame that begins at ``start``, if one does."""
    if len(buffer) < start + OVERHEAD or buffer[start] != START:
        return None
    end = start + OVERHEAD + buffer[start + 3]
    frame = buffer[start:end]
    if len(buffer) < end or zlib.crc32(frame[:-4]).to_bytes(4) != frame[-4:]:
        return None
    return frame


@dataclass(frozen=True, slots=True)
class ReferenceDelimiter:
    """Finds the answer to one operation of one address: its reply or its refusal."""

    address: int
    operation: int
    data_length_max: int

    @property
    def key(self) -> Hashable:
        """Replies to the same operation of the same meter could be taken for each other."""
        return self.address, self.operation

    @property
    def reply_length_max(self) -> int:
        """Longest fitting reply in bytes."""
        return OVERHEAD + self.data_length_max

    def find(self, buffer: bytes) -> Span | None:
        """Return where the first whole answer lies."""
        for start in range(len(buffer)):
            frame = frame_at(buffer, start)
            if frame is not None and self.fits(frame):
                return Span(start, start + len(frame))
        return None

    def fits(self, frame: bytes) -> bool:
        """Whether a whole frame answers the request."""
        return (
            frame[1] == self.address
            and frame[2] in {self.operation, REFUSAL}
            and frame[3] <= self.data_length_max
        )

    def explain(self, buffer: bytes) -> str:
        """Say how much came."""
        return f"no reply among {len(buffer)} bytes" if buffer else "nothing came"


def refuse(request: bytes, code: RefusalCode = RefusalCode.OTHER) -> bytes:
    """Return the refusal of a request."""
    return encode_frame(request[1], REFUSAL, bytes([code]))
