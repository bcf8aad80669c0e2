"""The line on simulated time: turns, silence, fit, late replies, loss."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from meterplex.headend.line import DRAIN_GAPS, Line
from meterplex.headend.line_link import LineLink
from meterplex.headend.turns import Order, WorkClass
from meterplex.sdk import (
    ChannelSettings,
    ChannelType,
    ChannelUrl,
    ExpiredError,
    Framing,
    LineTiming,
    LinkTimeoutError,
    LinkUnavailableError,
    Receiver,
    Span,
)
from meterplex.simulator.virtual_time import run_in_virtual_time

CHARACTER_S = 0.001
LATE_S = 1.0
GAP_S = 3.5 * CHARACTER_S
RESPONSE_S = 0.1
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Word:
    """A reply is the word itself."""

    word: bytes

    @property
    def key(self) -> bytes:
        return self.word

    @property
    def reply_length_max(self) -> int:
        return len(self.word)

    def find(self, buffer: bytes) -> Span | None:
        at = buffer.find(self.word)
        return None if at < 0 else Span(at, at + len(self.word))

    def explain(self, buffer: bytes) -> str:
        return f"wanted {self.word!r}, saw {buffer!r}"


@dataclass
class Wire:
    """A transport whose far end is a function of the request to (delay, bytes) replies."""

    answer: Callable[[bytes], list[tuple[float, bytes]]]
    sent: list[tuple[float, bytes]] = field(default_factory=list)
    receiver: Receiver | None = None
    refused: str = ""
    opened: int = 0

    def write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.sent.append((loop.time(), data))
        receiver = self.receiver
        for delay_s, reply in self.answer(data):
            loop.call_later(delay_s, self._deliver, receiver, reply)

    def _deliver(self, receiver: Receiver | None, reply: bytes) -> None:
        if receiver is self.receiver and receiver is not None:
            receiver.bytes_received(reply)

    def close(self) -> None:
        self.receiver = None

    async def open(self, _: ChannelSettings, receiver: Receiver) -> "Wire":
        self.opened += 1
        if self.refused:
            raise LinkUnavailableError(self.refused)
        self.receiver = receiver
        return self


def line_over(wire: Wire, *, echo: bool = False) -> Line:
    timing = LineTiming(character_s=CHARACTER_S, late_s=LATE_S)
    url = ChannelUrl.parse("test://wire")
    settings = ChannelSettings(url, Framing.RAW, timing, shared_bus=True, echo=echo)
    channel_type = ChannelType("test", "a wire", lambda _: settings, wire.open)
    return Line(channel_type, settings)


def link_on(line: Line, work_class: WorkClass = WorkClass.SCHEDULED, **more: Any) -> LineLink:
    return LineLink(line, Order(work_class), RESPONSE_S, 3.5, **more)


def upper(request: bytes) -> list[tuple[float, bytes]]:
    return [(0.01, request.upper())]


def silent(_: bytes) -> list[tuple[float, bytes]]:
    return []


def test_a_reply_is_cut_out_of_garbage() -> None:
    wire = Wire(lambda _: [(0.01, b"?!"), (0.02, b"\x00ONE\x00TWO")])
    line = line_over(wire)

    async def run() -> bytes:
        return await link_on(line).exchange(b"one", Word(b"ONE"))

    assert run_in_virtual_time(run()) == b"ONE"
    assert line.counters.stray_bytes == 7


def test_the_next_request_waits_for_the_gap() -> None:
    wire = Wire(upper)
    line = line_over(wire)

    async def run() -> None:
        await link_on(line).exchange(b"one", Word(b"ONE"))
        await link_on(line).exchange(b"two", Word(b"TWO"))

    run_in_virtual_time(run())
    assert wire.sent[1][0] == pytest.approx(0.01 + GAP_S)


def test_bytes_during_the_silence_start_it_anew() -> None:
    wire = Wire(
        lambda request: (
            [(0.01, b"ONE"), (0.012, b"x"), (0.014, b"x")]
            if request == b"one"
            else [(0.01, b"TWO")]
        )
    )
    line = line_over(wire)

    async def run() -> None:
        await link_on(line).exchange(b"one", Word(b"ONE"))
        await link_on(line).exchange(b"two", Word(b"TWO"))

    run_in_virtual_time(run())
    assert wire.sent[1][0] == pytest.approx(0.014 + GAP_S)


def test_the_time_out_follows_from_line_lengths_and_device() -> None:
    line = line_over(Wire(silent))

    async def run() -> float:
        with pytest.raises(LinkTimeoutError, match=r"wanted b'ONE', saw b''"):
            await link_on(line).exchange(b"request", Word(b"ONE"))
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(run()) == pytest.approx(10 * CHARACTER_S + RESPONSE_S)


def test_the_line_drains_after_a_time_out() -> None:
    wire = Wire(silent)
    line = line_over(wire)

    async def run() -> None:
        for word in (b"one", b"two"):
            with pytest.raises(LinkTimeoutError):
                await link_on(line).exchange(word, Word(word))

    run_in_virtual_time(run())
    timed_out_at = 6 * CHARACTER_S + RESPONSE_S
    assert wire.sent[1][0] == pytest.approx(timed_out_at + DRAIN_GAPS * GAP_S)


@pytest.mark.parametrize("second_reply_after_s", [0.12, 0.5, 1.1])
def test_a_late_or_doubled_reply_is_never_taken_by_the_next_like_request(
    second_reply_after_s: float,
) -> None:
    values = iter([b"R1", b"R2"])

    @dataclass(frozen=True)
    class Reading:
        key = b"R"
        reply_length_max = 2

        def find(self, buffer: bytes) -> Span | None:
            at = buffer.find(b"R")
            return Span(at, at + 2) if 0 <= at <= len(buffer) - 2 else None

        def explain(self, _: bytes) -> str:
            return "nothing"

    def answer(_: bytes) -> list[tuple[float, bytes]]:
        value = next(values)
        return [(0.01, value)] if value == b"R2" else [(second_reply_after_s, value)]

    line = line_over(Wire(answer))

    async def run() -> bytes:
        with pytest.raises(LinkTimeoutError):
            await link_on(line).exchange(b"read", Reading())
        return await link_on(line).exchange(b"read", Reading())

    assert run_in_virtual_time(run()) == b"R2"


def test_other_keys_go_on_while_one_rests() -> None:
    wire = Wire(upper)
    line = line_over(wire)

    async def run() -> None:
        await link_on(line).exchange(b"one", Word(b"ONE"))
        again = asyncio.create_task(link_on(line).exchange(b"one", Word(b"ONE")))
        await asyncio.sleep(0)
        await link_on(line).exchange(b"two", Word(b"TWO"))
        await again

    run_in_virtual_time(run())
    assert [request for _, request in wire.sent] == [b"one", b"two", b"one"]
    assert wire.sent[2][0] >= 0.01 + LATE_S


def test_a_command_goes_before_every_waiting_read() -> None:
    wire = Wire(upper)
    line = line_over(wire)

    async def exchange(word: bytes, work_class: WorkClass) -> None:
        await link_on(line, work_class).exchange(word, Word(word.upper()))

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for word in (b"a", b"b", b"c"):
                group.create_task(exchange(word, WorkClass.SCHEDULED))
            await asyncio.sleep(0.005)
            group.create_task(exchange(b"trip", WorkClass.SUPPLY))

    run_in_virtual_time(run())
    assert [request for _, request in wire.sent] == [b"a", b"trip", b"b", b"c"]


def test_giving_supply_goes_before_taking_it_and_older_before_younger() -> None:
    orders = [
        Order(WorkClass.SCHEDULED, False, 0.0),
        Order(WorkClass.SUPPLY, True, 1.0),
        Order(WorkClass.SUPPLY, False, 9.0),
        Order(WorkClass.SUPPLY, False, 8.0),
        Order(WorkClass.CREDIT, False, 0.0),
    ]
    assert [orders.index(order) for order in sorted(orders)] == [3, 2, 1, 4, 0]


def test_a_reservation_keeps_the_line_for_its_command() -> None:
    wire = Wire(upper)
    line = line_over(wire)

    async def run() -> None:
        first = asyncio.create_task(link_on(line).exchange(b"a", Word(b"A")))
        await asyncio.sleep(0.001)
        second = asyncio.create_task(link_on(line).exchange(b"b", Word(b"B")))
        reservation = line.reserve(Order(WorkClass.SUPPLY))
        await first
        await asyncio.sleep(0.02)  # the command's row is being fetched
        command = link_on(line, WorkClass.SUPPLY, reservation=reservation)
        await command.exchange(b"trip", Word(b"TRIP"))
        await second

    run_in_virtual_time(run())
    assert [request for _, request in wire.sent] == [b"a", b"trip", b"b"]


def test_the_next_command_is_prepared_while_the_exchange_in_flight_ends() -> None:
    wire = Wire(upper)
    line = line_over(wire)
    prepared_at: list[float] = []

    async def prepare() -> None:
        await asyncio.sleep(0.005)  # a commit
        prepared_at.append(asyncio.get_running_loop().time())

    async def run() -> None:
        first = asyncio.create_task(link_on(line).exchange(b"a", Word(b"A")))
        await asyncio.sleep(0.001)
        reservation = line.reserve(Order(WorkClass.SUPPLY))
        command = link_on(line, WorkClass.SUPPLY, reservation=reservation, before_control=prepare)
        await command.exchange(b"trip", Word(b"TRIP"), control=True)
        await first

    run_in_virtual_time(run())
    assert prepared_at == [pytest.approx(0.006)]
    assert wire.sent == [(0.0, b"a"), (pytest.approx(0.01 + GAP_S), b"trip")]


@pytest.mark.parametrize("fails_after_s", [0.005, 0.05], ids=["before_its_turn", "in_its_turn"])
def test_a_command_that_cannot_be_prepared_gives_the_line_back(fails_after_s: float) -> None:
    wire = Wire(upper)
    line = line_over(wire)

    async def fail() -> None:
        await asyncio.sleep(fails_after_s)
        raise ExpiredError("overruled")

    async def run() -> bytes:
        first = asyncio.create_task(link_on(line).exchange(b"a", Word(b"A")))
        await asyncio.sleep(0.001)
        reservation = line.reserve(Order(WorkClass.SUPPLY))
        command = link_on(line, WorkClass.SUPPLY, reservation=reservation, before_control=fail)
        with pytest.raises(ExpiredError, match="overruled"):
            await command.exchange(b"trip", Word(b"TRIP"), control=True)
        await first
        return await link_on(line).exchange(b"b", Word(b"B"))

    assert run_in_virtual_time(run()) == b"B"
    assert [request for _, request in wire.sent] == [b"a", b"b"]


def test_cancelling_a_command_that_is_being_prepared_gives_the_line_back() -> None:
    line = line_over(Wire(upper))
    ended: list[str] = []

    async def prepare() -> None:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def run() -> bytes:
        first = asyncio.create_task(link_on(line).exchange(b"a", Word(b"A")))
        await asyncio.sleep(0.001)
        reservation = line.reserve(Order(WorkClass.SUPPLY))
        command = link_on(line, WorkClass.SUPPLY, reservation=reservation, before_control=prepare)
        trip = asyncio.create_task(command.exchange(b"trip", Word(b"TRIP"), control=True))
        await asyncio.sleep(0.001)
        trip.cancel()
        await asyncio.gather(trip, return_exceptions=True)
        await first
        return await link_on(line).exchange(b"b", Word(b"B"))

    assert run_in_virtual_time(run()) == b"B"
    assert ended == ["cancelled"]


def test_a_cancelled_reservation_gives_the_line_back() -> None:
    line = line_over(Wire(upper))

    async def run() -> bytes:
        reservation = line.reserve(Order(WorkClass.SUPPLY))
        waiting = asyncio.create_task(link_on(line).exchange(b"a", Word(b"A")))
        await asyncio.sleep(1)
        assert not waiting.done()
        reservation.cancel()
        reservation.cancel()
        return await waiting

    assert run_in_virtual_time(run()) == b"A"


@pytest.mark.parametrize("cancel_at_s", [0.0, 0.005, 0.012], ids=["queued", "queued", "granted"])
def test_cancelling_a_waiter_loses_no_turn(cancel_at_s: float) -> None:
    line = line_over(Wire(upper))

    async def run() -> bytes:
        first = asyncio.create_task(link_on(line).exchange(b"a", Word(b"A")))
        await asyncio.sleep(0)
        second = asyncio.create_task(link_on(line).exchange(b"b", Word(b"B")))
        third = asyncio.create_task(link_on(line).exchange(b"c", Word(b"C")))
        await asyncio.sleep(cancel_at_s)
        second.cancel()
        await first
        return await third

    assert run_in_virtual_time(run()) == b"C"


def test_a_cancelled_exchange_rests_its_key_and_frees_the_line() -> None:
    wire = Wire(upper)
    line = line_over(wire)

    async def run() -> None:
        first = asyncio.create_task(link_on(line).exchange(b"a", Word(b"A")))
        await asyncio.sleep(0.001)
        first.cancel()
        await asyncio.sleep(0)
        await link_on(line).exchange(b"a", Word(b"A"))

    run_in_virtual_time(run())
    assert wire.sent[1][0] >= LATE_S


def test_a_control_request_is_not_sent_after_its_time() -> None:
    wire = Wire(upper)
    line = line_over(wire)
    start = datetime(2026, 11, 20, tzinfo=UTC)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        line.wall = lambda: start + timedelta(seconds=loop.time())
        blocker = asyncio.create_task(link_on(line).exchange(b"slow", Word(b"NEVER")))
        await asyncio.sleep(0)
        command = link_on(line, WorkClass.SUPPLY, not_after=start + timedelta(seconds=0.05))
        with pytest.raises(ExpiredError, match="not sent"):
            await command.exchange(b"trip", Word(b"TRIP"), control=True)
        # A read-back is no control request and may still go.
        await command.exchange(b"look", Word(b"LOOK"))
        await asyncio.gather(blocker, return_exceptions=True)

    run_in_virtual_time(run())
    assert [request for _, request in wire.sent] == [b"slow", b"look"]


def test_the_row_is_marked_before_the_first_control_byte_and_only_once() -> None:
    wire = Wire(upper)
    line = line_over(wire)
    marked: list[int] = []

    async def mark() -> None:
        marked.append(len(wire.sent))
        await asyncio.sleep(0.02)

    async def run() -> None:
        link = link_on(line, WorkClass.SUPPLY, before_control=mark)
        await link.exchange(b"base", Word(b"BASE"))
        await link.exchange(b"trip", Word(b"TRIP"), control=True)
        await link.exchange(b"more", Word(b"MORE"), control=True)

    run_in_virtual_time(run())
    assert marked == [1]


def test_what_cannot_be_marked_is_not_sent() -> None:
    wire = Wire(upper)
    line = line_over(wire)

    async def refuse() -> None:
        raise ExpiredError("the row says no")

    async def run() -> bytes:
        link = link_on(line, WorkClass.SUPPLY, before_control=refuse)
        with pytest.raises(ExpiredError):
            await link.exchange(b"trip", Word(b"TRIP"), control=True)
        return await link_on(line).exchange(b"a", Word(b"A"))

    assert run_in_virtual_time(run()) == b"A"
    assert len(wire.sent) == 1


def test_a_path_that_cannot_be_opened_fails_at_once_until_it_is_tried_again() -> None:
    wire = Wire(upper, refused="no such port")
    line = line_over(wire)

    async def run() -> list[float]:
        loop = asyncio.get_running_loop()
        tries: list[float] = []
        while len(tries) < 5:
            before = wire.opened
            with pytest.raises(LinkUnavailableError, match="no such port"):
                await link_on(line).exchange(b"a", Word(b"A"))
            if wire.opened > before:
                tries.append(loop.time())
            await asyncio.sleep(0.5)
        return tries

    assert run_in_virtual_time(run()) == pytest.approx([0, 1, 3, 7, 15])
    assert line.fault == "no such port"
    assert not line.is_open


def test_a_path_lost_after_sending_is_a_time_out_and_is_opened_again() -> None:
    wire = Wire(silent)
    line = line_over(wire)

    async def run() -> bytes:
        asyncio.get_running_loop().call_later(0.01, line.connection_lost, "cable pulled")
        with pytest.raises(LinkTimeoutError, match="sent, then the path was lost: cable pulled"):
            await link_on(line).exchange(b"a", Word(b"A"))
        wire.answer = upper
        return await link_on(line).exchange(b"b", Word(b"B"))

    assert run_in_virtual_time(run()) == b"B"
    assert wire.opened == 2


def test_a_path_without_a_byte_for_three_time_outs_is_opened_anew() -> None:
    wire = Wire(silent)
    line = line_over(wire)

    async def run() -> None:
        for word in (b"a", b"b", b"c", b"d"):
            with pytest.raises(LinkTimeoutError):
                await link_on(line).exchange(word, Word(word))

    run_in_virtual_time(run())
    assert wire.opened == 2


def test_an_echo_is_taken_off_once() -> None:
    wire = Wire(lambda request: [(0.001, request), (0.01, request)])
    line = line_over(wire, echo=True)

    async def run() -> float:
        await link_on(line).exchange(b"same", Word(b"same"))
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(run()) == pytest.approx(0.01)


def test_a_babbling_line_ends_in_a_time_out_with_bounded_memory() -> None:
    wire = Wire(lambda _: [(0.001 * n, b"x" * 1000) for n in range(90)])
    line = line_over(wire)

    async def run() -> None:
        with pytest.raises(LinkTimeoutError):
            await link_on(line).exchange(b"a", Word(b"A"))

    run_in_virtual_time(run())
    assert line.counters.stray_bytes > 80_000


def test_a_revoked_link_sends_nothing() -> None:
    wire = Wire(upper)
    link = link_on(line_over(wire), revoked=True)
    coroutine: Coroutine[Any, Any, bytes] = link.exchange(b"a", Word(b"A"))

    async def run() -> None:
        with pytest.raises(LinkUnavailableError):
            await coroutine

    run_in_virtual_time(run())
    assert wire.sent == []


def test_line_tells_when_its_last_session_was_closed() -> None:
    wire = Wire(upper)
    line = line_over(wire)
    now = [NOON]
    line.wall = lambda: now[0]

    async def run() -> None:
        assert (line.closed_at, line.is_open) == (None, False)
        await link_on(line).exchange(b"one", Word(b"ONE"))
        now[0] += timedelta(minutes=1)
        assert line.closed_at == NOON
        line.connection_lost("cut")
        assert line.closed_at == now[0]
        await link_on(line).exchange(b"two", Word(b"TWO"))
        now[0] += timedelta(minutes=1)
        await line.renew(Order(WorkClass.CREDIT))
        assert (line.closed_at, line.is_open) == (now[0], False)
        await link_on(line).exchange(b"one", Word(b"ONE"))

    run_in_virtual_time(run())
    assert wire.opened == 3


def test_renewing_waits_for_the_exchange_in_flight() -> None:
    wire = Wire(upper)
    line = line_over(wire)

    async def run() -> bytes:
        exchange = asyncio.create_task(link_on(line).exchange(b"one", Word(b"ONE")))
        await asyncio.sleep(0.001)
        await line.renew(Order(WorkClass.CREDIT))
        return await exchange

    assert run_in_virtual_time(run()) == b"ONE"


def test_renewing_a_line_that_was_never_open_opens_nothing() -> None:
    wire = Wire(upper)
    line = line_over(wire)
    run_in_virtual_time(line.renew(Order(WorkClass.CREDIT)))
    assert (wire.opened, line.fault) == (0, "")


def test_places_between_the_bytes_are_told_for_control_only() -> None:
    met: list[str] = []
    wire = Wire(lambda data: [(0.01, b"ONE")] if data in {b"one", b"ne"} else [])
    line = line_over(wire)
    written = wire.write

    def write(data: bytes) -> None:
        met.append(data.decode())
        written(data)

    vars(wire)["write"] = write
    link = link_on(line, crash=lambda point, moment: met.append(f"{moment} {point}"))

    async def run() -> None:
        await link.exchange(b"one", Word(b"ONE"))
        await link.exchange(b"one", Word(b"ONE"), control=True)

    run_in_virtual_time(run())
    assert met == [
        "one",
        "before first_byte",
        "o",
        "after first_byte",
        "before last_byte",
        "ne",
        "after last_byte",
        "before answer_read",
    ]
