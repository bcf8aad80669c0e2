from collections.abc import Callable
from dataclasses import replace

import pytest

from meterplex.domain.bus_plan import (
    BusConcern,
    BusPrediction,
    DeviceGroup,
    FrameSizes,
    Parity,
    SerialLine,
    predict_bus,
)

LINE = SerialLine(9600)
# 20 registers over Modbus RTU: 8 bytes out, 45 back.
METERS = DeviceGroup("meter", "modbus", (FrameSizes(8, 45),), count=27, turn_round_s=0.005)


def concerns(prediction: BusPrediction) -> list[BusConcern]:
    return [warning.concern for warning in prediction.warnings]


@pytest.mark.parametrize(
    ("line", "bits"),
    [
        pytest.param(SerialLine(9600), 10, id="8N1"),
        pytest.param(SerialLine(9600, Parity.EVEN), 11, id="8E1"),
        pytest.param(SerialLine(9600, Parity.NONE, 2), 11, id="8N2"),
        pytest.param(SerialLine(9600, Parity.ODD, 2), 12, id="8O2"),
    ],
)
def test_character_counts_start_data_parity_and_stop_bits(line: SerialLine, bits: int) -> None:
    assert line.character_s == pytest.approx(bits / 9600)


def test_gap_of_fast_lines_stays_at_1750_microseconds() -> None:
    assert SerialLine(115200).gap_s(3.5) == pytest.approx(0.00175)
    assert SerialLine(19200).gap_s(3.5) == pytest.approx(3.5 * 10 / 19200)


def test_round_is_characters_both_gaps_and_turn_round_of_each_exchange() -> None:
    # 53 characters and 7 of silence at 10 bits each, 5 ms turn-round, 27 meters.
    prediction = predict_bus(LINE, [METERS], interval_s=1800)
    assert prediction.round_s == pytest.approx(27 * (60 * 10 / 9600 + 0.005))
    assert prediction.exchanges == 27
    assert prediction.warnings == ()


def test_worst_round_takes_the_longest_allowed_silence() -> None:
    prediction = predict_bus(LINE, [METERS], interval_s=1800)
    assert prediction.round_worst_s == pytest.approx(27 * (60 * 10 / 9600 + 0.3))


def test_latency_of_a_network_is_paid_once_an_exchange() -> None:
    two = replace(METERS, frames=(FrameSizes(8, 45), FrameSizes(8, 9)))
    slow = predict_bus(replace(LINE, latency_s=0.5), [two], interval_s=1800)
    fast = predict_bus(LINE, [two], interval_s=1800)
    assert slow.round_s - fast.round_s == pytest.approx(27 * 2 * 0.5)


def test_dead_devices_cost_only_their_share_of_a_short_round() -> None:
    prediction = predict_bus(LINE, [replace(METERS, dead=3)], interval_s=1800, probe_s=60)
    live_s = 24 * (60 * 10 / 9600 + 0.005)
    tries_s = 3 * ((8 + 3.5) * 10 / 9600 + 0.3)
    assert prediction.round_s == pytest.approx(live_s / (1 - tries_s / 60))
    assert prediction.round_s - live_s < tries_s


def test_dead_devices_are_tried_once_in_a_long_round() -> None:
    line = replace(LINE, latency_s=3.0)
    prediction = predict_bus(line, [replace(METERS, dead=3)], interval_s=1800, probe_s=60)
    live_s = 24 * (60 * 10 / 9600 + 0.005 + 3.0)
    tries_s = 3 * ((8 + 3.5) * 10 / 9600 + 0.3 + 3.0)
    assert prediction.round_s == pytest.approx(live_s + tries_s)


def test_bus_of_dead_devices_only_still_has_a_round() -> None:
    prediction = predict_bus(LINE, [replace(METERS, count=2, dead=2)], interval_s=1800)
    assert prediction.round_s == pytest.approx(2 * ((8 + 3.5) * 10 / 9600 + 0.3))
    assert prediction.exchanges == 0


def test_load_is_reads_over_the_interval_plus_tries_over_the_probe_time() -> None:
    prediction = predict_bus(LINE, [replace(METERS, dead=3)], interval_s=10, probe_s=60)
    live_s = 24 * (60 * 10 / 9600 + 0.005)
    tries_s = 3 * ((8 + 3.5) * 10 / 9600 + 0.3)
    assert prediction.load == pytest.approx(live_s / 10 + tries_s / 60)


@pytest.mark.parametrize(
    ("interval_s", "expected"),
    [
        pytest.param(1800, [], id="half an hour is plenty"),
        pytest.param(2.0, [BusConcern.HIGH_LOAD], id="91 percent is high"),
        pytest.param(1.5, [BusConcern.OVERLOAD], id="121 percent is too much"),
    ],
)
def test_short_intervals_are_called_high_load_and_overload(
    interval_s: float, expected: list[BusConcern]
) -> None:
    assert concerns(predict_bus(LINE, [METERS], interval_s=interval_s)) == expected


def test_freshness_is_interval_plus_round_until_the_line_is_full() -> None:
    kept = predict_bus(LINE, [METERS], interval_s=60)
    assert kept.freshness_s == pytest.approx(60 + kept.round_s)
    full = predict_bus(LINE, [METERS], interval_s=1)
    assert full.freshness_s == pytest.approx(full.round_s)


@pytest.mark.parametrize(
    ("count", "devices_max", "expected"),
    [
        pytest.param(32, None, [], id="32 fit"),
        pytest.param(33, None, [BusConcern.TOO_MANY_DEVICES], id="33 do not"),
        pytest.param(33, 64, [], id="33 fit a bus made for 64"),
        pytest.param(20, 16, [BusConcern.TOO_MANY_DEVICES], id="20 do not fit a bus made for 16"),
    ],
)
def test_device_limit_of_the_bus_is_checked(
    count: int, devices_max: int | None, expected: list[BusConcern]
) -> None:
    plan = predict_bus(
        LINE, [replace(METERS, count=count)], interval_s=1800, devices_max=devices_max
    )
    assert concerns(plan) == expected


def test_smallest_limit_of_the_kinds_present_counts() -> None:
    small = replace(METERS, name="small", count=1, devices_max=8)
    absent = replace(METERS, name="absent", count=0, devices_max=1)
    plan = predict_bus(LINE, [replace(METERS, count=10), small, absent], interval_s=1800)
    assert [warning.text for warning in plan.warnings] == ["11 devices on one bus, it carries 8"]


def test_two_protocols_on_one_bus_are_named() -> None:
    valves = replace(METERS, name="valve", protocol="dlt645", count=2)
    plan = predict_bus(LINE, [METERS, valves], interval_s=1800)
    assert [warning.text for warning in plan.warnings] == [
        "devices of 2 protocols on one bus: dlt645, modbus"
    ]


def test_faster_line_is_never_slower() -> None:
    rounds = [
        predict_bus(SerialLine(baud), [METERS], interval_s=1800).round_s
        for baud in (1200, 2400, 4800, 9600, 19200, 38400, 115200)
    ]
    assert rounds == sorted(rounds, reverse=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: SerialLine(0), "baud 0", id="no speed"),
        pytest.param(lambda: SerialLine(9600, stop_bits=3), "stop bits 3", id="stop bits"),
        pytest.param(lambda: SerialLine(9600, latency_s=-1), "latency -1", id="latency"),
        pytest.param(lambda: replace(METERS, dead=28), "28 dead devices of 27", id="too many dead"),
        pytest.param(lambda: replace(METERS, frames=()), "no exchange", id="no frames"),
        pytest.param(lambda: replace(METERS, turn_round_s=-1), "response times", id="turn-round"),
        pytest.param(lambda: predict_bus(LINE, [], interval_s=1), "at least one", id="no device"),
        pytest.param(lambda: predict_bus(LINE, [METERS], interval_s=0), "positive", id="interval"),
        pytest.param(
            lambda: predict_bus(LINE, [METERS], interval_s=1, probe_s=0), "positive", id="probe"
        ),
    ],
)
def test_plan_that_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
