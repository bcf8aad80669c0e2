"""Closing months: in order, for ever; what comes late stands in the open one."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from tests.services.charging_cases import BEGIN, HOUR, Tenancy, move_in

from meterplex.db import Database, migrations
from meterplex.db.errors import AppendOnlyError
from meterplex.domain.accounts import Category
from meterplex.domain.ledger import EntryKind, Posting, customer, revenue
from meterplex.services.billing.charge_fees import NewFee, add_fee, charge_fees
from meterplex.services.billing.debt_plans import NewDebtPlan, add_debt_plan
from meterplex.services.books.book_entries import book
from meterplex.services.books.check_books import check_books, check_charges
from meterplex.services.books.close_period import BooksWrongError, close_period, trial_balance
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError

if TYPE_CHECKING:
    from tests.conftest import Estate

JULY, AUGUST, SEPTEMBER = (date(2026, month, 1) for month in (7, 8, 9))
IN_AUGUST, IN_SEPTEMBER = (datetime(2026, month, 2, tzinfo=UTC) for month in (8, 9))


@pytest.fixture
async def tenancy(database: Database, estate: "Estate") -> Tenancy:
    tenancy = await move_in(database, estate)
    await tenancy.pay(100_0000)
    for hours, value in ((24, "110"), (48, "120")):
        await tenancy.read((hours, value))
        await tenancy.charge(hours)
    return tenancy


async def close(
    tenancy: Tenancy, period: date, at: datetime = IN_SEPTEMBER, *, dry_run: bool = False
) -> dict[str, int]:
    closed = await close_period(
        tenancy.database,
        tenancy.account.organisation_id,
        period,
        at=at,
        operator="anna",
        dry_run=dry_run,
    )
    return dict(closed.trial_balance)


async def balance_until(tenancy: Tenancy, until: date) -> dict[str, int]:
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        organisation_id = tenancy.account.organisation_id
        assert await check_books(uow, organisation_id) == ()
        return await trial_balance(uow, organisation_id, until=until)


async def run_sql(database_url: str, statement: str) -> None:
    """Write past the program."""
    async with migrations.transaction(database_url) as connection:
        await connection.execute(sa.text(statement))


async def test_closed_month_never_changes_whatever_comes_later(tenancy: Tenancy) -> None:
    closed = await close(tenancy, JULY, IN_AUGUST)
    assert closed == {
        "CNY cash:cash": -100_0000,
        f"CNY customer:{tenancy.account.id}": 90_0000,
        "CNY revenue:electricity": 10_0000,
    }
    await tenancy.read((24, "112"), received=IN_AUGUST, reason="read again")
    await tenancy.read((47, "121"), received=IN_AUGUST)
    hours = (IN_AUGUST - BEGIN) / HOUR
    await tenancy.charge(hours, since=1)
    await tenancy.pay(5_0000)
    assert await balance_until(tenancy, AUGUST) == closed
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        entries = await uow.ledger.of_account(tenancy.account.organisation_id, tenancy.account.id)
    assert [entry.period for entry in entries[-1:]] == [AUGUST]


async def test_months_are_closed_in_order_and_once(tenancy: Tenancy) -> None:
    with pytest.raises(MoneyConflictError, match="2026-07 is open"):
        await close(tenancy, AUGUST)
    await close(tenancy, JULY)
    with pytest.raises(MoneyConflictError, match="closed already"):
        await close(tenancy, JULY)
    await close(tenancy, AUGUST)
    with pytest.raises(MoneyConflictError, match="before 2026-09"):
        await close(tenancy, date(2026, 6, 1))


async def test_closing_waits_for_who_is_booking(tenancy: Tenancy) -> None:
    async with tenancy.database.unit_of_work() as uow:
        await book(
            uow,
            tenancy.estate.site,
            EntryKind.ADJUSTMENT,
            [Posting(customer(tenancy.account.id), revenue("electricity"), 7)],
            currency="CNY",
            at=BEGIN,
            operator="anna",
        )
        closing = asyncio.create_task(close(tenancy, JULY))
        done, _ = await asyncio.wait({closing}, timeout=0.3)
        assert not done
        await uow.commit()
    closed = await closing
    assert closed["CNY revenue:electricity"] == 10_0007
    assert await balance_until(tenancy, AUGUST) == closed


async def test_dry_run_closes_nothing(tenancy: Tenancy) -> None:
    shown = await close(tenancy, JULY, dry_run=True)
    assert await close(tenancy, JULY) == shown


async def test_only_whole_past_months_are_closed(tenancy: Tenancy) -> None:
    a_minute_too_early = datetime(2026, 7, 31, 15, 59, tzinfo=UTC)
    for period, at in (
        (date(2026, 7, 2), IN_SEPTEMBER),
        (JULY, a_minute_too_early),
        (SEPTEMBER, IN_SEPTEMBER),
    ):
        with pytest.raises(MoneyInputError):
            await close(tenancy, period, at)


async def test_month_over_at_the_site_can_be_closed(tenancy: Tenancy) -> None:
    await close(tenancy, JULY, datetime(2026, 7, 31, 16, tzinfo=UTC))


async def test_wrong_books_are_not_closed_and_are_told(tenancy: Tenancy, database_url: str) -> None:
    await run_sql(
        database_url, "UPDATE ledger_account SET balance_units = 7 WHERE balance_units = 100000"
    )
    with pytest.raises(BooksWrongError, match=r"revenue:electricity: balance 0\.0007"):
        await close(tenancy, JULY)
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        problems = await check_books(uow, tenancy.account.organisation_id)
    assert len(problems) == 1


async def test_the_database_itself_refuses_to_change_closed_books(
    tenancy: Tenancy, database_url: str
) -> None:
    await close(tenancy, JULY)
    for statement in (
        "UPDATE ledger_period SET closed_by = 'eve'",
        "DELETE FROM ledger_period",
        "UPDATE ledger_entry SET period = '2026-08-01'",
        "UPDATE ledger_posting SET amount_units = 1",
        "DELETE FROM ledger_entry",
    ):
        with pytest.raises(AppendOnlyError):
            await run_sql(database_url, statement)
    await balance_until(tenancy, AUGUST)


async def test_entry_dated_into_a_closed_month_is_booked_in_the_open_one(
    tenancy: Tenancy,
) -> None:
    closed = await close(tenancy, JULY)
    async with tenancy.database.unit_of_work() as uow:
        late = await book(
            uow,
            tenancy.estate.site,
            EntryKind.ADJUSTMENT,
            [Posting(customer(tenancy.account.id), revenue("electricity"), 3)],
            currency="CNY",
            at=BEGIN,
            operator="anna",
            memo="of 2026-07",
        )
        await uow.commit()
    assert late is not None
    assert late.period == AUGUST
    assert await balance_until(tenancy, AUGUST) == closed


async def test_check_names_gaps_between_charges_and_lines_that_do_not_sum(
    tenancy: Tenancy,
) -> None:
    first, second = await tenancy.charges()
    assert list(check_charges(tenancy.account, [first, second])) == []
    later = replace(second, from_at=second.from_at + HOUR)
    (gap,) = check_charges(tenancy.account, [later, first])
    assert str(second.id) in gap
    (sums,) = check_charges(tenancy.account, [first, replace(second, amount_units=1)])
    assert "another amount" in sums


async def test_check_names_bills_and_debts_that_differ_from_what_is_owed(
    tenancy: Tenancy, database_url: str
) -> None:
    organisation_id = tenancy.account.organisation_id
    plan = NewDebtPlan(tenancy.account.id, "old", amount_units=5_0000, percent=Decimal(10))
    await add_debt_plan(tenancy.database, organisation_id, plan, at=IN_AUGUST, operator="anna")
    fee = NewFee(tenancy.account.id, Category.FEE, "fee", Decimal(300), JULY)
    await add_fee(tenancy.database, organisation_id, fee, at=IN_AUGUST, operator="anna")
    await charge_fees(tenancy.database, organisation_id, JULY, at=IN_AUGUST, operator="anna")
    await balance_until(tenancy, SEPTEMBER)
    await run_sql(database_url, "UPDATE bill SET paid_units = 1")
    await run_sql(database_url, "UPDATE debt_plan SET amount_units = 40000")
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        problems = await check_books(uow, organisation_id)
    assert ["bill EAST-B2026" in line for line in problems] == [True, False]
    assert problems[1].startswith("debt plan old of account A0: 5.0000 of 4.0000 CNY")
