"""Bills and statements of shared costs as words on paper, in the layout of receipts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

from meterplex.domain.amount_words import chinese_amount, english_amount
from meterplex.domain.billing import BillStatus, minor_step_units
from meterplex.domain.bills import IssuedBill, ShareRun
from meterplex.domain.receipts import Language
from meterplex.domain.sharing import SharingBasis
from meterplex.services.books.amounts import format_amount
from meterplex.services.receipts.documents.sheet import Row, Sheet
from meterplex.services.tariffs.rated_document import format_units


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose paper it is: organisation, site and its time zone."""

    seller: str
    site: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class Payer:
    """Whom a bill is for."""

    account: str
    customer: str


_BILL_WORDS: Final = MappingProxyType(
    {
        Language.CHINESE: ("账单", "账单编号", "开具日期", "项目", "户号", "户名", "账期"),
        Language.ENGLISH: ("Bill", "Bill", "Issued", "Site", "Account", "Customer", "Period"),
    }
)
_SUM_WORDS: Final = MappingProxyType(
    {
        Language.CHINESE: ("摘要", "金额", "取整", "应付", "大写金额", "缴费期限", "已付", "状态"),
        Language.ENGLISH: (
            "For",
            "Amount",
            "Rounding",
            "To pay",
            "In words",
            "Due by",
            "Paid",
            "Status",
        ),
    }
)
_STATUS: Final[Mapping[BillStatus, str]] = MappingProxyType(
    {
        BillStatus.OPEN: "未付",
        BillStatus.PARTLY_PAID: "部分已付",
        BillStatus.PAID: "已付清",
        BillStatus.IN_ARREARS: "欠费",
    }
)
_SHARE_WORDS: Final = MappingProxyType(
    {
        Language.CHINESE: ("公摊明细", "费用", "项目", "期间", "分摊方式", "依据", "权重合计"),
        Language.ENGLISH: ("Shared cost", "Cost", "Site", "Period", "Shared by", "From", "Weights"),
    }
)
_BASIS: Final[Mapping[SharingBasis, str]] = MappingProxyType(
    {
        SharingBasis.AREA: "面积",
        SharingBasis.HEAD_COUNT: "人数",
        SharingBasis.EQUAL: "平均",
        SharingBasis.USE: "用量",
    }
)


def bill_sheet(
    bill: IssuedBill, issuer: Issuer, payer: Payer, language: Language, today: date
) -> Sheet:
    """Put a bill into words, with how it stands on a local date.

    Raises:
        AmountWordsError: the amount is too large to be written in words.
    """
    title, number, issued, site, account, customer, period = _BILL_WORDS[language]
    text, amount, rounding, to_pay, words, due, paid, status = _SUM_WORDS[language]
    issued_on = bill.issued_at.astimezone(ZoneInfo(issuer.time_zone)).date()
    items = [Row(_line_text(line), _grouped(line["amount_units"], bill)) for line in bill.lines]
    if bill.rounding_units:
        items.append(Row(rounding, _grouped(bill.rounding_units, bill)))
    stands = bill.status(today)
    return Sheet(
        language=language,
        title=title,
        seller=issuer.seller,
        copy_mark="",
        head=(
            Row(number, bill.number),
            Row(issued, issued_on.isoformat()),
            Row(site, issuer.site),
            Row(account, payer.account),
            Row(customer, payer.customer),
            Row(period, f"{bill.since} - {bill.until}"),
        ),
        item_header=Row(text, f"{amount} ({bill.currency})"),
        items=tuple(items),
        total=Row(to_pay, f"{bill.currency} {_grouped(bill.amount_units, bill)}"),
        foot=(
            Row(words, _in_words(bill, language)),
            Row(due, bill.due_on.isoformat()),
            Row(paid, _grouped(bill.paid_units, bill)),
            Row(status, _STATUS[stands] if language is Language.CHINESE else _plain(stands)),
        ),
    )


def share_sheet(run: ShareRun, issuer: Issuer, language: Language) -> Sheet:
    """Put the statement of a shared cost into words."""
    title, cost, site, period, shared_by, told, weights = _SHARE_WORDS[language]
    text, amount, _, to_pay, *_ = _SUM_WORDS[language]
    statement = run.statement
    return Sheet(
        language=language,
        title=title,
        seller=issuer.seller,
        copy_mark="",
        head=(
            Row(cost, run.name),
            Row(site, issuer.site),
            Row(period, f"{run.since} - {run.until}"),
            Row(
                shared_by,
                _BASIS[run.basis] if language is Language.CHINESE else _plain(run.basis),
            ),
            Row(told, _told(statement["cost"])),
            Row(weights, statement["total_weight"]),
        ),
        item_header=Row(text, f"{amount} ({run.currency})"),
        items=tuple(
            Row(
                f"{each['account']}: {each['weight']} / {statement['total_weight']}",
                _grouped(each["amount_units"], run),
            )
            for each in statement["shares"]
        ),
        total=Row(to_pay, f"{run.currency} {_grouped(run.amount_units, run)}"),
        foot=(),
    )


def _line_text(line: Mapping[str, Any]) -> str:
    """Return the text of a line, with units and price where it has them."""
    if not line.get("price"):
        return str(line["text"])
    units = format_units(Fraction(line["units"]), 0)
    return f"{line['text']}: {units} x {line['price']}"


def _grouped(amount_units: int, paper: IssuedBill | ShareRun) -> str:
    return f"{Decimal(format_amount(amount_units, paper.currency)):,f}"


def _in_words(bill: IssuedBill, language: Language) -> str:
    minor = bill.amount_units // minor_step_units(bill.currency)
    if language is Language.CHINESE:
        return chinese_amount(minor, bill.currency)
    return english_amount(minor, bill.currency)


def _told(cost: Mapping[str, Any]) -> str:
    parts = (
        f"{name} {_told(value) if isinstance(value, Mapping) else value}"
        for name, value in cost.items()
        if value is not True
    )
    return ", ".join(parts) or "-"


def _plain(word: str) -> str:
    return word.replace("_", " ")
