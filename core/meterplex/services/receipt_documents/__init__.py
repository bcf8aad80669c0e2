"""Receipts as files: HTML for screens and browsers' printers, PDF for everything else."""

from meterplex.services.receipt_documents.fonts import ReceiptFontError, find_font
from meterplex.services.receipt_documents.html_page import render_html
from meterplex.services.receipt_documents.pdf_file import render_pdf
from meterplex.services.receipt_documents.sheet import Paper

__all__ = ["Paper", "ReceiptFontError", "find_font", "render_html", "render_pdf"]
