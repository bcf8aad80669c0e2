"""The command cipher of run mode bit 5: a TEA variant over 32-bit blocks.

It hides little (64-bit key, 32-bit blocks, each enciphered alone): protect the link as well.
"""

import struct
from dataclasses import dataclass
from typing import Final, Self

from meterplex.protocols.errors import EncodeError

_ROUNDS: Final = 16
_DELTA: Final = 0x9E3779B9 & 0xFFFF
_WORD: Final = 0xFFFF
_BLOCK_BYTES: Final = 4


@dataclass(frozen=True, slots=True, repr=False)
class CommandCipher:
    """Enciphers whole request frames; replies are plain.

    Attributes:
        key: four 16-bit words.
    """

    key: tuple[int, int, int, int]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a key of 16 hexadecimal digits, spaces ignored: ``1111 2222 3333 4444``.

        Raises:
            EncodeError: it is something else; the message does not repeat it.
        """
        digits = "".join(text.split())
        try:
            key = bytes.fromhex(digits)
        except ValueError:
            key = b""
        if len(key) != 8:
            raise EncodeError("cipher key: expected four groups of four hexadecimal digits")
        return cls(struct.unpack(">4H", key))

    def __call__(self, frame: bytes) -> bytes:
        """Return the frame, CRC included, padded with zeros to 4-byte blocks and enciphered."""
        padded = frame + bytes(-len(frame) % _BLOCK_BYTES)
        return b"".join(
            struct.pack(">2H", *self._encipher(*struct.unpack_from(">2H", padded, start)))
            for start in range(0, len(padded), _BLOCK_BYTES)
        )

    def _encipher(self, left: int, right: int) -> tuple[int, int]:
        k0, k1, k2, k3 = self.key
        mark = 0
        for _ in range(_ROUNDS):
            mark = mark + _DELTA & _WORD
            left = left + (((right << 4) + k0) ^ (right + mark) ^ ((right >> 5) + k1)) & _WORD
            right = right + (((left << 4) + k2) ^ (left + mark) ^ ((left >> 5) + k3)) & _WORD
        return left, right
