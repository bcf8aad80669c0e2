import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meterplex.protocols.errors import EncodeError, FrameError
from meterplex.protocols.modbus.mbap import MbapDelimiter, decode_adu, encode_adu
from meterplex.protocols.modbus.pdu import (
    encode_exception,
    read_request,
    vendor_write_request,
    write_registers_request,
)
from meterplex.protocols.spans import Span

# Modbus Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3 with the read of 6.3 of the
# Application Protocol V1.1b3
READ = MbapDelimiter(0x1501, 0xFF, read_request(4, 0, 1))
REQUEST = bytes.fromhex("15 01 00 00 00 06 FF 04 00 00 00 01")
REPLY = bytes.fromhex("15 01 00 00 00 05 FF 04 02 00 05")
REFUSAL = bytes.fromhex("15 01 00 00 00 03 FF 84 02")

WRITE = MbapDelimiter(7, 1, write_registers_request(0x0057, (1, 1)))
SALE = MbapDelimiter(7, 1, vendor_write_request(0x20, 0x0100, bytes(8), 12))

FITTING = [
    pytest.param(READ, REPLY, id="04"),
    pytest.param(READ, REFUSAL, id="exception"),
    pytest.param(WRITE, encode_adu(7, 1, bytes.fromhex("10 0057 0002")), id="16"),
    pytest.param(SALE, encode_adu(7, 1, b"\x20" + bytes(11)), id="vendor"),
]


def test_frames_both_ways() -> None:
    assert encode_adu(0x1501, 0xFF, READ.request.pdu) == REQUEST
    assert decode_adu(REQUEST) == (0x1501, 0xFF, READ.request.pdu)
    assert decode_adu(REPLY) == (0x1501, 0xFF, bytes.fromhex("04 02 00 05"))
    assert encode_adu(0x1501, 0xFF, encode_exception(4, 2)) == REFUSAL


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        pytest.param(b"", "0 bytes", id="empty"),
        pytest.param(REPLY[:7], "7 bytes", id="header-only"),
        pytest.param(REPLY[:-1], "length 5, expected 4", id="cut"),
        pytest.param(REPLY + b"\0", "length 5, expected 6", id="too-long"),
        pytest.param(b"\0\0\0\1" + REPLY[4:], "protocol 1, expected 0", id="protocol"),
        pytest.param(bytes(261), "261 bytes", id="longer-than-any"),
    ],
)
def test_damaged_frame_is_refused(frame: bytes, complaint: str) -> None:
    with pytest.raises(FrameError, match=complaint):
        decode_adu(frame)


@pytest.mark.parametrize(
    ("transaction", "unit", "pdu"),
    [(-1, 1, b"\3"), (0x10000, 1, b"\3"), (0, 256, b"\3"), (0, 1, b""), (0, 1, bytes(254))],
)
def test_frame_that_cannot_be_is_not_made(transaction: int, unit: int, pdu: bytes) -> None:
    with pytest.raises(EncodeError):
        encode_adu(transaction, unit, pdu)


@pytest.mark.parametrize(("looking", "reply"), FITTING)
def test_fitting_reply_is_found_behind_garbage_and_before_another(
    looking: MbapDelimiter, reply: bytes
) -> None:
    assert looking.find(reply) == Span(0, len(reply))
    assert len(reply) <= looking.reply_length_max
    garbage = bytes.fromhex("00 15 01 00 00 00")
    assert looking.find(garbage + reply + reply) == Span(6, 6 + len(reply))


@pytest.mark.parametrize(("looking", "reply"), FITTING)
def test_reply_cut_at_any_length_is_waited_for(looking: MbapDelimiter, reply: bytes) -> None:
    for length in range(len(reply)):
        assert looking.find(reply[:length]) is None


def test_no_bit_of_the_header_and_counts_may_differ() -> None:
    for bit in range(8 * 9):
        flipped = bytearray(REPLY)
        flipped[bit // 8] ^= 1 << bit % 8
        assert READ.find(bytes(flipped)) is None


def test_own_echo_is_not_the_reply() -> None:
    assert READ.find(REQUEST) is None
    assert READ.find(REQUEST + REPLY) == Span(12, 23)


def test_replies_name_their_request_so_that_there_is_no_key() -> None:
    assert READ.key is None


@pytest.mark.parametrize(
    ("came", "words"),
    [
        pytest.param(b"", "nothing came", id="nothing"),
        pytest.param(REPLY[:4], "4 of 11 bytes: 15 01 00 00", id="cut-header"),
        pytest.param(
            REPLY[:-1], "10 of 11 bytes: 15 01 00 00 00 05 FF 04 02 00", id="cut-registers"
        ),
        pytest.param(
            b"\x15\x00" + REPLY[2:],
            "transaction 5376, expected 5377: 15 00 00 00 00 05 FF 04 02 00 05",
            id="late-reply",
        ),
        pytest.param(
            REPLY[:6] + b"\x01" + REPLY[7:],
            "frame from address 1, expected 255: 15 01 00 00 00 05 01 04 02 00 05",
            id="unit",
        ),
        pytest.param(
            REPLY[:7] + b"\x03" + REPLY[8:],
            "function 03, expected 04: 15 01 00 00 00 05 FF 03 02 00 05",
            id="function",
        ),
        pytest.param(
            encode_adu(0x1501, 0xFF, bytes.fromhex("04 04 0000 0000")),
            "length 7, expected 5: 15 01 00 00 00 07 FF 04 04 00 00 00 00",
            id="length",
        ),
        pytest.param(
            REPLY[:8] + b"\x01" + REPLY[9:],
            "01, expected 02: 15 01 00 00 00 05 FF 04 01 00 05",
            id="byte-count",
        ),
        pytest.param(
            REPLY[:2] + b"\0\1" + REPLY[4:],
            "protocol 1, expected 0: 15 01 00 01 00 05 FF 04 02 00 05",
            id="protocol",
        ),
    ],
)
def test_nearest_miss_is_explained(came: bytes, words: str) -> None:
    assert READ.find(came) is None
    assert READ.explain(came) == words


@given(
    st.lists(
        st.one_of(st.binary(max_size=12), st.sampled_from([REPLY, REPLY[:5], REFUSAL, REQUEST])),
        max_size=6,
    ).map(b"".join)
)
@example(REPLY)
def test_whatever_comes_only_a_fitting_reply_is_found(burst: bytes) -> None:
    span = READ.find(burst)
    assert READ.explain(burst)
    if span is None:
        return
    transaction, unit, pdu = decode_adu(burst[span.start : span.end])
    assert (transaction, unit) == (0x1501, 0xFF)
    assert READ.request.is_answered_by(pdu) or READ.request.is_refused_by(pdu)
