"""A receipt as one HTML file that needs nothing else: no script, no font, no picture."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from meterplex.domain.receipts import Language, Receipt
from meterplex.services.receipts.documents.sheet import Paper, Sheet, write_sheet

_LANGUAGE_TAGS = {Language.CHINESE: "zh-CN", Language.ENGLISH: "en"}


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("meterplex.services.receipts.documents"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("receipt.html")


def render_html(receipt: Receipt, paper: Paper = Paper.A5) -> str:
    """Return a receipt as a page; equal receipts give equal text.

    Raises:
        AmountWordsError: the payment is too large to be written in words.
    """
    return render_sheet_html(write_sheet(receipt), str(receipt.number), paper)


def render_sheet_html(sheet: Sheet, number: str, paper: Paper = Paper.A5) -> str:
    """Return any sheet as a page; equal sheets give equal text."""
    return _template().render(
        sheet=sheet,
        number=number,
        language=_LANGUAGE_TAGS[sheet.language],
        paper=paper,
    )
