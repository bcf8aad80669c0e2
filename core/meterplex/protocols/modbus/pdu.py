"""Requests and replies without their framing: Modbus Application Protocol V1.1b3, clause 6.

The only module that knows pymodbus, whose PDU classes say the bytes. A :class:`Request` carries,
beside its bytes, the shape of the one normal reply that fits it; framing modules match by that.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple

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
WRITE_REGISTERS_MAX: Final = 123
