"""One half-duplex path and its one talker.

Everything that keeps replies apart lives here, because Modbus RTU replies do not name their
request:

- *Turn.* At most one exchange at a time (``turns``). A command therefore starts after at most the
  exchange in flight, even in the middle of another driver's series of exchanges.
- *Silence.* A request leaves only after the line was silent for the gap; bytes that come in while
  we wait start the silence anew.
- *Drain.* After a time-out the line stays quiet for :data:`DRAIN_GAPS` gaps before anybody talks.
- *Fit.* Only what the request's delimiter accepts is a reply. Anything else is counted as stray.
- *Late replies.* After each exchange its key (who replies, to which shape of request) rests for
  ``late_s``: a reply that is late, or comes twice, then finds nobody who could take it for its own.
  Requests of other keys go on meanwhile. Requests that carry a transaction id have no key.
- *Half-open paths.* After :data:`SILENT_EXCHANGES_MAX` time-outs in a row without one byte the
  path is closed and opened anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from meterplex.headend.silence import Silences, silences_of
from meterplex.headend.turns import Order, Reservation, Turns, WorkClass
from meterplex.protocols.modbus.timing import silent_gap_s
from meterplex.sdk import (
    ChannelSettings,
    ChannelType,
    Delimiter,
    ExpiredError,
    LinkTimeoutError,
    LinkUnavailableError,
    Transport,
)
from meterplex.services.orders.crash_points import CrashHook, CrashPoint, Moment

SILENT_EXCHANGES_MAX: Final = 3
REOPEN_FIRST_S: Final = 1.0
REOPEN_MAX_S: Final = 30.0
OPEN_TIMEOUT_S: Final = 5.0
DRAIN_GAPS: Final = 10
CLOCK_GRAIN_S: Final = 1e-6
"""How much too early a timer of the event loop may come."""
BUFFER_MAX: Final = 4096
"""Bytes kept of a babbling line; the longest reply of any protocol here is far below."""


@dataclass(slots=True)
class LineCounters:
    """What a line has seen since it was made; for metrics and benches."""

    exchanges: int = 0
    replies: int = 0
    timeouts: int = 0
    stray_bytes: int = 0
    opened: int = 0


Trace = Callable[[str, bytes], None]
"""Told each burst: ``"tx"`` or ``"rx"`` and the bytes."""


@dataclass(slots=True)
class Line:
    """One channel's path, opened when it is first needed and again after it was lost.

    Attributes:
        wall: current time in UTC, compared with ``not_after``.
        trace: told each burst, when set.
        closed_at: of the last session, by ``wall``. The first one counts as the close of those
            that an earlier program had; None before it.
    """

    channel_type: ChannelType
    settings: ChannelSettings
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    trace: Trace | None = None
    counters: LineCounters = field(default_factory=LineCounters)
    fault: str = ""
    """Why the path is down now; empty while it is up or was not needed yet."""
    closed_at: datetime | None = None
    _transport: Transport | None = None
    _reopen_at: float = 0.0
    _reopen_s: float = REOPEN_FIRST_S
    _turns: Turns = field(default_factory=Turns)
    _buffer: bytearray = field(default_factory=bytearray)
    _quiet_at: float = 0.0
    _resting: dict[Hashable, float] = field(default_factory=dict)
    _silent_exchanges: int = 0
    _reply: "asyncio.Future[bytes] | None" = None
    _delimiter: Delimiter | None = None
    _request: bytes = b""
    _gap_characters: float = -1.0
    _gap_s: float = 0.0
    _silences: Silences | None = None
    _timer: asyncio.TimerHandle | None = None
    _expires_at: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the path is open now."""
        return self._transport is not None

    async def exchange(
        self,
        request: bytes,
        delimiter: Delimiter,
        order: Order,
        *,
        response_time_s: float,
        gap_characters: float,
        not_after: datetime | None = None,
        before_send: Callable[[], Awaitable[None]] | None = None,
        on_send: Callable[[], None] | None = None,
        reservation: Reservation | None = None,
        crash: CrashHook | None = None,
    ) -> bytes:
        """Send a request when its turn comes and return the fitting reply.

        Args:
            response_time_s: longest silence of the device before its reply.
            gap_characters: silence the device needs between frames.
            not_after: the request is not sent later than this.
            before_send: awaited before the first byte, with the turn held or, when the reservation
                is the next turn, while the exchange in flight ends; what it raises cancels the
                request, which then was not sent.
            on_send: called when the first byte is about to leave.
            reservation: a turn reserved earlier, used instead of a new one.
            crash: told the places between the bytes; with it the request leaves in two writes.

        Raises:
            LinkUnavailableError, ExpiredError: not sent.
            LinkTimeoutError: sent, no fitting reply.
        """
        key = delimiter.key
        preparation: Awaitable[None] | None = None
        if (
            before_send is not None
            and reservation is not None
            and reservation.is_next
            and self._resting_s(key) <= 0
        ):
            preparation = await self._take_turn_prepared(reservation, before_send)
        else:
            if self._turns.wanted or reservation is not None or self._resting_s(key) > 0:
                await self._take_turn(key, order, reservation)
            else:
                self._turns.taken = True
            if before_send is not None:
                preparation = before_send()
        try:
            if preparation is not None:
                await preparation
            transport = self._transport or await self._open()
            await self._silence(gap_characters)
            if not_after is not None and self.wall() > not_after:
                raise ExpiredError(f"not sent: {not_after.isoformat()} has passed")
            if self._transport is not transport:
                raise LinkUnavailableError(self.fault or "the channel was lost")
            if on_send is not None:
                on_send()
            return await self._converse(transport, request, delimiter, key, response_time_s, crash)
        finally:
            self._turns.release()

    async def _converse(
        self,
        transport: Transport,
        request: bytes,
        delimiter: Delimiter,
        key: Hashable,
        response_time_s: float,
        crash: CrashHook | None,
    ) -> bytes:
        loop = asyncio.get_running_loop()
        timing = self.settings.timing
        timeout_s = (
            (len(request) + delimiter.reply_length_max) * timing.character_s
            + response_time_s
            + timing.latency_s
        )
        if self._buffer:
            self._stray(self._buffer)
        self._request, self._delimiter = request, delimiter
        self._reply = loop.create_future()
        self._expires_at = loop.time() + timeout_s
        if self._timer is None or self._timer.when() > self._expires_at:
            self._arm(loop)
        self.counters.exchanges += 1
        try:
            if self.trace is not None:
                self.trace("tx", request)
            if crash is None:
                transport.write(request)
                reply = await self._reply
            else:
                _write_in_two(transport, request, crash)
                reply = await self._reply
                crash(CrashPoint.ANSWER_READ, Moment.BEFORE)
        except BaseException:
            # Also when we are cancelled: a reply may be on its way.
            self.counters.timeouts += 1
            self._quiet_at = loop.time() + DRAIN_GAPS * self._gap_s
            raise
        else:
            self.counters.replies += 1
            self._silent_exchanges = 0
            return reply
        finally:
            self._reply = self._delimiter = None
            now = loop.time()
            self._quiet_at = max(self._quiet_at, now + self._gap_s)
            if key is not None:
                self._resting[key] = now + timing.late_s
            if self._silent_exchanges >= SILENT_EXCHANGES_MAX:
                self._silent_exchanges = 0
                self._drop("the path was silent")

    # -- turns ---------------------------------------------------------------------------------

    def reserve(self, order: Order) -> Reservation:
        """Keep the next turn of an order; nothing of a lower order starts before it is used."""
        return self._turns.reserve(order)

    async def _take_turn(
        self, key: Hashable, order: Order, reservation: Reservation | None
    ) -> None:
        if reservation is not None:
            if self._resting_s(key) <= 0:
                await reservation.take()
                return
            reservation.cancel()
        while True:
            if (left_s := self._resting_s(key)) > 0:
                await asyncio.sleep(left_s)
            elif self._turns.wanted:
                await self._turns.wait(order)
                # Whoever had the turn before us may have used the same key.
                if self._resting_s(key) <= 0:
                    return
                self._turns.release()
            else:
                self._turns.taken = True
                return

    async def _take_turn_prepared(
        self, reservation: Reservation, before_send: Callable[[], Awaitable[None]]
    ) -> Awaitable[None]:
        """Take the next turn while the request's preparation runs; it may not be done yet then."""
        preparation = asyncio.ensure_future(before_send())
        try:
            await reservation.take()
        except BaseException:
            preparation.cancel()
            await asyncio.gather(preparation, return_exceptions=True)
            raise
        return preparation

    # -- silence -------------------------------------------------------------------------------

    def _resting_s(self, key: Hashable) -> float:
        until = self._resting.get(key)
        if until is None:  # also for no key at all
            return 0.0
        left_s = until - asyncio.get_running_loop().time()
        if left_s <= 0:
            del self._resting[key]
        return left_s

    async def _silence(self, gap_characters: float) -> None:
        if gap_characters != self._gap_characters:
            self._gap_characters = gap_characters
            self._gap_s = silent_gap_s(self.settings.timing.character_s, gap_characters)
        loop = asyncio.get_running_loop()
        left_s = self._quiet_at - loop.time()
        while left_s > CLOCK_GRAIN_S:
            if self._silences is None:
                self._silences = silences_of(loop)
            await self._silences.until(self._quiet_at)
            left_s = self._quiet_at - loop.time()  # later than it was, when bytes came in

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._expires_at, self._look_at_clock, loop)

    def _look_at_clock(self, loop: asyncio.AbstractEventLoop) -> None:
        """Time the exchange in flight out, if its time has come.

        One timer goes on over many exchanges: a timer for each costs more than the exchange.
        """
        self._timer = None
        if self._reply is None or self._reply.done() or self._delimiter is None:
            return
        if self._expires_at - loop.time() > CLOCK_GRAIN_S:
            self._arm(loop)
            return
        self._silent_exchanges = 0 if self._buffer else self._silent_exchanges + 1
        self._reply.set_exception(LinkTimeoutError(self._delimiter.explain(bytes(self._buffer))))

    # -- the path ------------------------------------------------------------------------------

    async def _open(self) -> Transport:
        if self._transport is not None:
            return self._transport
        loop = asyncio.get_running_loop()
        if loop.time() < self._reopen_at:
            raise LinkUnavailableError(self.fault)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                transport = await self.channel_type.open(self.settings, self)
        except TimeoutError:
            self._put_off(f"{self.settings.url.text}: no connection in {OPEN_TIMEOUT_S:g} s")
            raise LinkUnavailableError(self.fault) from None
        except LinkUnavailableError as error:
            self._put_off(str(error))
            raise
        self._transport = transport
        if self.closed_at is None:
            self.closed_at = self.wall()
        self._reopen_s = REOPEN_FIRST_S
        self.fault = ""
        self.counters.opened += 1
        return transport

    def _put_off(self, fault: str) -> None:
        self.fault = fault
        self._reopen_at = asyncio.get_running_loop().time() + self._reopen_s
        self._reopen_s = min(2 * self._reopen_s, REOPEN_MAX_S)

    def _drop(self, reason: str) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None
            self.closed_at = self.wall()
            self.fault = reason

    async def check_open(self) -> None:
        """Open the path if it is not open, as a test of the link.

        Raises:
            LinkUnavailableError: it cannot be opened; the message says why.
        """
        await self._turns.wait(Order(WorkClass.ON_DEMAND))
        try:
            await self._open()
        finally:
            self._turns.release()

    async def renew(self, order: Order) -> None:
        """Close the session when its turn comes; the next exchange opens another."""
        await self._turns.wait(order)
        try:
            self._drop("its session was renewed")
        finally:
            self._turns.release()

    def drain_time_s(self, response_time_s: float) -> float:
        """Return how long after a request its reply may still come in, or a late one of it."""
        timing = self.settings.timing
        return response_time_s + timing.latency_s + timing.late_s

    def close(self) -> None:
        """Close the path for good; an exchange in flight ends as a time-out."""
        if self._transport is not None:
            self._transport.close()
            self.connection_lost("closed")

    def bytes_received(self, data: bytes) -> None:
        """Take what came in (called by the transport)."""
        if self.trace is not None:
            self.trace("rx", data)
        if self._reply is None or self._delimiter is None or self._reply.done():
            self._stray(data)
            quiet_at = asyncio.get_running_loop().time() + self._gap_s
            self._quiet_at = max(self._quiet_at, quiet_at)
            return
        buffer = self._buffer
        buffer += data
        if self.settings.echo and buffer.startswith(self._request):
            del buffer[: len(self._request)]
            self._request = b"\x00" * BUFFER_MAX  # an echo comes once
        content = bytes(buffer)
        span = self._delimiter.find(content)
        if span is not None:
            self.counters.stray_bytes += len(content) - (span.end - span.start)
            buffer.clear()
            self._reply.set_result(content[span.start : span.end])
        elif len(buffer) > BUFFER_MAX:
            self._stray(buffer[:-BUFFER_MAX])
            del buffer[:-BUFFER_MAX]

    def connection_lost(self, reason: str) -> None:
        """Note that the path is gone (called by the transport)."""
        self._transport = None
        self.closed_at = self.wall()
        self.fault = reason
        self._buffer.clear()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(LinkTimeoutError(f"sent, then the path was lost: {reason}"))

    def _stray(self, data: bytes | bytearray) -> None:
        self.counters.stray_bytes += len(data)
        if data is self._buffer:
            self._buffer.clear()


def _write_in_two(transport: Transport, request: bytes, crash: CrashHook) -> None:
    crash(CrashPoint.FIRST_BYTE, Moment.BEFORE)
    transport.write(request[:1])
    crash(CrashPoint.FIRST_BYTE, Moment.AFTER)
    crash(CrashPoint.LAST_BYTE, Moment.BEFORE)
    transport.write(request[1:])
    crash(CrashPoint.LAST_BYTE, Moment.AFTER)
