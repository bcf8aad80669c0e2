from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.domain.billing import (
    BillingError,
    BillLine,
    BillStatus,
    DunningTerms,
    PostpaidBill,
    issue_bill,
    minor_step_units,
)
from meterplex.domain.money import Rounding
from meterplex.domain.warnings import WarningLevel

OCTOBER = (date(2026, 10, 1), date(2026, 11, 1))
ISSUED = date(2026, 11, 5)
DUE = date(2026, 11, 20)


def bill(*amounts: int, **terms: Any) -> PostpaidBill:
    lines = [BillLine(f"line {at}", amount) for at, amount in enumerate(amounts)]
    defaults: dict[str, Any] = {"currency": "CNY", "issued_on": ISSUED, "net_days": 15}
    return issue_bill("B-1", OCTOBER, lines, **defaults | terms)


@pytest.mark.parametrize(
    ("currency", "step"), [("CNY", 100), ("JPY", 10_000), ("KWD", 10), ("USD", 100)]
)
def test_step_is_one_minor_unit(currency: str, step: int) -> None:
    assert minor_step_units(currency) == step


def test_bill_is_rounded_once_over_all_its_lines() -> None:
    issued = bill(10_049, 10_049, 10_049)  # 3.0147; each line alone would round to 1.00
    assert (issued.total_units, issued.payable_minor) == (30_147, 301)
    assert issued.rounding_units == -47
    assert issued.due_on == DUE


@pytest.mark.parametrize(
    ("rounding", "payable"), [(Rounding.HALF_UP, 1), (Rounding.HALF_EVEN, 0)], ids=str
)
def test_half_a_fen_goes_where_the_mode_says(rounding: Rounding, payable: int) -> None:
    assert bill(50, rounding=rounding).payable_minor == payable


@given(st.lists(st.integers(-(10**9), 10**9)), st.sampled_from(["CNY", "JPY", "KWD"]))
def test_payable_is_the_lines_and_the_rounding(amounts: list[int], currency: str) -> None:
    issued = bill(*amounts, currency=currency)
    payable_units = issued.payable_minor * minor_step_units(currency)
    assert sum(amounts) + issued.rounding_units == payable_units
    assert 2 * abs(issued.rounding_units) <= minor_step_units(currency)


@pytest.mark.parametrize(
    ("paid", "today", "status", "late"),
    [
        pytest.param(0, ISSUED, BillStatus.OPEN, 0, id="open"),
        pytest.param(0, DUE, BillStatus.OPEN, 0, id="on-the-due-date"),
        pytest.param(1, DUE, BillStatus.PARTLY_PAID, 0, id="partly"),
        pytest.param(0, DUE + timedelta(1), BillStatus.IN_ARREARS, 1, id="day-after"),
        pytest.param(99, DUE + timedelta(30), BillStatus.IN_ARREARS, 30, id="a-fen-is-missing"),
        pytest.param(100, DUE + timedelta(30), BillStatus.PAID, 0, id="paid"),
        pytest.param(500, ISSUED, BillStatus.PAID, 0, id="overpaid"),
    ],
)
def test_status(paid: int, today: date, status: BillStatus, late: int) -> None:
    issued = bill(10_000)
    assert issued.status(paid, today) is status
    assert issued.days_late(paid, today) == late
    assert issued.outstanding_minor(paid) == max(100 - paid, 0)


def test_bill_in_the_customers_favour_is_paid() -> None:
    issued = bill(10_000, -30_000)
    assert issued.payable_minor == -200
    assert issued.status(0, DUE + timedelta(99)) is BillStatus.PAID


@pytest.mark.parametrize(
    ("days_late", "level"),
    [
        (0, None),
        (1, WarningLevel.ALARM_1),
        (7, WarningLevel.ALARM_1),
        (8, WarningLevel.ALARM_2),
        (14, WarningLevel.ALARM_2),
        (15, WarningLevel.ARREARS),
        (400, WarningLevel.ARREARS),
    ],
)
def test_dunning_rises_with_the_days(days_late: int, level: WarningLevel | None) -> None:
    assert DunningTerms().level(days_late) is level


@pytest.mark.parametrize(
    ("days", "field"),
    [
        ((0, 8, 15), "alarm_1_days"),
        ((8, 8, 15), "arrears_days"),
        ((1, 15, 15), "arrears_days"),
    ],
)
def test_dunning_that_does_not_rise_is_refused(days: tuple[int, int, int], field: str) -> None:
    with pytest.raises(BillingError) as refused:
        DunningTerms(*days)
    assert refused.value.field == field


def test_refusals_name_the_field() -> None:
    with pytest.raises(BillingError, match="paid_minor: -1 is below zero"):
        bill(100).status(-1, DUE)
    with pytest.raises(BillingError, match="net_days: -1 is below zero"):
        bill(100, net_days=-1)
    with pytest.raises(BillingError, match="number: is empty"):
        issue_bill("", OCTOBER, [], currency="CNY", issued_on=ISSUED, net_days=0)
    with pytest.raises(BillingError, match="period: 2026-11-01 to 2026-10-01 has no day"):
        issue_bill("B-1", OCTOBER[::-1], [], currency="CNY", issued_on=ISSUED, net_days=0)
