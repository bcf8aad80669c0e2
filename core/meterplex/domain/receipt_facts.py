"""What is kept of a receipt: facts without a language, and the text that proves them.

The words are put to the facts when the receipt is printed, so that one receipt can be read in
several languages and all its prints carry the same check text. That text is the beginning of a
SHA-256 over what is stored and an identifier that is printed nowhere: nobody makes one up who
cannot read the database, and no stored figure changes without it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from meterplex.domain.accounts import Category
from meterplex.domain.ledger import LedgerAccount, LedgerKind, Posting
from meterplex.domain.receipts import (
    Language,
    Receipt,
    ReceiptError,
    ReceiptItem,
    ReceiptKind,
    ReceiptNumber,
    UnitsEstimate,
)

CHECK_DIGITS: Final = 20
"""Hexadecimal: 80 bits, too many to guess, few enough to be typed."""

_GROUP: Final = 4


class ItemKind(StrEnum):
    """What a part of the money went to, or came back from."""

    CREDIT = "credit"
    DEBT = "debt"
    RENT = "rent"
    FEE = "fee"
    UTILITY = "utility"
    """Owed for use."""
    RETURNED = "returned"
    """Credit that was to be paid out."""
    OTHER = "other"


_WORDS: Final[Mapping[ItemKind, tuple[str, str]]] = {
    ItemKind.CREDIT: ("预付充值", "Credit"),
    ItemKind.DEBT: ("历史欠款", "Old debt"),
    ItemKind.RENT: ("租金", "Rent"),
    ItemKind.FEE: ("物业及其他费用", "Fees"),
    ItemKind.UTILITY: ("能源费用", "Owed for use"),
    ItemKind.RETURNED: ("退还余额", "Credit returned"),
    ItemKind.OTHER: ("其他", "Other"),
}

_CREDIT: Final = (LedgerKind.CUSTOMER, LedgerKind.TRANSIT, LedgerKind.METER)


def item_kind(account: LedgerAccount) -> ItemKind:
    """Return what money that was taken into, or came out of, a ledger account was for."""
    if account.kind in _CREDIT:
        return ItemKind.CREDIT
    if account.kind is LedgerKind.RECEIVABLE:
        return ItemKind(Category(account.subject.rpartition("/")[2]).value)
    if account.kind is LedgerKind.DEBT:
        return ItemKind.DEBT
    if account.kind is LedgerKind.REFUND_PAYABLE:
        return ItemKind.RETURNED
    return ItemKind.OTHER


@dataclass(frozen=True, slots=True)
class ItemFact:
    """A part of the money in ledger units; below zero when it went to the customer."""

    kind: ItemKind
    amount_units: int


def moves_cash(postings: Iterable[Posting]) -> bool:
    """Whether money is taken or given, so that there is something to be receipted."""
    sides = (side for each in postings for side in (each.debit, each.credit))
    return any(side.kind is LedgerKind.CASH for side in sides)


def paid_items(postings: Iterable[Posting]) -> tuple[str, tuple[ItemFact, ...]]:
    """Return how money was paid, and what it was for, from the postings of its entry.

    Raises:
        ReceiptError: no money was taken or given.
    """
    method, amounts = "", dict[ItemKind, int]()
    for posting in postings:
        for cash, other, sign in (
            (posting.debit, posting.credit, 1),
            (posting.credit, posting.debit, -1),
        ):
            if cash.kind is LedgerKind.CASH:
                method = method or cash.subject
                kind = item_kind(other)
                amounts[kind] = amounts.get(kind, 0) + sign * posting.amount_units
    if not method:
        raise ReceiptError("entry", "no money was taken or given")
    return method, tuple(ItemFact(kind, amount) for kind, amount in amounts.items())


def vend_kind(items: Iterable[ItemFact]) -> ReceiptKind:
    """Return what kind of receipt a payment gets: of a sale, unless it settled dues only."""
    kinds = {item.kind for item in items}
    if kinds <= {ItemKind.DEBT}:
        return ReceiptKind.DEBT
    if kinds <= {ItemKind.RENT, ItemKind.FEE}:
        return ReceiptKind.FEE
    return ReceiptKind.BILL if kinds <= {ItemKind.UTILITY} else ReceiptKind.VEND


@dataclass(frozen=True, slots=True)
class ReceiptFacts:
    """A receipt without its words; otherwise see :class:`~meterplex.domain.receipts.Receipt`."""

    number: ReceiptNumber
    kind: ReceiptKind
    language: Language
    issued_at: datetime
    seller: str
    site: str
    account: str
    customer: str
    items: tuple[ItemFact, ...]
    paid_minor: int
    currency: str
    method: str
    cashier: str
    place: str = ""
    balance_after_units: int | None = None
    estimate: UnitsEstimate | None = None
    order: str = ""
    refers_to: str = ""

    def receipt(self, verification: str, language: Language | None = None) -> Receipt:
        """Return the original of the receipt, in its customer's language or another one."""
        language = language or self.language
        return Receipt(
            number=self.number,
            kind=self.kind,
            language=language,
            issued_at=self.issued_at,
            seller=self.seller,
            site=self.site,
            account=self.account,
            customer=self.customer,
            items=tuple(_worded(item, language) for item in self.items),
            paid_minor=self.paid_minor,
            currency=self.currency,
            method=self.method,
            cashier=self.cashier,
            place=self.place,
            balance_after_units=self.balance_after_units,
            estimate=self.estimate,
            order=self.order,
            refers_to=self.refers_to,
            verification=verification,
        )


def _worded(item: ItemFact, language: Language) -> ReceiptItem:
    chinese, english = _WORDS[item.kind]
    text = chinese if language is Language.CHINESE else english
    return ReceiptItem(text, item.amount_units)


def check_text(organisation_id: UUID, receipt_id: UUID, document: Mapping[str, Any]) -> str:
    """Return the text that proves a receipt: ``1A2B-3C4D-...``.

    Args:
        receipt_id: random, and printed nowhere.
        document: as stored; texts, whole numbers, lists and tables.
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = sha256(f"{organisation_id}\n{receipt_id}\n{text}".encode()).hexdigest()
    digits = digest[:CHECK_DIGITS].upper()
    return "-".join(digits[at : at + _GROUP] for at in range(0, CHECK_DIGITS, _GROUP))


def same_check_text(given: str, expected: str) -> bool:
    """Whether a text as somebody typed it is the expected one."""
    typed = "".join(letter for letter in given.upper() if letter.isalnum())
    return typed == expected.replace("-", "")
