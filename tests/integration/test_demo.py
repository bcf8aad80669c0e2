"""The demo as a newcomer runs it: real sockets, pseudo-terminals and database, at full speed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration


def demo(*arguments: str, seconds: int) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "meterplex", "demo", "--json", "--seconds", str(seconds)]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    sys.stderr.write(done.stderr)
    assert done.stdout
    return done.returncode, json.loads(done.stdout)


def test_everything_happens_within_a_minute(tmp_path: Path) -> None:
    code, story = demo("--folder", str(tmp_path), seconds=50)
    assert [step for step in story["steps"] if not step["seen"]] == []
    assert len(story["steps"]) == 22
    assert (code, story["complete"]) == (0, True)
    sent = (tmp_path / "notices.jsonl").read_text("utf-8").splitlines()
    assert "arrears" in {json.loads(line)["kind"] for line in sent}


def test_a_demo_that_is_cut_short_says_what_was_not_seen() -> None:
    code, story = demo(seconds=2)
    unseen = [step["text"] for step in story["steps"] if not step["seen"]]
    assert "every live meter read" in unseen
    assert "arrears told to the shop" in unseen
    assert (code, story["complete"]) == (1, False)
