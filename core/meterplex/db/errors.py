"""Everything the database room raises.

After any of these the unit of work is spent: leave it, nothing of it is kept.
"""

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


_UNIQUE: Final = "UNIQUE constraint failed: "
_APPEND_ONLY: Final = "append-only"
_TRY_AGAIN: Final = frozenset({"40001", "40P01", "55P03"})
"""SQLSTATE of a serialisation failure, a deadlock, and a lock that was not free in time."""


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
    cause = error.orig.__cause__ or error.orig
    text = str(cause)
    state = getattr(cause, "sqlstate", None)
    if _APPEND_ONLY in text:
        return AppendOnlyError(text)
    if isinstance(error, exc.IntegrityError):
        return _broken_constraint(text, getattr(cause, "constraint_name", None), cause)
    if state in _TRY_AGAIN:
        return TransactionConflictError(text)
    if state == "42P01" or "no such table" in text:
        return SchemaError(f"{text}; run: meterplex db upgrade")
    if isinstance(error, exc.OperationalError | exc.InterfaceError) or (
        isinstance(error, exc.DBAPIError) and error.connection_invalidated
    ):
        return DatabaseUnavailableError(text)
    if isinstance(error.orig, ValueError | TypeError | OverflowError) or isinstance(
        error, exc.DataError
    ):
        return InvalidValueError(text)
    return DatabaseError(text)


def _broken_constraint(text: str, name: str | None, cause: BaseException) -> DatabaseError:
    state = getattr(cause, "sqlstate", None)
    if state == "23505" or text.startswith(_UNIQUE):
        columns = text.removeprefix(_UNIQUE).split(", ") if name is None else []
        constraint = name or _unique_over(columns)
        taken = getattr(cause, "detail", None) or text
        return ConflictError(f"already taken: {taken}", constraint)
    if state == "23503" or "FOREIGN KEY" in text:
        return MissingReferenceError(getattr(cause, "detail", None) or text)
    return InvalidValueError(text)


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
