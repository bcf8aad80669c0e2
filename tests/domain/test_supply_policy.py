from dataclasses import replace
from datetime import UTC, time, timedelta
from decimal import Decimal
from typing import Any

import pytest

from meterplex.domain.registers import ELECTRICITY, WATER, Utility
from meterplex.domain.supply_policy import (
    DEFAULT_POLICY,
    DayWindow,
    LimiterPolicy,
    OffAction,
    SupplyPolicy,
    UnitKind,
    WaterRule,
    disconnect_limit_units,
    needs_settling,
    off_action,
)

CLOSE, MINIMUM_FLOW = OffAction.CLOSE, OffAction.MINIMUM_FLOW


@pytest.mark.parametrize(
    ("window", "local", "is_inside"),
    [
        (DayWindow(time(9), time(16)), time(8, 59, 59, 999999), False),
        (DayWindow(time(9), time(16)), time(9), True),
        (DayWindow(time(9), time(16)), time(15, 59, 59, 999999), True),
        (DayWindow(time(9), time(16)), time(16), False),
        (DayWindow(time(20), time(0)), time(23, 59, 59, 999999), True),
        (DayWindow(time(20), time(0)), time(0), False),
        (DayWindow(time(0), time(0)), time(0), True),
    ],
    ids=["before", "start", "last", "end", "to-midnight", "next-day", "whole-day"],
)
def test_window_is_half_open(window: DayWindow, local: time, is_inside: bool) -> None:
    assert (local in window) is is_inside


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        (time(16), time(9), "16:00-09:00: expected an end after the start"),
        (time(9), time(9), "09:00-09:00: expected an end after the start"),
        (time(9, tzinfo=UTC), time(16), "without a zone"),
        (time(9), time(16, tzinfo=UTC), "without a zone"),
    ],
    ids=["over-midnight", "empty", "start-with-zone", "end-with-zone"],
)
def test_window_that_cannot_be_is_refused(start: time, end: time, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DayWindow(start, end)


@pytest.mark.parametrize(
    ("window", "text"),
    [
        (DayWindow(time(9), time(16, 30)), "09:00-16:30"),
        (DayWindow(time(9), time(0)), "09:00-24:00"),
    ],
)
def test_window_as_text(window: DayWindow, text: str) -> None:
    assert str(window) == text


def test_defaults_are_those_of_the_protocol() -> None:
    week = [[str(window) for window in day] for day in DEFAULT_POLICY.disconnect_windows]
    assert week == [["09:00-16:00"]] * 5 + [[], []]
    assert DEFAULT_POLICY.warning_lead == timedelta(hours=24)
    assert DEFAULT_POLICY.reading_age_polls_max == 2
    assert DEFAULT_POLICY.batch_alone_max == 10
    assert DEFAULT_POLICY.reconnect_threshold_units == 0
    assert SupplyPolicy() == DEFAULT_POLICY


@pytest.mark.parametrize(
    "changes",
    [
        {"disconnect_windows": ((),) * 6},
        {"reading_age_polls_max": -1},
        {"batch_alone_max": -1},
        {"reconnect_threshold_units": -1},
        {"reconnect_at_once_max": -1},
        {"warning_lead": timedelta(seconds=-1)},
        {"clock_jump_max": timedelta(seconds=-1)},
        {"settle_time": timedelta(seconds=-1)},
        {"reconnect_spread": timedelta(seconds=-1)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_policy_that_cannot_be_names_the_field(changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(ValueError, match=f"^{name}"):
        replace(DEFAULT_POLICY, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant_min": -1},
        {"system_min": -1},
        {"meter_day_max": -1},
        {"tenant_hour_percent": Decimal("-0.1")},
        {"tenant_day_percent": Decimal("100.1")},
        {"system_percent": Decimal(101)},
        {"system_window": timedelta(0)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_limiter_policy_that_cannot_be_names_the_field(changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(ValueError, match=f"^{name}"):
        replace(LimiterPolicy(), **changes)


def test_limit_lies_below_zero_by_overdraft_and_emergency_credit() -> None:
    assert disconnect_limit_units(0, 0) == 0
    assert disconnect_limit_units(300_000, 50_000) == -350_000


@pytest.mark.parametrize(
    ("overdraft", "emergency", "told"),
    [(-1, 0, "overdraft of -1"), (0, -1, "emergency credit of -1")],
    ids=["overdraft", "emergency"],
)
def test_negative_allowance_is_refused(overdraft: int, emergency: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        disconnect_limit_units(overdraft, emergency)


@pytest.mark.parametrize(
    ("rule", "utility", "kind", "can_minimum", "action"),
    [
        (WaterRule.MINIMUM_FLOW, WATER, UnitKind.HOME, True, MINIMUM_FLOW),
        (WaterRule.MINIMUM_FLOW, WATER, None, True, MINIMUM_FLOW),
        (WaterRule.MINIMUM_FLOW, WATER, UnitKind.HOME, False, CLOSE),
        (WaterRule.MINIMUM_FLOW, WATER, UnitKind.BUSINESS, True, CLOSE),
        (WaterRule.MINIMUM_FLOW, WATER, UnitKind.PUBLIC, True, CLOSE),
        (WaterRule.NEVER_CLOSE, WATER, UnitKind.HOME, True, MINIMUM_FLOW),
        (WaterRule.NEVER_CLOSE, WATER, UnitKind.HOME, False, None),
        (WaterRule.NEVER_CLOSE, WATER, UnitKind.BUSINESS, False, CLOSE),
        (WaterRule.CLOSE, WATER, UnitKind.HOME, True, CLOSE),
        (WaterRule.NEVER_CLOSE, ELECTRICITY, UnitKind.HOME, True, CLOSE),
    ],
)
def test_what_a_disconnect_does(
    rule: WaterRule,
    utility: Utility,
    kind: UnitKind | None,
    can_minimum: bool,
    action: OffAction | None,
) -> None:
    policy = SupplyPolicy(water_homes=rule)
    assert off_action(policy, utility, kind, valve_can_minimum_flow=can_minimum) is action


@pytest.mark.parametrize(
    ("gap", "needed"),
    [
        (timedelta(minutes=5), False),
        (timedelta(minutes=5, seconds=1), True),
        (timedelta(minutes=-5, seconds=-1), True),
    ],
    ids=["short", "long", "back"],
)
def test_long_outage_or_clock_jump_needs_settling(gap: timedelta, needed: bool) -> None:
    assert needs_settling(DEFAULT_POLICY, gap) is needed
