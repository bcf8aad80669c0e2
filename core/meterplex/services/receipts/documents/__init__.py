"""Receipts, bills and statements as files: HTML for screens, PDF for everything else."""

from meterplex.services.receipts.documents.fonts import ReceiptFontError, find_font
from meterplex.services.receipts.documents.html_page import render_html, render_sheet_html
from meterplex.services.receipts.documents.pdf_file import render_pdf, render_sheet_pdf
from meterplex.services.receipts.documents.sheet import Paper, Sheet

__all__ = [
    "Paper",
    "ReceiptFontError",
    "Sheet",
    "find_font",
    "render_html",
    "render_pdf",
    "render_sheet_html",
    "render_sheet_pdf",
]
