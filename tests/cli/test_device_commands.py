"""Commands that speak to one device, against simulated ones."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Cli = Callable[..., Result]
Estate = Callable[..., None]
Answer = Callable[[Result], Any]

pytestmark = pytest.mark.integration


def device(url: str, address: str = "1") -> tuple[str, ...]:
    return ("--model", "acrel_dtsy1352", "--channel", url, "--address", address)


def test_reading_has_exactly_the_promised_keys(cli: Cli, twins: str, answer: Answer) -> None:
    read = answer(cli("read", *device(twins), "--json"))
    assert list(read) == ["model", "address", "readings", "supply", "credit"]
    assert (read["model"], read["address"]) == ("acrel_dtsy1352", "1")
    (energy,) = (each for each in read["readings"] if each["register"] == "active_energy_import")
    assert energy == {
        "register": "active_energy_import",
        "obis": "1-0:1.8.0",
        "value": energy["value"],
        "unit": "kWh",
        "quality": "good",
    }
    assert float(energy["value"]) >= 1000
    assert read["supply"]["mode"] in {"automatic", "held", "forced_off"}
    assert list(read["credit"]) == ["remaining", "purchase_count"]
    assert isinstance(read["credit"]["remaining"], str)


def test_only_the_registers_asked_for_are_shown(cli: Cli, twins: str, answer: Answer) -> None:
    read = answer(cli("read", *device(twins), "--registers", "voltage_l1,1-0:1.8.0", "--json"))
    assert {each["register"] for each in read["readings"]} == {"voltage_l1", "active_energy_import"}


def test_people_get_a_table(cli: Cli, twins: str) -> None:
    result = cli("read", *device(twins))
    assert result.exit_code == 0
    assert "active_energy_import" in result.stdout
    assert "supply: " in result.stdout
    assert "credit: " in result.stdout


def test_trace_shows_both_ways_in_hex_on_stderr(cli: Cli, twins: str) -> None:
    result = cli("read", *device(twins), "--registers", "voltage_l1", "--trace", "--json")
    assert "> 01 03 02 00 00 30 44 66\n" in result.stderr
    assert "\n< 01 03 60 " in result.stderr
    json.loads(result.stdout)


def test_address_is_shown_in_its_normal_form(cli: Cli, twins: str, answer: Answer) -> None:
    assert answer(cli("read", *device(twins, "01"), "--json"))["address"] == "1"


def test_dead_device_ends_with_a_time_out_that_names_it(cli: Cli, twins: str) -> None:
    result = cli("read", *device(twins, "3"))
    assert result.exit_code == 6
    assert f"no reply from address 3 on {twins}" in result.stderr
    assert result.stderr.count("\n") == 1


def test_supply_is_commanded_and_read_back_in_commissioning(
    cli: Cli, twins: str, answer: Answer
) -> None:
    order = (*device(twins, "2"), "--commissioning", "--json", "--supply")
    opened = answer(cli("read", *order, "disconnect"))
    assert opened["supply"] == {"connected": False, "mode": "forced_off"}
    held = answer(cli("read", *order, "hold"))
    assert held["supply"] == {"connected": True, "mode": "held"}
    closed = answer(cli("read", *order, "reconnect"))
    assert closed["supply"] == {"connected": True, "mode": "automatic"}


@pytest.mark.parametrize("other_name", ["127.0.0.1", "localhost"])
def test_device_of_the_estate_is_not_commissioned(
    cli: Cli, twins: str, estate: Estate, other_name: str
) -> None:
    estate(twins)
    url = twins.replace("127.0.0.1", other_name).partition("&")[0]
    for order in (("read", "--supply", "disconnect"), ("bench-check",)):
        result = cli(order[0], *device(url, "01"), *order[1:], "--commissioning", "--trace")
        assert result.exit_code == 4
        assert "is meter m1 of the estate: use meterplex command" in result.stderr
        assert "> " not in result.stderr


def test_address_that_the_estate_does_not_know_may_be_commissioned(
    cli: Cli, twins: str, estate: Estate, answer: Answer
) -> None:
    estate("tcp://127.0.0.1:1")
    order = ("--supply", "automatic", "--commissioning", "--json")
    assert answer(cli("read", *device(twins), *order))["supply"]["mode"] == "automatic"


def test_database_that_cannot_be_asked_forbids_commissioning(
    cli: Cli, twins: str, database_file: Path
) -> None:
    database_file.write_bytes(b"no database " * 100)
    order = ("--supply", "disconnect", "--commissioning", "--trace")
    result = cli("read", *device(twins), *order)
    assert result.exit_code == 1
    assert "> " not in result.stderr


def test_older_schema_forbids_commissioning(cli: Cli, twins: str, database_file: Path) -> None:
    with sqlite3.connect(database_file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()
    result = cli("read", *device(twins), "--supply", "hold", "--commissioning", "--trace")
    assert result.exit_code == 1
    assert "run meterplex db upgrade" in result.stderr
    assert "> " not in result.stderr


def test_bench_check_proves_the_count_of_a_meter_that_compares_it(
    cli: Cli, twins: str, answer: Answer
) -> None:
    report = answer(cli("bench-check", *device(twins), "--commissioning", "--json"))
    assert report["verdict"] == "proven"
    assert [step["verdict"] for step in report["steps"][:3]] == ["proven"] * 3


def test_scan_finds_what_answers_and_fits_best(cli: Cli, twins: str, answer: Answer) -> None:
    found = answer(cli("scan", "--channel", twins, "--addresses", "1-4", "--json"))
    assert [(each["address"], each["model"]) for each in found] == [
        ("1", "acrel_dtsy1352"),
        ("2", "acrel_dtsy1352"),
    ]
    assert all(each["serial"] for each in found)


def test_scan_tells_of_a_device_that_is_no_model_tried(
    cli: Cli, twins: str, answer: Answer
) -> None:
    model = ("--model", "acrel_ddsy1352")
    (found,) = answer(cli("scan", "--channel", twins, "--addresses", "1", *model, "--json"))
    assert found["model"] is None
    assert found["note"]


def test_interrupted_scan_keeps_what_it_found(
    cli: Cli, twins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Impatient:
        def show(self, done: int, total: int, text: str | None = None) -> None:
            asked.append(done)
            if done == 2:
                raise KeyboardInterrupt

    class Bar:
        def __enter__(self) -> Impatient:
            return Impatient()

        def __exit__(self, *error: object) -> None:
            return None

    monkeypatch.setattr("meterplex.cli.scan.progress_bar", lambda text: Bar())
    result = cli("scan", "--channel", twins, "--addresses", "1-9", "--json")
    assert result.exit_code == 130
    assert [each["address"] for each in json.loads(result.stdout)] == ["1", "2"]
    assert asked == [0, 1, 2]


def test_channel_test_tells_open_from_closed(cli: Cli, twins: str) -> None:
    result = cli("channels", "test", "--url", twins, "--url", "tcp://127.0.0.1:1", "--json")
    good, bad = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (good["ok"], good["result"]) == (True, "open")
    assert bad["ok"] is False
    assert "Connect call failed" in bad["result"]


def test_channels_of_the_estate_are_tested(
    cli: Cli, twins: str, estate: Estate, answer: Answer
) -> None:
    estate(twins)
    (tested,) = answer(cli("channels", "test", "--json"))
    assert (tested["channel"], tested["ok"]) == ("bus-1", True)
