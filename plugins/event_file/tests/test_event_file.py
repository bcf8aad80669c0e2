import json
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import EntryPoint
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from meterplex.plugin_manager import PluginManager
from meterplex.sdk import WATER, AccountEvent, AccountEventKind
from meterplex_event_file import event_file
from meterplex_event_file.event_file import VARIABLE, EventFile, line_of
from meterplex_event_file.plugin import meterplex_account_event

CREDITED = AccountEvent(
    id=UUID(int=1),
    kind=AccountEventKind.CREDITED,
    organisation_id=UUID(int=10),
    organisation="Harbour",
    site_id=UUID(int=11),
    site="east",
    account_id=UUID(int=12),
    account_number="A-1001",
    balance=Decimal("105.0000"),
    currency="CNY",
    at=datetime(2026, 7, 1, 4, tzinfo=UTC),
    detail={"order": "七月"},
)
LOW = replace(CREDITED, id=UUID(int=2), kind=AccountEventKind.LOW_1, utility=WATER)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def named(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file, named by the environment."""
    monkeypatch.setenv(VARIABLE, str(path))
    yield path
    event_file._opened.cache_clear()


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def ids(path: Path) -> list[int]:
    return [UUID(line["id"]).int for line in lines(path)]


def test_event_becomes_a_line(path: Path) -> None:
    EventFile(path).append(CREDITED)
    assert lines(path) == [
        {
            "id": "00000000-0000-0000-0000-000000000001",
            "kind": "credited",
            "at": "2026-07-01T04:00:00+00:00",
            "organisation_id": "00000000-0000-0000-0000-00000000000a",
            "organisation": "Harbour",
            "site_id": "00000000-0000-0000-0000-00000000000b",
            "site": "east",
            "account_id": "00000000-0000-0000-0000-00000000000c",
            "account_number": "A-1001",
            "utility": None,
            "balance": {"amount": "105.0000", "currency": "CNY"},
            "detail": {"order": "七月"},
        }
    ]


def test_event_told_twice_is_written_once(path: Path) -> None:
    file = EventFile(path)
    for event in (CREDITED, LOW, CREDITED, LOW):
        file.append(event)
    assert ids(path) == [1, 2]


def test_event_told_again_after_a_restart_is_written_once(path: Path) -> None:
    EventFile(path).append(CREDITED)
    EventFile(path).append(LOW)
    EventFile(path).append(CREDITED)
    assert ids(path) == [1, 2]


def test_line_of_another_process_is_seen(path: Path) -> None:
    ours, theirs = EventFile(path), EventFile(path)
    ours.append(CREDITED)
    theirs.append(LOW)
    ours.append(LOW)
    assert ids(path) == [1, 2]


@pytest.mark.parametrize("length", [1, 40, len(line_of(CREDITED)) - 1])
def test_line_cut_off_by_a_crash_is_cut_away_and_written_again(path: Path, length: int) -> None:
    path.write_bytes(line_of(LOW) + line_of(CREDITED)[:length])
    EventFile(path).append(CREDITED)
    assert path.read_bytes() == line_of(LOW) + line_of(CREDITED)


@pytest.mark.parametrize("text", [b"\n", b"[]\n", b"7\n", b"note\n", b"\xff\n"])
def test_line_of_somebody_else_stays(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    EventFile(path).append(CREDITED)
    assert path.read_bytes() == text + line_of(CREDITED)


def test_renamed_file_is_replaced_by_a_new_one(path: Path) -> None:
    file = EventFile(path)
    file.append(CREDITED)
    path.rename(path.with_suffix(".1"))
    file.append(LOW)
    assert ids(path) == [2]
    assert ids(path.with_suffix(".1")) == [1]


def test_emptied_file_is_looked_at_anew(path: Path) -> None:
    file = EventFile(path)
    file.append(CREDITED)
    os.truncate(path, 0)
    file.append(CREDITED)
    assert ids(path) == [1]


def test_line_is_on_the_disk_before_the_event_counts_as_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else path.read_bytes())
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    EventFile(path).append(CREDITED)
    assert synced == ["folder", line_of(CREDITED)]


def test_full_disk_is_told_and_the_event_comes_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = EventFile(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        file.append(LOW)
        patched.setattr(os, "fsync", full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                file.append(CREDITED)
    file.append(CREDITED)
    assert ids(path) == [2, 1]


def test_threads_write_each_event_once(path: Path) -> None:
    file = EventFile(path)
    events = [replace(CREDITED, id=UUID(int=n % 20)) for n in range(60)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(file.append, events))
    assert sorted(ids(path)) == list(range(20))


def write_all(path: Path) -> None:
    file = EventFile(path)
    for number in range(20):
        file.append(replace(CREDITED, id=UUID(int=number)))


@pytest.mark.integration
def test_processes_write_each_event_once(path: Path) -> None:
    context = get_context("spawn")
    processes = [context.Process(target=write_all, args=(path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(ids(path)) == list(range(20))


def test_hook_writes_into_the_file_that_the_environment_names(named: Path) -> None:
    meterplex_account_event(CREDITED)
    meterplex_account_event(LOW)
    meterplex_account_event(CREDITED)
    assert ids(named) == [1, 2]


def test_hook_does_nothing_without_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    meterplex_account_event(CREDITED)
    assert not path.exists()


def test_core_is_told_when_the_file_cannot_be_written(named: Path) -> None:
    plugins = PluginManager.load(
        entry_points=[EntryPoint("event_file", "meterplex_event_file.plugin", "meterplex")]
    )
    assert plugins.tell_account_event(CREDITED) == ()
    named.unlink()
    named.mkdir()
    (failure,) = plugins.tell_account_event(LOW)
    assert failure.plugin == "event_file"
    assert "IsADirectoryError" in failure.reason
    named.rmdir()
    assert plugins.tell_account_event(LOW) == ()
    assert ids(named) == [2]
