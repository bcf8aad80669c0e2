"""A receipt as PDF: one page of A5 after another, or a slip as long as its text.

The sheet is first broken into lines of known height, which gives the length of a slip and the
pages of a long receipt, and then drawn line by line.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from fpdf import FPDF
from fpdf.fonts import TTFFont

from meterplex.domain.receipts import Language, Receipt
from meterplex.services.receipts.documents.fonts import (
    BUILT_IN_ENCODING,
    DEFAULT_FONT,
    FONT_PACKAGE,
    ReceiptFontError,
    needs_font,
)
from meterplex.services.receipts.documents.sheet import Paper, Row, Sheet, write_sheet

_LANGUAGE_TAGS: Final = {Language.CHINESE: "zh-CN", Language.ENGLISH: "en"}
_MM_PER_POINT: Final = 25.4 / 72
_LINE_HEIGHT: Final = 1.4
"""Of the type size."""
_BASELINE: Final = 1.05
"""From the top of a line, in type sizes."""
_PAGE_MAX_MM: Final = 5000
"""PDF readers know no page above 14,400 points."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Measures of a page in mm, type in points."""

    margin_mm: float
    body_pt: float
    title_pt: float
    label_mm: float
    gap_mm: float


_LAYOUTS: Final = {
    Paper.SLIP: _Layout(margin_mm=4, body_pt=8.5, title_pt=12, label_mm=17, gap_mm=1.5),
    Paper.A5: _Layout(margin_mm=12, body_pt=10.5, title_pt=16, label_mm=26, gap_mm=3),
}


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of type: texts with the distance of each from the left margin; or a rule."""

    height_mm: float
    size_pt: float = 0
    pieces: tuple[tuple[float, str], ...] = ()
    rule: bool = False


Measure = Callable[[str, float], float]
"""The width in mm of a text at a size in points."""


def render_pdf(receipt: Receipt, paper: Paper = Paper.A5, *, font: Path | None = None) -> bytes:
    """Return a receipt as a PDF file; equal receipts, paper and font give equal bytes.

    Letters that the font lacks are printed as question marks.

    Args:
        receipt: to print.
        paper: to print it on.
        font: TrueType or OpenType file, see
            :func:`~meterplex.services.receipts.documents.fonts.find_font`; not needed for plain
            Latin text, which the built-in font of every reader can show.

    Raises:
        ReceiptFontError: no font is given and the built-in one lacks letters of the text; or the
            file is no font.
        AmountWordsError: the payment is too large to be written in words.
    """
    sheet, number = write_sheet(receipt), str(receipt.number)
    return render_sheet_pdf(sheet, number, receipt.issued_at, paper, font=font)


def render_sheet_pdf(
    sheet: Sheet,
    number: str,
    issued_at: datetime,
    paper: Paper = Paper.A5,
    *,
    font: Path | None = None,
) -> bytes:
    """Return any sheet as a PDF file; see :func:`render_pdf`.

    Raises:
        ReceiptFontError: as there.
    """
    pdf = FPDF(unit="mm")
    pdf.set_auto_page_break(False)
    pdf.set_creation_date(issued_at)
    pdf.set_title(f"{sheet.title} {number}")
    pdf.set_lang(_LANGUAGE_TAGS[sheet.language])
    _choose_font(pdf, sheet, font)

    def measure(text: str, size_pt: float) -> float:
        pdf.set_font_size(size_pt)
        return pdf.get_string_width(_printable(pdf, text))

    layout = _LAYOUTS[paper]
    setter = _Typesetter(layout, paper.width_mm - 2 * layout.margin_mm, measure)
    name = f"{number} {sheet.copy_mark}".rstrip()
    _draw(pdf, paper, layout, list(setter.lines(sheet)), name)
    content = bytes(pdf.output())
    if isinstance(pdf.current_font, TTFFont):
        pdf.current_font.ttfont.close()
    return content


def _choose_font(pdf: FPDF, sheet: Sheet, font: Path | None) -> None:
    if not needs_font(sheet.texts()):
        pdf.set_font("Helvetica")
        return
    if font is None:
        raise ReceiptFontError(
            f"the receipt has letters beyond Latin and there is no font {DEFAULT_FONT}: "
            f"install Debian's {FONT_PACKAGE} or name a font file in the setting receipt.font"
        )
    try:
        pdf.add_font("receipt", fname=font)
    except Exception as error:  # fontTools raises whatever a broken table leads to
        raise ReceiptFontError(f"receipt font {font}: not a usable font: {error}") from error
    pdf.set_font("receipt")


def _printable(pdf: FPDF, text: str) -> str:
    """Return a text with question marks for what the chosen font lacks."""
    font = pdf.current_font
    if isinstance(font, TTFFont):
        return "".join(letter if ord(letter) in font.cmap else "?" for letter in text)
    return text.encode(BUILT_IN_ENCODING, "replace").decode(BUILT_IN_ENCODING)


@dataclass(frozen=True, slots=True)
class _Typesetter:
    """Breaks a sheet into lines of a given width."""

    layout: _Layout
    width_mm: float
    measure: Measure

    def lines(self, sheet: Sheet) -> Iterator[_Line]:
        """Give the lines of the whole sheet, top to bottom."""
        yield from self._centred(sheet.seller, self.layout.body_pt)
        yield from self._centred(sheet.title, self.layout.title_pt)
        yield from self._centred(sheet.copy_mark, self.layout.body_pt * 1.2)
        yield _Line(self.layout.gap_mm)
        for row in sheet.head:
            yield from self._labelled(row)
        yield _Line(self.layout.gap_mm)
        yield from self._table(sheet)
        yield _Line(self.layout.gap_mm)
        for row in sheet.foot:
            yield from self._labelled(row)

    def _line(self, *pieces: tuple[float, str], size_pt: float | None = None) -> _Line:
        size = self.layout.body_pt if size_pt is None else size_pt
        return _Line(size * _MM_PER_POINT * _LINE_HEIGHT, size, pieces)

    def _centred(self, text: str, size_pt: float) -> Iterator[_Line]:
        for part in self._wrap(text, self.width_mm, size_pt):
            indent = (self.width_mm - self.measure(part, size_pt)) / 2
            yield self._line((indent, part), size_pt=size_pt)

    def _labelled(self, row: Row) -> Iterator[_Line]:
        label_mm = self.layout.label_mm
        parts = self._wrap(row.text, self.width_mm - label_mm, self.layout.body_pt)
        for label, part in zip([row.label] + [""] * len(parts), parts, strict=False):
            yield self._line((0, label), (label_mm, part))

    def _table(self, sheet: Sheet) -> Iterator[_Line]:
        rows = (sheet.item_header, *sheet.items, sheet.total)
        amount_mm = max(self.measure(row.text, self.layout.body_pt) for row in rows)
        text_mm = self.width_mm - amount_mm - self.layout.gap_mm
        rule = _Line(self.layout.gap_mm, rule=True)
        yield rule
        yield from self._amount(sheet.item_header, text_mm)
        yield rule
        for row in sheet.items:
            yield from self._amount(row, text_mm)
        yield rule
        yield from self._amount(sheet.total, text_mm)
        yield rule

    def _amount(self, row: Row, text_mm: float) -> Iterator[_Line]:
        size = self.layout.body_pt
        indent = self.width_mm - self.measure(row.text, size)
        amounts = [row.text]
        for part in self._wrap(row.label, text_mm, size) or [""]:
            yield self._line((0, part), *((indent, amount) for amount in amounts))
            amounts = []

    def _wrap(self, text: str, width_mm: float, size_pt: float) -> list[str]:
        lines: list[str] = []
        while text:
            end = _break(text, self._fitting(text, width_mm, size_pt))
            lines.append(text[:end].rstrip())
            text = text[end:].lstrip()
        return lines

    def _fitting(self, text: str, width_mm: float, size_pt: float) -> int:
        """Return how many letters fit on a line; at least one, so that there is an end."""
        width = 0.0
        for at, letter in enumerate(text):
            width += self.measure(letter, size_pt)
            if width > width_mm:
                return max(at, 1)
        return len(text)


_CLOSING: Final = ("Pe", "Pf", "Po")
"""Unicode categories of marks that begin no line: closing brackets and quotes, full stops."""


def _break(text: str, fitting: int) -> int:
    """Return where to break a text of which so many letters fit on the line.

    Latin words break at spaces and behind hyphens if that can be, Chinese anywhere but before a
    closing mark.
    """
    if fitting == len(text) or text[fitting] == " ":
        return fitting
    if text[fitting - 1].isascii() and text[fitting].isascii():
        return _word_start(text, fitting) or fitting
    end = fitting
    while end > 1 and unicodedata.category(text[end]) in _CLOSING:
        end -= 1
    return end


def _word_start(text: str, end: int) -> int:
    start = end
    while start and text[start - 1].isascii() and text[start - 1] not in " -":
        start -= 1
    return start


def _pages(lines: Sequence[_Line], height_mm: float) -> list[list[_Line]]:
    pages: list[list[_Line]] = [[]]
    left = height_mm
    for line in lines:
        if line.height_mm > left:
            pages.append([])
            left = height_mm
        pages[-1].append(line)
        left -= line.height_mm
    return pages


def _draw(pdf: FPDF, paper: Paper, layout: _Layout, lines: Sequence[_Line], name: str) -> None:
    margins = 2 * layout.margin_mm
    pages = _pages(lines, (paper.height_mm or _PAGE_MAX_MM) - margins)
    for at, page in enumerate(pages, 1):
        length = sum(line.height_mm for line in page) + margins
        pdf.add_page(format=(paper.width_mm, paper.height_mm or length))
        top = layout.margin_mm
        for line in page:
            _draw_line(pdf, layout, line, top, paper.width_mm)
            top += line.height_mm
        if len(pages) > 1:
            pdf.set_font_size(layout.body_pt)
            pdf.text(layout.margin_mm, pdf.h - layout.margin_mm / 2, f"{name}  {at}/{len(pages)}")


def _draw_line(pdf: FPDF, layout: _Layout, line: _Line, top: float, width_mm: float) -> None:
    if line.rule:
        middle = top + line.height_mm / 2
        pdf.set_line_width(0.2)
        pdf.line(layout.margin_mm, middle, width_mm - layout.margin_mm, middle)
    for indent, text in line.pieces:
        if text:
            pdf.set_font_size(line.size_pt)
            baseline = top + line.size_pt * _MM_PER_POINT * _BASELINE
            pdf.text(layout.margin_mm + indent, baseline, _printable(pdf, text))
