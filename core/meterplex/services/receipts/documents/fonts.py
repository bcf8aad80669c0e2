"""The font that receipts are printed with, where plain Latin letters are not enough."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

FONT_PACKAGE: Final = "fonts-wqy-microhei"
"""Debian package of :data:`DEFAULT_FONT`."""

DEFAULT_FONT: Final = Path("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc")

BUILT_IN_ENCODING: Final = "latin-1"
"""What the fonts that every PDF reader brings along can show."""


class ReceiptFontError(Exception):
    """There is no font that can print the receipt; the text says how to get one."""


def find_font(configured: Path | None = None) -> Path | None:
    """Return the font file to print with: the configured one, else Debian's if installed.

    Raises:
        ReceiptFontError: the configured file is not there.
    """
    if configured is not None:
        if not configured.is_file():
            raise ReceiptFontError(f"receipt font {configured}: no such file")
        return configured
    return DEFAULT_FONT if DEFAULT_FONT.is_file() else None


def needs_font(texts: Iterable[str]) -> bool:
    """Whether some text has letters that the built-in fonts lack."""
    return not all(_is_plain(text) for text in texts)


def _is_plain(text: str) -> bool:
    try:
        text.encode(BUILT_IN_ENCODING)
    except UnicodeEncodeError:
        return False
    return True
