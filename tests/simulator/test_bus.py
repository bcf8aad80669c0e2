from datetime import UTC, datetime

import pytest

from meterplex.simulator.bus import TwinBus
from meterplex.simulator.faults import Fault, FaultRates, Faults


class Echo:
    """Answers bursts that begin with its address, with its own mark."""

    def __init__(self, address: int, mark: bytes = b"", turn_round_s: float = 0.02) -> None:
        self.turn_round_s = turn_round_s
        self.lived: list[datetime] = []
        self._address = address
        self._mark = mark

    def receive(self, burst: bytes) -> bytes:
        return burst[:1] + self._mark if burst[:1] == bytes((self._address,)) else b""

    def advance(self, now: datetime) -> None:
        self.lived.append(now)


def heard(bus: TwinBus, burst: bytes) -> bytes | None:
    answer = bus.ask(burst)
    return None if answer is None else b"".join(part.data for part in answer.parts)


def test_the_twin_that_is_meant_answers() -> None:
    bus = TwinBus({"1": Echo(1, b"one"), "2": Echo(2, b"two", turn_round_s=0.05)})

    answer = bus.ask(b"\x02?")

    assert answer is not None
    assert answer.parts[0].data == b"\x02two"
    assert answer.turn_round_s == 0.05
    assert bus.counters.exchanges == 1


def test_nobody_answers_an_unknown_address() -> None:
    bus = TwinBus({"1": Echo(1)})

    assert bus.ask(b"\x09?") is None
    assert bus.counters.unanswered == 1


def test_killed_twin_is_silent_until_revived() -> None:
    bus = TwinBus({"1": Echo(1)})

    bus.kill("1")
    killed = heard(bus, b"\x01")
    dead = bus.dead
    bus.revive("1")

    assert killed is None
    assert dead == {"1"}
    assert heard(bus, b"\x01") == b"\x01"
    assert bus.dead == frozenset()


def test_killing_nobody_is_an_error() -> None:
    bus = TwinBus({"1": Echo(1)})

    with pytest.raises(KeyError):
        bus.kill("2")
    with pytest.raises(KeyError):
        bus.revive("2")


def test_dead_twins_live_on() -> None:
    alive, dead = Echo(1), Echo(2)
    bus = TwinBus({"1": alive, "2": dead})
    bus.kill("2")
    now = datetime(2026, 11, 20, tzinfo=UTC)

    bus.advance(now)

    assert alive.lived == dead.lived == [now]


def test_two_twins_of_one_address_collide() -> None:
    bus = TwinBus({"1": Echo(1, b"\xf0\xff"), "1b": Echo(1, b"\x3c", turn_round_s=0.01)})

    answer = bus.ask(b"\x01")

    assert answer is not None
    assert answer.parts[0].data == b"\x01\x30\xff"
    assert answer.turn_round_s == 0.01
    assert bus.counters.collisions == 1


def test_deaf_device_does_not_get_the_request() -> None:
    bus = TwinBus({"1": Echo(1)}, Faults(FaultRates({Fault.DEAF: 1.0}), seed=2))

    assert heard(bus, b"\x01") is None
    assert bus.faults.counts[Fault.DEAF] == 1


def test_silent_device_gets_the_request_and_its_reply_is_lost() -> None:
    bus = TwinBus({"1": Echo(1)}, Faults(FaultRates({Fault.SILENT: 1.0})))

    assert heard(bus, b"\x01") == b""
    assert bus.counters.exchanges == 1


def test_faults_change_at_run_time() -> None:
    bus = TwinBus({"1": Echo(1)})

    bus.faults.rates = FaultRates({Fault.DOUBLED: 1.0})

    assert heard(bus, b"\x01") == b"\x01\x01"
