from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.domain.accounts import DEDUCTION_ORDER, Category
from meterplex.domain.debt_plans import DebtPlan, Instalments, PaymentShare
from meterplex.domain.deductions import DeductionError, Due, allocate

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DEBT, RENT, FEE, UTILITY = Category


def due(category: Category, key: str, amount: int, days_old: int = 0) -> Due:
    return Due(category, key, amount, NOW - timedelta(days=days_old))


DUES = [
    due(UTILITY, "water", 300, days_old=90),
    due(FEE, "november", 200),
    due(FEE, "october", 200, days_old=31),
    due(RENT, "rent", 500),
    due(DEBT, "old", 1000),
]


@pytest.mark.parametrize(
    ("payment", "order", "settled", "rest"),
    [
        pytest.param(0, DEDUCTION_ORDER, [], 0, id="nothing"),
        pytest.param(600, DEDUCTION_ORDER, [("old", 600)], 0, id="first-category-takes-all"),
        pytest.param(
            1850,
            DEDUCTION_ORDER,
            [("old", 1000), ("rent", 500), ("october", 200), ("november", 150)],
            0,
            id="oldest-first-inside",
        ),
        pytest.param(
            1000,
            (UTILITY, FEE, RENT, DEBT),
            [("water", 300), ("october", 200), ("november", 200), ("rent", 300)],
            0,
            id="declared-order",
        ),
        pytest.param(
            2500,
            (RENT, DEBT, FEE, UTILITY),
            [("rent", 500), ("old", 1000), ("october", 200), ("november", 200), ("water", 300)],
            300,
            id="rest-stays-credit",
        ),
    ],
)
def test_payment_is_dealt_out(
    payment: int, order: Sequence[Category], settled: list[tuple[str, int]], rest: int
) -> None:
    deduction = allocate(payment, DUES, order, at=NOW)
    given_out = [(each.due.key, each.amount_units) for each in deduction.allocations]
    assert (given_out, deduction.rest_units) == (settled, rest)


def test_allocation_knows_whether_it_settles() -> None:
    first, second = allocate(250, DUES[1:3], at=NOW).allocations
    assert (first.settles, second.settles) == (True, False)


def test_share_plan_leaves_the_rest_of_the_payment_to_others() -> None:
    plan = DebtPlan("old", 4000, PaymentShare(Decimal(20)))
    deduction = allocate(1000, DUES, plans=[plan], at=NOW)
    taken = {each.due.key: each.amount_units for each in deduction.allocations}
    assert taken == {"old": 200, "rent": 500, "october": 200, "november": 100}


def test_share_is_of_the_whole_payment_wherever_the_debt_stands() -> None:
    plan = DebtPlan("old", 4000, PaymentShare(Decimal(20)))
    deduction = allocate(1100, DUES, (RENT, FEE, DEBT, UTILITY), [plan], at=NOW)
    taken = {each.due.key: each.amount_units for each in deduction.allocations}
    assert taken == {"rent": 500, "october": 200, "november": 200, "old": 200}


def test_instalment_plan_takes_what_has_fallen_due() -> None:
    rule = Instalments(400, date(2026, 11, 1), ZoneInfo("Asia/Shanghai"))
    plan = DebtPlan("old", 1200, rule)  # 1000 of it is left
    deduction = allocate(5000, [DUES[-1]], plans=[plan], at=NOW)
    assert [each.amount_units for each in deduction.allocations] == [200]
    assert deduction.rest_units == 4800


def test_plan_of_a_debt_leaves_a_fee_of_that_key_alone() -> None:
    plan = DebtPlan("october", 100, PaymentShare(Decimal(1)))
    assert allocate(200, [DUES[2]], plans=[plan], at=NOW).rest_units == 0


@pytest.mark.parametrize(
    ("payment", "dues", "order", "plans", "message"),
    [
        pytest.param(-1, [], DEDUCTION_ORDER, [], "payment_units: -1", id="payment"),
        pytest.param(
            1, [due(FEE, "x", -5)], DEDUCTION_ORDER, [], r"dues\[x\].amount_units: -5", id="due"
        ),
        pytest.param(
            1,
            [DUES[1], DUES[1]],
            DEDUCTION_ORDER,
            [],
            r"dues\[november\]: is given twice",
            id="twice",
        ),
        pytest.param(
            1, [], (DEBT, RENT, FEE), [], "deduction_order: debt, rent, fee:", id="missing"
        ),
        pytest.param(1, [], (DEBT, DEBT, FEE, RENT), [], "deduction_order", id="category-twice"),
        pytest.param(1, [], (), [], "deduction_order: nothing", id="empty"),
        pytest.param(
            1,
            [DUES[-1]],
            DEDUCTION_ORDER,
            [DebtPlan("old", 999, PaymentShare(Decimal(1)))],
            "1000 is more than the 999 of its plan",
            id="above-plan",
        ),
    ],
)
def test_refusal_names_the_field(
    payment: int, dues: list[Due], order: Sequence[Category], plans: list[DebtPlan], message: str
) -> None:
    with pytest.raises(DeductionError, match=message):
        allocate(payment, dues, order, plans, at=NOW)


many_dues = st.lists(
    st.builds(
        due,
        st.sampled_from(Category),
        st.uuids().map(str),
        st.integers(0, 10**6),
        st.integers(0, 400),
    ),
    max_size=12,
)


@given(st.integers(0, 10**7), many_dues, st.permutations(list(Category)))
def test_nothing_is_lost_and_nothing_overtakes(
    payment: int, dues: list[Due], order: list[Category]
) -> None:
    deduction = allocate(payment, dues, order, at=NOW)
    allocations = deduction.allocations
    assert sum(each.amount_units for each in allocations) + deduction.rest_units == payment
    assert all(0 < each.amount_units <= each.due.amount_units for each in allocations)
    assert all(each.settles for each in allocations[:-1])
    assert deduction.rest_units == max(payment - sum(each.amount_units for each in dues), 0)
    turns = [(order.index(each.due.category), each.due.due_at) for each in allocations]
    assert turns == sorted(turns)
