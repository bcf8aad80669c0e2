from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.domain.accounts import Category
from meterplex.domain.fees import Fee, FeeDue, FeeError, FeePeriod, fees_due


def fee(price: str = "310", starts_on: date = date(2026, 1, 1), **terms: Any) -> Fee:
    terms = {"currency": "CNY", "category": Category.RENT} | terms
    return Fee("rent-101", text="rent", price=Decimal(price), starts_on=starts_on, **terms)


def figures(dues: list[FeeDue]) -> list[tuple[str, str, int]]:
    return [(each.start.isoformat(), each.end.isoformat(), each.amount_units) for each in dues]


def test_whole_months() -> None:
    assert figures(fees_due(fee(), date(2026, 1, 1), date(2026, 4, 1))) == [
        ("2026-01-01", "2026-02-01", 3_100_000),
        ("2026-02-01", "2026-03-01", 3_100_000),
        ("2026-03-01", "2026-04-01", 3_100_000),
    ]


def test_first_and_last_month_by_their_days() -> None:
    let = fee(starts_on=date(2026, 1, 12), ends_on=date(2026, 3, 2))
    assert figures(fees_due(let, date(2025, 1, 1), date(2027, 1, 1))) == [
        ("2026-01-12", "2026-02-01", 2_000_000),  # 20 of 31 days
        ("2026-02-01", "2026-03-01", 3_100_000),
        ("2026-03-01", "2026-03-02", 100_000),
    ]


def test_part_of_a_month_is_rounded_by_itself() -> None:
    # A day of 31 at 100.00 is 3.2258; what two days come to less what one does would be 3.22.
    let = fee("100", starts_on=date(2026, 1, 2), ends_on=date(2026, 1, 3))
    assert fees_due(let, date(2026, 1, 1), date(2026, 2, 1))[0].amount_units == 32_300


def test_price_per_square_metre_is_rounded_once_to_the_minor_unit() -> None:
    per_area = fee("3.333", area_m2=Decimal("88.55"), category=Category.FEE)
    # 3.333 x 88.55 = 295.13715
    (january,) = fees_due(per_area, date(2026, 1, 1), date(2026, 2, 1))
    assert january.amount_units == 2_951_400


@pytest.mark.parametrize(("currency", "units"), [("CNY", 33_300), ("JPY", 30_000), ("KWD", 33_330)])
def test_amount_is_whole_minor_units(currency: str, units: int) -> None:
    (january,) = fees_due(fee("3.333", currency=currency), date(2026, 1, 1), date(2026, 2, 1))
    assert january.amount_units == units


@pytest.mark.parametrize(
    ("period", "begin", "end"),
    [
        (FeePeriod.MONTH, "2026-11-01", "2026-12-01"),
        (FeePeriod.QUARTER, "2026-10-01", "2027-01-01"),
        (FeePeriod.HALF_YEAR, "2026-07-01", "2027-01-01"),
        (FeePeriod.YEAR, "2026-01-01", "2027-01-01"),
    ],
)
def test_periods_begin_with_the_calendar_year(period: FeePeriod, begin: str, end: str) -> None:
    day = date(2026, 11, 20)
    assert (period.begin(day).isoformat(), period.end(day).isoformat()) == (begin, end)


def test_due_date_counts_from_the_end_that_the_fee_names() -> None:
    span = (date(2026, 1, 1), date(2026, 2, 1))
    ahead, behind = fee(due_days=10), fee(due_days=10, in_advance=False)
    assert fees_due(ahead, *span)[0].due_on == date(2026, 1, 11)
    assert fees_due(behind, *span)[0].due_on == date(2026, 2, 11)


def test_nothing_is_due_outside_service() -> None:
    let = fee(starts_on=date(2026, 3, 1), ends_on=date(2026, 4, 1))
    assert fees_due(let, date(2026, 1, 1), date(2026, 3, 1)) == []
    assert fees_due(let, date(2026, 4, 1), date(2027, 1, 1)) == []
    assert fees_due(let, date(2026, 3, 9), date(2026, 3, 9)) == []


days = st.dates(date(2023, 11, 1), date(2025, 3, 31))


@given(
    price=st.decimals("0.01", "99999", places=2),
    service=st.tuples(days, days).filter(lambda span: span[0] < span[1]),
    cuts=st.lists(days, max_size=6),
    period=st.sampled_from(FeePeriod),
)
def test_any_cuts_tile_the_service_and_keep_its_total(
    price: Decimal, service: tuple[date, date], cuts: list[date], period: FeePeriod
) -> None:
    let = fee(str(price), service[0], ends_on=service[1], period=period)
    first, last = date(2023, 1, 1), date(2026, 1, 1)
    whole = fees_due(let, first, last)
    pieces = [
        each
        for since, until in pairwise(sorted([first, *cuts, last]))
        for each in fees_due(let, since, until)
    ]
    for dues in (whole, pieces):
        assert (dues[0].start, dues[-1].end) == service
        assert all(before.end == after.start for before, after in pairwise(dues))
        assert all(each.amount_units >= 0 for each in dues)
    for each in whole:
        parts = [piece for piece in pieces if each.start <= piece.start < each.end]
        assert sum(part.amount_units for part in parts) == each.amount_units


def test_days_of_a_month_sum_to_the_month() -> None:
    first = date(2024, 2, 1)
    let = fee("100", starts_on=first)
    spans = [(first + timedelta(day), first + timedelta(day + 1)) for day in range(29)]
    daily = [each.amount_units for span in spans for each in fees_due(let, *span)]
    assert sum(daily) == 1_000_000
    assert set(daily) == {34_500, 34_400}


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        pytest.param({"price": "0"}, "price", id="free"),
        pytest.param({"price": "NaN"}, "price", id="nan"),
        pytest.param({"area_m2": Decimal(0)}, "area_m2", id="no-area"),
        pytest.param({"area_m2": Decimal("Infinity")}, "area_m2", id="endless-area"),
        pytest.param({"category": Category.UTILITY}, "category", id="utility"),
        pytest.param({"ends_on": date(2026, 1, 1)}, "ends_on", id="no-day"),
        pytest.param({"due_days": -1}, "due_days", id="due-before"),
    ],
)
def test_refusal_names_the_field(terms: dict[str, Any], field: str) -> None:
    with pytest.raises(FeeError) as refused:
        fee(**terms)
    assert refused.value.field == field
