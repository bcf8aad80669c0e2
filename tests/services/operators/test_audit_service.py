from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from meterplex.db import Database, migrations
from meterplex.services.operators import audit

if TYPE_CHECKING:
    from tests.conftest import Estate

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


async def record(database: Database, estate: "Estate", count: int) -> None:
    async with database.unit_of_work() as uow:
        for number in range(count):
            await audit.record(
                uow,
                estate.organisation.id,
                "operator:chen",
                "command.ask",
                f"meter:{number}",
                {"kind": "disconnect"},
                NOON + timedelta(seconds=number),
            )
        await uow.commit()


async def tamper(url: str, *statements: str) -> None:
    """Change the log as one would who owns the database: triggers first."""
    async with migrations.transaction(url) as connection:
        for change in ("update", "delete"):
            of_table = "" if url.startswith("sqlite") else " ON audit_entry"
            await connection.execute(
                sa.text(f"DROP TRIGGER audit_entry_refuses_{change}{of_table}")
            )
        for statement in statements:
            await connection.execute(sa.text(statement))


async def test_log_that_nobody_touched_holds(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    await record(database, estate, 3)
    await record(database, other_estate, 2)
    assert await audit.verify(database, estate.organisation.id) is None
    assert await audit.verify(database, other_estate.organisation.id) is None


async def test_empty_log_holds(database: Database, estate: "Estate") -> None:
    assert await audit.verify(database, estate.organisation.id) is None


@pytest.mark.parametrize(
    ("statement", "sequence"),
    [
        ("UPDATE audit_entry SET operator = 'operator:wang' WHERE sequence = 2", 2),
        ("DELETE FROM audit_entry WHERE sequence = 2", 2),
        ("DELETE FROM audit_entry WHERE sequence = 1", 1),
        ("UPDATE audit_entry SET hash = previous_hash WHERE sequence = 3", 3),
    ],
)
async def test_tampering_is_found_where_it_was_done(
    database: Database, database_url: str, estate: "Estate", statement: str, sequence: int
) -> None:
    await record(database, estate, 4)
    await tamper(database_url, statement)
    fault = await audit.verify(database, estate.organisation.id)
    assert fault is not None
    assert fault.sequence == sequence


async def test_long_log_is_verified_in_batches(
    database: Database, database_url: str, estate: "Estate", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_BATCH", 4)
    await record(database, estate, 10)
    assert await audit.verify(database, estate.organisation.id) is None
    await tamper(database_url, "UPDATE audit_entry SET action = 'x' WHERE sequence = 9")
    fault = await audit.verify(database, estate.organisation.id)
    assert fault is not None
    assert fault.sequence == 9


async def test_record_goes_with_its_transaction(database: Database, estate: "Estate") -> None:
    async with database.unit_of_work() as uow:
        await audit.record(
            uow, estate.organisation.id, "operator:chen", "estate.import", "site:east", {}, NOON
        )
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.audit.last(estate.organisation.id) is None
