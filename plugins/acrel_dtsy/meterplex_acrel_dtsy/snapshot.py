"""The snapshot block: all that a scheduled read needs in one exchange.

The model's profile says where registers, flags and supply state are. Here is what a profile cannot
say: the wallet, the clock, and the conditions that are more than one bit. Of status word B
(0x0225), bits 8-10 are what load control wants closed and bit 11 whether it is on, bits 4-6 and 7
the same of time control (DBG; that its "ps" and "ts" are these two is a guess).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Self

from meterplex.protocols.errors import ProtocolError
from meterplex.protocols.modbus.blocks import Field
from meterplex.protocols.modbus.registers import RegisterFormat, to_bytes
from meterplex.sdk import (
    STANDARD_REGISTERS,
    CreditState,
    MeterSnapshot,
    Quality,
    RegisterType,
    RegisterValue,
)
from meterplex.sdk.profile_parts import ProfileFlag, ProfileRegister, SupplyReadBack
from meterplex.sdk.profiles import RegisterProfile
from meterplex_acrel_dtsy.blocks import SNAPSHOT
from meterplex_acrel_dtsy.clock import decode_clock
from meterplex_acrel_dtsy.settings import AcrelSettings

CREDIT_REMAINING: Final = STANDARD_REGISTERS["credit_remaining"]
PURCHASE_COUNT: Final = STANDARD_REGISTERS["purchase_count"]
TOTAL_PURCHASED: Final = STANDARD_REGISTERS["total_purchased"]

_METER_FAULT: Final = "meter_fault"
_STATUS_B: Final = Field(3, 0x0225, 1)
_CLOCK_BYTES: Final = slice(80, 87)


@dataclass(frozen=True, slots=True)
class SnapshotLayout:
    """How to read the meter's registers, for one meter.

    Attributes:
        registers: those in the snapshot block.
        elsewhere: those of other blocks.
        flags: single bits of the block, each a condition.
        read_back: the state of the supply.
        phases: 1 or 3.
    """

    registers: tuple[ProfileRegister, ...]
    elsewhere: tuple[ProfileRegister, ...]
    flags: tuple[ProfileFlag, ...]
    read_back: SupplyReadBack
    phases: int

    @classmethod
    def of(cls, profile: RegisterProfile, phases: int, settings: AcrelSettings) -> Self:
        """Fit a model's profile to the settings of one meter."""
        fitted = [_fit(entry, settings) for entry in profile.registers]
        assert profile.supply is not None, "the profiles of the prepaid models have a relay"
        return cls(
            registers=tuple(entry for entry in fitted if SNAPSHOT.covers(entry.field)),
            elsewhere=tuple(entry for entry in fitted if not SNAPSHOT.covers(entry.field)),
            flags=profile.flags + settings.flag_bits,
            read_back=profile.supply.read_back,
            phases=phases,
        )

    def decode(self, words: Sequence[int]) -> MeterSnapshot:
        """Read the 48 words of the block; a clock that shows no real time is left out."""
        flags = self._flags(words)
        values = {
            entry.register: value
            for entry in self.registers
            if (value := entry.value(_words(words, entry.field))) is not None
        }
        if _METER_FAULT in flags:
            values = {
                register: replace(value, quality=Quality.SUSPECT)
                for register, value in values.items()
            }
        return MeterSnapshot(
            values=tuple(values.values()),
            supply=self.read_back.state(_words(words, self.read_back.field)),
            credit=_credit(values),
            flags=flags,
            clock=_clock(words),
        )

    def _flags(self, words: Sequence[int]) -> frozenset[str]:
        """Return the conditions, with those of controls that keep the relay open."""
        (status,) = _words(words, _STATUS_B)
        controls = {"overload": status >> 8, "time_switch_open": status >> 4}
        single = (flag.word for flag in self.flags if flag.holds(_words(words, flag.field)))
        opened = (word for word, control in controls.items() if self._keeps_open(control))
        return frozenset((*single, *opened))

    def _keeps_open(self, control: int) -> bool:
        all_phases = (1 << self.phases) - 1
        return bool(control & 0b1000) and control & all_phases != all_phases


def snapshot_clock(words: Sequence[int]) -> datetime:
    """Return the meter's local time.

    Raises:
        ProtocolError: there is no such date or time.
    """
    return decode_clock(to_bytes(words)[_CLOCK_BYTES])


def _fit(entry: ProfileRegister, settings: AcrelSettings) -> ProfileRegister:
    if entry.register is CREDIT_REMAINING:
        form = RegisterFormat.S32 if settings.balance_signed else RegisterFormat.U32
        return replace(entry, scale=settings.amount_scale, format=form)
    if entry.register is TOTAL_PURCHASED:
        return replace(entry, scale=settings.amount_scale)
    return entry


def _words(words: Sequence[int], field: Field) -> Sequence[int]:
    return words[field.address - SNAPSHOT.start : field.end - SNAPSHOT.start]


def _credit(values: dict[RegisterType, RegisterValue]) -> CreditState:
    count = int(values[PURCHASE_COUNT].value)
    return CreditState(values[CREDIT_REMAINING].value, count)


def _clock(words: Sequence[int]) -> datetime | None:
    try:
        return snapshot_clock(words)
    except ProtocolError:
        return None
