"""The commands of accounts, from opening to closing, as a signed-in operator runs them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from meterplex.domain.operators import Right

Cli = Callable[..., Result]
Answer = Callable[[Result], Any]


OPEN = (
    *("account", "open", "A-1", "--site", "east", "--name", "Li Na", "--phone", "13800138000"),
    *("--mode", "prepaid_server"),
)


@pytest.fixture
def signed_in(
    monkeypatch: pytest.MonkeyPatch, bare_estate: Any, add_operator: Callable[..., str]
) -> None:
    """Be an operator who may do everything."""
    bare_estate()
    monkeypatch.setenv("METERPLEX_TOKEN", add_operator("chief", *Right))


@pytest.mark.usefixtures("signed_in")
def test_an_account_lives_from_opening_to_closing(cli: Cli, answer: Answer) -> None:
    opened = answer(cli(*OPEN, "--balance", "20", "--alarm-1", "50", "--json"))
    assert (opened["number"], opened["state"], opened["alarm_1"]) == ("A-1", "open", "50.00")
    assert answer(cli("account", "set", "A-1", "--hoard", "500", "--json"))["hoard"] == "500.00"
    assert answer(cli("account", "suspend", "A-1", "--json"))["state"] == "suspended"
    assert answer(cli("account", "resume", "A-1", "--json"))["state"] == "open"

    (line,) = answer(cli("account", "list", "--json"))
    assert (line["customer_name"], line["balance"]) == ("Li Na", "20.00")
    shown = answer(cli("account", "show", "A-1", "--json"))
    assert (shown["wallet"], shown["customer"]["phone"]) == ("20.00", "13800138000")
    (entry,) = answer(cli("account", "statement", "A-1", "--json"))
    assert entry["kind"] == "opening"

    closed = answer(cli("account", "close", "A-1", "--json"))
    assert closed["closed"] is True
    assert answer(cli("account", "list", "--json")) == []
    (line,) = answer(cli("account", "list", "--state", "closed", "--json"))
    assert line["state"] == "closed"


@pytest.mark.usefixtures("signed_in")
def test_a_first_purchase_is_taken_with_the_opening(cli: Cli, answer: Answer) -> None:
    assert cli(*OPEN, "--pay", "50", "--method", "", "--dry-run").exit_code != 0
    opened = answer(cli(*OPEN, "--pay", "50", "--method", "bank", "--json"))
    assert opened["receipt"]
    assert answer(cli("account", "show", "A-1", "--json"))["wallet"] == "50.00"


@pytest.mark.usefixtures("signed_in")
def test_people_read_the_same(cli: Cli) -> None:
    assert cli(*OPEN, "--balance", "20").exit_code == 0
    for arguments in (("account", "list"), ("account", "show", "A-1"), ("customer", "list")):
        result = cli(*arguments)
        assert result.exit_code == 0, result.stderr
        assert "Li Na" in result.stdout
    assert "opening" in cli("account", "statement", "A-1").stdout


@pytest.mark.usefixtures("signed_in")
def test_a_dry_run_keeps_nothing(cli: Cli, answer: Answer) -> None:
    result = cli(*OPEN, "--dry-run")
    assert (result.exit_code, "dry run" in result.stderr) == (0, True)
    assert answer(cli("account", "list", "--json")) == []
    cli(*OPEN)
    assert cli("account", "suspend", "A-1", "--dry-run").exit_code == 0
    assert answer(cli("account", "show", "A-1", "--json"))["state"] == "open"


@pytest.mark.usefixtures("signed_in")
def test_customers_are_listed_and_changed(cli: Cli, answer: Answer) -> None:
    cli(*OPEN)
    changed = answer(cli("customer", "edit", "A-1", "--name", "Li Na Ltd", "--json"))
    assert changed["name"] == "Li Na Ltd"
    shown = answer(cli("customer", "show", "A-1", "--json"))
    assert shown["accounts"] == [{"number": "A-1", "state": "open"}]


@pytest.mark.usefixtures("signed_in")
def test_exported_accounts_have_the_columns_of_an_estate_file(cli: Cli, tmp_path: Path) -> None:
    cli(*OPEN)
    file = tmp_path / "accounts.csv"
    assert cli("export", "accounts", "--output", str(file)).exit_code == 0
    header, row = file.read_text().splitlines()
    assert header.startswith("site,number,customer,mode,tariff,usage_points")
    assert row.startswith("east,A-1,Li Na,prepaid_server,")


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(("show", "none"), 3, "account: no account 'none'", id="unknown"),
        pytest.param(("set", "A-1", "--hoard", "-1"), 2, "hoard: ", id="negative"),
        pytest.param(("set", "A-1"), 2, "change: nothing is to change", id="nothing"),
        pytest.param(("set", "A-1", "--deduct", "rent"), 2, "deduction order", id="order"),
        pytest.param(("resume", "A-1"), 4, "account: A-1 is open", id="state"),
        pytest.param(("tariff", "A-1", "none"), 3, "no tariff 'none'", id="tariff"),
        pytest.param(("add-meter", "A-1", "p1"), 2, "tariff: ", id="no tariff"),
        pytest.param(("remove-meter", "A-1", "p1"), 3, "usage_point: ", id="not its own"),
        pytest.param(("swap", "A-1", "p9", "m9"), 3, "usage_point: ", id="unknown point"),
        pytest.param(("close", "A-1", "--reading", "x"), 2, "expected POINT=VALUE", id="reading"),
    ],
)
def test_refusals_name_what_is_wrong(
    cli: Cli, arguments: tuple[str, ...], code: int, said: str
) -> None:
    assert cli(*OPEN).exit_code == 0
    result = cli("account", *arguments)
    assert (result.exit_code, said in result.stderr) == (code, True), result.stderr


def test_nobody_opens_without_the_right(
    cli: Cli,
    bare_estate: Any,
    add_operator: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bare_estate()
    assert cli(*OPEN).exit_code != 0
    monkeypatch.setenv("METERPLEX_TOKEN", add_operator("clerk", Right.ACCOUNT_READ))
    assert cli(*OPEN).exit_code != 0
    assert cli("account", "list").exit_code == 0
