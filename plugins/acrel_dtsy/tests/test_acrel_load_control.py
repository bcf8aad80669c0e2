from decimal import Decimal

import pytest

from meterplex.protocols.errors import EncodeError
from meterplex_acrel_dtsy.load_control import LoadControl, PhaseLimit, load_control_block

# 0x0480 (DBG): enable, then per phase max power, max step, power factor threshold, not readable,
# max trips, recover time u8 + u8.
SINGLE = (1, 8000, 500, 900, 0, 3, 0x0500)
THREE = (1, 8000, 500, 900, 0, 3, 0x0500, 7000, 400, 800, 0, 3, 0x0500, 9000, 300, 700, 0, 3, 0)
ONE_WATT = Decimal(1)


@pytest.mark.parametrize(("phases", "registers"), [(1, 7), (3, 19)])
def test_block_has_one_group_per_phase(phases: int, registers: int) -> None:
    block = load_control_block(phases)
    assert (block.start, block.count) == (0x0480, registers)


def test_phases_are_read() -> None:
    assert LoadControl.decode(SINGLE).phases == (PhaseLimit(8000, 500, 900),)
    assert LoadControl.decode(THREE).phases == (
        PhaseLimit(8000, 500, 900),
        PhaseLimit(7000, 400, 800),
        PhaseLimit(9000, 300, 700),
    )


@pytest.mark.parametrize(("unit_w", "limit_kw"), [("1", "7"), ("10", "70")])
def test_lowest_limit_counts(unit_w: str, limit_kw: str) -> None:
    assert LoadControl.decode(THREE).overload_kw(Decimal(unit_w)) == Decimal(limit_kw)


def test_limit_that_is_off_is_none() -> None:
    assert LoadControl.decode((0, *SINGLE[1:])).overload_kw(ONE_WATT) is None


def test_limit_is_written_to_every_phase_with_what_shares_its_group() -> None:
    frames = LoadControl.decode(THREE).encode_overload(Decimal("7.5"), ONE_WATT)
    # 0x20 at 0x0400, 0x040D, 0x041A (DBG): enable, on, enable, max power, step, power factor.
    assert frames == (
        (0x0400, bytes.fromhex("01 01 01 1D 4C 01 F4 03 84").ljust(26, b"\0")),
        (0x040D, bytes.fromhex("01 01 01 1D 4C 01 90 03 20").ljust(26, b"\0")),
        (0x041A, bytes.fromhex("01 01 01 1D 4C 01 2C 02 BC").ljust(26, b"\0")),
    )


def test_single_phase_takes_one_frame() -> None:
    ((start, data),) = LoadControl.decode(SINGLE).encode_overload(Decimal("7.5"), Decimal(10))
    assert start == 0x0400
    assert data[:5].hex(" ") == "01 01 01 02 ee"


@pytest.mark.parametrize("limit_kw", ["-1", "0.0005", "65.536"])
def test_limit_that_cannot_be_said_is_refused(limit_kw: str) -> None:
    with pytest.raises(EncodeError, match="overload"):
        LoadControl.decode(SINGLE).encode_overload(Decimal(limit_kw), ONE_WATT)
