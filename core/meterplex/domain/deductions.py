"""One wallet: which dues a payment settles, in the order that the account declares.

Inside a category the oldest due comes first. What a payment leaves over stays credit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from meterplex.domain.accounts import DEDUCTION_ORDER, Category
from meterplex.domain.billing import BillingError
from meterplex.domain.debt_plans import DebtPlan, taken_from_payment


class DeductionError(BillingError):
    """An order, a due or a payment that cannot be dealt with."""


@dataclass(frozen=True, slots=True)
class Due:
    """Something owed.

    Attributes:
        key: unique in its category.
        amount_units: what is left of it, in ledger units.
        due_at: aware; the oldest is settled first.
    """

    category: Category
    key: str
    amount_units: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Allocation:
    """What a payment gives to one due, above zero and at most its amount."""

    due: Due
    amount_units: int

    @property
    def settles(self) -> bool:
        """Whether nothing is left of the due."""
        return self.amount_units == self.due.amount_units


@dataclass(frozen=True, slots=True)
class Deduction:
    """A payment dealt out: the allocations in order, and the rest that stays credit."""

    allocations: tuple[Allocation, ...]
    rest_units: int


def allocate(
    payment_units: int,
    dues: Sequence[Due],
    order: Sequence[Category] = DEDUCTION_ORDER,
    plans: Iterable[DebtPlan] = (),
    *,
    at: datetime,
) -> Deduction:
    """Deal a payment out over what is owed.

    Args:
        payment_units: ledger units.
        dues: all that is owed; the amount of a debt under a plan is all that is left of it.
        order: the categories as the account declares them, each once.
        plans: of debts, by the keys of their dues; each takes no more than it agreed to of this
            payment, reckoned on the whole of it.
        at: when it was paid, aware.

    Raises:
        DeductionError: an order without each category once, a payment or due below zero, a due
            given twice, a due above its plan's debt.
    """
    agreed = {plan.key: plan for plan in plans}
    if sorted(order) != sorted(Category):
        given = ", ".join(order) or "nothing"
        wanted = ", ".join(Category)
        raise DeductionError("deduction_order", f"{given}: expected each of {wanted} once")
    _check(payment_units, dues, agreed)
    rest, allocations = payment_units, []
    for due in sorted(dues, key=lambda due: _turn(due, order)):
        amount = min(_asked(due, agreed, payment_units, at), rest)
        if amount:
            allocations.append(Allocation(due, amount))
            rest -= amount
    return Deduction(tuple(allocations), rest)


def _turn(due: Due, order: Sequence[Category]) -> tuple[int, datetime, str]:
    return order.index(due.category), due.due_at, due.key


def _asked(due: Due, agreed: Mapping[str, DebtPlan], payment_units: int, at: datetime) -> int:
    plan = agreed.get(due.key) if due.category is Category.DEBT else None
    if plan is None:
        return due.amount_units
    return taken_from_payment(plan, plan.debt_units - due.amount_units, payment_units, at)


def _check(payment_units: int, dues: Sequence[Due], agreed: Mapping[str, DebtPlan]) -> None:
    if payment_units < 0:
        raise DeductionError("payment_units", f"{payment_units} is below zero")
    seen: set[tuple[Category, str]] = set()
    for due in dues:
        field = f"dues[{due.key}]"
        if due.amount_units < 0:
            raise DeductionError(f"{field}.amount_units", f"{due.amount_units} is below zero")
        if (due.category, due.key) in seen:
            raise DeductionError(field, f"is given twice as {due.category}")
        seen.add((due.category, due.key))
        plan = agreed.get(due.key)
        if (
            plan is not None
            and due.category is Category.DEBT
            and due.amount_units > plan.debt_units
        ):
            more = f"{due.amount_units} is more than the {plan.debt_units} of its plan"
            raise DeductionError(f"{field}.amount_units", more)
