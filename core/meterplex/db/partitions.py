"""Monthly partitions of the readings on PostgreSQL.

They are made before the first reading of a month is stored, the next month's with them, each in
a short transaction of its own. A reading whose month has none goes to the default partition, so
nothing is ever refused, and moves when the partition is made.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from meterplex.db import tables
from meterplex.db.errors import TransactionConflictError, translate

MONTHS_BACK: Final = 24
"""Older ones stay in the default partition: a meter whose clock is wrong makes no partitions."""

_LOCK: Final = 0x6D706C79
_WAIT_MS: Final = 500
_RETRY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month in UTC."""

    year: int
    month: int

    @classmethod
    def of(cls, at: datetime) -> Self:
        """Return the month of a time."""
        utc = at.astimezone(UTC)
        return cls(utc.year, utc.month)

    def plus(self, months: int) -> "Month":
        """Return the month so many months later."""
        year, month = divmod(self.year * 12 + self.month - 1 + months, 12)
        return Month(year, month + 1)

    @property
    def start(self) -> datetime:
        """The month's first instant."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def partition(self) -> str:
        """Name of its partition."""
        return f"reading_{self.year:04}_{self.month:02}"


class ReadingPartitions:
    """Makes the partitions that are missing, and remembers which are there."""

    def __init__(self, url: sa.URL) -> None:
        self._engine: AsyncEngine = create_async_engine(url, poolclass=sa.NullPool)
        self._known: set[str] = set()
        self._not_before = datetime.min.replace(tzinfo=UTC)

    async def cover(self, earliest: datetime, latest: datetime, now: datetime) -> None:
        """Make the partitions of the months from ``earliest`` to ``latest``, and the next one.

        Months more than :data:`MONTHS_BACK` before ``now``, or after the next one, get none. When
        a lock is not free at once, it is left for later.
        """
        this = Month.of(now)
        first = max(Month.of(earliest), this.plus(-MONTHS_BACK))
        last = min(Month.of(latest), this.plus(1))
        wanted = {this, this.plus(1), *_months(first, last)}
        missing = sorted(month for month in wanted if month.partition not in self._known)
        if not missing or now < self._not_before:
            return
        try:
            await self._make(missing)
        except TransactionConflictError:
            self._not_before = now + _RETRY

    async def _make(self, months: Iterable[Month]) -> None:
        try:
            async with self._engine.begin() as connection:
                await connection.execute(sa.text(f"SET LOCAL lock_timeout = {_WAIT_MS}"))
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                there = await _partitions(connection)
                made = [month for month in months if month.partition not in there]
                for month in made:
                    await _make_partition(connection, month)
        except (exc.SQLAlchemyError, OSError) as error:
            raise translate(error) from error
        self._known = there | {month.partition for month in made}


def _months(first: Month, last: Month) -> Iterable[Month]:
    month = first
    while month <= last:
        yield month
        month = month.plus(1)


async def _partitions(connection: AsyncConnection) -> set[str]:
    names = sa.text(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'reading'::regclass"
    )
    return set((await connection.execute(names)).scalars())


async def _make_partition(connection: AsyncConnection, month: Month) -> None:
    """Make a month's partition; what the default partition holds of it moves over."""
    start, end = month.start, month.plus(1).start
    default, partition = _like_reading("reading_default"), _like_reading(month.partition)
    of_month = sa.and_(default.c.read_at >= start, default.c.read_at < end)
    await connection.exec_driver_sql("LOCK TABLE reading_default IN ACCESS EXCLUSIVE MODE")
    await connection.exec_driver_sql(f"CREATE TABLE {partition.name} (LIKE reading INCLUDING ALL)")
    await connection.execute(
        sa.insert(partition).from_select(list(default.c), sa.select(default).where(of_month))
    )
    await connection.execute(sa.delete(default).where(of_month))
    await connection.exec_driver_sql(
        f"ALTER TABLE reading ATTACH PARTITION {partition.name} "
        f"FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
    )


def _like_reading(name: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(each.name, each.type) for each in tables.reading.columns))
