"""The parts of a register profile, each with what reads it from its table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from meterplex.domain.registers import STANDARD_REGISTERS, ObisCode, RegisterType, Unit
from meterplex.domain.supply import SupplyAction, SupplyMode, SupplyState
from meterplex.protocols.modbus.blocks import Field
from meterplex.protocols.modbus.pdu import WRITE_REGISTERS_MAX, Function
from meterplex.protocols.modbus.registers import RegisterFormat, WordOrder, decode, to_bytes
from meterplex.sdk.drivers import Quality, RegisterValue
from meterplex.sdk.profile_tables import ProfileTable

_WORD_MAX: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class ProfileRegister:
    """One register of a profile.

    Attributes:
        register: what it measures.
        field: where it is.
        format: how its number is kept.
        order: which word comes first.
        scale: units per count, exact.
        modulus: first value that it can never show (it rolls over before), in units; or None.
        absent: the raw unsigned number that means "no value", or None.
        poll: whether a scheduled poll reads it.
        page: where in the source document.
    """

    register: RegisterType
    field: Field
    format: RegisterFormat
    order: WordOrder = WordOrder.BIG
    scale: Decimal = Decimal(1)
    modulus: Decimal | None = None
    absent: int | None = None
    poll: bool = True
    page: str = ""

    def value(self, words: Sequence[int]) -> RegisterValue | None:
        """Return what the words of ``field`` say; None where they say that there is no value.

        A number that the register can never show is SUSPECT.

        Raises:
            ProtocolError: a BCD digit above 9.
        """
        raw = int.from_bytes(to_bytes(words, self.order), "big")
        number = None if raw == self.absent else decode(words, self.format, self.order)
        if number is None:
            return None
        value = number * self.scale
        if self.format is RegisterFormat.FLOAT32:
            value = self.register.from_steps(self.register.to_steps(value))
        impossible = (self.modulus is not None and abs(value) >= self.modulus) or (
            self.register.cumulative and value < 0
        )
        return RegisterValue(self.register, value, Quality.SUSPECT if impossible else Quality.GOOD)


@dataclass(frozen=True, slots=True)
class ProfileFlag:
    """A bit that reports a condition.

    Attributes:
        word: the condition.
        bit: 0 is the least significant.
        active: value of the bit while the condition lasts.
    """

    word: str
    field: Field
    bit: int
    active: int = 1

    def holds(self, words: Sequence[int]) -> bool:
        """Whether the condition lasts."""
        return words[0] >> self.bit & 1 == self.active


@dataclass(frozen=True, slots=True)
class Detection:
    """What tells a model from others: a register that reads as one of ``equals``."""

    field: Field
    format: RegisterFormat
    order: WordOrder
    equals: frozenset[int]

    def number(self, words: Sequence[int]) -> int:
        """Return the number that the words of ``field`` hold.

        Raises:
            ProtocolError: a BCD digit above 9.
        """
        return _whole(words, self.format, self.order)


@dataclass(frozen=True, slots=True)
class SerialNumber:
    """Where the meter number is; BCD keeps its leading zeros."""

    field: Field
    format: RegisterFormat
    order: WordOrder

    def text(self, words: Sequence[int]) -> str:
        """Return the meter number.

        Raises:
            ProtocolError: a BCD digit above 9.
        """
        number = _whole(words, self.format, self.order)
        return f"{number:0{4 * self.format.words}d}" if self.format.decimal else str(number)


@dataclass(frozen=True, slots=True)
class BitPattern:
    """Holds for a number whose bits under ``mask`` read as ``equals``."""

    mask: int
    equals: int

    def holds(self, number: int) -> bool:
        """Whether the number has the pattern."""
        return number & self.mask == self.equals


@dataclass(frozen=True, slots=True)
class SupplyReadBack:
    """How the state of relay or valve reads.

    Attributes:
        field: its registers, taken as one unsigned number.
        reads: how often it is read after a command, at most, until the wanted state shows.
        connected: current or water can flow.
        disconnected: it cannot; neither or both of the two is "could not be told".
        modes: which mode has which pattern; none or several at once is UNKNOWN.
    """

    field: Field
    order: WordOrder
    reads: int
    connected: BitPattern
    disconnected: BitPattern
    modes: Mapping[SupplyMode, BitPattern]

    def state(self, words: Sequence[int]) -> SupplyState:
        """Return the state that the words of ``field`` show."""
        number = int.from_bytes(to_bytes(words, self.order), "big")
        on, off = self.connected.holds(number), self.disconnected.holds(number)
        modes = [mode for mode, pattern in self.modes.items() if pattern.holds(number)]
        return SupplyState(
            connected=on if on != off else None,
            mode=modes[0] if len(modes) == 1 else SupplyMode.UNKNOWN,
        )


@dataclass(frozen=True, slots=True)
class SupplyControl:
    """How relay or valve is moved: what to write for each action, and how it reads back."""

    function: Function
    address: int
    writes: Mapping[SupplyAction, tuple[int, ...]]
    read_back: SupplyReadBack


@dataclass(frozen=True, slots=True)
class ReadDefaults:
    """What a table of a profile takes where it says nothing itself."""

    function: int
    order: WordOrder
    max_registers: int

    def field(self, table: ProfileTable, words: int) -> Field:
        """Read where a value of ``words`` registers is."""
        function = table.integer("function", 3, 4, self.function)
        address = table.integer("address", 0, _WORD_MAX)
        if address + words > _WORD_MAX + 1:
            raise table.fault("address", f"{address} + {words} registers end after {_WORD_MAX}")
        if words > self.max_registers:
            raise table.fault("address", f"{words} registers, read.max_registers is less")
        return Field(function, address, words)

    def word_order(self, table: ProfileTable) -> WordOrder:
        """Read the word order."""
        return table.choice("word_order", WordOrder, self.order)


def read_register(table: ProfileTable, slug: str, defaults: ReadDefaults) -> ProfileRegister:
    """Read a table of ``registers``.

    Raises:
        SettingsError: naming file, key and reason.
    """
    form = table.choice("type", RegisterFormat)
    entry = ProfileRegister(
        register=_read_register_type(table, slug),
        field=defaults.field(table, form.words),
        format=form,
        order=defaults.word_order(table),
        scale=table.decimal("scale", Decimal(1)),
        modulus=table.decimal("modulus") if "modulus" in table else None,
        absent=(
            table.integer("absent", 0, (1 << 16 * form.words) - 1) if "absent" in table else None
        ),
        poll=table.flag("poll", default=True),
        page=table.text("page", ""),
    )
    if entry.modulus is not None and entry.modulus < 0:
        raise table.fault("modulus", f"{entry.modulus}, expected more than 0")
    table.close()
    return entry


def _read_register_type(table: ProfileTable, slug: str) -> RegisterType:
    standard = STANDARD_REGISTERS.get(slug)
    if standard is not None:
        for key in ("obis", "unit", "resolution", "cumulative"):
            if key in table:
                raise table.fault(key, f"{slug} is a standard register, its {key} is known")
        return standard
    if "obis" not in table:
        raise table.fault("obis", f"is missing, and {slug!r} is no standard register")
    obis = table.parsed("obis", ObisCode.parse)
    unit = table.choice("unit", Unit)
    resolution = table.decimal("resolution")
    cumulative = table.flag("cumulative", default=False)
    try:
        return RegisterType(slug, obis, unit, resolution, cumulative)
    except ValueError as error:
        raise table.fault("resolution", error) from error


def read_flag(table: ProfileTable, word: str, defaults: ReadDefaults) -> ProfileFlag:
    """Read a table of ``flags``.

    Raises:
        SettingsError: naming file, key and reason.
    """
    flag = ProfileFlag(
        word=word,
        field=defaults.field(table, 1),
        bit=table.integer("bit", 0, 15),
        active=table.integer("active", 0, 1, 1),
    )
    table.close()
    return flag


def read_detection(table: ProfileTable, defaults: ReadDefaults) -> Detection:
    """Read the table ``detect``.

    Raises:
        SettingsError: naming file, key and reason.
    """
    form = _read_whole_format(table, RegisterFormat.U16)
    low = -(1 << 63) if form.signed else 0
    detection = Detection(
        field=defaults.field(table, form.words),
        format=form,
        order=defaults.word_order(table),
        equals=frozenset(table.integers("equals", low, (1 << 64) - 1)),
    )
    table.close()
    return detection


def read_serial(table: ProfileTable, defaults: ReadDefaults) -> SerialNumber:
    """Read the table ``serial``.

    Raises:
        SettingsError: naming file, key and reason.
    """
    form = _read_whole_format(table, None)
    serial = SerialNumber(
        field=defaults.field(table, form.words), format=form, order=defaults.word_order(table)
    )
    table.close()
    return serial


def _read_whole_format(table: ProfileTable, default: RegisterFormat | None) -> RegisterFormat:
    form = table.choice("type", RegisterFormat, default)
    if form is RegisterFormat.FLOAT32:
        raise table.fault("type", f"{form} holds no whole number")
    return form


def read_supply(table: ProfileTable, defaults: ReadDefaults) -> SupplyControl:
    """Read the table ``supply``.

    Raises:
        SettingsError: naming file, key and reason.
    """
    function = table.integer("function", 6, 16, Function.WRITE_REGISTERS)
    if function not in (Function.WRITE_REGISTER, Function.WRITE_REGISTERS):
        raise table.fault("function", f"{function}, expected 6 or 16")
    address = table.integer("address", 0, _WORD_MAX)
    writes = {
        action: table.integers(action.value, 0, _WORD_MAX)
        for action in SupplyAction
        if action.value in table or action in (SupplyAction.DISCONNECT, SupplyAction.RECONNECT)
    }
    writes.setdefault(SupplyAction.AUTOMATIC, writes[SupplyAction.RECONNECT])
    length_max = 1 if function == Function.WRITE_REGISTER else WRITE_REGISTERS_MAX
    for action, values in writes.items():
        if len(values) > length_max or address + len(values) > _WORD_MAX + 1:
            raise table.fault(action.value, f"{len(values)} registers, at most {length_max}")
    control = SupplyControl(
        Function(function), address, writes, _read_supply_state(table.table("state"), defaults)
    )
    table.close()
    return control


def _read_supply_state(table: ProfileTable, defaults: ReadDefaults) -> SupplyReadBack:
    words = table.integer("words", 1, 4, 1)
    connected = _read_pattern(table.table("connected"), words)
    disconnected = _read_pattern(table.table("disconnected"), words)
    modes = {
        mode: _read_pattern(table.table(mode.value), words)
        for mode in (SupplyMode.FORCED_OFF, SupplyMode.HELD, SupplyMode.AUTOMATIC)
        if mode.value in table
    }
    read_back = SupplyReadBack(
        field=defaults.field(table, words),
        order=defaults.word_order(table),
        reads=table.integer("reads", 1, 20, 3),
        connected=connected,
        disconnected=disconnected,
        modes=modes or {SupplyMode.FORCED_OFF: disconnected, SupplyMode.AUTOMATIC: connected},
    )
    table.close()
    return read_back


def _read_pattern(table: ProfileTable, words: int) -> BitPattern:
    number_max = (1 << 16 * words) - 1
    pattern = BitPattern(
        table.integer("mask", 1, number_max), table.integer("equals", 0, number_max)
    )
    if pattern.equals & ~pattern.mask:
        raise table.fault("equals", f"{pattern.equals:#x} has bits outside the mask")
    table.close()
    return pattern


def _whole(words: Sequence[int], form: RegisterFormat, order: WordOrder) -> int:
    number = decode(words, form, order)
    assert number is not None, "only a float can have no value"
    return int(number)
