"""Fees: each period claimed once, with a bill, settled from credit."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from tests.services.charging_cases import Tenancy, move_in

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Category
from meterplex.domain.billing import BillStatus
from meterplex.domain.bills import AccountFee, IssuedBill, dunning_level
from meterplex.domain.fees import FeeError, FeePeriod
from meterplex.domain.ledger import customer, receivable, revenue
from meterplex.domain.warnings import WarningLevel
from meterplex.services.accounts.messages import SUPPLY
from meterplex.services.billing.charge_fees import (
    NewFee,
    add_fee,
    charge_fees,
    end_fee,
    parse_fee_period,
)
from meterplex.services.billing.watch_fees import FeeWatch
from meterplex.services.books.check_books import check_books
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.orders.vend_credit import VendRequest, vend_credit

if TYPE_CHECKING:
    from tests.conftest import Estate

AT = datetime(2026, 7, 5, 2, tzinfo=UTC)


@pytest.fixture
async def tenancy(database: Database, estate: "Estate") -> Tenancy:
    return await move_in(database, estate)


async def agree(tenancy: Tenancy, price: str = "300", **more: Any) -> AccountFee:
    new = NewFee(
        tenancy.account.id,
        more.pop("category", Category.FEE),
        "property fee",
        Decimal(price),
        more.pop("starts_on", date(2026, 7, 1)),
        **more,
    )
    organisation_id = tenancy.account.organisation_id
    return await add_fee(tenancy.database, organisation_id, new, at=AT, operator="anna")


async def charge(tenancy: Tenancy, until: date, *, dry_run: bool = False) -> tuple[IssuedBill, ...]:
    return await charge_fees(
        tenancy.database,
        tenancy.account.organisation_id,
        until,
        at=AT,
        operator="anna",
        dry_run=dry_run,
    )


async def stored(tenancy: Tenancy) -> tuple[IssuedBill, ...]:
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        organisation_id = tenancy.account.organisation_id
        assert await check_books(uow, organisation_id) == ()
        return await uow.bills.of_account(organisation_id, tenancy.account.id)


async def pay(tenancy: Tenancy, amount_units: int, key: str = "k1") -> None:
    request = VendRequest(tenancy.account.organisation_id, tenancy.account.id, amount_units, key)
    await vend_credit(tenancy.database, request, at=AT, operator="anna")


async def test_each_month_is_claimed_once(tenancy: Tenancy) -> None:
    await agree(tenancy)
    first = await charge(tenancy, date(2026, 8, 5))
    assert [(bill.number, bill.since, bill.until, bill.amount_units) for bill in first] == [
        ("EAST-B2026-000001", date(2026, 7, 1), date(2026, 8, 1), 300_0000),
        ("EAST-B2026-000002", date(2026, 8, 1), date(2026, 9, 1), 300_0000),
    ]
    assert await charge(tenancy, date(2026, 8, 31)) == ()
    assert len(await charge(tenancy, date(2026, 9, 1))) == 1
    balances = await tenancy.balances()
    owed = receivable(tenancy.account.id, Category.FEE)
    assert balances[owed] == -900_0000
    assert balances[revenue("fee")] == 900_0000
    assert [bill.status(date(2026, 7, 1)) for bill in await stored(tenancy)] == [
        BillStatus.OPEN
    ] * 3


async def test_dry_run_claims_nothing(tenancy: Tenancy) -> None:
    await agree(tenancy)
    assert len(await charge(tenancy, date(2026, 7, 1), dry_run=True)) == 1
    assert await stored(tenancy) == ()
    assert len(await charge(tenancy, date(2026, 7, 1))) == 1


async def test_credit_is_set_against_a_fee_as_far_as_it_goes(tenancy: Tenancy) -> None:
    await tenancy.pay(120_0000)
    await agree(tenancy)
    (bill,) = await charge(tenancy, date(2026, 7, 1))
    assert (bill.paid_units, bill.status(date(2026, 7, 1))) == (120_0000, BillStatus.PARTLY_PAID)
    assert (await tenancy.balances())[customer(tenancy.account.id)] == 0


async def test_payments_settle_the_oldest_bill_first(tenancy: Tenancy) -> None:
    await agree(tenancy)
    await charge(tenancy, date(2026, 8, 1))
    await pay(tenancy, 400_0000)
    july, august = await stored(tenancy)
    assert (july.paid_units, august.paid_units) == (300_0000, 100_0000)
    await pay(tenancy, 500_0000, "k2")
    _, august = await stored(tenancy)
    assert august.status(date(2027, 1, 1)) is BillStatus.PAID
    assert (await tenancy.balances())[customer(tenancy.account.id)] == 300_0000


async def test_unpaid_fee_is_in_arrears_after_its_due_date(tenancy: Tenancy) -> None:
    await agree(tenancy, due_days=5)
    (bill,) = await charge(tenancy, date(2026, 7, 1))
    assert bill.due_on == date(2026, 7, 6)
    assert bill.status(date(2026, 7, 6)) is BillStatus.OPEN
    assert bill.status(date(2026, 7, 7)) is BillStatus.IN_ARREARS
    levels = [dunning_level(bill, date(2026, 7, day)) for day in (6, 7, 14, 21)]
    assert levels == [None, WarningLevel.ALARM_1, WarningLevel.ALARM_2, WarningLevel.ARREARS]
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        waiting = await uow.outbox.due([SUPPLY], AT)
    assert {message.subject for message in waiting} == {str(tenancy.account.id)}


async def test_part_of_a_month_costs_its_days(tenancy: Tenancy) -> None:
    await agree(tenancy, "310", starts_on=date(2026, 7, 22), ends_on=date(2026, 8, 11))
    bills = await charge(tenancy, date(2026, 12, 31))
    assert [bill.amount_units for bill in bills] == [100_0000, 100_0000]


@pytest.mark.parametrize(
    ("until", "count"),
    [(date(2026, 7, 31), 0), (date(2026, 8, 1), 1), (date(2026, 10, 1), 3)],
    ids=str,
)
async def test_fee_paid_afterwards_is_claimed_when_its_period_ended(
    tenancy: Tenancy, until: date, count: int
) -> None:
    await agree(tenancy, in_advance=False)
    assert len(await charge(tenancy, until)) == count


async def test_fee_that_begins_later_is_not_claimed_before(tenancy: Tenancy) -> None:
    await agree(tenancy, starts_on=date(2026, 7, 20))
    assert await charge(tenancy, date(2026, 7, 19)) == ()
    assert len(await charge(tenancy, date(2026, 7, 20))) == 1


async def test_fee_ends_where_it_is_told_but_not_before_what_is_charged(
    tenancy: Tenancy,
) -> None:
    fee = await agree(tenancy)
    await charge(tenancy, date(2026, 8, 1))
    organisation_id = tenancy.account.organisation_id
    with pytest.raises(MoneyConflictError, match="charged until 2026-09-01"):
        await end_fee(
            tenancy.database, organisation_id, fee.id, date(2026, 8, 15), at=AT, operator="anna"
        )
    await end_fee(
        tenancy.database, organisation_id, fee.id, date(2026, 9, 16), at=AT, operator="anna"
    )
    (last,) = await charge(tenancy, date(2027, 1, 1))
    assert (last.until, last.amount_units) == (date(2026, 9, 16), 150_0000)


async def test_package_brings_its_units_with_the_fee(database: Database, estate: "Estate") -> None:
    package = await move_in(database, estate, mode=AccountMode.PACKAGE)
    await package.pay(100_0000)
    await agree(package, "80")
    (bill,) = await charge(package, date(2026, 7, 1))
    assert bill.status(date(2026, 7, 2)) is BillStatus.PAID
    assert (await package.balances())[customer(package.account.id)] == 20_0000


async def test_fee_that_means_nothing_is_refused(tenancy: Tenancy) -> None:
    with pytest.raises(FeeError, match="price"):
        await agree(tenancy, "0")
    with pytest.raises(FeeError, match="category"):
        await agree(tenancy, category=Category.UTILITY)
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        assert await uow.fees.all(tenancy.account.organisation_id) == ()


async def test_fee_comes_back_as_agreed(tenancy: Tenancy) -> None:
    fee = await agree(
        tenancy,
        "2.5",
        category=Category.RENT,
        period=FeePeriod.QUARTER,
        area_m2=Decimal("80.5"),
        ends_on=date(2027, 7, 1),
        in_advance=False,
        due_days=3,
    )
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        assert await uow.fees.get(tenancy.account.organisation_id, fee.id) == fee


def test_period_is_read_by_its_name() -> None:
    assert parse_fee_period("half_year", "period") is FeePeriod.HALF_YEAR
    with pytest.raises(MoneyInputError, match="expected one of month"):
        parse_fee_period("fortnight", "period")


async def test_fees_are_claimed_by_themselves_when_their_day_comes(tenancy: Tenancy) -> None:
    await agree(tenancy)
    last_of_july = datetime(2026, 7, 31, 15, 59, tzinfo=UTC)  # 23:59 in Shanghai
    first_of_august = datetime(2026, 7, 31, 16, tzinfo=UTC)
    times = iter((last_of_july, last_of_july, first_of_august, first_of_august))
    watch = FeeWatch(tenancy.database, lambda: next(times))
    claimed = [await watch.run_once() for _ in range(4)]
    assert claimed == [1, 0, 1, 0]
    assert [bill.since for bill in await stored(tenancy)] == [date(2026, 7, 1), date(2026, 8, 1)]


async def test_a_site_whose_fees_cannot_be_claimed_ends_no_watch(
    tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stumble(*_arguments: object, **_more: object) -> tuple[IssuedBill, ...]:
        raise ValueError("a row that nobody foresaw")

    await agree(tenancy)
    watch = FeeWatch(tenancy.database, lambda: AT)
    with monkeypatch.context() as patch:
        patch.setattr("meterplex.services.billing.watch_fees.charge_fees", stumble)
        assert await watch.run_once() == 0
    assert watch.unclaimed
    assert await watch.run_once() == 1
    assert not watch.unclaimed
