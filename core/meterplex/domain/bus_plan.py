"""Predicting a bus before it is cabled: how long a round takes, how fresh readings will be.

The line is half-duplex and carries one exchange at a time::

    | request | gap | turn-round | reply | gap |      a device that answers
    | request | longest silence allowed  | gap |      a dead one, per try

A round reads every live device once. Dead devices are asked again every ``probe_s``, so that one
that comes back is noticed; between probes they cost nothing. With ``L`` for the live devices'
time, ``D`` for one try of each dead device and ``P`` for ``probe_s`` the round ``C`` is::

    C = L + D            when a round is longer than P
    C = L / (1 - D / P)  when a round is shorter: it carries only its share of the tries
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LOAD_HIGH: Final = 0.8
"""Above this share of its time a bus has no room left for back-fill and retries (guess)."""

_FIXED_GAP_ABOVE_BAUD: Final = 19200
_FIXED_GAP_S: Final = 0.00175
"""Modbus over Serial Line V1.02, 2.5.1.1: above 19200 baud the silent gap stays at 1.75 ms."""


class Parity(StrEnum):
    """Parity of a serial line, as in channel URLs."""

    NONE = "N"
    EVEN = "E"
    ODD = "O"


@dataclass(frozen=True, slots=True)
class SerialLine:
    """Speed and character frame of a line.

    Attributes:
        latency_s: what a network in front of the line adds to each exchange.
    """

    baud: int
    parity: Parity = Parity.NONE
    stop_bits: int = 1
    latency_s: float = 0.0

    def __post_init__(self) -> None:
        if self.baud < 1:
            raise ValueError(f"baud {self.baud}: expected 1 or more")
        if self.stop_bits not in (1, 2):
            raise ValueError(f"stop bits {self.stop_bits}: expected 1 or 2")
        if self.latency_s < 0:
            raise ValueError(f"latency {self.latency_s} s: expected 0 or more")

    @property
    def character_s(self) -> float:
        """Time of one character: start bit, eight data bits, parity if any, stop bits."""
        return (9 + (self.parity is not Parity.NONE) + self.stop_bits) / self.baud

    def gap_s(self, characters: float) -> float:
        """Time of a silence of ``characters``, never below the fixed gap of fast lines."""
        silence_s = characters * self.character_s
        return max(silence_s, _FIXED_GAP_S) if self.baud > _FIXED_GAP_ABOVE_BAUD else silence_s


@dataclass(frozen=True, slots=True)
class FrameSizes:
    """Bytes of a request and of its reply."""

    request: int
    reply: int


@dataclass(frozen=True, slots=True)
class DeviceGroup:
    """Devices of one kind on the bus.

    Attributes:
        name: of the kind, for warnings.
        frames: the exchanges of one scheduled read.
        count: how many there are, dead ones included.
        dead: how many of them do not answer.
        turn_round_s: usual silence between a request (with its gap) and the reply.
        response_time_max_s: silence after which a device is taken for dead.
        devices_max: how many such devices one bus may carry.
    """

    name: str
    protocol: str
    frames: tuple[FrameSizes, ...]
    count: int
    dead: int = 0
    turn_round_s: float = 0.02
    response_time_max_s: float = 0.3
    gap_characters: float = 3.5
    devices_max: int = 32

    def __post_init__(self) -> None:
        if not 0 <= self.dead <= self.count:
            raise ValueError(f"{self.name}: {self.dead} dead devices of {self.count}")
        if not self.frames:
            raise ValueError(f"{self.name}: no exchange to read it by")
        if self.turn_round_s < 0 or self.response_time_max_s <= 0:
            raise ValueError(f"{self.name}: response times must be positive")

    def read_s(self, line: SerialLine, turn_round_s: float) -> float:
        """Time to read one live device."""
        gap_s = line.gap_s(self.gap_characters)
        characters = sum(frame.request + frame.reply for frame in self.frames)
        silence_s = 2 * gap_s + turn_round_s + line.latency_s
        return characters * line.character_s + len(self.frames) * silence_s

    def try_s(self, line: SerialLine) -> float:
        """Time that one try of a dead device costs: its first request and the wait."""
        gap_s = line.gap_s(self.gap_characters)
        wait_s = self.response_time_max_s + line.latency_s
        return self.frames[0].request * line.character_s + wait_s + gap_s


@dataclass(frozen=True, slots=True)
class Population:
    """Devices of one kind on a bus, as far as the bus's limits go.

    Attributes:
        devices_max: how many such devices one bus may carry.
    """

    protocol: str
    count: int
    devices_max: int


class BusConcern(StrEnum):
    """What is wrong with a planned bus."""

    OVERLOAD = "overload"
    HIGH_LOAD = "high_load"
    TOO_MANY_DEVICES = "too_many_devices"
    MIXED_PROTOCOLS = "mixed_protocols"


@dataclass(frozen=True, slots=True)
class BusWarning:
    """A concern with a line for people."""

    concern: BusConcern
    text: str


@dataclass(frozen=True, slots=True)
class BusPrediction:
    """What to expect of a bus.

    Attributes:
        round_s: one pass over all devices, back to back.
        round_worst_s: the same when every live device takes its longest allowed silence.
        load: share of its time that the line is busy with reads every interval and tries every
            ``probe_s``; above 1 one of the two cannot be kept.
        freshness_s: oldest age a live device's reading reaches when read every interval.
        exchanges: exchanges of a round with live devices.
    """

    devices: int
    dead: int
    exchanges: int
    round_s: float
    round_worst_s: float
    interval_s: float
    load: float
    freshness_s: float
    warnings: tuple[BusWarning, ...]


def predict_bus(
    line: SerialLine,
    groups: Sequence[DeviceGroup],
    *,
    interval_s: float,
    probe_s: float = 30.0,
    devices_max: int | None = None,
) -> BusPrediction:
    """Predict a bus with these devices, each read every ``interval_s``.

    Args:
        line: its speed.
        groups: the devices by kind.
        interval_s: how often each device is to be read.
        probe_s: how often a dead device is tried.
        devices_max: overrides the smallest limit of the groups.

    Raises:
        ValueError: there is no device, or a time is not positive.
    """
    if not any(group.count for group in groups):
        raise ValueError("a bus needs at least one device")
    if interval_s <= 0 or probe_s <= 0:
        raise ValueError("interval and probe time must be positive")
    populations = [Population(g.protocol, g.count, g.devices_max) for g in groups]
    tries_s = sum(group.dead * group.try_s(line) for group in groups)
    usual_s = _live_s(line, groups, worst=False)
    round_s = _round_s(usual_s, tries_s, probe_s)
    load = usual_s / interval_s + tries_s / probe_s
    # A device may come first in one run and last in the next; on a full line rounds follow
    # each other and the interval does not matter.
    freshness_s = interval_s + round_s if round_s <= interval_s else round_s
    return BusPrediction(
        devices=sum(group.count for group in groups),
        dead=sum(group.dead for group in groups),
        exchanges=sum((group.count - group.dead) * len(group.frames) for group in groups),
        round_s=round_s,
        round_worst_s=_round_s(_live_s(line, groups, worst=True), tries_s, probe_s),
        interval_s=interval_s,
        load=load,
        freshness_s=freshness_s,
        warnings=(*_load_warnings(load), *check_population(populations, devices_max)),
    )


def _live_s(line: SerialLine, groups: Sequence[DeviceGroup], *, worst: bool) -> float:
    return sum(
        (group.count - group.dead)
        * group.read_s(line, group.response_time_max_s if worst else group.turn_round_s)
        for group in groups
    )


def _round_s(live_s: float, tries_s: float, probe_s: float) -> float:
    if live_s + tries_s >= probe_s:
        return live_s + tries_s
    return live_s / (1 - tries_s / probe_s) if live_s else tries_s


def _load_warnings(load: float) -> tuple[BusWarning, ...]:
    if load > 1:
        text = f"overload: the bus would need {load:.0%} of its time, readings will be late"
        return (BusWarning(BusConcern.OVERLOAD, text),)
    if load > LOAD_HIGH:
        text = f"high load: {load:.0%} of the bus's time, little is left for retries and back-fill"
        return (BusWarning(BusConcern.HIGH_LOAD, text),)
    return ()


def check_population(
    populations: Iterable[Population], devices_max: int | None = None
) -> tuple[BusWarning, ...]:
    """Check how many devices of how many protocols are on one bus.

    Args:
        populations: kinds with a count of 0 are left out.
        devices_max: overrides the smallest limit of the kinds.
    """
    present = [population for population in populations if population.count]
    devices = sum(population.count for population in present)
    limits = [population.devices_max for population in present]
    limit = min(limits, default=0) if devices_max is None else devices_max
    warnings = []
    if devices > limit:
        text = f"{devices} devices on one bus, it carries {limit}"
        warnings.append(BusWarning(BusConcern.TOO_MANY_DEVICES, text))
    protocols = sorted({population.protocol for population in present})
    if len(protocols) > 1:
        text = f"devices of {len(protocols)} protocols on one bus: {', '.join(protocols)}"
        warnings.append(BusWarning(BusConcern.MIXED_PROTOCOLS, text))
    return tuple(warnings)
