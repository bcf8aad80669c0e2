"""Tables of a profile file, read with checks that name file, key and reason."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from meterplex.sdk.errors import SettingsError

FILE_BYTES_MAX: Final = 1_000_000

_Choice = TypeVar("_Choice", bound=StrEnum)
_Value = TypeVar("_Value")


class ProfileTable:
    """One table of a TOML file. Every key must be asked for: :meth:`close` refuses the rest.

    All methods raise ``SettingsError`` with file, key and reason.

    Args:
        file: its name, for messages.
        key: of this table in the file, empty for the whole file.
        values: what the table holds.
    """

    def __init__(self, file: str, key: str, values: Mapping[str, Any]) -> None:
        self._file = file
        self._key = key
        self._values = values
        self._asked: set[str] = set()

    @classmethod
    def load(cls, path: Path | Traversable) -> Self:
        """Read a file; numbers with a point become exact decimals."""
        try:
            data = path.read_bytes()
            if len(data) > FILE_BYTES_MAX:
                raise SettingsError(f"{path.name}: {len(data)} bytes, at most {FILE_BYTES_MAX}")
            values = tomllib.loads(data.decode(), parse_float=Decimal)
        except (OSError, ValueError, RecursionError, InvalidOperation) as error:
            raise SettingsError(f"{path.name}: {error}") from error
        return cls(path.name, "", values)

    def fault(self, key: str, reason: object) -> SettingsError:
        """Make the error for a key of this table."""
        return SettingsError(f"{self._file}: {self._path(key)}: {reason}")

    def close(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                raise self.fault(key, f"unknown key, expected {', '.join(sorted(self._asked))}")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def tables(self, key: str) -> Iterator[tuple[str, "ProfileTable"]]:
        """Yield name and table of each table in the table ``key``; nothing if it is not there."""
        if key in self:
            outer = self.table(key)
            for name in outer._values:
                yield name, outer.table(name)

    def table(self, key: str, *, optional: bool = False) -> "ProfileTable":
        """Return the table ``key``; an empty one where an optional one is not there."""
        values = self._take(key, dict, "a table", {} if optional else None)
        return ProfileTable(self._file, self._path(key), values)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text that is not empty, unless the default is."""
        value = self._take(key, str, "a text", default)
        if not value and default is None:
            raise self.fault(key, "is empty")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        return self._take(key, bool, "true or false", default)

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Return a whole number within ``low..high``."""
        return self._integer(key, self._take(key, int, "a whole number", default), low, high)

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """Return a list of whole numbers, at least one, each within ``low..high``."""
        values = self._take(key, list, "a list of whole numbers")
        if not values:
            raise self.fault(key, "is empty")
        return tuple(self._integer(key, value, low, high) for value in values)

    def decimal(self, key: str, default: Decimal | None = None) -> Decimal:
        """Return a finite number that is not zero; a text is the usual way to write one."""
        value = self._take(key, object, "a number", default)
        if not isinstance(value, (str, int, Decimal)) or isinstance(value, bool):
            raise self.fault(key, f"{value!r}, expected a number as text")
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise self.fault(key, f"{value!r}, expected a number such as 0.01") from None
        if not number.is_finite() or number == 0:
            raise self.fault(key, f"{value}, expected a finite number other than 0")
        return number

    def choice(self, key: str, kind: type[_Choice], default: _Choice | None = None) -> _Choice:
        """Return a member of ``kind`` by its text."""
        text = self.text(key, None if default is None else default.value)
        try:
            return kind(text)
        except ValueError:
            allowed = ", ".join(member.value for member in kind)
            raise self.fault(key, f"{text!r}, expected one of {allowed}") from None

    def parsed(self, key: str, parse: Callable[[str], _Value]) -> _Value:
        """Return what ``parse`` makes of a text; its ``ValueError`` is the reason."""
        try:
            return parse(self.text(key))
        except ValueError as error:
            raise self.fault(key, error) from error

    def _path(self, key: str) -> str:
        return f"{self._key}.{key}" if self._key else key

    def _take(
        self, key: str, kind: type[_Value], expected: str, default: _Value | None = None
    ) -> _Value:
        self._asked.add(key)
        value = self._values.get(key, default)
        if value is None:
            raise self.fault(key, "is missing")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise self.fault(key, f"{value!r}, expected {expected}")
        return value

    def _integer(self, key: str, value: object, low: int, high: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.fault(key, f"{value!r}, expected a whole number")
        if not low <= value <= high:
            raise self.fault(key, f"{value}, expected {low}..{high}")
        return value
