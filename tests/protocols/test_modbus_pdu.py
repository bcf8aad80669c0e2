from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.protocols.errors import EncodeError, ProtocolError
from meterplex.protocols.modbus.pdu import (
    decode_exception,
    decode_read_reply,
    decode_read_request,
    decode_vendor_write,
    decode_write_register,
    decode_write_registers_reply,
    decode_write_registers_request,
    encode_exception,
    encode_read_reply,
    encode_write_registers_reply,
    exception_name,
    is_exception,
    read_request,
    vendor_write_request,
    write_register_request,
    write_registers_request,
)


def pdu(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("function", "start", "values", "request_pdu", "reply_pdu"),
    [
        # Modbus Application Protocol V1.1b3, 6.3: read registers 108..110
        pytest.param(3, 107, (555, 0, 100), "03 006B 0003", "03 06 022B 0000 0064", id="6.3"),
        # Modbus Application Protocol V1.1b3, 6.4: read input register 9
        pytest.param(4, 8, (10,), "04 0008 0001", "04 02 000A", id="6.4"),
    ],
)
def test_reads_of_the_standard(
    function: int, start: int, values: tuple[int, ...], request_pdu: str, reply_pdu: str
) -> None:
    request = read_request(function, start, len(values))
    assert request.pdu == pdu(request_pdu)
    assert decode_read_request(request.pdu) == (start, len(values))
    assert encode_read_reply(function, values) == pdu(reply_pdu)
    assert decode_read_reply(pdu(reply_pdu)) == values
    assert request.is_answered_by(pdu(reply_pdu))


def test_single_write_of_the_standard() -> None:
    # Modbus Application Protocol V1.1b3, 6.6: register 2 to 00 03; the reply repeats the request
    request = write_register_request(1, 3)
    assert request.pdu == pdu("06 0001 0003")
    assert decode_write_register(request.pdu) == (1, 3)
    assert request.is_answered_by(pdu("06 0001 0003"))


def test_multiple_write_of_the_standard() -> None:
    # Modbus Application Protocol V1.1b3, 6.12: registers 2 and 3 to 00 0A and 01 02
    request = write_registers_request(1, (0x000A, 0x0102))
    assert request.pdu == pdu("10 0001 0002 04 000A 0102")
    assert decode_write_registers_request(request.pdu) == (1, (0x000A, 0x0102))
    assert encode_write_registers_reply(1, 2) == pdu("10 0001 0002")
    assert decode_write_registers_reply(pdu("10 0001 0002")) == (1, 2)
    assert request.is_answered_by(pdu("10 0001 0002"))


def test_vendor_write_of_the_acrel_sheet() -> None:
    # Acrel sheet, section 7: sale of 100.00 as purchase 5
    data = pdu("00 00 27 10 00 05 00 00")
    request = vendor_write_request(0x20, 0x0100, data, reply_length=12)
    assert request.pdu == pdu("20 0100 0004 08 00002710 0005 0000")
    assert decode_vendor_write(request.pdu) == (0x20, 0x0100, data)
    assert request.is_answered_by(b"\x20" + bytes(11))
    assert not request.is_answered_by(b"\x20" + bytes(10))


def test_exception_of_the_standard() -> None:
    # Modbus Application Protocol V1.1b3, 7: function 01 refused with 02
    assert encode_exception(1, 2) == pdu("81 02")
    assert decode_exception(pdu("81 02")) == (1, 2)
    assert is_exception(pdu("81 02"))
    assert not is_exception(pdu("01 02"))


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (1, "illegal function"),
        (2, "illegal data address"),
        (3, "illegal data value"),
        (6, "server device busy"),
        (0x0B, "gateway target device failed to respond"),
        (0x7F, "unknown exception"),
    ],
)
def test_exceptions_have_the_names_of_the_standard(code: int, name: str) -> None:
    assert exception_name(code) == name


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param("04 04 0000 0001", id="function"),
        pytest.param("03 02 0000", id="count"),
        pytest.param("03 04 0000", id="cut-short"),
        pytest.param("03 04 0000 0001 00", id="too-long"),
        pytest.param("03 05 0000 0001", id="byte-count"),
        pytest.param("84 02", id="exception-of-another-function"),
        pytest.param("", id="empty"),
    ],
)
def test_reply_that_does_not_fit_a_read_of_two_registers(reply: str) -> None:
    request = read_request(3, 0, 2)
    assert not request.is_answered_by(pdu(reply))
    assert not request.is_refused_by(pdu(reply))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        pytest.param(lambda: read_request(5, 0, 1), "reads no registers", id="function"),
        pytest.param(lambda: read_request(3, 0, 0), "0 registers", id="none"),
        pytest.param(lambda: read_request(3, 0, 126), "126 registers", id="126"),
        pytest.param(lambda: read_request(3, 65535, 2), "not within", id="over-the-end"),
        pytest.param(lambda: read_request(3, -1, 1), "not within", id="before-the-start"),
        pytest.param(lambda: write_register_request(0, 65536), "value 65536", id="value"),
        pytest.param(lambda: write_registers_request(0, (-1,)), "value -1", id="negative"),
        pytest.param(lambda: write_registers_request(0, (0,) * 124), "124 registers", id="124"),
        pytest.param(lambda: write_registers_request(0, ()), "0 registers", id="no-values"),
        pytest.param(
            lambda: vendor_write_request(16, 0, b"\0\0", 12), "no maker's own", id="standard"
        ),
        pytest.param(
            lambda: vendor_write_request(0x98, 0, b"\0\0", 12), "no maker's own", id="factory"
        ),
        pytest.param(lambda: vendor_write_request(0x20, 0, b"\0", 12), "whole", id="odd"),
        pytest.param(lambda: vendor_write_request(0x20, 0, b"\0\0", 2), "reply", id="short"),
        pytest.param(lambda: encode_read_reply(6, (1,)), "reads no registers", id="reply-06"),
        pytest.param(lambda: encode_exception(3, 256), "cannot be said", id="exception-256"),
    ],
)
def test_what_cannot_be_said_is_refused(make: Callable[[], object], complaint: str) -> None:
    with pytest.raises(EncodeError, match=complaint):
        make()


def test_request_for_no_registers_is_refused() -> None:
    with pytest.raises(ProtocolError, match="count 0"):
        decode_read_request(pdu("03 0000 0000"))


DECODERS: list[Callable[[bytes], object]] = [
    decode_exception,
    decode_read_reply,
    decode_read_request,
    decode_vendor_write,
    decode_write_register,
    decode_write_registers_reply,
    decode_write_registers_request,
]


@pytest.mark.parametrize(
    ("decode", "good"),
    [
        pytest.param(decode_exception, "83 02", id="exception"),
        pytest.param(decode_read_reply, "03 04 0001 0002", id="read-reply"),
        pytest.param(decode_read_request, "03 0000 0002", id="read-request"),
        pytest.param(decode_vendor_write, "20 0100 0001 02 0000", id="vendor-write"),
        pytest.param(decode_write_register, "06 0001 0003", id="write-register"),
        pytest.param(decode_write_registers_reply, "10 0001 0002", id="write-reply"),
        pytest.param(decode_write_registers_request, "10 0001 0001 02 0000", id="write-request"),
    ],
)
def test_pdu_of_any_other_length_is_refused(decode: Callable[[bytes], object], good: str) -> None:
    decode(pdu(good))
    for length in range(len(pdu(good))):
        with pytest.raises(ProtocolError):
            decode(pdu(good)[:length])
    with pytest.raises(ProtocolError):
        decode(pdu(good) + b"\0")


@given(st.sampled_from(DECODERS), st.binary(max_size=260))
def test_any_bytes_decode_or_raise_protocol_error(
    decode: Callable[[bytes], object], data: bytes
) -> None:
    with suppress(ProtocolError):
        decode(data)
