"""What all repositories share."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from meterplex.db.bulk_rows import BulkRows, Rows
from meterplex.db.errors import driver_errors, translate


class Repository:
    """Rows of some tables, inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @property
    def _postgresql(self) -> bool:
        return self._connection.dialect.name == "postgresql"

    async def _execute(
        self,
        statement: sa.Executable,
        rows: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None,
    ) -> sa.CursorResult[Any]:
        """Run a statement.

        Raises:
            DatabaseError: the class that says what was wrong.
        """
        try:
            return await self._connection.execute(statement, rows)
        except exc.SQLAlchemyError as error:
            raise translate(error) from error

    async def _execute_plain(self, statement: str, rows: Rows) -> None:
        """Run a statement of the driver's own for each row, whose values are the driver's."""
        try:
            await self._connection.exec_driver_sql(statement, list(rows))
        except exc.SQLAlchemyError as error:
            raise translate(error) from error

    async def _rows(self, statement: sa.Select[Any]) -> Sequence[sa.RowMapping]:
        return (await self._execute(statement)).mappings().all()

    async def _row(self, statement: sa.Select[Any]) -> sa.RowMapping | None:
        return (await self._execute(statement)).mappings().one_or_none()

    async def _insert(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            await self._execute(sa.insert(table), rows)

    async def _write_bulk(self, bulk: BulkRows, rows: Rows) -> None:
        """Write rows at once; see :class:`BulkRows` for their values."""
        if not rows:
            return
        if not self._postgresql:
            await self._execute_plain(bulk.sqlite, bulk.bound(rows))
        elif bulk.merge is None:
            await self._copy(bulk.table, bulk.names, rows)
        else:
            await self._execute(bulk.merge, bulk.columns(rows))

    async def _copy(self, table: str, names: Sequence[str], rows: Rows) -> None:
        """Copy rows to PostgreSQL, whose driver begins a transaction only for a statement."""
        raw = await self._connection.get_raw_connection()
        driver = raw.driver_connection
        assert driver is not None
        if not driver.is_in_transaction():
            await self._execute(sa.select(1))
        with driver_errors():
            await driver.copy_records_to_table(table, records=rows, columns=names)

    async def _records(self, statement: sa.Select[Any]) -> list[dict[str, Any]]:
        """Return rows as plain dictionaries, which for many rows is much faster than mappings."""
        result = await self._execute(statement)
        names = tuple(result.keys())
        return [dict(zip(names, row, strict=True)) for row in result.all()]

    def _among(
        self, column: sa.ColumnElement[Any], values: Collection[Any]
    ) -> sa.ColumnElement[bool]:
        """Return the condition that a column is one of many values.

        On PostgreSQL they go as one array: a statement of a thousand values takes long to make,
        and is another one for each number of them.
        """
        if self._postgresql:
            return column == sa.any_(sa.cast(list(values), postgresql.ARRAY(column.type)))
        return column.in_(values)

    def _insert_new(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """Return an INSERT that leaves out rows whose key is taken."""
        if self._postgresql:
            return postgresql.insert(table).on_conflict_do_nothing()
        return sqlite.insert(table).on_conflict_do_nothing()
