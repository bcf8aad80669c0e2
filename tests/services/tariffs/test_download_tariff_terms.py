from dataclasses import replace
from datetime import time
from decimal import Decimal
from typing import Any

import pytest
from tests.domain.tariff_cases import drain
from tests.domain.tariff_samples import FLAT, blocks, decimals, one_season, slots

from meterplex.domain.tariff import (
    DayPlan,
    DayType,
    Demand,
    Minimum,
    PowerFactor,
    Season,
    Slot,
    Span,
    Standing,
    Surcharge,
    TariffError,
    find_faults,
)
from meterplex.sdk import Prices, Rate, RateChange, SeasonStart, TouCalendar
from meterplex.services.tariffs.meter_terms import meter_terms

NIGHT = slots(at_0000="valley", at_0600="peak", at_2200="valley")
TOU = replace(
    FLAT,
    bands=("peak", "valley"),
    seasons=one_season(*NIGHT),
    prices=decimals("0.6170 0.3070"),
)
WORKDAY = DayPlan((DayType.WORKDAY,), NIGHT)
FREE_DAY = DayPlan((DayType.SATURDAY, DayType.SUNDAY, DayType.HOLIDAY), slots(at_0000="valley"))


def season(month: int, *plan: Slot, day: int = 1, **rest: Any) -> Season:
    return Season(f"from {month}", month, day, (DayPlan(tuple(DayType), plan),), **rest)


def test_one_price_needs_no_calendar() -> None:
    terms = meter_terms(FLAT)
    assert terms.prices == Prices(*(Decimal("0.5000"),) * 4)
    assert terms.calendar is None


def test_bands_become_rates_and_absent_rates_get_the_lowest_price() -> None:
    low = Decimal("0.3070")
    assert meter_terms(TOU).prices == Prices(low, Decimal("0.6170"), low, low)
    assert meter_terms(TOU).calendar == TouCalendar(
        (SeasonStart(1, 1, 0),),
        (
            (
                RateChange(time(0), Rate.VALLEY),
                RateChange(time(6), Rate.PEAK),
                RateChange(time(22), Rate.VALLEY),
            ),
        ),
    )


def test_four_bands_in_any_order_find_their_rates() -> None:
    four = replace(
        TOU, bands=("valley", "flat", "sharp", "peak"), prices=decimals("0.1 0.2 0.4 0.3")
    )
    assert meter_terms(four).prices == Prices(*map(Decimal, ("0.4", "0.3", "0.2", "0.1")))


def test_seasons_come_in_the_order_of_the_year_and_share_their_days() -> None:
    autumn = season(10, *NIGHT)
    spring = season(3, *slots(at_0000="valley", at_0300="valley", at_0600="peak", at_2200="valley"))
    summer = season(6, *slots(at_0000="peak"), day=15)
    calendar = meter_terms(replace(TOU, seasons=(autumn, spring, summer))).calendar
    assert calendar is not None
    assert calendar.seasons == (SeasonStart(3, 1, 0), SeasonStart(6, 15, 1), SeasonStart(10, 1, 0))
    assert [len(table) for table in calendar.day_tables] == [3, 1]


def test_minimum_of_nothing_is_no_obstacle() -> None:
    free = replace(TOU, minimum=Minimum(Span.MONTH, Decimal("0.00")))
    assert meter_terms(free) == meter_terms(TOU)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"blocks": blocks("100"), "prices": decimals("1 2", "3 4")},
            "seasons[0].blocks: a meter holds no blocks",
        ),
        (
            {"bands": ("peak", "noon"), "seasons": one_season(*slots(at_0000="noon"))},
            "bands.names: 'noon' is no rate of a meter: sharp, peak, flat, valley",
        ),
        (
            {"seasons": (season(1, *NIGHT), season(6, *NIGHT, prices=decimals("1 2")))},
            "seasons[1].prices: a meter holds the same prices all year",
        ),
        (
            {"seasons": (replace(season(1), days=(WORKDAY, FREE_DAY)),)},
            "seasons[0].days: a meter knows no kinds of days",
        ),
        (
            {"seasons": (season(2, *NIGHT, day=29),)},
            "seasons[0].from: a meter may not know 29 February",
        ),
        (
            {"standing": (Standing("rent", Span.MONTH, Decimal(1)),)},
            "standing: a meter charges energy alone",
        ),
        (
            {"demand": (Demand("peak load", 15, Decimal(1)),)},
            "demand: a meter charges energy alone",
        ),
        (
            {"power_factor": PowerFactor(Decimal(1), ("energy",), ())},
            "power_factor: a meter charges energy alone",
        ),
        (
            {"surcharges": (Surcharge("VAT", percent=Decimal(1), applies_to=("energy",)),)},
            "surcharge: a meter charges energy alone",
        ),
        (
            {"minimum": Minimum(Span.MONTH, Decimal(1))},
            "minimum: a meter charges energy alone",
        ),
        ({"components": (drain(Decimal(1)),)}, "drain: a meter charges energy alone"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_what_a_meter_cannot_hold_is_told(changes: dict[str, Any], fault: str) -> None:
    tariff = replace(TOU, **changes)
    assert not find_faults(tariff)
    with pytest.raises(TariffError) as raised:
        meter_terms(tariff)
    assert [str(each) for each in raised.value.faults] == [fault]
