"""Schema revisions: upgrade, downgrade, and whether a database is what this program needs.

Every call is one transaction. On PostgreSQL two programs that upgrade at once follow each other.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection

from meterplex.db.database import create_engine, driver_url, touch_file
from meterplex.db.errors import SchemaError, translate
from meterplex.db.migrations_locator import migrations_dir
from meterplex.db.tables import metadata

_PARTITION: Final = re.compile(r"reading_(default|\d{4}_\d{2})")
_UPGRADE_LOCK: Final = 0x6D706C78  # "mplx"


def _is_compared(
    item: object, name: str | None, kind: str, reflected: bool, compare_to: object
) -> bool:
    """Leave the partitions out: they are made as time goes on, not by revisions."""
    return not (kind == "table" and name is not None and _PARTITION.fullmatch(name))


SCHEMA_OPTIONS: Final[dict[str, Any]] = {
    "compare_type": True,
    "include_object": _is_compared,
    "render_as_batch": True,
}
"""How migrations are run and compared; ``env.py`` uses the same."""


@asynccontextmanager
async def transaction(url: str) -> AsyncIterator[AsyncConnection]:
    """Open a connection of its own, with one transaction that only one upgrade can hold.

    Raises:
        DatabaseError: the database cannot be reached, or refuses a change.
    """
    parsed = driver_url(url)
    if parsed.get_backend_name() == "sqlite":
        touch_file(parsed)
    engine = create_engine(parsed)
    try:
        async with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
            yield connection
    except (exc.SQLAlchemyError, OSError) as error:
        raise translate(error) from error
    finally:
        await engine.dispose()


async def upgrade(url: str, revision: str = "head") -> None:
    """Bring a database up to a revision, from wherever it is; creates an SQLite file."""
    async with transaction(url) as connection:
        await connection.run_sync(lambda each: command.upgrade(_config(each), revision))


async def downgrade(url: str, revision: str) -> None:
    """Take a database back to a revision: ``-1`` for one step, ``base`` for an empty schema."""
    async with transaction(url) as connection:
        await connection.run_sync(lambda each: command.downgrade(_config(each), revision))


async def current(url: str) -> str | None:
    """Return the revision of a database; None when it has no schema yet."""
    async with transaction(url) as connection:
        return await connection.run_sync(_revision)


def head() -> str:
    """Return the revision that this program needs.

    Raises:
        SchemaError: the scripts have no single newest revision.
    """
    newest = ScriptDirectory(str(migrations_dir())).get_current_head()
    if newest is None:
        raise SchemaError(f"no revisions in {migrations_dir()}")
    return newest


async def check(url: str) -> tuple[str, ...]:
    """Return what is wrong with the schema of a database, one line each; nothing when it fits."""
    async with transaction(url) as connection:
        return await connection.run_sync(_differences)


def _config(connection: sa.Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    return config


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _differences(connection: sa.Connection) -> tuple[str, ...]:
    revision = _revision(connection)
    if revision != head():
        found = "has no schema" if revision is None else f"is at revision {revision}"
        return (f"the database {found}, this program needs {head()}: run meterplex db upgrade",)
    context = MigrationContext.configure(connection, opts=SCHEMA_OPTIONS)
    return tuple(str(difference) for difference in compare_metadata(context, metadata))
