"""A receipt as words on paper: the same rows for every layout and file format."""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from meterplex.domain.amount_words import chinese_amount, english_amount
from meterplex.domain.receipts import Language, Receipt, ReceiptKind
from meterplex.services.books.amounts import format_amount


class Paper(StrEnum):
    """What a receipt is printed on."""

    SLIP = "slip"
    """A roll of 80 mm, cut behind the text."""
    A5 = "a5"

    @property
    def width_mm(self) -> int:
        """Across the lines."""
        return 80 if self is Paper.SLIP else 148

    @property
    def height_mm(self) -> int | None:
        """Of a page; None for a roll."""
        return None if self is Paper.SLIP else 210


class Row(NamedTuple):
    """A label and what stands beside it."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """The words of a receipt, top to bottom.

    Attributes:
        copy_mark: empty on the original.
        head: who, where, when.
        item_header: over texts and amounts of the items.
        items: text and amount.
        total: the payment in figures.
        foot: the payment in words, and what follows from it.
    """

    language: Language
    title: str
    seller: str
    copy_mark: str
    head: tuple[Row, ...]
    item_header: Row
    items: tuple[Row, ...]
    total: Row
    foot: tuple[Row, ...]

    def texts(self) -> Iterator[str]:
        """Give every text of the sheet."""
        yield from (self.title, self.seller, self.copy_mark)
        for row in (*self.head, self.item_header, *self.items, self.total, *self.foot):
            yield from row


@dataclass(frozen=True, slots=True)
class _Wording:
    titles: Mapping[ReceiptKind, str]
    methods: Mapping[str, str]
    copy_mark: str
    number: str
    issued_at: str
    site: str
    place: str
    account: str
    customer: str
    order: str
    refers_to: str
    item: str
    amount: str
    total: str
    words: str
    method: str
    cashier: str
    balance_after: str
    estimate: str
    estimate_about: str
    verification: str


_CHINESE: Final = _Wording(
    titles={
        ReceiptKind.VEND: "充值收据",
        ReceiptKind.REFUND: "退款收据",
        ReceiptKind.REVERSAL: "冲正收据",
        ReceiptKind.DEBT: "欠款收据",
        ReceiptKind.FEE: "费用收据",
        ReceiptKind.BILL: "账单缴费收据",
    },
    methods={
        "cash": "现金",
        "bank": "银行转账",
        "card": "银行卡",
        "cheque": "支票",
        "alipay": "支付宝",
        "wechat": "微信支付",
        "unionpay": "银联",
    },
    copy_mark="COPY / 副本 {}",
    number="收据编号",
    issued_at="开具时间",
    site="项目",
    place="房号",
    account="户号",
    customer="户名",
    order="订单号",
    refers_to="原收据",
    item="摘要",
    amount="金额",
    total="合计",
    words="大写金额",
    method="收付方式",
    cashier="收款人",
    balance_after="账户余额",
    estimate="预计可用",
    estimate_about="约 {}",
    verification="验证码",
)

_ENGLISH: Final = _Wording(
    titles={
        ReceiptKind.VEND: "Top-up receipt",
        ReceiptKind.REFUND: "Refund receipt",
        ReceiptKind.REVERSAL: "Reversal receipt",
        ReceiptKind.DEBT: "Debt receipt",
        ReceiptKind.FEE: "Fee receipt",
        ReceiptKind.BILL: "Bill payment receipt",
    },
    methods={
        "cash": "cash",
        "bank": "bank transfer",
        "card": "bank card",
        "cheque": "cheque",
        "alipay": "Alipay",
        "wechat": "WeChat Pay",
        "unionpay": "UnionPay",
    },
    copy_mark="COPY {}",
    number="Receipt",
    issued_at="Issued",
    site="Site",
    place="Unit",
    account="Account",
    customer="Customer",
    order="Order",
    refers_to="Undoes",
    item="For",
    amount="Amount",
    total="Total",
    words="In words",
    method="Method",
    cashier="Cashier",
    balance_after="Balance",
    estimate="Buys",
    estimate_about="about {}",
    verification="Check",
)

_UNSEEN: Final = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
"""Unicode categories of what is no letter, mark or space."""

_WORDING: Final = {Language.CHINESE: _CHINESE, Language.ENGLISH: _ENGLISH}


def write_sheet(receipt: Receipt) -> Sheet:
    """Put a receipt into words.

    Raises:
        AmountWordsError: the payment is too large to be written in words.
    """
    wording, currency = _WORDING[receipt.language], receipt.currency
    return Sheet(
        language=receipt.language,
        title=wording.titles[receipt.kind],
        seller=_line(receipt.seller),
        copy_mark=wording.copy_mark.format(receipt.copy) if receipt.copy else "",
        head=_filled(
            Row(wording.number, str(receipt.number)),
            Row(wording.issued_at, receipt.issued_at.isoformat(" ", "seconds")),
            Row(wording.site, receipt.site),
            Row(wording.place, receipt.place),
            Row(wording.account, receipt.account),
            Row(wording.customer, receipt.customer),
            Row(wording.order, receipt.order),
            Row(wording.refers_to, receipt.refers_to),
        ),
        item_header=Row(wording.item, f"{wording.amount} ({currency})"),
        items=tuple(
            Row(_line(item.text), _grouped(item.amount_units, currency)) for item in receipt.items
        ),
        total=Row(wording.total, _priced(receipt.paid_units, receipt)),
        foot=_filled(
            Row(wording.words, _words(receipt)),
            Row(wording.method, wording.methods.get(receipt.method, receipt.method)),
            Row(wording.cashier, receipt.cashier),
            Row(wording.balance_after, _balance(receipt)),
            Row(wording.estimate, _estimate(receipt, wording)),
            Row(wording.verification, receipt.verification),
        ),
    )


def _grouped(amount_units: int, currency: str) -> str:
    """Return ledger units as ``1,234.50``."""
    return f"{Decimal(format_amount(amount_units, currency)):,f}"


def _priced(amount_units: int, receipt: Receipt) -> str:
    amount = _grouped(abs(amount_units), receipt.currency)
    sign = "-" if amount_units < 0 else ""
    yuan = receipt.language is Language.CHINESE and receipt.currency == "CNY"
    return f"{sign}¥{amount}" if yuan else f"{receipt.currency} {sign}{amount}"


def _words(receipt: Receipt) -> str:
    if receipt.language is Language.CHINESE:
        return chinese_amount(receipt.paid_minor, receipt.currency)
    return english_amount(receipt.paid_minor, receipt.currency)


def _balance(receipt: Receipt) -> str:
    if receipt.balance_after_units is None:
        return ""
    return _priced(receipt.balance_after_units, receipt)


def _estimate(receipt: Receipt, wording: _Wording) -> str:
    if receipt.estimate is None:
        return ""
    return wording.estimate_about.format(f"{receipt.estimate.units:,f} {receipt.estimate.unit}")


def _filled(*rows: Row) -> tuple[Row, ...]:
    return tuple(Row(row.label, _line(row.text)) for row in rows if row.text)


def _line(text: str) -> str:
    """Return a text as one line, without marks that control a printer or the way of writing."""
    seen = (" " if unicodedata.category(letter) in _UNSEEN else letter for letter in text)
    return " ".join("".join(seen).split())
