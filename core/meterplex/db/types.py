"""Column types: the same domain value in and out on both databases."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

EnumT = TypeVar("EnumT", bound=StrEnum)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

JSON_OBJECT: Final = sa.JSON().with_variant(JSONB(), "postgresql")
"""A small map of text to text."""


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware time: ``timestamptz`` on PostgreSQL, whole microseconds since 1970 on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Choose the column type."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.BigInteger())
        return dialect.type_descriptor(sa.DateTime(timezone=True))

    def process_bind_param(
        self, value: datetime | None, dialect: sa.Dialect
    ) -> datetime | int | None:
        """Refuse a naive time; return UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"time {value.isoformat()} has no zone; expected an aware time")
        if dialect.name == "sqlite":
            return (value - _EPOCH) // _MICROSECOND
        return value.astimezone(UTC)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Take PostgreSQL's values as they come: its driver gives aware times in UTC."""
        if dialect.name == "postgresql":
            return None
        return super().result_processor(dialect, coltype)

    def process_result_value(
        self, value: datetime | int | None, dialect: sa.Dialect
    ) -> datetime | None:
        """Return an aware UTC time."""
        if isinstance(value, int):
            return _EPOCH + timedelta(microseconds=value)
        return None if value is None else value.astimezone(UTC)


class ExactDecimal(sa.types.TypeDecorator[Decimal]):
    """A finite decimal number, exact: ``numeric`` on PostgreSQL, its text on SQLite."""

    impl = sa.Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Choose the column type."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(sa.Numeric())

    def process_bind_param(
        self, value: Decimal | None, dialect: sa.Dialect
    ) -> Decimal | str | None:
        """Refuse what is no number."""
        if value is None:
            return None
        if not value.is_finite():
            raise ValueError(f"{value} is not a number")
        return str(value) if dialect.name == "sqlite" else value

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Take PostgreSQL's values as they come: its driver gives decimal numbers."""
        if dialect.name == "postgresql":
            return None
        return super().result_processor(dialect, coltype)

    def process_result_value(
        self, value: Decimal | str | None, dialect: sa.Dialect
    ) -> Decimal | None:
        """Return the number as it was stored."""
        return None if value is None else Decimal(value)


class Seconds(sa.types.TypeDecorator[timedelta]):
    """A whole number of seconds."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: sa.Dialect) -> int | None:
        """Refuse parts of a second."""
        if value is None:
            return None
        seconds, rest = divmod(value, timedelta(seconds=1))
        if rest:
            raise ValueError(f"interval {value}: expected whole seconds")
        return seconds

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> timedelta | None:
        """Return the interval."""
        return None if value is None else timedelta(seconds=value)


class _Members(dict[str | None, EnumT | None]):
    """Members of a closed set by their text."""

    def __init__(self, kind: type[EnumT]) -> None:
        super().__init__({member.value: member for member in kind})
        self[None] = None
        self._kind = kind

    def __missing__(self, text: str | None) -> EnumT:
        raise ValueError(f"{text!r} is no {self._kind.__name__}")


class EnumText(sa.types.TypeDecorator[EnumT], Generic[EnumT]):
    """A member of a closed set, as its text."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, kind: type[EnumT]) -> None:
        super().__init__()
        self.kind = kind
        self._members = _Members(kind)

    def process_bind_param(self, value: EnumT | None, dialect: sa.Dialect) -> str | None:
        """Return the member's text."""
        return None if value is None else self.kind(value).value

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return what looks members up; it is asked for every row."""
        return self._members.__getitem__

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> EnumT | None:
        """Return the member."""
        return self._members[value]


class TextSet(sa.types.TypeDecorator[frozenset[str]]):
    """A set of words, kept as a sorted JSON list."""

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Choose the column type."""
        return dialect.type_descriptor(JSONB() if dialect.name == "postgresql" else sa.JSON())

    def process_bind_param(
        self, value: Iterable[str] | None, dialect: sa.Dialect
    ) -> list[str] | None:
        """Return the sorted list."""
        return None if value is None else sorted(value)

    def process_result_value(
        self, value: list[str] | None, dialect: sa.Dialect
    ) -> frozenset[str] | None:
        """Return the set."""
        return None if value is None else frozenset(value)
