"""Load control: the overload limit of each phase (DBG, one source).

Read from 0x0480: enable, then per phase max power, max step, power factor threshold, a value
whose meaning is not known, max trip count, recover time. Written by function 20, one frame of 26
bytes per phase; each group is led by an enable byte (1 = apply), so the groups that are not named
below stay as they are::

    0 enable, control on   2 enable, max power, max step, power factor threshold
"""

import struct
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Self

from meterplex.protocols.modbus.blocks import Block
from meterplex_acrel_dtsy.account import steps

_WRITE_STARTS: Final = (0x0400, 0x040D, 0x041A)
_GROUP_REGISTERS: Final = 6
_FRAME_BYTES: Final = 26
_WATTS_PER_KW: Final = 1000


def load_control_block(phases: int) -> Block:
    """Return where the block of a meter with this many phases is read."""
    return Block(3, 0x0480, 1 + _GROUP_REGISTERS * phases)


@dataclass(frozen=True, slots=True)
class PhaseLimit:
    """The limits of one phase, as raw steps."""

    power: int
    step: int
    power_factor: int


@dataclass(frozen=True, slots=True)
class LoadControl:
    """The load control block; one limit per phase."""

    enabled: bool
    phases: tuple[PhaseLimit, ...]

    @classmethod
    def decode(cls, words: tuple[int, ...]) -> Self:
        """Read the 7 or 19 registers of the block."""
        groups = range(1, len(words), _GROUP_REGISTERS)
        return cls(bool(words[0]), tuple(PhaseLimit(*words[at : at + 3]) for at in groups))

    def overload_kw(self, unit_w: Decimal) -> Decimal | None:
        """Return the lowest limit of the phases, or None while load control is off."""
        if not self.enabled:
            return None
        return min(phase.power for phase in self.phases) * unit_w / _WATTS_PER_KW

    def encode_overload(
        self, overload_kw: Decimal, unit_w: Decimal
    ) -> tuple[tuple[int, bytes], ...]:
        """Return start and data of one frame per phase that turns the limit on at this power.

        Raises:
            EncodeError: the power is below zero, not a whole number of steps or too large.
        """
        power = steps("overload", overload_kw * _WATTS_PER_KW, unit_w, 0xFFFF)
        return tuple(
            (start, _frame(power, phase))
            for start, phase in zip(_WRITE_STARTS, self.phases, strict=False)
        )


def _frame(power: int, phase: PhaseLimit) -> bytes:
    values = struct.pack(">HHH", power, phase.step, phase.power_factor)
    return (bytes((1, 1, 1)) + values).ljust(_FRAME_BYTES, b"\0")
