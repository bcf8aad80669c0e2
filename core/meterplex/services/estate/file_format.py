"""The tables and columns of an estate file, and how one cell is read.

:class:`Cells` reads the cells of one row by kind. What it cannot read becomes a problem and a
harmless value in its place, so that one pass over a row finds everything that is wrong with it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Final, TypeVar

from meterplex.domain.account_mode import AccountMode
from meterplex.domain.estate import ReadingWindow
from meterplex.domain.intervals import parse_interval, parse_window
from meterplex.services.estate.files import EstateFile, EstateProblem, EstateRow

Value = TypeVar("Value")

CODE_LENGTH_MAX: Final = 64
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,10})?")


@dataclass(frozen=True, slots=True)
class TableFormat:
    """Columns of a table; ``settings`` says that ``settings.<name>`` columns may follow."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    settings: bool = False

    def knows(self, column: str) -> bool:
        """Whether the table has this column."""
        if self.settings and column.startswith("settings."):
            return True
        return column in self.required or column in self.optional


TABLES: Final[Mapping[str, TableFormat]] = {
    "organisation": TableFormat(("name", "currency", "language")),
    "site": TableFormat(("code", "name", "time_zone", "utilities"), ("reading_interval",)),
    "building": TableFormat(("site", "code", "name")),
    "unit": TableFormat(("site", "building", "code"), ("floor", "area_m2")),
    "gateway": TableFormat(("site", "code", "dialect"), ("registration", "secret_file")),
    "channel": TableFormat(("site", "code", "url"), ("gateway", "reading_window", "devices_max")),
    "meter": TableFormat(
        ("site", "serial", "model", "channel", "address"),
        ("ct", "pt", "usage_point", "unit", "parent_usage_point", "reading_interval"),
        settings=True,
    ),
    "account": TableFormat(
        ("site", "number", "customer", "mode", "tariff", "usage_points"),
        (
            "customer_number",
            "phone",
            "email",
            "alarm_1",
            "alarm_2",
            "overdraft",
            "emergency",
            "hoard",
            "deduction_order",
            "head_count",
        ),
    ),
}
"""In the order in which rows may refer to each other."""

GATEWAY_DIALECTS: Final = ("dtu", "qgdw376", "acrel_1f1f", "acrel_4g", "dlms", "secure", "tcp")
"""How a gateway speaks when it dials in; ``tcp`` is one that is dialled."""

ACCOUNT_MODES: Final = tuple(mode.value for mode in AccountMode)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` for the nearest known name, else what is known."""
    names = sorted(known)
    near = get_close_matches(name, names, 1)
    if near:
        return f", did you mean {near[0]!r}?"
    if not names:
        return ", there is none"
    return f"; known: {', '.join(names)}" if len(names) <= 12 else ""


def format_problems(file: EstateFile) -> Iterator[EstateProblem]:
    """Give the unknown tables, unknown columns and missing columns of a file."""
    strange: set[str] = set()
    for row in file.rows:
        table = TABLES.get(row.table)
        if table is None:
            if row.table not in strange:
                strange.add(row.table)
                reason = f"unknown table {row.table!r}{nearest(row.table, TABLES)}"
                yield EstateProblem(row.table, 0, "", reason, row.line)
            continue
        known = (*table.required, *table.optional)
        for column in row.cells:
            if not table.knows(column):
                yield row.problem(column, f"unknown column{nearest(column, known)}")


class Cells:
    """The cells of one row, read by kind; what is wrong goes to ``problems``."""

    def __init__(self, row: EstateRow, problems: list[EstateProblem]) -> None:
        self.row = row
        self.sound = True
        """False once a cell of this row could not be read."""
        self._problems = problems
        for column in TABLES[row.table].required:
            if column not in row.cells:
                self.refuse(column, "is missing")

    def refuse(self, column: str, reason: str) -> None:
        """Note a problem of this row."""
        self.sound = False
        self._problems.append(self.row.problem(column, reason))

    def drop(self) -> None:
        """Give the row up without a problem: what it names was refused itself."""
        self.sound = False

    def has(self, column: str) -> bool:
        """Whether the cell is filled."""
        return column in self.row.cells

    def text(self, column: str) -> str:
        """Return the cell, or an empty text."""
        return self.row.cells.get(column, "")

    def code(self, column: str) -> str:
        """Return a code: a short text by which other rows refer to this one."""
        text = self.text(column)
        if len(text) > CODE_LENGTH_MAX:
            self.refuse(column, f"{len(text)} characters, at most {CODE_LENGTH_MAX} are taken")
        return text

    def choice(self, column: str, choices: Iterable[str]) -> str:
        """Return one of ``choices``."""
        text = self.text(column)
        if text and text not in choices:
            self.refuse(column, f"{text!r} is unknown{nearest(text, choices)}")
        return text

    def texts(self, column: str) -> tuple[str, ...]:
        """Return the items of a list."""
        items = (item.strip() for item in self.text(column).split(","))
        return tuple(item for item in items if item)

    def number(self, column: str, default: Decimal, *, positive: bool = False) -> Decimal:
        """Return a decimal number; ``default`` where the cell is empty."""
        text = self.text(column)
        if not text:
            return default
        if not _NUMBER.fullmatch(text):
            self.refuse(column, f"{text!r} is not a decimal number")
            return default
        number = Decimal(text)
        if positive and number <= 0:
            self.refuse(column, f"{text} is not above 0")
            return default
        return number

    def count(self, column: str, most: int) -> int | None:
        """Return a whole number from 1 to ``most``; None where the cell is empty."""
        text = self.text(column)
        if not text:
            return None
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= most):
            self.refuse(column, f"{text!r}: expected a whole number from 1 to {most}")
            return None
        return int(text)

    def interval(self, column: str) -> timedelta | None:
        """Return a span of time; None where the cell is empty."""
        return self._parsed(column, parse_interval)

    def window(self, column: str) -> ReadingWindow:
        """Return a reading window; the whole day where the cell is empty."""
        return self._parsed(column, parse_window) or ReadingWindow()

    def _parsed(self, column: str, parse: Callable[[str], Value]) -> Value | None:
        text = self.text(column)
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.refuse(column, str(error))
            return None
