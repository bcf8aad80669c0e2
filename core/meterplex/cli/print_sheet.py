"""Writing bills and statements into files: what their ``print`` commands share."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from meterplex.cli.output import tell
from meterplex.cli.program import Program
from meterplex.domain.receipts import Language
from meterplex.services.receipts.documents import (
    Sheet,
    find_font,
    render_sheet_html,
    render_sheet_pdf,
)

_FILE: Final = click.Path(path_type=Path, dir_okay=False)


def sheet_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--html``, ``--pdf`` and ``--language``."""
    languages = click.Choice([each.value for each in Language])
    for option in (
        click.option("--language", type=languages, help="Otherwise the organisation's."),
        click.option("--pdf", "pdf_file", type=_FILE, metavar="FILE", help="Write a PDF file."),
        click.option("--html", "html_file", type=_FILE, metavar="FILE", help="Write a page."),
    ):
        command = option(command)
    return command


def write_sheet_file(
    program: Program,
    sheet: Sheet,
    number: str,
    issued_at: datetime,
    html_file: Path | None,
    pdf_file: Path | None,
) -> Path:
    """Write a sheet into the one file that is named.

    Raises:
        click.UsageError: none or both are named.
        ReceiptFontError: the text needs a font and there is none.
    """
    if html_file is not None and pdf_file is None:
        html_file.write_text(render_sheet_html(sheet, number), "utf-8")
        file = html_file
    elif pdf_file is not None and html_file is None:
        configured = program.settings.receipt.font
        font = find_font(Path(configured) if configured else None)
        pdf_file.write_bytes(render_sheet_pdf(sheet, number, issued_at, font=font))
        file = pdf_file
    else:
        raise click.UsageError("name one file: --html FILE or --pdf FILE")
    tell(f"{number} is in {file}")
    return file
