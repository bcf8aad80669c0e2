"""Customers, their accounts, and how each binding of an account is paid for.

An account is one wallet over everything its customer uses and owes at a site: the usage points
bound to it, rent and fees. The mode (who keeps the balance, and when is paid) belongs to the
binding, the wallet to the account; the account's own mode is the one that new bindings get.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType
from uuid import UUID

from meterplex.domain.account_mode import AccountMode
from meterplex.domain.estate import AccountId, OrganisationId, SiteId

CustomerId = NewType("CustomerId", UUID)


class AccountState(StrEnum):
    """The life of an account."""

    OPEN = "open"
    SUSPENDED = "suspended"
    """No vends; charges and supply go on as they are."""
    CLOSING = "closing"
    """Being settled: no vends, no new bindings; see :class:`ClosingStep`."""
    CLOSED = "closed"
    """Every ledger account of it is zero, and no command of it is alive."""


ACCOUNT_MOVES: Final[dict[AccountState, frozenset[AccountState]]] = {
    AccountState.OPEN: frozenset({AccountState.SUSPENDED, AccountState.CLOSING}),
    AccountState.SUSPENDED: frozenset({AccountState.OPEN, AccountState.CLOSING}),
    AccountState.CLOSING: frozenset({AccountState.CLOSED}),
    AccountState.CLOSED: frozenset(),
}
"""Allowed moves."""


class ClosingStep(StrEnum):
    """How far the closing of an account has come; each step is its own commit, in this order."""

    FREEZE = "freeze"
    SETTLE_ORDERS = "settle_orders"
    FINAL_CHARGES = "final_charges"
    TAKE_BACK_CREDIT = "take_back_credit"
    SET_OFF_DEBTS = "set_off_debts"
    PAY_OUT = "pay_out"
    DONE = "done"


class Category(StrEnum):
    """What money is owed for; a payment is deducted in the order that the account declares."""

    DEBT = "debt"
    RENT = "rent"
    FEE = "fee"
    UTILITY = "utility"


DEDUCTION_ORDER: Final = (Category.DEBT, Category.RENT, Category.FEE, Category.UTILITY)
"""The order of an account that declares none."""


def parse_deduction_order(text: str) -> tuple[Category, ...]:
    """Read ``debt,rent,fee,utility``; each category once.

    Raises:
        ValueError: a category is unknown, missing or named twice.
    """
    words = [word.strip() for word in text.split(",")]
    if sorted(words) != sorted(Category):
        raise ValueError(f"deduction order {text!r}: expected each of {', '.join(Category)} once")
    return tuple(Category(word) for word in words)


def format_deduction_order(order: Sequence[Category]) -> str:
    """Return the text that :func:`parse_deduction_order` reads."""
    return ",".join(order)


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody who has accounts; ``number`` is unique in the organisation.

    Attributes:
        phone: as dialled, for notices; empty when none is known.
        language: ``zh`` or ``en``; empty takes the organisation's.
    """

    id: CustomerId
    organisation_id: OrganisationId
    number: str
    name: str
    phone: str = ""
    email: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """One wallet; ``number`` is unique in the organisation.

    Attributes:
        tariff: code of the tariff its bindings are rated with unless they say otherwise.
        alarm_1_units: first low-credit warning, in ledger units; None takes the site's default.
        alarm_2_units: second low-credit warning; None takes the site's default.
        overdraft_units: how far below zero supply goes on (F53).
        emergency_units: further credit, lent once until the next payment, before a disconnect.
        hoard_units: most credit the account, or each meter of it, may hold; None for no limit.
        head_count: people, for sharing by head; None when not known.
        closing_step: the first step of closing without its commit; None unless CLOSING.
    """

    id: AccountId
    organisation_id: OrganisationId
    site_id: SiteId
    customer_id: CustomerId
    number: str
    mode: AccountMode
    currency: str
    opened_at: datetime
    tariff: str = ""
    state: AccountState = AccountState.OPEN
    alarm_1_units: int | None = None
    alarm_2_units: int | None = None
    overdraft_units: int = 0
    emergency_units: int = 0
    hoard_units: int | None = None
    deduction_order: tuple[Category, ...] = DEDUCTION_ORDER
    head_count: int | None = None
    closing_step: ClosingStep | None = None
    closed_at: datetime | None = None
