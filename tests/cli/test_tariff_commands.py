import asyncio
import json
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from meterplex.db import Database
from meterplex.domain.readings import Reading
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TARIFF, INTERVALS = str(EXAMPLES / "tariff.toml"), str(EXAMPLES / "intervals.csv")

HOUR = timedelta(hours=1)

Cli = Callable[..., Result]
Answer = Callable[[Result], Any]


def bad_tariff(folder: Path) -> str:
    path = folder / "bad.toml"
    text = Path(TARIFF).read_text("utf-8")
    path.write_text(text.replace("4800", "2000").replace('band = "peak"', 'band = "noon"'))
    return str(path)


def test_rate_prints_the_worked_example(cli: Cli, answer: Answer) -> None:
    rated = answer(cli("tariff", "rate", TARIFF, INTERVALS, "--json"))
    assert rated == json.loads((EXAMPLES / "rated.json").read_text("utf-8"))


def test_rate_shows_people_a_table(cli: Cli) -> None:
    result = cli("tariff", "rate", TARIFF, INTERVALS)
    assert result.exit_code == 0
    assert result.stderr == ""
    words = [line.split() for line in result.stdout.splitlines()]
    assert ["energy", "block", "1", "peak", "2.25", "kWh", "0.6170", "1.3883"] in words
    assert ["value", "added", "tax", "13", "%", "of", "45.3796", "5.8993"] in words
    assert ["payable", "56.28"] in words


def test_rate_explains_when_units_were_used(cli: Cli, answer: Answer) -> None:
    rated = answer(cli("tariff", "rate", TARIFF, INTERVALS, "--explain", "--json"))
    assert rated["periods"][0]["lines"][0]["start"] == "2026-07-01T06:00:00+08:00"
    table = cli("tariff", "rate", TARIFF, INTERVALS, "--explain").stdout
    assert "2026-07-01 06:00:00+08:00  2026-07-01 08:00:00+08:00" in table


def test_minimum_stands_in_the_table(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "minimum.toml"
    text = Path(TARIFF).read_text("utf-8")
    path.write_text(text.replace('amount = "0.00"', 'amount = "60.00"'))
    lines = cli("tariff", "rate", str(path), INTERVALS).stdout.splitlines()
    assert ["minimum", "3.7211"] in [line.split() for line in lines]


def test_sound_tariff_is_told_so(cli: Cli, answer: Answer) -> None:
    assert cli("tariff", "check", TARIFF).stdout == "shop-power version 3 is sound\n"
    assert answer(cli("tariff", "check", TARIFF, "--json")) == {
        "sound": True,
        "tariff": "shop-power",
        "version": 3,
        "faults": [],
    }


def test_bad_tariff_is_told_fault_by_fault_and_not_rated(cli: Cli, tmp_path: Path) -> None:
    path = bad_tariff(tmp_path)
    for command in (["check", path], ["rate", path, INTERVALS]):
        result = cli("tariff", *command)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.splitlines() == [
            "error: seasons[0].days[0].slots[1].band: unknown band 'noon'",
            "error: blocks[1].up_to: overlapping blocks: 2000 is not above 2760",
        ]


def test_faults_as_json(cli: Cli, tmp_path: Path) -> None:
    result = cli("tariff", "check", bad_tariff(tmp_path), "--json")
    assert result.exit_code == 1
    checked = json.loads(result.stdout)
    assert checked["sound"] is False
    assert [fault["path"] for fault in checked["faults"]] == [
        "seasons[0].days[0].slots[1].band",
        "blocks[1].up_to",
    ]


def test_bad_intervals_are_told_row_by_row(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("start,end,units\na,b,c\n")
    result = cli("tariff", "rate", TARIFF, str(path))
    assert result.exit_code == 1
    assert [line.split(":")[1] for line in result.stderr.splitlines()] == [
        " row 2, start",
        " row 2, end",
        " row 2, units",
    ]


def test_missing_file_and_early_use_are_one_line(cli: Cli, tmp_path: Path) -> None:
    missing = cli("tariff", "check", str(tmp_path / "none.toml"))
    assert (missing.exit_code, len(missing.stderr.splitlines())) == (1, 1)
    path = tmp_path / "early.csv"
    path.write_text("start,end,units\n2026-06-30T23:00:00+08:00,2026-07-01T00:00:00+08:00,1\n")
    early = cli("tariff", "rate", TARIFF, str(path))
    assert early.exit_code == 1
    assert "the tariff is valid from 2026-07-01" in early.stderr


WATER = """
id = "water"
version = 1
utility = "water"
currency = "CNY"
time_zone = "Asia/Shanghai"
valid_from = 2026-01-01
rounding = "half_up"
[periods]
blocks = "month"
billing = "month"
block_allocation = "chronological"
[[blocks]]
name = "all"
[bands]
names = ["all"]
[[seasons]]
name = "year"
from = "01-01"
[[seasons.days]]
types = ["workday", "saturday", "sunday", "holiday"]
slots = [{ at = "00:00", band = "all" }]
[energy]
prices = [["2.00"]]
[sewage]
price = "1.42"
share_percent = "95"
free_units = "2"
[[surcharge]]
name = "value added tax"
percent = "6"
applies_to = ["energy", "sewage"]
"""
JULY = "start,end,units\n2026-07-01T00:00:00+08:00,2026-08-01T00:00:00+08:00,30\n"


def water_files(folder: Path) -> tuple[str, str]:
    tariff, intervals = folder / "water.toml", folder / "july.csv"
    tariff.write_text(WATER)
    intervals.write_text(JULY)
    return str(tariff), str(intervals)


def test_component_of_a_bundled_plugin_is_rated(cli: Cli, answer: Answer, tmp_path: Path) -> None:
    files = water_files(tmp_path)
    assert cli("tariff", "check", files[0]).stdout == "water version 1 is sound\n"
    (bill,) = answer(cli("tariff", "rate", *files, "--json"))["periods"]
    assert bill["lines"][1:] == [
        {
            "component": "sewage",
            "units": "26.6",
            "unit": "m3",
            "price": "1.42",
            "amount": "37.7720",
        },
        {
            "component": "value added tax",
            "base": "97.7720",
            "percent": "6",
            "amount": "5.8663",
        },
    ]


def test_meters_own_prices_are_checked_and_rated(cli: Cli, answer: Answer, tmp_path: Path) -> None:
    files = water_files(tmp_path)
    own = tmp_path / "own.toml"
    own.write_text('[energy]\nfactor_percent = "50"\n')
    rated = answer(cli("tariff", "rate", *files, "--override", str(own), "--json"))
    assert rated["periods"][0]["lines"][0]["price"] == "1.00"
    own.write_text('[standing]\nrent = "1"\n')
    refused = cli("tariff", "check", files[0], "--override", str(own))
    assert refused.exit_code == 1
    assert refused.stderr == "error: standing.rent: the tariff has no standing charge 'rent'\n"


def test_table_of_no_plugin_is_told_with_those_there_are(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "storm.toml"
    path.write_text(WATER.replace("[sewage]", "[storm_water]").replace(', "sewage"', ""))
    result = cli("tariff", "check", str(path))
    assert result.exit_code == 1
    assert result.stderr == (
        "error: storm_water: unknown table; plugins bring these components: sewage (water_valve)\n"
    )


POWER = (
    WATER.replace('utility = "water"', 'utility = "electricity"')
    .replace("[sewage]", "[[surcharge]]")
    .replace('price = "1.42"\nshare_percent = "95"\nfree_units = "2"', 'name = "x"\nper_unit = "0"')
    .replace(', "sewage"', "")
)


@pytest.fixture
def used(bare_estate: Callable[..., None], database_file: Path) -> tuple[date, date]:
    """Ten units on the meter m1 with its ratio of 40; return days around them."""

    async def read() -> tuple[date, date]:
        async with (
            await Database.open(f"sqlite:///{database_file}") as database,
            database.unit_of_work() as uow,
        ):
            (organisation,) = await uow.organisations.all()
            meter = await uow.meters.by_serial(organisation.id, "m1")
            assert meter is not None
            binding = await uow.bindings.open_of_meter(organisation.id, meter.id)
            assert binding is not None
            readings = [
                Reading(meter.id, ACTIVE_ENERGY_IMPORT, binding.since + n * HOUR, Decimal(10 * n))
                for n in range(2)
            ]
            await uow.readings.store(organisation.id, readings, received_at=binding.since)
            await uow.commit()
        day = binding.since.date()
        return day - timedelta(days=1), day + timedelta(days=3)

    bare_estate()
    return asyncio.run(read())


def backtest_files(folder: Path) -> tuple[str, str]:
    old, new = folder / "old.toml", folder / "new.toml"
    old.write_text(POWER)
    new.write_text(POWER.replace('"2.00"', '"1.50"').replace("2026-01-01", "2030-01-01"))
    return str(old), str(new)


def test_backtest_compares_two_tariffs_on_stored_readings(
    cli: Cli, answer: Answer, used: tuple[date, date], tmp_path: Path
) -> None:
    days = "--from", str(used[0]), "--to", str(used[1])
    command = "tariff", "backtest", *backtest_files(tmp_path), *days
    for chosen in (("--site", "east"), ("--meter", "m1")):
        compared = answer(cli(*command, *chosen, "--json"))
        assert compared["totals"] == {
            "usage_points": 1,
            "units": "400",
            "old": "848.0000",
            "new": "636.0000",
            "difference": "-212.0000",
            "winners": 1,
            "losers": 0,
            "unchanged": 0,
            "median_difference": "-212.0000",
        }
        (point,) = compared["usage_points"]
        assert (point["usage_point"], point["difference"]) == ("p1", "-212.0000")
        assert {gap["reason"] for gap in point["gaps"]} == {"no good readings"}
        assert compared["left_out"] == []


def test_backtest_shows_people_a_table(cli: Cli, used: tuple[date, date], tmp_path: Path) -> None:
    days = "--from", str(used[0]), "--to", str(used[1])
    result = cli("tariff", "backtest", *backtest_files(tmp_path), "--site", "east", *days)
    assert result.exit_code == 0
    words = [line.split() for line in result.stdout.splitlines()]
    assert ["p1", "400", "848.0000", "636.0000", "-212.0000", "1"] in words
    assert "1 pay less, 0 pay more, 0 the same; median difference -212.0000" in result.stdout
    assert "left out: no good readings" in result.stderr


def test_backtest_names_points_that_were_not_rated(
    cli: Cli, used: tuple[date, date], tmp_path: Path
) -> None:
    days = "--from", "2020-01-01", "--to", "2020-02-01"
    result = cli("tariff", "backtest", *backtest_files(tmp_path), "--site", "east", *days)
    assert result.stderr == "p1: not rated: no meter in this time\n"


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ((), "name a site or meters", 2),
        (("--site", "east", "--meter", "m1"), "name a site or meters", 2),
        (("--site", "west"), "no site 'west'", 3),
        (("--meter", "m9"), "no meter m9", 3),
        (("--meter", "m2"), "usage points of one site", 2),
    ],
)
def test_backtest_refuses_what_it_cannot_find(
    cli: Cli,
    used: tuple[date, date],
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
    code: int,
) -> None:
    days = "--from", "2026-01-01", "--to", "2026-02-01"
    result = cli("tariff", "backtest", *backtest_files(tmp_path), *days, *arguments)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr


def test_backtest_of_no_days_is_a_usage_error(
    cli: Cli, used: tuple[date, date], tmp_path: Path
) -> None:
    days = "--from", "2026-02-01", "--to", "2026-01-01"
    result = cli("tariff", "backtest", *backtest_files(tmp_path), "--site", "east", *days)
    assert result.exit_code == 2
    assert "expected a later day" in result.stderr


def test_backtest_tells_where_the_power_factor_was_not_measured(
    cli: Cli, used: tuple[date, date], tmp_path: Path
) -> None:
    old, new = backtest_files(tmp_path)
    with Path(new).open("a") as file:
        file.write('[power_factor]\ntarget = "0.90"\napplies_to = ["energy"]\ntable = []\n')
    days = "--from", str(used[0]), "--to", str(used[1])
    result = cli("tariff", "backtest", old, new, "--site", "east", *days)
    assert result.exit_code == 0, result.output
    assert "p1: no reactive energy, rated without the power factor" in result.stderr
