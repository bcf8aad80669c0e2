"""Ingest on PostgreSQL: our idempotent store against raw COPY and against the ORM, in one run.

All three write into the same partitioned, keyed table, one transaction a batch, on a server that
syncs to disk. COPY gets its records ready-made and in key order; the ORM looks each reading up
before it adds it.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from tests.conftest import Estate, PostgresCluster, make_estate

from bench.figures import Figure
from meterplex.db import Database, migrations, tables
from meterplex.db.database import driver_url
from meterplex.domain.readings import Reading
from meterplex.domain.registers import STANDARD_REGISTERS

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
METERS = 324
REGISTERS = 20
PASSES = 3
ORM_READINGS = 2_000
TRIALS = 3


class Base(DeclarativeBase):
    metadata = tables.metadata


class ReadingRow(Base):
    __table__ = tables.reading


def postgres_bin_dir() -> Path:
    program = shutil.which("initdb")
    if program is not None:
        return Path(program).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise SystemExit("PostgreSQL is not installed")
    return found[-1].parent


def batch_of(estate: Estate) -> list[Reading]:
    registers = list(STANDARD_REGISTERS.values())[:REGISTERS]
    return [
        Reading(
            meter.id,
            register,
            NOON + step * timedelta(minutes=30),
            Decimal(100 * number + step) + Decimal("0.25"),
        )
        for step in range(PASSES)
        for number, meter in enumerate(estate.meters)
        for register in registers
    ]


class Trial:
    """One database, one batch, three ways to store it; each returns readings per second."""

    def __init__(self, url: str, estate: Estate, batch: list[Reading]) -> None:
        self.url = url
        self.organisation_id = estate.organisation.id
        self.batch = batch
        self.numbers: dict[str, int] = {}

    async def ours(self, database: Database) -> float:
        async def store() -> None:
            async with database.unit_of_work() as uow:
                await uow.readings.store(self.organisation_id, self.batch, received_at=NOON)
                await uow.commit()

        return await self._rate(store, len(self.batch))

    async def again(self, database: Database) -> float:
        """Store the batch that is already there."""
        started = time.perf_counter()
        async with database.unit_of_work() as uow:
            result = await uow.readings.store(self.organisation_id, self.batch, received_at=NOON)
            await uow.commit()
        assert result.unchanged == len(self.batch)
        return len(self.batch) / (time.perf_counter() - started)

    async def copy(self, connection: asyncpg.Connection) -> float:
        rows = [self._row(reading) for reading in self.batch]
        records = sorted(tuple(row.values()) for row in rows)

        async def store() -> None:
            async with connection.transaction():
                await connection.copy_records_to_table(
                    "reading", records=records, columns=list(rows[0])
                )

        return await self._rate(store, len(records))

    async def orm(self, engine: AsyncEngine) -> float:
        rows = [self._row(reading) for reading in self.batch[:ORM_READINGS]]
        key = [column.name for column in tables.reading.primary_key]

        async def store() -> None:
            async with AsyncSession(engine) as session:
                for row in rows:
                    identity = tuple(row[name] for name in key)
                    if await session.get(ReadingRow, identity) is None:
                        session.add(ReadingRow(**row))
                await session.commit()

        return await self._rate(store, len(rows))

    async def _rate(self, store: Callable[[], Awaitable[None]], count: int) -> float:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute("TRUNCATE reading")
            await connection.execute("CHECKPOINT")
            started = time.perf_counter()
            await store()
            elapsed = time.perf_counter() - started
            stored = await connection.fetchval("SELECT count(*) FROM reading")
        finally:
            await connection.close()
        assert stored == count, f"stored {stored} of {count}"
        return count / elapsed

    def _row(self, reading: Reading) -> dict[str, Any]:
        return {
            "organisation_id": self.organisation_id,
            "meter_id": reading.meter_id,
            "register_id": self.numbers[reading.register.slug],
            "read_at": reading.read_at,
            "revision": 0,
            "value": reading.register.to_steps(reading.value),
            "quality": reading.quality,
            "source": reading.source,
            "reason": reading.reason,
            "received_at": NOON,
        }


async def measure(url: str) -> dict[str, list[float]]:
    """Return the rates of each way, one a trial."""
    estate = make_estate(meters=METERS)
    trial = Trial(url, estate, batch_of(estate))
    rates: dict[str, list[float]] = {"ours": [], "again": [], "copy": [], "orm": []}
    async with await Database.open(url) as database:
        await database.make_partitions(NOON, NOON, now=NOON)
        async with database.unit_of_work() as uow:
            await uow.organisations.add(estate.organisation)
            await uow.sites.add(estate.site)
            await uow.channels.add(estate.channel)
            await uow.meters.add_all(estate.meters)
            trial.numbers = dict(await uow.registers.ensure(STANDARD_REGISTERS.values()))
            await uow.commit()
        connection = await asyncpg.connect(url)
        engine = create_async_engine(driver_url(url))
        for _ in range(TRIALS):
            rates["copy"].append(await trial.copy(connection))
            rates["orm"].append(await trial.orm(engine))
            rates["ours"].append(await trial.ours(database))
            rates["again"].append(await trial.again(database))
        await engine.dispose()
        await connection.close()
    return rates


async def run_on(cluster: PostgresCluster) -> dict[str, float]:
    url = cluster.url(await cluster.create_database())
    await migrations.upgrade(url)
    return {name: median(rates) for name, rates in (await measure(url)).items()}


def run() -> list[Figure]:
    cluster = PostgresCluster(postgres_bin_dir(), durable=True)
    cluster.start()
    try:
        rates = asyncio.run(run_on(cluster))
    finally:
        cluster.stop()
    count = METERS * REGISTERS * PASSES
    load = f"ours {rates['ours']:,.0f}/s; {count:,} readings a transaction"
    return [
        Figure(
            "ingest against the ORM",
            rates["ours"] / rates["orm"],
            "x",
            at_least=10,
            detail=f"ORM {rates['orm']:,.0f}/s, {load}",
        ),
        Figure(
            "ingest against raw COPY",
            rates["ours"] / rates["copy"],
            "x",
            at_least=0.5,
            detail=f"COPY {rates['copy']:,.0f}/s, {load}",
        ),
        Figure(
            "the same batch again, against raw COPY",
            rates["again"] / rates["copy"],
            "x",
            detail=f"{rates['again']:,.0f}/s, nothing changed",
        ),
    ]
