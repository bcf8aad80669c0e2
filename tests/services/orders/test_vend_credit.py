import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.conftest import Estate
from tests.services.prepaid_desk import NOON, YUAN, Desk, open_desk
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import AccountState, Category
from meterplex.domain.estate import Binding, BindingId, OrganisationId, UsagePointId
from meterplex.domain.ledger import EntryKind, Posting, customer, receivable, revenue
from meterplex.domain.prepayment import OrderState
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import (
    AccountClosedError,
    AccountStateError,
    AmountError,
    HoardLimitError,
    IdempotencyError,
    MeterUnfitError,
    MoneyError,
    MoneyInputError,
    UnknownAccountError,
    UnknownThingError,
)
from meterplex.services.orders.vend_credit import VendRequest, vend_credit

SERVER = AccountMode.PREPAID_SERVER


async def owe(desk: Desk, category: Category, yuan: int) -> None:
    async with desk.database.unit_of_work() as uow:
        posting = Posting(receivable(desk.account.id, category), revenue("rent"), yuan * YUAN)
        await book(
            uow,
            desk.estate.site,
            EntryKind.FEE,
            [posting],
            currency="CNY",
            at=NOON,
            operator="test",
            account=desk.account,
        )
        await uow.commit()


async def test_payment_becomes_credit_on_the_server_at_once(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate, SERVER)
    sale = await desk.vend(50, "k-1")
    assert (sale.state, sale.wallet_units) == (OrderState.CONFIRMED, 50 * YUAN)
    assert await desk.balances() == {"cash": -50 * YUAN, "customer": 50 * YUAN}
    async with database.unit_of_work(read_only=True) as uow:
        topics = {"supply", "account_event", "orders"}
        messages = await uow.outbox.due(topics, NOON + timedelta(days=1))
        entries = await uow.audit.entries(estate.organisation.id)
    assert [message.topic for message in messages] == ["supply", "account_event"]
    assert [entry.record.action for entry in entries][-1] == "money.vend"


async def test_dues_come_first_in_the_order_of_the_account(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    order = (Category.FEE, Category.RENT, Category.UTILITY, Category.DEBT)
    await desk.change_account(deduction_order=order)
    await owe(desk, Category.RENT, 30)
    await owe(desk, Category.FEE, 40)
    sale = await desk.vend(50, "k-1")
    assert [(each.category, each.amount_units // YUAN) for each in sale.settled] == [
        (Category.FEE, 40),
        (Category.RENT, 10),
    ]
    assert (sale.credit_units, sale.state) == (0, OrderState.CONFIRMED)
    assert await desk.balance(receivable(desk.account.id, Category.RENT)) == -20 * YUAN
    sale = await desk.vend(50, "k-2")
    assert (sale.credit_units, sale.state) == (30 * YUAN, OrderState.PAID)


async def test_meter_is_sent_what_it_can_take(database: Database, estate: Estate) -> None:
    """What is owed for use has four decimals, a purchase in a meter two."""
    desk = await open_desk(database, estate)
    owed = receivable(desk.account.id, Category.UTILITY)
    async with desk.database.unit_of_work() as uow:
        await book(
            uow,
            desk.estate.site,
            EntryKind.CHARGE,
            [Posting(owed, revenue("electricity"), 12_3456)],
            currency="CNY",
            at=NOON,
            operator="test",
            account=desk.account,
        )
        await uow.commit()
    sale = await desk.vend(50, "k-1")
    assert sale.credit_units == 37_6500
    assert await desk.deliver() == [OrderState.CONFIRMED]
    assert desk.held_cents == 3765
    assert await desk.balances() == {
        "cash": -50 * YUAN,
        "meter": 37_6500,
        "revenue": 12_3456,
        "rounding": 44,
    }


async def test_same_key_and_body_answers_the_same(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    first = await desk.vend(50, "k-1")
    await desk.deliver()
    again = await desk.vend(50, "k-1")
    assert again == replace(first, repeated=True)
    assert await desk.balances() == {"cash": -50 * YUAN, "meter": 50 * YUAN}


async def test_same_key_at_once_is_one_order(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER)
    sales = await asyncio.gather(*(desk.vend(50, "k-1") for _ in range(8)))
    assert len({sale.order_id for sale in sales}) == 1
    assert [sale.repeated for sale in sales].count(False) == 1
    assert await desk.balances() == {"cash": -50 * YUAN, "customer": 50 * YUAN}


async def test_many_at_once_sum_up(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER)

    async def sell(till: int) -> None:
        for number in range(25):
            await desk.vend(1 + till, f"k-{till}-{number}")

    await asyncio.gather(*(sell(till) for till in range(8)))
    total = sum(25 * (1 + till) for till in range(8)) * YUAN
    assert await desk.balances() == {"cash": -total, "customer": total}


async def test_key_of_another_payment_is_refused(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER)
    await desk.vend(50, "k-1")
    with pytest.raises(IdempotencyError) as refused:
        await desk.vend(51, "k-1")
    assert refused.value.field == "idempotency_key"
    request = VendRequest(desk.account.organisation_id, desk.account.id, 50 * YUAN, "k-1")
    with pytest.raises(IdempotencyError):
        await vend_credit(database, request, at=NOON, operator="somebody else")
    assert await desk.balances() == {"cash": -50 * YUAN, "customer": 50 * YUAN}


async def test_dry_run_keeps_nothing(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER)
    request = VendRequest(desk.account.organisation_id, desk.account.id, 50 * YUAN, "k-1")
    sale = await vend_credit(database, request, at=NOON, operator="cashier", dry_run=True)
    assert sale.wallet_units == 50 * YUAN
    assert await desk.balances() == {}
    assert not (await desk.vend(50, "k-1")).repeated


async def second_meter(desk: Desk) -> Binding:
    binding = replace(
        desk.binding,
        id=BindingId(uuid7()),
        meter_id=desk.estate.meters[1].id,
        since=desk.binding.since + timedelta(days=1),
    )
    point = replace(await _point(desk), id=UsagePointId(uuid7()), code="p-2")
    async with desk.database.unit_of_work() as uow:
        await uow.usage_points.add(point)
        await uow.bindings.add(replace(binding, usage_point_id=point.id))
        await uow.commit()
    return binding


async def _point(desk: Desk) -> Any:
    async with desk.database.unit_of_work(read_only=True) as uow:
        return await uow.usage_points.get(desk.account.organisation_id, desk.binding.usage_point_id)


async def test_several_meters_ask_which_is_meant(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    other = await second_meter(desk)
    with pytest.raises(MeterUnfitError, match="20260001, 20260002"):
        await desk.vend(50, "k-1")
    sale = await desk.vend(50, "k-1", binding_id=other.id)
    assert sale.binding_id == other.id


async def test_hoard_limit_counts_what_is_on_its_way(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    await desk.change_account(hoard_units=100 * YUAN)
    await desk.vend(60, "k-1")
    with pytest.raises(HoardLimitError, match=r"60\.00 held and 50\.00 more"):
        await desk.vend(50, "k-2")
    await desk.deliver()
    with pytest.raises(HoardLimitError):
        await desk.vend(50, "k-2")
    await desk.vend(40, "k-3")


async def test_hoard_limit_of_the_wallet_is_the_sites_where_there_is_no_other(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate, SERVER)
    async with database.unit_of_work() as uow:
        await uow.site_records.set_policy(
            estate.organisation.id, estate.site.id, {"hoard": "100.00"}
        )
        await uow.commit()
    await desk.vend(60, "k-1")
    with pytest.raises(HoardLimitError) as refused:
        await desk.vend(50, "k-2")
    assert refused.value.field == "amount"
    assert await desk.balance(customer(desk.account.id)) == 60 * YUAN


Change = Callable[[VendRequest], VendRequest]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        (lambda each: replace(each, amount_units=0), AmountError, "amount"),
        (lambda each: replace(each, amount_units=-YUAN), AmountError, "amount"),
        (lambda each: replace(each, amount_units=10_001), AmountError, "amount"),
        (lambda each: replace(each, amount_units=10**17), AmountError, "amount"),
        (lambda each: replace(each, idempotency_key=" "), MoneyInputError, "idempotency_key"),
        (lambda each: replace(each, idempotency_key="x" * 201), MoneyInputError, "idempotency_key"),
        (lambda each: replace(each, method=""), MoneyInputError, "method"),
        (lambda each: replace(each, channel="\n\n"), MoneyInputError, "channel"),
        (lambda each: replace(each, account_id=uuid4()), UnknownAccountError, "account"),
        (
            lambda each: replace(each, organisation_id=OrganisationId(uuid4())),
            UnknownAccountError,
            "account",
        ),
        (lambda each: replace(each, binding_id=uuid4()), UnknownThingError, "meter"),
    ],
    ids=[
        "zero",
        "negative",
        "part-of-a-fen",
        "beyond-measure",
        "no-key",
        "long-key",
        "no-method",
        "no-channel",
        "unknown-account",
        "another-organisation",
        "unknown-meter",
    ],
)
async def test_bad_input_is_named_and_nothing_is_booked(
    database: Database, estate: Estate, change: Change, error: type[MoneyError], field: str
) -> None:
    desk = await open_desk(database, estate)
    request = VendRequest(desk.account.organisation_id, desk.account.id, 50 * YUAN, "k-1")
    with pytest.raises(error) as refused:
        await vend_credit(database, change(request), at=NOON, operator="cashier")
    assert refused.value.field == field
    assert await desk.balances() == {}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("state", "error"),
    [
        (AccountState.SUSPENDED, AccountStateError),
        (AccountState.CLOSING, AccountClosedError),
        (AccountState.CLOSED, AccountClosedError),
    ],
)
async def test_account_that_is_not_open_takes_no_payment(
    database: Database, estate: Estate, state: AccountState, error: type[MoneyError]
) -> None:
    desk = await open_desk(database, estate, SERVER, state=state)
    with pytest.raises(error) as refused:
        await desk.vend(50, "k-1")
    assert refused.value.field == "account"
    assert await desk.balances() == {}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("mode", [AccountMode.CARD, AccountMode.TOKEN])
async def test_credit_that_travels_otherwise_is_not_sent_over_the_line(
    database: Database, estate: Estate, mode: AccountMode
) -> None:
    desk = await open_desk(database, estate, mode)
    with pytest.raises(MeterUnfitError):
        await desk.vend(50, "k-1")
