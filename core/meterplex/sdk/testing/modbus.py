"""What the kit knows of Modbus."""

from collections.abc import Callable

from meterplex.protocols.modbus.rtu import encode_adu


def modbus_refusal(code: int) -> Callable[[bytes], bytes]:
    """Return what refuses every RTU request with an exception of this code."""

    def refuse(request: bytes) -> bytes:
        return encode_adu(request[0], bytes([request[1] | 0x80, code]))

    return refuse
