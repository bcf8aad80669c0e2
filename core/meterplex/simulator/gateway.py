"""A Modbus TCP gateway: MBAP on one side, RTU on the wire, one exchange at a time.

What gateways in the field do, and this one does: requests of all connections queue up; a device
that stays silent, or whose reply is damaged or from somebody else, becomes exception 0B (gateway
target device failed to respond); the unit of a reply is that of its request.
"""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass

from fastcrc.crc16 import modbus

from meterplex.simulator.wire import Wire

_HEADER = struct.Struct(">HHHB")
"""Transaction, protocol (0), length of unit and PDU, unit."""
_PDU_MAX = 253
_TARGET_SILENT = 0x0B


@dataclass(frozen=True, slots=True)
class _Request:
    transaction: int
    unit: int
    pdu: bytes
    write: Callable[[bytes], None]


class Modem:
    """The serial side of a gateway."""

    def __init__(self, wire: Wire, answer_timeout_s: float) -> None:
        self._wire = wire
        self._timeout_s = answer_timeout_s
        self._waiting: asyncio.Queue[_Request] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None

    def put(self, request: _Request) -> None:
        """Queue a request; its answer goes to its ``write``."""
        self._waiting.put_nowait(request)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        """Serve until nobody waits."""
        while not self._waiting.empty():
            request = self._waiting.get_nowait()
            pdu = await self._exchange(request.unit, request.pdu)
            if pdu is None:
                pdu = bytes((request.pdu[0] | 0x80, _TARGET_SILENT))
            header = _HEADER.pack(request.transaction, 0, len(pdu) + 1, request.unit)
            request.write(header + pdu)
            if self._wire.pace is not None:
                await asyncio.sleep(self._wire.pace.gap_s)

    async def _exchange(self, unit: int, pdu: bytes) -> bytes | None:
        """Return the PDU of the device's reply, or None when no good one comes."""
        heard = bytearray()
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def take(data: bytes) -> None:
            heard.extend(data)
            whole = len(heard) >= 5 and modbus(bytes(heard)) == 0
            fits = whole and heard[0] == unit and heard[1] & 0x7F == pdu[0]
            if fits and not done.done():
                done.set_result(bytes(heard[1:-2]))

        frame = bytes((unit,)) + pdu
        pace = self._wire.pace
        wire_s = 0.0 if pace is None else (len(frame) + 2 + _PDU_MAX) * pace.character_s
        self._wire.hear(frame + modbus(frame).to_bytes(2, "little"), take)
        try:
            async with asyncio.timeout(self._timeout_s + wire_s):
                return await done
        except TimeoutError:
            return None


class GatewaySession:
    """One connection of a gateway: takes MBAP frames out of its bytes."""

    def __init__(self, modem: Modem, write: Callable[[bytes], None]) -> None:
        self._modem = modem
        self._write = write
        self._buffer = bytearray()

    def receive(self, data: bytes) -> None:
        """Take bytes of the connection; what is no MBAP frame is dropped with all behind it."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(self._buffer)
            if protocol != 0 or not 2 <= length <= _PDU_MAX + 1:
                self._buffer.clear()
                return
            if len(self._buffer) < 6 + length:
                return
            pdu = bytes(self._buffer[7 : 6 + length])
            del self._buffer[: 6 + length]
            self._modem.put(_Request(transaction, unit, pdu, self._write))
