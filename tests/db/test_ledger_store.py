"""The ledger in the database: exact, append-only, closed for ever, and never half."""

import asyncio
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import sqlalchemy as sa
from uuid_utils.compat import uuid7

from meterplex.db import Database, UnitOfWork, migrations
from meterplex.db.errors import (
    AppendOnlyError,
    ConflictError,
    DatabaseError,
    InvalidValueError,
    NotFoundError,
)
from meterplex.db.ledger import ClosedPeriod
from meterplex.domain.estate import AccountId, BindingId
from meterplex.domain.ledger import (
    Entry,
    EntryId,
    EntryKind,
    LedgerAccount,
    Posting,
    cash,
    refund_payable,
    revenue,
    reverse,
    transit,
)
from meterplex.services.books.book_entries import book, find_discrepancies

if TYPE_CHECKING:
    from tests.conftest import Estate

AT = datetime(2026, 7, 1, 8, tzinfo=UTC)
JULY, AUGUST = date(2026, 7, 1), date(2026, 8, 1)
TILL, EARNED = cash("cash"), revenue("electricity")
SOLD = transit(BindingId(UUID(int=5)))


def entry(estate: "Estate", *postings: Posting, period: date = JULY) -> Entry:
    return Entry(
        EntryId(uuid7()),
        estate.organisation.id,
        EntryKind.PAYMENT,
        "CNY",
        AT,
        period,
        postings,
        "anna",
    )


async def store(database: Database, *entries: Entry) -> None:
    async with database.unit_of_work() as uow:
        await uow.ledger.add_all(entries)
        await uow.commit()


async def test_entries_come_back_as_they_were_booked(database: Database, estate: "Estate") -> None:
    first = entry(estate, Posting(TILL, SOLD, 1000), Posting(TILL, EARNED, 3))
    second = entry(estate, Posting(SOLD, EARNED, 400))
    await store(database, first, second)
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.ledger.get(estate.organisation.id, first.id) == first
        assert await uow.ledger.get(estate.organisation.id, second.id) == second
        assert await uow.ledger.trial_balance(estate.organisation.id, "CNY") == {
            TILL: -1003,
            EARNED: 403,
            SOLD: 600,
        }
        assert await find_discrepancies(uow, estate.organisation.id) == ()


async def test_entry_is_seen_by_its_organisation_only(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    booked = entry(estate, Posting(TILL, SOLD, 1000))
    await store(database, booked)
    async with database.unit_of_work(read_only=True) as uow:
        with pytest.raises(NotFoundError):
            await uow.ledger.get(other_estate.organisation.id, booked.id)
        assert await uow.ledger.trial_balance(other_estate.organisation.id, "CNY") == {}


async def test_entry_is_reversed_once(database: Database, estate: "Estate") -> None:
    booked = entry(estate, Posting(TILL, SOLD, 1000))
    await store(database, booked, reverse(booked, EntryId(uuid7()), AT, JULY, "bert"))
    with pytest.raises(ConflictError):
        await store(database, reverse(booked, EntryId(uuid7()), AT, JULY, "bert"))


@pytest.mark.parametrize("source", [SOLD, refund_payable(AccountId(UUID(int=6)))], ids=str)
async def test_account_that_may_not_fall_below_zero_does_not(
    database: Database, estate: "Estate", source: LedgerAccount
) -> None:
    await store(database, entry(estate, Posting(TILL, source, 5)))
    with pytest.raises(InvalidValueError):
        await store(database, entry(estate, Posting(source, EARNED, 6)))
    async with database.unit_of_work(read_only=True) as uow:
        assert await find_discrepancies(uow, estate.organisation.id) == ()


async def test_entries_of_many_tasks_at_once_all_count(
    database: Database, estate: "Estate"
) -> None:
    await asyncio.gather(
        *(store(database, entry(estate, Posting(TILL, SOLD, amount))) for amount in range(1, 41))
    )
    async with database.unit_of_work(read_only=True) as uow:
        balances = await uow.ledger.trial_balance(estate.organisation.id, "CNY")
        assert balances == {TILL: -820, SOLD: 820}
        assert await find_discrepancies(uow, estate.organisation.id) == ()


async def test_balance_that_was_locked_is_still_true_when_it_is_used(
    database: Database, estate: "Estate"
) -> None:
    await store(database, entry(estate, Posting(TILL, SOLD, 100)))

    async def take(amount: int) -> bool:
        async with database.unit_of_work() as uow:
            held = await uow.ledger.lock(estate.organisation.id, "CNY", [SOLD])
            if held[SOLD] < amount:
                return False
            await uow.ledger.add(entry(estate, Posting(SOLD, EARNED, amount)))
            await uow.commit()
        return True

    assert sum(await asyncio.gather(*(take(30) for _ in range(10)))) == 3


CLOSED = ClosedPeriod(JULY, AT, "anna", {"cash:cash": -5, f"{SOLD}": 5})


async def test_closed_period_takes_nothing_any_more(database: Database, estate: "Estate") -> None:
    booked = entry(estate, Posting(TILL, SOLD, 5))
    await store(database, booked)
    async with database.unit_of_work() as uow:
        await uow.ledger.close_period(estate.organisation.id, CLOSED)
        await uow.commit()
    with pytest.raises(AppendOnlyError, match="the period is closed"):
        await store(database, entry(estate, Posting(TILL, SOLD, 1)))
    await store(database, entry(estate, Posting(TILL, SOLD, 1), period=AUGUST))
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.ledger.closed_periods(estate.organisation.id) == (CLOSED,)
        summed = await uow.ledger.summed(estate.organisation.id, "CNY", until=AUGUST)
        assert summed == {TILL: -5, SOLD: 5}


async def test_period_is_closed_once(database: Database, estate: "Estate") -> None:
    async with database.unit_of_work() as uow:
        await uow.ledger.close_period(estate.organisation.id, CLOSED)
        await uow.commit()
    async with database.unit_of_work() as uow:
        with pytest.raises(ConflictError):
            await uow.ledger.close_period(estate.organisation.id, CLOSED)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger_posting SET amount_units = 1",
        "UPDATE ledger_entry SET operator = 'mallory'",
        "DELETE FROM ledger_posting",
        "DELETE FROM ledger_entry",
        "DELETE FROM ledger_period",
        "INSERT INTO ledger_posting SELECT organisation_id, entry_id, 7, debit_id, credit_id, "
        "currency, 1 FROM ledger_posting",
    ],
)
async def test_raw_sql_cannot_change_the_books(
    database: Database, database_url: str, estate: "Estate", change: str
) -> None:
    await store(database, entry(estate, Posting(TILL, SOLD, 5)))
    async with database.unit_of_work() as uow:
        await uow.ledger.close_period(estate.organisation.id, CLOSED)
        await uow.commit()
    with pytest.raises(DatabaseError, match="append-only"):
        async with migrations.transaction(database_url) as connection:
            await connection.execute(sa.text(change))


@pytest.mark.parametrize(
    "column", ["amount_units = 0", "amount_units = -5", "debit_id = credit_id"]
)
async def test_database_refuses_postings_that_are_none(
    database: Database, database_url: str, estate: "Estate", column: str
) -> None:
    await store(database, entry(estate, Posting(TILL, SOLD, 5)))
    name, value = column.split(" = ")
    columns = ["organisation_id", "entry_id", "9", "debit_id", "credit_id", "currency", "7"]
    chosen = {"amount_units": 6, "debit_id": 3}[name]
    columns[chosen] = value
    with pytest.raises(DatabaseError):
        async with migrations.transaction(database_url) as connection:
            await connection.execute(
                sa.text(
                    f"INSERT INTO ledger_posting SELECT {', '.join(columns)} FROM ledger_posting"
                )
            )


async def test_kept_balance_that_was_tampered_with_is_found(
    database: Database, database_url: str, estate: "Estate"
) -> None:
    await store(database, entry(estate, Posting(TILL, SOLD, 5)))
    async with migrations.transaction(database_url) as connection:
        await connection.execute(sa.text("UPDATE ledger_account SET balance_units = 6"))
    async with database.unit_of_work(read_only=True) as uow:
        found = await find_discrepancies(uow, estate.organisation.id)
    assert found == (
        "cash:cash: balance 0.0006, its postings sum to -0.0005 CNY",
        f"{SOLD}: balance 0.0006, its postings sum to 0.0005 CNY",
    )


@pytest.mark.parametrize(
    ("at", "period"),
    [
        (datetime(2026, 7, 31, 15, 59, tzinfo=UTC), JULY),
        (datetime(2026, 7, 31, 16, tzinfo=UTC), AUGUST),  # midnight in Shanghai
    ],
)
async def test_entry_counts_for_the_month_of_its_site(
    database: Database, estate: "Estate", at: datetime, period: date
) -> None:
    async with database.unit_of_work() as uow:
        booked = await _book(uow, estate, at)
        assert booked is not None
        assert booked.period == period
        await uow.commit()


async def test_what_is_late_is_booked_in_the_open_period(
    database: Database, estate: "Estate"
) -> None:
    async with database.unit_of_work() as uow:
        await uow.ledger.close_period(estate.organisation.id, CLOSED)
        await uow.commit()
    async with database.unit_of_work() as uow:
        booked = await _book(uow, estate, AT)
        assert booked is not None
        assert booked.period == AUGUST
        await uow.commit()


async def test_nothing_to_post_books_nothing(database: Database, estate: "Estate") -> None:
    async with database.unit_of_work() as uow:
        booked = await book(
            uow, estate.site, EntryKind.CHARGE, (), currency="CNY", at=AT, operator="anna"
        )
    assert booked is None


async def _book(uow: UnitOfWork, estate: "Estate", at: datetime) -> Entry | None:
    return await book(
        uow,
        estate.site,
        EntryKind.PAYMENT,
        (Posting(TILL, SOLD, 5),),
        currency="CNY",
        at=at,
        operator="anna",
    )
