"""Refund and reversal: what may be given back, by whom, and what must happen first.

A refund returns unused credit that was bought. A reversal undoes one whole vend made in error,
once. In both the credit is taken back first, and only then is money paid.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from meterplex.domain.prepayment.orders import OrderKind, OrderState


def refundable_units(
    remaining_units: int, *, paid_units: int, refunded_units: int, gift_units: int = 0
) -> int:
    """Return the most that can be refunded, in ledger units, never below zero.

    Args:
        remaining_units: read fresh from the meter, or the customer's balance.
        paid_units: sum of all money paid in, refunded_units: sum of all refunds.
        gift_units: credit that was not bought (carried in, emergency); it counts as unused, so
            that what is paid out never exceeds what was paid less what was used.
    """
    return max(min(remaining_units - gift_units, paid_units - refunded_units), 0)


class Undo(StrEnum):
    """How the money of an order can come back."""

    VOID = "void"
    """Nothing was sent."""
    FINISH_FIRST = "finish_first"
    """Sent, not proven: settle it, then undo it."""
    TAKE_FROM_BALANCE = "take_from_balance"
    """The balance is on the server."""
    WITHDRAW_FIRST = "withdraw_first"
    """The meter must give the credit back before money is paid."""
    CLAW_BACK = "claw_back"
    """The meter cannot give back: taken from later vends with consent, or by swap or closing."""
    DONE = "done"
    """It was voided already."""


def way_to_undo(
    state: OrderState, *, ever_sent: bool, in_meter: bool, can_withdraw: bool = False
) -> Undo:
    """Return what must happen before the money of an order can be given back.

    Args:
        in_meter: the balance is kept in the meter.
        can_withdraw: the meter can give credit back.
    """
    if state is OrderState.VOIDED:
        return Undo.DONE
    if state is OrderState.CONFIRMED:
        if not in_meter:
            return Undo.TAKE_FROM_BALANCE
        return Undo.WITHDRAW_FIRST if can_withdraw else Undo.CLAW_BACK
    return Undo.VOID if state is OrderState.PAID and not ever_sent else Undo.FINISH_FIRST


class ReversalRefusal(StrEnum):
    """Why a vend cannot be reversed."""

    KIND = "kind"
    """Only vends are reversed: a refund made in error is answered by a vend."""
    REVERSED = "reversed"
    """It has a reversal already."""
    DAY = "day"
    """It was sold on another day."""
    CASH_REPORT = "cash_report"
    """Its cash report is closed."""
    PERSON = "person"
    """Whoever sold it cannot reverse it."""
    USED = "used"
    """Part of it is used, and nobody consented to a debt."""


@dataclass(frozen=True, slots=True)
class ReversalFacts:
    """All that a reversal is judged by.

    Attributes:
        amount_units: of the vend, ledger units.
        unused_units: of the credit that it would be taken from, read fresh.
        sold_on: and ``today``, in the site's zone.
        reversed_before: a reversal of it exists, in any state but VOIDED.
        debt_consented: the customer agreed to owe what is used already.
    """

    kind: OrderKind
    amount_units: int
    unused_units: int
    sold_on: date
    today: date
    sold_by: str
    asked_by: str
    reversed_before: bool
    cash_report_closed: bool
    debt_consented: bool = False


def reversal_refusals(
    facts: ReversalFacts, *, same_day: bool = True
) -> tuple[ReversalRefusal, ...]:
    """Return all that speaks against a reversal; empty when it may be done.

    Args:
        same_day: of the site's policy; own choice of default.
    """
    refusals = {
        ReversalRefusal.KIND: facts.kind is not OrderKind.VEND,
        ReversalRefusal.REVERSED: facts.reversed_before,
        ReversalRefusal.DAY: same_day and facts.today != facts.sold_on,
        ReversalRefusal.CASH_REPORT: facts.cash_report_closed,
        ReversalRefusal.PERSON: facts.asked_by == facts.sold_by,
        ReversalRefusal.USED: reversal_debt_units(facts) > 0 and not facts.debt_consented,
    }
    return tuple(refusal for refusal, holds in refusals.items() if holds)


def reversal_debt_units(facts: ReversalFacts) -> int:
    """Return what of the vend is used already and becomes a debt when it is reversed."""
    return max(facts.amount_units - max(facts.unused_units, 0), 0)


def people_needed(amount_units: int, limit_units: int) -> int:
    """Return how many people must agree to a refund or reversal: two above the limit."""
    return 2 if amount_units > limit_units else 1


def claw_back_units(vend_units: int, owed_units: int, *, consented: bool) -> int:
    """Return what is kept of a later vend to pay back what a meter could not give back."""
    return min(vend_units, owed_units) if consented else 0
