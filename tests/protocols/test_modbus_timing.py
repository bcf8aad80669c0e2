import pytest

from meterplex.protocols.modbus.timing import (
    character_bits,
    character_time_s,
    silent_gap_s,
)


@pytest.mark.parametrize(
    ("parity", "stop_bits", "bits"),
    [("N", 1, 10), ("N", 2, 11), ("E", 1, 11), ("O", 1, 11), ("E", 2, 12)],
)
def test_character_has_start_data_parity_and_stop_bits(
    parity: str, stop_bits: int, bits: int
) -> None:
    assert character_bits(parity, stop_bits) == bits


@pytest.mark.parametrize(
    ("baud", "gap_s"),
    [
        # Modbus over Serial Line V1.02, 2.5.1.1: 3.5 characters of 11 bits up to 19200 baud
        pytest.param(1200, 3.5 * 11 / 1200, id="1200"),
        pytest.param(9600, 3.5 * 11 / 9600, id="9600"),
        pytest.param(19200, 3.5 * 11 / 19200, id="19200"),
        # ... and a fixed 1.750 ms above
        pytest.param(38400, 0.00175, id="38400"),
        pytest.param(115200, 0.00175, id="115200"),
    ],
)
def test_gap_is_three_and_a_half_characters_and_fixed_on_fast_lines(
    baud: int, gap_s: float
) -> None:
    assert silent_gap_s(character_time_s(baud, "E")) == pytest.approx(gap_s)


def test_device_that_needs_a_longer_gap_gets_it_on_fast_lines_too() -> None:
    assert silent_gap_s(0.001, characters=5) == pytest.approx(0.005)
