from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.domain.prepayment import (
    OrderKind,
    OrderState,
    ReversalFacts,
    ReversalRefusal,
    Undo,
    claw_back_units,
    people_needed,
    refundable_units,
    reversal_debt_units,
    reversal_refusals,
    way_to_undo,
)

TODAY = date(2026, 3, 2)
FACTS = ReversalFacts(
    kind=OrderKind.VEND,
    amount_units=1000,
    unused_units=1000,
    sold_on=TODAY,
    today=TODAY,
    sold_by="ann",
    asked_by="bob",
    reversed_before=False,
    cash_report_closed=False,
)
REFUSAL = ReversalRefusal


@pytest.mark.parametrize(
    ("remaining", "paid", "refunded", "gift", "refundable"),
    [
        (400, 1000, 0, 0, 400),
        (400, 1000, 700, 0, 300),
        (900, 1000, 0, 500, 400),
        (-50, 1000, 0, 0, 0),
        (400, 1000, 1000, 0, 0),
        (400, 1000, 0, 500, 0),
    ],
    ids=["unused", "refunded before", "gift", "in arrears", "all refunded", "gift only"],
)
def test_only_unused_credit_that_was_bought_is_refunded(
    remaining: int, paid: int, refunded: int, gift: int, refundable: int
) -> None:
    assert (
        refundable_units(remaining, paid_units=paid, refunded_units=refunded, gift_units=gift)
        == refundable
    )


amounts = st.integers(0, 10**9)


@given(amounts, amounts, amounts, amounts)
def test_never_more_is_paid_out_than_paid_in_less_used(
    paid: int, gift: int, used: int, refunded: int
) -> None:
    refunded = min(refunded, max(paid - used, 0))
    remaining = paid + gift - used - refunded
    more = refundable_units(remaining, paid_units=paid, refunded_units=refunded, gift_units=gift)
    assert refunded + more == max(paid - used, 0)


@pytest.mark.parametrize(
    ("state", "ever_sent", "in_meter", "can_withdraw", "way"),
    [
        (OrderState.PAID, False, True, True, Undo.VOID),
        (OrderState.PAID, True, True, True, Undo.FINISH_FIRST),
        (OrderState.ARMED, True, True, True, Undo.FINISH_FIRST),
        (OrderState.UNCERTAIN, True, True, True, Undo.FINISH_FIRST),
        (OrderState.CONFLICT, True, True, True, Undo.FINISH_FIRST),
        (OrderState.CONFIRMED, True, True, True, Undo.WITHDRAW_FIRST),
        (OrderState.CONFIRMED, True, True, False, Undo.CLAW_BACK),
        (OrderState.CONFIRMED, False, False, False, Undo.TAKE_FROM_BALANCE),
        (OrderState.VOIDED, False, True, True, Undo.DONE),
    ],
)
def test_what_comes_before_money_is_given_back(
    state: OrderState, ever_sent: bool, in_meter: bool, can_withdraw: bool, way: Undo
) -> None:
    assert (
        way_to_undo(state, ever_sent=ever_sent, in_meter=in_meter, can_withdraw=can_withdraw) is way
    )


def test_a_vend_of_today_is_reversed_by_another_person() -> None:
    assert reversal_refusals(FACTS) == ()


@pytest.mark.parametrize(
    ("facts", "refusal"),
    [
        (replace(FACTS, kind=OrderKind.REFUND), REFUSAL.KIND),
        (replace(FACTS, reversed_before=True), REFUSAL.REVERSED),
        (replace(FACTS, today=date(2026, 3, 3)), REFUSAL.DAY),
        (replace(FACTS, cash_report_closed=True), REFUSAL.CASH_REPORT),
        (replace(FACTS, asked_by="ann"), REFUSAL.PERSON),
        (replace(FACTS, unused_units=999), REFUSAL.USED),
    ],
    ids=lambda value: str(value) if isinstance(value, ReversalRefusal) else "",
)
def test_what_speaks_against_a_reversal(facts: ReversalFacts, refusal: ReversalRefusal) -> None:
    assert reversal_refusals(facts) == (refusal,)


def test_all_that_speaks_against_a_reversal_is_named() -> None:
    facts = replace(FACTS, asked_by="ann", reversed_before=True)
    assert reversal_refusals(facts) == (REFUSAL.REVERSED, REFUSAL.PERSON)


def test_a_site_may_reverse_on_later_days() -> None:
    assert reversal_refusals(replace(FACTS, today=date(2026, 4, 2)), same_day=False) == ()


@pytest.mark.parametrize(("unused", "debt"), [(1200, 0), (1000, 0), (400, 600), (-50, 1000)])
def test_what_was_used_becomes_a_debt_with_consent(unused: int, debt: int) -> None:
    facts = replace(FACTS, unused_units=unused, debt_consented=True)
    assert reversal_debt_units(facts) == debt
    assert reversal_refusals(facts) == ()


def test_two_people_above_the_limit() -> None:
    assert people_needed(1000, 1000) == 1
    assert people_needed(1001, 1000) == 2


def test_a_claw_back_needs_consent() -> None:
    assert claw_back_units(500, 300, consented=True) == 300
    assert claw_back_units(500, 900, consented=True) == 500
    assert claw_back_units(500, 300, consented=False) == 0
