import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
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
LATER = (datetime.now(UTC) + timedelta(hours=2)).isoformat()


@pytest.fixture
def town(estate: Estate) -> None:
    estate()


@pytest.fixture
def bert(town: None, add_operator: AddOperator) -> str:
    """Token of a second person."""
    return add_operator("bert", *Right)


async def _quarantine(file: Path) -> Command:
    """Put the one disconnect of the estate where the limiter puts it; open the breakers."""
    async with (
        await Database.open(f"sqlite:///{file}") as database,
        database.unit_of_work() as uow,
    ):
        (command,) = await uow.commands.in_states({CommandState.QUEUED})
        moved = await uow.commands.move(
            command.organisation_id,
            command.id,
            {CommandState.QUEUED},
            CommandState.QUARANTINED,
            at=command.created_at,
            outcome="over the limit",
        )
        assert moved is not None
        for breaker in await uow.breakers.lock(command.organisation_id):
            await uow.breakers.put(replace(breaker, opened_at=command.created_at))
        await uow.commit()
    return moved


def test_hold_of_a_site_is_set_listed_and_ended(cli: Cli, town: None, answer: Answer) -> None:
    words = ("supply", "hold", "set", "--site", "east", "--owner", "weather", "--reason", "storm")
    tried = answer(cli(*words, "--dry-run", "--json"))
    assert answer(cli("supply", "hold", "list", "--json")) == []
    made = answer(cli(*words, "--until", LATER, "--json"))
    (listed,) = answer(cli("supply", "hold", "list", "--json"))
    assert tried["owner"] == listed["owner"] == "weather"
    assert (listed["id"], listed["site"], listed["set_by"]) == (made["id"], "east", "anna")
    told = cli("supply", "hold", "end", made["id"], "--dry-run").stdout
    assert re.search(r"^site +east *$", told, re.MULTILINE)
    assert made["organisation_id"] not in told
    answer(cli("supply", "hold", "end", made["id"], "--json"))
    assert answer(cli("supply", "hold", "list", "--json")) == []
    again = cli("supply", "hold", "end", made["id"])
    assert (again.exit_code, "ended already" in again.stderr) == (4, True)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(("--reason", "x"), 2, id="nobody named"),
        pytest.param(("--site", "west", "--reason", "x"), 3, id="unknown site"),
        pytest.param(("--account", "A-9", "--reason", "x"), 3, id="unknown account"),
        pytest.param(("--site", "east", "--reason", " "), 2, id="no reason"),
        pytest.param(("--site", "east", "--reason", "x", "--until", "soon"), 2, id="no time"),
    ],
)
def test_hold_that_cannot_be_names_why(
    cli: Cli, town: None, words: tuple[str, ...], code: int
) -> None:
    assert cli("supply", "hold", "set", *words).exit_code == code


def test_hold_needs_the_right(cli: Cli, town: None, add_operator: AddOperator) -> None:
    token = add_operator("cashier", Right.MONEY_VEND)
    words = ("supply", "hold", "set", "--site", "east", "--reason", "x", "--token", token)
    assert cli(*words).exit_code == 1


def test_bypass_takes_two_people_and_stands_until_ended(
    cli: Cli, bert: str, answer: Answer
) -> None:
    words = ("supply", "bypass", "start", "m1", "--until", LATER)
    asked = cli(*words, "--reason", "repair", "--json")
    assert asked.exit_code == 4
    approval = json.loads(asked.stdout)["approval"]
    assert cli(*words, "--approval", approval).exit_code == 4  # nobody has approved
    answer(cli("approval", "approve", approval, "--token", bert, "--json"))
    begun = answer(cli(*words, "--approval", approval, "--json"))
    assert (begun["asked_by"], begun["approved_by"]) == ("anna", "bert")
    (listed,) = answer(cli("supply", "bypass", "list", "--json"))
    assert (listed["meter"], listed["overdue"]) == ("m1", False)
    told = cli("supply", "bypass", "end", "m1", "--dry-run").stdout
    assert re.search(r"^meter +m1 *$", told, re.MULTILINE)
    answer(cli("supply", "bypass", "end", "m1", "--json"))
    assert answer(cli("supply", "bypass", "list", "--json")) == []
    assert cli("supply", "bypass", "end", "m1").exit_code == 4


@pytest.mark.parametrize("word", ["release", "drop"])
def test_quarantined_disconnect_is_decided_by_a_person(
    cli: Cli, town: None, answer: Answer, database_file: Path, word: str
) -> None:
    assert answer(cli("supply", "quarantine", "list", "--json")) == []
    answer(cli("command", "disconnect", "m1", "--json"))
    command = asyncio.run(_quarantine(database_file))
    (listed,) = answer(cli("supply", "quarantine", "list", "--json"))
    assert (listed["meter"], listed["cause"]) == ("m1", "shortage")
    answer(cli("supply", "quarantine", word, str(command.id), "--dry-run", "--json"))
    done = answer(cli("supply", "quarantine", word, str(command.id), "--json"))
    assert done["state"] == ("queued" if word == "release" else "failed")
    assert answer(cli("supply", "quarantine", "list", "--json")) == []
    assert cli("supply", "quarantine", word, str(command.id)).exit_code == 4


@pytest.mark.parametrize("scope", [(), ("--system",)], ids=["organisation", "system"])
def test_breaker_is_closed_by_two_people(
    cli: Cli, bert: str, answer: Answer, database_file: Path, scope: tuple[str, ...]
) -> None:
    assert cli("supply", "breaker", "close", *scope, "--reason", "x").exit_code == 4  # closed
    answer(cli("command", "disconnect", "m1", "--json"))
    asyncio.run(_quarantine(database_file))
    states = {each["state"] for each in answer(cli("supply", "breaker", "show", "--json"))}
    assert states == {"open"}
    asked = cli("supply", "breaker", "close", *scope, "--reason", "checked", "--json")
    approval = json.loads(asked.stdout)["approval"]
    assert asked.exit_code == 4
    answer(cli("approval", "approve", approval, "--token", bert, "--json"))
    closed = answer(cli("supply", "breaker", "close", *scope, "--approval", approval, "--json"))
    assert closed["state"] == "closed"


def test_disconnect_for_safety_needs_the_right_to_force(
    cli: Cli, town: None, add_operator: AddOperator, answer: Answer
) -> None:
    token = add_operator("chen", Right.SUPPLY_COMMAND)
    words = ("command", "disconnect", "m1", "--cause", "safety")
    assert cli(*words, "--token", token).exit_code == 1
    (command,) = answer(cli(*words, "--json"))["commands"]
    assert command["state"] == "queued"


def test_shortage_shows_whom_it_takes(cli: Cli, town: None, answer: Answer) -> None:
    words = ("supply", "shortage", "--site", "east", "--until", LATER)
    plan = answer(cli(*words, "--reduce-to", "0", "--json"))
    assert plan == {"before_kw": "0", "after_kw": "0", "shed": []}
    assert cli(*words, "--reduce-to", "much").exit_code == 2
    assert cli(*words, "--reduce-to", "-1").exit_code == 2


def test_supply_status_of_an_estate_without_accounts_is_empty(
    cli: Cli, town: None, answer: Answer
) -> None:
    assert answer(cli("supply", "status", "--json")) == []
    assert cli("supply", "status", "--account", "A-9").exit_code == 3


def test_notice_log_and_texts(cli: Cli, town: None, answer: Answer) -> None:
    assert answer(cli("notice", "list", "--json")) == []
    assert answer(cli("notice", "list", "--unreachable", "--json")) == []
    assert "arrears" in answer(cli("notice", "preview", "--json"))["zh"]
    unknown = "00000000-0000-0000-0000-000000000000"
    assert cli("notice", "paper", unknown).exit_code == 3


def test_site_policy_is_shown_and_set(cli: Cli, town: None, answer: Answer) -> None:
    assert answer(cli("site", "policy", "show", "east", "--json"))["alarm_1"] == "50.00"
    answer(cli("site", "policy", "set", "east", "alarm_1=70", "--dry-run", "--json"))
    assert answer(cli("site", "policy", "show", "east", "--json"))["alarm_1"] == "50.00"
    answer(cli("site", "policy", "set", "east", "alarm_1=70", "sms_number=10086", "--json"))
    shown = answer(cli("site", "policy", "show", "east", "--json"))
    assert (shown["alarm_1"], shown["sms_number"]) == ("70", "10086")


def test_overload_threshold_goes_to_the_meters_that_can_keep_it(
    cli: Cli, town: None, answer: Answer
) -> None:
    done = answer(cli("site", "policy", "set", "east", "overload_kw=8", "--json"))
    assert done["set"]["overload_kw"] == "8"
    assert "m3" in done["unfit"]
    assert "m1" not in done["unfit"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param("alarm_1=-5", 2, id="negative"),
        pytest.param("alarm_9=5", 3, id="unknown"),
        pytest.param("alarm_1", 2, id="no value"),
    ],
)
def test_parameter_that_cannot_be_is_refused(cli: Cli, town: None, change: str, code: int) -> None:
    assert cli("site", "policy", "set", "east", change).exit_code == code


def test_holidays_of_a_year_are_kept(cli: Cli, town: None, answer: Answer) -> None:
    words = ("site", "holidays", "east", "2026")
    kept = answer(
        cli(*words, "--day", "2026-10-01=National Day", "--working", "2026-10-10", "--json")
    )
    assert kept == answer(cli(*words, "--json"))
    assert kept[0] == {"day": "2026-10-01", "name": "National Day", "working": False}
    assert cli(*words, "--day", "2025-10-01").exit_code == 2
    assert cli(*words, "--day", "tomorrow").exit_code == 2
