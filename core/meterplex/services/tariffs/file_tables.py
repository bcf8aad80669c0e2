"""Tables of a document as people write it: hands values out, and remembers all that is wrong.

Shared by tariff files and price overrides, which both tell every fault at once, by its path.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from meterplex.domain.tariff import Prices, TariffFault
from meterplex.services.estate.file_format import nearest

_DECIMAL: Final = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,8})?")
_MONTH_DAY: Final = re.compile(r"([0-9]{2})-([0-9]{2})")
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_NO_ITEMS: Final[Sequence[object]] = ()
_NO_KEYS: Final[Mapping[str, object]] = MappingProxyType({})

T = TypeVar("T")
Choice = TypeVar("Choice", bound=StrEnum)


def section(path: str) -> str:
    return re.split(r"[.\[]", path, maxsplit=1)[0]


class FormError(Exception):
    """A value has another form than expected; the text says both."""


@dataclass(slots=True)
class Table:
    """A table of the document: hands out values by key and remembers what is wrong.

    After a fault it hands out a neutral value, so that reading goes on.
    """

    path: str
    values: Mapping[str, object]
    faults: list[TariffFault]
    malformed: set[str]
    known: set[str] = field(default_factory=set)
    tables_read: list["Table"] = field(default_factory=list)

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def fault(self, path: str, message: str) -> None:
        self.faults.append(TariffFault(path, message))
        self.malformed.add(section(path))

    def has(self, key: str) -> bool:
        self.known.add(key)
        return key in self.values

    def take(self, key: str, read: Callable[[object], T], neutral: T) -> T:
        """Return the value of a key that must be there."""
        if not self.has(key):
            self.fault(self.at(key), "is missing")
            return neutral
        return self.read(self.at(key), self.values[key], read, neutral)

    def maybe(self, key: str, read: Callable[[object], T], neutral: T) -> T | None:
        """Return the value of a key, None where it is not."""
        return self.take(key, read, neutral) if self.has(key) else None

    def read(self, path: str, value: object, read: Callable[[object], T], neutral: T) -> T:
        try:
            return read(value)
        except FormError as error:
            self.fault(path, str(error))
            return neutral

    def items(self, key: str, read: Callable[[object], T], neutral: T) -> tuple[T, ...]:
        """Return the values of a list, none where the key is missing."""
        values = self.take(key, read_list, _NO_ITEMS) if self.has(key) else _NO_ITEMS
        return tuple(
            self.read(f"{self.at(key)}[{index}]", value, read, neutral)
            for index, value in enumerate(values)
        )

    def table(self, key: str) -> "Table":
        """Return the table of a key that must be there."""
        return self._sub(self.at(key), self.take(key, read_mapping, _NO_KEYS))

    def tables(self, key: str) -> Iterator["Table"]:
        """Yield the tables of a list of them, none where the key is missing."""
        for index, values in enumerate(self.items(key, read_mapping, _NO_KEYS)):
            yield self._sub(f"{self.at(key)}[{index}]", values)

    def _sub(self, path: str, values: Mapping[str, object]) -> "Table":
        table = Table(path, values, self.faults, self.malformed)
        self.tables_read.append(table)
        return table

    def refuse_unknown(self) -> None:
        """Tell every key that nobody asked for, here and below."""
        for key in self.values:
            if key not in self.known:
                hint = nearest(key, self.known)
                self.faults.append(TariffFault(self.at(key), f"unknown key{hint}"))
        for table in self.tables_read:
            table.refuse_unknown()


def read_price_rows(table: Table, key: str = "prices") -> Prices | None:
    """Return prices, [block][band]; None where the key is not."""
    if not table.has(key):
        return None
    rows = table.items(key, read_list, _NO_ITEMS)
    return tuple(
        tuple(
            table.read(f"{table.at(key)}[{at}][{column}]", cell, read_decimal, Decimal(0))
            for column, cell in enumerate(row)
        )
        for at, row in enumerate(rows)
    )


def _spell(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_text(value: object) -> str:
    if not isinstance(value, str):
        raise FormError(f"expected text, got {_spell(value)}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise FormError(f"expected text without control characters, got {_spell(value)}")
    return value


def read_integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise FormError(f"expected a whole number, got {_spell(value)}")
    return value


def read_decimal(value: object) -> Decimal:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise FormError(f'expected a decimal as text, for example "0.6170", got {_spell(value)}')
    return Decimal(value)


def read_date(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(read_text(value))
    except (FormError, ValueError) as error:
        raise FormError(f"expected a date, for example 2026-07-01, got {_spell(value)}") from error


def read_month_day(value: object) -> tuple[int, int]:
    match = _MONTH_DAY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise FormError(f'expected a month and day, for example "05-01", got {_spell(value)}')
    return int(match[1]), int(match[2])


def read_clock(value: object) -> time:
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise FormError(f'expected a time of day, for example "06:00", got {_spell(value)}')
    return time(int(match[1]), int(match[2]))


def read_list(value: object) -> Sequence[object]:
    if not isinstance(value, list):
        raise FormError(f"expected a list, got {_spell(value)}")
    return value


def read_mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise FormError(f"expected a table of keys, got {_spell(value)}")
    return value


def choice_of(choices: Sequence[str]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in choices:
            raise FormError(f"expected one of {', '.join(choices)}, got {_spell(value)}")
        return read_text(value)

    return read


def one_of(choices: type[Choice]) -> Callable[[object], Choice]:
    def read(value: object) -> Choice:
        for choice in choices:
            if value == choice.value:
                return choice
        expected = ", ".join(choice.value for choice in choices)
        raise FormError(f"expected one of {expected}, got {_spell(value)}")

    return read
