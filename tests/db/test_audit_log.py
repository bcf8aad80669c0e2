import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from meterplex.db import Database, migrations
from meterplex.db.errors import AppendOnlyError, NotFoundError
from meterplex.domain.audit import GENESIS, AuditEntry, AuditRecord, verify
from meterplex.domain.estate import OrganisationId

if TYPE_CHECKING:
    from tests.conftest import Estate

NOW = datetime(2026, 11, 20, 12, 0, 0, 1, tzinfo=UTC)


def record(organisation_id: OrganisationId, number: int = 0) -> AuditRecord:
    return AuditRecord(
        organisation_id,
        NOW + timedelta(seconds=number),
        "operator:chen",
        "command.ask",
        f"meter:{number}",
        {"kind": "disconnect", "名": "值"},
    )


async def append(
    database: Database, organisation_id: OrganisationId, number: int = 0
) -> AuditEntry:
    async with database.unit_of_work() as uow:
        entry = await uow.audit.append(record(organisation_id, number))
        await uow.commit()
    return entry


async def test_entry_comes_back_as_it_was_appended(database: Database, estate: "Estate") -> None:
    first = await append(database, estate.organisation.id)
    assert (first.sequence, first.previous_hash) == (1, GENESIS)
    second = await append(database, estate.organisation.id, 1)
    assert (second.sequence, second.previous_hash) == (2, first.hash)
    async with database.unit_of_work(read_only=True) as uow:
        entries = await uow.audit.entries(estate.organisation.id)
        assert entries == (first, second)
        assert await uow.audit.entries(estate.organisation.id, after=1) == (second,)
        assert await uow.audit.entries(estate.organisation.id, limit=1) == (first,)
        assert await uow.audit.last(estate.organisation.id) == second
    assert verify(entries) is None


async def test_each_organisation_has_its_own_chain(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    await append(database, estate.organisation.id)
    other = await append(database, other_estate.organisation.id)
    assert other.sequence == 1


async def test_organisation_without_entries_has_none(database: Database, estate: "Estate") -> None:
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.audit.last(estate.organisation.id) is None
        assert await uow.audit.entries(estate.organisation.id) == ()


async def test_chain_of_nobody_is_refused(database: Database, estate: "Estate") -> None:
    with pytest.raises(NotFoundError):
        await append(database, OrganisationId(estate.site.id))


async def test_concurrent_writers_leave_no_gap_and_no_fork(
    database: Database, estate: "Estate"
) -> None:
    async def write(number: int) -> None:
        async with database.unit_of_work() as uow:
            await uow.audit.append(record(estate.organisation.id, number))
            if number % 5 != 4:
                await uow.commit()

    await asyncio.gather(*(write(number) for number in range(25)))
    async with database.unit_of_work(read_only=True) as uow:
        entries = await uow.audit.entries(estate.organisation.id)
    assert [entry.sequence for entry in entries] == list(range(1, 21))
    assert verify(entries) is None


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_entry SET operator = 'x'", "DELETE FROM audit_entry"]
)
async def test_database_itself_refuses_to_change_an_entry(
    database: Database, database_url: str, estate: "Estate", statement: str
) -> None:
    entry = await append(database, estate.organisation.id)
    with pytest.raises(AppendOnlyError):
        await run(database_url, statement)
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.audit.entries(estate.organisation.id) == (entry,)


async def run(url: str, statement: str) -> None:
    async with migrations.transaction(url) as connection:
        await connection.execute(sa.text(statement))
