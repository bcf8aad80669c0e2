from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.domain.debt_plans import (
    DebtPlan,
    DebtPlanError,
    InstalmentPeriod,
    Instalments,
    PaymentShare,
    instalment_due,
    instalments,
    taken_from_payment,
)
from meterplex.domain.money import Rounding

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def share(percent: str = "30", **terms: Any) -> PaymentShare:
    return PaymentShare(Decimal(percent), **terms)


@pytest.mark.parametrize(
    ("rule", "payment", "taken"),
    [
        pytest.param(share(), 1000, 300, id="share"),
        pytest.param(share(), 5, 2, id="rounded-half-up"),
        pytest.param(
            PaymentShare(Decimal(30), rounding=Rounding.HALF_EVEN), 5, 2, id="rounded-half-even"
        ),
        pytest.param(
            PaymentShare(Decimal(50), rounding=Rounding.HALF_EVEN), 5, 2, id="half-to-even"
        ),
        pytest.param(share("33.3", step_units=100), 1000, 300, id="whole-fen"),
        pytest.param(share(at_least_units=400), 1000, 400, id="at-least"),
        pytest.param(share(at_least_units=400), 150, 150, id="small-payment"),
        pytest.param(share(at_most_units=250), 1000, 250, id="at-most"),
        pytest.param(share("100"), 700, 700, id="everything"),
        pytest.param(share(), 100_000, 5000, id="no-more-than-is-left"),
        pytest.param(share(), 0, 0, id="nothing-paid"),
    ],
)
def test_share_of_a_payment(rule: PaymentShare, payment: int, taken: int) -> None:
    plan = DebtPlan("plan-1", 8000, rule)
    assert taken_from_payment(plan, 3000, payment, NOW) == taken
    assert instalment_due(plan, 3000, NOW) == 0
    assert list(instalments(plan)) == []


def monthly(first_on: date, amount: int = 1000) -> Instalments:
    return Instalments(amount, first_on, SHANGHAI)


def test_instalments_end_with_what_is_left() -> None:
    plan = DebtPlan("plan-1", 2500, monthly(date(2026, 11, 30)))
    assert [(each.due_on.isoformat(), each.amount_units) for each in instalments(plan)] == [
        ("2026-11-30", 1000),
        ("2026-12-30", 1000),
        ("2027-01-30", 500),
    ]


@pytest.mark.parametrize(
    ("number", "due_on"),
    [(0, "2027-12-31"), (1, "2028-01-31"), (2, "2028-02-29"), (3, "2028-03-31"), (4, "2028-04-30")],
)
def test_monthly_instalment_falls_on_the_last_day_of_a_short_month(
    number: int, due_on: str
) -> None:
    assert monthly(date(2027, 12, 31)).due_on(number).isoformat() == due_on


def test_weekly_instalments() -> None:
    rule = Instalments(100, date(2026, 11, 20), SHANGHAI, InstalmentPeriod.WEEK)
    assert rule.due_on(3) == date(2026, 12, 11)
    counts = [rule.count_due(date(2026, 11, day)) for day in (19, 20, 26, 27)]
    assert counts == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("paid", "now", "due"),
    [
        pytest.param(0, "2026-11-29T15:59:59+00:00", 0, id="evening-before"),
        pytest.param(0, "2026-11-29T16:00:00+00:00", 1000, id="local-midnight"),
        pytest.param(400, "2026-12-29T12:00:00+00:00", 600, id="partly-paid"),
        pytest.param(1800, "2026-12-01T00:00:00+00:00", 0, id="paid-ahead"),
        pytest.param(0, "2026-12-31T00:00:00+00:00", 2000, id="two-missed"),
        pytest.param(2000, "2036-01-01T00:00:00+00:00", 500, id="never-above-the-debt"),
        pytest.param(2500, "2036-01-01T00:00:00+00:00", 0, id="paid-off"),
    ],
)
def test_instalment_due(paid: int, now: str, due: int) -> None:
    plan = DebtPlan("plan-1", 2500, monthly(date(2026, 11, 30)))
    at = datetime.fromisoformat(now)
    assert instalment_due(plan, paid, at) == due
    assert taken_from_payment(plan, paid, 10_000, at) == due
    assert taken_from_payment(plan, paid, 300, at) == min(due, 300)


days = st.dates(date(2020, 1, 1), date(2040, 1, 1))


@given(days, days, st.sampled_from(InstalmentPeriod))
def test_count_due_agrees_with_the_dates(
    first_on: date, today: date, period: InstalmentPeriod
) -> None:
    rule = Instalments(1, first_on, SHANGHAI, period)
    count = rule.count_due(today)
    assert rule.due_on(count) > today
    assert count == 0 or rule.due_on(count - 1) <= today


rules = st.one_of(
    st.builds(
        PaymentShare,
        st.decimals("0.01", "100", places=2),
        at_least_units=st.integers(0, 1000),
        at_most_units=st.none() | st.integers(1000, 5000),
        step_units=st.sampled_from([1, 100]),
    ),
    st.builds(Instalments, st.integers(1, 5000), days, st.just(SHANGHAI)),
)


@given(st.integers(1, 10**6), rules, st.lists(st.integers(0, 10**5), max_size=20), days)
def test_plan_takes_no_more_than_payment_and_debt(
    debt: int, rule: PaymentShare | Instalments, payments: list[int], day: date
) -> None:
    plan, paid = DebtPlan("plan-1", debt, rule), 0
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    for payment in payments:
        taken = taken_from_payment(plan, paid, payment, at)
        assert 0 <= taken <= min(payment, plan.outstanding_units(paid))
        paid += taken


def test_plan_ends_exactly_at_zero() -> None:
    plan, paid = DebtPlan("plan-1", 12_345, share("7.5", at_least_units=10)), 0
    for _ in range(2000):
        paid += taken_from_payment(plan, paid, 333, NOW)
    assert plan.outstanding_units(paid) == 0


@pytest.mark.parametrize(
    ("percent", "terms", "field"),
    [
        pytest.param("0", {}, "percent", id="zero"),
        pytest.param("100.01", {}, "percent", id="above-all"),
        pytest.param("NaN", {}, "percent", id="nan"),
        pytest.param("30", {"at_least_units": -1}, "at_least_units", id="at-least-below-zero"),
        pytest.param(
            "30", {"at_least_units": 5, "at_most_units": 4}, "at_most_units", id="limits-cross"
        ),
        pytest.param("30", {"at_most_units": 0}, "at_most_units", id="at-most-nothing"),
        pytest.param("30", {"step_units": 0}, "step_units", id="no-step"),
    ],
)
def test_share_that_means_nothing_is_refused(
    percent: str, terms: dict[str, Any], field: str
) -> None:
    with pytest.raises(DebtPlanError) as refused:
        share(percent, **terms)
    assert refused.value.field == field


def test_refusals_of_plans_and_payments_name_the_field() -> None:
    plan = DebtPlan("plan-1", 100, share())
    with pytest.raises(DebtPlanError, match="debt_units: 0 is not above zero"):
        DebtPlan("plan-1", 0, share())
    with pytest.raises(DebtPlanError, match="amount_units: 0 is not above zero"):
        monthly(date(2026, 1, 1), amount=0)
    with pytest.raises(DebtPlanError, match=r"paid_units: 101 is not within 0\.\.100"):
        instalment_due(plan, 101, NOW)
    with pytest.raises(DebtPlanError, match="payment_units: -1 is below zero"):
        taken_from_payment(plan, 0, -1, NOW)
