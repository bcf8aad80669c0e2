import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from meterplex.db import Database
from meterplex.domain.commands import Command, CommandState
from meterplex.domain.operators import Right

Cli = Callable[..., Result]
Estate = Callable[..., None]
AddOperator = Callable[..., str]
Answer = Callable[[Result], Any]
Mover = Callable[..., None]


@pytest.fixture
def move(database_file: Path) -> Mover:
    """Move the commands of the estate, in their order, as a head-end would."""

    async def write(*states: CommandState) -> None:
        url = f"sqlite:///{database_file}"
        async with await Database.open(url) as database, database.unit_of_work() as uow:
            (organisation,) = await uow.organisations.all()
            commands = await uow.commands.in_states([CommandState.QUEUED])
            now = datetime.now(UTC)
            for command, state in zip(commands, states, strict=True):
                way = [CommandState.SENT, state]
                if state in (CommandState.SENT, CommandState.EXPIRED):
                    way = [state]
                here = CommandState.QUEUED
                for there in way:
                    await uow.commands.move(organisation.id, command.id, [here], there, at=now)
                    here = there
            await uow.commit()

    return lambda *states: asyncio.run(write(*states))


def test_command_leaves_a_durable_row_and_an_audit_entry(
    cli: Cli, estate: Estate, answer: Answer
) -> None:
    estate()
    batch = answer(cli("command", "disconnect", "m1", "--json"))
    (command,) = batch["commands"]
    assert batch["settled"] is False
    assert (command["meter"], command["kind"], command["state"]) == ("m1", "disconnect", "queued")
    assert command["asked_by"] == "anna"
    again = answer_of_status(cli, batch["batch"])
    assert again["commands"] == batch["commands"]
    assert answer(cli("audit", "verify", "--json"))["entries"] == 2


def answer_of_status(cli: Cli, batch: str) -> Any:
    return json.loads(cli("command", "status", batch, "--json").stdout)


def test_nobody_signed_in_asks_nothing(cli: Cli, bare_estate: Estate) -> None:
    bare_estate()
    result = cli("command", "disconnect", "m1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not signed in" in result.stderr


def test_right_is_needed_at_the_site_of_the_meter(
    cli: Cli, estate: Estate, add_operator: AddOperator, answer: Answer
) -> None:
    estate()
    reader = ("--token", add_operator("reader", Right.REPORT_READ))
    assert answer(cli("command", "read", "m1", *reader, "--json"))["commands"]
    refused = cli("command", "disconnect", "m1", *reader)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "no right supply.command" in refused.stderr
    assert answer(cli("audit", "verify", "--json"))["entries"] == 3  # import, read, refusal


def test_dry_run_of_a_command_asks_nothing(cli: Cli, estate: Estate, answer: Answer) -> None:
    estate()
    batch = answer(cli("command", "disconnect", "m1", "--dry-run", "--json"))
    assert [command["state"] for command in batch["commands"]] == ["queued"]
    assert cli("command", "status", batch["batch"]).exit_code == 3
    assert answer(cli("audit", "verify", "--json"))["entries"] == 1


def test_batch_over_a_site_answers_for_every_meter(
    cli: Cli, estate: Estate, answer: Answer
) -> None:
    estate()
    batch = answer(cli("command", "hold", "--site", "east", "--yes", "--json"))
    assert [(c["meter"], c["state"], c["outcome"]) for c in batch["commands"]] == [
        ("m1", "queued", ""),
        ("m2", "queued", ""),
        ("m3", "failed", "acrel_adl300 has no capability hold_supply"),
    ]


def test_meters_of_a_file_are_asked(
    cli: Cli, estate: Estate, answer: Answer, tmp_path: Path
) -> None:
    estate()
    (tmp_path / "list.txt").write_text("m2\n\n m1 \n")
    batch = answer(cli("command", "clock", "--all-of-file", "list.txt", "--yes", "--json"))
    assert [command["meter"] for command in batch["commands"]] == ["m2", "m1"]


def test_several_meters_may_be_read_without_a_yes(cli: Cli, estate: Estate, answer: Answer) -> None:
    estate()
    assert len(answer(cli("command", "read", "--site", "east", "--json"))["commands"]) == 3


def test_values_of_prices_and_limits_go_into_the_row(
    cli: Cli, estate: Estate, database_file: Path
) -> None:
    estate()
    rates = ("--sharp", "1.2", "--peak", "1.0", "--flat", "0.7", "--valley", "0.4")
    assert cli("command", "prices", "m1", *rates).exit_code == 0
    assert cli("command", "limits", "m1", "--alarm-1", "50", "--overload-kw", "8").exit_code == 0
    days = ("--season", "01-01=0", "--season", "07-01=1")
    tables = ("--table", "00:00=valley,06:00=peak", "--table", "00:00=flat")
    assert cli("command", "calendar", "m1", *days, *tables).exit_code == 0

    async def look() -> tuple[Command, ...]:
        url = f"sqlite:///{database_file}"
        async with await Database.open(url) as database, database.unit_of_work() as uow:
            return await uow.commands.in_states([CommandState.QUEUED])

    prices, limits, calendar = asyncio.run(look())
    assert calendar.arguments == {
        "seasons": "01-01=0,07-01=1",
        "table_0": "00:00=valley,06:00=peak",
        "table_1": "00:00=flat",
    }
    assert prices.arguments == {"sharp": "1.2", "peak": "1.0", "flat": "0.7", "valley": "0.4"}
    assert limits.arguments == {"alarm_1": "50", "overload_kw": "8"}


@pytest.mark.parametrize(
    ("states", "code"),
    [
        pytest.param((CommandState.CONFIRMED, CommandState.CONFIRMED), 0, id="all confirmed"),
        pytest.param((CommandState.CONFIRMED, CommandState.REFUSED), 5, id="one refused"),
        pytest.param((CommandState.CONFIRMED, CommandState.UNKNOWN), 6, id="one unknown"),
        pytest.param((CommandState.CONFIRMED, CommandState.EXPIRED), 6, id="one expired"),
        pytest.param((CommandState.CONFIRMED, CommandState.SENT), 6, id="one under way"),
        pytest.param((CommandState.UNKNOWN, CommandState.REFUSED), 5, id="refused is worst"),
    ],
)
def test_exit_code_of_a_batch_is_that_of_its_worst_command(
    cli: Cli,
    estate: Estate,
    answer: Answer,
    move: Mover,
    states: tuple[CommandState, ...],
    code: int,
) -> None:
    estate()
    batch = answer(cli("command", "disconnect", "m1", "m2", "--yes", "--json"))["batch"]
    move(*states)
    result = cli("command", "status", batch)
    assert result.exit_code == code
    assert all(state.value in result.stdout for state in states)


def test_waiting_ends_at_once_when_all_is_settled(
    cli: Cli, estate: Estate, answer: Answer, move: Mover
) -> None:
    estate()
    batch = answer(cli("command", "disconnect", "m1", "--json"))["batch"]
    move(CommandState.CONFIRMED)
    assert cli("command", "status", batch, "--wait").exit_code == 0


@pytest.mark.integration
def test_disconnect_is_proven_by_a_head_end(
    cli: Cli,
    estate: Estate,
    twins: str,
    answer: Answer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    estate(twins)
    monkeypatch.setenv("METERPLEX_HTTP__PORT", "0")
    program = "import meterplex.cli; meterplex.cli.main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "serve"], stderr=subprocess.PIPE, text=True, env=os.environ
    ) as server:
        assert server.stderr is not None
        try:
            while "serving" not in server.stderr.readline():
                assert server.poll() is None
            batch = answer(cli("command", "disconnect", "m1", "--wait", "--json"))
            assert [command["state"] for command in batch["commands"]] == ["confirmed"]
            batch = answer(cli("command", "reconnect", "m1", "--wait", "--json"))
            assert [command["state"] for command in batch["commands"]] == ["confirmed"]
            assert cli("command", "read", "m1", "--wait").exit_code == 0
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=20)
    readings = answer(cli("readings", "m1", "--register", "active_energy_import", "--json"))
    assert len(readings) >= 1
