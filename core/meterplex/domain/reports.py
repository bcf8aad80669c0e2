"""Reports about money: rows with figures, and totals that are nothing but the sums of the rows.

The figures of a row are counts and ledger units, apart from what the row is about, so that adding
rows up is one function for all reports. Amounts of different currencies are never added.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import AccountState
from meterplex.domain.estate import AccountId
from meterplex.domain.ledger import EntryKind, LedgerKind
from meterplex.domain.sharing import SharingBasis
from meterplex.domain.warnings import WarningLevel


class Figures(Protocol):
    """A frozen dataclass of whole numbers only."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


FiguresT = TypeVar("FiguresT", bound=Figures)
FiguresT_co = TypeVar("FiguresT_co", bound=Figures, covariant=True)


class ReportRow(Protocol[FiguresT_co]):
    """What every row of a report has."""

    @property
    def currency(self) -> str:
        """ISO 4217 code of its amounts."""
        ...

    @property
    def figures(self) -> FiguresT_co:
        """Its counts and amounts."""
        ...


RowT = TypeVar("RowT", bound=ReportRow[Any])


def add_up(kind: type[FiguresT], figures: Iterable[FiguresT]) -> FiguresT:
    """Return the sum of figures, field by field; zeros of none."""
    added = tuple(figures)
    sums = {each.name: sum(getattr(one, each.name) for one in added) for each in fields(kind)}
    return kind(**sums)


def figures_from(kind: type[FiguresT], values: Mapping[Any, Any]) -> FiguresT:
    """Return figures by the names of their fields; whatever numbers come are whole."""
    return kind(**{each.name: int(values[each.name]) for each in fields(kind)})


@dataclass(frozen=True, slots=True)
class Report(Generic[RowT, FiguresT]):
    """Rows in their order, and their sums by currency."""

    rows: tuple[RowT, ...]
    totals: Mapping[str, FiguresT]


def report_of(kind: type[FiguresT], rows: Sequence[RowT]) -> Report[RowT, FiguresT]:
    """Return a report of rows whose figures are of one kind."""
    currencies = sorted({row.currency for row in rows})
    totals = {
        currency: add_up(kind, (row.figures for row in rows if row.currency == currency))
        for currency in currencies
    }
    return Report(tuple(rows), totals)


# -- sales -------------------------------------------------------------------------------------


class ReportStep(StrEnum):
    """How long the periods of a sales report are."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"

    def start(self, day: date) -> date:
        """Return the first day of the period that a day lies in."""
        match self:
            case ReportStep.DAY:
                return day
            case ReportStep.MONTH:
                return day.replace(day=1)
            case ReportStep.YEAR:
                return day.replace(month=1, day=1)


@dataclass(frozen=True, slots=True)
class Takings:
    """Money that came and went; what is taken back or paid out stands beside the sales.

    Attributes:
        reversed_units: what reversals gave back, less what they took back of payouts.
    """

    sales: int
    sold_units: int
    reversals: int
    reversed_units: int
    payouts: int
    paid_out_units: int

    derived: ClassVar = ("net_units",)

    @property
    def net_units(self) -> int:
        """What there is more in hand than before."""
        return self.sold_units - self.reversed_units - self.paid_out_units


@dataclass(frozen=True, slots=True)
class TakingsRow:
    """Takings of one local day of a site, as far as it is told apart.

    Attributes:
        day: None where days are not told apart; and likewise empty texts.
        cashier: who took the money, or the rule that did.
        channel: where: ``desk``, ``rest`` ...
        method: how: ``cash``, ``bank`` ...
    """

    day: date | None
    cashier: str
    channel: str
    method: str
    currency: str
    figures: Takings


@dataclass(frozen=True, slots=True)
class SalesRow:
    """Takings of a day, month or year; ``start`` is its first day."""

    start: date
    currency: str
    figures: Takings


@dataclass(frozen=True, slots=True)
class CashierRow:
    """Takings of one cashier at one place by one way of paying."""

    cashier: str
    channel: str
    method: str
    currency: str
    figures: Takings


# -- accounts over a period --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Movements:
    """How what an account has, less what it owes, changed over a period.

    Attributes:
        opening_units: credit on the server, on its way and in meters, less receivables and debts.
        topped_up_units: paid by the customer, for credit or for dues.
        reversed_units: taken back by reversals.
        used_units: charged for use, with later adjustments.
        fees_units: rent, fees, shares, and the rounding of bills.
        returned_units: credit that became money to be paid out.
        other_units: brought in, moved between accounts, bought elsewhere.
    """

    opening_units: int
    topped_up_units: int
    reversed_units: int
    used_units: int
    fees_units: int
    returned_units: int
    other_units: int
    closing_units: int

    @property
    def quiet(self) -> bool:
        """Whether there was nothing, and nothing happened."""
        return not any(getattr(self, each.name) for each in fields(self))


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """One account over a period."""

    site: str
    account: str
    customer: str
    currency: str
    figures: Movements


@dataclass(frozen=True, slots=True)
class PaidBack:
    """Money given back.

    Attributes:
        payable_units: what became payable; below zero when it was paid out.
        paid_units: what left the hand.
    """

    payable_units: int
    paid_units: int


@dataclass(frozen=True, slots=True)
class RefundRow:
    """One refund, reversal or payout."""

    at: datetime
    kind: EntryKind
    site: str
    account: str
    order_id: UUID | None
    operator: str
    method: str
    memo: str
    currency: str
    figures: PaidBack


@dataclass(frozen=True, slots=True)
class Position:
    """What an account has and owes.

    Attributes:
        credit_units: on the server, on its way to meters and in them.
        owed_units: receivables and debts, above zero.
    """

    credit_units: int
    owed_units: int

    derived: ClassVar = ("net_units",)

    @property
    def net_units(self) -> int:
        """The one less the other."""
        return self.credit_units - self.owed_units


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One account as it stands."""

    site: str
    account: str
    customer: str
    mode: AccountMode
    state: AccountState
    opened_at: datetime
    closed_at: datetime | None
    currency: str
    figures: Position


@dataclass(frozen=True, slots=True)
class Credit:
    """What is left of a credit."""

    remaining_units: int


@dataclass(frozen=True, slots=True)
class CreditRow:
    """A wallet, on the server or in a meter.

    Attributes:
        meter: serial; empty for the wallet on the server.
        alarm_1_units: of the account's own; None takes the site's default, and likewise alarm_2.
    """

    account_id: AccountId
    site: str
    account: str
    customer: str
    phone: str
    meter: str
    alarm_1_units: int | None
    alarm_2_units: int | None
    currency: str
    figures: Credit


@dataclass(frozen=True, slots=True)
class LowRow:
    """A wallet at or below a threshold (F56)."""

    site: str
    account: str
    customer: str
    phone: str
    meter: str
    level: WarningLevel
    currency: str
    figures: Credit


# -- arrears and bills -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrears:
    """What is owed, by days since it was due.

    Attributes:
        not_due_units: billed, and today is not later than the due date.
        unbilled_units: owed by the ledger without a bill, such as use beyond the overdraft.
    """

    not_due_units: int
    days_1_30_units: int
    days_31_60_units: int
    days_61_90_units: int
    over_90_units: int
    unbilled_units: int

    derived: ClassVar = ("owed_units",)

    @property
    def owed_units(self) -> int:
        """All of it: the receivables of the ledger."""
        return sum(getattr(self, each.name) for each in fields(self))


@dataclass(frozen=True, slots=True)
class AgeingRow:
    """What one account owes."""

    site: str
    account: str
    customer: str
    currency: str
    figures: Arrears


@dataclass(frozen=True, slots=True)
class Billed:
    """Bills of a month, and what became of them.

    Attributes:
        paid: bills without a rest.
        in_arrears: bills past their due date with a rest.
    """

    bills: int
    billed_units: int
    paid: int
    paid_units: int
    in_arrears: int
    in_arrears_units: int

    derived: ClassVar = ("open_units",)

    @property
    def open_units(self) -> int:
        """What is not paid, late or not."""
        return self.billed_units - self.paid_units


@dataclass(frozen=True, slots=True)
class BillsRow:
    """Bills whose period begins in a month; ``month`` is its first day."""

    month: date
    site: str
    currency: str
    figures: Billed


@dataclass(frozen=True, slots=True)
class Shared:
    """A shared cost, and what was billed and paid of it."""

    shares: int
    amount_units: int
    billed_units: int
    paid_units: int


@dataclass(frozen=True, slots=True)
class ShareRow:
    """One run of sharing."""

    site: str
    name: str
    basis: SharingBasis
    since: date
    until: date
    currency: str
    figures: Shared


# -- the ledger --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turnover:
    """A line of the trial balance; the closings of all lines sum to zero, as do the openings."""

    opening_units: int
    debit_units: int
    credit_units: int

    derived: ClassVar = ("closing_units",)

    @property
    def closing_units(self) -> int:
        """Balance is credit less debit, see ``domain.ledger``."""
        return self.opening_units + self.credit_units - self.debit_units


@dataclass(frozen=True, slots=True)
class TrialRow:
    """Ledger accounts of one kind; those of customers and meters in one line.

    Attributes:
        subject: of the ledger account where it is not a customer's; else empty.
        accounts: how many ledger accounts are in the line.
    """

    kind: LedgerKind
    subject: str
    accounts: int
    currency: str
    figures: Turnover
