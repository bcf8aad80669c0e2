import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meterplex.protocols.errors import EncodeError, FrameError
from meterplex.protocols.modbus.pdu import (
    Request,
    encode_exception,
    read_request,
    vendor_write_request,
    write_register_request,
    write_registers_request,
)
from meterplex.protocols.modbus.rtu import RtuDelimiter, decode_adu, encode_adu, read_exchange
from meterplex.protocols.spans import Span

# Acrel sheet: section 4 (poll), 3 (relay), 4a, 4b, 7 (sale) and 10 (event record of the DTSD1352
# manual p. 31); each with the CRC printed there.
FRAMES = [
    pytest.param(1, "03 0200 0030", "01 03 02 00 00 30 44 66", id="poll"),
    pytest.param(
        1, "10 0057 0002 04 0001 0001", "01 10 00 57 00 02 04 00 01 00 01 27 75", id="open"
    ),
    pytest.param(
        1, "10 0057 0002 04 0001 0000", "01 10 00 57 00 02 04 00 01 00 00 E6 B5", id="hold"
    ),
    pytest.param(
        1, "10 0057 0002 04 0000 0000", "01 10 00 57 00 02 04 00 00 00 00 B7 75", id="prepaid"
    ),
    pytest.param(1, "03 0400 0019", "01 03 04 00 00 19 85 30", id="settings"),
    pytest.param(1, "03 0046 001C", "01 03 00 46 00 1C A5 D6", id="old-prepaid-block"),
    pytest.param(
        1,
        "20 0100 0004 08 00002710 0005 0000",
        "01 20 01 00 00 04 08 00 00 27 10 00 05 00 00 53 DE",
        id="sale",
    ),
    pytest.param(1, "03 3001 0006", "01 03 30 01 00 06 9B 08", id="event-request"),
    pytest.param(
        1,
        "03 0C 1201 080A 0101 0100 0000 0000",
        "01 03 0C 12 01 08 0A 01 01 01 00 00 00 00 00 80 23",
        id="event-reply",
    ),
]

EVENT_REPLY = bytes.fromhex("01 03 0C 12 01 08 0A 01 01 01 00 00 00 00 00 80 23")
EVENT_REQUEST = bytes.fromhex("01 03 30 01 00 06 9B 08")


def delimiter(request: Request, unit: int = 1) -> RtuDelimiter:
    return RtuDelimiter(unit, request, encode_adu(unit, request.pdu))


READ_EVENT = delimiter(read_request(3, 0x3001, 6))
OPEN_RELAY = delimiter(write_registers_request(0x0057, (1, 1)))
SET_ONE = delimiter(write_register_request(1, 3))
SALE = delimiter(vendor_write_request(0x20, 0x0100, bytes.fromhex("0000271000050000"), 12))

# Replies that fit: of the sheet, made as the standard says, and for the sale 15 bytes of no known
# layout.
FITTING = [
    pytest.param(READ_EVENT, EVENT_REPLY, id="03"),
    pytest.param(OPEN_RELAY, encode_adu(1, bytes.fromhex("10 0057 0002")), id="16"),
    pytest.param(SET_ONE, encode_adu(1, bytes.fromhex("06 0001 0003")), id="06"),
    pytest.param(SALE, encode_adu(1, b"\x20" + bytes(range(11))), id="vendor"),
    pytest.param(READ_EVENT, encode_adu(1, encode_exception(3, 2)), id="exception"),
    pytest.param(SALE, encode_adu(1, encode_exception(0x20, 3)), id="vendor-exception"),
]


@pytest.mark.parametrize(("unit", "pdu", "frame"), FRAMES)
def test_frames_of_the_sheet_both_ways(unit: int, pdu: str, frame: str) -> None:
    assert encode_adu(unit, bytes.fromhex(pdu)) == bytes.fromhex(frame)
    assert decode_adu(bytes.fromhex(frame)) == (unit, bytes.fromhex(pdu))


@pytest.mark.parametrize(("unit", "pdu", "frame"), FRAMES)
def test_every_single_bit_flip_is_refused(unit: int, pdu: str, frame: str) -> None:
    good = bytes.fromhex(frame)
    for bit in range(8 * len(good)):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameError, match="CRC"):
            decode_adu(bytes(flipped))


@pytest.mark.parametrize(("unit", "pdu", "frame"), FRAMES)
def test_frame_cut_at_any_length_is_refused(unit: int, pdu: str, frame: str) -> None:
    good = bytes.fromhex(frame)
    for length in range(len(good)):
        with pytest.raises(FrameError):
            decode_adu(good[:length])


def test_wrong_crc_is_named_with_the_right_one() -> None:
    with pytest.raises(FrameError, match="CRC 44 67, computed 44 66, frame 01 03 02 00 00 30 44"):
        decode_adu(bytes.fromhex("01 03 02 00 00 30 44 67"))


@pytest.mark.parametrize(
    ("unit", "pdu"), [(248, b"\x03"), (-1, b"\x03"), (1, b""), (1, bytes(254))]
)
def test_frame_that_cannot_be_is_not_made(unit: int, pdu: bytes) -> None:
    with pytest.raises(EncodeError):
        encode_adu(unit, pdu)


def test_read_exchange_is_frame_and_delimiter_of_a_read() -> None:
    frame, found = read_exchange(1, 3, 0x3001, 6)
    assert frame == EVENT_REQUEST
    assert found == READ_EVENT


@pytest.mark.parametrize(("looking", "reply"), FITTING)
def test_fitting_reply_is_found(looking: RtuDelimiter, reply: bytes) -> None:
    assert looking.find(reply) == Span(0, len(reply))
    assert len(reply) <= looking.reply_length_max


@pytest.mark.parametrize(("looking", "reply"), FITTING)
def test_single_bit_flips_of_a_reply_are_never_found(looking: RtuDelimiter, reply: bytes) -> None:
    for bit in range(8 * len(reply)):
        flipped = bytearray(reply)
        flipped[bit // 8] ^= 1 << bit % 8
        assert looking.find(bytes(flipped)) is None


@pytest.mark.parametrize(("looking", "reply"), FITTING)
def test_reply_cut_at_any_length_is_waited_for(looking: RtuDelimiter, reply: bytes) -> None:
    for length in range(len(reply)):
        assert looking.find(reply[:length]) is None


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(b"\x00", id="zero"),
        pytest.param(b"HB", id="heartbeat"),
        pytest.param(b"\x01", id="own-address"),
        pytest.param(b"\x01\x03", id="own-address-and-function"),
        pytest.param(EVENT_REPLY[:-1], id="cut-reply"),
        pytest.param(EVENT_REPLY[:-1] + b"\x00", id="damaged-reply"),
        pytest.param(encode_adu(2, EVENT_REPLY[1:-2]), id="same-reply-of-another-device"),
        pytest.param(encode_adu(1, b"\x04" + EVENT_REPLY[2:-2]), id="another-function"),
        pytest.param(encode_adu(1, bytes.fromhex("03 02 0001")), id="another-byte-count"),
        pytest.param(bytes(range(256)), id="every-byte"),
    ],
)
@pytest.mark.parametrize(("looking", "reply"), FITTING)
def test_bytes_before_the_reply_do_not_matter(
    looking: RtuDelimiter, reply: bytes, before: bytes
) -> None:
    assert looking.find(before) is None
    assert looking.find(before + reply) == Span(len(before), len(before) + len(reply))


@pytest.mark.parametrize(
    ("looking", "reply"),
    [case for case in FITTING if case.id != "06"],
)
def test_own_echo_is_passed_over(looking: RtuDelimiter, reply: bytes) -> None:
    echo = looking.sent
    for length in range(len(echo) + 1):
        assert looking.find(echo[:length]) is None
    assert looking.find(echo + reply) == Span(len(echo), len(echo) + len(reply))


def test_echo_of_a_single_write_cannot_be_told_from_its_reply() -> None:
    assert SET_ONE.find(SET_ONE.sent) == Span(0, 8)


def test_echo_and_a_zero_byte_are_not_the_reply_to_a_read_of_two_registers() -> None:
    # 04 is the high byte of the address and the byte count of the reply, and a frame with a zero
    # byte behind it verifies as well
    looking = delimiter(read_request(3, 0x0400, 2))
    assert decode_adu(looking.sent + b"\0")
    assert looking.find(looking.sent + b"\0") is None
    reply = encode_adu(1, bytes.fromhex("03 04 0000 0002"))
    assert looking.find(looking.sent + b"\0" + reply) == Span(9, 18)


def test_echo_that_begins_like_a_whole_reply_is_not_taken_for_it() -> None:
    # the CRC of the reply to this write, 02 6C, is the byte count and first byte of the write
    looking = delimiter(write_registers_request(0x0810, (0x6C00,)))
    assert decode_adu(looking.sent[:8]) == (1, bytes.fromhex("10 0810 0001"))
    for length in range(len(looking.sent) + 1):
        assert looking.find(looking.sent[:length]) is None


def test_first_of_two_fitting_replies_is_taken() -> None:
    second = encode_adu(1, bytes.fromhex("03 0C") + bytes(12))
    assert READ_EVENT.find(EVENT_REPLY + second) == Span(0, len(EVENT_REPLY))


def test_normal_reply_goes_before_an_exception() -> None:
    exception = encode_adu(1, encode_exception(3, 2))
    assert READ_EVENT.find(exception + EVENT_REPLY) == Span(5, 5 + len(EVENT_REPLY))


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param("10 0058 0002", id="start"),
        pytest.param("10 0057 0001", id="count"),
    ],
)
def test_write_reply_must_repeat_start_and_count(reply: str) -> None:
    assert OPEN_RELAY.find(encode_adu(1, bytes.fromhex(reply))) is None


def test_single_write_reply_must_repeat_the_value() -> None:
    assert SET_ONE.find(encode_adu(1, bytes.fromhex("06 0001 0004"))) is None


def test_requests_with_confusable_replies_have_one_key() -> None:
    other_place = delimiter(read_request(3, 0x4000, 6))
    assert READ_EVENT.key == other_place.key
    # A late exception says only address and function: it must not refuse another write.
    other_write = delimiter(write_registers_request(0x2000, [1, 2, 3]))
    assert OPEN_RELAY.key == other_write.key


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(delimiter(read_request(4, 0x3001, 6)), id="function"),
        pytest.param(delimiter(read_request(3, 0x3001, 5)), id="length"),
        pytest.param(delimiter(read_request(3, 0x3001, 6), unit=2), id="unit"),
        pytest.param(OPEN_RELAY, id="write"),
    ],
)
def test_requests_with_other_replies_have_other_keys(other: RtuDelimiter) -> None:
    assert other.key != READ_EVENT.key
    assert other.find(EVENT_REPLY) is None


@pytest.mark.parametrize(
    ("looking", "came", "words"),
    [
        pytest.param(READ_EVENT, b"", "nothing came", id="nothing"),
        pytest.param(READ_EVENT, EVENT_REQUEST, "only the request's own echo came", id="echo"),
        pytest.param(READ_EVENT, EVENT_REPLY[:1], "1 of 17 bytes: 01", id="first-byte"),
        pytest.param(READ_EVENT, EVENT_REPLY[:4], "4 of 17 bytes: 01 03 0C 12", id="cut"),
        pytest.param(
            READ_EVENT, EVENT_REQUEST + EVENT_REPLY[:2], "2 of 17 bytes: 01 03", id="echo-and-cut"
        ),
        pytest.param(
            READ_EVENT,
            EVENT_REPLY[:-1] + b"\x24",
            "CRC 80 24, computed 80 23, frame 01 03 0C 12 01 08 0A 01 01 01 00 00 00 00 00 80 24",
            id="crc",
        ),
        pytest.param(
            READ_EVENT,
            encode_adu(2, EVENT_REPLY[1:-2]),
            "frame from address 2, expected 1",
            id="address",
        ),
        pytest.param(
            READ_EVENT,
            encode_adu(1, bytes.fromhex("04 02 0000")),
            "function 04, expected 03",
            id="function",
        ),
        pytest.param(
            READ_EVENT,
            encode_adu(1, bytes.fromhex("03 04 0000 0000")),
            "byte count 4, expected 12",
            id="byte-count",
        ),
        pytest.param(
            READ_EVENT,
            encode_adu(2, EVENT_REPLY[1:-2]) + encode_adu(1, bytes.fromhex("03 04 0000 0000")),
            "byte count 4, expected 12",
            id="own-address-first",
        ),
        pytest.param(
            OPEN_RELAY,
            encode_adu(1, bytes.fromhex("10 0057 0001")),
            "repeats 00 57 00 01, expected 00 57 00 02",
            id="repeats",
        ),
        pytest.param(
            READ_EVENT,
            bytes.fromhex("01 04 02 00"),
            "function 04, expected 03, in 01 04 02 00",
            id="unverified",
        ),
        pytest.param(
            READ_EVENT, bytes.fromhex("01 83 02"), "3 of 5 bytes: 01 83 02", id="cut-exception"
        ),
        pytest.param(READ_EVENT, b"HB", "2 bytes that are no frame: 48 42", id="noise"),
    ],
)
def test_nearest_miss_is_explained(looking: RtuDelimiter, came: bytes, words: str) -> None:
    assert looking.find(came) is None
    assert looking.explain(came) == words


REQUESTS = st.one_of(
    st.builds(read_request, st.sampled_from([3, 4]), st.integers(0, 65400), st.integers(1, 125)),
    st.builds(write_register_request, st.integers(0, 65535), st.integers(0, 65535)),
    st.builds(
        write_registers_request,
        st.integers(0, 65000),
        st.lists(st.integers(0, 65535), min_size=1, max_size=8),
    ),
    st.just(SALE.request),
)
# Garbage alone seldom comes near a frame, so pieces of real ones are mixed in.
BURSTS = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from([EVENT_REPLY, EVENT_REPLY[:5], EVENT_REQUEST, b"\0", OPEN_RELAY.sent]),
        st.builds(encode_adu, st.integers(0, 247), st.binary(min_size=1, max_size=20)),
    ),
    max_size=6,
).map(b"".join)


@given(REQUESTS, st.integers(1, 247), BURSTS)
@example(READ_EVENT.request, 1, EVENT_REPLY)
def test_whatever_comes_only_a_reply_that_verifies_and_fits_is_found(
    request_: Request, unit: int, burst: bytes
) -> None:
    looking = delimiter(request_, unit)
    span = looking.find(burst)
    assert isinstance(looking.explain(burst), str)
    if span is None:
        return
    from_unit, pdu = decode_adu(burst[span.start : span.end])
    assert from_unit == unit
    assert request_.is_answered_by(pdu) or request_.is_refused_by(pdu)


@given(BURSTS, st.binary(max_size=8))
def test_reply_is_found_behind_anything_and_in_any_pieces(before: bytes, after: bytes) -> None:
    # bytes before the reply may, with its own, already make a fitting one; nothing hides it
    span = READ_EVENT.find(before + EVENT_REPLY + after)
    assert span is not None
    assert span.end <= len(before) + len(EVENT_REPLY)
