import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import sqlalchemy as sa

from meterplex.db import Database, migrations
from meterplex.db.database import driver_url
from meterplex.db.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    DatabaseUrlError,
    ReadOnlyError,
    SchemaError,
    TransactionConflictError,
)
from meterplex.domain.estate import Meter, Organisation, OrganisationId

if TYPE_CHECKING:
    from tests.conftest import Estate, PostgresCluster

OTHER = OrganisationId(UUID(int=1))


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///meterplex.db", "sqlite+aiosqlite:///meterplex.db"),
        ("sqlite:////var/lib/m.db", "sqlite+aiosqlite:////var/lib/m.db"),
        ("postgresql://me:pw@db:5433/m", "postgresql+asyncpg://me:pw@db:5433/m"),
    ],
)
def test_url_gets_its_driver(url: str, driver: str) -> None:
    assert driver_url(url).render_as_string(hide_password=False) == driver


@pytest.mark.parametrize(
    "url", ["", "meterplex.db", "mysql://db/m", "sqlite://", "sqlite:///:memory:", "sqlite+x:///a"]
)
def test_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(DatabaseUrlError, match="database URL"):
        driver_url(url)


def test_refused_url_does_not_show_a_password() -> None:
    with pytest.raises(DatabaseUrlError) as refused:
        driver_url("mysql://me:geheim@db/m")
    assert "geheim" not in str(refused.value)


async def test_committed_work_is_seen_by_others(database: Database, estate: "Estate") -> None:
    async with database.unit_of_work() as uow:
        await uow.organisations.add(replace(estate.organisation, id=OTHER, name="Other"))
        async with database.unit_of_work(read_only=True) as reader:
            assert len(await reader.organisations.all()) == 1
        await uow.commit()
    async with database.unit_of_work(read_only=True) as reader:
        assert len(await reader.organisations.all()) == 2


async def test_left_without_commit_nothing_happened(database: Database, estate: "Estate") -> None:
    other = replace(estate.organisation, id=OTHER)
    async with database.unit_of_work() as uow:
        await uow.organisations.add(other)
    with pytest.raises(RuntimeError, match="on purpose"):
        await add_and_fail(database, other)
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.organisations.all() == (estate.organisation,)


async def add_and_fail(database: Database, other: Organisation) -> None:
    async with database.unit_of_work() as uow:
        await uow.organisations.add(other)
        raise RuntimeError("on purpose")


async def test_unit_of_work_ends_with_its_commit(database: Database) -> None:
    async with database.unit_of_work() as uow:
        await uow.commit()
        with pytest.raises(DatabaseError, match="has ended"):
            await uow.organisations.all()


async def test_read_only_unit_of_work_cannot_write(database: Database, estate: "Estate") -> None:
    async with database.unit_of_work(read_only=True) as uow:
        with pytest.raises(ReadOnlyError):
            await uow.organisations.add(replace(estate.organisation, id=OTHER))
    async with database.unit_of_work() as uow:
        await uow.organisations.add(replace(estate.organisation, id=OTHER))
        await uow.commit()


async def test_reader_does_not_wait_for_a_writer(database: Database, estate: "Estate") -> None:
    async with database.unit_of_work() as writer:
        await writer.meters.set_flags(
            estate.organisation.id, estate.meters[0].id, frozenset({"alarm_1"})
        )
        async with asyncio.timeout(5), database.unit_of_work(read_only=True) as reader:
            meter = await reader.meters.get(estate.organisation.id, estate.meters[0].id)
    assert meter.flags == frozenset()


async def test_many_writers_wait_in_line(database: Database, estate: "Estate") -> None:
    async def raise_flag(name: str) -> None:
        async with database.unit_of_work() as uow:
            meters = await uow.meters.by_ids(estate.organisation.id, [estate.meters[0].id])
            assert meters
            await uow.meters.set_flags(
                estate.organisation.id, estate.meters[0].id, frozenset({name})
            )
            await uow.commit()

    await asyncio.gather(*(raise_flag(f"f{n}") for n in range(30)))


async def test_database_without_schema_says_what_to_run(empty_database_url: str) -> None:
    async with (
        await Database.open(empty_database_url) as database,
        database.unit_of_work(read_only=True) as uow,
    ):
        with pytest.raises(SchemaError, match="meterplex db upgrade"):
            await uow.organisations.all()


async def test_missing_folder_is_unavailable(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'missing' / 'm.db'}"
    with pytest.raises(DatabaseUnavailableError, match=r"missing/m\.db"):
        await Database.open(url)
    with pytest.raises(DatabaseUnavailableError, match=r"missing/m\.db"):
        await migrations.upgrade(url)


async def test_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database at all, but long enough to be read as one" * 40)
    with pytest.raises(DatabaseUnavailableError, match="not a database"):
        await Database.open(f"sqlite:///{path}")


@pytest.mark.parametrize(
    "url",
    ["postgresql://me@127.0.0.1:1/m", "postgresql://me@/m?host=/nowhere"],
    ids=["nobody-listens", "no-socket"],
)
async def test_server_that_is_away_is_unavailable(url: str) -> None:
    with pytest.raises(DatabaseUnavailableError):
        await Database.open(url)


@pytest.mark.integration
async def test_missing_database_is_unavailable(postgres_cluster: "PostgresCluster") -> None:
    with pytest.raises(DatabaseUnavailableError, match="nowhere"):
        await Database.open(postgres_cluster.url("nowhere"))


@pytest.mark.integration
async def test_connection_that_was_cut_is_unavailable_and_the_next_one_works(
    postgres_database_url: str, postgres_cluster: "PostgresCluster"
) -> None:
    async with await Database.open(postgres_database_url) as database:
        async with database.unit_of_work() as uow:
            await uow.organisations.all()
            await postgres_cluster.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            with pytest.raises(DatabaseUnavailableError):
                await uow.organisations.all()
        async with database.unit_of_work() as uow:
            assert await uow.organisations.all() == ()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)],
)
async def test_sqlite_is_durable_and_checked(
    sqlite_database_url: str, pragma: str, value: str | int
) -> None:
    async with migrations.transaction(sqlite_database_url) as connection:
        assert (await connection.execute(sa.text(f"PRAGMA {pragma}"))).scalar_one() == value


@pytest.mark.parametrize(
    "database_url", [pytest.param("postgresql", marks=pytest.mark.integration)], indirect=True
)
async def test_deadlock_ends_one_of_two_and_says_to_try_again(
    database: Database, estate: "Estate"
) -> None:
    both_hold_one = asyncio.Barrier(2)

    async def flag(first: Meter, second: Meter) -> None:
        async with database.unit_of_work() as uow:
            await uow.meters.set_flags(first.organisation_id, first.id, frozenset({"alarm_1"}))
            await both_hold_one.wait()
            await uow.meters.set_flags(second.organisation_id, second.id, frozenset({"alarm_1"}))
            await uow.commit()

    one, two, _ = estate.meters
    ends = await asyncio.gather(flag(one, two), flag(two, one), return_exceptions=True)
    assert [type(end) for end in ends if end is not None] == [TransactionConflictError]


async def test_writers_of_one_program_come_in_the_order_in_which_they_asked(
    sqlite_database_url: str,
) -> None:
    served: list[str] = []

    async def write(database: Database, name: str, times: int) -> None:
        for _ in range(times):
            async with database.unit_of_work():
                served.append(name)
                await asyncio.sleep(0.01)

    async with await Database.open(sqlite_database_url) as database:
        greedy = asyncio.create_task(write(database, "greedy", 5))
        await asyncio.sleep(0.001)
        await asyncio.gather(write(database, "patient", 1), greedy)
    assert served.index("patient") <= 1
