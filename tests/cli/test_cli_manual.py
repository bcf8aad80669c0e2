from pathlib import Path

from meterplex.cli import manual

MANUAL = Path(__file__).parents[2] / "docs" / "cli.md"


def test_manual_is_what_the_commands_say() -> None:
    assert MANUAL.read_text("utf-8") == manual.render(), "make docs writes it anew"


def test_manual_has_every_command() -> None:
    text = manual.render()
    for path in ("read", "channels test", "command disconnect", "tariff rate", "db upgrade"):
        assert f"## meterplex {path}\n" in text
