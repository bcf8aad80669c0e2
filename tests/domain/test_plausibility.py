from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from meterplex.domain.plausibility import CounterReading, doubt
from meterplex.domain.registers import (
    ACTIVE_ENERGY_IMPORT,
    VOLTAGE_L1,
    WATER_VOLUME,
    ObisCode,
    RegisterType,
    Unit,
)

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)


def at(value: str, read_at: datetime = NOON) -> CounterReading:
    return CounterReading(Decimal(value), read_at)


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        pytest.param("100", "100", None, id="still"),
        pytest.param("100", "112.5", None, id="rises"),
        pytest.param("100", "99.99", "fell from 100 to 99.99", id="falls"),
        pytest.param("100", "2101", None, id="as-much-as-can-flow"),
        pytest.param(
            "100", "2101.01", "rose by 2001.01 kWh since 2026-11-20 12:00:00 UTC", id="jumps"
        ),
        pytest.param("0", "-1", "a counter shows -1", id="negative"),
    ],
)
def test_energy_half_an_hour_later(before: str, now: str, reason: str | None) -> None:
    later = at(now, NOON + HALF_HOUR)
    assert doubt(ACTIVE_ENERGY_IMPORT, later, at(before)) == reason


def test_what_may_flow_grows_with_the_time_between() -> None:
    after_a_day = at("90000", NOON + timedelta(days=1))
    assert doubt(ACTIVE_ENERGY_IMPORT, after_a_day, at("100")) is None


@pytest.mark.parametrize(
    ("now", "is_doubted"), [("101", False), ("101.001", True)], ids=["one-step", "more"]
)
def test_counter_may_step_by_one_unit_at_once(now: str, is_doubted: bool) -> None:
    assert (doubt(WATER_VOLUME, at(now), at("100")) is not None) == is_doubted


def test_first_reading_is_not_doubted() -> None:
    assert doubt(ACTIVE_ENERGY_IMPORT, at("999999.99"), None) is None


def test_negative_first_reading_is_doubted() -> None:
    assert doubt(ACTIVE_ENERGY_IMPORT, at("-0.01"), None) == "a counter shows -0.01"


def test_what_is_no_counter_may_fall() -> None:
    assert doubt(VOLTAGE_L1, at("-1"), at("230")) is None


def test_counter_of_an_unknown_unit_may_jump_but_not_fall() -> None:
    hours = RegisterType("run_time", ObisCode.parse("0-0:96.8.0"), Unit.HOUR, Decimal(1), True)
    assert doubt(hours, at("1e9"), at("1")) is None
    assert doubt(hours, at("0"), at("1")) == "fell from 1 to 0"
