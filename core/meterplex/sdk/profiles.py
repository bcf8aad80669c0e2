"""Register profiles: a Modbus meter described as data, so that it needs no Python.

See :class:`RegisterProfile` for the keys of the TOML file.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Self

from meterplex.domain.registers import RegisterType, Utility
from meterplex.domain.supply import SupplyAction, SupplyState
from meterplex.protocols.modbus.blocks import Block, Field, plan_blocks
from meterplex.protocols.modbus.registers import RegisterFormat, WordOrder
from meterplex.sdk.drivers import Identity, MeterDriver, MeterSnapshot
from meterplex.sdk.links import Link
from meterplex.sdk.models import BusTolerance, MeterModel
from meterplex.sdk.twins import DeviceTwin


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
        page: where in the source document.
    """

    register: RegisterType
    field: Field
    format: RegisterFormat
    order: WordOrder = WordOrder.BIG
    scale: Decimal = Decimal(1)
    modulus: Decimal | None = None
    absent: int | None = None
    page: str = ""


@dataclass(frozen=True, slots=True)
class RegisterProfile:
    """One model, from a TOML file."""

    id: str
    title: str
    utility: Utility
    source: str
    registers: tuple[ProfileRegister, ...]
    bus: BusTolerance = field(default=BusTolerance("modbus-rtu"))
    max_registers: int = 125
    max_gap: int = 0

    @classmethod
    def load(cls, path: Path | Traversable) -> Self:
        """Read and check a profile.

        Raises:
            SettingsError: naming file, key and reason.
        """

    def plan(self, registers: Collection[RegisterType] | None = None) -> tuple[Block, ...]:
        """Return the reads that give ``registers``; None plans a scheduled poll."""


class ModbusProfileDriver(MeterDriver):
    """Driver of a meter that its profile describes."""

    def __init__(self, profile: RegisterProfile, link: Link, address: str) -> None: ...


def model_from_profile(
    profile: RegisterProfile,
    *,
    twin: Callable[[str, Mapping[str, str], int], DeviceTwin] | None = None,
) -> MeterModel:
    """Make the model of a profile; its driver is :class:`ModbusProfileDriver`."""
