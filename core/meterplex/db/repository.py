"""What all repositories share."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from meterplex.db.errors import translate


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

    async def _execute_plain(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
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

    def _insert_new(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """Return an INSERT that leaves out rows whose key is taken."""
        if self._postgresql:
            return postgresql.insert(table).on_conflict_do_nothing()
        return sqlite.insert(table).on_conflict_do_nothing()
