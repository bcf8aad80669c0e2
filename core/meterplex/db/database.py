"""The database: opened once by the program, it hands out units of work."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import datetime
from types import TracebackType
from typing import Final, Self

import msgspec
import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from meterplex.db.errors import DatabaseUnavailableError, DatabaseUrlError, translate
from meterplex.db.partitions import ReadingPartitions
from meterplex.db.unit_of_work import UnitOfWork

_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_WAIT_S: Final = 30
_SERVER_SETTINGS: Final = {
    "application_name": "meterplex",
    "jit": "off",  # compiling a query over many partitions takes longer than our queries run
}


def driver_url(url: str) -> sa.URL:
    """Return the URL with its asynchronous driver.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or
            ``postgresql://user:password@host:port/name``.

    Raises:
        DatabaseUrlError: it is of another kind, or of a database in memory.
    """
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError as error:
        raise DatabaseUrlError(f"database URL {url!r}: {error}") from error
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise DatabaseUrlError(
            f"database URL of kind {parsed.drivername!r}: expected sqlite:///path or postgresql://"
        )
    if parsed.drivername == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise DatabaseUrlError("database URL sqlite://: a file is needed, sqlite:///path")
    return parsed.set(drivername=driver)


def touch_file(url: sa.URL) -> None:
    """See that the file of an SQLite database is one; make it when there is none.

    aiosqlite leaves a thread behind when it cannot open a file, so it is tried here first.

    Raises:
        DatabaseUnavailableError: it cannot be opened.
    """
    path = url.database or ""
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        raise DatabaseUnavailableError(f"{path}: {error}") from error


class Database:
    """An open database.

    On SQLite one connection writes, and the writers of this program take it in the order in which
    they came: a pool would give it back to whoever asks again at once. Others read what was last
    committed. On PostgreSQL all come from one pool.
    """

    def __init__(
        self, writers: AsyncEngine, readers: AsyncEngine, partitions: ReadingPartitions | None
    ) -> None:
        self._writers = writers
        self._readers = readers
        self._partitions = partitions
        self._turn = asyncio.Lock() if partitions is None else None

    @classmethod
    async def open(cls, url: str, *, connections_max: int = 10) -> Self:
        """Open a database and see that it answers.

        Raises:
            DatabaseUrlError: see :func:`driver_url`.
            DatabaseUnavailableError: it does not answer.
        """
        parsed = driver_url(url)
        if parsed.get_backend_name() == "sqlite":
            touch_file(parsed)
            writers = create_engine(parsed)
            readers = create_engine(parsed, connections=connections_max, read_only=True)
            database = cls(writers, readers, None)
        else:
            writers = create_engine(parsed, connections=connections_max)
            readers = writers.execution_options(postgresql_readonly=True)
            database = cls(writers, readers, ReadingPartitions(parsed))
        try:
            async with database._writers.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
        except (exc.SQLAlchemyError, OSError) as error:
            await database.close()
            raise translate(error) from error
        return database

    async def close(self) -> None:
        """Close all connections."""
        await self._writers.dispose()
        await self._readers.dispose()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    async def make_partitions(self, earliest: datetime, latest: datetime, *, now: datetime) -> None:
        """Make room for readings of the months from ``earliest`` to ``latest``, and of the next.

        Cheap when there is room, as nearly always; nothing on SQLite. To be called before a unit
        of work, not inside: a partition cannot be made beside a transaction that has looked at
        readings. It may be left out: readings then wait in the default partition.

        Raises:
            DatabaseError: the database does not answer.
        """
        if self._partitions is not None:
            await self._partitions.cover(earliest, latest, now)

    @property
    def writes_at_once(self) -> bool:
        """Whether several units of work can write at a time."""
        return self._turn is None

    def unit_of_work(self, *, read_only: bool = False) -> UnitOfWork:
        """Return a new unit of work, to be entered with ``async with``.

        A writing one on SQLite holds the file's only write lock from its beginning: keep it short,
        and never open a second one inside it. A read-only one takes no lock and cannot write.
        """
        if read_only:
            return UnitOfWork(self._readers)
        return UnitOfWork(self._writers, self._turn)


def create_engine(url: sa.URL, *, connections: int = 1, read_only: bool = False) -> AsyncEngine:
    """Return an engine on which a transaction is what its database calls one."""
    on_sqlite = url.get_backend_name() == "sqlite"
    engine = create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_WAIT_S,
        pool_pre_ping=not on_sqlite,
        json_deserializer=msgspec.json.decode,
        connect_args={} if on_sqlite else {"server_settings": _SERVER_SETTINGS},
    )
    if on_sqlite:
        _make_strict(engine, read_only=read_only)
    return engine


def _make_strict(engine: AsyncEngine, *, read_only: bool) -> None:
    """Let SQLAlchemy, not the SQLite driver, begin transactions; make them durable and checked."""

    def configure(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA busy_timeout = {_WAIT_S * 1000}")
        cursor.execute(f"PRAGMA query_only = {int(read_only)}")
        cursor.close()

    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    event.listen(engine.sync_engine, "connect", configure)
    event.listen(engine.sync_engine, "begin", begin)
