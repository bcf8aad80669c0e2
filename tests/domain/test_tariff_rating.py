from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from tests.domain.tariff_samples import (
    EVERY_DAY,
    FLAT,
    SHANGHAI,
    amounts,
    at,
    blocks,
    decimals,
    evenly,
    month_of,
    one_season,
    only_bill,
    rate,
    slots,
    used,
)

from meterplex.domain.money import Rounding
from meterplex.domain.registers import GAS, HEAT, WATER, Utility
from meterplex.domain.tariff import (
    BlockAllocation,
    ComponentKind,
    DayPlan,
    Demand,
    Interval,
    Minimum,
    PowerFactor,
    PowerFactorStep,
    Rater,
    Season,
    Span,
    Standing,
    Surcharge,
    Usage,
    UsageError,
    rating,
)

BLOCKS = replace(FLAT, blocks=blocks("100", "200"), prices=decimals("0.5", "0.6", "0.9"))
TWO_BANDS = replace(
    FLAT,
    bands=("peak", "valley"),
    seasons=one_season(*slots(at_0000="valley", at_0600="peak", at_2200="valley")),
    prices=decimals("0.6 0.3"),
)
BOTH = replace(TWO_BANDS, blocks=blocks("100"), prices=decimals("0.6 0.3", "0.8 0.5"))


# Energy


def test_flat_price() -> None:
    bill = only_bill(FLAT, month_of("12.345"))
    assert amounts(bill) == [("energy", "block 1", "all", "2469/200", "61725")]
    assert (bill.units, bill.total_units, bill.payable_minor) == (Fraction("12.345"), 61725, 617)
    assert (bill.start, bill.end) == (at("2026-07-01"), at("2026-08-01"))


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ("100", [("1", "100", "500000")]),
        ("100.001", [("1", "100", "500000"), ("2", "1/1000", "6")]),
        ("250", [("1", "100", "500000"), ("2", "100", "600000"), ("3", "50", "450000")]),
        ("0", []),
    ],
)
def test_units_fill_the_blocks_in_order(units: str, expected: list[tuple[str, str, str]]) -> None:
    bill = only_bill(BLOCKS, month_of(units))
    assert amounts(bill) == [
        ("energy", f"block {n}", "all", of_block, amount) for n, of_block, amount in expected
    ]


def test_interval_is_split_at_band_edges_by_elapsed_seconds() -> None:
    bill = only_bill(TWO_BANDS, used("2026-07-01 05:00", "2026-07-01 08:00", "10"))
    assert amounts(bill) == [
        ("energy", "block 1", "peak", "20/3", "40000"),
        ("energy", "block 1", "valley", "10/3", "10000"),
    ]


def test_line_says_when_its_units_were_used() -> None:
    first, second = only_bill(TWO_BANDS, used("2026-07-01 05:00", "2026-07-02 05:30", "10")).lines
    assert (first.start, first.end) == (at("2026-07-01 06:00"), at("2026-07-01 22:00"))
    assert (second.start, second.end) == (at("2026-07-01 05:00"), at("2026-07-02 05:30"))
    assert (first.price, first.unit, first.kind) == (Decimal("0.6"), "kWh", ComponentKind.ENERGY)


def test_interval_over_a_month_end_is_split_into_two_bills() -> None:
    july, august = rate(BLOCKS, used("2026-07-31 18:00", "2026-08-01 06:00", "300"))
    assert [bill.units for bill in (july, august)] == [150, 150]
    assert amounts(july) == amounts(august)


def test_blocks_of_a_year_go_on_over_months_and_start_again_at_new_year() -> None:
    yearly = replace(BLOCKS, block_span=Span.YEAR)
    bills = rate(
        yearly,
        month_of("150", "2026-11-01", "2026-12-01"),
        month_of("100", "2026-12-01", "2027-01-01"),
        month_of("50", "2027-01-01", "2027-02-01"),
    )
    assert [amounts(bill) for bill in bills] == [
        [
            ("energy", "block 1", "all", "100", "500000"),
            ("energy", "block 2", "all", "50", "300000"),
        ],
        [
            ("energy", "block 2", "all", "50", "300000"),
            ("energy", "block 3", "all", "50", "450000"),
        ],
        [("energy", "block 1", "all", "50", "250000")],
    ]


def test_units_used_before_move_the_first_block_counter_only() -> None:
    usage = Usage.of(
        [month_of("20"), month_of("20", "2026-08-01", "2026-09-01")], opening_units=Decimal(90)
    )
    july, august = Rater(BLOCKS).rate(usage).bills
    assert [line.units for line in july.lines] == [10, 10]
    assert [line.units for line in august.lines] == [20]


@pytest.mark.parametrize(
    ("allocation", "expected"),
    [
        (
            BlockAllocation.CHRONOLOGICAL,
            [("block 1", "peak", "40"), ("block 1", "valley", "60"), ("block 2", "valley", "100")],
        ),
        (
            BlockAllocation.PRO_RATA,
            [
                ("block 1", "peak", "20"),
                ("block 1", "valley", "80"),
                ("block 2", "peak", "20"),
                ("block 2", "valley", "80"),
            ],
        ),
    ],
    ids=str,
)
def test_blocks_meet_bands(
    allocation: BlockAllocation, expected: list[tuple[str, str, str]]
) -> None:
    tariff = replace(BOTH, block_allocation=allocation)
    bill = only_bill(
        tariff,
        used("2026-07-01 06:00", "2026-07-01 22:00", "40"),
        used("2026-07-01 22:00", "2026-07-02 06:00", "160"),
    )
    assert [(line.block, line.band, str(line.units)) for line in bill.lines] == expected


def test_pro_rata_goes_on_where_the_block_counter_stands() -> None:
    tariff = replace(BLOCKS, block_allocation=BlockAllocation.PRO_RATA)
    usage = Usage.of([month_of("60")], opening_units=Decimal(150))
    (bill,) = Rater(tariff).rate(usage).bills
    assert [(line.block, str(line.units)) for line in bill.lines] == [
        ("block 2", "50"),
        ("block 3", "10"),
    ]


SEASONS = replace(
    BOTH,
    seasons=(
        Season("summer", 7, 16, (DayPlan(EVERY_DAY, slots(at_0000="peak")),)),
        Season(
            "rest",
            9,
            1,
            (DayPlan(EVERY_DAY, slots(at_0000="peak")),),
            blocks("50"),
            decimals("0.6 0.1", "0.7 0.1"),
        ),
    ),
)


@pytest.mark.parametrize("allocation", list(BlockAllocation))
def test_season_may_bring_blocks_and_prices_in_the_middle_of_a_month(
    allocation: BlockAllocation,
) -> None:
    tariff = replace(SEASONS, block_allocation=allocation)
    bill = only_bill(
        tariff,
        used("2026-07-01", "2026-07-16", "80"),
        used("2026-07-16", "2026-08-01", "40"),
    )
    # Block 1 at the same price is one line: 50 of the old season, 20 of the new.
    assert [(line.block, str(line.units), line.price) for line in bill.lines] == [
        ("block 1", "70", Decimal("0.6")),
        ("block 2", "20", Decimal("0.8")),
        ("block 2", "30", Decimal("0.7")),
    ]


@pytest.mark.parametrize(("utility", "unit"), [(WATER, "m3"), (GAS, "m3"), (HEAT, "kWh")], ids=str)
def test_other_utilities_are_rated_alike(utility: Utility, unit: str) -> None:
    (line,) = only_bill(replace(FLAT, utility=utility), month_of("3")).lines
    assert (line.unit, line.amount_units) == (unit, 15000)


def test_rounding_mode_is_the_tariffs() -> None:
    price = replace(FLAT, prices=decimals("0.00005"))
    even = replace(price, rounding=Rounding.HALF_EVEN)
    assert only_bill(price, month_of("1")).total_units == 1
    assert only_bill(even, month_of("1")).total_units == 0


def test_payable_has_the_minor_units_of_the_currency() -> None:
    assert only_bill(replace(FLAT, currency="JPY"), month_of("5")).payable_minor == 3


# Standing, minimum


@pytest.mark.parametrize(
    ("per", "amount_units"), [(Span.MONTH, 22581), (Span.DAY, 700000)], ids=str
)
def test_standing_charge_of_a_part_of_a_month_goes_by_days(per: Span, amount_units: int) -> None:
    tariff = replace(FLAT, standing=(Standing("service", per, Decimal(5)),))
    service = at("2026-07-10 10:00"), at("2026-07-24 09:00")
    usage = Usage.of([used("2026-07-11", "2026-07-12", "0")], service=service)
    (bill,) = Rater(tariff).rate(usage).bills
    assert [(line.unit, line.amount_units) for line in bill.lines] == [(per.value, amount_units)]
    assert (bill.start, bill.end) == service


def test_parts_of_a_month_add_up_to_the_month() -> None:
    tariff = replace(FLAT, standing=(Standing("service", Span.MONTH, Decimal(31)),))
    edges = [at("2026-07-01"), at("2026-07-10 10:00"), at("2026-07-10 20:00"), at("2026-08-01")]
    bills = [Rater(tariff).rate(Usage.of([], service=span)).bills[0] for span in pairwise(edges)]
    assert [bill.total_units for bill in bills] == [90000, 0, 220000]
    assert bills[1].lines == ()


def test_year_long_bill_has_twelve_months_and_leap_days() -> None:
    tariff = replace(
        FLAT,
        billing_span=Span.YEAR,
        standing=(
            Standing("monthly", Span.MONTH, Decimal(5)),
            Standing("daily", Span.DAY, Decimal(1)),
        ),
    )
    bill = only_bill(tariff, used("2028-03-01", "2028-03-02", "1"))
    assert [line.units for line in bill.lines] == [1, 12, 366]


@pytest.mark.parametrize(
    ("units", "lifted_by"), [("0", 100000), ("19", 5000), ("20", 0), ("21", 0)]
)
def test_minimum_lifts_the_bill(units: str, lifted_by: int) -> None:
    bill = only_bill(replace(FLAT, minimum=Minimum(Span.MONTH, Decimal(10))), month_of(units))
    lifted = [line.amount_units for line in bill.lines if line.kind is ComponentKind.MINIMUM]
    assert lifted == [lifted_by] * bool(lifted_by)
    assert bill.total_units == max(100000, 5000 * int(units))


# Demand


def demand_of(*intervals: Interval, window_min: int = 15) -> list[tuple[Fraction | None, str, int]]:
    tariff = replace(FLAT, demand=(Demand("demand", window_min, Decimal(10)),))
    bill = only_bill(tariff, *intervals)
    lines = [line for line in bill.lines if line.kind is ComponentKind.DEMAND]
    return [(line.units, line.start.strftime("%d %H:%M"), line.amount_units) for line in lines]


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([used("2026-07-01 06:00", "2026-07-01 08:00", "2.25")], ("9/8", "01 06:00", 112500)),
        ([used("2026-07-01 06:05", "2026-07-01 08:00", "2.30")], ("6/5", "01 06:15", 120000)),
        ([used("2026-07-01 06:05", "2026-07-01 06:10", "1")], ("4", "01 06:00", 400000)),
        ([used("2026-07-01 06:05", "2026-07-01 06:20", "3")], ("8", "01 06:00", 800000)),
        ([used("2026-07-01 06:00", "2026-07-01 06:20", "4")], ("12", "01 06:00", 1200000)),
        (
            [
                used("2026-07-01 06:00", "2026-07-01 06:10", "1"),
                used("2026-07-01 06:10", "2026-07-01 06:17", "7"),
            ],
            ("24", "01 06:00", 2400000),
        ),
        (
            [
                used("2026-07-01 06:00", "2026-07-01 06:15", "5"),
                used("2026-07-01 06:15", "2026-07-01 06:30", "7"),
                used("2026-07-01 06:30", "2026-07-01 06:45", "7"),
            ],
            ("28", "01 06:15", 2800000),
        ),
        (
            [
                used("2026-07-01 06:00", "2026-07-01 06:15", "5"),
                used("2026-07-01 06:15", "2026-07-01 06:20", "2"),
                used("2026-07-01 06:20", "2026-07-01 06:30", "3"),
            ],
            ("20", "01 06:00", 2000000),
        ),
    ],
    ids=[
        "windows inside",
        "begins in a window",
        "inside a window",
        "over an edge",
        "one and a part",
        "shared window",
        "first of equals",
        "first of equals made otherwise",
    ],
)
def test_demand_is_the_highest_mean_of_a_window(
    intervals: list[Interval], expected: tuple[str, str, int]
) -> None:
    units, start, amount = expected
    assert demand_of(*intervals) == [(Fraction(units), start, amount)]


def test_demand_over_half_hours() -> None:
    quarters = evenly(
        at("2026-07-01 06:00"), timedelta(minutes=15), [Decimal(n) for n in (1, 9, 2, 7)]
    )
    assert demand_of(*quarters, window_min=30) == [(Fraction(20), "01 06:00", 2000000)]


def test_windows_follow_the_hours_of_the_wall_clock() -> None:
    tariff = replace(FLAT, time_zone="Asia/Kathmandu", demand=(Demand("demand", 30, Decimal(10)),))
    zone = Rater(tariff)
    start = at("2026-07-01 00:15")  # 22:00 in Kathmandu
    bill = zone.rate(
        Usage.of(evenly(start, timedelta(minutes=15), [Decimal(n) for n in (1, 5, 4, 1)]))
    ).bills[0]
    peak = next(line for line in bill.lines if line.kind is ComponentKind.DEMAND)
    assert (peak.units, peak.start.strftime("%H:%M")) == (Fraction(12), "22:00")


def test_no_use_has_no_demand() -> None:
    assert demand_of(used("2026-07-01 06:00", "2026-07-01 08:00", "0")) == []


def test_each_bill_has_its_own_demand() -> None:
    tariff = replace(FLAT, demand=(Demand("demand", 15, Decimal(10)),))
    bills = rate(
        tariff,
        used("2026-07-31 23:45", "2026-08-01 00:00", "2"),
        used("2026-08-01 00:00", "2026-08-01 00:15", "1"),
    )
    assert [bill.lines[1].units for bill in bills] == [8, 4]


# Power factor


CHINA_1983 = PowerFactor(
    Decimal("0.90"),
    ("energy",),
    (
        PowerFactorStep(Decimal("0.5"), Decimal("0.01"), below=Decimal("0.90")),
        PowerFactorStep(Decimal("1"), Decimal("0.01"), below=Decimal("0.70")),
        PowerFactorStep(Decimal("2"), Decimal("0.01"), below=Decimal("0.65")),
        PowerFactorStep(
            Decimal("-0.15"), Decimal("0.01"), above=Decimal("0.90"), at_most=Decimal("-0.75")
        ),
    ),
)


@pytest.mark.parametrize(
    ("active", "reactive", "mean", "percent"),
    [
        ("3", "4", "0.60", "25"),
        ("4", "3", "0.80", "5"),
        ("0.65", "0.76", "0.65", "15"),
        ("0.70", "0.7141", "0.70", "10"),
        ("90", "43.58", None, None),
        ("12", "5", "0.92", "-0.3"),
        ("1", "0", "1.00", "-0.75"),
        ("0", "5", "0.00", "145"),
        ("199", "19.974984", "1.00", "-0.75"),
        ("199", "19.974987", "0.99", "-0.75"),
    ],
)
def test_power_factor_table(
    active: str, reactive: str, mean: str | None, percent: str | None
) -> None:
    # The table of the Chinese rule of 1983 for 0.90: 0.5 % for each 0.01 down to 0.70, then 1 %,
    # below 0.65 2 %; rebate 0.15 % for each 0.01 above, at most 0.75 %.
    tariff = replace(FLAT, power_factor=CHINA_1983, prices=decimals("100"))
    bill = only_bill(tariff, used("2026-07-01", "2026-07-02", active, reactive))
    lines = [line for line in bill.lines if line.kind is ComponentKind.POWER_FACTOR]
    if mean is None or percent is None:
        assert lines == []
        return
    (line,) = lines
    assert (line.power_factor, line.percent) == (Decimal(mean), Fraction(percent))
    assert line.amount_units == Fraction(active) * 1_000_000 * Fraction(percent) / 100


def test_no_energy_at_all_has_no_power_factor_line() -> None:
    tariff = replace(FLAT, power_factor=replace(CHINA_1983, table=CHINA_1983.table[:3]))
    assert only_bill(tariff, used("2026-07-01", "2026-07-02", "0", "0")).lines == ()


def test_without_reactive_units_there_is_no_power_factor_charge() -> None:
    bill = only_bill(replace(FLAT, power_factor=CHINA_1983), month_of("5"))
    assert [line.component for line in bill.lines] == ["energy"]


# Surcharges


def test_components_are_evaluated_in_order_on_rounded_lines() -> None:
    tariff = replace(
        FLAT,
        prices=decimals("0.33333"),
        standing=(Standing("service", Span.MONTH, Decimal("1.00005")),),
        surcharges=(
            Surcharge("funds", per_unit=Decimal("0.01")),
            Surcharge("all", percent=Decimal(10), applies_to=("energy", "standing", "service")),
            Surcharge("tax", percent=Decimal(10), applies_to=("all", "funds"), tax_code="VAT"),
            Surcharge("rebate", percent=Decimal(-50), applies_to=("tax",)),
        ),
    )
    bill = only_bill(tariff, month_of("1"))
    assert [(line.component, line.base_units, line.amount_units) for line in bill.lines] == [
        ("energy", None, 3333),
        ("service", None, 10001),
        ("funds", None, 100),
        ("all", 13334, 1333),
        ("tax", 1433, 143),
        ("rebate", 143, -72),
    ]
    assert bill.lines[4].tax_code == "VAT"
    assert bill.total_units == 14838


# Many meters, validity, service


def test_many_meters_are_rated_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tariff = replace(
        BOTH,
        demand=(Demand("demand", 15, Decimal(1)),),
        standing=(Standing("service", Span.MONTH, Decimal(5)),),
    )
    usages = [
        Usage.of([used(f"2026-0{n}-03 05:17", f"2026-0{n}-03 07:0{n}", f"{n}{n}.{n}")])
        for n in (3, 1, 4, 9, 2, 6)
    ]
    monkeypatch.setattr(rating, "METERS_AT_ONCE", 2)
    monkeypatch.setattr(rating, "ROWS_AT_ONCE", 3)
    rater = Rater(tariff)
    assert rater.rate_many(usages) == [rater.rate(usage) for usage in usages]
    assert rater.rate_many([]) == []


def test_long_profile_is_a_batch_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rating, "ROWS_AT_ONCE", 2)
    long = Usage.of(evenly(at("2026-07-01"), timedelta(hours=1), [Decimal(1)] * 5))
    short = Usage.of([month_of("2")])
    totals = [each.total_units for each in Rater(FLAT).rate_many([long, short, long])]
    assert totals == [25000, 10000, 25000]


def test_counts_beyond_64_bits_stay_exact() -> None:
    tariff = replace(BOTH, blocks=blocks("500000000.123456789"), block_span=Span.YEAR)
    bills = rate(
        tariff,
        used("2026-06-30 03:59:59", "2026-07-31 05:00:01", "999999999.999999999"),
        used("2026-07-31 05:00:01", "2026-09-01 00:00:07", "999999999.999999999"),
    )
    units = [line.units or Fraction(0) for bill in bills for line in bill.lines]
    assert sum(units) == Fraction("1999999999.999999998")
    assert sum(bill.units for bill in bills) == sum(units)


def test_limits_finer_than_64_bits_hold_stay_exact() -> None:
    limit = "100.000000000000001"
    tariff = replace(FLAT, blocks=blocks(limit), prices=decimals("1", "2"))
    usage = Usage.of([month_of("20")], opening_units=Decimal(99_999))
    assert [line.units for line in Rater(tariff).rate(usage).bills[0].lines] == [20]
    assert only_bill(tariff, month_of("101")).lines[0].units == Fraction(limit)


def test_huge_demand_stays_exact() -> None:
    tariff = replace(FLAT, demand=(Demand("demand", 15, Decimal(1)),))
    bill = only_bill(tariff, used("2026-07-01", "2026-07-01 00:15", "999999999.999999999"))
    assert bill.lines[1].units == 4 * Fraction("999999999.999999999")


def test_huge_totals_stay_exact() -> None:
    steps = np.full(20, 10**18 - 1)
    starts = np.arange(20) * 900 + int(at("2026-07-01").timestamp())
    (bill,) = Rater(BLOCKS).rate(Usage(starts, starts + 900, steps, decimals=9)).bills
    assert bill.units == 20 * Fraction(10**18 - 1, 10**9)


def test_version_bills_from_the_day_it_is_valid_until_the_next() -> None:
    tariff = replace(
        FLAT, valid_from=date(2026, 7, 11), standing=(Standing("s", Span.MONTH, Decimal(31)),)
    )
    rater = Rater(tariff, until=date(2026, 7, 21))
    (bill,) = rater.rate(Usage.of([used("2026-07-11", "2026-07-21", "1")])).bills
    assert (bill.start, bill.end) == (at("2026-07-11"), at("2026-07-21"))
    assert bill.lines[1].amount_units == 100000


@pytest.mark.parametrize(
    ("interval", "service", "place", "message"),
    [
        (
            used("2026-07-10 23:00", "2026-07-11 01:00", "1"),
            None,
            (0, "start"),
            "begins at 2026-07-10",
        ),
        (used("2026-07-20 23:00", "2026-07-21 01:00", "1"), None, (0, "end"), "ends at 2026-07-21"),
        (
            used("2026-07-12", "2026-07-13", "1"),
            (at("2026-07-10"), at("2026-07-13")),
            (None, "start"),
            "begins at 2026-07-10",
        ),
        (
            used("2026-07-12", "2026-07-13", "1"),
            (at("2026-07-12"), at("2026-07-22")),
            (None, "end"),
            "ends at 2026-07-22",
        ),
    ],
    ids=["use before", "use after", "service before", "service after"],
)
def test_time_outside_the_validity_is_refused(
    interval: Interval,
    service: tuple[datetime, datetime] | None,
    place: tuple[int | None, str],
    message: str,
) -> None:
    rater = Rater(replace(FLAT, valid_from=date(2026, 7, 11)), until=date(2026, 7, 21))
    with pytest.raises(UsageError) as raised:
        rater.rate(Usage.of([interval], service=service))
    assert (raised.value.index, raised.value.field) == place
    assert raised.value.message.startswith(message)


def test_use_before_the_service_moves_the_block_counter_and_costs_nothing() -> None:
    service = at("2026-07-15 12:00"), at("2026-07-20 12:00")
    usage = Usage.of(
        [used("2026-07-01", "2026-07-15", "90"), used("2026-07-15", "2026-07-21", "60")],
        service=service,
    )
    (bill,) = Rater(BLOCKS).rate(usage).bills
    # Five of sixty hours' days fall on the 15th before noon: 95 used before, 50 billed.
    assert amounts(bill) == [
        ("energy", "block 1", "all", "5", "25000"),
        ("energy", "block 2", "all", "45", "270000"),
    ]
    assert bill.lines[0].start == service[0]


def test_vacant_unit_pays_its_standing_charge_only() -> None:
    tariff = replace(
        FLAT,
        standing=(Standing("service", Span.MONTH, Decimal(5)),),
        demand=(Demand("demand", 15, Decimal(1)),),
    )
    usage = Usage.of([], service=(at("2026-07-01"), at("2026-09-01")))
    bills = Rater(tariff).rate(usage).bills
    assert [bill.total_units for bill in bills] == [50000, 50000]


def test_rating_names_its_tariff() -> None:
    result = Rater(replace(FLAT, id="shop", version=3)).rate(Usage.of([month_of("1.50")]))
    assert (result.tariff, result.version, result.currency, result.decimals) == (
        "shop",
        3,
        "CNY",
        2,
    )
    assert result.total_units == 7500
    assert result.bills[0].start.tzinfo == SHANGHAI
