"""Requests and replies without their framing: Modbus Application Protocol V1.1b3, clause 6.

The only module that knows pymodbus, whose PDU classes say the bytes. A :class:`Request` carries,
beside its bytes, the shape of the one normal reply that fits it; framing modules match by that.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final, TypeVar

from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
    WriteMultipleRegistersRequest,
    WriteMultipleRegistersResponse,
    WriteSingleRegisterRequest,
    WriteSingleRegisterResponse,
)

from meterplex.protocols.errors import EncodeError, ProtocolError

READ_REGISTERS_MAX: Final = 125
"""Registers of one read (clauses 6.3, 6.4)."""

WRITE_REGISTERS_MAX: Final = 123
"""Registers of one write (clause 6.12)."""

EXCEPTION_FLAG: Final = 0x80
"""Set in the function code of an exception reply (clause 7)."""

EXCEPTION_PDU_LENGTH: Final = 2

PDU_LENGTH_MAX: Final = 253
"""Longest PDU (clause 4.1)."""


class Function(IntEnum):
    """The standard's functions that meters use."""

    READ_HOLDING = 3
    READ_INPUT = 4
    WRITE_REGISTER = 6
    WRITE_REGISTERS = 16


class ExceptionCode(IntEnum):
    """Why a device or a gateway says no (clause 7)."""

    ILLEGAL_FUNCTION = 0x01
    ILLEGAL_DATA_ADDRESS = 0x02
    ILLEGAL_DATA_VALUE = 0x03
    SERVER_DEVICE_FAILURE = 0x04
    ACKNOWLEDGE = 0x05
    SERVER_DEVICE_BUSY = 0x06
    MEMORY_PARITY_ERROR = 0x08
    GATEWAY_PATH_UNAVAILABLE = 0x0A
    GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND = 0x0B


def exception_name(code: int) -> str:
    """Return the standard's name of an exception code in lower case."""
    try:
        return ExceptionCode(code).name.replace("_", " ").lower()
    except ValueError:
        return "unknown exception"


@dataclass(frozen=True, slots=True)
class Request:
    """A request PDU and the shape of the normal reply that fits it.

    Attributes:
        pdu: function code and data.
        reply_head: the bytes that the reply PDU must begin with: function code, then byte count
            (03, 04) or what the device must repeat (06, 16), or nothing more (makers' functions).
        reply_length: bytes of the reply PDU.
    """

    pdu: bytes
    reply_head: bytes
    reply_length: int

    @property
    def function(self) -> int:
        """The function code."""
        return self.pdu[0]

    @property
    def exception_head(self) -> bytes:
        """What an exception reply PDU to this request begins with."""
        return bytes((self.pdu[0] | EXCEPTION_FLAG,))

    def is_answered_by(self, pdu: bytes) -> bool:
        """Whether ``pdu`` is the normal reply."""
        return len(pdu) == self.reply_length and pdu.startswith(self.reply_head)

    def is_refused_by(self, pdu: bytes) -> bool:
        """Whether ``pdu`` is an exception reply to this request."""
        return len(pdu) == EXCEPTION_PDU_LENGTH and pdu.startswith(self.exception_head)


@lru_cache(maxsize=4096)
def read_request(function: int, start: int, count: int) -> Request:
    """Ask for ``count`` (1..125) registers from ``start`` with function 03 or 04.

    A driver asks the same few questions for ever, so the answers are kept.

    Raises:
        EncodeError: another function, or registers outside 0..65535.
    """
    kind = _READS.get(function)
    if kind is None:
        raise EncodeError(f"function {function:02X} reads no registers, expected 03 or 04")
    _check_registers(start, count, READ_REGISTERS_MAX)
    return Request(
        _say(kind[0](address=start, count=count)), bytes((function, 2 * count)), 2 + 2 * count
    )


def write_register_request(start: int, value: int) -> Request:
    """Write one register with function 06. Its reply repeats it byte by byte.

    Raises:
        EncodeError: address or value outside 0..65535.
    """
    _check_registers(start, 1, 1)
    _check_values((value,))
    pdu = _say(WriteSingleRegisterRequest(address=start, registers=[value]))
    return Request(pdu, pdu, len(pdu))


def write_registers_request(start: int, values: Sequence[int]) -> Request:
    """Write 1..123 registers with function 16. Its reply repeats start and count.

    Raises:
        EncodeError: addresses or values outside 0..65535, none or too many.
    """
    _check_registers(start, len(values), WRITE_REGISTERS_MAX)
    _check_values(values)
    pdu = _say(WriteMultipleRegistersRequest(address=start, registers=values))
    return Request(pdu, pdu[:5], 5)


def vendor_write_request(function: int, start: int, data: bytes, reply_length: int) -> Request:
    """Write registers with a maker's own function, laid out as function 16.

    ::

        function  start hi lo  count hi lo  byte count  data

    Seen as function 20 (hex) in Acrel meters; what its reply holds is not known, so only the
    function code and ``reply_length`` (bytes of the reply PDU) can be checked.

    Raises:
        EncodeError: one of the standard's functions, an odd or too long ``data``, or a reply that
            is no longer than an exception.
    """
    if not 1 <= function < EXCEPTION_FLAG or function in set(Function):
        raise EncodeError(f"function {function:02X} is no maker's own")
    if len(data) % 2:
        raise EncodeError(f"{len(data)} bytes do not fill whole registers")
    if not EXCEPTION_PDU_LENGTH < reply_length <= PDU_LENGTH_MAX:
        raise EncodeError(f"reply of {reply_length} bytes, expected 3..{PDU_LENGTH_MAX}")
    _check_registers(start, len(data) // 2, WRITE_REGISTERS_MAX)
    head = struct.pack(">BHHB", function, start, len(data) // 2, len(data))
    return Request(head + data, head[:1], reply_length)


def decode_read_request(pdu: bytes) -> tuple[int, int]:
    """Return start and count of a read request (03, 04).

    Raises:
        ProtocolError: it is no such request.
    """
    _check_length(pdu, 5)
    asked = _understand(_kind(_READS, pdu)[0](), pdu)
    return asked.address, asked.count


def encode_read_reply(function: int, values: Sequence[int]) -> bytes:
    """Return the reply to a read (03, 04) of ``values``.

    Raises:
        EncodeError: another function, values outside 0..65535, none or more than 125.
    """
    kind = _READS.get(function)
    if kind is None:
        raise EncodeError(f"function {function:02X} reads no registers, expected 03 or 04")
    _check_registers(0, len(values), READ_REGISTERS_MAX)
    _check_values(values)
    return _say(kind[1](registers=values))


def decode_read_reply(pdu: bytes) -> tuple[int, ...]:
    """Return the registers of a reply to a read (03, 04).

    Raises:
        ProtocolError: it is no such reply, or not as long as its byte count says.
    """
    _kind(_READS, pdu)
    if len(pdu) < 2 or pdu[1] != len(pdu) - 2 or pdu[1] % 2 or pdu[1] == 0:
        raise ProtocolError(f"byte count does not fit the reply {_hex(pdu)}")
    # Not by pymodbus: on each read, and its loop takes five times as long.
    return struct.unpack_from(f">{pdu[1] // 2}H", pdu, 2)


def decode_write_register(pdu: bytes) -> tuple[int, int]:
    """Return start and value of function 06, request or reply.

    Raises:
        ProtocolError: it is no such PDU.
    """
    _check_length(pdu, 5)
    written = _understand(_kind(_WRITE_REGISTER, pdu)[0](), pdu)
    return written.address, written.registers[0]


def decode_write_registers_request(pdu: bytes) -> tuple[int, tuple[int, ...]]:
    """Return start and values of a request of function 16.

    Raises:
        ProtocolError: it is no such request, or its counts do not fit its length.
    """
    kind = _kind(_WRITE_REGISTERS, pdu)[0]
    _check_counts(pdu)
    written = _understand(kind(), pdu)
    return written.address, tuple(written.registers)


def encode_write_registers_reply(start: int, count: int) -> bytes:
    """Return the reply to function 16.

    Raises:
        EncodeError: registers outside 0..65535.
    """
    _check_registers(start, count, WRITE_REGISTERS_MAX)
    return _say(WriteMultipleRegistersResponse(address=start, count=count))


def decode_write_registers_reply(pdu: bytes) -> tuple[int, int]:
    """Return start and count of a reply to function 16.

    Raises:
        ProtocolError: it is no such reply.
    """
    _check_length(pdu, 5)
    written = _understand(_kind(_WRITE_REGISTERS, pdu)[1](), pdu)
    return written.address, written.count


def decode_vendor_write(pdu: bytes) -> tuple[int, int, bytes]:
    """Return function, start and data of a request that :func:`vendor_write_request` made.

    Raises:
        ProtocolError: its counts do not fit its length.
    """
    _check_counts(pdu)
    return pdu[0], int.from_bytes(pdu[1:3], "big"), pdu[6:]


def encode_exception(function: int, code: int) -> bytes:
    """Return the exception reply to a request of ``function``.

    Raises:
        EncodeError: a code outside 0..255 or a function outside 1..7F.
    """
    if not (0 <= code <= 0xFF and 1 <= function < EXCEPTION_FLAG):
        raise EncodeError(f"exception {code} to function {function} cannot be said")
    return _say(ExceptionResponse(function, code))


def decode_exception(pdu: bytes) -> tuple[int, int]:
    """Return the function that was refused and the exception code.

    Raises:
        ProtocolError: it is no exception reply.
    """
    _check_length(pdu, EXCEPTION_PDU_LENGTH)
    if not is_exception(pdu):
        raise ProtocolError(f"function {pdu[0]:02X} is no exception, in {_hex(pdu)}")
    function = pdu[0] ^ EXCEPTION_FLAG
    return function, _understand(ExceptionResponse(function), pdu).exception_code


def is_exception(pdu: bytes) -> bool:
    """Whether a reply PDU says no."""
    return bool(pdu) and pdu[0] >= EXCEPTION_FLAG


_Message = TypeVar("_Message", bound=ModbusPDU)


_READS: Final[dict[int, tuple[type[ModbusPDU], type[ModbusPDU]]]] = {
    Function.READ_HOLDING: (ReadHoldingRegistersRequest, ReadHoldingRegistersResponse),
    Function.READ_INPUT: (ReadInputRegistersRequest, ReadInputRegistersResponse),
}
_WRITE_REGISTER: Final[dict[int, tuple[type[ModbusPDU], type[ModbusPDU]]]] = {
    Function.WRITE_REGISTER: (WriteSingleRegisterRequest, WriteSingleRegisterResponse),
}
_WRITE_REGISTERS: Final[dict[int, tuple[type[ModbusPDU], type[ModbusPDU]]]] = {
    Function.WRITE_REGISTERS: (WriteMultipleRegistersRequest, WriteMultipleRegistersResponse),
}


def _say(message: ModbusPDU) -> bytes:
    return bytes((message.function_code,)) + message.encode()


def _understand(message: _Message, pdu: bytes) -> _Message:
    try:
        message.decode(pdu[1:])
    except (ModbusException, ValueError, IndexError, struct.error) as error:
        raise ProtocolError(f"{error}, in {_hex(pdu)}") from error
    return message


def _kind(
    kinds: dict[int, tuple[type[ModbusPDU], type[ModbusPDU]]], pdu: bytes
) -> tuple[type[ModbusPDU], type[ModbusPDU]]:
    kind = kinds.get(pdu[0]) if pdu else None
    if kind is None:
        expected = " or ".join(f"{function:02X}" for function in kinds)
        raise ProtocolError(f"expected function {expected}, in {_hex(pdu)}")
    return kind


def _check_length(pdu: bytes, length: int) -> None:
    if len(pdu) != length:
        raise ProtocolError(f"{len(pdu)} bytes, expected {length}, in {_hex(pdu)}")


def _check_counts(pdu: bytes) -> None:
    """Check register count and byte count of a write laid out as function 16."""
    count = int.from_bytes(pdu[3:5], "big")
    if len(pdu) < 6 or pdu[5] != 2 * count or len(pdu) != 6 + 2 * count:
        raise ProtocolError(f"counts do not fit the length, in {_hex(pdu)}")


def _check_registers(start: int, count: int, count_max: int) -> None:
    if not 1 <= count <= count_max:
        raise EncodeError(f"{count} registers in one request, expected 1..{count_max}")
    if not 0 <= start <= 0x10000 - count:
        raise EncodeError(f"{count} registers from {start} are not within 0..65535")


def _check_values(values: Sequence[int]) -> None:
    for value in values:
        if not 0 <= value <= 0xFFFF:
            raise EncodeError(f"register value {value} is not within 0..65535")


def _hex(data: bytes) -> str:
    return data.hex(" ").upper() or "nothing"
