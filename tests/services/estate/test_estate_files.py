import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterplex.services.estate import files as estate_files
from meterplex.services.estate.files import EstateFile, EstateFileError, read_estate_file

Sheet = tuple[int, Sequence[Sequence[object]]]
"""Number of empty rows, then the rows."""
TomlReader = Callable[[str | bytes], EstateFile]
XlsxReader = Callable[..., EstateFile]


@pytest.fixture
def toml(tmp_path: Path) -> TomlReader:
    def read(text: str | bytes) -> EstateFile:
        path = tmp_path / "estate.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_estate_file(path)

    return read


def workbook(path: Path, sheets: Mapping[str, Sheet]) -> Path:
    """Write a workbook: the rows of each sheet, as many empty rows above them as asked for."""
    with xlsxwriter.Workbook(path) as book:
        for name, (first_row, rows) in sheets.items():
            sheet = book.add_worksheet(name)
            for index, row in enumerate(rows):
                for column, value in enumerate(row):
                    if isinstance(value, date):
                        day = book.add_format({"num_format": "yyyy-mm-dd"})
                        sheet.write_datetime(first_row + index, column, value, day)
                    else:
                        sheet.write(first_row + index, column, value)
    return path


@pytest.fixture
def xlsx(tmp_path: Path) -> XlsxReader:
    def read(**sheets: Sheet) -> EstateFile:
        path = workbook(tmp_path / "estate.xlsx", sheets)
        return read_estate_file(path)

    return read


def repacked(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """Return a copy of a workbook in which ``change`` has seen each member."""
    target = path.with_name("changed.xlsx")
    with (
        zipfile.ZipFile(path) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


SITE = (0, [["code", "name"], ["east", "Mall"]])


def test_toml_tables_become_rows_with_number_and_line(toml: TomlReader) -> None:
    file = toml('[organisation]\nname = "H"\n\n[[site]]\ncode = "a"\n\n[[site]]\ncode = "b"\n')
    assert [(row.table, row.number, row.line, row.cells) for row in file.rows] == [
        ("organisation", 1, 1, {"name": "H"}),
        ("site", 1, 4, {"code": "a"}),
        ("site", 2, 7, {"code": "b"}),
    ]


def test_lines_are_not_told_when_they_cannot_be_sure(toml: TomlReader) -> None:
    file = toml('[[site]]\ncode = "a"\nname = """\n[[site]]\n"""\n')
    assert [row.line for row in file.rows] == [None]


def test_toml_values_become_text(toml: TomlReader) -> None:
    file = toml(
        '[[meter]]\nct = 40\narea_m2 = 86.50\nitems = ["a", "b"]\n'
        'settings = { key = 1 }\nfloor = " "\n'
    )
    assert file.rows[0].cells == {
        "ct": "40",
        "area_m2": "86.50",
        "items": "a,b",
        "settings.key": "1",
    }


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("true", "True is a truth value, expected text or a number"),
        ("2026-01-01", "2026-01-01 is a date or time, write it as text"),
        ("08:00:00", "08:00:00 is a date or time, write it as text"),
        ("{ a = 1 }", "expected text or a number, not dict"),
        ('["a,b"]', "an item of a list must not hold a comma"),
        ('"a\\u0007"', "'a\\x07' holds control characters"),
        (f'"{"x" * 501}"', "501 characters, at most 500 are taken"),
    ],
)
def test_value_that_is_no_text_is_a_problem_of_its_cell(
    toml: TomlReader, value: str, reason: str
) -> None:
    file = toml(f"[[site]]\ncode = {value}\n")
    assert [str(problem) for problem in file.problems] == [f"site row 1 (line 1), code: {reason}"]
    assert file.rows[0].cells == {}


def test_toml_value_outside_of_a_table_is_a_problem(toml: TomlReader) -> None:
    assert [str(p) for p in toml('site = "east"').problems] == [
        "site row 1: expected tables, write [[site]]"
    ]


def test_sheets_become_tables_with_the_rows_of_the_spreadsheet(xlsx: XlsxReader) -> None:
    file = xlsx(
        site=(2, [["code", " name "], ["east", "Mall"], [], ["west", ""]]),
        meter=(0, [["serial", "ct", "area"], [20260711, 40, 86.5]]),
    )
    assert [(row.table, row.number, row.cells) for row in file.rows] == [
        ("site", 4, {"code": "east", "name": "Mall"}),
        ("site", 6, {"code": "west"}),
        ("meter", 2, {"serial": "20260711", "ct": "40", "area": "86.5"}),
    ]
    assert file.problems == ()


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        pytest.param(
            [["serial"], [202607110001234592]],
            "meter row 2, serial: 202607110001234592 has more than 15 digits, a spreadsheet rounds "
            "such numbers: format the cell as text and write it again",
            id="digits lost",
        ),
        pytest.param(
            [["serial"], [date(2026, 7, 11)]],
            "meter row 2, serial: 2026-07-11 is a date or time, write it as text",
            id="date",
        ),
        pytest.param(
            [["serial", ""], ["1", "stray"]],
            "meter row 2: 'stray' stands under no column name",
            id="no column name",
        ),
        pytest.param(
            [["serial", "ct", "serial"], ["1", "1", "2"]],
            "meter row 1, serial: the column is there twice",
            id="column twice",
        ),
    ],
)
def test_cell_that_cannot_be_exact_is_a_problem(
    xlsx: XlsxReader, rows: list[list[object]], problem: str
) -> None:
    assert [str(found) for found in xlsx(meter=(0, rows)).problems] == [problem]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.toml", None, "No such file"),
        ("estate.csv", b"", "expected .toml or .xlsx, not .csv"),
        ("estate", b"", "expected .toml or .xlsx, not no suffix"),
        ("estate.toml", b"\xff\xfe", "not TOML"),
        ("estate.toml", b"[[site]\n", "not TOML"),
        ("estate.toml", b"a = " + b"[" * 100_000, "not TOML"),
        ("estate.toml", b"a = 1e99999999999999999999", "not TOML"),
        ("estate.xlsx", b"", "not a readable .xlsx workbook"),
        ("estate.xlsx", b"PK\x03\x04 and then nothing", "not a readable .xlsx workbook"),
    ],
)
def test_unreadable_file_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EstateFileError, match=message) as caught:
        read_estate_file(path)
    assert str(caught.value).startswith(str(path))


def test_zip_that_is_no_workbook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "estate.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(EstateFileError, match=r"it has no xl/workbook\.xml"):
        read_estate_file(path)


def test_file_beyond_the_size_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estate_files, "FILE_SIZE_MAX", 10)
    path = tmp_path / "estate.toml"
    path.write_text("# " + "x" * 20)
    with pytest.raises(EstateFileError, match="22 bytes, at most 10 are read"):
        read_estate_file(path)


def test_rows_beyond_the_limit_are_refused(
    toml: TomlReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estate_files, "ROWS_MAX", 2)
    with pytest.raises(EstateFileError, match="more than 2 rows"):
        toml('[[site]]\ncode = "a"\n' * 3)


def test_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = workbook(tmp_path / "estate.xlsx", {"site": SITE})
    bomb = repacked(path, lambda name, data: data + b" " * (80 << 20) if "sheet1" in name else data)
    assert bomb.stat().st_size < 200_000
    with pytest.raises(EstateFileError, match="unpacks to more than 67108864 bytes"):
        read_estate_file(bomb)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (b"A1048576", "more than 50000 rows"),
        (b"XFD2", "more than 64 columns"),
        (b"XFD1048576", "more than"),
        (b"A99999999999999999999", "more than 50000 rows"),
        (b"BM2", "more than 64 columns"),
    ],
)
def test_far_cell_is_refused_before_a_rectangle_is_made_for_it(
    tmp_path: Path, cell: bytes, message: str
) -> None:
    path = workbook(tmp_path / "estate.xlsx", {"site": SITE})
    far = repacked(path, lambda name, data: data.replace(b'r="A2"', b'r="' + cell + b'"'))
    with pytest.raises(EstateFileError, match=message):
        read_estate_file(far)


def test_xml_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "estate.xlsx", {"site": SITE})
    recoded = repacked(
        path,
        lambda name, data: data.decode().encode("utf-16") if "sheet1" in name else data,
    )
    with pytest.raises(EstateFileError, match="its XML is not UTF-8"):
        read_estate_file(recoded)


def test_size_that_a_member_declares_is_not_believed(tmp_path: Path) -> None:
    path = workbook(tmp_path / "estate.xlsx", {"site": SITE})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    lie = (size - 1).to_bytes(4, "little")
    path.write_bytes(bytes(content).replace(size.to_bytes(4, "little"), lie))
    with pytest.raises(EstateFileError, match="not a readable"):
        read_estate_file(path)


@given(st.data())
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_damaged_workbook_fails_only_by_its_own_error(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "whole.xlsx"
    if not path.exists():
        workbook(path, {"site": SITE, "meter": (1, [["serial", "ct"], ["1", 2.5]])})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = data.draw(st.sampled_from(sorted(members)))
    content = bytearray(members[name])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = repacked(path, lambda member, old: bytes(content) if member == name else old)
    try:
        file = read_estate_file(damaged)
    except EstateFileError:
        return
    assert all(isinstance(text, str) for row in file.rows for text in row.cells.values())
