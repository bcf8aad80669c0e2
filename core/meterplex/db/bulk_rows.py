"""Many rows of a table at once, without the price of a statement's values a row.

SQLAlchemy looks at every value of every row on its way to the driver, which for thousands of rows
takes longer than storing them. Here rows are tuples of what the driver takes. On PostgreSQL new
rows are copied, and rows that may be there go as one array a column, so triggers that look at a
statement look once; on SQLite the driver runs a statement row by row.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, Self, TypeAlias

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler

Rows: TypeAlias = Sequence[tuple[Any, ...]]

_SQLITE: Final = sqlite.dialect()
_POSTGRESQL: Final = sa.make_url("postgresql+asyncpg://").get_dialect()()

_encoder: Final = msgspec.json.Encoder()


def json_text(document: object) -> str:
    """Return a document as the text that a JSON column takes from a bulk row."""
    return _encoder.encode(document).decode()


@dataclass(frozen=True, slots=True)
class BulkRows:
    """How rows of a table are written in bulk; made once.

    A row has its values in the order of ``names``. Times are aware, JSON is text.

    Attributes:
        merge: the statement for PostgreSQL, which takes a list a column by its name; None where
            rows are copied.
        sqlite: the statement for SQLite.
        bound_from: for each of its values, where it is in a row and what makes it the driver's.
    """

    table: str
    names: tuple[str, ...]
    merge: sa.Executable | None
    sqlite: str
    bound_from: tuple[tuple[int, Callable[[Any], Any]], ...]

    @classmethod
    def adding(cls, table: sa.Table, *names: str) -> Self:
        """Return how new rows are added; columns that are not named take their default."""
        return cls._of(table, names, sqlite.insert(table), None)

    @classmethod
    def replacing(cls, table: sa.Table, *names: str) -> Self:
        """Return how rows are written whether or not their primary key is there."""
        given = _given(table, names)
        merge = postgresql.insert(table).from_select(names, given)
        insert = sqlite.insert(table)
        key = [column.name for column in table.primary_key]
        others = [name for name in names if name not in key]
        return cls._of(
            table,
            names,
            insert.on_conflict_do_update(
                index_elements=key, set_={name: insert.excluded[name] for name in others}
            ),
            merge.on_conflict_do_update(
                index_elements=key, set_={name: merge.excluded[name] for name in others}
            ),
        )

    @classmethod
    def _of(
        cls,
        table: sa.Table,
        names: tuple[str, ...],
        insert: sa.Insert,
        merge: sa.Executable | None,
    ) -> Self:
        compiled = insert.compile(dialect=_SQLITE, column_keys=list(names))
        assert isinstance(compiled, SQLCompiler)
        order = compiled.positiontup or ()
        return cls(
            table.name,
            names,
            merge,
            str(compiled),
            tuple((names.index(name), _binding(table.columns[name])) for name in order),
        )

    def columns(self, rows: Rows) -> Mapping[str, list[Any]]:
        """Return rows as one list a column."""
        return {name: [*map(itemgetter(at), rows)] for at, name in enumerate(self.names)}

    def bound(self, rows: Iterable[tuple[Any, ...]]) -> Rows:
        """Return rows as SQLite's driver takes them."""
        return [tuple([bind(row[at]) for at, bind in self.bound_from]) for row in rows]


def _given(table: sa.Table, names: Iterable[str]) -> sa.Select[Any]:
    """Return rows that are given as an array a column."""
    plain = {name: _plain(table.columns[name]) for name in names}
    arrays = [
        sa.cast(sa.bindparam(name, type_=postgresql.ARRAY(kind)), postgresql.ARRAY(kind))
        for name, kind in plain.items()
    ]
    columns = [sa.column(name, kind) for name, kind in plain.items()]
    given = sa.func.unnest(*arrays).table_valued(*columns, name="given").render_derived()
    return sa.select(
        *(
            sa.cast(given.c[name], postgresql.JSONB)
            if _is_json(table.columns[name])
            else given.c[name]
            for name in names
        )
    )


def _is_json(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.JSON)


def _plain(column: sa.Column[Any]) -> sa.types.TypeEngine[Any]:
    """Return the type of a column's values as the driver takes them."""
    if _is_json(column):
        return sa.Text()
    kind = column.type
    return kind.load_dialect_impl(_POSTGRESQL) if isinstance(kind, sa.TypeDecorator) else kind


def _binding(column: sa.Column[Any]) -> Callable[[Any], Any]:
    if _is_json(column):
        return _as_it_is
    processor = column.type.dialect_impl(_SQLITE).bind_processor(_SQLITE)
    return processor or _as_it_is


def _as_it_is(value: object) -> object:
    return value
