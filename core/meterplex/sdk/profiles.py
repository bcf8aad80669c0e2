"""Register profiles: a Modbus meter described as data, so that it needs no Python.

A profile is a TOML file; numbers of registers may be written in hex, scales as text::

    [model]
    id = "maker_type"              # unique model id
    title = "Maker Type 1"
    utility = "water"
    source = "Maker's manual V2.1" # where the addresses come from
    registers_are_primary = false  # true: the meter applies its ct and pt itself

    [bus]                          # all optional, see BusTolerance
    protocol = "modbus-rtu"
    response_time_max_s = 0.3
    gap_characters = 3.5
    devices_max = 32

    [read]                         # defaults of the tables below, and how to group reads
    function = 3                   # 3 holding, 4 input registers
    word_order = "big"             # or "little": least significant word first
    max_registers = 125            # longest read that the device takes
    max_gap = 0                    # undeclared registers it lets itself be read through

    [registers.water_volume]       # a standard register by its slug, or one of the maker's own
    address = 0x0010               # with obis, unit, resolution and cumulative given too
    type = "u32"                   # see RegisterFormat
    scale = "0.001"                # units per count
    modulus = "100000"             # the counter rolls over to 0 here, in units
    absent = 0xFFFFFFFF            # the raw number that means: no value
    poll = true                    # false: read only when asked for
    page = "p. 12"

    [detect]                       # what tells this model from others
    address = 0x0000
    equals = [7, 8]

    [serial]                       # the meter number
    address = 0x0043
    type = "bcd48"

    [flags.leak]                   # a condition, as a word; active at bit value 1
    address = 0x0020
    bit = 3
    active = 1

    [supply]                       # relay or valve
    function = 16                  # or 6
    address = 0x0057
    disconnect = [1, 1]
    reconnect = [0, 0]
    hold = [1, 0]                  # optional: it can be kept on
    automatic = [0, 0]             # optional, else as reconnect

    [supply.state]                 # read back: these registers as one number, high word first
    address = 0x0225
    words = 1
    reads = 3                      # read at most so often until the wanted state shows
    connected = { mask = 0x07, equals = 0x07 }
    disconnected = { mask = 0x07, equals = 0x00 }
    forced_off = { mask = 0x0F, equals = 0x08 }  # where none of these three is given, off is
    held = { mask = 0x0F, equals = 0x0F }        # forced off and on is automatic
    automatic = { mask = 0x08, equals = 0x00 }

Every table from ``registers`` on takes ``function`` and ``word_order`` of its own.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, Self, TypeVar

from meterplex.domain.registers import RegisterType, Utility
from meterplex.domain.supply import SupplyAction, SupplyMode, SupplyState
from meterplex.protocols.errors import ProtocolError
from meterplex.protocols.modbus.blocks import Block, Field, plan_blocks
from meterplex.protocols.modbus.pdu import READ_REGISTERS_MAX, ExceptionCode, Function
from meterplex.protocols.modbus.registers import WordOrder
from meterplex.sdk.capabilities import Capability
from meterplex.sdk.drivers import Identity, MeterDriver, MeterSnapshot
from meterplex.sdk.errors import (
    DamagedReplyError,
    DeviceMismatchError,
    DeviceRefusedError,
    DriverError,
    LinkTimeoutError,
    OutcomeUnknownError,
    UnsupportedError,
)
from meterplex.sdk.links import Link
from meterplex.sdk.modbus import ModbusMaster, check_unit_address
from meterplex.sdk.models import BusTolerance, ExchangeSize, MeterModel
from meterplex.sdk.profile_parts import (
    Detection,
    ProfileFlag,
    ProfileRegister,
    ReadDefaults,
    SerialNumber,
    SupplyControl,
    read_detection,
    read_flag,
    read_register,
    read_serial,
    read_supply,
)
from meterplex.sdk.profile_tables import ProfileTable
from meterplex.sdk.twins import DeviceTwin

__all__ = ["ModbusProfileDriver", "ProfileRegister", "RegisterProfile", "model_from_profile"]

_Decoded = TypeVar("_Decoded")

_READ_REQUEST_LENGTH: Final = 8
_READ_REPLY_OVERHEAD: Final = 5


@dataclass(frozen=True, slots=True)
class RegisterProfile:
    """One model, from a TOML file; see the module for its keys.

    Attributes:
        source: the document that the addresses come from.
        registers: in the file's order.
        registers_are_primary: the meter applies ct and pt itself.
        poll: the reads of a scheduled poll.
    """

    id: str
    title: str
    utility: Utility
    source: str
    registers: tuple[ProfileRegister, ...]
    bus: BusTolerance = field(default=BusTolerance("modbus-rtu"))
    detection: Detection | None = None
    serial: SerialNumber | None = None
    flags: tuple[ProfileFlag, ...] = ()
    supply: SupplyControl | None = None
    max_registers: int = READ_REGISTERS_MAX
    max_gap: int = 0
    registers_are_primary: bool = False
    poll: tuple[Block, ...] = field(init=False)

    def __post_init__(self) -> None:
        fields = [entry.field for entry in self.registers if entry.poll]
        fields += [flag.field for flag in self.flags]
        if self.supply is not None:
            fields.append(self.supply.read_back.field)
        object.__setattr__(self, "poll", self.blocks(fields))

    @classmethod
    def load(cls, path: Path | Traversable) -> Self:
        """Read and check a profile.

        Raises:
            SettingsError: naming file, key and reason.
        """
        file = ProfileTable.load(path)
        read = file.table("read", optional=True)
        defaults = ReadDefaults(
            function=read.integer("function", 3, 4, 3),
            order=read.choice("word_order", WordOrder, WordOrder.BIG),
            max_registers=read.integer("max_registers", 1, READ_REGISTERS_MAX, READ_REGISTERS_MAX),
        )
        model = file.table("model")
        profile = cls(
            id=model.parsed("id", _check_id),
            title=model.text("title"),
            utility=Utility(model.text("utility")),
            source=model.text("source"),
            registers=tuple(
                read_register(table, slug, defaults) for slug, table in file.tables("registers")
            ),
            bus=_read_bus(file.table("bus", optional=True)),
            detection=(
                read_detection(file.table("detect"), defaults) if "detect" in file else None
            ),
            serial=read_serial(file.table("serial"), defaults) if "serial" in file else None,
            flags=tuple(read_flag(table, word, defaults) for word, table in file.tables("flags")),
            supply=read_supply(file.table("supply"), defaults) if "supply" in file else None,
            max_registers=defaults.max_registers,
            max_gap=read.integer("max_gap", 0, READ_REGISTERS_MAX, 0),
            registers_are_primary=model.flag("registers_are_primary", default=False),
        )
        if not profile.registers:
            raise file.fault("registers", "is missing: a meter without registers")
        for table in (model, read, file):
            table.close()
        return profile

    def plan(self, registers: Collection[RegisterType] | None = None) -> tuple[Block, ...]:
        """Return the reads that give ``registers``; None plans a scheduled poll.

        Register types that the profile does not have are passed over.
        """
        if registers is None:
            return self.poll
        return self.blocks(entry.field for entry in self.registers if entry.register in registers)

    def blocks(self, fields: Iterable[Field]) -> tuple[Block, ...]:
        """Return the fewest reads of any fields that this device lets itself be asked."""
        return plan_blocks(fields, max_registers=self.max_registers, max_gap=self.max_gap)


def _check_id(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", text):
        raise ValueError(f"{text!r}, expected lower-case letters, digits, _")
    return text


def _read_bus(table: ProfileTable) -> BusTolerance:
    usual = BusTolerance("modbus-rtu")
    bus = BusTolerance(
        protocol=table.text("protocol", usual.protocol),
        response_time_max_s=float(
            table.decimal("response_time_max_s", Decimal(str(usual.response_time_max_s)))
        ),
        gap_characters=float(table.decimal("gap_characters", Decimal(str(usual.gap_characters)))),
        devices_max=table.integer("devices_max", 1, 247, usual.devices_max),
    )
    for key, value in (
        ("response_time_max_s", bus.response_time_max_s),
        ("gap_characters", bus.gap_characters),
    ):
        if value < 0:
            raise table.fault(key, f"{value}, expected more than 0")
    table.close()
    return bus


class ModbusProfileDriver(MeterDriver):
    """Driver of a meter that its profile describes.

    A register is left out of the answer where the meter says that it has no value: the profile's
    ``absent`` number, a float that is NaN or infinite, or exception 02 for the whole read. A float
    is rounded to the register's resolution, half to even, as storing it would; all else is exact.
    """

    def __init__(self, profile: RegisterProfile, link: Link, address: str) -> None:
        self._profile = profile
        self._address = address
        self._master = ModbusMaster(link, int(check_unit_address(address)))
        self.capabilities = _capabilities(profile)

    async def identify(self) -> Identity:
        """Read what tells the model, and the meter number; without either, the first register."""
        detection, serial = self._profile.detection, self._profile.serial
        wanted = [part.field for part in (detection, serial) if part is not None]
        image = await self._read_blocks(
            self._profile.blocks(wanted or [self._profile.registers[0].field])
        )
        if detection is not None:
            if not image.has(detection.field):
                raise DeviceMismatchError(
                    f"address {self._address}: no register {detection.field.address:#06x}, "
                    f"which model {self._profile.id} has"
                )
            number = self._decoded(detection.number, image, detection.field)
            if number not in detection.equals:
                expected = " or ".join(str(value) for value in sorted(detection.equals))
                raise DeviceMismatchError(
                    f"address {self._address}: register {detection.field.address:#06x} reads "
                    f"{number}, expected {expected} for model {self._profile.id}"
                )
        meter_number = (
            self._decoded(serial.text, image, serial.field)
            if serial is not None and image.has(serial.field)
            else None
        )
        return Identity(self._profile.id, meter_number)

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        image = await self._read_blocks(self._profile.plan(registers))
        values = [
            self._decoded(entry.value, image, entry.field)
            for entry in self._profile.registers
            if image.has(entry.field)
        ]
        flags = [flag for flag in self._profile.flags if image.has(flag.field)]
        control = self._profile.supply
        return MeterSnapshot(
            values=tuple(value for value in values if value is not None),
            supply=(
                control.read_back.state(image.words(control.read_back.field))
                if control is not None and image.has(control.read_back.field)
                else None
            ),
            flags=(
                frozenset(flag.word for flag in flags if flag.holds(image.words(flag.field)))
                if flags
                else None
            ),
        )

    async def read_supply(self) -> SupplyState:
        control = self._control(Capability.SUPPLY)
        field = control.read_back.field
        block = Block(field.function, field.address, field.words)
        return control.read_back.state(await self._read_words(block))

    async def set_supply(self, action: SupplyAction) -> SupplyState:
        """Write once, then read back until the action is proven or the profile's reads are used up.

        Raises:
            DeviceRefusedError: an exception, or the write was answered and another state stays.
            OutcomeUnknownError: silence, and the read-back does not prove the action; or the
                read-back failed or could not tell.
        """
        control = self._control(Capability.SUPPLY)
        if action not in control.writes:
            raise UnsupportedError(Capability.HOLD_SUPPLY)
        silence = await self._write_supply(control, action)
        try:
            state = await self._read_until_proven(control, action)
        except DriverError as error:
            raise OutcomeUnknownError(
                f"address {self._address}: {action} sent, read-back failed: {error}"
            ) from error
        if state.proves(action):
            return state
        seen = f"address {self._address}: {action} sent, read back as {_describe(state)}"
        if silence is not None:
            raise OutcomeUnknownError(f"{seen}, and the write: {silence}") from silence
        if state.connected is None or state.mode is SupplyMode.UNKNOWN:
            raise OutcomeUnknownError(seen)
        raise DeviceRefusedError(seen)

    async def _write_supply(
        self, control: SupplyControl, action: SupplyAction
    ) -> DriverError | None:
        """Send the control frame once; return why its answer proves nothing, or None."""
        values = control.writes[action]
        try:
            if control.function is Function.WRITE_REGISTER:
                await self._master.write_register(control.address, values[0])
            else:
                await self._master.write_registers(control.address, values)
        except (LinkTimeoutError, DamagedReplyError, OutcomeUnknownError) as error:
            return error
        return None

    async def _read_until_proven(self, control: SupplyControl, action: SupplyAction) -> SupplyState:
        state = await self.read_supply()
        for _ in range(control.read_back.reads - 1):
            if state.proves(action):
                break
            state = await self.read_supply()
        return state

    def _control(self, capability: Capability) -> SupplyControl:
        if self._profile.supply is None:
            raise UnsupportedError(capability)
        return self._profile.supply

    async def _read_words(self, block: Block) -> tuple[int, ...]:
        read = (
            self._master.read_holding
            if block.function == Function.READ_HOLDING
            else self._master.read_input
        )
        return await read(block.start, block.count)

    async def _read_blocks(self, blocks: Sequence[Block]) -> "_Image":
        """Read blocks; one whose addresses this device does not have is left out.

        Raises:
            DeviceRefusedError: it has none of them.
        """
        image: dict[Block, tuple[int, ...]] = {}
        refusal: DeviceRefusedError | None = None
        for block in blocks:
            try:
                image[block] = await self._read_words(block)
            except DeviceRefusedError as error:
                if error.code != ExceptionCode.ILLEGAL_DATA_ADDRESS:
                    raise
                refusal = error
        if refusal is not None and not image:
            raise refusal
        return _Image(image)

    def _decoded(
        self, decode: Callable[[Sequence[int]], _Decoded], image: "_Image", field: Field
    ) -> _Decoded:
        try:
            return decode(image.words(field))
        except ProtocolError as error:
            raise DamagedReplyError(
                f"address {self._address}: register {field.address:#06x}: {error}"
            ) from error


class _Image:
    """Blocks as read."""

    def __init__(self, blocks: Mapping[Block, tuple[int, ...]]) -> None:
        self._blocks = blocks

    def has(self, field: Field) -> bool:
        return any(block.covers(field) for block in self._blocks)

    def words(self, field: Field) -> tuple[int, ...]:
        for block, words in self._blocks.items():
            if block.covers(field):
                return words[field.address - block.start : field.end - block.start]
        raise KeyError(field)


def _describe(state: SupplyState) -> str:
    words = {True: "connected", False: "disconnected", None: "neither on nor off"}
    return f"{words[state.connected]} ({state.mode})"


def _capabilities(profile: RegisterProfile) -> frozenset[Capability]:
    if profile.supply is None:
        return frozenset()
    if SupplyAction.HOLD in profile.supply.writes:
        return frozenset({Capability.SUPPLY, Capability.HOLD_SUPPLY})
    return frozenset({Capability.SUPPLY})


def model_from_profile(
    profile: RegisterProfile,
    *,
    twin: Callable[[str, Mapping[str, str], int], DeviceTwin] | None = None,
) -> MeterModel:
    """Make the model of a profile; its driver is :class:`ModbusProfileDriver`."""

    def driver(link: Link, address: str, _settings: Mapping[str, str]) -> MeterDriver:
        return ModbusProfileDriver(profile, link, address)

    return MeterModel(
        id=profile.id,
        title=profile.title,
        utility=profile.utility,
        registers=tuple(entry.register for entry in profile.registers),
        bus=profile.bus,
        poll=tuple(
            ExchangeSize(_READ_REQUEST_LENGTH, _READ_REPLY_OVERHEAD + 2 * block.count)
            for block in profile.poll
        ),
        check_address=check_unit_address,
        driver=driver,
        twin=twin,
        capabilities=_capabilities(profile),
        registers_are_primary=profile.registers_are_primary,
    )
