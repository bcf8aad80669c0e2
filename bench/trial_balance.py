"""The books after 100,000 random operations: all balances sum to zero, in the time of a tea."""

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import make_estate, store_estate
from tests.services.random_books import RandomOffice

from bench.figures import Figure
from meterplex.db import Database, migrations
from meterplex.services.books.check_books import check_books

OPERATIONS = 100_000
STEPS = 20
ACCOUNTS = 100
TEN_MINUTES_S = 600


async def measure(file: Path) -> tuple[float, int]:
    """Return the seconds that the operations took, and how many things are wrong after them."""
    url = f"sqlite:///{file}"
    await migrations.upgrade(url)
    async with await Database.open(url) as database:
        estate = make_estate()
        await store_estate(database, estate)
        office = RandomOffice(database, estate.site, seed=1)
        await office.open(ACCOUNTS)
        began, problems = time.perf_counter(), 0
        for _ in range(STEPS):
            await office.work(OPERATIONS // STEPS)
            problems += len(await office.problems())
        took_s = time.perf_counter() - began
        async with database.unit_of_work(read_only=True) as uow:
            problems += len(await check_books(uow, estate.organisation.id))
    return took_s, problems


def run() -> list[Figure]:
    """Work at random, and check the books at each twentieth and at the end."""
    with TemporaryDirectory() as folder:
        took_s, problems = asyncio.run(measure(Path(folder) / "books.sqlite"))
    detail = f"{OPERATIONS} operations on {ACCOUNTS} accounts, SQLite, in {took_s:.0f} s"
    return [
        Figure("things wrong with the books", problems, "lines", at_most=0, detail=detail),
        Figure("random operations", took_s, "s", at_most=TEN_MINUTES_S, detail=detail),
    ]
