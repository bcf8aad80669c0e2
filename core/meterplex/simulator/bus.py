"""Twins on one half-duplex bus."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from meterplex.sdk import DeviceTwin
from meterplex.simulator.faults import Fault, Faults, Part


@dataclass(frozen=True, slots=True)
class Answer:
    """What the bus gives back to a burst.

    Attributes:
        turn_round_s: silence between the end of the burst and the parts that are not late.
        parts: in the order in which they leave; none when the reply is lost.
    """

    turn_round_s: float
    parts: tuple[Part, ...]


@dataclass(slots=True)
class BusCounters:
    """What was seen on a bus.

    Attributes:
        exchanges: bursts that a device answered.
        unanswered: bursts that nobody answered.
        collisions: bursts that several devices answered at once.
        wire_busy_s: time that exchanges needed the wire: the characters both ways, the silence
            before the reply, and 3.5 characters of silence behind it. Only on a paced wire.
        gap_violations: requests that began within 3.5 characters of a reply's last one, or while
            a reply was on its way. Only on a paced wire.
        lateness_s_max: how much too late a piece of a reply left at worst, by fault of this
            program.
    """

    exchanges: int = 0
    unanswered: int = 0
    collisions: int = 0
    wire_busy_s: float = 0.0
    gap_violations: int = 0
    lateness_s_max: float = 0.0


class TwinBus:
    """Every live twin hears every burst; each knows by itself whether it is meant.

    Attributes:
        twins: by address in the model's normal form.
        faults: of the line; its rates may be changed at any time.
        counters: see :class:`BusCounters`.
    """

    def __init__(self, twins: Mapping[str, DeviceTwin], faults: Faults | None = None) -> None:
        self.twins = dict(twins)
        self.faults = faults or Faults()
        self.counters = BusCounters()
        self._live = dict(self.twins)

    @property
    def dead(self) -> frozenset[str]:
        """Addresses of the twins that neither hear nor answer."""
        return frozenset(self.twins.keys() - self._live.keys())

    def kill(self, address: str) -> None:
        """Take a device off the bus.

        Raises:
            KeyError: there is none at this address.
        """
        _ = self.twins[address]
        self._live.pop(address, None)

    def revive(self, address: str) -> None:
        """Put a killed device back.

        Raises:
            KeyError: there is none at this address.
        """
        self._live[address] = self.twins[address]

    def advance(self, now: datetime) -> None:
        """Let all twins live until ``now``; the dead ones are off the bus only, not off supply."""
        for twin in self.twins.values():
            twin.advance(now)

    def ask(self, burst: bytes) -> Answer | None:
        """Give a burst to the twins; None when nobody answers."""
        fault = self.faults.draw()
        if fault is Fault.DEAF and burst:
            burst = self.faults.strike_request(burst)
        replies = [
            (twin.turn_round_s, reply)
            for twin in self._live.values()
            if (reply := twin.receive(burst))
        ]
        if not replies:
            self.counters.unanswered += 1
            return None
        self.counters.exchanges += 1
        self.counters.collisions += len(replies) > 1
        turn_round_s = min(after for after, _ in replies)
        reply = _superposed([reply for _, reply in replies])
        if fault is None or fault is Fault.DEAF:
            return Answer(turn_round_s, (Part(reply),))
        return Answer(turn_round_s, self.faults.strike_reply(fault, reply))


def _superposed(replies: list[bytes]) -> bytes:
    """Return what a master hears when devices talk at once: a 0 on the line wins over a 1."""
    heard = bytearray(max(replies, key=len))
    for reply in replies:
        for at, byte in enumerate(reply):
            heard[at] &= byte
    return bytes(heard)
