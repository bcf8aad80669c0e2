"""Orders that move value into or out of a meter, and the states they go through.

::

    PAID -> ARMED -> CONFIRMED     proven in the meter
     |  ^     |  `-> UNCERTAIN     sent, not proven: evidence is read until something is
     |  |     `----> PAID          proven that no byte of any attempt has left
     |  `- UNCERTAIN -> ARMED      not applied so far: the same count and amount again
     |       |   `----> PAID       fenced by another purchase: a new count next time
     |       |--------> CONFIRMED
     |       |--------> VOIDED     behind a fence
     |       `--------> CONFLICT   evidence contradicts; two people decide
     |-> VOIDED                    never sent, or fenced
     `-> CONFLICT                  another meter or customer than was bound

ARMED is committed before the first byte leaves, so an order found ARMED at start-up is UNCERTAIN.
A withdrawal goes through the same machine: its PAID means *asked, waiting*.
"""

from collections.abc import Collection
from enum import StrEnum
from typing import Final, NewType
from uuid import UUID

OrderId = NewType("OrderId", UUID)


class OrderKind(StrEnum):
    """Why value moves."""

    VEND = "vend"
    REFUND = "refund"
    """Unused credit goes back to its owner."""
    REVERSAL = "reversal"
    """One whole vend, made in error, is undone."""
    TRANSFER = "transfer"
    """Credit of a swapped meter goes into the new one; no sale."""


class Direction(StrEnum):
    """What happens to the credit at the meter."""

    DELIVER = "deliver"
    WITHDRAW = "withdraw"


DIRECTIONS: Final[dict[OrderKind, Direction]] = {
    OrderKind.VEND: Direction.DELIVER,
    OrderKind.REFUND: Direction.WITHDRAW,
    OrderKind.REVERSAL: Direction.WITHDRAW,
    OrderKind.TRANSFER: Direction.DELIVER,
}


class OrderState(StrEnum):
    """See the module's picture."""

    PAID = "paid"
    ARMED = "armed"
    UNCERTAIN = "uncertain"
    CONFIRMED = "confirmed"
    CONFLICT = "conflict"
    VOIDED = "voided"


MOVES: Final[dict[OrderState, frozenset[OrderState]]] = {
    OrderState.PAID: frozenset({OrderState.ARMED, OrderState.VOIDED, OrderState.CONFLICT}),
    OrderState.ARMED: frozenset({OrderState.CONFIRMED, OrderState.UNCERTAIN, OrderState.PAID}),
    OrderState.UNCERTAIN: frozenset(
        {
            OrderState.ARMED,
            OrderState.PAID,
            OrderState.CONFIRMED,
            OrderState.CONFLICT,
            OrderState.VOIDED,
        }
    ),
    OrderState.CONFLICT: frozenset({OrderState.CONFIRMED, OrderState.VOIDED, OrderState.PAID}),
    OrderState.CONFIRMED: frozenset(),
    OrderState.VOIDED: frozenset(),
}
"""Allowed moves; those out of CONFLICT are made by two people."""

FINAL: Final = frozenset(state for state, moves in MOVES.items() if not moves)
"""States in which nothing more happens."""

LIVE: Final = frozenset(OrderState) - FINAL
"""Money is on its way: the supply of the account is not cut off."""

BLOCKING: Final = LIVE - {OrderState.PAID}
"""While one order of a binding is in these, no other of it is armed."""


def may_arm(others: Collection[OrderState]) -> bool:
    """Tell whether an order may be armed, from the states of the binding's other orders."""
    return BLOCKING.isdisjoint(others)
