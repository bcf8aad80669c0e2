"""Reference meters that break one rule of declaring, reading or being simulated."""

import asyncio
import socket
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import ClassVar, Final

from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT, RegisterType
from meterplex.sdk.capabilities import Capability
from meterplex.sdk.drivers import DeviceEvent, Identity, MeterSnapshot, RegisterValue
from meterplex.sdk.errors import DamagedReplyError, LinkTimeoutError, LinkUnavailableError
from meterplex.sdk.links import Span
from meterplex.sdk.models import ExchangeSize, MeterModel
from meterplex.sdk.testing.reference import REFERENCE_METER, check_address, make_twin
from meterplex.sdk.testing.reference_driver import (
    READ_LENGTH,
    ReferenceDriver,
    decode_readings,
)
from meterplex.sdk.testing.reference_frames import (
    OVERHEAD,
    REFUSAL,
    START,
    Operation,
    ReferenceDelimiter,
    frame_at,
)
from meterplex.sdk.testing.reference_twin import ReferenceTwin

BLOCKS_S: Final = 0.08

# -- declaration -------------------------------------------------------------------------------


class PromisesLess(ReferenceDriver):
    """Its model promises less than the driver does."""


class ActsUnpromised(ReferenceDriver):
    """Reads events without having the capability."""

    capabilities = ReferenceDriver.capabilities - {Capability.EVENTS}

    async def read_events(self, limit: int) -> tuple[DeviceEvent, ...]:
        """Read them all the same."""
        return await super().read_events(limit)


# -- reading -----------------------------------------------------------------------------------


class ReadingChanged(ReferenceDriver):
    """Base: changes what a read returned."""

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Read, then spoil it."""
        return self.spoil(await super().read(registers), registers)

    def spoil(
        self, snapshot: MeterSnapshot, registers: Collection[RegisterType] | None
    ) -> MeterSnapshot:
        """Return what the driver gives instead of the snapshot."""
        return snapshot


def _shifted(value: RegisterValue, by: Decimal) -> RegisterValue:
    return replace(value, value=value.value + by)


class NamesAnotherModel(ReferenceDriver):
    """Does not know its own model."""

    async def identify(self) -> Identity:
        """Say another model."""
        return replace(await super().identify(), model="another_meter")


class RepeatsRegister(ReadingChanged):
    """Gives a register twice."""

    def spoil(
        self, snapshot: MeterSnapshot, registers: Collection[RegisterType] | None
    ) -> MeterSnapshot:
        """Repeat the first register."""
        return replace(snapshot, values=(*snapshot.values, snapshot.values[0]))


class LeavesGrid(ReadingChanged):
    """Gives a finer value than its register keeps."""

    def spoil(
        self, snapshot: MeterSnapshot, registers: Collection[RegisterType] | None
    ) -> MeterSnapshot:
        """Shift all values by a part of a step."""
        finer = Decimal("0.00001")
        return replace(snapshot, values=tuple(_shifted(value, finer) for value in snapshot.values))


class GivesInfinity(ReadingChanged):
    """Gives an infinite voltage where the meter shows none."""

    def spoil(
        self, snapshot: MeterSnapshot, registers: Collection[RegisterType] | None
    ) -> MeterSnapshot:
        """Give no number at all."""
        voltage = replace(snapshot.values[1], value=Decimal("Infinity"))
        return replace(snapshot, values=(snapshot.values[0], voltage))


class AnswersByQuestion(ReadingChanged):
    """Gives another value when asked for a register alone."""

    def spoil(
        self, snapshot: MeterSnapshot, registers: Collection[RegisterType] | None
    ) -> MeterSnapshot:
        """Shift the values that were asked for by one step each."""
        asked = registers or ()
        return replace(
            snapshot,
            values=tuple(
                _shifted(value, value.register.resolution if value.register in asked else Decimal())
                for value in snapshot.values
            ),
        )


class ShoutsFlags(ReadingChanged):
    """Gives flags that are sentences."""

    def spoil(
        self, snapshot: MeterSnapshot, registers: Collection[RegisterType] | None
    ) -> MeterSnapshot:
        """Raise a flag that is no word."""
        return replace(snapshot, flags=frozenset({"Cover open!"}))


class KnowsZone(ReadingChanged):
    """Gives the meter's clock a zone."""

    def spoil(
        self, snapshot: MeterSnapshot, registers: Collection[RegisterType] | None
    ) -> MeterSnapshot:
        """Call the local time UTC."""
        assert snapshot.clock is not None
        return replace(snapshot, clock=snapshot.clock.replace(tzinfo=UTC))


class FlagsReadAsControl(ReferenceDriver):
    """Flags a read as a control frame."""

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Read, flagged as control."""
        data = await self._exchange(Operation.READ, b"", READ_LENGTH, control=True)
        return decode_readings(data)


class HidesSilence(ReferenceDriver):
    """Calls silence a damaged reply."""

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Read, with another error after silence."""
        try:
            return await super().read(registers)
        except LinkTimeoutError as error:
            raise DamagedReplyError("something was wrong") from error


class HidesDeadLink(ReferenceDriver):
    """Calls a dead link a time-out."""

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Read, with another error where nothing could be sent."""
        try:
            return await super().read(registers)
        except LinkUnavailableError as error:
            raise LinkTimeoutError("no reply") from error


class SharesState(ReferenceDriver):
    """Keeps the correction of the meter it reads on its class."""

    correction: ClassVar[Decimal] = Decimal()

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Read, and correct by what the latest driver left on the class."""
        SharesState.correction = Decimal(self._address)
        snapshot = await super().read(registers)
        energy, voltage = snapshot.values
        return replace(snapshot, values=(_shifted(energy, SharesState.correction), voltage))


class Sleeps(ReferenceDriver):
    """Waits on a clock of its own."""

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Wait, then read."""
        await asyncio.sleep(0.0001)
        return await super().read(registers)


class OpensSocket(ReferenceDriver):
    """Calls home."""

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Open a socket, then read."""
        socket.socket().close()
        return await super().read(registers)


class Blocks(ReadingChanged):
    """Keeps the event loop to itself."""

    def spoil(
        self, snapshot: MeterSnapshot, registers: Collection[RegisterType] | None
    ) -> MeterSnapshot:
        """Block for a while."""
        time.sleep(BLOCKS_S)
        return snapshot


# -- delimiters --------------------------------------------------------------------------------


class UncheckedDelimiter(ReferenceDelimiter):
    """Trusts the length and never computes the checksum."""

    __slots__ = ()

    def find(self, buffer: bytes) -> Span | None:
        """Take whatever has the right length."""
        for start in range(len(buffer) - OVERHEAD + 1):
            end = start + OVERHEAD + buffer[start + 3]
            if buffer[start] == START and end <= len(buffer) and self.fits(buffer[start:end]):
                return Span(start, end)
        return None


class HastyDelimiter(ReferenceDelimiter):
    """Looks at the length before it came in."""

    __slots__ = ()

    def find(self, buffer: bytes) -> Span | None:
        """Raise IndexError on the first bytes of a reply."""
        if buffer[:1] == bytes([START]) and len(buffer) < OVERHEAD + buffer[3]:
            return None
        return super().find(buffer)


class FussyDelimiter(ReferenceDelimiter):
    """Expects the reply at the very first byte."""

    __slots__ = ()

    def find(self, buffer: bytes) -> Span | None:
        """Look at the beginning only."""
        frame = frame_at(buffer, 0)
        return Span(0, len(frame)) if frame is not None and self.fits(frame) else None


class DeafDelimiter(ReferenceDelimiter):
    """Does not look at the address."""

    __slots__ = ()

    def fits(self, frame: bytes) -> bool:
        """Take any device's reply."""
        return frame[2] in {self.operation, REFUSAL} and frame[3] <= self.data_length_max


class ModestDelimiter(ReferenceDelimiter):
    """Announces shorter replies than it takes."""

    __slots__ = ()

    @property
    def reply_length_max(self) -> int:
        """Forget the checksum."""
        return self.data_length_max + 4


def _with_delimiter(delimiter: type[ReferenceDelimiter]) -> type[ReferenceDriver]:
    class Driver(ReferenceDriver):
        def _delimiter(self, operation: Operation, length_max: int) -> ReferenceDelimiter:
            return delimiter(self._address, operation, length_max)

    return Driver


# -- twins -------------------------------------------------------------------------------------


class FragileTwin(ReferenceTwin):
    """Does not survive noise."""

    def receive(self, burst: bytes) -> bytes:
        """Look at a byte that may not be there."""
        return super().receive(burst) if burst[3] < 255 else b""


class MeddlingTwin(ReferenceTwin):
    """Answers for the whole bus."""

    def receive(self, burst: bytes) -> bytes:
        """Take any address for its own."""
        own, self.address = self.address, burst[1] if len(burst) > 1 else 0
        reply = super().receive(burst)
        self.address = own
        return reply


class MoodyTwin(ReferenceTwin):
    """Lives differently each time."""

    _lives = count(1)

    def advance(self, now: datetime) -> None:
        """Consume more than the twin before it."""
        super().advance(now)
        self.energy_wh += next(self._lives)


class BackwardsTwin(ReferenceTwin):
    """Counts down."""

    def advance(self, now: datetime) -> None:
        """Feed back more than was ever used."""
        super().advance(now)
        self.energy_wh -= 100_000


def _with_twin(twin: type[ReferenceTwin]) -> MeterModel:
    def make(address: str, settings: Mapping[str, str], seed: int) -> ReferenceTwin:
        plain = make_twin(address, settings, seed)
        return twin(plain.address, plain.energy_wh, remaining_cents=plain.remaining_cents)

    return replace(REFERENCE_METER, twin=make)


def _driver(driver: type[ReferenceDriver]) -> MeterModel:
    return replace(REFERENCE_METER, driver=driver)


BROKEN: Final[dict[str, tuple[MeterModel, ...]]] = {
    "test_address_is_in_normal_form": (
        replace(REFERENCE_METER, check_address=lambda text: check_address(text).zfill(3)),
    ),
    "test_bad_addresses_are_refused": (replace(REFERENCE_METER, check_address=lambda text: text),),
    "test_driver_promises_no_more_than_its_model": (
        replace(REFERENCE_METER, capabilities=REFERENCE_METER.capabilities - {Capability.EVENTS}),
    ),
    "test_missing_capabilities_refuse": (_driver(ActsUnpromised),),
    "test_identify_names_the_model": (_driver(NamesAnotherModel),),
    "test_read_gives_declared_registers": (
        replace(REFERENCE_METER, registers=(ACTIVE_ENERGY_IMPORT,)),
    ),
    "test_read_gives_each_register_once": (_driver(RepeatsRegister),),
    "test_values_are_decimals_on_the_grid": (_driver(LeavesGrid), _driver(GivesInfinity)),
    "test_asked_register_equals_polled_one": (_driver(AnswersByQuestion),),
    "test_read_moves_nothing": (_driver(FlagsReadAsControl),),
    "test_poll_is_as_declared": (
        replace(REFERENCE_METER, poll=(ExchangeSize(request=8, reply=20),)),
    ),
    "test_reply_fits_the_announced_length": (_driver(_with_delimiter(ModestDelimiter)),),
    "test_flags_are_words": (_driver(ShoutsFlags),),
    "test_snapshot_clock_is_local": (_driver(KnowsZone),),
    "test_silence_is_a_time_out": (_driver(HidesSilence),),
    "test_dead_link_is_said_so": (_driver(HidesDeadLink),),
    "test_flipped_bits_give_no_value": (_driver(_with_delimiter(UncheckedDelimiter)),),
    "test_truncated_replies_give_no_value": (_driver(_with_delimiter(HastyDelimiter)),),
    "test_garbage_before_the_reply_is_skipped": (_driver(_with_delimiter(FussyDelimiter)),),
    "test_other_devices_replies_give_no_value": (_driver(_with_delimiter(DeafDelimiter)),),
    "test_driver_awaits_only_its_link": (_driver(Sleeps),),
    "test_driver_opens_no_socket": (_driver(OpensSocket),),
    "test_driver_does_not_block": (_driver(Blocks),),
    "test_two_drivers_share_nothing": (_driver(SharesState),),
    "test_twin_takes_any_bytes": (_with_twin(FragileTwin),),
    "test_twin_hears_only_its_address": (_with_twin(MeddlingTwin),),
    "test_twin_is_given_by_its_seed": (_with_twin(MoodyTwin),),
    "test_counters_only_rise": (_with_twin(BackwardsTwin),),
}
"""For each check, the models that break its rule and no other."""
