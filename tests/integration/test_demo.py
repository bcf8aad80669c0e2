"""The demo as a newcomer runs it: real sockets, pseudo-terminals, database and clock."""

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.integration


def demo(seconds: int) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "meterplex", "demo", "--seconds", str(seconds), "--json"],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_everything_happens_within_a_minute() -> None:
    code, story = demo(60)
    assert [step["text"] for step in story["steps"] if not step["seen"]] == []
    assert len(story["steps"]) == 8
    assert (code, story["complete"]) == (0, True)


def test_a_demo_that_is_cut_short_says_what_was_not_seen() -> None:
    code, story = demo(2)
    unseen = [step["text"] for step in story["steps"] if not step["seen"]]
    assert "every live meter read" in unseen
    assert (code, story["complete"]) == (1, False)
