"""Register types as vendors get them from the SDK."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.sdk import STANDARD_REGISTERS, ObisCode, RegisterType, Unit

ENERGY = STANDARD_REGISTERS["active_energy_import"]

# Examples of IEC 62056-61 and of the project's own vocabulary.
OBIS_CODES = [
    ("1-0:1.8.0", ObisCode(1, 0, 1, 8, 0)),
    ("8-0:1.0.0", ObisCode(8, 0, 1, 0, 0)),
    ("7-0:3.0.0", ObisCode(7, 0, 3, 0, 0)),
    ("6-0:1.0.0", ObisCode(6, 0, 1, 0, 0)),
    ("1-1:1.8.0*12", ObisCode(1, 1, 1, 8, 0, 12)),
    ("255-255:255.255.255*254", ObisCode(255, 255, 255, 255, 255, 254)),
]


@pytest.mark.parametrize(("text", "code"), OBIS_CODES, ids=str)
def test_obis_code_reads_and_prints(text: str, code: ObisCode) -> None:
    assert ObisCode.parse(text) == code
    assert str(code) == text


def test_obis_group_f_of_255_is_not_printed() -> None:
    assert str(ObisCode.parse("1-0:1.8.0*255")) == "1-0:1.8.0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.8.0",
        "1-0:1.8",
        "1-0:1.8.0.0",
        "1-0:1.8.256",
        "256-0:1.8.0",
        "1-0:1.8.0*",
        "a-b:c.d.e",
        "1-0:1.8.-1",
        " 1-0:1.8.0",
        "1-0:1.8.0\n",
        "1-0:1.8.1000",
    ],
)
def test_bad_obis_code_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="OBIS code"):
        ObisCode.parse(text)


def test_obis_group_outside_a_byte_is_refused() -> None:
    with pytest.raises(ValueError, match=r"each group must be within 0..255"):
        ObisCode(1, 0, 1, 8, -1)


@pytest.mark.parametrize("slug", ["", "Energy", "1st", "a-b", "a b", "énergie"])
def test_bad_slug_is_refused(slug: str) -> None:
    with pytest.raises(ValueError, match="register slug"):
        RegisterType(slug, ENERGY.obis, Unit.KWH, Decimal("0.001"))


@pytest.mark.parametrize("resolution", ["0", "-0.01", "0.02", "5", "11", "101", "NaN", "Infinity"])
def test_resolution_that_is_no_power_of_ten_is_refused(resolution: str) -> None:
    with pytest.raises(ValueError, match="no power of 10"):
        RegisterType("energy", ENERGY.obis, Unit.KWH, Decimal(resolution))


@pytest.mark.parametrize("resolution", ["1", "0.1", "0.0001", "10", "1E+3"])
def test_resolution_may_be_any_power_of_ten(resolution: str) -> None:
    register = RegisterType("energy", ENERGY.obis, Unit.KWH, Decimal(resolution))
    assert register.to_steps(register.from_steps(-17)) == -17


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        ("0", 0),
        ("1", 1000),
        ("0.001", 1),
        ("-0.001", -1),
        ("0.0015", 2),
        ("0.0025", 2),
        ("0.00250001", 3),
        ("999999.999", 999_999_999),
    ],
)
def test_steps_round_half_to_even(value: str, steps: int) -> None:
    assert ENERGY.to_steps(Decimal(value)) == steps


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_value_that_is_no_number_has_no_steps(value: str) -> None:
    with pytest.raises(ValueError, match=r"active_energy_import: .* is not a number"):
        ENERGY.to_steps(Decimal(value))


@given(st.integers(-(2**62), 2**62))
def test_steps_come_back(steps: int) -> None:
    assert ENERGY.to_steps(ENERGY.from_steps(steps)) == steps


def test_standard_slugs_name_their_register() -> None:
    assert all(slug == register.slug for slug, register in STANDARD_REGISTERS.items())
    assert {"water_volume", "gas_volume", "heat_energy", "voltage_l1"} <= STANDARD_REGISTERS.keys()


def test_standard_registers_share_no_obis_code() -> None:
    codes = [register.obis for register in STANDARD_REGISTERS.values()]
    assert len(set(codes)) == len(codes)


def test_counters_are_energy_and_volume() -> None:
    counted = {register.unit for register in STANDARD_REGISTERS.values() if register.cumulative}
    assert counted == {Unit.KWH, Unit.KVARH, Unit.CUBIC_METRE}
