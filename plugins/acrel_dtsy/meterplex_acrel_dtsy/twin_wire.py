"""The wire of the twin: CRC16 and the command cipher, written for the twin alone."""

from typing import Final

_WORD: Final = 0xFFFF
_SUMS: Final = tuple(round_ * 0x9E3779B9 & _WORD for round_ in range(1, 17))


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE: Final = _table()


def crc16(data: bytes) -> int:
    """CRC16 with the reflected polynomial A001, started at FFFF (sheet section 1)."""
    crc = _WORD
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc


def seal(body: bytes) -> bytes:
    """Append the CRC, low byte first."""
    crc = crc16(body)
    return body + bytes((crc & 0xFF, crc >> 8))


def is_sealed(frame: bytes) -> bool:
    """Whether the last two bytes are the CRC of those before; a frame has at least four bytes."""
    return len(frame) >= 4 and crc16(frame) == 0


def decipher(ciphered: bytes, key: tuple[int, int, int, int]) -> bytes:
    """Undo the tea16 command cipher (sheet section 7): 4-byte blocks, one after the other.

    Each block is two 16-bit halves, high byte first, in 16 rounds of TEA with every sum cut to
    16 bits. A tail shorter than a block is dropped: no frame has one.
    """
    plain = bytearray()
    k0, k1, k2, k3 = key
    for at in range(0, len(ciphered) - 3, 4):
        left = ciphered[at] << 8 | ciphered[at + 1]
        right = ciphered[at + 2] << 8 | ciphered[at + 3]
        for total in reversed(_SUMS):
            mixed = (left << 4) + k2 ^ left + total ^ (left >> 5) + k3
            right = right - mixed & _WORD
            mixed = (right << 4) + k0 ^ right + total ^ (right >> 5) + k1
            left = left - mixed & _WORD
        plain += bytes((left >> 8, left & 0xFF, right >> 8, right & 0xFF))
    return bytes(plain)
