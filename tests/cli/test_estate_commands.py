import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from click.testing import Result

Cli = Callable[..., Result]
Estate = Callable[..., None]
Answer = Callable[[Result], Any]

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "estate.toml"


def test_example_of_the_manual_is_imported_without_a_warning(
    cli: Cli, database_file: Path, answer: Answer
) -> None:
    report = answer(cli("import", str(EXAMPLE), "--json"))
    assert report["warnings"] == []
    assert report["tables"]["meter"] == {"added": 2, "updated": 0, "unchanged": 0}
    again = answer(cli("import", str(EXAMPLE), "--json"))
    assert again["tables"]["meter"] == {"added": 0, "updated": 0, "unchanged": 2}


def test_dry_run_writes_nothing(cli: Cli, database_file: Path) -> None:
    result = cli("import", str(EXAMPLE), "--dry-run")
    assert result.exit_code == 0
    assert "dry run: nothing was written" in result.stderr
    assert cli("meters").exit_code == 3


def test_bad_rows_are_listed_and_nothing_is_imported(
    cli: Cli, database_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "bad.toml"
    text = (
        EXAMPLE.read_text().replace('address = "7"', 'address = "0"').replace("ct = 40", "ct = -4")
    )
    file.write_text(text)
    result = cli("import", str(file))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert [line.partition(": ")[2].partition(": ")[0] for line in result.stderr.splitlines()] == [
        "meter row 1 (line 44), ct",
        "meter row 2 (line 53), address",
        "2 problems, nothing was imported",
    ]
    report = json.loads(cli("import", str(file), "--json").stdout)
    assert report["imported"] is False
    assert report["problems"][0] == {
        "table": "meter",
        "row": 1,
        "line": 44,
        "column": "ct",
        "reason": "-4 is not above 0",
    }
    assert cli("meters").exit_code == 3


def test_workbook_is_imported_and_its_rows_are_those_of_the_sheet(
    cli: Cli, database_file: Path, tmp_path: Path
) -> None:
    sheets: dict[str, list[list[str | int]]] = {
        "organisation": [["name", "currency", "language"], ["H", "CNY", "en"]],
        "site": [
            ["code", "name", "time_zone", "utilities"],
            ["east", "East", "Asia/Shanghai", "electricity, water"],
        ],
        "channel": [["site", "code", "url"], ["east", "b", "tcp://10.0.0.5:502"]],
        "meter": [
            ["site", "serial", "model", "channel", "address"],
            ["east", "20260711000123", "acrel_dtsy1352", "b", 7],
            ["east", "20260711000124", "acrel_dtsy1352", "b", 248],
        ],
    }
    file = tmp_path / "estate.xlsx"

    def write() -> None:
        with xlsxwriter.Workbook(file) as book:
            for name, rows in sheets.items():
                sheet = book.add_worksheet(name)
                for index, row in enumerate(rows):
                    sheet.write_row(index, 0, row)

    write()
    refused = cli("import", str(file))
    assert refused.exit_code == 1
    assert "error: meter row 3, address: address '248'" in refused.stderr
    sheets["meter"][2][4] = 8
    write()
    assert cli("import", str(file)).exit_code == 0
    assert "20260711000124" in cli("meters").stdout


def test_meters_are_listed_with_state_and_freshness(
    cli: Cli, estate: Estate, answer: Answer
) -> None:
    estate()
    meters = answer(cli("meters", "--json"))
    assert [meter["serial"] for meter in meters] == ["m1", "m2", "m3"]
    first = meters[0]
    assert (first["state"], first["fresh"], first["age_s"]) == ("new", False, None)
    assert (first["ct"], first["usage_point"], first["interval_s"]) == ("40", "p1", 5)
    assert "never (late)" in cli("meters", "--site", "east").stdout


def test_only_lost_meters_and_gateways_are_reported(
    cli: Cli, estate: Estate, answer: Answer, lose: Callable[[], None]
) -> None:
    estate()
    assert answer(cli("meters", "--lost", "--json")) == []
    assert answer(cli("gateways", "--lost", "--json")) == []
    lose()
    (meter,) = answer(cli("meters", "--lost", "--json"))
    assert (meter["serial"], meter["lost_reason"]) == ("m1", "meter")
    assert meter["state_since"].startswith("2026-03-01T08:00:00")
    (gateway,) = answer(cli("gateways", "--lost", "--json"))
    assert (gateway["code"], gateway["lost_reason"]) == ("gw-1", "gateway")
    assert "gw-1" in cli("gateways").stdout


def test_exports_are_csv(cli: Cli, estate: Estate, tmp_path: Path) -> None:
    estate()
    meters = list(csv.DictReader(io.StringIO(cli("export", "meters").stdout)))
    assert meters[0] == {
        "site": "east",
        "serial": "m1",
        "model": "acrel_dtsy1352",
        "channel": "bus-1",
        "address": "1",
        "ct": "40",
        "pt": "1",
        "usage_point": "p1",
        "reading_interval": "",
    }
    result = cli("export", "states", "--output", "states.csv")
    assert (result.exit_code, result.stdout) == (0, "")
    states = list(csv.DictReader(io.StringIO((tmp_path / "states.csv").read_text())))
    assert [(row["serial"], row["state"], row["fresh"]) for row in states] == [
        ("m1", "new", "no"),
        ("m2", "new", "no"),
        ("m3", "new", "no"),
    ]


def test_export_into_a_folder_that_is_not_there_is_one_line(cli: Cli, estate: Estate) -> None:
    estate()
    result = cli("export", "states", "--output", "gone/states.csv")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_channels_are_listed(cli: Cli, estate: Estate, answer: Answer) -> None:
    estate()
    (channel,) = answer(cli("channels", "list", "--json"))
    assert (channel["code"], channel["meters"], channel["reading_window"]) == (
        "bus-1",
        3,
        "00:00-24:00",
    )
    assert "bus-1" in cli("channels", "list", "--site", "east").stdout


def test_audit_log_is_verified(
    cli: Cli, estate: Estate, answer: Answer, database_file: Path
) -> None:
    estate()
    report = answer(cli("audit", "verify", "--json"))
    assert (report["entries"], report["fault"]) == (1, None)
    assert "1 entries hold" in cli("audit", "verify").stderr


@pytest.mark.parametrize("name", ["plugins", "models"])
def test_plugins_and_models_are_listed(cli: Cli, answer: Answer, name: str) -> None:
    listed = answer(cli(name, "--json"))
    assert "acrel_dtsy" in {each.get("name") for each in listed} | {
        each.get("plugin") for each in listed
    }
    assert "acrel_dtsy" in cli(name).stdout


def test_models_of_one_utility_are_listed(cli: Cli, answer: Answer) -> None:
    assert answer(cli("models", "--utility", "water", "--json")) == []
    model = next(m for m in answer(cli("models", "--json")) if m["id"] == "acrel_dtsy1352")
    assert {"supply", "credit"} <= set(model["capabilities"])
    assert "active_energy_import" in model["registers"]
    assert model["twin"] is True
