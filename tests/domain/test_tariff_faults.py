from dataclasses import replace
from datetime import date, time
from decimal import Decimal
from typing import Any

import pytest
from tests.domain.tariff_samples import FLAT, blocks, decimals, one_season, slots

from meterplex.domain.registers import HEAT, WATER, Utility
from meterplex.domain.tariff import (
    Block,
    DayPlan,
    DayType,
    Demand,
    Holidays,
    Minimum,
    PowerFactor,
    PowerFactorStep,
    Rater,
    Slot,
    Span,
    Standing,
    Surcharge,
    TariffError,
    find_faults,
)

ALL = slots(at_0000="all")
YEAR = FLAT.seasons[0]
HALF = Decimal("0.5")
TWO_BLOCKS = replace(FLAT, blocks=blocks("100"), prices=decimals("0.5", "0.6"))


def with_days(*plans: DayPlan) -> dict[str, Any]:
    return {"seasons": (replace(YEAR, days=plans),)}


def with_slots(*plan: Slot) -> dict[str, Any]:
    return {"seasons": one_season(*plan)}


def with_steps(*steps: PowerFactorStep, target: str = "0.90") -> dict[str, Any]:
    return {"power_factor": PowerFactor(Decimal(target), ("energy",), steps)}


def step(percent: str = "0.5", per: str = "0.01", **rest: str) -> PowerFactorStep:
    limits = {key: Decimal(value) for key, value in rest.items()}
    return PowerFactorStep(Decimal(percent), Decimal(per), **limits)


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"id": ""}, ["id: is empty"]),
        ({"version": 0}, ["version: 0 is below 1"]),
        (
            {"utility": Utility("steam")},
            ["utility: 'steam' is not one of electricity, water, gas, heat"],
        ),
        (
            {"currency": "yuan"},
            ["currency: 'yuan' is no ISO 4217 code of three capital letters"],
        ),
        ({"time_zone": "Asia/Nowhere"}, ["time_zone: 'Asia/Nowhere' is no time zone"]),
        ({"time_zone": "../etc"}, ["time_zone: '../etc' is no time zone"]),
        (
            {"valid_from": date(1, 1, 1)},
            ["valid_from: 0001-01-01 is not between 1970 and 2199"],
        ),
        (
            {"block_span": Span.DAY, "billing_span": Span.DAY},
            [
                "periods.blocks: 'day' is neither month nor year",
                "periods.billing: 'day' is neither month nor year",
            ],
        ),
        (
            {"holidays": Holidays(frozenset({date(2026, 5, 1)}), frozenset({date(2026, 5, 1)}))},
            ["holidays.working_days: 2026-05-01 is also a holiday"],
        ),
        (
            {"bands": (), "prices": ((),), **with_slots()},
            [
                "bands.names: 0 bands, allowed are 1 to 5",
                "seasons[0].days[0].slots: gap in the calendar: the first slot must begin at 00:00",
            ],
        ),
        (
            {
                "bands": tuple("abcdef"),
                "prices": decimals("1 1 1 1 1 1"),
                **with_slots(*slots(at_0000="a")),
            },
            ["bands.names: 6 bands, allowed are 1 to 5"],
        ),
        (
            {"bands": ("all", "", "all"), "prices": decimals("1 1 1")},
            ["bands.names: 'all' is there 2 times", "bands.names: a name is empty"],
        ),
    ],
    ids=str,
)
def test_faults_of_the_head(changes: dict[str, Any], faults: list[str]) -> None:
    assert [str(fault) for fault in find_faults(replace(FLAT, **changes))] == faults


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"seasons": ()}, ["seasons: gap in the calendar: there is no season"]),
        (
            {"seasons": (replace(YEAR, name="", month=2, day=30),)},
            ["seasons[0].name: is empty", "seasons[0].from: 02-30 is no day of the year"],
        ),
        (
            {"seasons": (YEAR, replace(YEAR, name="again"))},
            ["seasons[1].from: overlaps seasons[0], which begins on the same day"],
        ),
        (
            with_days(DayPlan((DayType.WORKDAY, DayType.SUNDAY), ALL)),
            [
                "seasons[0].days: gap in the calendar: no slots for saturday",
                "seasons[0].days: gap in the calendar: no slots for holiday",
            ],
        ),
        (
            with_days(DayPlan(tuple(DayType), ALL), DayPlan((DayType.SUNDAY,), ALL)),
            ["seasons[0].days[1].types: sunday has slots already in days[0]"],
        ),
        (
            with_slots(*slots(at_0600="all")),
            ["seasons[0].days[0].slots: gap in the calendar: the first slot must begin at 00:00"],
        ),
        (
            with_slots(*ALL, Slot(time(8), "all"), Slot(time(8), "all"), Slot(time(6), "all")),
            [
                "seasons[0].days[0].slots[2].at: 08:00 does not come after the slot before it, "
                "08:00",
                "seasons[0].days[0].slots[3].at: 06:00 does not come after the slot before it, "
                "08:00",
            ],
        ),
        (
            with_slots(*(Slot(time(hour), "all") for hour in range(15))),
            ["seasons[0].days[0].slots: 15 slots, allowed are 14"],
        ),
        (
            with_slots(*ALL, Slot(time(8), "peak")),
            ["seasons[0].days[0].slots[1].band: unknown band 'peak'"],
        ),
    ],
    ids=str,
)
def test_faults_of_the_calendar(changes: dict[str, Any], faults: list[str]) -> None:
    assert [str(fault) for fault in find_faults(replace(FLAT, **changes))] == faults


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        (
            {"blocks": ()},
            ["blocks: there is no block", "energy.prices: 1 rows of prices for 0 blocks"],
        ),
        (
            {"blocks": blocks("100", "100"), "prices": decimals("1", "1", "1")},
            ["blocks[1].up_to: overlapping blocks: 100 is not above 100"],
        ),
        (
            {"blocks": blocks("200", "100"), "prices": decimals("1", "1", "1")},
            ["blocks[1].up_to: overlapping blocks: 100 is not above 200"],
        ),
        (
            {"blocks": blocks("0"), "prices": decimals("1", "1")},
            ["blocks[0].up_to: overlapping blocks: 0 is not above 0"],
        ),
        (
            {"blocks": (Block("a"), Block("b")), "prices": decimals("1", "1")},
            ["blocks[0].up_to: only the last block has no upper limit"],
        ),
        (
            {"blocks": (Block("a", Decimal(100)),)},
            ["blocks[0].up_to: gap: no block for use above 100; the last block has no limit"],
        ),
        (
            {"blocks": (Block("a", Decimal(1)), Block("a")), "prices": decimals("1", "1")},
            ["blocks: 'a' is there 2 times"],
        ),
        ({"prices": ()}, ["energy.prices: 0 rows of prices for 1 blocks"]),
        ({"prices": decimals("1 2")}, ["energy.prices[0]: 2 prices for 1 bands"]),
        ({"prices": decimals("-0.1")}, ["energy.prices[0][0]: price -0.1 is negative"]),
        (
            {"seasons": (replace(YEAR, blocks=blocks("5")),)},
            ["seasons[0].prices: 1 rows of prices for 2 blocks"],
        ),
        (
            {"seasons": (replace(YEAR, blocks=(), prices=decimals("1")),)},
            [
                "seasons[0].blocks: there is no block",
                "seasons[0].prices: 1 rows of prices for 0 blocks",
            ],
        ),
    ],
    ids=str,
)
def test_faults_of_blocks_and_prices(changes: dict[str, Any], faults: list[str]) -> None:
    assert [str(fault) for fault in find_faults(replace(FLAT, **changes))] == faults


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        (
            {"standing": (Standing("", Span.YEAR, Decimal(-1)),)},
            [
                "standing[0].per: 'year' is neither day nor month",
                "standing[0].amount: -1 is negative",
                "standing[0].name: is empty",
            ],
        ),
        (
            {"demand": (Demand("peak", 60, Decimal(-1)),)},
            [
                "demand[0].window_min: 60 is neither 15 nor 30",
                "demand[0].price_per_kw: -1 is negative",
            ],
        ),
        (
            {"utility": WATER, "demand": (Demand("peak", 15, Decimal(1)),), **with_steps()},
            [
                "demand: water is not measured in kWh, so it has no kW",
                "power_factor: water has no power factor",
            ],
        ),
        (
            {"minimum": Minimum(Span.YEAR, Decimal(-1))},
            ["minimum.per: 'year' is neither day nor month", "minimum.amount: -1 is negative"],
        ),
        (
            {
                "standing": (Standing("energy", Span.DAY, HALF), Standing("x", Span.DAY, HALF)),
                "demand": (Demand("x", 15, HALF), Demand("power factor", 15, HALF)),
            },
            [
                "standing[0].name: 'energy' is already another kind of component",
                "demand[0].name: 'x' is already standing[1]",
                "demand[1].name: 'power factor' is already the power factor charge",
            ],
        ),
        (
            {
                "surcharges": (
                    Surcharge("both", HALF, HALF, ("energy",)),
                    Surcharge("neither"),
                    Surcharge("nothing", percent=HALF),
                    Surcharge("late", percent=HALF, applies_to=("energy", "funds")),
                    Surcharge("funds", per_unit=HALF, applies_to=("demand",)),
                    Surcharge("early", percent=HALF, applies_to=("funds", "demand")),
                )
            },
            [
                "surcharge[0]: expected one of per_unit and percent",
                "surcharge[1]: expected one of per_unit and percent",
                "surcharge[2].applies_to: names no component",
                "surcharge[3].applies_to: 'funds' is no component before this one",
                "surcharge[4].applies_to: per_unit goes by the units used: only 'energy' fits",
            ],
        ),
    ],
    ids=str,
)
def test_faults_of_components(changes: dict[str, Any], faults: list[str]) -> None:
    assert [str(fault) for fault in find_faults(replace(FLAT, **changes))] == faults


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        (
            with_steps(target="1.10"),
            ["power_factor.target: 1.10 is not above 0 and at most 1"],
        ),
        (
            {"power_factor": PowerFactor(Decimal(1), ("surcharge",), ())},
            ["power_factor.applies_to: 'surcharge' is no component before this one"],
        ),
        (
            with_steps(step(), step(below="0.9", above="0.9")),
            [
                "power_factor.table[0]: expected one of below and above",
                "power_factor.table[1]: expected one of below and above",
            ],
        ),
        (
            with_steps(step(per="0", below="0.9", at_most="-1")),
            [
                "power_factor.table[0].per: 0 is not above 0",
                "power_factor.table[0].at_most: -1 has not the sign of percent",
            ],
        ),
        (
            with_steps(step(below="0.95"), step(below="0.7"), step(below="0.7")),
            [
                "power_factor.table[0].below: 0.95 is not below target 0.90",
                "power_factor.table[2].below: 0.7 is not below 0.7 before it",
            ],
        ),
        (
            with_steps(step(above="0.8"), step(above="0.95"), step(above="0.93")),
            [
                "power_factor.table[0].above: 0.8 is not above target 0.90",
                "power_factor.table[2].above: 0.93 is not above 0.95 before it",
            ],
        ),
    ],
    ids=str,
)
def test_faults_of_the_power_factor(changes: dict[str, Any], faults: list[str]) -> None:
    assert [str(fault) for fault in find_faults(replace(FLAT, **changes))] == faults


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "standing": (Standing("standing", Span.DAY, HALF),),
            "demand": (Demand("demand", 15, HALF),),
            "surcharges": (Surcharge("surcharge", per_unit=HALF),),
        },
        {"utility": HEAT, "demand": (Demand("peak", 30, HALF),)},
        with_steps(step(below="0.90"), step(below="0.70"), step(above="0.90")),
        {"surcharges": (Surcharge("rebate", percent=Decimal(-10), applies_to=("energy",)),)},
        {"surcharges": (Surcharge("aid", per_unit=Decimal("-0.1"), applies_to=("energy",)),)},
        {"surcharges": (Surcharge("tax", percent=HALF, applies_to=("energy", "demand")),)},
        {
            "blocks": (),
            "prices": (),
            "seasons": (replace(YEAR, blocks=blocks("5"), prices=decimals("1", "2")),),
        },
        {"seasons": (replace(YEAR, month=2, day=29),)},
    ],
    ids=str,
)
def test_sound_tariffs_have_no_fault(changes: dict[str, Any]) -> None:
    assert find_faults(replace(FLAT, **changes)) == ()


def test_everything_wrong_is_told_at_once_and_nothing_is_rated() -> None:
    bad = replace(
        TWO_BLOCKS,
        currency="?",
        blocks=blocks("100", "50"),
        seasons=one_season(*slots(at_0000="x")),
    )
    with pytest.raises(TariffError) as raised:
        Rater(bad)
    assert [fault.path for fault in raised.value.faults] == [
        "currency",
        "seasons[0].days[0].slots[0].band",
        "blocks[1].up_to",
        "energy.prices",
    ]
    assert str(raised.value).count("\n") == 3
