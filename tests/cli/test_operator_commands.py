import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from meterplex.domain.operators import Right

AddOperator = Callable[..., str]
Answer = Callable[[Result], Any]
Cli = Callable[..., Result]
Estate = Callable[..., None]

PASSWORD = "correct horse"


@pytest.fixture
def stored_token(tmp_path: Path) -> Path:
    """Where ``sign-in --store`` keeps the token."""
    return tmp_path / "state" / "meterplex" / "token"


def test_first_operator_signs_in_acts_and_signs_out(
    cli: Cli, bare_estate: Estate, answer: Answer, stored_token: Path
) -> None:
    bare_estate()
    added = cli(
        "operator",
        "add",
        "Anna",
        "--role",
        "admin",
        "--password-stdin",
        "--json",
        stdin=f"{PASSWORD}\n",
    )
    fields = answer(added)
    assert (fields["name"], fields["language"], fields["state"]) == ("anna", "en", "active")
    assert len(fields["rights"]) == len(Right)

    entered = cli("sign-in", "anna", "--store", "--password-stdin", stdin=PASSWORD)
    assert (entered.exit_code, entered.stdout) == (0, "")
    token = stored_token.read_text().strip()
    assert token.startswith("mplx_")
    assert stat.S_IMODE(stored_token.stat().st_mode) == 0o600
    assert token not in entered.output

    who = answer(cli("whoami", "--json"))
    assert (who["operator"], who["organisation"]) == ("anna", "Harbour")
    assert {"right": "money.vend", "site": None} in who["rights"]
    (command,) = answer(cli("command", "read", "m1", "--json"))["commands"]
    assert command["asked_by"] == "anna"

    assert cli("sign-out").exit_code == 0
    assert not stored_token.exists()
    result = cli("whoami", "--token", token)
    assert result.exit_code == 1
    assert "unknown, revoked or over" in result.stderr


def test_token_goes_to_stdout_and_comes_back_by_each_way(
    cli: Cli, bare_estate: Estate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare_estate()
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)
    monkeypatch.setenv("METERPLEX_PASSWORD_FILE", str(secret))
    assert cli("operator", "add", "anna", "--role", "admin").exit_code == 0
    entered = cli("sign-in", "anna", "--lifetime", "1h")
    token = entered.stdout.strip()
    assert entered.exit_code == 0
    assert "not signed in" in cli("whoami").stderr
    assert cli("whoami", "--token", token).exit_code == 0
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    monkeypatch.setenv("METERPLEX_TOKEN_FILE", str(file))
    assert cli("whoami").exit_code == 0
    monkeypatch.setenv("METERPLEX_TOKEN", "mplx_wrong")
    assert cli("whoami").exit_code == 1
    assert cli("whoami", "--token", token).exit_code == 0


def test_new_password_is_asked_for_twice(cli: Cli, bare_estate: Estate) -> None:
    bare_estate()
    typed = f"{PASSWORD}\nmistyped\n{PASSWORD}\n{PASSWORD}\n"
    added = cli("operator", "add", "anna", "--role", "admin", stdin=typed)
    assert added.exit_code == 0, added.output
    assert PASSWORD not in added.output
    assert cli("sign-in", "anna", stdin=f"{PASSWORD}\n").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "line"),
    [
        pytest.param(("add", "anna"), PASSWORD, 2, "--role or --right", id="no rights"),
        pytest.param(
            ("add", "anna", "--role", "cashier"), PASSWORD, 4, "--role admin", id="no admin"
        ),
        pytest.param(("add", "an na", "--role", "admin"), PASSWORD, 2, "name 'an na'", id="name"),
        pytest.param(("add", "anna", "--role", "admin"), "short", 2, "password: ", id="password"),
        pytest.param(("add", "anna", "--role", "admin"), "", 2, "each of 1, found 0", id="none"),
        pytest.param(
            ("add", "anna", "--role", "admin"), "a\nb", 2, "each of 1, found 2", id="two lines"
        ),
        pytest.param(
            ("add", "anna", "--role", "admin", "--site", "est"),
            PASSWORD,
            3,
            "did you mean 'east'?",
            id="site",
        ),
        pytest.param(("add", "anna", "--role", "king"), PASSWORD, 2, "'king'", id="role"),
        pytest.param(("add", "anna", "--right", "money"), PASSWORD, 2, "'money'", id="right"),
    ],
)
def test_first_operator_that_cannot_be_is_refused(
    cli: Cli,
    bare_estate: Estate,
    arguments: tuple[str, ...],
    stdin: str,
    code: int,
    line: str,
) -> None:
    bare_estate()
    result = cli("operator", *arguments, "--password-stdin", stdin=stdin)
    assert (result.exit_code, result.stdout) == (code, "")
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


def test_wrong_password_ends_with_one_line(cli: Cli, estate: Estate) -> None:
    estate()
    for name in ("anna", "nobody"):
        result = cli("sign-in", name, "--password-stdin", stdin="wrong horse")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("error: name or password is wrong")


def test_operators_are_listed_for_who_manages_them(
    cli: Cli, estate: Estate, answer: Answer, add_operator: AddOperator
) -> None:
    estate()
    cashier = add_operator("cashier", Right.MONEY_VEND)
    listed = answer(cli("operator", "list", "--json"))
    assert [each["name"] for each in listed] == ["anna", "cashier"]
    assert listed[1]["rights"] == [{"right": "money.vend", "site": None}]
    assert "hash" not in json.dumps(listed)
    assert "1 at all sites" in cli("operator", "list").stdout
    refused = cli("operator", "list", "--token", cashier)
    assert refused.exit_code == 1
    assert "no right operator.manage" in refused.stderr


def test_rights_at_a_site_are_given_and_taken(
    cli: Cli, estate: Estate, answer: Answer, add_operator: AddOperator
) -> None:
    estate()
    cashier = add_operator("cashier", Right.MONEY_VEND)
    change = ("operator", "rights", "cashier", "--right", "supply.command", "--site", "east")
    dry = answer(cli(*change, "--dry-run", "--json"))
    assert dry["dry_run"] is True
    assert cli("command", "disconnect", "m1", "--token", cashier).exit_code == 1
    given = answer(cli(*change, "--json"))
    assert given["rights"] == dry["rights"]
    assert {"right": "supply.command", "site": "east"} in given["rights"]
    assert cli("command", "disconnect", "m1", "--token", cashier).exit_code == 0
    assert "supply.command  east" in cli("whoami", "--token", cashier).stdout
    assert cli(*change, "--take").exit_code == 0
    assert cli("command", "disconnect", "m1", "--token", cashier).exit_code == 1


def test_locked_operator_cannot_act(
    cli: Cli, estate: Estate, answer: Answer, add_operator: AddOperator
) -> None:
    estate()
    cashier = add_operator("cashier", Right.MONEY_VEND)
    assert answer(cli("operator", "lock", "cashier", "--json"))["state"] == "locked"
    assert cli("whoami", "--token", cashier).exit_code == 1
    assert answer(cli("operator", "unlock", "cashier", "--json"))["state"] == "active"


def test_tokens_of_an_operator_end_together(
    cli: Cli, estate: Estate, answer: Answer, add_operator: AddOperator
) -> None:
    estate()
    cashier = add_operator("cashier", Right.MONEY_VEND)
    assert answer(cli("operator", "revoke", "cashier", "--dry-run", "--json"))["tokens_ended"] == 1
    assert cli("whoami", "--token", cashier).exit_code == 0
    assert answer(cli("operator", "revoke", "cashier", "--json"))["tokens_ended"] == 1
    assert cli("whoami", "--token", cashier).exit_code == 1


def test_password_of_another_is_replaced_and_ones_own_confirmed(
    cli: Cli, estate: Estate, add_operator: AddOperator
) -> None:
    estate()
    add_operator("cashier", Right.MONEY_VEND)
    change = ("operator", "password", "cashier", "--password-stdin")
    assert cli(*change, stdin=PASSWORD).exit_code == 0
    token = cli("sign-in", "cashier", "--password-stdin", stdin=PASSWORD).stdout.strip()
    own = (*change, "--token", token)
    assert "each of 2, found 1" in cli(*own, stdin="another horse").stderr
    assert cli(*own, stdin="wrong horse\nanother horse").exit_code == 1
    assert cli(*own, stdin=f"{PASSWORD}\nanother horse").exit_code == 0
    assert cli("sign-in", "cashier", "--password-stdin", stdin="another horse").exit_code == 0


def test_file_that_keeps_no_token_is_named(
    cli: Cli, estate: Estate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    estate()
    monkeypatch.delenv("METERPLEX_TOKEN")
    monkeypatch.setenv("METERPLEX_TOKEN_FILE", str(tmp_path / "gone"))
    assert "gone: No such file" in cli("whoami").stderr
    (tmp_path / "gone").write_bytes(b"\xff" * 10_000)
    assert "expected a token" in cli("whoami").stderr
