"""A driver's view of a line."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from meterplex.headend.line import Line
from meterplex.headend.turns import Order, Reservation
from meterplex.sdk import Delimiter, Framing, LinkUnavailableError
from meterplex.services.orders.crash_points import CrashHook


@dataclass(slots=True)
class LineLink:
    """A driver's view of a line: :class:`meterplex.sdk.Link` for one piece of work on one device.

    Attributes:
        not_after: control requests are not sent later than this.
        before_control: awaited before the first control request leaves, with the turn held.
        exchanging: True while the driver waits for an exchange; a driver that is neither done nor
            exchanging for long hangs.
        control_sent: True once bytes of a control request may have left.
        crash: told the places between the bytes of control requests, when set.
    """

    line: Line
    order: Order
    response_time_s: float
    gap_characters: float
    not_after: datetime | None = None
    before_control: Callable[[], Awaitable[None]] | None = None
    crash: CrashHook | None = None
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
                crash=self.crash if control else None,
            )
        finally:
            self.exchanging = False
            self.idle_since = asyncio.get_running_loop().time()

    def _note_control(self) -> None:
        self.control_sent = True
