"""Arming: what is committed before the first byte of an order leaves.

The count is the one that was read, plus 1, once: a later attempt sends the same count and the
same amount again, so that a meter that compares counts takes the order at most once.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from meterplex.domain.money import ledger_decimal
from meterplex.domain.prepayment.orders import Direction, OrderId, OrderState
from meterplex.domain.prepayment.wallet import (
    Baseline,
    CountCapability,
    Wallet,
    difference_of_identity,
)


@dataclass(frozen=True, slots=True)
class Arming:
    """An order with the count that it was given.

    Attributes:
        count: stored count + 1; 1 for a meter that shows no count, which compares none either.
        amount_units: ledger units, above zero in both directions.
        attempt: 1 for the first frame of this count.
        baseline: the wallet read before; it stays the same for all attempts.
        armed_at: of the first attempt.
        mark: of the order, where the frame carries one that the meter returns in its record.
    """

    order_id: OrderId
    direction: Direction
    count: int
    amount_units: int
    baseline: Baseline
    armed_at: datetime
    attempt: int = 1
    mark: str | None = None

    @property
    def change_units(self) -> int:
        """Ledger units by which remaining and total move when the meter takes it."""
        return self.amount_units if self.direction is Direction.DELIVER else -self.amount_units

    @property
    def frame_hash(self) -> str:
        """SHA-256 of what the frame says; equal for all attempts, whatever their ciphering."""
        said = (self.baseline.meter, self.direction, self.count, self.amount_units, self.mark)
        return sha256(repr([str(each) for each in said]).encode()).hexdigest()


class ArmingObstacle(StrEnum):
    """Why an order cannot be armed now."""

    IDENTITY = "identity"
    COUNT_END = "count_end"
    HOARD_LIMIT = "hoard_limit"
    NOT_ENOUGH_LEFT = "not_enough_left"


@dataclass(frozen=True, slots=True)
class ArmingRefusal:
    """An order that was not armed: nothing was sent.

    Attributes:
        state: the order's next: CONFLICT for another meter or customer, else PAID, held.
        sentence: one line for people.
    """

    obstacle: ArmingObstacle
    state: OrderState
    sentence: str


def arm(
    order_id: OrderId,
    direction: Direction,
    amount_units: int,
    wallet: Wallet,
    capability: CountCapability,
    *,
    bound_to: Wallet,
    armed_at: datetime,
    hoard_units: int | None = None,
    mark: str | None = None,
) -> Arming | ArmingRefusal:
    """Give an order the next count of its meter, from a wallet read just now.

    Args:
        amount_units: above zero.
        bound_to: meter and customer number that the binding expects; None in them is not compared.
        hoard_units: most credit that the meter may hold; None for no limit.
        mark: only for meters that return it.
    """
    stranger = difference_of_identity(bound_to, wallet)
    if stranger is not None:
        return ArmingRefusal(ArmingObstacle.IDENTITY, OrderState.CONFLICT, stranger)
    count = (wallet.purchase_count or 0) + 1
    if count > capability.count_max:
        sentence = f"count {wallet.purchase_count} is the last: open the account in the meter anew"
        return ArmingRefusal(ArmingObstacle.COUNT_END, OrderState.PAID, sentence)
    held = _limit(direction, amount_units, wallet, hoard_units)
    if held is not None:
        return held
    return Arming(order_id, direction, count, amount_units, wallet, armed_at, mark=mark)


def send_again(arming: Arming) -> Arming:
    """Return the next attempt: the same count and amount against the same baseline."""
    return replace(arming, attempt=arming.attempt + 1)


def _limit(
    direction: Direction, amount_units: int, wallet: Wallet, hoard_units: int | None
) -> ArmingRefusal | None:
    remaining = wallet.remaining_units
    if direction is Direction.DELIVER:
        if hoard_units is None or remaining + amount_units <= hoard_units:
            return None
        amounts = f"{ledger_decimal(remaining)} + {ledger_decimal(amount_units)}"
        sentence = f"{amounts}, the hoard limit is {ledger_decimal(hoard_units)}"
        return ArmingRefusal(ArmingObstacle.HOARD_LIMIT, OrderState.PAID, sentence)
    left = min(remaining, _or(wallet.total_purchased_units, remaining))
    if amount_units <= left:
        return None
    asked = f"{ledger_decimal(amount_units)} asked back"
    sentence = f"{asked}, {ledger_decimal(left)} left of what was bought"
    return ArmingRefusal(ArmingObstacle.NOT_ENOUGH_LEFT, OrderState.PAID, sentence)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
