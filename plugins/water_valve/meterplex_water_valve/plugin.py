"""Hooks of the plugin, and nothing else."""

from collections.abc import Sequence

from meterplex import hookimpl
from meterplex.sdk import TariffComponent
from meterplex_water_valve.sewage import SEWAGE


@hookimpl
def meterplex_tariff_components() -> Sequence[TariffComponent]:
    return (SEWAGE,)
