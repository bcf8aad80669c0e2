"""The meter's clock: plain binary bytes, two-digit year, weekday 0 = Sunday (DBG, EMS)."""

from datetime import date, datetime, time
from typing import Final

from meterplex.protocols.errors import EncodeError, ProtocolError

_CENTURY: Final = 2000


def decode_clock(data: bytes) -> datetime:
    """Read ``yy mm dd weekday hh mm ss``; the weekday is not looked at.

    Raises:
        ProtocolError: there is no such date or time.
    """
    year, month, day, _, hour, minute, second = data
    try:
        day_read = date(_CENTURY + year, month, day)
        time_read = time(hour, minute, second)
    except ValueError as error:
        raise ProtocolError(f"clock {data.hex(' ').upper()}: {error}") from error
    if year > 99:
        raise ProtocolError(f"clock {data.hex(' ').upper()}: year above 99")
    return datetime.combine(day_read, time_read)


def encode_clock(local: datetime) -> bytes:
    """Return the 10 data bytes ``ss mm hh weekday dd MM yy 00 00 00`` of a clock write.

    Raises:
        EncodeError: the time has a zone, or a year outside 2000..2099.
    """
    if local.tzinfo is not None:
        raise EncodeError(f"clock {local}: expected the meter's local time, without a zone")
    if not _CENTURY <= local.year < _CENTURY + 100:
        raise EncodeError(f"clock {local}: the meter holds years 2000 to 2099")
    weekday = local.isoweekday() % 7
    year = local.year - _CENTURY
    parts = (local.second, local.minute, local.hour, weekday, local.day, local.month, year)
    return bytes(parts) + bytes(3)
