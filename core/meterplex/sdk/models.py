"""What a plugin declares about a kind of meter, and how a driver and a twin of it are made."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meterplex.domain.registers import RegisterType, Utility
from meterplex.sdk.capabilities import Capability

if TYPE_CHECKING:
    from meterplex.sdk.drivers import MeterDriver
    from meterplex.sdk.links import Link
    from meterplex.sdk.twins import DeviceTwin


@dataclass(frozen=True, slots=True)
class ExchangeSize:
    """Bytes of one request and its reply on the wire."""

    request: int
    reply: int


@dataclass(frozen=True, slots=True)
class BusTolerance:
    """What a device needs from its bus.

    Attributes:
        protocol: the language it speaks; devices of two protocols should not share a bus.
        response_time_max_s: longest silence between the end of a request and its reply.
        gap_characters: shortest silence between two frames, in characters.
        devices_max: how many such devices one RS-485 bus may carry.
    """

    protocol: str
    response_time_max_s: float = 0.3
    gap_characters: float = 3.5
    devices_max: int = 32


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a model or channel type, as text in the estate file or the URL.

    Attributes:
        name: lower-case word.
        help: one line for the manual, with the unit.
        default: text used when it is not given; None when it must be given.
        choices: the allowed texts; empty when any is.
    """

    name: str
    help: str
    default: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MeterModel:
    """A kind of meter that a plugin can read.

    Attributes:
        id: unique name over all plugins, ``[a-z][a-z0-9_]*``; written into estate files.
        title: maker and type for people.
        utility: what it measures.
        registers: every register type its ``read`` can give.
        capabilities: what its driver can do; a driver may narrow this by its settings.
        bus: what it needs from its bus.
        poll: the exchanges of one scheduled read, for predicting a bus's cycle.
        check_address: returns the address in its one normal form, or raises ``SettingsError``.
        driver: makes a driver for one device: link, normal address, settings.
        twin: makes a simulated device: address, settings, seed. None when there is none.
        settings: what may be set per meter.
        twin_settings: what may be set on a twin besides; a twin is made with the names that were
            given, and has defaults of its own for the others.
        registers_are_primary: the meter applies ct and pt itself, so that nobody else may.
    """

    id: str
    title: str
    utility: Utility
    registers: tuple[RegisterType, ...]
    bus: BusTolerance
    poll: tuple[ExchangeSize, ...]
    check_address: Callable[[str], str]
    driver: "Callable[[Link, str, Mapping[str, str]], MeterDriver]"
    twin: "Callable[[str, Mapping[str, str], int], DeviceTwin] | None" = None
    capabilities: frozenset[Capability] = frozenset()
    settings: tuple[Setting, ...] = field(default=())
    twin_settings: tuple[Setting, ...] = field(default=())
    registers_are_primary: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.id):
            raise ValueError(f"model id {self.id!r}: expected lower-case letters, digits, _")
        if not self.registers:
            raise ValueError(f"model {self.id}: no registers")
