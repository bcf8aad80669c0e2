"""The ledger: double entry, only ever inserted.

Value is always in exactly one named ledger account. A posting moves an amount above zero from the
account it debits to the account it credits; an entry is a set of postings that happen together.
So every entry sums to zero by its form, not by a check. The balance of an account is all it was
credited minus all it was debited; what the outside owes or holds (cash taken, receivables) is
therefore below zero, what is owed to customers above, and all balances of an organisation in one
currency sum to zero.

A mistake is corrected by a new entry of the opposite direction that names the one it reverses.
A closed period takes no entry any more; what becomes known late is booked in the open period, as
an adjustment that names the time it belongs to.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

from meterplex.domain.accounts import Category
from meterplex.domain.estate import AccountId, BindingId, OrganisationId

EntryId = NewType("EntryId", UUID)


class LedgerError(Exception):
    """A set of postings that cannot be an entry."""


class LedgerKind(StrEnum):
    """Kinds of ledger account, and what their subject is (prepayment-protocol section 2)."""

    CASH = "cash"
    """Money taken; the subject is how (``cash``, ``bank`` ...). Below zero while we hold it."""
    CUSTOMER = "customer"
    """Prepaid on the server; an account. Below zero only by its overdraft."""
    TRANSIT = "transit"
    """Sold, not proven in the meter; a binding."""
    METER = "meter"
    """Credit held by the meter; a binding."""
    REVENUE = "revenue"
    """Earned; a utility, or what a fee is for."""
    REFUND_PAYABLE = "refund_payable"
    """To be paid out; an account."""
    SUSPENSE = "suspense"
    """Waits to be explained, such as purchases that others made; a binding or account."""
    ROUNDING = "rounding"
    """What rounding to the minor unit left over; no subject."""
    RECEIVABLE = "receivable"
    """Owed by a customer, so below zero; an account and category."""
    DEBT = "debt"
    """Owed under a plan, so below zero; a debt plan."""
    TAX = "tax"
    """Collected for the state; a tax code."""
    BROUGHT_IN = "brought_in"
    """Credit that came from before this system, not sold here; no subject."""


@dataclass(frozen=True, slots=True, order=True)
class LedgerAccount:
    """The name of a ledger account; it exists from its first posting on."""

    kind: LedgerKind
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.subject}" if self.subject else self.kind.value


ROUNDING = LedgerAccount(LedgerKind.ROUNDING)
BROUGHT_IN = LedgerAccount(LedgerKind.BROUGHT_IN)


def cash(method: str) -> LedgerAccount:
    """Return where money taken by ``method`` (cash, bank ...) is booked."""
    return LedgerAccount(LedgerKind.CASH, method)


def customer(account_id: AccountId) -> LedgerAccount:
    """Return the prepaid credit of an account."""
    return LedgerAccount(LedgerKind.CUSTOMER, str(account_id))


def transit(binding_id: BindingId) -> LedgerAccount:
    """Return what is sold to a binding and not proven in its meter."""
    return LedgerAccount(LedgerKind.TRANSIT, str(binding_id))


def in_meter(binding_id: BindingId) -> LedgerAccount:
    """Return the credit that the meter of a binding holds."""
    return LedgerAccount(LedgerKind.METER, str(binding_id))


def revenue(what: str) -> LedgerAccount:
    """Return what was earned with a utility or fee."""
    return LedgerAccount(LedgerKind.REVENUE, what)


def refund_payable(account_id: AccountId) -> LedgerAccount:
    """Return what is to be paid out to an account's customer."""
    return LedgerAccount(LedgerKind.REFUND_PAYABLE, str(account_id))


def suspense(subject: UUID) -> LedgerAccount:
    """Return what waits to be explained at a binding or account."""
    return LedgerAccount(LedgerKind.SUSPENSE, str(subject))


def receivable(account_id: AccountId, category: Category) -> LedgerAccount:
    """Return what an account owes for rent, fees or utilities."""
    return LedgerAccount(LedgerKind.RECEIVABLE, f"{account_id}/{category}")


def debt(plan_id: UUID) -> LedgerAccount:
    """Return what is owed under a debt plan."""
    return LedgerAccount(LedgerKind.DEBT, str(plan_id))


def tax(code: str) -> LedgerAccount:
    """Return what was collected of a tax."""
    return LedgerAccount(LedgerKind.TAX, code)


class EntryKind(StrEnum):
    """Why an entry was made."""

    OPENING = "opening"
    """Credit brought in from before this system."""
    PAYMENT = "payment"
    """Money taken."""
    DELIVERY = "delivery"
    """Credit proven in a meter."""
    WITHDRAWAL = "withdrawal"
    """Credit proven to be taken back from a meter."""
    VOID = "void"
    """An order that will never reach its meter."""
    CHARGE = "charge"
    ADJUSTMENT = "adjustment"
    """What became known late, or a correction of a charge."""
    FEE = "fee"
    SHARE = "share"
    """A part of a common cost."""
    BILL = "bill"
    """The rounding of a bill to the minor unit."""
    SETTLEMENT = "settlement"
    """Credit set against what is owed."""
    TRANSFER = "transfer"
    """Credit moved between bindings or accounts; no sale."""
    REFUND = "refund"
    """Credit taken back, to be paid out."""
    PAYOUT = "payout"
    """Money paid out."""
    REVERSAL = "reversal"
    FOREIGN = "foreign"
    """A purchase in a meter that was not made here."""


@dataclass(frozen=True, slots=True)
class Posting:
    """An amount above zero, in ledger units, from the debited to the credited account.

    Raises:
        LedgerError: the amount is not above zero, or the accounts are the same.
    """

    debit: LedgerAccount
    credit: LedgerAccount
    amount_units: int

    def __post_init__(self) -> None:
        if self.amount_units <= 0:
            raise LedgerError(
                f"posting {self.debit} to {self.credit}: amount {self.amount_units} ledger units, "
                "expected above 0"
            )
        if self.debit == self.credit:
            raise LedgerError(f"posting debits and credits {self.debit}")

    @property
    def opposite(self) -> "Posting":
        """The same amount back."""
        return Posting(self.credit, self.debit, self.amount_units)


@dataclass(frozen=True, slots=True)
class Entry:
    """Postings that happen together.

    Attributes:
        period: first day of the month it counts for; see :func:`period_of`.
        account_id: whose statement shows it; None for entries of nobody's.
        order_id: the order it belongs to.
        reverses_id: the entry it takes back; each is taken back at most once.
        operator: who, or which rule, made it.
        memo: one line for people.

    Raises:
        LedgerError: it has no posting.
    """

    id: EntryId
    organisation_id: OrganisationId
    kind: EntryKind
    currency: str
    booked_at: datetime
    period: date
    postings: tuple[Posting, ...]
    operator: str
    account_id: AccountId | None = None
    order_id: UUID | None = None
    reverses_id: EntryId | None = None
    memo: str = ""

    def __post_init__(self) -> None:
        if not self.postings:
            raise LedgerError(f"entry {self.id}: no posting")


def reverse(entry: Entry, entry_id: EntryId, at: datetime, period: date, operator: str) -> Entry:
    """Return the entry that takes another one back, posting by posting."""
    return Entry(
        id=entry_id,
        organisation_id=entry.organisation_id,
        kind=EntryKind.REVERSAL,
        currency=entry.currency,
        booked_at=at,
        period=period,
        postings=tuple(posting.opposite for posting in reversed(entry.postings)),
        operator=operator,
        account_id=entry.account_id,
        order_id=entry.order_id,
        reverses_id=entry.id,
        memo=f"takes back {entry.kind} of {entry.booked_at.isoformat()}",
    )


def changes(postings: Iterable[Posting]) -> Mapping[LedgerAccount, int]:
    """Return by how much each account's balance changes; the changes sum to zero."""
    balance: Counter[LedgerAccount] = Counter()
    for posting in postings:
        balance[posting.debit] -= posting.amount_units
        balance[posting.credit] += posting.amount_units
    return {account: change for account, change in balance.items() if change}


def signed(source: LedgerAccount, target: LedgerAccount, amount_units: int) -> tuple[Posting, ...]:
    """Return the posting of an amount that may be below zero (then back) or zero (then none)."""
    if amount_units == 0:
        return ()
    if amount_units < 0:
        return (Posting(target, source, -amount_units),)
    return (Posting(source, target, amount_units),)


def take_credit(
    balance_units: int,
    overdraft_units: int,
    owed: LedgerAccount,
    wallet: LedgerAccount,
    target: LedgerAccount,
    amount_units: int,
) -> tuple[Posting, ...]:
    """Return the postings of a charge: from the wallet to its overdraft, the rest as owed.

    Args:
        balance_units: of the wallet now.
        overdraft_units: how far it may go below zero.
        owed: the receivable that takes what the wallet cannot.
        amount_units: the charge; below zero gives back, to the wallet.
    """
    if amount_units <= 0:
        return signed(wallet, target, amount_units)
    from_wallet = min(amount_units, max(0, balance_units + overdraft_units))
    return signed(wallet, target, from_wallet) + signed(owed, target, amount_units - from_wallet)


def period_of(day: date) -> date:
    """Return the period of a local day: the first of its month."""
    return day.replace(day=1)


def next_period(period: date) -> date:
    """Return the period after one."""
    return date(period.year + period.month // 12, period.month % 12 + 1, 1)


def open_period(wanted: date, closed: Sequence[date]) -> date:
    """Return the first period from ``wanted`` on that is not closed."""
    while wanted in closed:
        wanted = next_period(wanted)
    return wanted
