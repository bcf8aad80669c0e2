"""Values in 16-bit registers: one or more words to a number and back.

A word is an int 0..65535, its own bytes high byte first (Modbus Application Protocol V1.1b3, 4.2).
Which word of a longer value comes first is the maker's choice: :class:`WordOrder`.
"""

import struct
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Final

from meterplex.protocols.errors import EncodeError, ProtocolError


class WordOrder(StrEnum):
    """Which word of a value of several registers has the lowest address."""

    BIG = "big"
    """The most significant word."""
    LITTLE = "little"
    """The least significant word."""


class RegisterFormat(StrEnum):
    """How a number is kept in registers; the digits are its size in bits."""

    U16 = "u16"
    S16 = "s16"
    U32 = "u32"
    S32 = "s32"
    U48 = "u48"
    U64 = "u64"
    S64 = "s64"
    FLOAT32 = "float32"
    BCD16 = "bcd16"
    BCD32 = "bcd32"
    BCD48 = "bcd48"
    BCD64 = "bcd64"

    @property
    def words(self) -> int:
        """Number of registers."""
        return _WORDS[self]

    @property
    def signed(self) -> bool:
        """Whether it can hold a negative number."""
        return self in _SIGNED

    @property
    def decimal(self) -> bool:
        """Whether it is packed BCD: four decimal digits a register."""
        return self in _BCD


_WORDS: Final = {form: int(form.value.lstrip("usfloatbcd")) // 16 for form in RegisterFormat}
_SIGNED: Final = frozenset(
    {RegisterFormat.S16, RegisterFormat.S32, RegisterFormat.S64, RegisterFormat.FLOAT32}
)
_BCD: Final = frozenset(
    {RegisterFormat.BCD16, RegisterFormat.BCD32, RegisterFormat.BCD48, RegisterFormat.BCD64}
)


def to_bytes(words: Sequence[int], order: WordOrder = WordOrder.BIG) -> bytes:
    """Return the bytes of ``words``, most significant first."""
    ordered = words if order is WordOrder.BIG else tuple(reversed(words))
    return struct.pack(f">{len(ordered)}H", *ordered)


def from_bytes(data: bytes, order: WordOrder = WordOrder.BIG) -> tuple[int, ...]:
    """Return the words of ``data`` (an even number of bytes, most significant first)."""
    words = struct.unpack(f">{len(data) // 2}H", data)
    return words if order is WordOrder.BIG else words[::-1]


def decode(
    words: Sequence[int], form: RegisterFormat, order: WordOrder = WordOrder.BIG
) -> Decimal | None:
    """Return the number that ``words`` hold, exactly.

    None where the words say that there is no number (a float's NaN or infinity).

    Raises:
        ProtocolError: another number of words than the format has, or a BCD digit above 9.
    """
    if len(words) != form.words:
        raise ProtocolError(f"{len(words)} registers for {form}, expected {form.words}")
    data = to_bytes(words, order)
    if form is RegisterFormat.FLOAT32:
        number = Decimal(struct.unpack(">f", data)[0])
        return number if number.is_finite() else None
    if form.decimal:
        return Decimal(_decode_bcd(data))
    return Decimal(int.from_bytes(data, "big", signed=form.signed))


def encode(
    value: Decimal | int, form: RegisterFormat, order: WordOrder = WordOrder.BIG
) -> tuple[int, ...]:
    """Return the words that hold ``value``.

    Raises:
        EncodeError: not a whole number (but for float32) or outside what the format holds.
    """
    if not Decimal(value).is_finite():
        raise EncodeError(f"{value} is no number")
    if form is RegisterFormat.FLOAT32:
        return from_bytes(_encode_float(value), order)
    if value != int(value):
        raise EncodeError(f"{value} is no whole number, as {form} needs")
    try:
        if form.decimal:
            data = _encode_bcd(int(value), form)
        else:
            data = int(value).to_bytes(form.words * 2, "big", signed=form.signed)
    except (OverflowError, ValueError) as error:
        raise EncodeError(f"{value} does not fit {form}") from error
    return from_bytes(data, order)


def _encode_float(value: Decimal | int) -> bytes:
    try:
        return struct.pack(">f", value)
    except OverflowError as error:
        raise EncodeError(f"{value} does not fit {RegisterFormat.FLOAT32}") from error


def _decode_bcd(data: bytes) -> int:
    digits = data.hex()
    if not digits.isdecimal():
        raise ProtocolError(f"BCD {data.hex(' ').upper()}: a digit above 9")
    return int(digits)


def _encode_bcd(value: int, form: RegisterFormat) -> bytes:
    digits = form.words * 4
    text = f"{value:0{digits}d}"
    if value < 0 or len(text) > digits:
        raise ValueError(text)
    return bytes.fromhex(text)
