"""Fees that come with the calendar: rent, property fee, monthly package.

A fee is a price per whole period (month, quarter ...) of the site's local calendar. A part of a
period costs its days' part. The amount of a span is the rounded amount of the period up to its
end less the rounded amount up to its start, so however a period is cut its parts sum to it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction

from meterplex.domain.accounts import Category
from meterplex.domain.billing import BillingError, minor_step_units
from meterplex.domain.money import LEDGER_UNITS, Rounding, round_ratio


class FeeError(BillingError):
    """A fee that cannot be charged."""


class FeePeriod(IntEnum):
    """Months of a period; periods begin with the calendar year."""

    MONTH = 1
    QUARTER = 3
    HALF_YEAR = 6
    YEAR = 12

    def begin(self, day: date) -> date:
        """Return the first day of the period that ``day`` is in."""
        return date(day.year, (day.month - 1) // self * self + 1, 1)

    def end(self, day: date) -> date:
        """Return the first day after the period that ``day`` is in."""
        years, month = divmod(self.begin(day).month - 1 + self, 12)
        return date(day.year + years, month + 1, 1)


@dataclass(frozen=True, slots=True)
class Fee:
    """What an account owes for every period from a date on.

    A change of price or area ends one fee and begins another on the same date.

    Attributes:
        key: unique in the organisation.
        category: rent or fee, its place in the order of deduction.
        price: of a whole period in the currency; for one square metre where there is an area.
        area_m2: what the price is multiplied by; None for a fixed fee.
        starts_on: first local date of service.
        ends_on: first local date without it; None while it goes on.
        in_advance: due when the span begins, else when it ends.
        due_days: added to that date.
    """

    key: str
    category: Category
    text: str
    price: Decimal
    currency: str
    starts_on: date
    period: FeePeriod = FeePeriod.MONTH
    area_m2: Decimal | None = None
    ends_on: date | None = None
    in_advance: bool = True
    due_days: int = 0
    rounding: Rounding = Rounding.HALF_UP

    def __post_init__(self) -> None:
        """Raise FeeError for a price, area, category or span that means nothing."""
        if self.category not in (Category.RENT, Category.FEE):
            raise FeeError("category", f"{self.category} is neither rent nor fee")
        if not self.price.is_finite() or self.price <= 0:
            raise FeeError("price", f"{self.price} is not above zero")
        if self.area_m2 is not None and not (self.area_m2.is_finite() and self.area_m2 > 0):
            raise FeeError("area_m2", f"{self.area_m2} is not above zero")
        if self.ends_on is not None and self.ends_on <= self.starts_on:
            raise FeeError("ends_on", f"{self.ends_on} is not after {self.starts_on}")
        if self.due_days < 0:
            raise FeeError("due_days", f"{self.due_days} is below zero")

    @property
    def full_amount(self) -> Fraction:
        """The exact amount of a whole period, in the currency."""
        area = Fraction(1) if self.area_m2 is None else Fraction(self.area_m2)
        return Fraction(self.price) * area


@dataclass(frozen=True, slots=True)
class FeeDue:
    """A fee for a span of days inside one period.

    Attributes:
        start: and ``end``, local, half-open.
        amount_units: ledger units, whole minor units of the currency.
    """

    fee: Fee
    start: date
    end: date
    amount_units: int
    due_on: date


def fees_due(fee: Fee, since: date, until: date) -> list[FeeDue]:
    """Return what a fee comes to over ``[since, until)``, one entry a period, by date.

    Calls whose spans tile the time give dues that tile it as well. For a fee in advance ``until``
    is mostly the end of the period that has begun.

    Args:
        fee: with its span of service.
        since: local date, where the last call ended.
        until: local date; not after ``since`` gives nothing.
    """
    start = max(since, fee.starts_on)
    end = until if fee.ends_on is None else min(until, fee.ends_on)
    return [_due(fee, *span) for span in _spans(fee.period, start, end)]


def _spans(period: FeePeriod, start: date, end: date) -> Iterator[tuple[date, date]]:
    while start < end:
        after = min(period.end(start), end)
        yield start, after
        start = after


def _due(fee: Fee, start: date, end: date) -> FeeDue:
    amount = _amount_until(fee, start, end) - _amount_until(fee, start, start)
    due_on = (start if fee.in_advance else end) + timedelta(days=fee.due_days)
    return FeeDue(fee, start, end, amount, due_on)


def _amount_until(fee: Fee, day: date, end: date) -> int:
    """Return the ledger units from the first day in service of the period of ``day`` to ``end``."""
    begin, after = fee.period.begin(day), fee.period.end(day)
    days = (end - max(begin, fee.starts_on)).days
    step = minor_step_units(fee.currency)
    exact = fee.full_amount * days * LEDGER_UNITS / ((after - begin).days * step)
    return round_ratio(exact.numerator, exact.denominator, fee.rounding) * step
