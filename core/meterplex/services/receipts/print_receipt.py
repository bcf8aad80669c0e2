"""Prints receipts: the first print is the original, each later one a numbered copy.

The print is written down before anybody gets it. What cannot be rendered is not counted, so a
missing font never costs the customer his original.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from meterplex.db import Database
from meterplex.db.errors import ConflictError
from meterplex.db.receipts import ReceiptPrint
from meterplex.domain.receipt_facts import same_check_text
from meterplex.domain.receipts import Language, Receipt
from meterplex.services.operators.audit import record
from meterplex.services.receipts.issue_receipt import IssuedReceipt

Page = TypeVar("Page")


@dataclass(frozen=True, slots=True)
class Print(Generic[Page]):
    """A print as it was written down."""

    receipt: Receipt
    page: Page


async def print_receipt(
    database: Database,
    issued: IssuedReceipt,
    render: Callable[[Receipt], Awaitable[Page]],
    *,
    language: Language | None = None,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> Print[Page]:
    """Print a receipt.

    Args:
        render: makes the page; what it raises is passed on, and nothing is counted.
        language: None takes the customer's.
        dry_run: render the next print, but do not count it.
    """
    while True:
        copy = await _next_copy(database, issued)
        receipt = issued.receipt(copy, language)
        page = await render(receipt)
        if dry_run:
            return Print(receipt, page)
        try:
            await _note(database, issued, ReceiptPrint(copy, at, operator))
        except ConflictError:
            continue  # somebody else printed this copy meanwhile
        return Print(receipt, page)


def verify(issued: IssuedReceipt, given: str) -> bool:
    """Whether the check text on a paper is that of the receipt as it is kept."""
    return same_check_text(given, issued.verification)


async def _next_copy(database: Database, issued: IssuedReceipt) -> int:
    stored = issued.stored
    async with database.unit_of_work(read_only=True) as uow:
        prints = await uow.receipts.prints(stored.organisation_id, stored.id)
    return len(prints)


async def _note(database: Database, issued: IssuedReceipt, made: ReceiptPrint) -> None:
    stored = issued.stored
    async with database.unit_of_work() as uow:
        await uow.receipts.add_print(stored.organisation_id, stored.id, made)
        await record(
            uow,
            stored.organisation_id,
            made.printed_by,
            "receipt.print",
            f"receipt {stored.number}",
            {"copy": str(made.copy), "check": issued.verification},
            made.printed_at,
        )
        await uow.commit()
