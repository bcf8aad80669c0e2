import pytest

from meterplex.domain.prepayment import (
    BLOCKING,
    DIRECTIONS,
    FINAL,
    LIVE,
    MOVES,
    Direction,
    OrderKind,
    OrderState,
    may_arm,
)

PAID, ARMED, UNCERTAIN = OrderState.PAID, OrderState.ARMED, OrderState.UNCERTAIN
CONFIRMED, CONFLICT, VOIDED = OrderState.CONFIRMED, OrderState.CONFLICT, OrderState.VOIDED


def test_money_on_its_way_protects_the_home() -> None:
    assert {PAID, ARMED, UNCERTAIN, CONFLICT} == LIVE
    assert {CONFIRMED, VOIDED} == FINAL


def test_only_conflict_is_left_for_confirmed_without_a_frame_in_flight() -> None:
    assert {state for state, moves in MOVES.items() if CONFIRMED in moves} == {
        ARMED,
        UNCERTAIN,
        CONFLICT,
    }


def test_an_armed_order_is_never_voided() -> None:
    assert VOIDED not in MOVES[ARMED]


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(OrderState)


@pytest.mark.parametrize("state", list(OrderState))
def test_orders_wait_for_one_that_is_not_settled(state: OrderState) -> None:
    assert may_arm([PAID, VOIDED, state]) is (state not in {ARMED, UNCERTAIN, CONFLICT})
    assert (state in BLOCKING) is not may_arm([state])


def test_refund_and_reversal_take_credit_from_the_meter() -> None:
    assert {kind for kind, way in DIRECTIONS.items() if way is Direction.WITHDRAW} == {
        OrderKind.REFUND,
        OrderKind.REVERSAL,
    }
    assert set(DIRECTIONS) == set(OrderKind)
