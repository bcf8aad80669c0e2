"""Old debts paid off by agreement: a share of each payment, or so much per period.

A plan never takes more than is left of its debt, so it ends exactly at zero.
"""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from zoneinfo import ZoneInfo

from meterplex.domain.billing import BillingError
from meterplex.domain.money import Rounding, round_ratio


class DebtPlanError(BillingError):
    """A plan that cannot pay off a debt."""


class InstalmentPeriod(StrEnum):
    """From one instalment to the next."""

    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class PaymentShare:
    """So much of each payment goes to the debt.

    Attributes:
        percent: of the whole payment, above 0 and at most 100.
        at_least_units: taken even of a small payment, as far as it reaches.
        at_most_units: never more of one payment; None for no limit.
        step_units: the share is rounded to a multiple of it.
        rounding: of the share, once.
    """

    percent: Decimal
    at_least_units: int = 0
    at_most_units: int | None = None
    step_units: int = 1
    rounding: Rounding = Rounding.HALF_UP

    def __post_init__(self) -> None:
        """Raise DebtPlanError for a share that could take nothing or more than everything."""
        if not (self.percent.is_finite() and 0 < self.percent <= 100):
            raise DebtPlanError("percent", f"{self.percent} is not above 0 and at most 100")
        if self.at_least_units < 0:
            raise DebtPlanError("at_least_units", f"{self.at_least_units} is below zero")
        if self.at_most_units is not None and self.at_most_units < max(self.at_least_units, 1):
            raise DebtPlanError("at_most_units", f"{self.at_most_units} is below at_least_units")
        if self.step_units < 1:
            raise DebtPlanError("step_units", f"{self.step_units} is below 1")

    def of_payment(self, payment_units: int) -> int:
        """Return what one payment gives, before looking at what is left of the debt."""
        share = Fraction(self.percent) * payment_units / (100 * self.step_units)
        units = round_ratio(share.numerator, share.denominator, self.rounding) * self.step_units
        units = max(units, self.at_least_units)
        if self.at_most_units is not None:
            units = min(units, self.at_most_units)
        return min(units, payment_units)


@dataclass(frozen=True, slots=True)
class Instalments:
    """So much per period falls due, on a local date of the site; the last is what is left.

    Attributes:
        amount_units: each but the last.
        first_on: when the first falls due; later ones of a monthly plan on its day, or on the
            last day of a month that does not have it.
        zone: the site's; an instalment is due from the midnight that begins its date.
    """

    amount_units: int
    first_on: date
    zone: ZoneInfo
    period: InstalmentPeriod = InstalmentPeriod.MONTH

    def __post_init__(self) -> None:
        """Raise DebtPlanError for instalments of nothing."""
        if self.amount_units <= 0:
            raise DebtPlanError("amount_units", f"{self.amount_units} is not above zero")

    def due_on(self, number: int) -> date:
        """Return the local date of an instalment; the first is number 0."""
        if self.period is InstalmentPeriod.WEEK:
            return self.first_on + timedelta(weeks=number)
        years, month = divmod(self.first_on.month - 1 + number, 12)
        year = self.first_on.year + years
        last = monthrange(year, month + 1)[1]
        return date(year, month + 1, min(self.first_on.day, last))

    def count_due(self, today: date) -> int:
        """Return how many instalments have fallen due by a local date."""
        if today < self.first_on:
            return 0
        if self.period is InstalmentPeriod.WEEK:
            return (today - self.first_on).days // 7 + 1
        months = (today.year - self.first_on.year) * 12 + today.month - self.first_on.month
        return months + (self.due_on(months) <= today)


@dataclass(frozen=True, slots=True)
class Instalment:
    """What falls due on a local date, in ledger units."""

    due_on: date
    amount_units: int


@dataclass(frozen=True, slots=True)
class DebtPlan:
    """A debt and the rule by which it is paid off.

    Attributes:
        key: of the debt, unique among an account's dues.
        debt_units: ledger units owed when the plan began.
    """

    key: str
    debt_units: int
    rule: PaymentShare | Instalments

    def __post_init__(self) -> None:
        """Raise DebtPlanError for a debt of nothing."""
        if self.debt_units <= 0:
            raise DebtPlanError("debt_units", f"{self.debt_units} is not above zero")

    def outstanding_units(self, paid_units: int) -> int:
        """Return what is left of the debt after what was paid on it.

        Raises:
            DebtPlanError: less than nothing, or more than the debt, was paid.
        """
        if not 0 <= paid_units <= self.debt_units:
            raise DebtPlanError("paid_units", f"{paid_units} is not within 0..{self.debt_units}")
        return self.debt_units - paid_units


def instalment_due(plan: DebtPlan, paid_units: int, now: datetime) -> int:
    """Return what has fallen due by now and is not paid; 0 for a share of each payment.

    Args:
        plan: with its rule.
        paid_units: on this debt so far.
        now: aware.
    """
    outstanding = plan.outstanding_units(paid_units)
    if isinstance(plan.rule, PaymentShare):
        return 0
    due = plan.rule.amount_units * plan.rule.count_due(now.astimezone(plan.rule.zone).date())
    return min(max(due - paid_units, 0), outstanding)


def taken_from_payment(plan: DebtPlan, paid_units: int, payment_units: int, now: datetime) -> int:
    """Return what a payment gives to the debt: the agreed share, or the instalments due.

    Raises:
        DebtPlanError: the payment is below zero.
    """
    if payment_units < 0:
        raise DebtPlanError("payment_units", f"{payment_units} is below zero")
    if isinstance(plan.rule, Instalments):
        return min(instalment_due(plan, paid_units, now), payment_units)
    return min(plan.rule.of_payment(payment_units), plan.outstanding_units(paid_units))


def instalments(plan: DebtPlan) -> Iterator[Instalment]:
    """Give all instalments of a plan by date; none for a share of each payment."""
    if isinstance(plan.rule, PaymentShare):
        return
    left, number = plan.debt_units, 0
    while left:
        amount = min(plan.rule.amount_units, left)
        yield Instalment(plan.rule.due_on(number), amount)
        left, number = left - amount, number + 1
