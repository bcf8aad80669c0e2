from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from tests.domain.tariff_samples import FLAT

from meterplex.domain.charged_registers import main_counter
from meterplex.domain.charged_use import (
    UnitScale,
    reactive_use,
    span_start,
    usage_of,
    whole_second,
)
from meterplex.domain.charging import Point, Shown
from meterplex.domain.registers import (
    ACTIVE_ENERGY_EXPORT,
    ACTIVE_ENERGY_IMPORT,
    ELECTRICITY,
    VOLTAGE_L1,
    WATER_VOLUME,
    RegisterType,
    Unit,
    Utility,
)
from meterplex.domain.tariff import Span, UsageError

BEGIN = datetime(2026, 7, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("ct", "pt", "units"),
    [
        pytest.param("1", "1", "1.234", id="direct"),
        pytest.param("40", "1", "49.360", id="ct"),
        pytest.param("0.5", "100.0", "61.700", id="fractions"),
    ],
)
def test_ratios_are_applied_once_and_exactly(ct: str, pt: str, units: str) -> None:
    scale = UnitScale.of(ACTIVE_ENERGY_IMPORT, Decimal(ct), Decimal(pt))
    assert scale.units(1234) == Decimal(units)


def test_ratios_with_too_many_decimals_are_refused() -> None:
    with pytest.raises(UsageError, match="more than 9 decimals"):
        UnitScale.of(ACTIVE_ENERGY_IMPORT, Decimal("0.0000001"), Decimal(1))


def test_a_step_above_one_has_no_decimals() -> None:
    scale = UnitScale.of(ACTIVE_ENERGY_IMPORT, Decimal(5000), Decimal(2))
    assert scale == UnitScale(10, 0)


def test_use_lies_between_whole_seconds() -> None:
    start = Shown(BEGIN + timedelta(milliseconds=700), 0)
    points = [Point(BEGIN + HOUR + timedelta(milliseconds=200), 5, 5)]
    service = whole_second(start.at), whole_second(points[0].at)
    usage = usage_of(start, points, UnitScale(2, 3), service, [7])
    assert (usage.ends - usage.starts).tolist() == [3600]
    assert usage.steps.tolist() == [10]
    assert usage.reactive_steps is not None
    assert usage.reactive_steps.tolist() == [14]
    assert usage_of(start, points, UnitScale(1, 3), service).reactive_steps is None


def test_reactive_use_that_is_missing_at_a_point_counts_at_the_next() -> None:
    points = [Point(BEGIN + number * HOUR, 0, 0) for number in (1, 2, 3, 4)]
    readings = [Shown(BEGIN + hours * HOUR, count) for hours, count in ((0, 5), (2, 9), (3, 7))]
    assert reactive_use(Shown(BEGIN, 0), points, readings) == [0, 4, 0, 0]
    assert reactive_use(Shown(BEGIN, 0), points, readings[:1]) is None


def test_reactive_use_begins_with_its_first_reading() -> None:
    points = [Point(BEGIN + number * HOUR, 0, 0) for number in (1, 2)]
    readings = [Shown(point.at, 10 * number) for number, point in enumerate(points, start=1)]
    assert reactive_use(Shown(BEGIN, 0), points, readings) == [0, 10]


def test_spans_begin_at_local_midnight() -> None:
    at = datetime(2026, 7, 31, 16, tzinfo=UTC)  # 1 August in Shanghai
    zone = ZoneInfo("Asia/Shanghai")
    assert span_start(FLAT, Span.MONTH, at) == datetime(2026, 8, 1, tzinfo=zone)
    assert span_start(FLAT, Span.YEAR, at) == datetime(2026, 1, 1, tzinfo=zone)


@pytest.mark.parametrize(
    ("utility", "unit", "registers", "expected"),
    [
        pytest.param(ELECTRICITY, Unit.KWH, [], ACTIVE_ENERGY_IMPORT, id="built-in"),
        pytest.param(
            Utility("steam"),
            Unit.KWH,
            [ACTIVE_ENERGY_EXPORT, VOLTAGE_L1],
            ACTIVE_ENERGY_EXPORT,
            id="only-counter",
        ),
        pytest.param(Utility("steam"), None, [WATER_VOLUME], WATER_VOLUME, id="any-unit"),
        pytest.param(Utility("steam"), Unit.KWH, [WATER_VOLUME], None, id="other-unit"),
        pytest.param(
            Utility("steam"), None, [WATER_VOLUME, ACTIVE_ENERGY_IMPORT], None, id="several"
        ),
    ],
)
def test_counter_of_a_utility(
    utility: Utility,
    unit: Unit | None,
    registers: list[RegisterType],
    expected: RegisterType | None,
) -> None:
    assert main_counter(utility, unit, registers) == expected
