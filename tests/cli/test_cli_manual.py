from pathlib import Path

from meterplex.cli import manual, reference

DOCS = Path(__file__).parents[2] / "docs"
MANUAL = DOCS / "cli.md"


def test_manual_is_what_the_commands_say() -> None:
    assert MANUAL.read_text("utf-8") == manual.render(), "make docs writes it anew"


def test_manual_has_every_command() -> None:
    text = manual.render()
    for path in ("read", "channels test", "command disconnect", "tariff rate", "db upgrade"):
        assert f"## meterplex {path}\n" in text


def test_reference_is_what_the_code_says() -> None:
    written = (DOCS / "reference.md").read_text("utf-8")
    assert written == reference.render(), "make docs writes it anew"


def test_every_setting_has_its_meaning() -> None:
    rows = [line for line in reference.render().splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    assert [row for row in rows if row.endswith("|  |")] == []
