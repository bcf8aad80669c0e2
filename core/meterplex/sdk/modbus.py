"""The master's side of Modbus over a link: what drivers of Modbus meters are written on.

RTU or Modbus TCP framing is chosen by :attr:`~meterplex.sdk.links.Link.framing`; the driver does
not see the difference. Addresses are those of the PDU, from 0.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Final

from meterplex.protocols.errors import FrameError
from meterplex.protocols.modbus import mbap, rtu
from meterplex.protocols.modbus.pdu import (
    ExceptionCode,
    Function,
    Request,
    decode_exception,
    decode_read_reply,
    exception_name,
    is_exception,
    read_request,
    vendor_write_request,
    write_register_request,
    write_registers_request,
)
from meterplex.sdk.errors import (
    DamagedReplyError,
    DeviceRefusedError,
    DriverError,
    LinkTimeoutError,
    LinkUnavailableError,
    OutcomeUnknownError,
    SettingsError,
)
from meterplex.sdk.links import Framing, Link

Cipher = Callable[[bytes], bytes]
"""Enciphers one whole RTU frame, CRC included."""

_RTU_OVERHEAD: Final = 3

# One row of numbers for the whole process: a number that a link sees twice is then far from the
# first one, whichever masters and links came and went in between.
_TRANSACTIONS: Final = count()


def check_unit_address(text: str) -> str:
    """Return a unit address in normal form: decimal, ``"1"`` to ``"247"``, no leading zero.

    Raises:
        SettingsError: it is something else.
    """
    match = re.fullmatch(r"0*([1-9][0-9]{0,2})", text.strip())
    if match is None or int(match[1]) > rtu.UNIT_MAX:
        raise SettingsError(f"address {text!r}: expected a number within 1..{rtu.UNIT_MAX}")
    return match[1]


class ModbusMaster:
    """Reads and writes the registers of one device.

    Every method raises, besides what :meth:`Link.exchange` raises:

    - ``DeviceRefusedError`` with the exception code and its standard name;
    - ``LinkTimeoutError`` when a gateway says that the meter did not answer (exception 0B);
    - ``LinkUnavailableError`` when a gateway had no path to send on (exception 0A): not sent;
    - ``DamagedReplyError`` when a fitting reply cannot be true;
    - ``EncodeError`` (a ``ValueError``) when the request cannot be said in Modbus.

    The methods that write send one control frame once and never repeat it. An exception 05
    ("acknowledge": taken, not done yet) after a write is an ``OutcomeUnknownError``.

    Args:
        link: to the device's bus.
        unit: the device's address, 1..247.
        transactions: numbers for Modbus TCP, modulo 65536; none may come again on the same link
            while a reply may be late. None takes them from one row for the whole process.
    """

    def __init__(self, link: Link, unit: int, *, transactions: Iterator[int] | None = None) -> None:
        check_unit_address(str(unit))
        self._link = link
        self._unit = unit
        self._transactions = _TRANSACTIONS if transactions is None else transactions

    async def read_holding(self, start: int, count: int) -> tuple[int, ...]:
        """Read ``count`` (1..125) holding registers from ``start``, function 03."""
        return await self._read(Function.READ_HOLDING, start, count)

    async def read_input(self, start: int, count: int) -> tuple[int, ...]:
        """Read ``count`` (1..125) input registers from ``start``, function 04."""
        return await self._read(Function.READ_INPUT, start, count)

    async def write_register(self, start: int, value: int) -> None:
        """Write one register, function 06, as a control frame."""
        await self._write(write_register_request(start, value))

    async def write_registers(self, start: int, values: Sequence[int]) -> None:
        """Write 1..123 registers from ``start`` in one frame, function 16, as a control frame."""
        await self._write(write_registers_request(start, values))

    async def vendor_write(
        self,
        function: int,
        start: int,
        data: bytes,
        *,
        reply_length: int = 15,
        cipher: Cipher | None = None,
    ) -> bytes:
        """Write ``data`` by a maker's own function, framed as function 16 is; a control frame.

        Args:
            function: 01..7F, none of the standard's own.
            start: first register.
            data: an even number of bytes, 2..246.
            reply_length: bytes of the RTU reply, from address to CRC.
            cipher: enciphers the whole RTU frame with its CRC; the reply is plain.

        Returns:
            The reply's bytes after its function code, without CRC.

        Raises:
            SettingsError: a cipher on a Modbus TCP channel, where the gateway makes the RTU frame.
        """
        request = vendor_write_request(function, start, data, reply_length - _RTU_OVERHEAD)
        return (await self._write(request, cipher))[1:]

    async def _read(self, function: Function, start: int, count: int) -> tuple[int, ...]:
        if self._link.framing is Framing.TCP:
            pdu = await self._exchange_tcp(read_request(function, start, count), False)
        else:
            frame, delimiter = rtu.read_exchange(self._unit, function, start, count)
            reply = await self._link.exchange(frame, delimiter)
            pdu = self._unwrap_rtu(reply, delimiter.request)
        if is_exception(pdu):
            raise self._refusal(pdu)
        return decode_read_reply(pdu)

    async def _write(self, request: Request, cipher: Cipher | None = None) -> bytes:
        if self._link.framing is Framing.TCP:
            if cipher is not None:
                raise SettingsError(
                    f"address {self._unit}: a command cipher needs an RTU channel "
                    "(framing=rtu): over Modbus TCP the gateway makes the frame"
                )
            pdu = await self._exchange_tcp(request, True)
        else:
            frame = rtu.encode_adu(self._unit, request.pdu)
            sent = frame if cipher is None else cipher(frame)
            delimiter = rtu.RtuDelimiter(self._unit, request, sent)
            reply = await self._link.exchange(sent, delimiter, control=True)
            pdu = self._unwrap_rtu(reply, request)
        if is_exception(pdu):
            refusal = self._refusal(pdu)
            if decode_exception(pdu)[1] == ExceptionCode.ACKNOWLEDGE:
                raise OutcomeUnknownError(str(refusal))
            raise refusal
        return pdu

    def _unwrap_rtu(self, reply: bytes, request: Request) -> bytes:
        """Return the reply's PDU: a normal one that fits, or an exception."""
        try:
            unit, pdu = rtu.decode_adu(reply)
        except FrameError as error:
            raise DamagedReplyError(f"address {self._unit}: {error}") from error
        return self._fitting(request, unit, pdu)

    async def _exchange_tcp(self, request: Request, control: bool) -> bytes:
        transaction = next(self._transactions) & 0xFFFF
        delimiter = mbap.MbapDelimiter(transaction, self._unit, request)
        reply = await self._link.exchange(
            mbap.encode_adu(transaction, self._unit, request.pdu), delimiter, control=control
        )
        try:
            answered, unit, pdu = mbap.decode_adu(reply)
        except FrameError as error:
            raise DamagedReplyError(f"address {self._unit}: {error}") from error
        if answered != transaction:
            raise DamagedReplyError(
                f"address {self._unit}: reply to transaction {answered}, expected {transaction}"
            )
        return self._fitting(request, unit, pdu)

    def _fitting(self, request: Request, unit: int, pdu: bytes) -> bytes:
        """Return the PDU, whatever a link may have let through."""
        if unit == self._unit and (request.is_answered_by(pdu) or request.is_refused_by(pdu)):
            return pdu
        raise DamagedReplyError(
            f"address {self._unit}: reply {pdu.hex(' ').upper()} of address {unit} does not "
            f"fit the request {request.pdu.hex(' ').upper()}"
        )

    def _refusal(self, pdu: bytes) -> DriverError:
        function, code = decode_exception(pdu)
        text = (
            f"address {self._unit}: function {function:02X} refused with exception "
            f"{code:02X} ({exception_name(code)})"
        )
        match code:
            case ExceptionCode.GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND:
                return LinkTimeoutError(text)
            case ExceptionCode.GATEWAY_PATH_UNAVAILABLE:
                return LinkUnavailableError(text)
            case _:
                return DeviceRefusedError(text, code)
