from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from meterplex.domain.prepayment import (
    Arming,
    ArmingObstacle,
    ArmingRefusal,
    CountCapability,
    Direction,
    OrderId,
    OrderState,
    Wallet,
    arm,
    send_again,
)

ORDER = OrderId(UUID(int=1))
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BCD = CountCapability(True, 9999)
BOUND = Wallet(0, meter="M1", customer="C1")
WALLET = Wallet(500, 7, 9000, meter="M1", customer="C1")


def try_to_arm(
    wallet: Wallet = WALLET,
    amount_units: int = 100,
    direction: Direction = Direction.DELIVER,
    hoard_units: int | None = None,
) -> Arming | ArmingRefusal:
    return arm(
        ORDER,
        direction,
        amount_units,
        wallet,
        BCD,
        bound_to=BOUND,
        armed_at=NOON,
        hoard_units=hoard_units,
    )


def armed(wallet: Wallet = WALLET, direction: Direction = Direction.DELIVER) -> Arming:
    arming = try_to_arm(wallet, direction=direction)
    assert isinstance(arming, Arming)
    return arming


def test_an_order_gets_the_next_count_of_the_wallet_just_read() -> None:
    assert armed() == Arming(ORDER, Direction.DELIVER, 8, 100, WALLET, NOON)


def test_a_meter_without_a_count_is_sent_one() -> None:
    assert armed(Wallet(500)).count == 1


def test_sending_again_keeps_count_amount_and_baseline() -> None:
    first = armed()
    second = send_again(first)
    assert second == replace(first, attempt=2)
    assert second.frame_hash == first.frame_hash


@pytest.mark.parametrize(
    "change",
    [{"count": 9}, {"amount_units": 101}, {"direction": Direction.WITHDRAW}, {"mark": "A"}],
    ids=lambda change: next(iter(change)),
)
def test_whatever_the_frame_says_changes_its_hash(change: dict[str, object]) -> None:
    assert replace(armed(), **change).frame_hash != armed().frame_hash  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("direction", "change_units"), [(Direction.DELIVER, 100), (Direction.WITHDRAW, -100)]
)
def test_the_sign_of_an_order_in_the_wallet(direction: Direction, change_units: int) -> None:
    assert armed(direction=direction).change_units == change_units


@pytest.mark.parametrize(
    ("wallet", "obstacle", "state"),
    [
        (replace(WALLET, meter="M2"), ArmingObstacle.IDENTITY, OrderState.CONFLICT),
        (replace(WALLET, customer="C2"), ArmingObstacle.IDENTITY, OrderState.CONFLICT),
        (replace(WALLET, purchase_count=9999), ArmingObstacle.COUNT_END, OrderState.PAID),
    ],
    ids=["other meter", "other customer", "last count"],
)
def test_what_stands_against_arming(
    wallet: Wallet, obstacle: ArmingObstacle, state: OrderState
) -> None:
    refusal = try_to_arm(wallet)
    assert isinstance(refusal, ArmingRefusal)
    assert (refusal.obstacle, refusal.state) == (obstacle, state)
    assert refusal.sentence


def test_the_last_count_is_used_and_not_passed() -> None:
    assert armed(replace(WALLET, purchase_count=9998)).count == 9999


def test_more_than_the_hoard_limit_waits() -> None:
    assert isinstance(try_to_arm(hoard_units=600), Arming)
    refusal = try_to_arm(hoard_units=599)
    assert refusal == ArmingRefusal(
        ArmingObstacle.HOARD_LIMIT,
        OrderState.PAID,
        "0.0500 + 0.0100, the hoard limit is 0.0599",
    )


@pytest.mark.parametrize(
    ("wallet", "amount_units", "taken"),
    [
        (WALLET, 500, True),
        (WALLET, 501, False),
        (replace(WALLET, total_purchased_units=400), 401, False),
        (replace(WALLET, total_purchased_units=None), 500, True),
        (replace(WALLET, remaining_units=-1), 1, False),
    ],
    ids=["all", "more than left", "more than bought", "total not told", "in arrears"],
)
def test_no_more_is_withdrawn_than_is_left(wallet: Wallet, amount_units: int, taken: bool) -> None:
    outcome = try_to_arm(wallet, amount_units, Direction.WITHDRAW, hoard_units=0)
    if taken:
        assert isinstance(outcome, Arming)
    else:
        assert isinstance(outcome, ArmingRefusal)
        assert outcome.obstacle is ArmingObstacle.NOT_ENOUGH_LEFT
        assert outcome.state is OrderState.PAID
