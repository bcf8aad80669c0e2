"""One half-duplex path and its one talker.

Everything that keeps replies apart lives here, because Modbus RTU replies do not name their
request:

- *Turn.* At most one exchange at a time. Whoever waits is served by :class:`Order`; a command
  therefore starts after at most the exchange in flight, even in the middle of another driver's
  series of exchanges. A :class:`Reservation` keeps the next turn for a command whose row is still
  being fetched.
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
import heapq
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final

from meterplex.headend.silence import Silences, silences_of
from meterplex.sdk import (
    ChannelSettings,
    ChannelType,
    Delimiter,
    ExpiredError,
    Framing,
    LinkTimeoutError,
    LinkUnavailableError,
    Transport,
)

SILENT_EXCHANGES_MAX: Final = 3
REOPEN_FIRST_S: Final = 1.0
REOPEN_MAX_S: Final = 30.0
OPEN_TIMEOUT_S: Final = 5.0
DRAIN_GAPS: Final = 10
CLOCK_GRAIN_S: Final = 1e-6
"""How much too early a timer of the event loop may come."""
BUFFER_MAX: Final = 4096
"""Bytes kept of a babbling line; the longest reply of any protocol here is far below."""


class WorkClass(IntEnum):
    """What goes first on a line."""

    SUPPLY = 0
    CREDIT = 1
    ON_DEMAND = 2
    SCHEDULED = 3
    BACK_FILL = 4


@dataclass(frozen=True, slots=True, order=True)
class Order:
    """Who talks next: by class, then giving supply before taking it, then the oldest promise.

    Attributes:
        takes_supply: True for a disconnect.
        promise: when the work is due, in seconds of any one clock.
    """

    work_class: WorkClass
    takes_supply: bool = False
    promise: float = 0.0


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


_Turn = tuple[Order, int, "asyncio.Future[None]"]


class Reservation:
    """The next turn on a line, kept for work of an order. Give it back with :meth:`cancel`.

    Attributes:
        entry: its place in the queue of the line.
    """

    def __init__(self, line: "Line", entry: _Turn) -> None:
        self.entry = entry
        self._line = line
        self._used = False

    async def take(self) -> None:
        """Wait until it is our turn; the caller then holds the line."""
        self._used = True
        await self._line.wait_turn(self.entry)

    def cancel(self) -> None:
        """Give the turn back if it was not taken."""
        if not self._used:
            self._used = True
            self._line.drop_turn(self.entry)


@dataclass(slots=True)
class Line:
    """One channel's path, opened when it is first needed and again after it was lost.

    Attributes:
        wall: current time in UTC, compared with ``not_after``.
        trace: told each burst, when set.
    """

    channel_type: ChannelType
    settings: ChannelSettings
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    trace: Trace | None = None
    counters: LineCounters = field(default_factory=LineCounters)
    fault: str = ""
    """Why the path is down now; empty while it is up or was not needed yet."""
    _transport: Transport | None = None
    _reopen_at: float = 0.0
    _reopen_s: float = REOPEN_FIRST_S
    _busy: bool = False
    _queue: list[_Turn] = field(default_factory=list)
    _sequence: int = 0
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

        Raises:
            LinkUnavailableError, ExpiredError: not sent.
            LinkTimeoutError: sent, no fitting reply.
        """
        key = delimiter.key
        preparation: Awaitable[None] | None = None
        if before_send is not None and reservation is not None and self._is_next(key, reservation):
            preparation = await self._take_turn_prepared(reservation, before_send)
        else:
            if self._busy or self._queue or reservation is not None or self._resting_s(key) > 0:
                await self._take_turn(key, order, reservation)
            else:
                self._busy = True
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
            return await self._converse(transport, request, delimiter, key, response_time_s)
        finally:
            self._release()

    async def _converse(
        self,
        transport: Transport,
        request: bytes,
        delimiter: Delimiter,
        key: Hashable,
        response_time_s: float,
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
            transport.write(request)
            reply = await self._reply
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
            elif self._busy or self._queue:
                await self.wait_turn(self._enqueue(order))
                # Whoever had the turn before us may have used the same key.
                if self._resting_s(key) <= 0:
                    return
                self._release()
            else:
                self._busy = True
                return

    def _is_next(self, key: Hashable, reservation: Reservation) -> bool:
        entry = reservation.entry
        return (entry[2].done() or self._queue[0] is entry) and self._resting_s(key) <= 0

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

    def reserve(self, order: Order) -> Reservation:
        """Keep the next turn of an order; nothing of a lower order starts before it is used."""
        return Reservation(self, self._enqueue(order))

    def _enqueue(self, order: Order) -> _Turn:
        self._sequence += 1
        entry = (order, self._sequence, asyncio.get_running_loop().create_future())
        heapq.heappush(self._queue, entry)
        self._grant()
        return entry

    def _grant(self) -> None:
        while not self._busy and self._queue:
            granted = heapq.heappop(self._queue)[2]
            if not granted.cancelled():
                self._busy = True
                granted.set_result(None)

    def _release(self) -> None:
        self._busy = False
        self._grant()

    async def wait_turn(self, entry: _Turn) -> None:
        """Wait until an entry of the queue has the turn."""
        try:
            await entry[2]
        except asyncio.CancelledError:
            self.drop_turn(entry)
            raise

    def drop_turn(self, entry: _Turn) -> None:
        """Take an entry out of the queue, or give its turn back."""
        granted = entry[2]
        if granted.done() and not granted.cancelled():
            self._release()
        elif entry in self._queue:
            self._queue.remove(entry)
            heapq.heapify(self._queue)

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
            self._gap_s = gap_s(gap_characters, self.settings.timing.character_s)
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
            self.fault = reason

    async def check_open(self) -> None:
        """Open the path if it is not open, as a test of the link.

        Raises:
            LinkUnavailableError: it cannot be opened; the message says why.
        """
        await self.wait_turn(self._enqueue(Order(WorkClass.ON_DEMAND)))
        try:
            await self._open()
        finally:
            self._release()

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
        self.fault = reason
        self._buffer.clear()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(LinkTimeoutError(f"sent, then the path was lost: {reason}"))

    def _stray(self, data: bytes | bytearray) -> None:
        self.counters.stray_bytes += len(data)
        if data is self._buffer:
            self._buffer.clear()


def gap_s(characters: float, character_s: float) -> float:
    """Silence between two frames, in seconds.

    At least 1.75 ms where 3.5 characters would be shorter, which is above 19200 baud (Modbus over
    Serial Line V1.02, clause 2.5.1.1).
    """
    return max(characters * character_s, 0.00175)


@dataclass(slots=True)
class LineLink:
    """A driver's view of a line: :class:`meterplex.sdk.Link` for one piece of work on one device.

    Attributes:
        not_after: control requests are not sent later than this.
        before_control: awaited before the first control request leaves, with the turn held.
        exchanging: True while the driver waits for an exchange; a driver that is neither done nor
            exchanging for long hangs.
        control_sent: True once bytes of a control request may have left.
    """

    line: Line
    order: Order
    response_time_s: float
    gap_characters: float
    not_after: datetime | None = None
    before_control: Callable[[], Awaitable[None]] | None = None
    reservation: Reservation | None = None
    exchanging: bool = False
    control_sent: bool = False
    idle_since: float = 0.0
    revoked: bool = False

    @property
    def framing(self) -> Framing:
        """How requests on this line must be wrapped."""
        return self.line.settings.framing

    async def exchange(
        self, request: bytes, delimiter: Delimiter, *, control: bool = False
    ) -> bytes:
        """See :meth:`meterplex.sdk.Link.exchange`."""
        if self.revoked:
            raise LinkUnavailableError("this work was given up; its link is closed")
        reservation, self.reservation = self.reservation, None
        before_send = None
        if control:
            before_send, self.before_control = self.before_control, None
        self.exchanging = True
        try:
            return await self.line.exchange(
                request,
                delimiter,
                self.order,
                response_time_s=self.response_time_s,
                gap_characters=self.gap_characters,
                not_after=self.not_after if control else None,
                before_send=before_send,
                on_send=self._note_control if control else None,
                reservation=reservation,
            )
        finally:
            self.exchanging = False
            self.idle_since = asyncio.get_running_loop().time()

    def _note_control(self) -> None:
        self.control_sent = True
