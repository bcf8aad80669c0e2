"""The wire in front of a bus of twins: puts bytes into bursts, and lets replies take their time.

An *unpaced* wire answers as soon as a burst makes sense to a device. A *paced* wire behaves as a
serial line at a given speed does: a request that a pseudo-terminal or a socket hands over at once
is complete only when its characters would have passed and 3.5 characters of silence have followed;
the reply begins after the device's turn-round and leaves in pieces of a UART's buffer, each when
its last character has passed. All instants are reckoned from the first byte of the request, so
that lateness of one piece does not add up.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from meterplex.simulator.bus import Answer, TwinBus

Send = Callable[[bytes], None]
"""Hands bytes to whoever asked."""

_PARTIAL_BURST_S = 0.02
"""How long an unpaced wire waits for the rest of a burst before it forgets the beginning."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Speed of a serial line.

    Attributes:
        character_s: time of one character: 10 bits without parity, 11 with.
        gap_s: silence that ends a frame: 3.5 characters, but 1.75 ms above 19200 baud (Modbus over
            Serial Line V1.02 clause 2.5.1.1).
        fifo_bytes: how many characters a UART gathers before it hands them over.
    """

    baud: int
    parity: str
    character_s: float
    gap_s: float
    fifo_bytes: int = 16

    @classmethod
    def at(cls, baud: int, parity: str = "N", fifo_bytes: int = 16) -> Self:
        """Return the pace of a line with one stop bit."""
        character_s = (10 if parity == "N" else 11) / baud
        gap_s = 3.5 * character_s if baud <= 19200 else 0.00175
        return cls(baud, parity, character_s, gap_s, fifo_bytes)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes that leave at an instant of the loop's clock."""

    due: float
    data: bytes
    send: Send
    ends_reply: bool
    late: bool


class Wire:
    """One half-duplex line with twins at its end, on the running event loop."""

    def __init__(self, bus: TwinBus, pace: Pace | None = None) -> None:
        self.bus = bus
        self.pace = pace
        self._loop = asyncio.get_running_loop()
        self._heard = bytearray()
        self._send: Send | None = None
        self._passed_at = 0.0
        self._quiet_from = 0.0
        self._silence: asyncio.TimerHandle | None = None
        self._leaving: deque[_Piece] = deque()
        self._departure: asyncio.TimerHandle | None = None

    def hear(self, data: bytes, send: Send) -> None:
        """Take bytes of a master; what answers them goes to ``send``."""
        if not data:
            return
        if self._silence is not None:
            self._silence.cancel()
        if self.pace is None:
            self._hear_at_once(data, send)
        else:
            self._hear_paced(self.pace, data, send)

    def close(self) -> None:
        """Forget everything that is on its way."""
        for timer in (self._silence, self._departure):
            if timer is not None:
                timer.cancel()
        self._heard.clear()
        self._leaving.clear()

    def _hear_at_once(self, data: bytes, send: Send) -> None:
        answer = self.bus.ask(data)
        self._heard += data
        if answer is None and len(self._heard) > len(data):
            answer = self.bus.ask(bytes(self._heard))
        if answer is None:
            self._silence = self._loop.call_later(_PARTIAL_BURST_S, self._heard.clear)
            return
        self._heard.clear()
        due = self._loop.time() + answer.turn_round_s
        for part in answer.parts:
            self._schedule(_Piece(due + part.late_s, part.data, send, False, part.late_s > 0))
        self._depart()

    def _hear_paced(self, pace: Pace, data: bytes, send: Send) -> None:
        now = self._loop.time()
        if not self._heard:
            self._check_gap(now)
            self._passed_at = now
            self._send = send
        self._heard += data
        self._passed_at = max(self._passed_at, now) + len(data) * pace.character_s
        self._silence = self._loop.call_at(self._passed_at + pace.gap_s, self._burst_ended, pace)

    def _check_gap(self, now: float) -> None:
        """A master cannot know of a reply that comes late; all others it has to wait for."""
        talked_over = any(not piece.late for piece in self._leaving)
        if talked_over or now < self._quiet_from:
            self.bus.counters.gap_violations += 1

    def _burst_ended(self, pace: Pace) -> None:
        burst, send = bytes(self._heard), self._send
        self._heard.clear()
        answer = self.bus.ask(burst)
        self.bus.counters.wire_busy_s += len(burst) * pace.character_s
        if answer is not None and send is not None:
            self._reply(pace, answer, send)

    def _reply(self, pace: Pace, answer: Answer, send: Send) -> None:
        silence_s = max(answer.turn_round_s, pace.gap_s)
        at = self._passed_at + silence_s
        characters = 0
        for part in answer.parts:
            late = part.late_s > 0
            data, at = part.data, at + part.late_s
            characters += len(data)
            for begin in range(0, len(data), pace.fifo_bytes):
                piece = data[begin : begin + pace.fifo_bytes]
                at += len(piece) * pace.character_s
                ends_reply = begin + len(piece) == len(data)
                self._schedule(_Piece(at, piece, send, ends_reply, late))
        self.bus.counters.wire_busy_s += silence_s + characters * pace.character_s + pace.gap_s
        self._depart()

    def _schedule(self, piece: _Piece) -> None:
        """Keep the pieces in order of departure; nearly always the new one is the last."""
        at = len(self._leaving)
        while at and self._leaving[at - 1].due > piece.due:
            at -= 1
        self._leaving.insert(at, piece)

    def _depart(self) -> None:
        """Send every piece that is due, and come back for the next."""
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None
        while self._leaving:
            now = self._loop.time()
            piece = self._leaving[0]
            if piece.due > now:
                self._departure = self._loop.call_at(piece.due, self._depart)
                return
            self._leaving.popleft()
            counters = self.bus.counters
            counters.lateness_s_max = max(counters.lateness_s_max, now - piece.due)
            if piece.ends_reply and self.pace is not None:
                self._quiet_from = now + self.pace.gap_s
            piece.send(piece.data)
