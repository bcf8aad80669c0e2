"""What a receipt is about, from the postings of its entry; and the text that proves it."""

from uuid import UUID

import pytest

from meterplex.domain.accounts import Category
from meterplex.domain.estate import AccountId, BindingId
from meterplex.domain.ledger import (
    LedgerAccount,
    Posting,
    cash,
    customer,
    debt,
    in_meter,
    receivable,
    refund_payable,
    revenue,
    suspense,
    transit,
)
from meterplex.domain.receipt_facts import (
    ItemFact,
    ItemKind,
    check_text,
    item_kind,
    moves_cash,
    paid_items,
    same_check_text,
    vend_kind,
)
from meterplex.domain.receipts import ReceiptError, ReceiptKind

ID = UUID("01900000-0000-7000-8000-000000000001")
OTHER = UUID("01900000-0000-7000-8000-000000000002")
ACCOUNT, BINDING = AccountId(ID), BindingId(OTHER)


@pytest.mark.parametrize(
    ("account", "kind"),
    [
        pytest.param(customer(ACCOUNT), ItemKind.CREDIT, id="wallet"),
        pytest.param(transit(BINDING), ItemKind.CREDIT, id="on-its-way"),
        pytest.param(in_meter(BINDING), ItemKind.CREDIT, id="in-meter"),
        pytest.param(receivable(ACCOUNT, Category.RENT), ItemKind.RENT, id="rent"),
        pytest.param(receivable(ACCOUNT, Category.FEE), ItemKind.FEE, id="fee"),
        pytest.param(receivable(ACCOUNT, Category.UTILITY), ItemKind.UTILITY, id="utility"),
        pytest.param(debt(ID), ItemKind.DEBT, id="debt"),
        pytest.param(refund_payable(ACCOUNT), ItemKind.RETURNED, id="payable"),
        pytest.param(suspense(ID), ItemKind.OTHER, id="suspense"),
    ],
)
def test_ledger_accounts_have_items(account: LedgerAccount, kind: ItemKind) -> None:
    assert item_kind(account) is kind


def test_items_of_one_kind_are_one() -> None:
    till = cash("bank")
    method, items = paid_items(
        (
            Posting(till, debt(ID), 10),
            Posting(till, debt(OTHER), 20),
            Posting(till, customer(ACCOUNT), 70),
        )
    )
    assert method == "bank"
    assert items == (ItemFact(ItemKind.DEBT, 30), ItemFact(ItemKind.CREDIT, 70))


def test_money_given_is_below_zero() -> None:
    _, items = paid_items((Posting(refund_payable(ACCOUNT), cash("cash"), 5),))
    assert items == (ItemFact(ItemKind.RETURNED, -5),)


def test_what_moves_no_money_has_no_items() -> None:
    charge = (Posting(customer(ACCOUNT), revenue("water"), 5),)
    assert not moves_cash(charge)
    assert moves_cash((Posting(cash("cash"), customer(ACCOUNT), 5),))
    with pytest.raises(ReceiptError, match="no money"):
        paid_items(charge)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        pytest.param({ItemKind.DEBT}, ReceiptKind.DEBT, id="debt"),
        pytest.param({ItemKind.RENT, ItemKind.FEE}, ReceiptKind.FEE, id="fees"),
        pytest.param({ItemKind.UTILITY}, ReceiptKind.BILL, id="bill"),
        pytest.param({ItemKind.CREDIT}, ReceiptKind.VEND, id="credit"),
        pytest.param({ItemKind.CREDIT, ItemKind.DEBT}, ReceiptKind.VEND, id="debt-and-credit"),
        pytest.param({ItemKind.UTILITY, ItemKind.RENT}, ReceiptKind.VEND, id="several-dues"),
    ],
)
def test_kind_follows_from_the_items(kinds: set[ItemKind], expected: ReceiptKind) -> None:
    assert vend_kind([ItemFact(kind, 1) for kind in kinds]) is expected


def test_check_text_is_of_the_content_alone() -> None:
    text = check_text(ID, OTHER, {"b": [1, 2], "a": "七"})
    assert text == check_text(ID, OTHER, {"a": "七", "b": (1, 2)})
    assert len(text) == 24
    assert text != check_text(ID, OTHER, {"a": "七", "b": [2, 1]})
    assert text != check_text(ID, ID, {"a": "七", "b": [1, 2]})
    assert text != check_text(OTHER, OTHER, {"a": "七", "b": [1, 2]})


@pytest.mark.parametrize("typed", ["1a2b-3c4d", "1A2B 3C4D", " 1A2B3C4D\n"])
def test_check_text_may_be_typed_as_one_likes(typed: str) -> None:
    assert same_check_text(typed, "1A2B-3C4D")


@pytest.mark.parametrize("typed", ["", "1A2B", "1A2B-3C4E", "1A2B-3C4D-0"])
def test_other_check_texts_are_refused(typed: str) -> None:
    assert not same_check_text(typed, "1A2B-3C4D")
