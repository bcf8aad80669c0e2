from collections.abc import Awaitable, Callable

import pytest

from meterplex.protocols.errors import EncodeError
from meterplex.protocols.modbus import rtu
from meterplex.sdk import (
    DamagedReplyError,
    Delimiter,
    DeviceRefusedError,
    DriverError,
    Framing,
    LinkTimeoutError,
    LinkUnavailableError,
    OutcomeUnknownError,
    SettingsError,
)
from meterplex.sdk.modbus import ModbusMaster, check_unit_address


class OneReplyLink:
    """Gives the one reply it was made with, as a real link would: only if it fits."""

    def __init__(self, reply: bytes, framing: Framing = Framing.RAW, *, check: bool = True) -> None:
        self.framing = framing
        self.requests: list[tuple[bytes, bool]] = []
        self._reply = reply
        self._check = check

    async def exchange(
        self, request: bytes, delimiter: Delimiter, *, control: bool = False
    ) -> bytes:
        self.requests.append((request, control))
        span = delimiter.find(self._reply)
        if not self._check:
            return self._reply
        if span is None:
            raise LinkTimeoutError(delimiter.explain(self._reply))
        return self._reply[span.start : span.end]


Call = Callable[[ModbusMaster], Awaitable[object]]

# Request and reply PDUs of the Modbus Application Protocol V1.1b3, 6.3, 6.4, 6.6, 6.12, and the
# sale of the Acrel sheet, section 7, with a reply of 15 bytes of no known layout.
CALLS = [
    pytest.param(
        lambda master: master.read_holding(107, 3),
        "03 006B 0003",
        "03 06 022B 0000 0064",
        (555, 0, 100),
        False,
        id="read-holding",
    ),
    pytest.param(
        lambda master: master.read_input(8, 1),
        "04 0008 0001",
        "04 02 000A",
        (10,),
        False,
        id="read-input",
    ),
    pytest.param(
        lambda master: master.write_register(1, 3),
        "06 0001 0003",
        "06 0001 0003",
        None,
        True,
        id="write-register",
    ),
    pytest.param(
        lambda master: master.write_registers(1, (0x000A, 0x0102)),
        "10 0001 0002 04 000A 0102",
        "10 0001 0002",
        None,
        True,
        id="write-registers",
    ),
    pytest.param(
        lambda master: master.vendor_write(0x20, 0x0100, bytes.fromhex("0000271000050000")),
        "20 0100 0004 08 00002710 0005 0000",
        "20 0102030405060708090A0B",
        bytes.fromhex("0102030405060708090A0B"),
        True,
        id="vendor-write",
    ),
]


@pytest.mark.parametrize(("call", "asked", "answered", "result", "control"), CALLS)
async def test_call_over_rtu(
    call: Call, asked: str, answered: str, result: object, control: bool
) -> None:
    link = OneReplyLink(rtu.encode_adu(17, bytes.fromhex(answered)))
    assert await call(ModbusMaster(link, 17)) == result
    assert link.requests == [(rtu.encode_adu(17, bytes.fromhex(asked)), control)]


@pytest.mark.parametrize(("call", "asked", "answered", "result", "control"), CALLS)
async def test_call_over_modbus_tcp(
    call: Call, asked: str, answered: str, result: object, control: bool
) -> None:
    def frame(pdu: str) -> bytes:
        data = bytes.fromhex(pdu)
        return bytes.fromhex("00 09 00 00 00") + bytes((len(data) + 1, 17)) + data

    link = OneReplyLink(frame(answered), Framing.TCP)
    assert await call(ModbusMaster(link, 17, transactions=iter([9]))) == result
    assert link.requests == [(frame(asked), control)]


async def read_one(master: ModbusMaster) -> None:
    await master.read_holding(0, 1)


async def write_one(master: ModbusMaster) -> None:
    await master.write_registers(0, (1,))


@pytest.mark.parametrize(
    ("call", "refusal", "error", "words"),
    [
        pytest.param(
            read_one,
            "83 02",
            DeviceRefusedError,
            r"address 17: function 03 refused with exception 02 \(illegal data address\)",
            id="no-such-register",
        ),
        pytest.param(write_one, "90 06", DeviceRefusedError, "server device busy", id="busy"),
        pytest.param(write_one, "90 04", DeviceRefusedError, "server device failure", id="failure"),
        pytest.param(read_one, "83 0B", LinkTimeoutError, "failed to respond", id="read-0B"),
        pytest.param(write_one, "90 0B", LinkTimeoutError, "failed to respond", id="write-0B"),
        pytest.param(read_one, "83 0A", LinkUnavailableError, "path unavailable", id="read-0A"),
        pytest.param(write_one, "90 0A", LinkUnavailableError, "path unavailable", id="write-0A"),
        pytest.param(read_one, "83 05", DeviceRefusedError, "acknowledge", id="read-05"),
        pytest.param(write_one, "90 05", OutcomeUnknownError, "acknowledge", id="write-05"),
    ],
)
async def test_exception_reply_has_its_own_error(
    call: Call, refusal: str, error: type[DriverError], words: str
) -> None:
    link = OneReplyLink(rtu.encode_adu(17, bytes.fromhex(refusal)))
    with pytest.raises(error, match=words):
        await call(ModbusMaster(link, 17))
    assert len(link.requests) == 1


async def test_refusal_carries_the_exception_code() -> None:
    link = OneReplyLink(rtu.encode_adu(17, bytes.fromhex("83 02")))
    with pytest.raises(DeviceRefusedError) as refused:
        await ModbusMaster(link, 17).read_holding(0, 1)
    assert refused.value.code == 2


@pytest.mark.parametrize(
    ("framing", "reply", "words"),
    [
        pytest.param(Framing.RAW, bytes.fromhex("11 03 02 0000 0000"), "CRC", id="rtu-crc"),
        pytest.param(
            Framing.RAW, rtu.encode_adu(17, bytes.fromhex("03 04 00000001")), "fit", id="rtu-count"
        ),
        pytest.param(
            Framing.RAW, rtu.encode_adu(18, bytes.fromhex("03 02 0001")), "of address 18", id="unit"
        ),
        pytest.param(
            Framing.TCP, bytes.fromhex("0009 0000 0005 11 03 02 00"), "length 5", id="tcp-length"
        ),
        pytest.param(
            Framing.TCP, bytes.fromhex("0009 0000 0005 11 04 02 0000"), "fit", id="tcp-function"
        ),
        pytest.param(
            Framing.TCP,
            bytes.fromhex("0008 0000 0005 11 03 02 0000"),
            "transaction 8, expected 9",
            id="tcp-transaction",
        ),
    ],
)
async def test_reply_that_a_careless_link_lets_through_is_damaged(
    framing: Framing, reply: bytes, words: str
) -> None:
    link = OneReplyLink(reply, framing, check=False)
    with pytest.raises(DamagedReplyError, match=f"address 17: .*{words}"):
        await ModbusMaster(link, 17, transactions=iter([9])).read_holding(0, 1)


async def test_silence_passes_through_with_its_reason() -> None:
    link = OneReplyLink(b"")
    with pytest.raises(LinkTimeoutError, match="nothing came"):
        await ModbusMaster(link, 17).write_registers(0, (1,))
    assert len(link.requests) == 1


async def test_cipher_takes_the_whole_rtu_frame_and_the_reply_stays_plain() -> None:
    # Acrel sheet, section 7: the frame of a sale
    plain = bytes.fromhex("01 20 01 00 00 04 08 00 00 27 10 00 05 00 00 53 DE")
    link = OneReplyLink(rtu.encode_adu(1, b"\x20" + bytes(11)))
    await ModbusMaster(link, 1).vendor_write(
        0x20, 0x0100, bytes.fromhex("0000271000050000"), cipher=lambda frame: frame[::-1] + b"\0"
    )
    assert link.requests == [(plain[::-1] + b"\0", True)]


async def test_cipher_over_modbus_tcp_is_refused_before_anything_is_sent() -> None:
    link = OneReplyLink(b"", Framing.TCP)
    with pytest.raises(SettingsError, match="needs an RTU channel"):
        await ModbusMaster(link, 1).vendor_write(0x20, 0, b"\0\0", cipher=bytes)
    assert link.requests == []


async def test_reply_of_another_length_is_taken_when_the_profile_says_so() -> None:
    link = OneReplyLink(rtu.encode_adu(1, bytes.fromhex("20 0100 0004")))
    master = ModbusMaster(link, 1)
    assert await master.vendor_write(0x20, 0x0100, bytes(8), reply_length=8) == bytes.fromhex(
        "0100 0004"
    )
    with pytest.raises(LinkTimeoutError):
        await master.vendor_write(0x20, 0x0100, bytes(8))


async def test_transaction_numbers_differ_over_all_masters_of_a_link() -> None:
    link = OneReplyLink(b"", Framing.TCP)
    for unit in (1, 1, 2):
        with pytest.raises(LinkTimeoutError):
            await ModbusMaster(link, unit).read_holding(0, 1)
    assert len({request[:2] for request, _ in link.requests}) == 3


async def test_transaction_numbers_start_again_after_65535() -> None:
    link = OneReplyLink(bytes.fromhex("0000 0000 0005 01 03 02 0007"), Framing.TCP)
    master = ModbusMaster(link, 1, transactions=iter([0x10000]))
    assert await master.read_holding(0, 1) == (7,)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda master: master.read_holding(0, 126), id="too-many"),
        pytest.param(lambda master: master.write_register(0, 65536), id="value"),
        pytest.param(lambda master: master.vendor_write(0x99, 0, b"\0\0"), id="function"),
    ],
)
async def test_what_cannot_be_said_is_not_sent(call: Call) -> None:
    link = OneReplyLink(b"")
    with pytest.raises(EncodeError):
        await call(ModbusMaster(link, 1))
    assert link.requests == []


@pytest.mark.parametrize(
    ("text", "normal"), [("1", "1"), ("247", "247"), ("007", "7"), (" 12 ", "12")]
)
def test_unit_address_has_one_normal_form(text: str, normal: str) -> None:
    assert check_unit_address(text) == normal


@pytest.mark.parametrize(
    "text", ["", "0", "248", "-1", "1.0", "0x01", "one", "\u0661", "\u00b2", "1_0", "9" * 5000]
)
def test_address_outside_1_to_247_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=r"expected a number within 1\.\.247"):
        check_unit_address(text)


def test_master_of_no_possible_device_is_refused() -> None:
    with pytest.raises(SettingsError, match="address '0'"):
        ModbusMaster(OneReplyLink(b""), 0)
