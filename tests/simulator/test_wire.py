"""The wire on simulated time: instants are exact."""

import asyncio
from datetime import datetime

import pytest

from meterplex.simulator.bus import TwinBus
from meterplex.simulator.faults import Fault, FaultRates, Faults
from meterplex.simulator.virtual_time import run_in_virtual_time
from meterplex.simulator.wire import Pace, Wire

TURN_ROUND_S = 0.02
CHARACTER_S = 10 / 9600
REPLY = bytes(range(40))
REQUEST = b"\x01\x03\x02\x00\x00\x30\x44\x66"


class Parrot:
    """Answers one request with one reply, and keeps what it heard."""

    turn_round_s = TURN_ROUND_S

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def receive(self, burst: bytes) -> bytes:
        self.heard.append(burst)
        return REPLY if burst == REQUEST else b""

    def advance(self, now: datetime) -> None:
        raise AssertionError("a wire does not move time")


class Master:
    """Notes when bytes come in."""

    def __init__(self) -> None:
        self.came: list[tuple[float, bytes]] = []

    def take(self, data: bytes) -> None:
        self.came.append((asyncio.get_running_loop().time(), data))

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.came]

    @property
    def heard(self) -> bytes:
        return b"".join(data for _, data in self.came)


def play(
    script: list[tuple[float, bytes]],
    pace: Pace | None = None,
    shares: dict[Fault, float] | None = None,
    until: float = 10.0,
) -> tuple[Master, TwinBus, Parrot]:
    """Put bytes on a wire at given times and return what was seen."""
    master, twin = Master(), Parrot()
    bus = TwinBus({"1": twin}, Faults(FaultRates(shares or {}, late_s=1.0)))

    async def main() -> None:
        wire, loop = Wire(bus, pace), asyncio.get_running_loop()
        for at, data in script:
            loop.call_at(at, wire.hear, data, master.take)
        await asyncio.sleep(until)
        wire.close()

    run_in_virtual_time(main())
    return master, bus, twin


PACE = Pace.at(9600)


@pytest.mark.parametrize(
    ("baud", "parity", "character_s", "gap_s"),
    [
        (9600, "N", 0.0010417, 0.0036458),
        (9600, "E", 0.0011458, 0.0040104),
        (19200, "N", 0.00052083, 0.0018229),
        (38400, "N", 0.00026042, 0.00175),
        (1200, "E", 0.0091667, 0.0320833),
    ],
)
def test_pace_of_a_line(baud: int, parity: str, character_s: float, gap_s: float) -> None:
    pace = Pace.at(baud, parity)

    assert pace.character_s == pytest.approx(character_s, rel=1e-4)
    assert pace.gap_s == pytest.approx(gap_s, rel=1e-4)


def test_unpaced_reply_comes_after_the_turn_round() -> None:
    master, bus, _ = play([(1.0, REQUEST)])

    assert master.times == pytest.approx([1.0 + TURN_ROUND_S])
    assert master.heard == REPLY
    assert bus.counters.wire_busy_s == 0


@pytest.mark.parametrize("cut", range(1, len(REQUEST)))
def test_unpaced_request_may_come_in_two_pieces(cut: int) -> None:
    master, _, _ = play([(1.0, REQUEST[:cut]), (1.005, REQUEST[cut:])])

    assert master.heard == REPLY


def test_unpaced_wire_forgets_half_a_request() -> None:
    master, _, twin = play([(1.0, REQUEST[:4]), (1.1, REQUEST[4:])])

    assert master.heard == b""
    assert REQUEST not in twin.heard


def test_unpaced_request_right_behind_an_unanswered_one_is_heard() -> None:
    master, _, _ = play([(1.0, b"\x09" + REQUEST), (1.001, REQUEST)])

    assert master.heard == REPLY


def test_paced_reply_leaves_at_wire_speed() -> None:
    master, _, _ = play([(1.0, REQUEST)], PACE)

    begins = 1.0 + 8 * CHARACTER_S + TURN_ROUND_S
    assert [data for _, data in master.came] == [REPLY[:16], REPLY[16:32], REPLY[32:]]
    assert master.times == pytest.approx([begins + many * CHARACTER_S for many in (16, 32, 40)])


def test_reply_never_begins_within_the_silence_that_ends_the_request() -> None:
    slow = Pace.at(1200)
    master, _, _ = play([(1.0, REQUEST)], slow)

    assert slow.gap_s > TURN_ROUND_S
    assert master.came[0][0] == pytest.approx(1.0 + (8 + 3.5 + 16) * slow.character_s)


def test_paced_wire_is_busy_for_characters_silences_and_turn_round() -> None:
    _, bus, _ = play([(1.0, REQUEST), (2.0, b"\x09" * 8)], PACE)

    answered = 8 * CHARACTER_S + TURN_ROUND_S + 40 * CHARACTER_S + 3.5 * CHARACTER_S
    assert bus.counters.wire_busy_s == pytest.approx(answered + 8 * CHARACTER_S)
    assert (bus.counters.exchanges, bus.counters.unanswered) == (1, 1)


def test_bytes_that_follow_without_silence_are_one_burst() -> None:
    script = [(1.0 + at * CHARACTER_S, REQUEST[at : at + 1]) for at in range(8)]
    master, _, twin = play(script, PACE)

    assert twin.heard == [REQUEST]
    assert master.came[0][0] == pytest.approx(1.0 + (8 + 16) * CHARACTER_S + TURN_ROUND_S)


def test_silence_splits_bursts() -> None:
    _, _, twin = play([(1.0, REQUEST[:4]), (1.0 + 8 * CHARACTER_S, REQUEST[4:])], PACE)

    assert twin.heard == [REQUEST[:4], REQUEST[4:]]


END_OF_REPLY = 1.0 + 48 * CHARACTER_S + TURN_ROUND_S


@pytest.mark.parametrize(
    ("second_at", "violations"),
    [
        pytest.param(1.015, 1, id="before the reply begins"),
        pytest.param(END_OF_REPLY - 0.010, 1, id="into the reply"),
        pytest.param(END_OF_REPLY + 0.003, 1, id="3 ms after the reply"),
        pytest.param(END_OF_REPLY + 0.0037, 0, id="3.7 ms after the reply"),
    ],
)
def test_gap_violations_are_counted(second_at: float, violations: int) -> None:
    _, bus, _ = play([(1.0, REQUEST), (second_at, REQUEST)], PACE)

    assert bus.counters.gap_violations == violations
    assert bus.counters.exchanges == 2


def test_a_reply_that_comes_late_is_not_the_masters_fault() -> None:
    script = [(1.0, REQUEST), (1.5, b"\x09" * 8)]
    master, bus, _ = play(script, PACE, {Fault.LATE: 1.0})

    assert bus.counters.gap_violations == 0
    assert master.came[0][0] == pytest.approx(2.0 + 24 * CHARACTER_S + TURN_ROUND_S)


def test_doubled_reply_takes_the_wire_twice() -> None:
    master, bus, _ = play([(1.0, REQUEST)], PACE, {Fault.DOUBLED: 1.0})

    assert master.heard == REPLY + REPLY
    assert master.came[-1][0] == pytest.approx(1.0 + 88 * CHARACTER_S + TURN_ROUND_S)
    assert bus.counters.wire_busy_s == pytest.approx(91.5 * CHARACTER_S + TURN_ROUND_S)


def test_instants_do_not_drift() -> None:
    spacing = 0.2
    master, bus, _ = play([(1.0 + at * spacing, REQUEST) for at in range(1000)], PACE, until=202.0)

    last = [at for at, data in master.came if data == REPLY[32:]]
    due = 48 * CHARACTER_S + TURN_ROUND_S
    assert last == pytest.approx([1.0 + at * spacing + due for at in range(1000)], abs=1e-6)
    assert bus.counters.gap_violations == 0


def test_closed_wire_says_nothing_more() -> None:
    master, _, _ = play([(1.0, REQUEST)], PACE, until=1.03)

    assert master.came == []
