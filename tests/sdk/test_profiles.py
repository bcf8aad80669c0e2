from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from meterplex.domain.registers import (
    ACTIVE_ENERGY_EXPORT,
    ACTIVE_ENERGY_IMPORT,
    ACTIVE_POWER,
    FREQUENCY,
    VOLTAGE_L1,
)
from meterplex.protocols.modbus import rtu
from meterplex.protocols.modbus.blocks import Block
from meterplex.protocols.modbus.pdu import encode_exception, encode_read_reply
from meterplex.sdk import (
    Capability,
    DamagedReplyError,
    Delimiter,
    DeviceMismatchError,
    DeviceRefusedError,
    ExchangeSize,
    Framing,
    Identity,
    LinkTimeoutError,
    LinkUnavailableError,
    OutcomeUnknownError,
    Quality,
    RegisterType,
    SettingsError,
    SupplyAction,
    SupplyMode,
    SupplyState,
    Unit,
    UnsupportedError,
)
from meterplex.sdk.profiles import ModbusProfileDriver, RegisterProfile, model_from_profile

METER = """
[model]
id = "maker_type"
title = "Maker Type 1"
utility = "electricity"
source = "Maker's manual V2.1"

[bus]
response_time_max_s = 0.5
gap_characters = 4
devices_max = 16

[read]
max_gap = 2

[registers.active_energy_import]
address = 0x0000
type = "u32"
scale = "0.01"
modulus = "1000000"
page = "p. 12"

[registers.active_energy_export]
address = 0x0002
type = "u32"
word_order = "little"
scale = 0.01
absent = 0xFFFFFFFF

[registers.active_power]
address = 0x0006
type = "s16"
scale = "0.001"

[registers.voltage_l1]
function = 4
address = 0x0100
type = "float32"

[registers.battery_voltage]
address = 0x0200
type = "bcd16"
scale = "0.01"
poll = false
obis = "0-0:96.6.3"
unit = "V"
resolution = "0.01"

[detect]
address = 0x0300
equals = [5, 7]

[serial]
address = 0x0301
type = "bcd48"

[flags.cover_open]
address = 0x0007
bit = 0

[flags.phase_missing]
address = 0x0007
bit = 15
active = 0
"""

RELAY = """
[supply]
address = 0x0057
disconnect = [1, 1]
reconnect = [0, 0]
hold = [1, 0]

[supply.state]
address = 0x0008
connected = { mask = 0x07, equals = 0x07 }
disconnected = { mask = 0x07, equals = 0x00 }
forced_off = { mask = 0x0F, equals = 0x08 }
held = { mask = 0x0F, equals = 0x0F }
automatic = { mask = 0x08, equals = 0x00 }
"""


class RegisterLink:
    """A device with registers: answers reads and takes writes, or fails as it is told."""

    framing = Framing.RAW

    def __init__(self) -> None:
        self.holding: dict[int, int] = {}
        self.inputs: dict[int, int] = {}
        self.reads: list[tuple[int, int, int]] = []
        self.writes: list[bytes] = []
        self.refuse_read = 0
        self.refuse_write = 0
        self.silent_after_write = False
        self.unreachable = False
        self.silent_reads = False
        self.after_write: list[dict[int, int]] = []

    def put(self, start: int, *words: int) -> None:
        self.holding.update(enumerate(words, start))

    async def exchange(
        self, request: bytes, delimiter: Delimiter, *, control: bool = False
    ) -> bytes:
        if self.unreachable:
            raise LinkUnavailableError("no carrier")
        _, pdu = rtu.decode_adu(request)
        reply = rtu.encode_adu(1, self._write(pdu) if control else self._read(pdu))
        if self.silent_after_write if control else self.silent_reads and self.writes:
            raise LinkTimeoutError("nothing came")
        span = delimiter.find(reply)
        assert span is not None
        return reply[span.start : span.end]

    def _read(self, pdu: bytes) -> bytes:
        start, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        self.reads.append((pdu[0], start, count))
        if self.writes and self.after_write:
            self.holding.update(self.after_write.pop(0))
        image = self.holding if pdu[0] == 3 else self.inputs
        if self.refuse_read:
            return encode_exception(pdu[0], self.refuse_read)
        words = [image.get(address) for address in range(start, start + count)]
        if words[0] is None:
            return encode_exception(pdu[0], 2)
        return encode_read_reply(pdu[0], [word or 0 for word in words])

    def _write(self, pdu: bytes) -> bytes:
        self.writes.append(pdu)
        return encode_exception(pdu[0], self.refuse_write) if self.refuse_write else pdu[:5]


def load(tmp_path: Path, text: str) -> RegisterProfile:
    path = tmp_path / "meter.toml"
    path.write_text(text)
    return RegisterProfile.load(path)


@pytest.fixture
def profile(tmp_path: Path) -> RegisterProfile:
    return load(tmp_path, METER)


@pytest.fixture
def link() -> RegisterLink:
    """A meter of the profile: 1234.56 kWh, 7.89 kWh, -0.5 kW, 230.1 V, no flag."""
    link = RegisterLink()
    link.put(0x0000, 0x0001, 0xE240, 789, 0, 0, 0, 0xFE0C, 0x8000)
    link.inputs.update({0x0100: 0x4366, 0x0101: 0x199A})
    link.put(0x0200, 0x0365)
    link.put(0x0300, 7, 0x0021, 0x0600, 0x0017)
    return link


def driver(profile: RegisterProfile, link: RegisterLink) -> ModbusProfileDriver:
    return ModbusProfileDriver(profile, link, "1")


def test_model_says_what_the_profile_says(profile: RegisterProfile) -> None:
    model = model_from_profile(profile)
    assert (model.id, model.title, model.utility) == ("maker_type", "Maker Type 1", "electricity")
    assert [register.slug for register in model.registers] == [
        "active_energy_import",
        "active_energy_export",
        "active_power",
        "voltage_l1",
        "battery_voltage",
    ]
    assert model.bus.response_time_max_s == 0.5
    assert model.bus.gap_characters == 4
    assert model.bus.devices_max == 16
    assert model.capabilities == frozenset()
    assert model.check_address("07") == "7"
    assert model.registers_are_primary is False


def test_model_whose_registers_are_primary_says_so(tmp_path: Path) -> None:
    text = METER.replace("[bus]", "registers_are_primary = true\n[bus]")
    assert model_from_profile(load(tmp_path, text)).registers_are_primary is True


def test_poll_of_the_model_is_what_a_poll_sends(profile: RegisterProfile) -> None:
    # registers 0..7 in one read over the gap of two, and the float from the input registers
    assert profile.poll == (Block(3, 0, 8), Block(4, 0x0100, 2))
    assert model_from_profile(profile).poll == (ExchangeSize(8, 21), ExchangeSize(8, 9))


def test_registers_of_a_makers_own_have_their_own_type(profile: RegisterProfile) -> None:
    battery = profile.registers[-1].register
    assert (battery.slug, str(battery.obis), battery.unit) == (
        "battery_voltage",
        "0-0:96.6.3",
        Unit.VOLT,
    )
    assert battery.resolution == Decimal("0.01")


async def test_scheduled_read_gives_scaled_values_in_the_fewest_exchanges(
    profile: RegisterProfile, link: RegisterLink
) -> None:
    snapshot = await driver(profile, link).read()
    assert {value.register: str(value.value) for value in snapshot.values} == {
        ACTIVE_ENERGY_IMPORT: "1234.56",
        ACTIVE_ENERGY_EXPORT: "7.89",
        ACTIVE_POWER: "-0.500",
        VOLTAGE_L1: "230.10",
    }
    assert all(value.quality is Quality.GOOD for value in snapshot.values)
    assert snapshot.flags == frozenset()
    assert snapshot.supply is None
    assert link.reads == [(3, 0, 8), (4, 0x0100, 2)]


async def test_flags_are_the_words_of_their_active_bits(
    profile: RegisterProfile, link: RegisterLink
) -> None:
    link.put(0x0007, 0x0001)
    snapshot = await driver(profile, link).read()
    assert snapshot.flags == frozenset({"cover_open", "phase_missing"})


@pytest.mark.parametrize(
    ("registers", "reads", "slugs"),
    [
        pytest.param([ACTIVE_POWER], [(3, 6, 1)], ["active_power"], id="one"),
        pytest.param([FREQUENCY], [], [], id="one-it-does-not-have"),
        pytest.param(
            [ACTIVE_ENERGY_EXPORT, ACTIVE_POWER],
            [(3, 2, 5)],
            ["active_energy_export", "active_power"],
            id="two-over-a-gap",
        ),
    ],
)
async def test_read_of_some_registers(
    profile: RegisterProfile,
    link: RegisterLink,
    registers: Sequence[RegisterType],
    reads: list[tuple[int, int, int]],
    slugs: list[str],
) -> None:
    snapshot = await driver(profile, link).read(registers)
    assert link.reads == reads
    assert [value.register.slug for value in snapshot.values] == slugs
    assert snapshot.flags is None


async def test_what_lies_between_the_registers_asked_for_comes_along(
    tmp_path: Path, link: RegisterLink
) -> None:
    profile = load(tmp_path, METER.replace("max_gap = 2", "max_gap = 4"))
    snapshot = await driver(profile, link).read([ACTIVE_ENERGY_IMPORT, ACTIVE_POWER])
    assert link.reads == [(3, 0, 7)]
    assert [value.register for value in snapshot.values] == [
        ACTIVE_ENERGY_IMPORT,
        ACTIVE_ENERGY_EXPORT,
        ACTIVE_POWER,
    ]


async def test_register_that_is_not_polled_is_read_when_asked_for(
    profile: RegisterProfile, link: RegisterLink
) -> None:
    battery = profile.registers[-1].register
    (value,) = (await driver(profile, link).read([battery])).values
    assert str(value.value) == "3.65"


async def test_number_that_means_no_value_and_a_float_that_is_none_are_left_out(
    profile: RegisterProfile, link: RegisterLink
) -> None:
    link.put(0x0002, 0xFFFF, 0xFFFF)
    link.inputs[0x0100] = 0x7FC0
    snapshot = await driver(profile, link).read()
    assert [value.register for value in snapshot.values] == [ACTIVE_ENERGY_IMPORT, ACTIVE_POWER]


async def test_value_that_the_counter_can_never_show_is_suspect(
    profile: RegisterProfile, link: RegisterLink
) -> None:
    link.put(0x0000, 0x05F5, 0xE100)  # 1000000.00
    values = (await driver(profile, link).read()).values
    assert values[0].value == 1_000_000
    assert values[0].quality is Quality.SUSPECT


async def test_bcd_that_is_no_number_is_a_damaged_reply(
    profile: RegisterProfile, link: RegisterLink
) -> None:
    link.put(0x0200, 0x0FFF)
    with pytest.raises(DamagedReplyError, match="register 0x0200: BCD 0F FF"):
        await driver(profile, link).read([profile.registers[-1].register])


async def test_busy_device_is_not_one_that_lacks_the_block(
    profile: RegisterProfile, link: RegisterLink
) -> None:
    link.refuse_read = 6
    with pytest.raises(DeviceRefusedError, match="server device busy"):
        await driver(profile, link).read()


async def test_block_that_a_device_does_not_have_is_left_out(
    profile: RegisterProfile, link: RegisterLink
) -> None:
    link.inputs.clear()
    values = (await driver(profile, link).read()).values
    assert VOLTAGE_L1 not in [value.register for value in values]
    assert len(values) == 3
    with pytest.raises(DeviceRefusedError, match="illegal data address"):
        await driver(profile, link).read([VOLTAGE_L1])


async def test_identity_is_model_and_meter_number(
    profile: RegisterProfile, link: RegisterLink
) -> None:
    assert await driver(profile, link).identify() == Identity("maker_type", "002106000017")
    assert link.reads == [(3, 0x0300, 4)]


async def test_another_model_is_a_mismatch(profile: RegisterProfile, link: RegisterLink) -> None:
    link.put(0x0300, 10)
    with pytest.raises(DeviceMismatchError, match="0x0300 reads 10, expected 5 or 7"):
        await driver(profile, link).identify()


async def test_device_without_the_register_that_tells_the_model_is_a_mismatch(
    tmp_path: Path, link: RegisterLink
) -> None:
    far_serial = METER.replace("address = 0x0301", "address = 0x0400")
    link.put(0x0400, 0, 0, 0x0042)
    del link.holding[0x0300]
    with pytest.raises(DeviceMismatchError, match="no register 0x0300, which model maker_type has"):
        await driver(load(tmp_path, far_serial), link).identify()


async def test_device_without_a_meter_number_has_none(tmp_path: Path, link: RegisterLink) -> None:
    far_serial = METER.replace("address = 0x0301", "address = 0x0400")
    assert await driver(load(tmp_path, far_serial), link).identify() == Identity("maker_type")


async def test_without_detection_the_first_register_proves_presence(tmp_path: Path) -> None:
    profile = load(tmp_path, METER[: METER.index("[detect]")])
    link = RegisterLink()
    link.put(0, 0, 0)
    assert await driver(profile, link).identify() == Identity("maker_type")
    assert link.reads == [(3, 0, 2)]


async def test_meter_without_supply_block_refuses_supply(
    profile: RegisterProfile, link: RegisterLink
) -> None:
    assert Capability.SUPPLY not in driver(profile, link).capabilities
    with pytest.raises(UnsupportedError):
        await driver(profile, link).read_supply()
    with pytest.raises(UnsupportedError):
        await driver(profile, link).set_supply(SupplyAction.DISCONNECT)
    assert link.writes == []


@pytest.fixture
def relay(tmp_path: Path) -> RegisterProfile:
    return load(tmp_path, METER + RELAY)


ON, OFF, HELD, OFF_BY_ITSELF = 0x07, 0x08, 0x0F, 0x00


@pytest.mark.parametrize(
    ("word", "state"),
    [
        pytest.param(ON, SupplyState(True, SupplyMode.AUTOMATIC), id="on"),
        pytest.param(OFF_BY_ITSELF, SupplyState(False, SupplyMode.AUTOMATIC), id="off-by-itself"),
        pytest.param(OFF, SupplyState(False, SupplyMode.FORCED_OFF), id="forced-off"),
        pytest.param(HELD, SupplyState(True, SupplyMode.HELD), id="held"),
        pytest.param(0x0B, SupplyState(None, SupplyMode.UNKNOWN), id="phases-disagree"),
    ],
)
async def test_supply_reads_as_its_patterns_say(
    relay: RegisterProfile, link: RegisterLink, word: int, state: SupplyState
) -> None:
    link.put(0x0008, word)
    assert await driver(relay, link).read_supply() == state
    assert (await driver(relay, link).read()).supply == state


@pytest.mark.parametrize(
    ("action", "values", "word"),
    [
        (SupplyAction.DISCONNECT, "0001 0001", OFF),
        (SupplyAction.RECONNECT, "0000 0000", ON),
        (SupplyAction.AUTOMATIC, "0000 0000", OFF_BY_ITSELF),
        (SupplyAction.HOLD, "0001 0000", HELD),
    ],
)
async def test_supply_action_writes_once_and_is_proven_by_read_back(
    relay: RegisterProfile, link: RegisterLink, action: SupplyAction, values: str, word: int
) -> None:
    link.put(0x0008, 0x0B)
    link.after_write = [{}, {0x0008: word}]
    state = await driver(relay, link).set_supply(action)
    assert state.proves(action)
    assert link.writes == [bytes.fromhex(f"10 0057 0002 04 {values}")]
    assert len(link.reads) == 2


async def test_another_state_that_stays_is_a_refusal(
    relay: RegisterProfile, link: RegisterLink
) -> None:
    link.put(0x0008, OFF_BY_ITSELF)
    with pytest.raises(DeviceRefusedError, match=r"read back as disconnected \(automatic\)"):
        await driver(relay, link).set_supply(SupplyAction.RECONNECT)
    assert len(link.writes) == 1
    assert len(link.reads) == 3


async def test_exception_to_the_write_is_a_refusal(
    relay: RegisterProfile, link: RegisterLink
) -> None:
    link.refuse_write = 3
    with pytest.raises(DeviceRefusedError, match="illegal data value"):
        await driver(relay, link).set_supply(SupplyAction.DISCONNECT)
    assert link.reads == []


@pytest.mark.parametrize(
    "word", [pytest.param(0x0B, id="no-mode"), pytest.param(0x03, id="automatic")]
)
async def test_moving_valve_is_unknown(
    relay: RegisterProfile, link: RegisterLink, word: int
) -> None:
    link.put(0x0008, word)
    with pytest.raises(OutcomeUnknownError, match="neither on nor off"):
        await driver(relay, link).set_supply(SupplyAction.DISCONNECT)
    assert len(link.writes) == 1


async def test_silence_after_the_write_is_settled_by_a_read_back_that_proves_it(
    relay: RegisterProfile, link: RegisterLink
) -> None:
    link.silent_after_write = True
    link.put(0x0008, OFF)
    state = await driver(relay, link).set_supply(SupplyAction.DISCONNECT)
    assert state.proves(SupplyAction.DISCONNECT)
    assert len(link.writes) == 1


async def test_silence_after_the_write_and_another_state_is_unknown_not_refused(
    relay: RegisterProfile, link: RegisterLink
) -> None:
    link.silent_after_write = True
    link.put(0x0008, ON)
    with pytest.raises(OutcomeUnknownError, match="nothing came"):
        await driver(relay, link).set_supply(SupplyAction.DISCONNECT)
    assert len(link.writes) == 1


async def test_failed_read_back_is_unknown(relay: RegisterProfile, link: RegisterLink) -> None:
    link.silent_reads = True
    link.put(0x0008, OFF)
    with pytest.raises(OutcomeUnknownError, match="read-back failed: nothing came"):
        await driver(relay, link).set_supply(SupplyAction.DISCONNECT)
    assert len(link.writes) == 1


async def test_write_that_never_left_is_not_unknown(
    relay: RegisterProfile, link: RegisterLink
) -> None:
    link.unreachable = True
    with pytest.raises(LinkUnavailableError):
        await driver(relay, link).set_supply(SupplyAction.DISCONNECT)


async def test_plain_relay_with_one_register_needs_no_modes(tmp_path: Path) -> None:
    profile = load(
        tmp_path,
        METER
        + """
[supply]
function = 6
address = 9
disconnect = [0xAA]
reconnect = [0x55]

[supply.state]
address = 9
connected = { mask = 1, equals = 1 }
disconnected = { mask = 1, equals = 0 }
""",
    )
    link = RegisterLink()
    link.put(9, 0)
    relay = driver(profile, link)
    assert relay.capabilities == {Capability.SUPPLY}
    state = await relay.set_supply(SupplyAction.DISCONNECT)
    assert state == SupplyState(False, SupplyMode.FORCED_OFF)
    assert link.writes == [bytes.fromhex("06 0009 00AA")]
    with pytest.raises(UnsupportedError, match="hold_supply"):
        await relay.set_supply(SupplyAction.HOLD)


def test_model_with_a_relay_has_its_capabilities(relay: RegisterProfile) -> None:
    assert model_from_profile(relay).capabilities == {
        Capability.SUPPLY,
        Capability.HOLD_SUPPLY,
    }


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        pytest.param('id = "maker_type"', "", "model.id: is missing", id="no-id"),
        pytest.param('"maker_type"', '"Maker Type"', "model.id: 'Maker Type'", id="bad-id"),
        pytest.param('"Maker Type 1"', '""', "model.title: is empty", id="empty"),
        pytest.param('"Maker Type 1"', "7", "model.title: 7, expected a text", id="no-text"),
        pytest.param("[model]", "[modell]", "model: is missing", id="no-model"),
        pytest.param("[read]", "[raed]", "raed: unknown key", id="unknown-table"),
        pytest.param("max_gap = 2", "max_gab = 2", "read.max_gab: unknown key", id="unknown-key"),
        pytest.param("max_gap = 2", "max_gap = true", "read.max_gap: True", id="no-number"),
        pytest.param(
            "max_gap = 2",
            "max_registers = 126",
            "read.max_registers: 126, expected 1..125",
            id="too-many-registers",
        ),
        pytest.param(
            "max_gap = 2",
            "max_registers = 1",
            "registers.active_energy_import.address: 2 registers",
            id="value-longer-than-a-read",
        ),
        pytest.param(
            "address = 0x0000",
            "address = 0xFFFF",
            "registers.active_energy_import.address: 65535",
            id="past-the-end",
        ),
        pytest.param(
            'type = "s16"',
            'type = "s15"',
            "registers.active_power.type: 's15', expected one of u16, s16",
            id="type",
        ),
        pytest.param(
            'scale = "0.001"',
            'scale = "a tenth"',
            "registers.active_power.scale: 'a tenth'",
            id="scale",
        ),
        pytest.param('scale = "0.001"', 'scale = "0"', "scale: 0, expected", id="scale-zero"),
        pytest.param('scale = "0.001"', 'scale = "NaN"', "scale: NaN, expected", id="scale-nan"),
        pytest.param('scale = "0.001"', "scale = nan", "scale: NaN, expected", id="toml-nan"),
        pytest.param('scale = "0.001"', "scale = [1]", "scale: [1], expected", id="scale-list"),
        pytest.param('"1000000"', '"-1"', "modulus: -1, expected more than 0", id="modulus"),
        pytest.param("0xFFFFFFFF", "0x100000000", "absent: 4294967296", id="absent"),
        pytest.param("function = 4", "function = 6", "voltage_l1.function: 6", id="function"),
        pytest.param(
            'page = "p. 12"',
            'unit = "kWh"',
            "registers.active_energy_import.unit: active_energy_import is a standard register",
            id="standard-redefined",
        ),
        pytest.param(
            'obis = "0-0:96.6.3"',
            "",
            "registers.battery_voltage.obis: is missing, and 'battery_voltage' is no standard",
            id="no-obis",
        ),
        pytest.param('"0-0:96.6.3"', '"96.6.3"', "obis: OBIS code '96.6.3'", id="obis"),
        pytest.param('unit = "V"', 'unit = "mV"', "unit: 'mV', expected one of", id="unit"),
        pytest.param(
            'resolution = "0.01"', 'resolution = "0.02"', "no power of 10", id="resolution"
        ),
        pytest.param(
            "[registers.battery_voltage]", "[registers.Battery]", "register slug", id="slug"
        ),
        pytest.param("equals = [5, 7]", "equals = []", "detect.equals: is empty", id="detect"),
        pytest.param("equals = [5, 7]", "equals = [-5]", "detect.equals: -5", id="detect-sign"),
        pytest.param('"bcd48"', '"float32"', "serial.type: float32 holds no whole", id="serial"),
        pytest.param("bit = 15", "bit = 16", "flags.phase_missing.bit: 16", id="bit"),
        pytest.param("response_time_max_s = 0.5", "response_time_max_s = -1", "-1", id="time"),
        pytest.param("disconnect = [1, 1]", "", "supply.disconnect: is missing", id="no-off"),
        pytest.param("hold = [1, 0]", "hold = [1, 65536]", "supply.hold: 65536", id="value"),
        pytest.param(
            "address = 0x0057", "address = 0xFFFF", "supply.disconnect: 2 registers", id="write-end"
        ),
        pytest.param(
            "[supply]", "[supply]\nfunction = 6", "disconnect: 2 registers, at most 1", id="fc-06"
        ),
        pytest.param("[supply]", "[supply]\nfunction = 8", "supply.function: 8", id="fc-08"),
        pytest.param("[supply.state]", "[supply.status]", "supply.state: is missing", id="state"),
        pytest.param("equals = 0x08 }", "equals = 0x18 }", "bits outside the mask", id="mask"),
        pytest.param("held = {", "help = {", "supply.state.help: unknown key", id="mode"),
        pytest.param("[model]", "[model", "meter.toml: ", id="no-toml"),
    ],
)
def test_fault_in_a_profile_is_named_with_file_and_key(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    text = METER + RELAY
    assert old in text
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, text.replace(old, new, 1))
    assert str(refused.value).startswith("meter.toml: ")
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xfe", id="no-utf-8"),
        pytest.param(b"a = " + b"[" * 100_000, id="nested-deeply"),
        pytest.param(b"#" * 1_000_001, id="too-long"),
        pytest.param(b"a = " + b"9" * 5000, id="number-too-long"),
        pytest.param(b"a = 1e99999999999999999999", id="exponent-too-large"),
        pytest.param(b"[registers]\n[model]\n", id="empty"),
        pytest.param(b"registers = [1]", id="no-tables"),
    ],
)
def test_hostile_profile_fails_with_a_settings_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "hostile.toml"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match=r"hostile\.toml: "):
        RegisterProfile.load(path)


def test_profile_without_registers_is_refused(tmp_path: Path) -> None:
    text = METER[: METER.index("[registers.")]
    with pytest.raises(SettingsError, match="registers: is missing"):
        load(tmp_path, text)


def test_profile_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: .*No such file"):
        RegisterProfile.load(tmp_path / "none.toml")
