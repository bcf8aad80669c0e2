"""Which register of a meter a utility is charged by."""

from collections.abc import Collection, Mapping
from typing import Final

from meterplex.domain.registers import (
    ACTIVE_ENERGY_IMPORT,
    ELECTRICITY,
    GAS,
    GAS_VOLUME,
    HEAT,
    HEAT_ENERGY,
    WATER,
    WATER_VOLUME,
    RegisterType,
    Unit,
    Utility,
)

MAIN_COUNTERS: Final[Mapping[Utility, RegisterType]] = {
    ELECTRICITY: ACTIVE_ENERGY_IMPORT,
    WATER: WATER_VOLUME,
    GAS: GAS_VOLUME,
    HEAT: HEAT_ENERGY,
}
"""The total of each utility that is built in."""


def main_counter(
    utility: Utility, unit: Unit | None, registers: Collection[RegisterType]
) -> RegisterType | None:
    """Return the register that a meter is charged by.

    Args:
        utility: of its usage point.
        unit: that prices of the utility are for; None when that is not known.
        registers: that the meter has opening values or readings of.

    Returns:
        The total of a built-in utility; of a plugin's the only counter in its unit; None where
        that is not one.
    """
    known = MAIN_COUNTERS.get(utility)
    if known is not None:
        return known
    counters = [each for each in registers if each.cumulative and unit in {None, each.unit}]
    return counters[0] if len(counters) == 1 else None
