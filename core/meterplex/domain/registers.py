"""Registers of meters: what they are called, in which unit, at which resolution they are kept.

Codes are OBIS codes (IEC 62056-61); where the standard has none, the docstring of the register
says so. A register type is global to the program: every driver that reads "active energy import"
reads the same register type, so that tariffs, reports and charts need to know no meter.
"""

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import Final, NewType, Self

Utility = NewType("Utility", str)
"""What a meter measures, as a lower-case word. An open set: a plugin may bring its own."""

ELECTRICITY: Final = Utility("electricity")
WATER: Final = Utility("water")
GAS: Final = Utility("gas")
HEAT: Final = Utility("heat")


class Unit(StrEnum):
    """Units that register values are given in."""

    KWH = "kWh"
    KVARH = "kvarh"
    KW = "kW"
    KVAR = "kvar"
    KVA = "kVA"
    VOLT = "V"
    AMPERE = "A"
    HERTZ = "Hz"
    CUBIC_METRE = "m3"
    CUBIC_METRE_PER_HOUR = "m3/h"
    DEGREE_CELSIUS = "degC"
    KELVIN = "K"
    HOUR = "h"
    ONE = "1"
    CURRENCY = "currency"
    """The currency of the meter's account; the meter itself does not know which."""


_OBIS: Final = re.compile(r"(\d{1,3})-(\d{1,3}):(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:\*(\d{1,3}))?")


@dataclass(frozen=True, slots=True)
class ObisCode:
    """An OBIS code ``A-B:C.D.E*F``, each group 0..255 (IEC 62056-61 clause 4)."""

    a: int
    b: int
    c: int
    d: int
    e: int
    f: int = 255

    def __post_init__(self) -> None:
        if not all(0 <= group <= 255 for group in (self.a, self.b, self.c, self.d, self.e, self.f)):
            raise ValueError(f"OBIS code {self}: each group must be within 0..255")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1-0:1.8.0`` or ``1-0:1.8.0*255``.

        Raises:
            ValueError: the text has another form or a group above 255.
        """
        match = _OBIS.fullmatch(text)
        if match is None:
            raise ValueError(f"OBIS code {text!r}: expected A-B:C.D.E, for example 1-0:1.8.0")
        return cls(*(int(group) for group in match.groups() if group is not None))

    def __str__(self) -> str:
        tail = "" if self.f == 255 else f"*{self.f}"
        return f"{self.a}-{self.b}:{self.c}.{self.d}.{self.e}{tail}"


@dataclass(frozen=True, slots=True)
class RegisterType:
    """A kind of register.

    Attributes:
        slug: readable name, unique in the program, ``[a-z][a-z0-9_]*``.
        obis: its OBIS code.
        unit: unit of the values.
        resolution: the step at which values are stored, a power of ten; fixed for ever once a
            value has been stored.
        cumulative: True for a counter that only rises (until it rolls over or is replaced).
    """

    slug: str
    obis: ObisCode
    unit: Unit
    resolution: Decimal
    cumulative: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.slug):
            raise ValueError(f"register slug {self.slug!r}: expected lower-case letters, digits, _")
        sign, digits, _ = self.resolution.as_tuple()
        if sign or digits[:1] != (1,) or any(digits[1:]):
            raise ValueError(
                f"register {self.slug}: resolution {self.resolution} is no power of 10"
            )

    def to_steps(self, value: Decimal) -> int:
        """Return ``value`` as a whole number of resolution steps, rounded half to even.

        Raises:
            ValueError: the value is not a finite number.
        """
        if not value.is_finite():
            raise ValueError(f"register {self.slug}: {value} is not a number")
        return int((value / self.resolution).to_integral_value(ROUND_HALF_EVEN))

    def from_steps(self, steps: int) -> Decimal:
        """Return the value of a whole number of resolution steps, in ``unit``."""
        return steps * self.resolution


def _electric(slug: str, code: str, unit: Unit, resolution: str) -> RegisterType:
    return RegisterType(slug, ObisCode.parse(f"1-0:{code}"), unit, Decimal(resolution))


def _energy(slug: str, code: str, unit: Unit = Unit.KWH) -> RegisterType:
    return RegisterType(slug, ObisCode.parse(f"1-0:{code}"), unit, Decimal("0.001"), True)


ACTIVE_ENERGY_IMPORT: Final = _energy("active_energy_import", "1.8.0")
ACTIVE_ENERGY_SHARP: Final = _energy("active_energy_import_sharp", "1.8.1")
ACTIVE_ENERGY_PEAK: Final = _energy("active_energy_import_peak", "1.8.2")
ACTIVE_ENERGY_FLAT: Final = _energy("active_energy_import_flat", "1.8.3")
ACTIVE_ENERGY_VALLEY: Final = _energy("active_energy_import_valley", "1.8.4")
ACTIVE_ENERGY_DEEP_VALLEY: Final = _energy("active_energy_import_deep_valley", "1.8.5")
ACTIVE_ENERGY_EXPORT: Final = _energy("active_energy_export", "2.8.0")
REACTIVE_ENERGY_IMPORT: Final = _energy("reactive_energy_import", "3.8.0", Unit.KVARH)
REACTIVE_ENERGY_EXPORT: Final = _energy("reactive_energy_export", "4.8.0", Unit.KVARH)

VOLTAGE_L1: Final = _electric("voltage_l1", "32.7.0", Unit.VOLT, "0.01")
VOLTAGE_L2: Final = _electric("voltage_l2", "52.7.0", Unit.VOLT, "0.01")
VOLTAGE_L3: Final = _electric("voltage_l3", "72.7.0", Unit.VOLT, "0.01")
CURRENT_L1: Final = _electric("current_l1", "31.7.0", Unit.AMPERE, "0.001")
CURRENT_L2: Final = _electric("current_l2", "51.7.0", Unit.AMPERE, "0.001")
CURRENT_L3: Final = _electric("current_l3", "71.7.0", Unit.AMPERE, "0.001")
ACTIVE_POWER: Final = _electric("active_power", "16.7.0", Unit.KW, "0.0001")
ACTIVE_POWER_L1: Final = _electric("active_power_l1", "36.7.0", Unit.KW, "0.0001")
ACTIVE_POWER_L2: Final = _electric("active_power_l2", "56.7.0", Unit.KW, "0.0001")
ACTIVE_POWER_L3: Final = _electric("active_power_l3", "76.7.0", Unit.KW, "0.0001")
REACTIVE_POWER: Final = _electric("reactive_power", "3.7.0", Unit.KVAR, "0.0001")
REACTIVE_POWER_L1: Final = _electric("reactive_power_l1", "23.7.0", Unit.KVAR, "0.0001")
REACTIVE_POWER_L2: Final = _electric("reactive_power_l2", "43.7.0", Unit.KVAR, "0.0001")
REACTIVE_POWER_L3: Final = _electric("reactive_power_l3", "63.7.0", Unit.KVAR, "0.0001")
APPARENT_POWER: Final = _electric("apparent_power", "9.7.0", Unit.KVA, "0.0001")
POWER_FACTOR: Final = _electric("power_factor", "13.7.0", Unit.ONE, "0.001")
POWER_FACTOR_L1: Final = _electric("power_factor_l1", "33.7.0", Unit.ONE, "0.001")
POWER_FACTOR_L2: Final = _electric("power_factor_l2", "53.7.0", Unit.ONE, "0.001")
POWER_FACTOR_L3: Final = _electric("power_factor_l3", "73.7.0", Unit.ONE, "0.001")
FREQUENCY: Final = _electric("frequency", "14.7.0", Unit.HERTZ, "0.01")
MAXIMUM_DEMAND: Final = _electric("maximum_demand", "1.6.0", Unit.KW, "0.0001")

WATER_VOLUME: Final = RegisterType(
    "water_volume", ObisCode.parse("8-0:1.0.0"), Unit.CUBIC_METRE, Decimal("0.0001"), True
)
GAS_VOLUME: Final = RegisterType(
    "gas_volume", ObisCode.parse("7-0:3.0.0"), Unit.CUBIC_METRE, Decimal("0.0001"), True
)
HEAT_ENERGY: Final = RegisterType(
    "heat_energy", ObisCode.parse("6-0:1.0.0"), Unit.KWH, Decimal("0.001"), True
)

CREDIT_REMAINING: Final = RegisterType(
    "credit_remaining", ObisCode.parse("0-0:19.10.0"), Unit.CURRENCY, Decimal("0.0001")
)
"""Money left in the meter; the code is that of the first credit object (class 112)."""

PURCHASE_COUNT: Final = RegisterType(
    "purchase_count", ObisCode.parse("0-0:96.130.0"), Unit.ONE, Decimal(1)
)
"""Number of purchases the meter has taken; the code is from the manufacturer's range (guess)."""

TOTAL_PURCHASED: Final = RegisterType(
    "total_purchased", ObisCode.parse("0-0:96.130.1"), Unit.CURRENCY, Decimal("0.0001")
)
"""Money ever bought into the meter; the code is from the manufacturer's range (guess)."""

STANDARD_REGISTERS: Final[dict[str, RegisterType]] = {
    value.slug: value for value in tuple(globals().values()) if isinstance(value, RegisterType)
}
"""Every register type above, by slug."""
