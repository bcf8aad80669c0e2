"""Links without a wire: what a driver sends goes to a script or to a twin, at once.

No loop turns and no time passes in an exchange, so a driver that awaits only its link runs from
start to end in one step. What comes back may be disturbed: see :data:`Disturbance`.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from meterplex.sdk.errors import DriverError, LinkTimeoutError
from meterplex.sdk.links import Delimiter, Framing
from meterplex.sdk.twins import DeviceTwin


def spaced_hex(data: bytes) -> str:
    """Return bytes as the log shows them: ``01 03 02 00``."""
    return data.hex(" ").upper() or "nothing"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as a driver sent it, and what came of it.

    Attributes:
        arrived: all bytes that came in.
        reply: those that the delimiter took as the reply; None after a time-out or when the
            request was not sent.
    """

    request: bytes
    control: bool
    arrived: bytes
    reply: bytes | None
    delimiter: Delimiter


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request on its way to the device.

    Attributes:
        number: of the exchange on its link, from 0.
        answer: hands the request to the device and returns its reply.
    """

    number: int
    request: bytes
    control: bool
    answer: Callable[[], bytes]


Disturbance = Callable[[Attempt], bytes]
"""Decides what arrives for an attempt, and whether the device hears of it at all; may raise what a
link may raise."""


def undisturbed(attempt: Attempt) -> bytes:
    """Let request and reply pass."""
    return attempt.answer()


def lose_reply(attempt: Attempt) -> bytes:
    """Let the device act and lose what it says."""
    attempt.answer()
    return b""


def lose_request(attempt: Attempt) -> bytes:
    """Lose the request: the device hears nothing."""
    return b""


def fail_with(error: DriverError) -> Disturbance:
    """Raise a link's error instead of sending."""

    def fail(_: Attempt) -> bytes:
        raise error

    return fail


def reply_with(make_reply: Callable[[bytes], bytes]) -> Disturbance:
    """Answer the request in the device's place, which hears nothing."""
    return lambda attempt: make_reply(attempt.request)


def change_reply(change: Callable[[bytes], bytes]) -> Disturbance:
    """Let the device act and change the bytes of its reply."""
    return lambda attempt: change(attempt.answer())


def flip_bit(number: int) -> Disturbance:
    """Turn over one bit of the reply; bit 0 is the lowest of the first byte."""

    def flip(reply: bytes) -> bytes:
        flipped = bytearray(reply)
        flipped[number // 8] ^= 1 << number % 8
        return bytes(flipped)

    return change_reply(flip)


def truncate(length: int) -> Disturbance:
    """Keep only the first bytes of the reply."""
    return change_reply(lambda reply: reply[:length])


def on_exchange(number: int, disturbance: Disturbance) -> Disturbance:
    """Disturb one exchange of a link, counted from 0."""
    return lambda attempt: (disturbance if attempt.number == number else undisturbed)(attempt)


def on_control(disturbance: Disturbance) -> Disturbance:
    """Disturb control frames only."""
    return lambda attempt: (disturbance if attempt.control else undisturbed)(attempt)


def from_control_on(disturbance: Disturbance) -> Disturbance:
    """Disturb the first control frame and everything after it."""
    begun = False

    def disturb(attempt: Attempt) -> bytes:
        nonlocal begun
        begun = begun or attempt.control
        return (disturbance if begun else undisturbed)(attempt)

    return disturb


def after_control(disturbance: Disturbance) -> Disturbance:
    """Lose the reply to the first control frame and disturb everything after it."""
    begun = False

    def disturb(attempt: Attempt) -> bytes:
        nonlocal begun
        if begun:
            return disturbance(attempt)
        begun = attempt.control
        return (lose_reply if begun else undisturbed)(attempt)

    return disturb


def answer_losses() -> tuple[Disturbance, ...]:
    """Return, for one use each, ways to lose the answer to a control frame."""
    return on_control(lose_reply), from_control_on(lose_reply)


def delay_reply(number: int) -> Disturbance:
    """Let the reply of one exchange come in late, before the reply of the next one."""
    late = b""

    def disturb(attempt: Attempt) -> bytes:
        nonlocal late
        reply = attempt.answer()
        if attempt.number == number:
            late = reply
            return b""
        arrived, late = late + reply, b""
        return arrived

    return disturb


Device = Callable[[bytes], bytes]
"""What is at the other end of a :class:`MemoryLink`: takes a request, returns the reply; empty for
silence."""


class MemoryLink:
    """A :class:`~meterplex.sdk.links.Link` to a device in memory.

    Attributes:
        exchanges: all that was sent, in order.
        device: answers requests.
        disturb: may be set anew between exchanges.
    """

    def __init__(
        self,
        device: Device,
        *,
        disturb: Disturbance = undisturbed,
        framing: Framing = Framing.RAW,
    ) -> None:
        self.exchanges: list[Exchange] = []
        self.disturb = disturb
        self.device = device
        self._framing = framing

    @property
    def framing(self) -> Framing:
        """How requests must be wrapped."""
        return self._framing

    @property
    def control_frames(self) -> list[bytes]:
        """The requests that were flagged as control, in order."""
        return [exchange.request for exchange in self.exchanges if exchange.control]

    async def exchange(
        self, request: bytes, delimiter: Delimiter, *, control: bool = False
    ) -> bytes:
        """Hand the request to the device and return the reply that the delimiter finds.

        Raises:
            LinkTimeoutError: no fitting reply came.
        """
        request = bytes(request)
        attempt = Attempt(len(self.exchanges), request, control, lambda: self.device(request))
        self.exchanges.append(Exchange(request, control, b"", None, delimiter))
        arrived = self.disturb(attempt)
        span = delimiter.find(arrived)
        reply = None if span is None else arrived[span.start : span.end]
        self.exchanges[-1] = Exchange(request, control, arrived, reply, delimiter)
        if reply is None:
            raise LinkTimeoutError(f"request {spaced_hex(request)}: {delimiter.explain(arrived)}")
        return reply


Replies = bytes | tuple[bytes, ...]
"""One reply for every time a request is sent, or one for each time in order. Empty is silence."""

Script = Mapping[bytes, Replies]
"""Requests and what the device answers to them."""


def read_script(text: str) -> dict[bytes, Replies]:
    """Read a script from recorded frames.

    ``> 01 03 02 00 00 30 44 66`` is a request, a line with ``<`` the reply to the request above it;
    a request without reply is met with silence; ``#`` begins a comment. A request that is recorded
    more than once gets its replies in the recorded order.

    Raises:
        ValueError: naming the line that is neither, or hexadecimal digits that are none.
    """
    replies: dict[bytes, list[bytes]] = {}
    request: bytes | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        if content[0] == ">":
            request = bytes.fromhex(content[1:])
            replies.setdefault(request, []).append(b"")
        elif content[0] == "<" and request is not None:
            replies[request][-1] += bytes.fromhex(content[1:])
        else:
            raise ValueError(f"line {number}: expected '> request' or '< reply', got {line!r}")
    return {
        frame: answers[0] if len(answers) == 1 else tuple(answers)
        for frame, answers in replies.items()
    }


class UnscriptedRequestError(AssertionError):
    """A driver sent what the script does not know."""


@dataclass(slots=True)
class _ScriptedDevice:
    script: Script
    sent: Counter[bytes] = field(default_factory=Counter)

    def __call__(self, request: bytes) -> bytes:
        turn = self.sent[request]
        self.sent[request] += 1
        try:
            replies = self.script[request]
        except KeyError:
            known = "\n".join(f"  {spaced_hex(scripted)}" for scripted in self.script)
            raise UnscriptedRequestError(
                f"the driver sent\n  {spaced_hex(request)}\nbut the script knows only\n{known}"
            ) from None
        if isinstance(replies, bytes):
            return replies
        if turn >= len(replies):
            raise UnscriptedRequestError(
                f"the driver sent {spaced_hex(request)} for the {turn + 1}. time, "
                f"but the script has {len(replies)} replies to it"
            )
        return replies[turn]


class ScriptedTransport(MemoryLink):
    """A link to a device that knows its answers by heart."""

    def __init__(
        self,
        script: Script,
        *,
        disturb: Disturbance = undisturbed,
        framing: Framing = Framing.RAW,
    ) -> None:
        self._scripted = _ScriptedDevice(script)
        super().__init__(self._scripted, disturb=disturb, framing=framing)

    @classmethod
    def of_recording(cls, text: str) -> Self:
        """Make one from recorded frames, see :func:`read_script`."""
        return cls(read_script(text))

    @property
    def unused(self) -> tuple[bytes, ...]:
        """Requests of the script that were not sent, or less often than there are replies."""
        return tuple(
            request
            for request, replies in self._scripted.script.items()
            if self._scripted.sent[request] < (1 if isinstance(replies, bytes) else len(replies))
        )


class TwinLink(MemoryLink):
    """A link to a twin in memory."""

    def __init__(self, twin: DeviceTwin, *, disturb: Disturbance = undisturbed) -> None:
        super().__init__(twin.receive, disturb=disturb)
        self.twin = twin
