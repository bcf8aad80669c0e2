"""Reads tariff files (TOML or JSON) and interval files (CSV), under limits of size and rows."""

import csv
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, TypeVar

from meterplex.domain.tariff import (
    Interval,
    TariffComponent,
    TariffVersion,
    Usage,
    UsageError,
)
from meterplex.services.tariffs.file_format import NO_COMPONENTS, parse_tariff

TARIFF_SIZE_MAX: Final = 1 << 20
INTERVALS_SIZE_MAX: Final = 64 << 20
INTERVALS_MAX: Final = 1_000_000
COLUMNS: Final = ("start", "end", "units")
REACTIVE_COLUMN: Final = "reactive_units"

_UNITS: Final = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")

T = TypeVar("T")


class TariffFileError(Exception):
    """A file that cannot be read as a whole: missing, too large, no TOML, JSON or CSV."""


@dataclass(frozen=True, slots=True)
class IntervalProblem:
    """One thing wrong in an interval file; ``row`` as a text editor counts, from 1."""

    row: int
    column: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}, {self.column}: {self.reason}"


class IntervalsError(Exception):
    """An interval file with bad rows; nothing of it is used."""

    def __init__(self, problems: Sequence[IntervalProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def read_tariff(
    path: Path, components: Mapping[str, TariffComponent] = NO_COMPONENTS
) -> TariffVersion:
    """Read a sound tariff version from a TOML file, or JSON by its suffix.

    Args:
        components: that plugins bring, by kind.

    Raises:
        TariffFileError: the file cannot be read.
        TariffError: with everything that is wrong in it.
    """
    return parse_tariff(read_document(path), components)


def read_document(path: Path) -> Mapping[str, object]:
    """Read the keys of a TOML file, or JSON by its suffix.

    Raises:
        TariffFileError: the file cannot be read.
    """
    text = _text(path, TARIFF_SIZE_MAX)
    try:
        document = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise TariffFileError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise TariffFileError(f"{path}: expected a table of keys")
    return document


def read_usage(path: Path) -> Usage:
    """Read use from a CSV file with the columns start, end, units and perhaps reactive_units.

    Rows may be in any order.

    Raises:
        TariffFileError: the file cannot be read or has other columns.
        IntervalsError: with every bad row.
    """
    text = _text(path, INTERVALS_SIZE_MAX)
    rows = csv.reader(text.splitlines())
    header = tuple(name.strip() for name in next(rows, ()))
    if header not in (COLUMNS, (*COLUMNS, REACTIVE_COLUMN)):
        expected = ",".join(COLUMNS)
        raise TariffFileError(
            f"{path}: the first row must be {expected} or {expected},{REACTIVE_COLUMN}, "
            f"got {','.join(header)[:100]!r}"
        )
    try:
        return _usage(rows, header)
    except csv.Error as error:
        raise TariffFileError(f"{path}: row {rows.line_num}: {error}") from error


def _text(path: Path, size_max: int) -> str:
    try:
        size = path.stat().st_size
        if size > size_max:
            raise TariffFileError(f"{path}: {size} bytes, allowed are {size_max}")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TariffFileError(f"{path}: {error}") from error


def _usage(rows: Iterable[list[str]], header: Sequence[str]) -> Usage:
    problems: list[IntervalProblem] = []
    found: list[tuple[Interval, int]] = []
    for number, cells in enumerate(rows, start=2):
        if number - 1 > INTERVALS_MAX:
            problems.append(IntervalProblem(number, "start", f"more than {INTERVALS_MAX} rows"))
            break
        if not cells:
            continue
        if len(cells) != len(header):
            reason = f"{len(cells)} cells, expected {len(header)}"
            problems.append(IntervalProblem(number, "start", reason))
            continue
        interval = _interval(number, dict(zip(header, cells, strict=True)), problems)
        if interval is not None:
            found.append((interval, number))
    if problems:
        raise IntervalsError(problems)
    found.sort(key=lambda each: each[0].start)
    try:
        return Usage.of(interval for interval, _ in found)
    except UsageError as error:
        row = 1 if error.index is None else found[error.index][1]
        problem = IntervalProblem(row, error.field or "start", error.message)
        raise IntervalsError([problem]) from error


def _interval(
    number: int, cells: Mapping[str, str], problems: list[IntervalProblem]
) -> Interval | None:
    before = len(problems)

    def take(column: str, read: Callable[[str], T]) -> T | None:
        try:
            return read(cells[column].strip())
        except ValueError as error:
            problems.append(IntervalProblem(number, column, str(error)))
            return None

    start, end, units = take("start", _instant), take("end", _instant), take("units", _units)
    reactive = take(REACTIVE_COLUMN, _units) if REACTIVE_COLUMN in cells else None
    if start is None or end is None or units is None or len(problems) > before:
        return None
    return Interval(start, end, units, reactive)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.utcoffset() is None:
        raise ValueError(f"{text!r} has no offset from UTC, as 2026-07-01T00:00:00+08:00 has")
    return instant


def _units(text: str) -> Decimal:
    if not _UNITS.fullmatch(text):
        raise ValueError(f"{text!r} is no decimal number of units")
    return Decimal(text)
