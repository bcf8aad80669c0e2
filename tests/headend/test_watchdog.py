"""The watchdog against a package that really blocks the real event loop."""

import asyncio
import importlib
import sys
import time
from pathlib import Path

import pytest

from meterplex.headend.watchdog import EventLoopBlockedError, Watchdog

BLOCKERS = """
import time

def busy():
    while True:
        pass

def asleep():
    time.sleep(60)

def reading_nothing():
    import os
    reader, _ = os.pipe()
    os.read(reader, 1)
"""


@pytest.mark.parametrize("how", ["busy", "asleep", "reading_nothing"])
def test_a_blocking_plugin_is_named_and_interrupted(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "slow_vendor"
    package.mkdir()
    (package / "__init__.py").write_text(BLOCKERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "slow_vendor", raising=False)
    slow_vendor = importlib.import_module("slow_vendor")

    named: list[tuple[str, str]] = []

    async def run() -> float:
        with Watchdog({"slow_vendor": "slow"}, lambda *found: named.append(found)):
            await asyncio.sleep(0.05)
            started = time.monotonic()
            with pytest.raises(EventLoopBlockedError, match=how):
                getattr(slow_vendor, how)()
            blocked_s = time.monotonic() - started
            await asyncio.sleep(0.05)
        return blocked_s

    assert asyncio.run(run()) < 5
    assert named[0][0] == "slow"
    assert how in named[0][1]


def test_a_slow_core_is_not_interrupted() -> None:
    named: list[tuple[str, str]] = []

    async def run() -> None:
        with Watchdog({"slow_vendor": "slow"}, lambda *found: named.append(found)):
            time.sleep(1.5)  # noqa: ASYNC251  # the very thing that is watched for

    asyncio.run(run())
    assert named == []
