"""A file of account events, one JSON line each, in which no event stands twice.

An event is told again when the program stopped between the line and the note that it was told, so
a line with its id may be there already. A repeat may come late: the whole file is looked through,
once, and then only what was added, by us or by another process under the same lock. A line cut off
by a crash is no line: it is cut away before the next one is written, and its event comes again.
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final

from meterplex.sdk import AccountEvent

VARIABLE: Final = "METERPLEX_EVENT_FILE"
"""Environment variable with the path of the file; without it nothing is written."""


def configured() -> "EventFile | None":
    """Return the file that the environment names."""
    path = os.environ.get(VARIABLE, "")
    return _opened(Path(path).absolute()) if path else None


@dataclass
class EventFile:
    """One file, and what is known of it.

    Attributes:
        told: ids of the events in its first ``known`` bytes.
        inode: of the file that was looked at; another one was put in its place by rotation.
    """

    path: Path
    told: set[str] = field(default_factory=set)
    known: int = 0
    inode: int | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def append(self, event: AccountEvent) -> None:
        """Write an event as a line, durably, unless it is there.

        Raises:
            OSError: the file cannot be written; the event must be told again.
        """
        with self._turn, self._locked() as file:
            self._look(file)
            if str(event.id) not in self.told:
                file.write(line_of(event))
                file.flush()
            os.fsync(file.fileno())  # also of a line that is there: its own may have failed
            self.told.add(str(event.id))
            self.known = file.tell()

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """Open the file for this process alone; a new one also lasts in its folder."""
        new = not self.path.exists()
        with self.path.open("a+b") as file:
            if new:
                _sync_folder(self.path.parent)
            fcntl.flock(file, fcntl.LOCK_EX)  # closing the file lets it go
            yield file

    def _look(self, file: BinaryIO) -> None:
        """Learn the lines that are new to us, and cut away the rest of a broken one."""
        found = os.fstat(file.fileno())
        if found.st_ino != self.inode or found.st_size < self.known:
            self.told, self.known, self.inode = set(), 0, found.st_ino
        file.seek(self.known)
        for line in file:
            if not line.endswith(b"\n"):
                file.truncate(self.known)
                break
            self.known += len(line)
            self.told.add(_id_of(line))
        file.seek(0, os.SEEK_END)


def line_of(event: AccountEvent) -> bytes:
    """Return an event as a line of JSON in UTF-8; amounts are decimal text."""
    document = {
        "id": str(event.id),
        "kind": event.kind.value,
        "at": event.at.isoformat(),
        "organisation_id": str(event.organisation_id),
        "organisation": event.organisation,
        "site_id": str(event.site_id),
        "site": event.site,
        "account_id": str(event.account_id),
        "account_number": event.account_number,
        "utility": event.utility,
        "balance": {"amount": f"{event.balance:f}", "currency": event.currency},
        "detail": dict(event.detail),
    }
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def _id_of(line: bytes) -> str:
    """Return the id of a line, empty for one that somebody else wrote."""
    try:
        document = json.loads(line)
    except ValueError:
        return ""
    return str(document.get("id", "")) if isinstance(document, dict) else ""


@cache
def _opened(path: Path) -> EventFile:
    return EventFile(path)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
