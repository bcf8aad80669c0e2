"""Receipts: what a customer takes home as proof of one movement of money.

A receipt is written once; printing it again makes a numbered copy of the same figures. Numbers
run without gaps per site and year, so that a missing one shows.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from meterplex.domain.billing import BillingError, minor_step_units
from meterplex.domain.registers import Unit


class ReceiptError(BillingError):
    """A receipt that contradicts itself."""


class ReceiptKind(StrEnum):
    """What the money was for."""

    VEND = "vend"
    """Credit bought; parts of it may have settled dues."""
    REFUND = "refund"
    """Unused credit paid out."""
    REVERSAL = "reversal"
    """A wrong sale or refund undone."""
    DEBT = "debt"
    """An old debt paid off."""
    FEE = "fee"
    """Rent or a fee."""
    BILL = "bill"
    """A post-paid bill."""


class Language(StrEnum):
    """What a document is written in."""

    CHINESE = "zh"
    ENGLISH = "en"


_NUMBER: Final = re.compile(r"(.+)-([0-9]{4})-([0-9]{6,})")


@dataclass(frozen=True, slots=True)
class ReceiptNumber:
    """``EAST-2026-000123``: site, local year of issue, and a sequence that starts at 1."""

    site_code: str
    year: int
    sequence: int

    def __post_init__(self) -> None:
        """Raise ReceiptError for a number that could not be written and read back."""
        if not self.site_code:
            raise ReceiptError("site_code", "is empty")
        if not 1000 <= self.year <= 9999:
            raise ReceiptError("year", f"{self.year} has not four digits")
        if self.sequence < 1:
            raise ReceiptError("sequence", f"{self.sequence} is below 1")

    def __str__(self) -> str:
        return f"{self.site_code.upper()}-{self.year}-{self.sequence:06d}"

    @classmethod
    def parse(cls, text: str) -> "ReceiptNumber":
        """Read a number as it is printed.

        Raises:
            ReceiptError: another form.
        """
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise ReceiptError("number", f"{text!r}: expected a number such as EAST-2026-000123")
        return cls(match[1], int(match[2]), int(match[3]))


@dataclass(frozen=True, slots=True)
class ReceiptItem:
    """What a part of the money went to, in the customer's language; ledger units."""

    text: str
    amount_units: int


@dataclass(frozen=True, slots=True)
class UnitsEstimate:
    """About how much the credit buys at the prices of the day."""

    units: Decimal
    unit: Unit


@dataclass(frozen=True, slots=True)
class Receipt:
    """One movement of money as it is printed.

    Attributes:
        issued_at: in the site's zone.
        seller: who took the money, as it stands in the register of companies.
        place: unit or shop; empty when the account has none.
        items: sum to what was paid.
        paid_minor: minor units; below zero when the money went to the customer.
        method: how it was paid: ``cash``, ``bank``, ``card`` ..., else in the customer's words.
        cashier: name of the operator or machine that took it.
        balance_after_units: ledger units; None where the account has no balance here.
        order: of the sale, refund or reversal.
        refers_to: number of the receipt that this one undoes.
        verification: short text that tells a true receipt from an invented one.
        copy: 0 for the original, else the number of the reprint.
    """

    number: ReceiptNumber
    kind: ReceiptKind
    language: Language
    issued_at: datetime
    seller: str
    site: str
    account: str
    customer: str
    items: tuple[ReceiptItem, ...]
    paid_minor: int
    currency: str
    method: str
    cashier: str = ""
    place: str = ""
    balance_after_units: int | None = None
    estimate: UnitsEstimate | None = None
    order: str = ""
    refers_to: str = ""
    verification: str = ""
    copy: int = 0

    def __post_init__(self) -> None:
        """Raise ReceiptError for items that do not sum to the payment, or a time without zone."""
        if self.issued_at.utcoffset() is None:
            raise ReceiptError("issued_at", f"{self.issued_at} has no time zone")
        if self.copy < 0:
            raise ReceiptError("copy", f"{self.copy} is below zero")
        items_units = sum(item.amount_units for item in self.items)
        if items_units != self.paid_units:
            sums = f"sum to {items_units} ledger units, paid were {self.paid_units}"
            raise ReceiptError("items", sums)

    @property
    def paid_units(self) -> int:
        """The payment in ledger units."""
        return self.paid_minor * minor_step_units(self.currency)

    def reprint(self, copy: int) -> "Receipt":
        """Return the copy of that number, from 1 on.

        Raises:
            ReceiptError: a number below 1.
        """
        if copy < 1:
            raise ReceiptError("copy", f"{copy} is below 1")
        return replace(self, copy=copy)
