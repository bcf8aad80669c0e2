import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from meterplex.db import Database, migrations
from meterplex.db.partitions import MONTHS_BACK, Month
from meterplex.domain.readings import Reading
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT

if TYPE_CHECKING:
    from tests.conftest import Estate

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


async def partitions(url: str) -> dict[str, int]:
    """Return how many readings each partition holds."""
    async with migrations.transaction(url) as connection:
        names = sa.text(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'reading'::regclass"
        )
        found = list((await connection.execute(names)).scalars())
        return {
            name: (
                await connection.execute(sa.select(sa.func.count()).select_from(sa.table(name)))
            ).scalar_one()
            for name in found
        }


async def store(database: Database, estate: "Estate", *times: datetime) -> None:
    async with database.unit_of_work() as uow:
        readings = [
            Reading(estate.meters[0].id, ACTIVE_ENERGY_IMPORT, at, Decimal(1)) for at in times
        ]
        await uow.readings.store(estate.organisation.id, readings, received_at=NOON)
        await uow.commit()


@pytest.fixture
def database_url(postgres_database_url: str) -> str:
    return postgres_database_url


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        pytest.param(Month(2026, 11), 1, Month(2026, 12), id="in-the-year"),
        pytest.param(Month(2026, 12), 1, Month(2027, 1), id="over-the-year"),
        pytest.param(Month(2026, 1), -1, Month(2025, 12), id="back-over-the-year"),
        pytest.param(Month(2026, 1), -24, Month(2024, 1), id="two-years-back"),
    ],
)
def test_months_are_counted(start: Month, months: int, end: Month) -> None:
    assert start.plus(months) == end


def test_month_is_of_utc() -> None:
    assert Month.of(datetime.fromisoformat("2026-12-01T07:59:59+08:00")) == Month(2026, 11)


@pytest.mark.integration
async def test_this_and_the_next_month_are_made_ahead(
    database: Database, database_url: str
) -> None:
    await database.make_partitions(NOON, NOON, now=NOON)
    assert await partitions(database_url) == {
        "reading_default": 0,
        "reading_2026_11": 0,
        "reading_2026_12": 0,
    }


@pytest.mark.integration
async def test_reading_goes_to_the_partition_of_its_month(
    database: Database, database_url: str, estate: "Estate"
) -> None:
    edges = [datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)]
    await database.make_partitions(*edges, now=NOON)
    await store(database, estate, *edges, edges[1] - timedelta(microseconds=1))
    held = await partitions(database_url)
    assert (held["reading_2026_11"], held["reading_2026_12"]) == (2, 1)


@pytest.mark.integration
async def test_reading_without_a_partition_is_kept_and_moves_when_there_is_one(
    database: Database, database_url: str, estate: "Estate"
) -> None:
    await store(database, estate, NOON)
    assert await partitions(database_url) == {"reading_default": 1}
    await database.make_partitions(NOON, NOON, now=NOON)
    held = await partitions(database_url)
    assert (held["reading_default"], held["reading_2026_11"]) == (0, 1)
    assert await migrations.check(database_url) == ()


@pytest.mark.integration
async def test_wrong_clock_makes_no_partitions(database: Database, database_url: str) -> None:
    this = Month.of(NOON)
    await database.make_partitions(
        datetime(1970, 1, 1, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC), now=NOON
    )
    months = {this.plus(n).partition for n in range(-MONTHS_BACK, 2)}
    assert set(await partitions(database_url)) == {"reading_default", *months}


@pytest.mark.integration
async def test_partition_that_cannot_be_made_now_is_made_a_minute_later(
    database: Database, database_url: str, estate: "Estate"
) -> None:
    async with database.unit_of_work(read_only=True) as uow:
        await uow.readings.latest(estate.organisation.id)
        await database.make_partitions(NOON, NOON, now=NOON)
        assert set(await partitions(database_url)) == {"reading_default"}
    await database.make_partitions(NOON, NOON, now=NOON + timedelta(seconds=59))
    assert set(await partitions(database_url)) == {"reading_default"}
    await database.make_partitions(NOON, NOON, now=NOON + timedelta(seconds=60))
    assert "reading_2026_11" in await partitions(database_url)


@pytest.mark.integration
async def test_two_programs_make_the_same_partition_once(database_url: str) -> None:
    async with (
        await Database.open(database_url) as one,
        await Database.open(database_url) as other,
    ):
        await asyncio.gather(
            one.make_partitions(NOON, NOON, now=NOON), other.make_partitions(NOON, NOON, now=NOON)
        )
    assert len(await partitions(database_url)) == 3


@pytest.mark.integration
async def test_history_reads_over_the_edge_of_a_month(
    database: Database, database_url: str, estate: "Estate"
) -> None:
    edge = datetime(2026, 12, 1, tzinfo=UTC)
    hour = timedelta(hours=1)
    await database.make_partitions(edge - hour, edge + hour, now=NOON)
    await store(database, estate, edge - hour, edge, edge + hour)
    async with database.unit_of_work(read_only=True) as uow:
        readings = await uow.readings.history(
            estate.organisation.id,
            estate.meters[0].id,
            ACTIVE_ENERGY_IMPORT,
            edge - hour,
            edge + 2 * hour,
        )
    assert [reading.read_at for reading in readings] == [edge - hour, edge, edge + hour]
