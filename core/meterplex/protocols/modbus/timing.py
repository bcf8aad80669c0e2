"""Time on a serial line: Modbus over Serial Line V1.02."""

from typing import Final

GAP_CHARACTERS: Final = 3.5
"""Silence between two frames, in characters (clause 2.5.1.1)."""

FAST_LINE_GAP_S: Final = 0.00175
"""The same above 19200 baud, where it no longer shrinks (clause 2.5.1.1)."""

FAST_LINE_BAUD: Final = 19200


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


def silent_gap_s(baud: int, character_s: float, characters: float = GAP_CHARACTERS) -> float:
    """Return the silence that must separate two frames.

    Args:
        baud: of the line.
        character_s: time of one character on it.
        characters: more than 3.5 for a device that needs it, which then holds above 19200 baud too.
    """
    if baud > FAST_LINE_BAUD and characters <= GAP_CHARACTERS:
        return FAST_LINE_GAP_S
    return characters * character_s


def wire_time_s(characters: int, character_s: float) -> float:
    """Return how long ``characters`` sent without a pause are on the line."""
    return characters * character_s
