import pytest
import sqlalchemy as sa

from meterplex.db import Database, migrations
from meterplex.db.errors import DatabaseError
from meterplex.db.tables import metadata


async def tables_of(url: str) -> set[str]:
    async with migrations.transaction(url) as connection:
        names = await connection.run_sync(lambda each: sa.inspect(each).get_table_names())
    return set(names) - {"alembic_version"}


async def test_empty_database_is_told_to_upgrade(empty_database_url: str) -> None:
    (line,) = await migrations.check(empty_database_url)
    assert "has no schema" in line
    assert "meterplex db upgrade" in line


async def test_upgrade_from_empty_gives_the_schema_of_the_models(empty_database_url: str) -> None:
    await migrations.upgrade(empty_database_url)
    assert await migrations.current(empty_database_url) == migrations.head()
    assert await migrations.check(empty_database_url) == ()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE site ADD COLUMN colour TEXT",
        "DROP INDEX uq_binding_open_meter",
        "DROP TABLE reading_run_meter",
    ],
)
async def test_check_names_what_differs_from_the_models(database_url: str, change: str) -> None:
    async with migrations.transaction(database_url) as connection:
        await connection.execute(sa.text(change))
    differences = await migrations.check(database_url)
    assert differences
    assert change.split()[2] in " ".join(differences)


async def test_downgrade_by_one_takes_back_what_the_last_revision_made(database_url: str) -> None:
    await migrations.downgrade(database_url, "-1")
    assert not await tables_of(database_url) & set(metadata.tables)
    await migrations.upgrade(database_url)
    assert await migrations.check(database_url) == ()


async def test_upgrade_that_fails_leaves_nothing(empty_database_url: str) -> None:
    async with migrations.transaction(empty_database_url) as connection:
        await connection.execute(sa.text("CREATE TABLE audit_entry (mine TEXT)"))
    with pytest.raises(DatabaseError):
        await migrations.upgrade(empty_database_url)
    assert await tables_of(empty_database_url) == {"audit_entry"}
    assert await migrations.current(empty_database_url) is None


async def test_upgrade_of_an_upgraded_database_changes_nothing(
    database: Database, database_url: str
) -> None:
    await migrations.upgrade(database_url)
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.organisations.all() == ()
