import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from meterplex.db import Database
from meterplex.domain.operators import Right

AddOperator = Callable[..., str]
Answer = Callable[[Result], Any]
Cli = Callable[..., Result]
Estate = Callable[..., None]

METERS = 11


@pytest.fixture
def big_estate(estate: Estate, cli: Cli, tmp_path: Path) -> Estate:
    """The estate with enough meters on its bus to need a second person."""

    def take_in() -> None:
        estate()
        file = tmp_path / "estate.toml"
        more = "".join(
            f"""
[[meter]]
site = "east"
serial = "n{number}"
model = "acrel_dtsy1352"
channel = "bus-1"
address = "{number + 10}"
"""
            for number in range(METERS)
        )
        file.write_text(file.read_text() + more)
        assert cli("import", str(file)).exit_code == 0

    return take_in


SERIALS = tuple(f"n{number}" for number in range(METERS))
DISCONNECT = ("command", "disconnect", *SERIALS, "--yes", "--json")


def ask(cli: Cli, answer: Answer) -> str:
    asked = cli(*DISCONNECT, "--reason", "arrears of the tower")
    assert asked.exit_code == 4
    assert "need a second person" in asked.stderr
    (waiting,) = answer(cli("approval", "list", "--json"))
    assert waiting["id"] in asked.stdout
    return str(waiting["id"])


def approvals_in_the_log(database_file: Path) -> list[str]:
    """Return the approval that each entry of a disconnect names."""

    async def look() -> list[str]:
        url = f"sqlite:///{database_file}"
        async with await Database.open(url) as database, database.unit_of_work() as uow:
            (organisation,) = await uow.organisations.all()
            entries = await uow.audit.entries(organisation.id)
        records = [entry.record for entry in entries]
        return [each.detail["approval"] for each in records if each.action == "command.disconnect"]

    return asyncio.run(look())


def test_many_disconnects_wait_for_a_second_person(
    cli: Cli,
    big_estate: Estate,
    answer: Answer,
    add_operator: AddOperator,
    database_file: Path,
) -> None:
    big_estate()
    second = ("--token", add_operator("bert", Right.SUPPLY_APPROVE))
    approval = ask(cli, answer)
    early = cli(*DISCONNECT, "--approval", approval)
    assert early.exit_code == 4
    assert "is open, expected approved" in early.stderr

    shown = answer(cli("approval", "show", approval, *second, "--json"))
    assert (shown["kind"], shown["about"], shown["asked_by"], shown["reason"]) == (
        "supply_batch",
        "disconnect 11 meters",
        "anna",
        "arrears of the tower",
    )
    assert len(shown["content"]["meters"]) == METERS
    alone = cli("approval", "approve", approval)
    assert alone.exit_code == 1
    assert "anna asked for it" in alone.stderr

    tried = answer(cli("approval", "approve", approval, *second, "--dry-run", "--json"))
    assert tried["state"] == "approved"
    decided = answer(cli("approval", "approve", approval, *second, "--remark", "seen", "--json"))
    assert (decided["state"], decided["decided_by"], decided["remark"]) == (
        "approved",
        "bert",
        "seen",
    )
    fewer = cli("command", "disconnect", *SERIALS[1:], "m1", "--yes", "--approval", approval)
    assert fewer.exit_code == 4
    assert "given for another supply_batch" in fewer.stderr

    dry = answer(cli(*DISCONNECT, "--approval", approval, "--dry-run"))
    assert len(dry["commands"]) == METERS
    batch = answer(cli(*DISCONNECT, "--approval", approval))
    assert {command["state"] for command in batch["commands"]} == {"queued"}
    assert approvals_in_the_log(database_file) == [approval] * METERS
    again = cli(*DISCONNECT, "--approval", approval)
    assert again.exit_code == 4
    assert "is used, expected approved" in again.stderr
    assert answer(cli("approval", "list", "--json")) == []
    (used,) = answer(cli("approval", "list", "--all", "--json"))
    assert used["state"] == "used"


def test_refused_batch_is_not_sent(
    cli: Cli, big_estate: Estate, answer: Answer, add_operator: AddOperator
) -> None:
    big_estate()
    second = ("--token", add_operator("bert", Right.SUPPLY_APPROVE))
    approval = ask(cli, answer)
    refused = cli("approval", "refuse", approval, *second)
    assert refused.exit_code == 0
    assert "refused" in refused.stdout
    assert "is refused, expected approved" in cli(*DISCONNECT, "--approval", approval).stderr


def test_giving_supply_back_to_many_needs_one_person(
    cli: Cli, big_estate: Estate, answer: Answer
) -> None:
    big_estate()
    batch = answer(cli("command", "reconnect", *SERIALS, "--yes", "--json"))
    assert len(batch["commands"]) == METERS


def test_approval_needs_a_reason_and_dry_run_asks_nobody(
    cli: Cli, big_estate: Estate, answer: Answer
) -> None:
    big_estate()
    without = cli(*DISCONNECT)
    assert without.exit_code == 2
    assert "reason: " in without.stderr
    dry = cli(*DISCONNECT, "--reason", "arrears", "--dry-run")
    assert dry.exit_code == 4
    assert answer(cli("approval", "list", "--json")) == []


def test_who_has_nothing_to_do_with_an_approval_does_not_see_it(
    cli: Cli, big_estate: Estate, answer: Answer, add_operator: AddOperator
) -> None:
    big_estate()
    approval = ask(cli, answer)
    cashier = ("--token", add_operator("cashier", Right.MONEY_APPROVE))
    assert answer(cli("approval", "list", *cashier, "--json")) == []
    hidden = cli("approval", "show", approval, *cashier)
    unknown = cli("approval", "show", "01a1fb28-4bad-76db-81d8-335a153838a4", *cashier)
    assert (hidden.exit_code, unknown.exit_code) == (3, 3)
    assert hidden.stderr.replace(approval, "") == unknown.stderr.replace(
        "01a1fb28-4bad-76db-81d8-335a153838a4", ""
    )
