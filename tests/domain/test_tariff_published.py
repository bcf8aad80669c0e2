"""Published bills and prices of real tariffs."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from tests.domain.tariff_samples import (
    FLAT,
    at,
    blocks,
    decimals,
    evenly,
    one_season,
    only_bill,
    slots,
    used,
)

from meterplex.domain.registers import WATER
from meterplex.domain.tariff import Demand, Minimum, Span

# Tenaga Nasional Berhad (Malaysia), tariff A, domestic. Prices, minimum and the worked bill for
# 690 kWh (43.60 + 33.40 + 154.80 + 49.14) from WeirdKaya, "Saw A Spike In Electricity Bills? Here's
# How You Can Calculate Your TNB Bills By Your Own" (weirdkaya.com). Its service tax of 8 % on the
# use above 600 kWh (RM 3.93) is a tax on a part of a component and left out here.
TNB_DOMESTIC = replace(
    FLAT,
    id="tnb-a",
    currency="MYR",
    time_zone="Asia/Kuala_Lumpur",
    blocks=blocks("200", "300", "600", "900"),
    prices=decimals("0.218", "0.334", "0.516", "0.546", "0.571"),
    minimum=Minimum(Span.MONTH, Decimal(3)),
)


def test_tnb_domestic_690_kwh() -> None:
    bill = only_bill(TNB_DOMESTIC, used("2026-04-01", "2026-05-01", "690"))
    assert [line.amount_units for line in bill.lines] == [436000, 334000, 1548000, 491400]
    assert bill.payable_minor == 28094


@pytest.mark.parametrize(
    ("units", "payable_minor"), [("0", 300), ("13.761", 300), ("13.77", 300), ("14", 305)]
)
def test_tnb_domestic_minimum_charge(units: str, payable_minor: int) -> None:
    # Minimum of RM 3.00 from the same source, arithmetic ours.
    bill = only_bill(TNB_DOMESTIC, used("2026-04-01", "2026-05-01", units))
    assert bill.payable_minor == payable_minor


# Water Supplies Department, Hong Kong: "Scale of Charges", annual reports 2013/14 and 2022/23: per
# four months 12 m3 free, the next 31 at HK$ 4.16, the next 19 at 6.45, the rest at 9.05. The
# department's example of 60 m3 in four months for HK$ 238.61 is quoted by factchecker.sg (2017).
# Our block periods are months and years, so the four months are the only use of a year.
HONG_KONG_WATER = replace(
    FLAT,
    id="wsd-domestic",
    utility=WATER,
    currency="HKD",
    time_zone="Asia/Hong_Kong",
    block_span=Span.YEAR,
    billing_span=Span.YEAR,
    blocks=blocks("12", "43", "62"),
    prices=decimals("0", "4.16", "6.45", "9.05"),
)


@pytest.mark.parametrize(
    ("units", "payable_minor"),
    [("12", 0), ("60", 23861), ("62", 25151), ("70", 32391)],
    ids=["free", "the department's example", "third tier full (ours)", "fourth tier (ours)"],
)
def test_hong_kong_water(units: str, payable_minor: int) -> None:
    bill = only_bill(HONG_KONG_WATER, used("2026-01-01", "2026-05-01", units))
    assert bill.payable_minor == payable_minor


# Tenaga Nasional Berhad, tariff C2, medium voltage peak/off-peak commercial: RM 45.10 per kW of
# maximum demand, 36.5 sen in the peak period (08:00-22:00), 22.4 sen off-peak, at least RM 600 a
# month. Prices from "Pricing & Tariff", mytnb.com.my; demand over 30 minutes from "Maximum Demand",
# tnb.com.my; arithmetic ours. Theirs counts demand in the peak period only, where ours falls too.
TNB_COMMERCIAL = replace(
    FLAT,
    id="tnb-c2",
    currency="MYR",
    time_zone="Asia/Kuala_Lumpur",
    bands=("peak", "off-peak"),
    seasons=one_season(*slots(at_0000="off-peak", at_0800="peak", at_2200="off-peak")),
    prices=decimals("0.365 0.224"),
    demand=(Demand("maximum demand", 30, Decimal("45.10")),),
    minimum=Minimum(Span.MONTH, Decimal(600)),
)


def test_tnb_commercial_month() -> None:
    day = [Decimal(10)] * 16 + [Decimal(40)] * 28 + [Decimal(10)] * 4
    day[30] = Decimal(60)  # 15:00 to 15:30: 120 kW
    month = evenly(at("2026-06-01"), timedelta(minutes=30), day * 30)
    bill = only_bill(TNB_COMMERCIAL, *month)
    # Peak 30 x (27 x 40 + 60) = 34,200 kWh, off-peak 30 x 20 x 10 = 6,000 kWh.
    assert [(str(line.units), line.amount_units) for line in bill.lines] == [
        ("34200", 124_830_000),
        ("6000", 13_440_000),
        ("120", 54_120_000),
    ]
    assert bill.payable_minor == 1_923_900


def test_tnb_commercial_minimum() -> None:
    bill = only_bill(TNB_COMMERCIAL, used("2026-06-01 08:00", "2026-06-01 22:00", "14"))
    assert [line.amount_units for line in bill.lines] == [51100, 451000, 5497900]
