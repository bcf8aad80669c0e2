"""Post-paid bills: what is owed for a period, until when, and how late it is.

A bill is not changed once issued: what is found out later comes as a line of the next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from meterplex.domain.money import LEDGER_DECIMALS, Rounding, minor_decimals, to_minor_units
from meterplex.domain.warnings import WarningLevel


class BillingError(Exception):
    """Terms or amounts that cannot be billed; the text begins with the field's name.

    Attributes:
        field: what is wrong, as a path.
        message: why, with what was given.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


def minor_step_units(currency: str) -> int:
    """Return one minor unit of a currency in ledger units: amounts to be paid are whole steps."""
    step: int = 10 ** (LEDGER_DECIMALS - minor_decimals(currency))
    return step


class BillStatus(StrEnum):
    """What a bill's customer owes on a day."""

    OPEN = "open"
    """Nothing paid yet, and time left."""
    PARTLY_PAID = "partly_paid"
    """Something paid, and time left for the rest."""
    PAID = "paid"
    IN_ARREARS = "in_arrears"
    """The due date is past and something is not paid."""


@dataclass(frozen=True, slots=True)
class BillLine:
    """One line in the customer's words; ledger units, below zero for what is given back."""

    text: str
    amount_units: int


@dataclass(frozen=True, slots=True)
class PostpaidBill:
    """What one account owes for one period.

    Attributes:
        number: unique in the organisation.
        start: and ``end``, local dates of the period, half-open.
        due_on: the last local date on which payment is in time.
        payable_minor: the sum of the lines, rounded once; below zero in the customer's favour.
    """

    number: str
    start: date
    end: date
    currency: str
    lines: tuple[BillLine, ...]
    issued_on: date
    due_on: date
    payable_minor: int

    @property
    def total_units(self) -> int:
        """The sum of the lines in ledger units."""
        return sum(line.amount_units for line in self.lines)

    @property
    def rounding_units(self) -> int:
        """What rounding to the minor unit added: it goes to the ledger's ROUNDING."""
        return self.payable_minor * minor_step_units(self.currency) - self.total_units

    def outstanding_minor(self, paid_minor: int) -> int:
        """Return what is still to be paid after payments in minor units.

        Raises:
            BillingError: less than nothing was paid.
        """
        if paid_minor < 0:
            raise BillingError("paid_minor", f"{paid_minor} is below zero")
        return max(self.payable_minor - paid_minor, 0)

    def status(self, paid_minor: int, today: date) -> BillStatus:
        """Return how the bill stands on a local date."""
        if not self.outstanding_minor(paid_minor):
            return BillStatus.PAID
        if today > self.due_on:
            return BillStatus.IN_ARREARS
        return BillStatus.PARTLY_PAID if paid_minor else BillStatus.OPEN

    def days_late(self, paid_minor: int, today: date) -> int:
        """Return the days since the due date of a bill that is not paid; 0 in time."""
        if not self.outstanding_minor(paid_minor):
            return 0
        return max((today - self.due_on).days, 0)


def issue_bill(
    number: str,
    period: tuple[date, date],
    lines: Sequence[BillLine],
    *,
    currency: str,
    issued_on: date,
    net_days: int,
    rounding: Rounding = Rounding.HALF_UP,
) -> PostpaidBill:
    """Make a bill of its lines, due ``net_days`` after its issue, whatever day of the week it is.

    Raises:
        BillingError: no number, a period that does not end after its start, a negative term.
    """
    start, end = period
    if not number:
        raise BillingError("number", "is empty")
    if end <= start:
        raise BillingError("period", f"{start} to {end} has no day")
    if net_days < 0:
        raise BillingError("net_days", f"{net_days} is below zero")
    payable = to_minor_units(sum(line.amount_units for line in lines), currency, rounding)
    due_on = issued_on + timedelta(days=net_days)
    return PostpaidBill(number, start, end, currency, tuple(lines), issued_on, due_on, payable)


@dataclass(frozen=True, slots=True)
class DunningTerms:
    """Days after the due date from which each warning is due (choice)."""

    alarm_1_days: int = 1
    alarm_2_days: int = 8
    arrears_days: int = 15

    def __post_init__(self) -> None:
        """Raise BillingError unless the days rise from the first warning on."""
        if self.alarm_1_days < 1:
            raise BillingError("alarm_1_days", f"{self.alarm_1_days} is not after the due date")
        if not self.alarm_1_days < self.alarm_2_days < self.arrears_days:
            days = f"{self.alarm_1_days}, {self.alarm_2_days}, {self.arrears_days}"
            raise BillingError("arrears_days", f"{days} do not rise from warning to warning")

    def level(self, days_late: int) -> WarningLevel | None:
        """Return the highest warning due after so many days; None when none is."""
        if days_late >= self.arrears_days:
            return WarningLevel.ARREARS
        if days_late >= self.alarm_2_days:
            return WarningLevel.ALARM_2
        return WarningLevel.ALARM_1 if days_late >= self.alarm_1_days else None
