"""Driver of the prepaid meters DTSY1352 (three-phase) and DDSY1352 (single-phase).

Scheduled reads take one exchange, the snapshot block. Whatever writes sends each control frame
once and believes only the block that it reads afterwards. Frames that move value (function 20 at
0x0100, and the wallet groups of the account block) are never followed by another of their kind.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Final

from meterplex.protocols.errors import ProtocolError
from meterplex.protocols.modbus.blocks import Block
from meterplex.protocols.modbus.pdu import ExceptionCode
from meterplex.protocols.modbus.registers import from_bytes, to_bytes
from meterplex.sdk import (
    STANDARD_REGISTERS,
    Capability,
    CreditState,
    DamagedReplyError,
    DeviceMismatchError,
    DeviceRefusedError,
    Identity,
    Limits,
    Link,
    MeterDriver,
    MeterSnapshot,
    OutcomeUnknownError,
    Prices,
    RegisterType,
    RegisterValue,
    SupplyAction,
    SupplyState,
    TouCalendar,
    UnsupportedError,
)
from meterplex.sdk.modbus import ModbusMaster, check_unit_address
from meterplex.sdk.profile_parts import ProfileRegister
from meterplex.sdk.profiles import ModbusProfileDriver, RegisterProfile
from meterplex_acrel_dtsy import account, blocks, tou
from meterplex_acrel_dtsy.account import AccountSettings
from meterplex_acrel_dtsy.clock import encode_clock
from meterplex_acrel_dtsy.load_control import LoadControl, load_control_block
from meterplex_acrel_dtsy.proof import UNANSWERED, ControlFrame, prove, read_after
from meterplex_acrel_dtsy.settings import AcrelSettings
from meterplex_acrel_dtsy.snapshot import SnapshotLayout, snapshot_clock

DEEP_VALLEY_ENERGY: Final = STANDARD_REGISTERS["active_energy_import_deep_valley"]

_CLOCK_TOLERANCE: Final = timedelta(seconds=60)

CAPABILITIES: Final = frozenset(
    {
        Capability.SUPPLY,
        Capability.HOLD_SUPPLY,
        Capability.CREDIT,
        Capability.DELIVER_CREDIT,
        Capability.WITHDRAW_CREDIT,
        Capability.PRICES,
        Capability.LIMITS,
        Capability.CALENDAR,
        Capability.CLOCK,
        Capability.COUNT_CHECKED,
    }
)
"""The last one only with the setting that a bench check proved it."""


@dataclass(frozen=True, slots=True)
class AcrelVariant:
    """What differs between the prepaid models.

    Attributes:
        profile: registers, flags, supply control, model word and meter number.
        phases: 1 or 3.
        date_plan: first register of the date plan; 6 registers.
        day_tables: first register of each day table; 21 registers each.
    """

    profile: RegisterProfile
    phases: int
    date_plan: int
    day_tables: tuple[int, int]


class AcrelDriver(MeterDriver):
    """Reads and commands one prepaid meter.

    Args:
        variant: which of the models it is.
        link: to its bus.
        address: 1..247, in decimal.
        settings: see :data:`~meterplex_acrel_dtsy.settings.SETTINGS`.
    """

    count_max = 0xFFFF
    withdraws_absolutely = True

    def __init__(
        self, variant: AcrelVariant, link: Link, address: str, settings: Mapping[str, str]
    ) -> None:
        self._variant = variant
        self._address = check_unit_address(address)
        self._master = ModbusMaster(link, int(self._address))
        self._by_profile = ModbusProfileDriver(variant.profile, link, self._address)
        self._settings = AcrelSettings.parse(settings)
        self._layout = SnapshotLayout.of(variant.profile, variant.phases, self._settings)
        unproven = set() if self._settings.count_checked else {Capability.COUNT_CHECKED}
        self.capabilities = CAPABILITIES - unproven

    async def identify(self) -> Identity:
        """Read the model word, then the meter number."""
        return await self._by_profile.identify()

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Read the snapshot block; a register that it does not hold costs an exchange of its own.

        Only an 8-rate meter is polled for its fifth rate.
        """
        wanted = set(registers or ())
        if not wanted and self._settings.deep_valley:
            wanted.add(DEEP_VALLEY_ENERGY)
        snapshot = self._layout.decode(await self._read_snapshot())
        more = [
            await self._read_register(entry)
            for entry in self._layout.elsewhere
            if entry.register in wanted
        ]
        present = (value for value in more if value is not None)
        return replace(snapshot, values=(*snapshot.values, *present))

    async def read_supply(self) -> SupplyState:
        """Read relay and mode from the two status words."""
        return await self._by_profile.read_supply()

    async def set_supply(self, action: SupplyAction) -> SupplyState:
        """Write the force control once, and prove it by the status words."""
        return await self._by_profile.set_supply(action)

    async def read_credit(self) -> CreditState:
        """Read count, total and remaining from one read of the settings block."""
        return (await self._read_account()).credit

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        """Send one sale frame, and return the wallet read after it, also when it was refused.

        The layout of the answer is not known, so it proves nothing either way.
        """
        sale = account.encode_sale(count, amount, self._settings.amount_scale)
        return await self._move_value(f"purchase {count}", blocks.SALE_START, sale)

    async def withdraw_credit(self, count: int, amount: Decimal) -> CreditState:
        """Write remaining, count and total purchased in one frame, only while the relay is open."""
        supply = await self.read_supply()
        if supply.connected is not False:
            raise DeviceRefusedError(f"withdrawal {count}: the relay was read as {supply}")
        wallet = await self.read_credit()
        frame = account.encode_withdrawal(wallet, count, amount, self._settings.amount_scale)
        return await self._move_value(f"withdrawal {count}", blocks.ACCOUNT_START, frame)

    async def read_prices(self) -> Prices:
        """Read the prices of the four rates."""
        return (await self._read_account()).prices

    async def write_prices(self, prices: Prices) -> Prices:
        """Write the four prices in one frame."""
        frame = account.encode_prices(prices, self._settings.price_scale)
        return await prove(
            "prices",
            [self._vendor_write(blocks.ACCOUNT_START, frame)],
            self.read_prices,
            lambda read: read == prices,
        )

    async def read_limits(self) -> Limits:
        """Read both blocks that hold limits; the overload limit is the lowest of the phases."""
        return (await self._read_account()).limits(
            (await self._read_load_control()).overload_kw(self._settings.overload_unit_w)
        )

    async def write_limits(self, limits: Limits) -> Limits:
        """Write alarms and overdraft in one frame, the overload limit in one per phase."""
        if limits.hoard is not None:
            raise UnsupportedError("hoard limit: the meter has no public register for it")
        frames = [*await self._account_limits(limits), *await self._overload_limits(limits)]
        return await prove("limits", frames, self.read_limits, lambda read: _keeps(read, limits))

    async def read_calendar(self) -> TouCalendar:
        """Read date plan and day tables."""
        plan = await self._read_date_plan()
        return await self._read_calendar(tou.date_plan_order(plan, self._settings.date_plan_order))

    async def write_calendar(self, calendar: TouCalendar) -> TouCalendar:
        """Write the day tables, then the date plan in the byte order that the meter uses now."""
        day_tables = tou.encode_day_tables(calendar)
        present = await self._read_date_plan()
        order = tou.date_plan_order(present, self._settings.date_plan_order)
        plan = tou.encode_date_plan(calendar, order)
        writes = [
            *zip(self._variant.day_tables, day_tables, strict=False),
            (self._variant.date_plan, plan),
        ]
        return await prove(
            "calendar",
            [partial(self._master.write_registers, at, from_bytes(data)) for at, data in writes],
            partial(self._read_calendar, order),
            lambda read: read == calendar,
        )

    async def read_clock(self) -> datetime:
        """Read the clock from the snapshot."""
        words = await self._read_snapshot()
        try:
            return snapshot_clock(words)
        except ProtocolError as error:
            raise self._damaged(error) from error

    async def sync_clock(self, local: datetime) -> datetime:
        """Set the clock; it counts as set when it is then read within a minute."""
        return await prove(
            "clock",
            [self._vendor_write(blocks.CLOCK_START, encode_clock(local))],
            self.read_clock,
            lambda read: abs(read - local) <= _CLOCK_TOLERANCE,
        )

    async def _move_value(self, what: str, start: int, frame: bytes) -> CreditState:
        try:
            await self._vendor_write(start, frame)()
        except UNANSWERED as error:
            raise OutcomeUnknownError(f"{what}: {error}") from error
        except DeviceRefusedError:
            pass  # no evidence: only the wallet says what was taken
        return await read_after(what, self.read_credit)

    async def _account_limits(self, limits: Limits) -> list[ControlFrame]:
        if limits.alarm_1 is None and limits.alarm_2 is None and limits.overdraft is None:
            return []
        alarms = None
        if limits.alarm_1 is not None or limits.alarm_2 is not None:
            # Both alarms share one enable byte: the one that stays is written as it is.
            held = await self._read_account()
            alarms = (
                held.alarm_1 if limits.alarm_1 is None else limits.alarm_1,
                held.alarm_2 if limits.alarm_2 is None else limits.alarm_2,
            )
        frame = account.encode_limits(alarms, limits.overdraft, self._settings.amount_scale)
        return [self._vendor_write(blocks.ACCOUNT_START, frame)]

    async def _overload_limits(self, limits: Limits) -> list[ControlFrame]:
        if limits.overload_kw is None:
            return []
        present = await self._read_load_control()
        frames = present.encode_overload(limits.overload_kw, self._settings.overload_unit_w)
        return [self._vendor_write(start, data) for start, data in frames]

    def _vendor_write(self, start: int, data: bytes) -> ControlFrame:
        return partial(
            self._master.vendor_write,
            blocks.VENDOR_FUNCTION,
            start,
            data,
            reply_length=self._settings.vendor_reply_length,
            cipher=self._settings.cipher,
        )

    async def _read(self, block: Block) -> tuple[int, ...]:
        return await self._master.read_holding(block.start, block.count)

    async def _read_snapshot(self) -> tuple[int, ...]:
        words = await self._read(blocks.SNAPSHOT)
        self._check_model(words[0])
        return words

    async def _read_account(self) -> AccountSettings:
        block = to_bytes(await self._read(blocks.ACCOUNT_SETTINGS))
        return AccountSettings.decode(block, self._settings)

    async def _read_load_control(self) -> LoadControl:
        return LoadControl.decode(await self._read(load_control_block(self._variant.phases)))

    async def _read_register(self, entry: ProfileRegister) -> RegisterValue | None:
        """Return None where this meter does not have the register."""
        try:
            words = await self._master.read_holding(entry.field.address, entry.field.words)
        except DeviceRefusedError as error:
            if error.code == ExceptionCode.ILLEGAL_DATA_ADDRESS:
                return None
            raise
        return entry.value(words)

    async def _read_date_plan(self) -> bytes:
        return await self._read_bytes(self._variant.date_plan, tou.DATE_PLAN_REGISTERS)

    async def _read_calendar(self, order: tou.DatePlanOrder) -> TouCalendar:
        plan = await self._read_date_plan()
        tables = [
            await self._read_bytes(start, tou.DAY_TABLE_REGISTERS)
            for start in self._variant.day_tables
        ]
        try:
            return tou.decode_calendar(plan, tuple(tables), order)
        except ProtocolError as error:
            raise self._damaged(error) from error

    async def _read_bytes(self, start: int, count: int) -> bytes:
        return to_bytes(await self._master.read_holding(start, count))

    def _check_model(self, word: int) -> None:
        detection = self._variant.profile.detection
        if detection is not None and word not in detection.equals:
            raise DeviceMismatchError(
                f"address {self._address}: model word {word}, expected "
                f"{', '.join(map(str, detection.equals))} for {self._variant.profile.id}"
            )

    def _damaged(self, error: ProtocolError) -> DamagedReplyError:
        return DamagedReplyError(f"address {self._address}: {error}")


def _keeps(read: Limits, wanted: Limits) -> bool:
    """Whether the limits read are those that were to be written."""
    pairs = (
        (read.alarm_1, wanted.alarm_1),
        (read.alarm_2, wanted.alarm_2),
        (read.overdraft, wanted.overdraft),
        (read.overload_kw, wanted.overload_kw),
    )
    return all(want is None or want == held for held, want in pairs)
