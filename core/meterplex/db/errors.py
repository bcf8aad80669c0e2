"""Everything the database room raises.

After any of these the unit of work is spent: leave it, nothing of it is kept.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from meterplex.db.tables import metadata


class DatabaseError(Exception):
    """Root of all errors of the database room."""


class DatabaseUrlError(DatabaseError):
    """The database URL is of no kind that is served here."""


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached, is locked by another program, or went away."""


class SchemaError(DatabaseError):
    """The schema is not the one this program needs: the migrations have not been run."""


class TransactionConflictError(DatabaseError):
    """Another transaction was in the way; the same unit of work may be tried again."""


class ReadOnlyError(DatabaseError):
    """A read-only unit of work was asked to write, or the database takes no writes at all."""


class NotFoundError(DatabaseError):
    """No such row in this organisation."""


class ConflictError(DatabaseError):
    """A value that must be unique is taken.

    Attributes:
        constraint: name of the constraint, or None when the database does not tell.
    """

    def __init__(self, message: str, constraint: str | None) -> None:
        super().__init__(message)
        self.constraint = constraint


class MissingReferenceError(DatabaseError):
    """A row names another that does not exist in its organisation, or is still named by one."""


class InvalidValueError(DatabaseError):
    """A value cannot be stored: a naive time, a number out of range, a missing field."""


class AppendOnlyError(DatabaseError):
    """An attempt to change or delete a row that is kept for ever."""


class RegisterChangedError(DatabaseError):
    """A register type differs from the one under which values have been stored."""


class IllegalMoveError(DatabaseError):
    """A move that the life of a command does not know."""


_BY_STATE: Final[dict[str, type[DatabaseError]]] = {
    "23502": InvalidValueError,
    "23503": MissingReferenceError,
    "23514": InvalidValueError,
    "25006": ReadOnlyError,
    "40001": TransactionConflictError,
    "40P01": TransactionConflictError,
    "42P01": SchemaError,
    "42703": SchemaError,
    "55P03": TransactionConflictError,
}
"""PostgreSQL's SQLSTATEs, as far as they say more than their class (first two digits)."""

_BY_STATE_CLASS: Final[dict[str, type[DatabaseError]]] = {
    "08": DatabaseUnavailableError,
    "22": InvalidValueError,
    "28": DatabaseUnavailableError,
    "3D": DatabaseUnavailableError,
    "53": DatabaseUnavailableError,
    "57": DatabaseUnavailableError,
}

_SQLITE_UNIQUE: Final = "UNIQUE constraint failed: "
_BY_SQLITE_TEXT: Final[tuple[tuple[str, type[DatabaseError]], ...]] = (
    ("FOREIGN KEY constraint failed", MissingReferenceError),
    ("constraint failed", InvalidValueError),
    ("readonly database", ReadOnlyError),
    ("no such table", SchemaError),
    ("no such column", SchemaError),
    ("has no column named", SchemaError),
    ("too large to convert", InvalidValueError),
)


def translate(error: exc.SQLAlchemyError | OSError) -> DatabaseError:
    """Return the error of this room that says what ``error`` means."""
    if isinstance(error, OSError):
        return DatabaseUnavailableError(str(error))
    if isinstance(error, exc.TimeoutError):
        return DatabaseUnavailableError(f"no database connection came free: {error}")
    if isinstance(error, exc.ResourceClosedError):
        return DatabaseError("the unit of work has ended; open another one")
    if not isinstance(error, exc.StatementError) or error.orig is None:
        return DatabaseError(str(error))
    if not isinstance(error, exc.DBAPIError):
        return InvalidValueError(str(error.orig))
    return _of_driver(error.orig.__cause__ or error.orig) or _of_class(error)


@contextmanager
def driver_errors() -> Iterator[None]:
    """Translate what PostgreSQL's driver raises where it is used directly.

    Raises:
        DatabaseError: see :func:`translate`.
    """
    from asyncpg import InterfaceError, PostgresError  # installed only where it is used

    try:
        yield
    except PostgresError as error:
        raise _of_driver(error) or DatabaseError(str(error)) from error
    except (InterfaceError, OSError) as error:
        raise DatabaseUnavailableError(str(error)) from error


def _of_class(error: exc.DBAPIError) -> DatabaseError:
    text = str(error.orig)
    if isinstance(error, exc.OperationalError | exc.InterfaceError) or error.connection_invalidated:
        return DatabaseUnavailableError(text)
    if isinstance(error, exc.DataError):
        return InvalidValueError(text)
    return DatabaseError(text)


def _of_driver(cause: BaseException) -> DatabaseError | None:
    """Return what a driver's own error means; None when it says no more than its class."""
    text = str(cause)
    if "append-only" in text:
        return AppendOnlyError(text)
    state = getattr(cause, "sqlstate", None)
    if state is None:
        return _of_sqlite(text)
    told = f"{text}: {detail}" if (detail := getattr(cause, "detail", None)) else text
    if state == "23505":
        return ConflictError(told, getattr(cause, "constraint_name", None))
    kind = _BY_STATE.get(state) or _BY_STATE_CLASS.get(state[:2])
    return None if kind is None else _say(kind, told)


def _of_sqlite(text: str) -> DatabaseError | None:
    if text.startswith(_SQLITE_UNIQUE):
        return ConflictError(text, _unique_over(text.removeprefix(_SQLITE_UNIQUE).split(", ")))
    kinds = (kind for part, kind in _BY_SQLITE_TEXT if part in text)
    kind = next(kinds, None)
    return None if kind is None else _say(kind, text)


def _say(kind: type[DatabaseError], text: str) -> DatabaseError:
    return kind(f"{text}; run meterplex db upgrade" if kind is SchemaError else text)


def _unique_over(columns: list[str]) -> str | None:
    """Name the unique constraint or index over ``columns``, each as ``table.column``."""
    for table in metadata.tables.values():
        uniques: list[sa.Constraint | sa.Index] = [
            *(index for index in table.indexes if index.unique),
            *table.constraints,
        ]
        for unique in uniques:
            if (
                isinstance(unique, sa.Index | sa.PrimaryKeyConstraint | sa.UniqueConstraint)
                and [f"{table.name}.{column.name}" for column in unique.columns] == columns
            ):
                return str(unique.name)
    return None
