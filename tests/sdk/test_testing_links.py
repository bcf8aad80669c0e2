"""The kit's links: scripts, twins and disturbances."""

from dataclasses import dataclass

import pytest

from meterplex.sdk import Framing, LinkTimeoutError, LinkUnavailableError, Span
from meterplex.sdk.testing import MemoryLink, ScriptedTransport, TwinLink, read_script, spaced_hex
from meterplex.sdk.testing.links import (
    Disturbance,
    UnscriptedRequestError,
    after_control,
    change_reply,
    delay_reply,
    fail_with,
    flip_bit,
    from_control_on,
    lose_reply,
    lose_request,
    on_control,
    on_exchange,
    reply_with,
    truncate,
)
from meterplex.sdk.testing.reference import make_twin
from meterplex.sdk.testing.reference_frames import Operation, ReferenceDelimiter, encode_frame

PING, PONG = b"\x01\x02", b"\x81\x82"


@dataclass(frozen=True)
class Whole:
    """Takes everything that begins with a byte of 80 or more."""

    key: str = "whole"
    reply_length_max: int = 4

    def find(self, buffer: bytes) -> Span | None:
        start = next((at for at, byte in enumerate(buffer) if byte >= 0x80), None)
        return None if start is None else Span(start, len(buffer))

    def explain(self, buffer: bytes) -> str:
        return f"{len(buffer)} bytes"


class Counter:
    """Answers with how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, request: bytes) -> bytes:
        self.asked += 1
        return bytes([0x80 + self.asked])


async def ask(link: MemoryLink, *, control: bool = False) -> bytes:
    return await link.exchange(PING, Whole(), control=control)


async def ask_or_time_out(link: MemoryLink, *, control: bool = False) -> bytes | None:
    try:
        return await ask(link, control=control)
    except LinkTimeoutError:
        return None


# -- scripts -----------------------------------------------------------------------------------


async def test_script_answers_and_records() -> None:
    link = ScriptedTransport({PING: PONG}, framing=Framing.TCP)
    assert await ask(link, control=True) == PONG
    (exchange,) = link.exchanges
    assert (exchange.request, exchange.reply, exchange.control) == (PING, PONG, True)
    assert link.control_frames == [PING]
    assert link.framing is Framing.TCP


async def test_unknown_request_is_shown_beside_the_known_ones() -> None:
    link = ScriptedTransport({b"\xaa\xbb": PONG})
    with pytest.raises(UnscriptedRequestError, match=r"(?s)01 02.*AA BB"):
        await ask(link)


async def test_request_sent_more_often_than_scripted_fails() -> None:
    link = ScriptedTransport({PING: (PONG, b"\x83")})
    assert [await ask(link), await ask(link)] == [PONG, b"\x83"]
    with pytest.raises(UnscriptedRequestError, match=r"3\. time, but the script has 2 replies"):
        await ask(link)


async def test_unused_entries_are_named() -> None:
    link = ScriptedTransport({PING: (PONG, PONG), b"\x03": PONG})
    await ask(link)
    assert list(link.unused) == [PING, b"\x03"]
    await ask(link)
    assert list(link.unused) == [b"\x03"]


async def test_scripted_silence_is_a_time_out() -> None:
    with pytest.raises(LinkTimeoutError, match="request 01 02: 0 bytes"):
        await ask(ScriptedTransport({PING: b""}))


def test_recording_is_read() -> None:
    recording = """
        # a meter in the cellar
        > 01 02
        < 81 82      # first time
        > 03
        > 01 02
        < 83
        < 84
    """
    assert read_script(recording) == {PING: (PONG, b"\x83\x84"), b"\x03": b""}


@pytest.mark.parametrize("line", ["01 02", "< 81"], ids=["no arrow", "reply without request"])
def test_bad_recording_names_its_line(line: str) -> None:
    with pytest.raises(ValueError, match="line 2: expected '> request' or '< reply'"):
        read_script(f"\n{line}")


async def test_recording_makes_a_transport() -> None:
    assert await ask(ScriptedTransport.of_recording("> 01 02\n< 81 82")) == PONG


# -- twins -------------------------------------------------------------------------------------


async def test_twin_link_asks_the_twin() -> None:
    link = TwinLink(make_twin("1", {}, 1))
    request = encode_frame(1, Operation.IDENTIFY, b"")
    reply = await link.exchange(request, ReferenceDelimiter(1, Operation.IDENTIFY, 4))
    assert reply == encode_frame(1, Operation.IDENTIFY, b"REF1")


# -- disturbances ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("disturb", "arrived", "asked"),
    [
        pytest.param(lose_reply, b"", 1, id="reply lost"),
        pytest.param(lose_request, b"", 0, id="request lost"),
        pytest.param(flip_bit(2), b"\x85", 1, id="bit flipped"),
        pytest.param(truncate(0), b"", 1, id="truncated"),
        pytest.param(change_reply(lambda reply: reply * 2), b"\x81\x81", 1, id="doubled"),
        pytest.param(reply_with(lambda request: request[::-1]), b"\x02\x01", 0, id="made up"),
        pytest.param(on_exchange(1, lose_reply), b"\x81", 1, id="another exchange"),
        pytest.param(on_control(lose_reply), b"\x81", 1, id="control only"),
    ],
)
async def test_disturbance_of_a_read(disturb: Disturbance, arrived: bytes, asked: int) -> None:
    device = Counter()
    link = MemoryLink(device, disturb=disturb)
    await ask_or_time_out(link)
    assert (link.exchanges[0].arrived, device.asked) == (arrived, asked)


async def test_link_error_is_raised_instead_of_sending() -> None:
    device = Counter()
    link = MemoryLink(device, disturb=fail_with(LinkUnavailableError("unplugged")))
    with pytest.raises(LinkUnavailableError, match="unplugged"):
        await ask(link)
    assert device.asked == 0
    assert link.exchanges[0].reply is None


async def test_only_the_named_exchange_is_disturbed() -> None:
    link = MemoryLink(Counter(), disturb=on_exchange(1, lose_reply))
    assert [await ask_or_time_out(link) for _ in range(3)] == [b"\x81", None, b"\x83"]


async def test_all_from_the_first_control_frame_on_is_disturbed() -> None:
    link = MemoryLink(Counter(), disturb=from_control_on(lose_reply))
    replies = [await ask_or_time_out(link, control=control) for control in (False, True, False)]
    assert replies == [b"\x81", None, None]


async def test_link_can_die_after_the_control_frame() -> None:
    device = Counter()
    link = MemoryLink(device, disturb=after_control(fail_with(LinkUnavailableError("gone"))))
    assert await ask(link) == b"\x81"
    assert await ask_or_time_out(link, control=True) is None
    with pytest.raises(LinkUnavailableError):
        await ask(link)
    assert device.asked == 2


async def test_late_reply_comes_before_the_next() -> None:
    link = MemoryLink(Counter(), disturb=delay_reply(0))
    assert await ask_or_time_out(link) is None
    assert await ask(link) == b"\x81\x82"
    assert await ask(link) == b"\x83"


def test_hex_is_spaced_and_silence_is_said() -> None:
    assert spaced_hex(b"\x01\xab") == "01 AB"
    assert spaced_hex(b"") == "nothing"
