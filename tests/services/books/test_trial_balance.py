"""Whatever an office does, all balances sum to zero and agree with their postings.

The full run of 100,000 operations is ``make bench``'s; here is a sample.
"""

from collections.abc import AsyncIterator

import pytest
from tests.conftest import make_estate, store_estate
from tests.services.random_books import RandomOffice

from meterplex.db import Database
from meterplex.services.books.check_books import check_books

OPERATIONS = 2000
STEPS = 8


@pytest.fixture
async def office(sqlite_database_url: str) -> AsyncIterator[RandomOffice]:
    async with await Database.open(sqlite_database_url) as database:
        estate = make_estate()
        await store_estate(database, estate)
        office = RandomOffice(database, estate.site, seed=2026)
        await office.open(12)
        yield office


async def test_balances_sum_to_zero_after_random_operations(office: RandomOffice) -> None:
    for _ in range(STEPS):
        await office.work(OPERATIONS // STEPS)
        assert await office.problems() == ()
    assert (office.done, office.dropped > 0) == (OPERATIONS, True)
    async with office.database.unit_of_work(read_only=True) as uow:
        organisation_id = office.site.organisation_id
        kinds = {
            entry.kind
            for account in office.accounts
            for entry in await uow.ledger.of_account(organisation_id, account.id)
        }
        assert await check_books(uow, organisation_id) == ()
        bills = await uow.bills.all(organisation_id)
    assert len(kinds) == 12
    assert sorted(bill.number for bill in bills) == [
        f"EAST-B2026-{number:06d}" for number in range(1, len(bills) + 1)
    ]
    assert any(bill.paid_units for bill in bills)
