"""Post-paid bills: all that was charged, once, rounded once; bills and ledger agree."""

from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from tests.services.charging_cases import Tenancy, move_in

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Category
from meterplex.domain.billing import BillStatus
from meterplex.domain.bills import IssuedBill, spread_outstanding
from meterplex.domain.ledger import ROUNDING, customer, receivable
from meterplex.services.billing.issue_bills import find_bill, issue_bills
from meterplex.services.books.book_entries import take_back
from meterplex.services.books.check_books import check_books
from meterplex.services.books.errors import MoneyInputError, UnknownThingError
from meterplex.services.orders.vend_credit import VendRequest, vend_credit

if TYPE_CHECKING:
    from tests.conftest import Estate

JULY, AUGUST, SEPTEMBER = (date(2026, month, 1) for month in (7, 8, 9))
IN_JULY, IN_AUGUST = 31 * 24, 62 * 24
"""Hours from the begin to the end of the month."""
KEYS = count()


def at(month: int, day: int = 2) -> datetime:
    return datetime(2026, month, day, 2, tzinfo=UTC)


@pytest.fixture
async def tenancy(database: Database, estate: "Estate") -> Tenancy:
    """A post-paid account at a site that lets readings be a month apart."""
    async with database.unit_of_work() as uow:
        await uow.site_records.set_policy(
            estate.organisation.id, estate.site.id, {"gap_max": "40d"}
        )
        await uow.commit()
    return await move_in(database, estate, mode=AccountMode.POSTPAID)


async def use(tenancy: Tenancy, *values: tuple[float, str]) -> None:
    """Take readings one after another and charge them."""
    for hours, value in values:
        await tenancy.read((hours, value))
        await tenancy.charge(hours)


async def issue(tenancy: Tenancy, month: date, **more: Any) -> tuple[IssuedBill, ...]:
    return await issue_bills(
        tenancy.database,
        tenancy.estate.site,
        month,
        at=more.pop("at", at(month.month + 1)),
        operator="anna",
        **more,
    )


async def bills(tenancy: Tenancy) -> tuple[IssuedBill, ...]:
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        organisation_id = tenancy.account.organisation_id
        assert await check_books(uow, organisation_id) == ()
        return await uow.bills.of_account(organisation_id, tenancy.account.id)


async def pay(tenancy: Tenancy, amount_units: int, when: datetime) -> None:
    request = VendRequest(
        tenancy.account.organisation_id, tenancy.account.id, amount_units, f"k{next(KEYS)}"
    )
    await vend_credit(tenancy.database, request, at=when, operator="anna")


async def test_bill_is_the_month_rounded_once(tenancy: Tenancy) -> None:
    await use(tenancy, (24, "110.011"), (IN_JULY, "200.333"))
    (bill,) = await issue(tenancy, JULY)
    assert (bill.number, bill.since, bill.until) == ("EAST-B2026-000001", JULY, AUGUST)
    assert bill.due_on == date(2026, 8, 16)
    assert sum(line["amount_units"] for line in bill.lines) == 50_1665
    assert (bill.amount_units, bill.rounding_units) == (50_1700, 35)
    assert [(line["usage_point"], line["units"], line["price"]) for line in bill.lines] == [
        ("p0", "100333/1000", "0.5000")
    ]
    balances = await tenancy.balances()
    assert balances[receivable(tenancy.account.id, Category.UTILITY)] == -50_1700
    assert balances[ROUNDING] == 35
    assert await bills(tenancy) == (bill,)


async def test_use_after_the_month_stays_for_the_next_bill(tenancy: Tenancy) -> None:
    await use(tenancy, (IN_JULY - 12, "200"), (IN_JULY + 12, "220"), (IN_AUGUST, "300"))
    (july,) = await issue(tenancy, JULY)
    (august,) = await issue(tenancy, AUGUST)
    assert (july.amount_units, august.amount_units) == (55_0000, 45_0000)


async def test_month_is_billed_once(tenancy: Tenancy) -> None:
    await use(tenancy, (IN_JULY, "200"))
    assert len(await issue(tenancy, JULY)) == 1
    assert await issue(tenancy, JULY) == ()
    assert len(await bills(tenancy)) == 1


async def test_dry_run_issues_nothing(tenancy: Tenancy) -> None:
    await use(tenancy, (IN_JULY, "200"))
    (shown,) = await issue(tenancy, JULY, dry_run=True)
    assert (shown.number, shown.amount_units) == ("", 50_0000)
    assert await bills(tenancy) == ()
    (bill,) = await issue(tenancy, JULY)
    assert (bill.number, bill.lines) == ("EAST-B2026-000001", shown.lines)


async def test_late_adjustment_is_a_line_of_the_next_bill_that_names_its_month(
    tenancy: Tenancy,
) -> None:
    await use(tenancy, (IN_JULY - 240, "180"), (IN_JULY, "200"))
    await issue(tenancy, JULY)
    await use(tenancy, (IN_AUGUST, "260"))
    await tenancy.read((IN_JULY, "210"), received=at(9, 1), reason="read again")
    await tenancy.charge(IN_AUGUST + 1, since=IN_JULY - 1)
    (august,) = await issue(tenancy, AUGUST)
    assert [(line["month"], line["amount_units"]) for line in august.lines] == [
        ("2026-07-01", 5_0000),
        ("2026-08-01", 25_0000),
    ]
    assert august.lines[0]["text"].endswith("(late, of 2026-07)")
    july, _ = await bills(tenancy)
    assert july.amount_units == 50_0000


async def test_month_without_use_has_no_bill(tenancy: Tenancy) -> None:
    assert await issue(tenancy, JULY) == ()
    await use(tenancy, (24 * 40, "140"), (IN_AUGUST, "160"))
    (august,) = await issue(tenancy, AUGUST)
    assert sum(line["amount_units"] for line in august.lines) == 30_0000
    assert {line["month"] for line in august.lines} == {"2026-07-01", "2026-08-01"}


async def test_prepaid_accounts_get_no_bill(database: Database, estate: "Estate") -> None:
    prepaid = await move_in(database, estate)
    await use(prepaid, (100, "200"))
    assert await issue(prepaid, JULY) == ()


async def test_payment_before_the_bill_counts_for_it(tenancy: Tenancy) -> None:
    await use(tenancy, (IN_JULY, "200"))
    await pay(tenancy, 70_0000, at(8, 1))
    (bill,) = await issue(tenancy, JULY)
    assert bill.status(date(2027, 1, 1)) is BillStatus.PAID
    assert (await tenancy.balances())[customer(tenancy.account.id)] == 20_0000


async def test_payment_settles_bills_before_what_is_not_billed(tenancy: Tenancy) -> None:
    await use(tenancy, (IN_JULY, "200"))
    await issue(tenancy, JULY)
    await use(tenancy, (IN_JULY + 240, "240"))
    await pay(tenancy, 60_0000, at(8, 12))
    (july,) = await bills(tenancy)
    assert july.status(date(2027, 1, 1)) is BillStatus.PAID
    await use(tenancy, (IN_AUGUST, "300"))
    (august,) = await issue(tenancy, AUGUST)
    assert (august.amount_units, august.paid_units) == (50_0000, 10_0000)


async def test_payment_taken_back_leaves_the_bill_unpaid(tenancy: Tenancy) -> None:
    await use(tenancy, (IN_JULY, "200"))
    await issue(tenancy, JULY)
    await pay(tenancy, 50_0000, at(8, 3))
    async with tenancy.database.unit_of_work() as uow:
        entries = await uow.ledger.of_account(
            tenancy.account.organisation_id, tenancy.account.id, at(8, 3)
        )
        await take_back(uow, tenancy.estate.site, entries[-1], at=at(8, 4), operator="bert")
        await uow.commit()
    (bill,) = await bills(tenancy)
    assert (bill.paid_units, bill.status(date(2026, 8, 17))) == (0, BillStatus.IN_ARREARS)


@pytest.mark.parametrize("seed", range(3))
async def test_bills_agree_with_what_is_owed_whatever_is_paid(tenancy: Tenancy, seed: int) -> None:
    random, shown = Random(seed), Decimal(100)
    for month in (JULY, AUGUST, SEPTEMBER):
        end = {7: IN_JULY, 8: IN_AUGUST, 9: IN_AUGUST + 30 * 24}[month.month]
        for hours in (end - random.randrange(1, 200), end):
            shown += Decimal(random.randrange(1, 90_000)) / 1000
            await use(tenancy, (hours, str(shown)))
            if random.random() < 0.5:
                await pay(tenancy, random.randrange(1, 9000) * 100, at(month.month, 28))
        await issue(tenancy, month)
        await bills(tenancy)
        if random.random() < 0.5:
            await pay(tenancy, random.randrange(1, 9000) * 100, at(month.month + 1, 3))
        await bills(tenancy)
    issued = await bills(tenancy)
    assert [bill.number for bill in issued] == [
        f"EAST-B2026-{number:06d}" for number in range(1, len(issued) + 1)
    ]
    charged = sum(charge.amount_units for charge in await tenancy.charges())
    assert sum(bill.amount_units - bill.rounding_units for bill in issued) == charged


@pytest.mark.parametrize(
    ("month", "when", "field"),
    [
        (date(2026, 7, 2), at(9), "month"),
        (JULY, datetime(2026, 7, 31, 15, 59, tzinfo=UTC), "month"),
    ],
    ids=["not_the_first", "not_over"],
)
async def test_month_must_be_over(
    tenancy: Tenancy, month: date, when: datetime, field: str
) -> None:
    with pytest.raises(MoneyInputError) as refused:
        await issue(tenancy, month, at=when)
    assert refused.value.field == field


async def test_bill_is_found_by_its_number(tenancy: Tenancy) -> None:
    await use(tenancy, (IN_JULY, "200"))
    (bill,) = await issue(tenancy, JULY)
    organisation_id = tenancy.account.organisation_id
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        assert await find_bill(uow, organisation_id, bill.number) == bill
        with pytest.raises(UnknownThingError, match="no bill 'EAST-B2026-000009'"):
            await find_bill(uow, organisation_id, "EAST-B2026-000009")
        found = await uow.bills.search(organisation_id, months=(JULY, AUGUST), unpaid=True)
        assert found == (bill,)
        assert await uow.bills.search(organisation_id, months=(AUGUST, SEPTEMBER)) == ()


@pytest.mark.parametrize(
    ("amounts", "still_open", "paid"),
    [
        ((), 5, ()),
        ((10, 20), 0, (10, 20)),
        ((10, 20), 5, (10, 15)),
        ((10, 20), 25, (5, 0)),
        ((10, 20), 99, (0, 0)),
    ],
    ids=str,
)
def test_newest_bills_stay_open(
    amounts: tuple[int, ...], still_open: int, paid: tuple[int, ...]
) -> None:
    assert spread_outstanding(amounts, still_open) == paid
