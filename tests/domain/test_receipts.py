from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from meterplex.domain.receipts import (
    Language,
    Receipt,
    ReceiptError,
    ReceiptItem,
    ReceiptKind,
    ReceiptNumber,
)

RECEIPT = Receipt(
    number=ReceiptNumber("east", 2026, 123),
    kind=ReceiptKind.VEND,
    language=Language.ENGLISH,
    issued_at=datetime(2026, 11, 20, 14, 3, 22, tzinfo=ZoneInfo("Asia/Shanghai")),
    seller="Harbour",
    site="East Street Mall",
    account="100234",
    customer="Wang",
    items=(ReceiptItem("credit", 1_234_567), ReceiptItem("debt", 265_433)),
    paid_minor=15_000,
    currency="CNY",
    method="cash",
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (ReceiptNumber("east", 2026, 123), "EAST-2026-000123"),
        (ReceiptNumber("EAST-2", 2026, 1), "EAST-2-2026-000001"),
        (ReceiptNumber("W", 2026, 1_234_567), "W-2026-1234567"),
    ],
)
def test_number_is_written_and_read(number: ReceiptNumber, text: str) -> None:
    assert str(number) == text
    assert str(ReceiptNumber.parse(text)) == text


@pytest.mark.parametrize("text", ["", "EAST-26-000123", "EAST-2026-123", "-2026-000123", "EAST"])
def test_other_texts_are_no_number(text: str) -> None:
    with pytest.raises(ReceiptError, match="expected a number such as EAST-2026"):
        ReceiptNumber.parse(text)


@pytest.mark.parametrize(
    ("parts", "field"),
    [(("", 2026, 1), "site_code"), (("E", 26, 1), "year"), (("E", 2026, 0), "sequence")],
)
def test_number_of_nothing_is_refused(parts: tuple[str, int, int], field: str) -> None:
    with pytest.raises(ReceiptError) as refused:
        ReceiptNumber(*parts)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"paid_minor": 15_001},
            "items: sum to 1500000 ledger units, paid were 1500100",
            id="items-miss-the-payment",
        ),
        pytest.param({"items": ()}, "items: sum to 0", id="no-items"),
        pytest.param(
            {"issued_at": datetime(2026, 11, 20)},  # noqa: DTZ001 - what is refused
            "issued_at: 2026-11-20 00:00:00 has no time zone",
            id="no-zone",
        ),
        pytest.param({"copy": -1}, "copy: -1", id="copy-below-zero"),
    ],
)
def test_receipt_that_contradicts_itself_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ReceiptError, match=message):
        replace(RECEIPT, **change)


def test_reprint_is_the_same_but_for_its_mark() -> None:
    copy = RECEIPT.reprint(2)
    assert (copy.copy, replace(copy, copy=0)) == (2, RECEIPT)
    with pytest.raises(ReceiptError, match="copy: 0 is below 1"):
        RECEIPT.reprint(0)
