import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from meterplex.domain.operators import Right

Cli = Callable[..., Result]
Estate = Callable[..., None]
AddOperator = Callable[..., str]
Answer = Callable[[Result], Any]

TARIFF = """
id = "night"
version = 1
utility = "electricity"
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
names = ["peak", "valley"]
[[seasons]]
name = "winter"
from = "10-01"
[[seasons.days]]
types = ["workday", "saturday", "sunday", "holiday"]
slots = [{ at = "00:00", band = "valley" }, { at = "07:00", band = "peak" }]
[[seasons]]
name = "summer"
from = "04-01"
[[seasons.days]]
types = ["workday", "saturday", "sunday", "holiday"]
slots = [{ at = "00:00", band = "valley" }, { at = "06:00", band = "peak" }]
[energy]
prices = [["0.6170", "0.3070"]]
"""
REFUSED = {
    "meter": "m3",
    "state": "refused",
    "reason": "acrel_adl300 has no capability prices",
}


@pytest.fixture
def tariff(tmp_path: Path) -> str:
    """A tariff that prepaid meters can hold."""
    path = tmp_path / "night.toml"
    path.write_text(TARIFF)
    return str(path)


def test_download_lists_who_will_hold_it_and_who_cannot(
    cli: Cli, estate: Estate, tariff: str, answer: Answer
) -> None:
    estate()
    pending = {"state": "pending", "reason": "write_prices queued; write_calendar queued"}
    all_of_them = "tariff", "download", tariff, "--site", "east", "--yes", "--json"
    dry, told = answer(cli(*all_of_them, "--dry-run")), answer(cli(*all_of_them))
    assert dry["meters"] == told["meters"]
    assert told["meters"] == [{"meter": "m1", **pending}, {"meter": "m2", **pending}, REFUSED]
    assert cli("tariff", "download-status", dry["batch"]).exit_code == 3
    status = cli("tariff", "download-status", told["batch"])
    assert status.exit_code == 5
    assert "1 refused" in status.stderr
    assert ["m3", "refused", "acrel_adl300", "has", "no", "capability", "prices"] in [
        line.split() for line in status.stdout.splitlines()
    ]


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ((), "name meters, or a site", 2),
        (("m1", "--site", "east"), "name meters, or a site", 2),
        (("m1", "m2"), "a tariff for 2 meters: say --yes", 2),
        (("m9",), "no meter m9", 3),
        (("m3",), "acrel_adl300 has no capability prices", 2),
    ],
)
def test_download_that_cannot_be_is_refused(
    cli: Cli, estate: Estate, tariff: str, arguments: tuple[str, ...], message: str, code: int
) -> None:
    estate()
    result = cli("tariff", "download", tariff, *arguments)
    assert message in result.stderr
    assert result.exit_code == code


def test_tariff_of_the_future_needs_early(
    cli: Cli, estate: Estate, tariff: str, answer: Answer
) -> None:
    estate()
    Path(tariff).write_text(TARIFF.replace("2026-01-01", "2199-01-01"))
    result = cli("tariff", "download", tariff, "m1")
    assert (result.exit_code, "valid from 2199-01-01" in result.stderr) == (4, True)
    assert answer(cli("tariff", "download", tariff, "m1", "--early", "--json"))["meters"]


def test_download_needs_the_right_to_command(
    cli: Cli, estate: Estate, tariff: str, add_operator: AddOperator
) -> None:
    estate()
    reader = add_operator("reader", Right.REPORT_READ)
    result = cli("tariff", "download", tariff, "m1", "--token", reader)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no right supply.command" in result.stderr


@pytest.mark.integration
def test_meter_holds_what_was_read_back_and_refuses_what_it_refused(
    cli: Cli,
    estate: Estate,
    twins: str,
    tariff: str,
    answer: Answer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estate(twins)  # the second meter is not the single-phase one that the estate takes it for
    monkeypatch.setenv("METERPLEX_HTTP__PORT", "0")
    program = "import meterplex.cli; meterplex.cli.main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "serve"], stderr=subprocess.PIPE, text=True, env=os.environ
    ) as server:
        assert server.stderr is not None
        try:
            while "serving" not in server.stderr.readline():
                assert server.poll() is None
            several = ("--site", "east", "--yes", "--wait", "--json")
            all_of_them = cli("tariff", "download", tariff, *several)
            one = answer(cli("tariff", "download", tariff, "m1", "--wait", "--json"))
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=20)
    assert all_of_them.exit_code == 5
    first, second, third = json.loads(all_of_them.stdout)["meters"]
    assert first == {"meter": "m1", "state": "held", "reason": ""}
    assert second["reason"].startswith("write_calendar refused: DeviceRefusedError: address 2")
    assert third == REFUSED
    assert one["meters"] == [first]
    status = answer(cli("tariff", "download-status", one["batch"], "--wait", "--json"))
    assert status == one
    commands = answer(cli("command", "status", one["batch"], "--json"))["commands"]
    assert ["peak 0.617" in each["outcome"] for each in commands].count(True) == 1, commands
    assert ["04-01=0,10-01=1" in each["outcome"] for each in commands].count(True) == 1, commands
