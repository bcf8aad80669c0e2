"""Reads an estate file into rows of text: TOML, or a spreadsheet with one sheet per table.

Nothing is understood here but the form. Sizes are checked before anything is unpacked: a
spreadsheet is a ZIP of XML, whose parser lays a sheet out as a full rectangle, so that a file of a
few bytes could ask for terabytes. It is therefore unpacked here, under limits, and only what has
been looked at is given to the parser.
"""

import io
import re
import tomllib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import python_calamine

FILE_SIZE_MAX: Final = 16 << 20
UNPACKED_SIZE_MAX: Final = 64 << 20
ROWS_MAX: Final = 50_000
COLUMNS_MAX: Final = 64
CELL_LENGTH_MAX: Final = 500

_DIGITS_EXACT: Final = 15
"""Spreadsheets keep so many digits of a number."""
_SHEET_POSITION: Final = re.compile(rb"""\br\s*=\s*["']([A-Za-z]*)([0-9]+)["']""")
_TABLE_HEADER: Final = re.compile(r"\s*\[\[?\s*([A-Za-z_]+)\s*\]")


class EstateFileError(Exception):
    """The file as a whole cannot be read; the text says which and why."""


@dataclass(frozen=True, slots=True)
class EstateProblem:
    """One thing wrong in a file, where a person finds it.

    Attributes:
        row: as the spreadsheet shows it; in TOML the how-manieth ``[[table]]`` it is; 0 for a
            table as a whole.
        line: of the TOML file, where known.
        column: empty for a row as a whole.
    """

    table: str
    row: int
    column: str
    reason: str
    line: int | None = None

    def __str__(self) -> str:
        row = f" row {self.row}" if self.row else ""
        line = f" (line {self.line})" if self.line else ""
        column = f", {self.column}" if self.column else ""
        return f"{self.table}{row}{line}{column}: {self.reason}"


@dataclass(frozen=True, slots=True)
class EstateRow:
    """One row of a table.

    Attributes:
        cells: text by column; a cell without content is left out. Lists are joined by commas,
            the table ``settings`` becomes columns ``settings.<name>``.
    """

    table: str
    number: int
    cells: Mapping[str, str]
    line: int | None = None

    def problem(self, column: str, reason: str) -> EstateProblem:
        """Return a problem of this row."""
        return EstateProblem(self.table, self.number, column, reason, self.line)


@dataclass(frozen=True, slots=True)
class EstateFile:
    """What a file holds, and what of it could not be taken for text."""

    name: str
    rows: tuple[EstateRow, ...]
    problems: tuple[EstateProblem, ...] = ()


def read_estate_file(path: Path) -> EstateFile:
    """Read ``.toml`` or ``.xlsx``.

    Raises:
        EstateFileError: it cannot be read, is of another kind, or is beyond a limit.
    """
    try:
        size = path.stat().st_size
        if size > FILE_SIZE_MAX:
            raise EstateFileError(f"{path}: {size} bytes, at most {FILE_SIZE_MAX} are read")
        content = path.read_bytes()
    except OSError as error:
        raise EstateFileError(f"{path}: {error.strerror or error}") from error
    match path.suffix.lower():
        case ".toml":
            return _read_toml(path, content)
        case ".xlsx":
            return _read_xlsx(path, content)
        case suffix:
            raise EstateFileError(f"{path}: expected .toml or .xlsx, not {suffix or 'no suffix'}")


class _Collector:
    """Gathers the rows and problems of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[EstateRow] = []
        self._problems: list[EstateProblem] = []

    def add(
        self, table: str, number: int, cells: Mapping[str, object], line: int | None = None
    ) -> None:
        texts: dict[str, str] = {}
        row = EstateRow(table, number, texts, line)
        for column, value in cells.items():
            try:
                text = _text(value)
            except ValueError as error:
                self._problems.append(row.problem(column, str(error)))
            else:
                if text:
                    texts[column] = text
        self._rows.append(row)
        if len(self._rows) > ROWS_MAX:
            raise EstateFileError(f"{self._path}: more than {ROWS_MAX} rows")

    def refuse(self, problem: EstateProblem) -> None:
        self._problems.append(problem)

    def file(self) -> EstateFile:
        return EstateFile(str(self._path), tuple(self._rows), tuple(self._problems))


def _text(value: object) -> str:
    """Return a cell as text.

    Raises:
        ValueError: it is of a kind that no column has, or cannot be exact.
    """
    match value:
        case None:
            return ""
        case bool():
            raise ValueError(f"{value} is a truth value, expected text or a number")
        case str():
            return _clean(value)
        case int() | Decimal():
            return str(value)
        case float():
            return _number(value)
        case date() | datetime() | time() | timedelta():
            raise ValueError(f"{value} is a date or time, write it as text")
        case list():
            return _joined(value)
        case _:
            raise ValueError(f"expected text or a number, not {type(value).__name__}")


def _clean(text: str) -> str:
    text = text.strip()
    if len(text) > CELL_LENGTH_MAX:
        raise ValueError(f"{len(text)} characters, at most {CELL_LENGTH_MAX} are taken")
    if not text.isprintable():
        raise ValueError(f"{text!r} holds control characters")
    return text


def _number(value: float) -> str:
    if not value.is_integer():
        return repr(value)
    text = str(int(value))
    if len(text.lstrip("-")) > _DIGITS_EXACT:
        raise ValueError(
            f"{text} has more than {_DIGITS_EXACT} digits, a spreadsheet rounds such numbers: "
            "format the cell as text and write it again"
        )
    return text


def _joined(values: list[object]) -> str:
    texts = [_text(value) for value in values]
    if any("," in text for text in texts):
        raise ValueError("an item of a list must not hold a comma")
    return ",".join(text for text in texts if text)


def _read_toml(path: Path, content: bytes) -> EstateFile:
    try:
        text = content.decode("utf-8")
        document = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise EstateFileError(f"{path}: not TOML: {error}") from error
    collector = _Collector(path)
    lines = _header_lines(text)
    for table, content_of_table in document.items():
        rows = content_of_table if isinstance(content_of_table, list) else [content_of_table]
        places = lines.get(table, [])
        for index, cells in enumerate(rows):
            line = places[index] if len(places) == len(rows) else None
            if isinstance(cells, dict):
                collector.add(table, index + 1, dict(_flat(cells)), line)
            else:
                reason = f"expected tables, write [[{table}]]"
                collector.refuse(EstateProblem(table, index + 1, "", reason, line))
    return collector.file()


def _flat(cells: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for column, value in cells.items():
        if column == "settings" and isinstance(value, dict):
            for name, setting in value.items():
                yield f"settings.{name}", setting
        else:
            yield column, value


def _header_lines(text: str) -> Mapping[str, list[int]]:
    """Return the lines on which tables of each name begin.

    A line inside a multi-line string can look the same; then the counts differ, and no line is
    told.
    """
    lines: dict[str, list[int]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if header := _TABLE_HEADER.match(line):
            lines.setdefault(header[1], []).append(number)
    return lines


def _read_xlsx(path: Path, content: bytes) -> EstateFile:
    try:
        checked = _repacked(path, content)
        workbook = python_calamine.CalamineWorkbook.from_filelike(checked)
        sheets = [
            (name, workbook.get_sheet_by_name(name).to_python(skip_empty_area=False))
            for name in workbook.sheet_names
        ]
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,  # an unknown kind of compression
        RuntimeError,  # an encrypted member
        EOFError,
        OSError,
        ValueError,
        python_calamine.CalamineError,
    ) as error:
        raise EstateFileError(f"{path}: not a readable .xlsx workbook: {error}") from error
    collector = _Collector(path)
    for name, lines in sheets:
        _collect_sheet(collector, name.strip(), lines)
    return collector.file()


def _repacked(path: Path, content: bytes) -> io.BytesIO:
    """Return a workbook with exactly the members that were unpacked and found within limits."""
    repacked = io.BytesIO()
    left = UNPACKED_SIZE_MAX
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(repacked, "w") as target:
        members = {info.filename: info for info in source.infolist() if not info.is_dir()}
        if "xl/workbook.xml" not in members:
            raise zipfile.BadZipFile("it has no xl/workbook.xml")
        for name, info in members.items():
            with source.open(info) as packed:
                member = packed.read(left + 1)
            left -= len(member)
            if left < 0:
                raise EstateFileError(f"{path}: unpacks to more than {UNPACKED_SIZE_MAX} bytes")
            _check_extent(path, member)
            target.writestr(name, member)
    repacked.seek(0)
    return repacked


def _check_extent(path: Path, member: bytes) -> None:
    """Refuse XML that the limits cannot be checked in, or whose cells lie beyond them."""
    if member[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in member[:4]:
        raise EstateFileError(f"{path}: its XML is not UTF-8")
    for letters, digits in _SHEET_POSITION.findall(member):
        if len(digits) > 7 or int(digits) > ROWS_MAX + 1:
            raise EstateFileError(f"{path}: a sheet has more than {ROWS_MAX} rows")
        if len(letters) > 3 or _column_number(letters) > COLUMNS_MAX:
            raise EstateFileError(f"{path}: a sheet has more than {COLUMNS_MAX} columns")


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - ord("A") + 1
    return number


def _collect_sheet(collector: _Collector, table: str, lines: Sequence[Sequence[object]]) -> None:
    header: list[str] | None = None
    for number, line in enumerate(lines, 1):
        if all(cell in ("", None) for cell in line):
            continue
        if header is None:
            header = [str(cell).strip() for cell in line]
            _check_header(collector, table, number, header)
            continue
        for column, cell in enumerate(line):
            if cell not in ("", None) and not header[column]:
                problem = EstateProblem(table, number, "", f"{cell!r} stands under no column name")
                collector.refuse(problem)
        named = zip(header, line, strict=True)
        collector.add(table, number, {name: cell for name, cell in named if name})


def _check_header(collector: _Collector, table: str, number: int, header: Sequence[str]) -> None:
    for name in sorted({name for name in header if name and header.count(name) > 1}):
        collector.refuse(EstateProblem(table, number, name, "the column is there twice"))
