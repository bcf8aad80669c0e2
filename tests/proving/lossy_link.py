"""A link to a twin that loses, doubles, damages and holds back frames, and remembers those it had.

What moves value is told apart on the wire, after sections 3 and 7 of the meter's sheet: function
20 at 0x0100 sells, at 0x0200 (the groups of the wallet) takes back. Frames that are held back reach
the meter whenever somebody lets them, minutes or days later; answers that come too late are drained
by the line before the next request, so here they are lost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from meterplex.sdk import LinkUnavailableError
from meterplex.sdk.testing.links import Attempt, TwinLink

SALE = bytes((0x20, 0x01, 0x00))
WITHDRAWAL = bytes((0x20, 0x02, 0x00))


class Killed(BaseException):
    """The program ends here, as if it were killed."""


class InvariantError(Exception):
    """Money was lost, doubled, or moved without proof."""


class Fate(Enum):
    """What becomes of the next frame that moves value."""

    ANSWERED = "answered"
    ANSWER_LOST = "answer lost"
    READ_BACK_LOST = "answered, then silence"
    LOST = "lost"
    DELAYED = "held back"
    DOUBLED = "a copy held back"
    REPEATED = "taken twice, the second answer heard"
    ANSWER_DAMAGED = "answer damaged"
    NOT_SENT = "not sent"
    KILLED_BEFORE = "killed before the first byte"
    KILLED_BETWEEN = "killed between the first byte and the last"
    KILLED_AFTER = "killed after the last byte"


HOLDS_BACK = {Fate.DELAYED, Fate.DOUBLED}


@dataclass
class SentFrame:
    """A frame that moved, or could have moved, value.

    Attributes:
        order: in whose name it left.
        count: that it carries.
        change_units: by which remaining moves if it is taken, in ledger units.
        taken: how often the meter took it.
        dead: it was made under a key, or sent in a session, that is over.
    """

    order: str
    count: int
    change_units: int
    burst: bytes
    sent_at: datetime
    taken: int = 0
    dead: bool = False


def moves_value(request: bytes) -> bool:
    """Tell whether a frame sells, or sets the purchase count."""
    return request[1:4] == SALE or (request[1:4] == WITHDRAWAL and request[14] == 1)


class LossyLink(TwinLink):
    """See the module's text.

    Attributes:
        fate: of the next frame that moves value; it is used once.
        up: otherwise nothing can be sent.
        silent: otherwise nothing is answered, though the device acts.
        sent: all frames that moved value, in order.
        late: those that are held back.
        doubles: frames that sell may reach the meter twice, and much later; those that take back
            set figures whatever they were, and are lost or taken at once.
        on_move: told of the count of a frame before it leaves; returns the order that is ARMED
            with it and the change that this order wants.
    """

    def __init__(
        self,
        twin: Any,
        on_move: Callable[[int], tuple[str, int]],
        clock: Callable[[], datetime],
        *,
        doubles: bool,
    ) -> None:
        self._clock = clock
        super().__init__(twin, disturb=self._disturb)
        self.doubles = doubles
        self.on_move = on_move
        self.fate = Fate.ANSWERED
        self.up = True
        self.silent = False
        self.sent: list[SentFrame] = []
        self.late: list[SentFrame] = []
        self._dumb = False

    def renew(self) -> None:
        """A new exchange with a program that has just begun, or tries anew."""
        self._dumb = False

    def deliver_late(self) -> None:
        """Let the oldest frame that was held back reach the meter."""
        if self.late:
            self._reach(self.late.pop(0))

    def forget_late(self, *, sent_before: datetime | None = None) -> None:
        """Nothing that was held back (before some time) arrives any more."""
        for frame in [*self.late]:
            if sent_before is None or frame.sent_at < sent_before:
                frame.dead = True
                self.late.remove(frame)

    def _disturb(self, attempt: Attempt) -> bytes:
        if not self.up:
            raise LinkUnavailableError("the link is down")
        if attempt.control and moves_value(attempt.request):
            return self._move(attempt)
        if self._dumb or self.silent:
            return b""
        return attempt.answer()

    def _move(self, attempt: Attempt) -> bytes:
        fate, self.fate = self.fate, Fate.ANSWERED
        if fate is Fate.NOT_SENT:
            raise LinkUnavailableError("the link went down")
        sells = attempt.request[1:4] == SALE
        count = int.from_bytes(attempt.request[11:13] if sells else attempt.request[15:17], "big")
        order, change_units = self.on_move(count)
        if fate is Fate.KILLED_BEFORE:
            raise Killed(fate.value)
        frame = SentFrame(order, count, change_units, attempt.request, self._clock())
        self._check_amount(frame)
        if fate is Fate.KILLED_BETWEEN:
            self.device(frame.burst[:-1])
            raise Killed(fate.value)
        self.sent.append(frame)
        return self._carry(frame, self._possible(fate, sells=sells))

    def _possible(self, fate: Fate, *, sells: bool) -> Fate:
        if not sells and fate in HOLDS_BACK | {Fate.REPEATED}:
            return Fate.LOST
        if not self.doubles and fate in {Fate.DOUBLED, Fate.REPEATED}:
            return Fate.ANSWER_LOST
        return fate

    def _check_amount(self, frame: SentFrame) -> None:
        """I8: two frames of one count say the same, unless a fence lies between."""
        if frame.burst[1:4] == SALE:
            cents = int.from_bytes(frame.burst[7:11], "big")
            if cents * 100 != frame.change_units:
                raise InvariantError(f"I8: {cents} sent for an order of {frame.change_units}")

    def _carry(self, frame: SentFrame, fate: Fate) -> bytes:
        answer = b"" if fate in {Fate.LOST, Fate.DELAYED} else self._reach(frame)
        if fate is Fate.REPEATED:
            answer = self._reach(frame)
        if fate in HOLDS_BACK:
            self.late.append(frame)
        if fate is Fate.KILLED_AFTER:
            raise Killed(fate.value)
        if fate is Fate.READ_BACK_LOST:
            self._dumb = True
        if fate is Fate.ANSWER_DAMAGED:
            return answer[:-1] + bytes((answer[-1] ^ 1,))
        return b"" if fate is Fate.ANSWER_LOST else answer

    def _reach(self, frame: SentFrame) -> bytes:
        before = self._wallet()
        answer = self.device(frame.burst)
        if self._wallet() != before:
            frame.taken += 1
        return answer

    def _wallet(self) -> tuple[int, int, int]:
        wallet = self.twin.body.wallet  # type: ignore[attr-defined]
        return wallet.purchase_count, wallet.total_purchased, wallet.remaining
