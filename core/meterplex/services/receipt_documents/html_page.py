"""A receipt as one HTML file that needs nothing else: no script, no font, no picture."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from meterplex.domain.receipts import Language, Receipt
from meterplex.services.receipt_documents.sheet import Paper, write_sheet

_LANGUAGE_TAGS = {Language.CHINESE: "zh-CN", Language.ENGLISH: "en"}


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("meterplex.services.receipt_documents"),
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
    return _template().render(
        sheet=write_sheet(receipt),
        number=str(receipt.number),
        language=_LANGUAGE_TAGS[receipt.language],
        paper=paper,
    )
