from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Cli = Callable[..., Result]
Answer = Callable[[Result], Any]


def test_settings_are_shown_with_origin_and_without_secrets(
    cli: Cli, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METERPLEX_DB__URL", "postgresql://me:hunter2@db/meterplex")
    shown = {each["name"]: each for each in answer(cli("config", "show", "--json"))}
    assert shown["db.url"] == {
        "name": "db.url",
        "value": "postgresql://me:***@db/meterplex",
        "origin": "METERPLEX_DB__URL",
    }
    assert shown["reading.interval"]["value"] == "30m"
    table = cli("config", "show").stdout
    assert "headend.command_poll_s" in table
    assert "hunter2" not in table


def test_good_settings_pass_the_check(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('[log]\nlevel = "debug"\n')
    result = cli("--config", "site.toml", "config", "check")
    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[db]\nulr = 'x'", "site.toml: unknown setting db.ulr, did you mean db.url"),
        ("[db]\nurl = 'mysql://x'", "expected sqlite:///path or postgresql://"),
        ("[http]\nport = 'x'", "site.toml: http.port 'x': Expected `int`"),
    ],
)
def test_bad_settings_are_named(cli: Cli, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "site.toml").write_text(text)
    result = cli("--config", "site.toml", "config", "check")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_database_is_made_upgraded_and_checked(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "data" / "meterplex" / "meterplex.sqlite"
    assert cli("db", "upgrade").exit_code == 0
    assert file.exists()
    assert cli("db", "upgrade").exit_code == 0
    check = cli("db", "check")
    assert (check.exit_code, "fits" in check.stderr) == (0, True)


def test_empty_database_does_not_fit(cli: Cli, tmp_path: Path, answer: Answer) -> None:
    file = tmp_path / "data" / "meterplex" / "meterplex.sqlite"
    file.parent.mkdir(parents=True)
    file.touch()
    check = cli("db", "check")
    assert check.exit_code == 1
    assert "has no schema" in check.stdout
    assert "run meterplex db upgrade" in cli("meters").stderr


def test_looking_makes_no_database(cli: Cli, tmp_path: Path) -> None:
    cli("meters")
    cli("db", "check")
    assert not (tmp_path / "data").exists()
