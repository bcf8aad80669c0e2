import asyncio
from argparse import Namespace
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import meterplex
from meterplex.db import Database, migrations
from meterplex.db.errors import AppendOnlyError, DatabaseError
from meterplex.db.migrations_locator import migrations_dir
from meterplex.db.tables import metadata
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT


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


async def test_downgrade_goes_back_revision_by_revision(database_url: str) -> None:
    left = [await tables_of(database_url)]
    while await migrations.current(database_url) is not None:
        await migrations.downgrade(database_url, "-1")
        left.append(await tables_of(database_url))
    assert all(after < before for before, after in pairwise(left))
    assert not left[-1] & set(metadata.tables)
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


@pytest.mark.parametrize(
    ("package", "place"),
    [
        pytest.param("site-packages/meterplex", "site-packages/meterplex/migrations", id="wheel"),
        pytest.param("core/meterplex", "migrations", id="checkout"),
    ],
)
def test_scripts_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, place: str
) -> None:
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "env.py").touch()
    monkeypatch.setattr(meterplex, "__file__", str(tmp_path / package / "__init__.py"))
    assert migrations_dir() == tmp_path / place


def test_missing_scripts_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meterplex, "__file__", str(tmp_path / "core/meterplex/__init__.py"))
    with pytest.raises(FileNotFoundError, match="core/meterplex/migrations"):
        migrations_dir()


async def test_alembic_works_by_itself(empty_database_url: str) -> None:
    config = Config(cmd_opts=Namespace(x=[f"url={empty_database_url}"]))
    config.set_main_option("script_location", str(migrations_dir()))
    await asyncio.to_thread(command.upgrade, config, "head")
    assert await migrations.check(empty_database_url) == ()


async def test_two_upgrades_at_once_follow_each_other(empty_database_url: str) -> None:
    await asyncio.gather(*(migrations.upgrade(empty_database_url) for _ in range(3)))
    assert await migrations.check(empty_database_url) == ()


async def test_register_type_that_is_in_use_cannot_be_changed_in_the_database(
    database: Database, database_url: str
) -> None:
    async with database.unit_of_work() as uow:
        await uow.registers.ensure([ACTIVE_ENERGY_IMPORT])
        await uow.commit()
    with pytest.raises(AppendOnlyError):
        async with migrations.transaction(database_url) as connection:
            await connection.execute(sa.text("UPDATE register_type SET resolution_exponent = -2"))
