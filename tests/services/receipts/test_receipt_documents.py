"""Receipts as files: what stands on them, and what must not."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.conftest import refuse_or_skip

from meterplex.domain.receipts import (
    Language,
    Receipt,
    ReceiptItem,
    ReceiptKind,
    ReceiptNumber,
    UnitsEstimate,
)
from meterplex.domain.registers import Unit
from meterplex.services.receipts.documents import (
    Paper,
    ReceiptFontError,
    fonts,
    render_html,
    render_pdf,
)
from meterplex.services.receipts.documents.sheet import Row, Sheet, write_sheet

CHINESE = Receipt(
    number=ReceiptNumber("east", 2026, 123),
    kind=ReceiptKind.VEND,
    language=Language.CHINESE,
    issued_at=datetime(2026, 11, 20, 14, 3, 22, tzinfo=ZoneInfo("Asia/Shanghai")),
    seller="港湾物业管理有限公司",
    site="东街商场",
    place="A座-101",
    account="100234",
    customer="王小明",
    items=(
        ReceiptItem("电费充值 表号 20260001", 12_000_000),
        ReceiptItem("物业费 2026年11月", 2_832_000),
        ReceiptItem("水费欠费", 123_456),
        ReceiptItem("预存", 6_544),
    ),
    paid_minor=149_620,
    currency="CNY",
    method="wechat",
    cashier="李收银",
    balance_after_units=-123_400,
    estimate=UnitsEstimate(Decimal("1241.9"), Unit.KWH),
    order="0198c2f0-7a3b",
    verification="7F3A-9C21",
)

ENGLISH = Receipt(
    number=ReceiptNumber("east", 2026, 124),
    kind=ReceiptKind.REVERSAL,
    language=Language.ENGLISH,
    issued_at=datetime(2026, 11, 20, 14, 5, tzinfo=ZoneInfo("Asia/Shanghai")),
    seller="Harbour Property",
    site="East Street Mall",
    account="100234",
    customer="Söhne & Co",
    items=(ReceiptItem("Electricity credit", -12_000_000),),
    paid_minor=-120_000,
    currency="CNY",
    method="a basket of eggs",
    refers_to="EAST-2026-000123",
)


@pytest.fixture(scope="module")
def font() -> Path:
    path = fonts.find_font()
    if path is None:
        refuse_or_skip(f"not installed: {fonts.FONT_PACKAGE}")
        raise AssertionError
    return path


@pytest.fixture
def read_pdf(require_program: Callable[..., Path], tmp_path: Path) -> Callable[[bytes], str]:
    """Return a function that gives the text of a PDF as another program reads it."""
    program = require_program("pdftotext")

    def read(content: bytes) -> str:
        file = tmp_path / "receipt.pdf"
        file.write_bytes(content)
        command = [str(program), "-layout", str(file), "-"]
        done = subprocess.run(command, capture_output=True, check=True, timeout=60)
        return done.stdout.decode()

    return read


def words(sheet: Sheet) -> dict[str, str]:
    return dict((*sheet.head, sheet.total, *sheet.foot))


def test_chinese_sheet() -> None:
    sheet = write_sheet(CHINESE)
    assert (sheet.seller, sheet.title, sheet.copy_mark) == (
        "港湾物业管理有限公司",
        "充值收据",
        "",
    )
    assert sheet.items == (
        Row("电费充值 表号 20260001", "1,200.00"),
        Row("物业费 2026年11月", "283.20"),
        Row("水费欠费", "12.3456"),
        Row("预存", "0.6544"),
    )
    assert words(sheet) == {
        "收据编号": "EAST-2026-000123",
        "开具时间": "2026-11-20 14:03:22+08:00",
        "项目": "东街商场",
        "房号": "A座-101",
        "户号": "100234",
        "户名": "王小明",
        "订单号": "0198c2f0-7a3b",
        "合计": "¥1,496.20",
        "大写金额": "人民币壹仟肆佰玖拾陆元贰角整",
        "收付方式": "微信支付",
        "收款人": "李收银",
        "账户余额": "-¥12.34",
        "预计可用": "约 1,241.9 kWh",
        "验证码": "7F3A-9C21",
    }


def test_english_sheet_leaves_out_what_there_is_not() -> None:
    sheet = write_sheet(ENGLISH)
    assert (sheet.title, sheet.item_header) == ("Reversal receipt", Row("For", "Amount (CNY)"))
    assert words(sheet) == {
        "Receipt": "EAST-2026-000124",
        "Issued": "2026-11-20 14:05:00+08:00",
        "Site": "East Street Mall",
        "Account": "100234",
        "Customer": "Söhne & Co",
        "Undoes": "EAST-2026-000123",
        "Total": "CNY -1,200.00",
        "In words": "CNY minus one thousand two hundred and 00/100",
        "Method": "a basket of eggs",
    }


@pytest.mark.parametrize("language", Language)
def test_every_kind_has_a_title_of_its_own(language: Language) -> None:
    titles = {write_sheet(replace(ENGLISH, kind=k, language=language)).title for k in ReceiptKind}
    assert len(titles) == len(ReceiptKind)


@pytest.mark.parametrize(
    ("receipt", "mark"), [(CHINESE, "COPY / 副本 2"), (ENGLISH, "COPY 2")], ids=["zh", "en"]
)
def test_reprint_is_marked(receipt: Receipt, mark: str) -> None:
    assert write_sheet(receipt.reprint(2)).copy_mark == mark
    assert mark in render_html(receipt.reprint(2))
    assert "COPY" not in render_html(receipt)


def test_marks_that_control_printers_or_direction_are_blanks() -> None:
    customer = "Eve\x1b[2J\u202e\nTotal\t0.00\u2028"
    assert (
        words(write_sheet(replace(ENGLISH, customer=customer)))["Customer"] == "Eve [2J Total 0.00"
    )


def test_balance_of_three_decimals_shows_them() -> None:
    dinars = replace(ENGLISH, currency="KWD", items=(), paid_minor=0, balance_after_units=12_340)
    assert words(write_sheet(dinars))["Balance"] == "KWD 1.234"


class Page(HTMLParser):
    """The tags and texts of a page, which must nest and close as they should."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1] != "style":
            self.texts.append(data)


@pytest.mark.parametrize("paper", Paper)
@pytest.mark.parametrize("receipt", [CHINESE, ENGLISH], ids=["zh", "en"])
def test_page_has_all_words_of_the_sheet(receipt: Receipt, paper: Paper) -> None:
    page = Page(render_html(receipt, paper))
    sheet = write_sheet(receipt)
    assert page.texts[1:] == [text for text in (sheet.seller, sheet.title) if text] + [
        text
        for row in (*sheet.head, sheet.item_header, *sheet.items, sheet.total, *sheet.foot)
        for text in row
    ]


def test_page_shows_markup_as_text() -> None:
    evil = "<script>alert(1)</script>\"'&amp;"
    receipt = replace(
        ENGLISH, customer=evil, seller=evil, items=(ReceiptItem(evil, 0),), paid_minor=0
    )
    page = Page(render_html(receipt))
    assert "script" not in page.tags
    assert page.texts.count(evil) == 3


@pytest.mark.parametrize("paper", Paper)
def test_page_needs_nothing_else(paper: Paper) -> None:
    text = render_html(CHINESE, paper)
    assert not re.search(r"https?:|url\(|@import|<script|<link|<img| src=| style=", text)
    assert f"size: {paper.width_mm}mm" in text


@pytest.mark.parametrize("paper", Paper)
def test_chinese_pdf_reads_as_the_sheet(
    font: Path, read_pdf: Callable[[bytes], str], paper: Paper
) -> None:
    text = read_pdf(render_pdf(CHINESE.reprint(1), paper, font=font))
    sheet = write_sheet(CHINESE.reprint(1))
    for row in (*sheet.head, *sheet.items, sheet.total, *sheet.foot):
        assert re.search(rf"^ *{re.escape(row.label)} +{re.escape(row.text)}$", text, re.MULTILINE)
    assert "COPY / 副本 1" in text
    assert text.count("\f") == 1


def test_no_line_of_chinese_begins_with_a_closing_mark(
    font: Path, read_pdf: Callable[[bytes], str]
) -> None:
    items = tuple(ReceiptItem("费" * length + "」。物业", 0) for length in range(5, 30))
    receipt = replace(CHINESE, items=items, paid_minor=0)
    text = read_pdf(render_pdf(receipt, Paper.SLIP, font=font))
    begins = {line.strip()[0] for line in text.splitlines() if line.strip()}
    assert not begins & set("」。")
    assert {"费", "物", "业"} <= begins  # breaks fell before, behind and after the marks


@pytest.mark.parametrize("paper", Paper)
def test_plain_english_needs_no_font(read_pdf: Callable[[bytes], str], paper: Paper) -> None:
    text = read_pdf(render_pdf(ENGLISH, paper))
    assert re.search(r"Customer +Söhne & Co\n", text)
    assert re.search(r"Total +CNY -1,200.00\n", text)


def pages_of(pdf: bytes) -> list[tuple[float, float]]:
    """Return width and height in mm of each page; the first box is the file's default."""
    boxes = re.findall(rb"/MediaBox \[0 0 ([0-9.]+) ([0-9.]+)\]", pdf)
    return [(round(float(w) / 72 * 25.4), round(float(h) / 72 * 25.4)) for w, h in boxes[1:]]


def test_slip_is_as_long_as_its_text() -> None:
    long = replace(ENGLISH, items=(ReceiptItem("Electricity credit " * 20, -12_000_000),))
    ((width, height),), ((_, longer),) = (
        pages_of(render_pdf(receipt, Paper.SLIP)) for receipt in (ENGLISH, long)
    )
    assert width == 80
    assert height < longer < 300


def many_items(count: int) -> Receipt:
    items = tuple(ReceiptItem(f"meter {at} credit", 10_000) for at in range(count))
    return replace(ENGLISH, items=items, paid_minor=count * 100)


def test_long_receipt_takes_more_pages_that_name_it(read_pdf: Callable[[bytes], str]) -> None:
    pdf = render_pdf(many_items(60).reprint(2))
    assert pages_of(pdf) == [(148, 210)] * 3
    pages = read_pdf(pdf).split("\f")
    for at in (1, 2, 3):
        assert f"EAST-2026-000124 COPY 2 {at}/3" in re.sub(" +", " ", pages[at - 1])
    assert sum(page.count(" credit") for page in pages) == 60


def test_everything_stays_inside_the_margins(
    require_program: Callable[..., Path], tmp_path: Path
) -> None:
    worst = replace(
        ENGLISH,
        customer="W" * 300,
        site="i " * 300,
        items=(ReceiptItem("M" * 200, -(10**15)),),
        paid_minor=-(10**13),
    )
    file = tmp_path / "receipt.pdf"
    for paper, margin in ((Paper.SLIP, 4), (Paper.A5, 12)):
        file.write_bytes(render_pdf(worst, paper))
        command = [str(require_program("pdftotext")), "-bbox", str(file), "-"]
        boxes = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
        spans = re.findall(rb'xMin="([0-9.]+)" .* xMax="([0-9.]+)"', boxes)
        assert spans
        assert min(float(left) for left, _ in spans) >= margin / 25.4 * 72 - 0.1
        assert (
            max(float(right) for _, right in spans) <= (paper.width_mm - margin) / 25.4 * 72 + 0.1
        )


@pytest.mark.parametrize("paper", Paper)
def test_equal_receipts_give_equal_bytes(font: Path, paper: Paper) -> None:
    assert render_pdf(CHINESE, paper, font=font) == render_pdf(replace(CHINESE), paper, font=font)
    assert render_pdf(ENGLISH, paper) == render_pdf(replace(ENGLISH), paper)
    assert b"/CreationDate (D:20261120140322+08" in render_pdf(CHINESE, paper, font=font)


def test_letters_that_no_font_has_are_question_marks(
    font: Path, read_pdf: Callable[[bytes], str]
) -> None:
    receipt = replace(CHINESE, customer="王\U0001f600明")
    assert re.search("户名 +王\\?明\n", read_pdf(render_pdf(receipt, font=font)))


def test_chinese_without_a_font_says_how_to_get_one() -> None:
    with pytest.raises(ReceiptFontError, match="install Debian's fonts-wqy-microhei or name"):
        render_pdf(CHINESE)
    with pytest.raises(ReceiptFontError, match="beyond Latin"):
        render_pdf(replace(ENGLISH, customer="王小明"))


# fontTools leaves a file open that it cannot read
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_font_file_is_checked(tmp_path: Path) -> None:
    missing, broken = tmp_path / "missing.ttf", tmp_path / "broken.ttf"
    broken.write_bytes(b"\0\1\0\0 no font at all")
    with pytest.raises(ReceiptFontError, match=r"missing.ttf: no such file"):
        fonts.find_font(missing)
    with pytest.raises(ReceiptFontError, match=r"broken.ttf: not a usable font"):
        render_pdf(CHINESE, font=fonts.find_font(broken))


def test_font_is_optional(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fonts, "DEFAULT_FONT", tmp_path / "missing.ttc")
    assert fonts.find_font() is None
