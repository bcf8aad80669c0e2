"""Time on a serial line: Modbus over Serial Line V1.02."""

from typing import Final

GAP_CHARACTERS: Final = 3.5
"""Silence between two frames, in characters (clause 2.5.1.1)."""

FAST_LINE_GAP_S: Final = 0.00175
"""It does not shrink below this, which is above 19200 baud (clause 2.5.1.1)."""


def character_bits(parity: str = "N", stop_bits: int = 1) -> int:
    """Return the bits of one character: start bit, 8 data bits, parity, stop bits.

    The standard asks for 11 always, with two stop bits where there is no parity (clause 2.5.1);
    meters in the field use 8N1, which is 10.

    Args:
        parity: ``N``, ``E`` or ``O``.
        stop_bits: 1 or 2.
    """
    return 1 + 8 + (0 if parity == "N" else 1) + stop_bits


def character_time_s(baud: int, parity: str = "N", stop_bits: int = 1) -> float:
    """Return how long one character is on the line."""
    return character_bits(parity, stop_bits) / baud


def silent_gap_s(character_s: float, characters: float = GAP_CHARACTERS) -> float:
    """Return the silence that must separate two frames.

    Args:
        character_s: time of one character.
        characters: more than 3.5 for a device that needs it.
    """
    return max(characters * character_s, FAST_LINE_GAP_S)
