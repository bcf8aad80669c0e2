"""Receipts as they follow from sales, reversals and payouts, on both databases."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from tests.conftest import Estate
from tests.domain.tariff_samples import FLAT, blocks, decimals
from tests.services.prepaid_desk import YUAN, Desk, open_desk
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.db import money_tables as tables
from meterplex.db.database import create_engine, driver_url
from meterplex.db.tariff_versions import PublishedTariff
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Category
from meterplex.domain.charges import TariffVersionId
from meterplex.domain.estate import SiteId
from meterplex.domain.ledger import EntryKind, Posting, cash, customer, receivable, revenue
from meterplex.domain.receipt_facts import ItemFact, ItemKind
from meterplex.domain.receipts import Language, Receipt, ReceiptError, ReceiptKind, UnitsEstimate
from meterplex.domain.registers import ELECTRICITY, Unit
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import (
    AmountError,
    MoneyConflictError,
    UnknownThingError,
)
from meterplex.services.operators.audit import verify as verify_audit
from meterplex.services.orders.pay_out import PayoutRequest, pay_out
from meterplex.services.orders.refund_credit import RefundRequest, refund_credit
from meterplex.services.orders.reverse_order import ReversalRequest, reverse_order
from meterplex.services.orders.vend_credit import VendRequest, vend_credit
from meterplex.services.receipts.issue_receipt import (
    IssuedReceipt,
    find_receipt,
    issue_receipt,
    issued,
)
from meterplex.services.receipts.print_receipt import print_receipt, verify
from meterplex.services.tariffs.document import tariff_digest, tariff_to_text


@pytest.fixture
async def desk(database: Database, estate: Estate) -> Desk:
    return await open_desk(database, estate, AccountMode.PREPAID_SERVER)


async def receipt_of(desk: Desk, number: str) -> IssuedReceipt:
    async with desk.database.unit_of_work(read_only=True) as uow:
        return await find_receipt(uow, desk.account.organisation_id, number)


async def owe(desk: Desk, category: Category, yuan: int) -> None:
    """Book that the account owes something."""
    owed = receivable(desk.account.id, category)
    async with desk.database.unit_of_work() as uow:
        await book(
            uow,
            desk.estate.site,
            EntryKind.FEE,
            [Posting(owed, revenue(category.value), yuan * YUAN)],
            currency="CNY",
            at=desk.clock(),
            operator="fees",
            account=desk.account,
        )
        await uow.commit()


async def test_receipt_says_what_was_sold(desk: Desk) -> None:
    sale = await desk.vend(100, "k1", method="bank")
    issued = await receipt_of(desk, sale.receipt)
    assert sale.receipt == "EAST-2026-000001"
    assert issued.facts.kind is ReceiptKind.VEND
    assert issued.facts.items == (ItemFact(ItemKind.CREDIT, 100 * YUAN),)
    assert issued.facts.paid_minor == 100_00
    assert issued.facts.balance_after_units == 100 * YUAN
    assert issued.facts.order == str(sale.order_id)
    receipt = issued.receipt()
    assert receipt.seller == "Harbour"
    assert receipt.site == "East Street Mall"
    assert (receipt.customer, receipt.account) == ("Li Na", "a-1")
    assert (receipt.method, receipt.cashier) == ("bank", "cashier")
    assert receipt.language is Language.CHINESE
    assert receipt.issued_at.isoformat().startswith("2026-03-02T12:00:00")
    assert receipt.issued_at.utcoffset() == timedelta(hours=8)


async def test_dues_are_items_of_their_own(desk: Desk) -> None:
    await owe(desk, Category.RENT, 30)
    await owe(desk, Category.UTILITY, 20)
    sale = await desk.vend(100, "k1")
    issued = await receipt_of(desk, sale.receipt)
    assert issued.facts.items == (
        ItemFact(ItemKind.RENT, 30 * YUAN),
        ItemFact(ItemKind.UTILITY, 20 * YUAN),
        ItemFact(ItemKind.CREDIT, 50 * YUAN),
    )
    english = issued.receipt(language=Language.ENGLISH)
    assert [item.text for item in english.items] == ["Rent", "Owed for use", "Credit"]


@pytest.mark.parametrize(
    ("category", "kind"),
    [
        pytest.param(Category.RENT, ReceiptKind.FEE, id="rent"),
        pytest.param(Category.UTILITY, ReceiptKind.BILL, id="utility"),
    ],
)
async def test_payment_of_dues_only_is_no_sale(
    desk: Desk, category: Category, kind: ReceiptKind
) -> None:
    await owe(desk, category, 40)
    sale = await desk.vend(40, "k1")
    assert (await receipt_of(desk, sale.receipt)).facts.kind is kind


async def test_credit_in_meter_shows_no_balance(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    sale = await desk.vend(50, "k1")
    facts = (await receipt_of(desk, sale.receipt)).facts
    assert facts.balance_after_units is None
    assert facts.items == (ItemFact(ItemKind.CREDIT, 50 * YUAN),)


async def test_repeated_sale_names_the_first_receipt(desk: Desk) -> None:
    first = await desk.vend(10, "k1")
    again = await desk.vend(10, "k1")
    assert again.repeated
    assert again.receipt == first.receipt
    assert (await desk.vend(10, "k2")).receipt == "EAST-2026-000002"


async def test_refused_and_tried_sales_use_no_number(desk: Desk) -> None:
    with pytest.raises(AmountError):
        await desk.vend(-1, "k1")
    request = VendRequest(desk.account.organisation_id, desk.account.id, 10 * YUAN, "k2")
    tried = await vend_credit(
        desk.database, request, at=desk.clock(), operator="cashier", dry_run=True
    )
    assert tried.receipt == "EAST-2026-000001"
    assert (await desk.vend(10, "k3")).receipt == "EAST-2026-000001"


async def test_numbers_of_concurrent_sales_have_no_gap(desk: Desk) -> None:
    sales = await asyncio.gather(*(desk.vend(1, f"k{at}") for at in range(12)))
    numbers = sorted(sale.receipt for sale in sales)
    assert numbers == [f"EAST-2026-{at:06d}" for at in range(1, 13)]


async def test_each_year_begins_with_one(desk: Desk) -> None:
    desk.clock.now = datetime(2026, 12, 31, 15, 59, 50, tzinfo=UTC)
    old = await desk.vend(1, "k1")
    desk.clock.now = datetime(2026, 12, 31, 16, 0, tzinfo=UTC)
    new = await desk.vend(1, "k2")
    assert (old.receipt, new.receipt) == ("EAST-2026-000001", "EAST-2027-000001")


async def test_entry_has_one_receipt(desk: Desk) -> None:
    sale = await desk.vend(10, "k1")
    async with desk.database.unit_of_work() as uow:
        (entry,) = await uow.ledger.of_order(desk.account.organisation_id, sale.order_id)
        again = await issue_receipt(uow, desk.account, desk.estate.site, entry, at=desk.clock())
        await uow.commit()
    assert again.number == sale.receipt
    assert (await desk.vend(10, "k2")).receipt == "EAST-2026-000002"


async def test_entry_without_cash_gets_no_receipt(desk: Desk) -> None:
    await owe(desk, Category.FEE, 5)
    async with desk.database.unit_of_work() as uow:
        (entry,) = await uow.ledger.of_account(desk.account.organisation_id, desk.account.id)
        with pytest.raises(ReceiptError, match="no money"):
            await issue_receipt(uow, desk.account, desk.estate.site, entry, at=desk.clock())


async def test_reversal_refers_to_what_it_undoes(desk: Desk) -> None:
    sale = await desk.vend(60, "k1")
    request = ReversalRequest(desk.account.organisation_id, sale.order_id, "r1", "wrong account")
    reversal = await reverse_order(desk.database, request, at=desk.clock(), operator=desk.manager)
    async with desk.database.unit_of_work(read_only=True) as uow:
        (stored,) = await uow.receipts.of_order(desk.account.organisation_id, reversal.order_id)
    facts = issued(stored).facts
    assert facts.kind is ReceiptKind.REVERSAL
    assert facts.refers_to == sale.receipt
    assert facts.paid_minor == -60_00
    assert facts.items == (ItemFact(ItemKind.CREDIT, -60 * YUAN),)
    assert facts.balance_after_units == 0


async def test_payout_gets_a_receipt(desk: Desk) -> None:
    await desk.vend(80, "k1")
    refund = RefundRequest(desk.account.organisation_id, desk.account.id, 30 * YUAN, "f1")
    await refund_credit(desk.database, refund, at=desk.clock(), operator=desk.manager)
    payout = await pay_out(
        desk.database,
        PayoutRequest(desk.account.organisation_id, desk.account.id, 30 * YUAN, "p1"),
        at=desk.clock(),
        operator=desk.manager,
    )
    issued = await receipt_of(desk, payout.receipt)
    assert payout.receipt == "EAST-2026-000002"
    assert issued.facts.kind is ReceiptKind.REFUND
    assert issued.facts.items == (ItemFact(ItemKind.RETURNED, -30 * YUAN),)
    assert issued.facts.balance_after_units == 50 * YUAN


# -- the estimate ------------------------------------------------------------------------------


async def publish(desk: Desk, code: str = "flat") -> None:
    tariff = replace(FLAT, id=code, blocks=blocks("100"), prices=decimals("0.48", "0.80"))
    document = tariff_to_text(tariff)
    async with desk.database.unit_of_work() as uow:
        await uow.tariff_versions.add(
            PublishedTariff(
                id=TariffVersionId(uuid7()),
                organisation_id=desk.account.organisation_id,
                code=code,
                version=tariff.version,
                utility=ELECTRICITY,
                currency="CNY",
                valid_from=tariff.valid_from,
                document=document,
                sha256=tariff_digest(tariff),
                published_at=desk.clock(),
                published_by="anna",
            )
        )
        await uow.commit()
    await desk.change_account(tariff=code)


async def test_receipt_estimates_the_units(desk: Desk) -> None:
    await publish(desk)
    sale = await desk.vend(100, "k1")
    estimate = (await receipt_of(desk, sale.receipt)).facts.estimate
    assert estimate == UnitsEstimate(Decimal("208.3"), Unit.KWH)


async def test_no_estimate_without_a_tariff_in_force(desk: Desk) -> None:
    sale = await desk.vend(100, "k1")
    assert (await receipt_of(desk, sale.receipt)).facts.estimate is None
    await desk.change_account(tariff="gone")
    sale = await desk.vend(100, "k2")
    assert (await receipt_of(desk, sale.receipt)).facts.estimate is None


# -- prints ------------------------------------------------------------------------------------


async def named(receipt: Receipt) -> str:
    return f"{receipt.number} copy {receipt.copy}"


async def test_later_prints_are_numbered_copies(desk: Desk) -> None:
    sale = await desk.vend(10, "k1")
    issued = await receipt_of(desk, sale.receipt)
    prints = [
        await print_receipt(desk.database, issued, named, at=desk.clock(), operator="cashier")
        for _ in range(3)
    ]
    assert [each.page for each in prints] == [f"{sale.receipt} copy {at}" for at in range(3)]
    assert await verify_audit(desk.database, desk.account.organisation_id) is None


async def test_prints_at_once_are_one_original_and_copies(desk: Desk) -> None:
    sale = await desk.vend(10, "k1")
    issued = await receipt_of(desk, sale.receipt)
    prints = await asyncio.gather(
        *(
            print_receipt(desk.database, issued, named, at=desk.clock(), operator=f"p{at}")
            for at in range(5)
        )
    )
    assert sorted(each.receipt.copy for each in prints) == [0, 1, 2, 3, 4]


async def test_print_that_fails_costs_no_original(desk: Desk) -> None:
    async def fail(receipt: Receipt) -> str:
        raise OSError("no paper")

    sale = await desk.vend(10, "k1")
    issued = await receipt_of(desk, sale.receipt)
    with pytest.raises(OSError, match="no paper"):
        await print_receipt(desk.database, issued, fail, at=desk.clock(), operator="cashier")
    tried = await print_receipt(
        desk.database, issued, named, at=desk.clock(), operator="cashier", dry_run=True
    )
    made = await print_receipt(desk.database, issued, named, at=desk.clock(), operator="cashier")
    assert (tried.receipt.copy, made.receipt.copy) == (0, 0)


# -- proof -------------------------------------------------------------------------------------


async def test_check_text_is_the_same_in_every_language(desk: Desk) -> None:
    sale = await desk.vend(10, "k1")
    issued = await receipt_of(desk, sale.receipt)
    chinese, english = (issued.receipt(1, language) for language in Language)
    assert chinese.verification == english.verification == issued.verification
    assert verify(issued, issued.verification.lower().replace("-", " "))
    assert not verify(issued, issued.verification[:-1] + "X")


async def test_equal_sales_have_different_check_texts(desk: Desk) -> None:
    texts = set()
    for at in range(3):
        sale = await desk.vend(10, f"k{at}")
        texts.add((await receipt_of(desk, sale.receipt)).verification)
    assert len(texts) == 3


async def test_changed_figures_change_the_check_text(desk: Desk) -> None:
    sale = await desk.vend(10, "k1")
    true = await receipt_of(desk, sale.receipt)
    document: dict[str, Any] = {**true.stored.document, "paid_minor": 10_000}
    assert issued(replace(true.stored, document=document)).verification != true.verification


async def test_database_refuses_to_change_a_receipt(desk: Desk, database_url: str) -> None:
    await desk.vend(10, "k1")
    engine = create_engine(driver_url(database_url))
    try:
        for statement in (sa.update(tables.receipt).values(number="x"), sa.delete(tables.receipt)):
            async with engine.connect() as connection:
                with pytest.raises(sa.exc.DBAPIError, match="append-only"):
                    await connection.execute(statement)
    finally:
        await engine.dispose()


async def test_unknown_receipts_and_those_of_other_sites_are_not_found(desk: Desk) -> None:
    sale = await desk.vend(10, "k1")
    async with desk.database.unit_of_work(read_only=True) as uow:
        for number, sites in (("EAST-2026-000009", None), (sale.receipt, frozenset[Any]())):
            with pytest.raises(UnknownThingError, match="no receipt"):
                await find_receipt(uow, desk.account.organisation_id, number, sites)
        found = await find_receipt(uow, desk.account.organisation_id, sale.receipt.lower())
        assert found.number == sale.receipt


async def test_number_of_two_sites_is_refused(desk: Desk) -> None:
    sale = await desk.vend(10, "k1")
    other = replace(desk.estate.site, id=SiteId(uuid7()), code="EAST")
    async with desk.database.unit_of_work() as uow:
        await uow.sites.add(other)
        wallet = customer(desk.account.id)
        entry = await book(
            uow,
            other,
            EntryKind.PAYMENT,
            [Posting(cash("cash"), wallet, YUAN)],
            currency="CNY",
            at=desk.clock(),
            operator="cashier",
            account=desk.account,
        )
        assert entry is not None
        await issue_receipt(uow, desk.account, other, entry, at=desk.clock())
        with pytest.raises(MoneyConflictError, match="several sites"):
            await find_receipt(uow, desk.account.organisation_id, sale.receipt)
