"""Driver of the reference meter: keeps every rule of the contract, in the plainest way."""

import struct
from collections.abc import Collection, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Final

from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT, VOLTAGE_L1, RegisterType
from meterplex.domain.supply import SupplyAction, SupplyMode, SupplyState
from meterplex.sdk.capabilities import Capability
from meterplex.sdk.drivers import (
    CreditState,
    DeviceEvent,
    FrozenPeriod,
    FrozenValue,
    Identity,
    Limits,
    MeterDriver,
    MeterSnapshot,
    Prices,
    Rate,
    RateChange,
    RegisterValue,
    SeasonStart,
    TouCalendar,
)
from meterplex.sdk.errors import (
    DamagedReplyError,
    DeviceMismatchError,
    DeviceRefusedError,
    DriverError,
    LinkTimeoutError,
    OutcomeUnknownError,
    RefusalReason,
    UnsupportedError,
)
from meterplex.sdk.links import Link
from meterplex.sdk.testing.reference_frames import (
    REFUSAL,
    Operation,
    ReferenceDelimiter,
    RefusalCode,
    encode_frame,
)

CENT: Final = Decimal("0.01")
PRICE_STEP: Final = Decimal("0.0001")
DATA_LENGTH_MAX: Final = 247
READ_LENGTH: Final = 13
EPOCH: Final = datetime(2000, 1, 1)  # noqa: DTZ001  # of the meter's own local time
MODES: Final = tuple(SupplyMode)
ACTIONS: Final = tuple(SupplyAction)
RATES: Final = tuple(Rate)
FLAGS: Final = ("arrears", "meter_fault")
REASONS: Final[dict[int, RefusalReason]] = {
    RefusalCode.DUPLICATE: RefusalReason.DUPLICATE,
    RefusalCode.COUNT_WRONG: RefusalReason.COUNT_WRONG,
}
REGISTERS: Final = (ACTIVE_ENERGY_IMPORT, VOLTAGE_L1)


class ReferenceDriver(MeterDriver):
    """Driver of one reference meter."""

    capabilities = frozenset(Capability)

    def __init__(self, link: Link, address: str, settings: Mapping[str, str]) -> None:
        self._link = link
        self._address = int(address)
        if settings["hold"] == "no":
            self.capabilities -= {Capability.HOLD_SUPPLY}

    async def identify(self) -> Identity:
        """Ask for the model's word."""
        word = await self._ask(Operation.IDENTIFY, length_max=4)
        if word != b"REF1":
            raise DeviceMismatchError(f"model word {word.hex(' ')}, expected 52 45 46 31 (REF1)")
        return Identity("reference_meter")

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Read everything in one exchange."""
        return decode_readings(await self._ask(Operation.READ, length_max=READ_LENGTH))

    async def read_supply(self) -> SupplyState:
        """Read the relay."""
        return await self._read_relay()

    async def _read_relay(self) -> SupplyState:
        readings = decode_readings(await self._ask(Operation.READ, length_max=READ_LENGTH))
        assert readings.supply is not None
        return readings.supply

    async def set_supply(self, action: SupplyAction) -> SupplyState:
        """Switch and read back."""
        if action is SupplyAction.HOLD and Capability.HOLD_SUPPLY not in self.capabilities:
            raise UnsupportedError(Capability.HOLD_SUPPLY)
        acknowledged = await self._switch(action)
        state = await self._read_back(action)
        return self._settle(action, state, acknowledged=acknowledged)

    async def _switch(self, action: SupplyAction) -> bool:
        """Send the command and return whether it was acknowledged."""
        try:
            await self._command(Operation.SET_SUPPLY, bytes([ACTIONS.index(action)]))
        except LinkTimeoutError:
            return False
        return True

    async def _read_back(self, action: SupplyAction) -> SupplyState:
        try:
            return await self._read_relay()
        except DriverError as error:
            raise OutcomeUnknownError(f"{action}: sent, not read back: {error}") from error

    def _settle(
        self, action: SupplyAction, state: SupplyState, *, acknowledged: bool
    ) -> SupplyState:
        if state.proves(action):
            return state
        if acknowledged:
            raise DeviceRefusedError(f"{action}: acknowledged, but the relay reads {state}")
        raise OutcomeUnknownError(f"{action}: no answer, and the relay reads {state}")

    async def read_credit(self) -> CreditState:
        """Read the wallet."""
        data = await self._ask(Operation.READ_WALLET, length_max=10)
        remaining, count, total = struct.unpack(">iHI", data)
        return CreditState(remaining * CENT, count, total * CENT)

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        """Send one purchase."""
        return await self._move_credit(Operation.DELIVER, count, amount)

    async def withdraw_credit(self, count: int, amount: Decimal) -> CreditState:
        """Take credit back; the meter refuses while its supply is on."""
        return await self._move_credit(Operation.WITHDRAW, count, amount)

    async def _move_credit(self, operation: Operation, count: int, amount: Decimal) -> CreditState:
        await self._write(operation, struct.pack(">HI", count, int(amount / CENT)))
        try:
            return await self.read_credit()
        except DriverError as error:
            raise OutcomeUnknownError(f"sent, wallet not read: {error}") from error

    async def read_prices(self) -> Prices:
        """Read four prices."""
        data = await self._ask(Operation.READ_PRICES, length_max=16)
        return Prices(*(step * PRICE_STEP for step in struct.unpack(">4I", data)))

    async def write_prices(self, prices: Prices) -> Prices:
        """Write four prices."""
        steps = [
            int(price / PRICE_STEP)
            for price in (prices.sharp, prices.peak, prices.flat, prices.valley)
        ]
        await self._write(Operation.WRITE_PRICES, struct.pack(">4I", *steps))
        return await self.read_prices()

    async def read_limits(self) -> Limits:
        """Read the two warning limits."""
        data = await self._ask(Operation.READ_LIMITS, length_max=8)
        alarm_1, alarm_2 = struct.unpack(">2I", data)
        return Limits(alarm_1=alarm_1 * CENT, alarm_2=alarm_2 * CENT)

    async def write_limits(self, limits: Limits) -> Limits:
        """Write the warning limits; the meter keeps no others."""
        if (limits.overdraft, limits.hoard, limits.overload_kw) != (None, None, None):
            raise UnsupportedError("overdraft, hoard and overload limits")
        kept = await self.read_limits()
        wanted = [
            kept_limit if limit is None else limit
            for limit, kept_limit in (
                (limits.alarm_1, kept.alarm_1),
                (limits.alarm_2, kept.alarm_2),
            )
        ]
        steps = [int(limit / CENT) for limit in wanted if limit is not None]
        await self._write(Operation.WRITE_LIMITS, struct.pack(">2I", *steps))
        return await self.read_limits()

    async def read_calendar(self) -> TouCalendar:
        """Read the calendar."""
        return decode_calendar(await self._ask(Operation.READ_CALENDAR))

    async def write_calendar(self, calendar: TouCalendar) -> TouCalendar:
        """Write the calendar."""
        await self._write(Operation.WRITE_CALENDAR, encode_calendar(calendar))
        return await self.read_calendar()

    async def read_clock(self) -> datetime:
        """Read the clock."""
        seconds = int.from_bytes(await self._ask(Operation.READ_CLOCK, length_max=4))
        return EPOCH + timedelta(seconds=seconds)

    async def sync_clock(self, local: datetime) -> datetime:
        """Set the clock."""
        seconds = int((local - EPOCH).total_seconds())
        await self._write(Operation.WRITE_CLOCK, seconds.to_bytes(4))
        return await self.read_clock()

    async def read_events(self, limit: int) -> tuple[DeviceEvent, ...]:
        """Read the newest events."""
        data = await self._ask(Operation.READ_EVENTS, bytes([limit]))
        return tuple(
            DeviceEvent(EPOCH + timedelta(seconds=seconds), f"event_{code}")
            for seconds, code in struct.iter_unpack(">IB", data)
        )

    async def read_frozen(self, period: FrozenPeriod, since: date) -> tuple[FrozenValue, ...]:
        """Read the energy at the ends of days or months."""
        since_days = since.toordinal() - EPOCH.toordinal()
        request = struct.pack(">BH", period is FrozenPeriod.MONTH, since_days)
        data = await self._ask(Operation.READ_FROZEN, request)
        return tuple(
            FrozenValue(
                date.fromordinal(EPOCH.toordinal() + days),
                RegisterValue(ACTIVE_ENERGY_IMPORT, ACTIVE_ENERGY_IMPORT.from_steps(energy_wh)),
            )
            for days, energy_wh in struct.iter_unpack(">HI", data)
        )

    # -- exchanges -----------------------------------------------------------------------------

    async def _ask(
        self, operation: Operation, data: bytes = b"", *, length_max: int = DATA_LENGTH_MAX
    ) -> bytes:
        return await self._exchange(operation, data, length_max, control=False)

    async def _command(self, operation: Operation, data: bytes) -> None:
        await self._exchange(operation, data, 1, control=True)

    async def _write(self, operation: Operation, data: bytes) -> None:
        """Send a control frame after whose silence nothing is known."""
        try:
            await self._command(operation, data)
        except LinkTimeoutError as error:
            raise OutcomeUnknownError(f"{operation.name}: {error}") from error

    async def _exchange(
        self, operation: Operation, data: bytes, length_max: int, *, control: bool
    ) -> bytes:
        request = encode_frame(self._address, operation, data)
        delimiter = self._delimiter(operation, length_max)
        reply = await self._link.exchange(request, delimiter, control=control)
        if reply[2] == REFUSAL:
            raise self._refused(operation, reply[4])
        return reply[4 : 4 + reply[3]]

    def _refused(self, operation: Operation, code: int) -> DeviceRefusedError:
        reason = REASONS.get(code, RefusalReason.OTHER)
        return DeviceRefusedError(f"{operation.name}: refused with {code:02X}", code, reason=reason)

    def _delimiter(self, operation: Operation, length_max: int) -> ReferenceDelimiter:
        return ReferenceDelimiter(self._address, operation, length_max)


def decode_readings(data: bytes) -> MeterSnapshot:
    """Read energy in Wh, voltage in 0.01 V, relay, mode, flags and clock.

    Raises:
        DamagedReplyError: the length is another.
    """
    if len(data) != READ_LENGTH:
        raise DamagedReplyError(f"{len(data)} bytes of readings, expected {READ_LENGTH}")
    energy_wh, voltage_cv, connected, mode, flags, clock_s = struct.unpack(">IHBBBI", data)
    return MeterSnapshot(
        values=(
            RegisterValue(ACTIVE_ENERGY_IMPORT, ACTIVE_ENERGY_IMPORT.from_steps(energy_wh)),
            RegisterValue(VOLTAGE_L1, VOLTAGE_L1.from_steps(voltage_cv)),
        ),
        supply=SupplyState(connected == 1, MODES[mode]),
        flags=frozenset(word for bit, word in enumerate(FLAGS) if flags >> bit & 1),
        clock=EPOCH + timedelta(seconds=clock_s),
    )


def encode_calendar(calendar: TouCalendar) -> bytes:
    """Return ``seasons`` x {month, day, table}, then per table ``changes`` x {minute of day, rate}.

    Each list begins with its length in one byte; the minute has two.
    """
    seasons = b"".join(bytes([s.month, s.day, s.table]) for s in calendar.seasons)
    tables = b"".join(
        bytes([len(table)])
        + b"".join(
            struct.pack(">HB", change.at.hour * 60 + change.at.minute, RATES.index(change.rate))
            for change in table
        )
        for table in calendar.day_tables
    )
    return bytes([len(calendar.seasons)]) + seasons + tables


def decode_calendar(data: bytes) -> TouCalendar:
    """Read what :func:`encode_calendar` makes."""
    end = 1 + 3 * data[0]
    seasons = tuple(SeasonStart(*data[start : start + 3]) for start in range(1, end, 3))
    tables = []
    while end < len(data):
        start, end = end + 1, end + 1 + 3 * data[end]
        changes = struct.iter_unpack(">HB", data[start:end])
        tables.append(
            tuple(RateChange(time(*divmod(minute, 60)), RATES[rate]) for minute, rate in changes)
        )
    return TouCalendar(seasons, tuple(tables))
