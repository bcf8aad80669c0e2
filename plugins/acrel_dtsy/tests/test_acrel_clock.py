from datetime import UTC, datetime

import pytest

from meterplex.protocols.errors import EncodeError, ProtocolError
from meterplex_acrel_dtsy.clock import decode_clock, encode_clock

FRIDAY = datetime(2026, 11, 20, 22, 30, 15)  # noqa: DTZ001 - a meter's local time


def test_clock_is_read_as_local_time() -> None:
    # Snapshot bytes 80-86: yy mm dd weekday hh mm ss.
    assert decode_clock(bytes.fromhex("1A 0B 14 05 16 1E 0F")) == FRIDAY


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1A 0D 14 05 16 1E 0F", id="month-13"),
        pytest.param("1A 02 1D 05 16 1E 0F", id="29-february-2026"),
        pytest.param("1A 0B 14 05 18 1E 0F", id="hour-24"),
        pytest.param("1A 0B 14 05 16 3C 0F", id="minute-60"),
        pytest.param("64 0B 14 05 16 1E 0F", id="year-100"),
        pytest.param("00 00 00 00 00 00 00", id="zeros"),
        pytest.param("FF FF FF FF FF FF FF", id="ones"),
    ],
)
def test_times_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_clock(bytes.fromhex(text))


@pytest.mark.parametrize(
    ("local", "written"),
    [
        pytest.param(FRIDAY, "0F 1E 16 05 14 0B 1A 00 00 00", id="friday-is-5"),
        pytest.param(FRIDAY.replace(day=22), "0F 1E 16 00 16 0B 1A 00 00 00", id="sunday-is-0"),
        pytest.param(FRIDAY.replace(year=2099), "0F 1E 16 05 14 0B 63 00 00 00", id="last-year"),
    ],
)
def test_clock_is_written_backwards_with_weekday(local: datetime, written: str) -> None:
    assert encode_clock(local) == bytes.fromhex(written)


@pytest.mark.parametrize(
    "local", [FRIDAY.replace(tzinfo=UTC), FRIDAY.replace(year=1999), FRIDAY.replace(year=2100)]
)
def test_times_that_the_meter_cannot_hold_are_refused(local: datetime) -> None:
    with pytest.raises(EncodeError):
        encode_clock(local)
