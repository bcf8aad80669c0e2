"""The audit log: a chain of hashes in which no entry can be changed, dropped or put in between.

Each organisation has its own chain. Its entries are numbered from 1 without gaps; the hash of an
entry covers the hash before it and every field of its own, as canonical JSON. What a chain alone
cannot tell is that entries are missing at its end: keep the newest hash elsewhere for that.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from meterplex.domain.estate import OrganisationId

GENESIS: Final = "0" * 64
"""The hash before the first entry."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """What somebody did, or was refused.

    Attributes:
        operator: who: a person, a rule, a program.
        action: what, as a dotted word: ``command.ask``, ``estate.import``.
        subject: to what: a kind and an identifier.
        detail: of the action, as text.
    """

    organisation_id: OrganisationId
    at: datetime
    operator: str
    action: str
    subject: str
    detail: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A record in its place in the chain; hashes are 64 lower-case hex digits."""

    record: AuditRecord
    sequence: int
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditFault:
    """The first entry of a chain that is not what was written, and why."""

    sequence: int
    reason: str


def chain_hash(previous_hash: str, sequence: int, record: AuditRecord) -> str:
    """Return the hash of a record at its place: SHA-256 over the hash before it and its fields.

    Raises:
        ValueError: the time is naive.
    """
    if record.at.tzinfo is None:
        raise ValueError(f"audit time {record.at.isoformat()} has no zone")
    fields = {
        "organisation_id": str(record.organisation_id),
        "sequence": sequence,
        "at": record.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "operator": record.operator,
        "action": record.action,
        "subject": record.subject,
        "detail": dict(record.detail),
    }
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return sha256(f"{previous_hash}\n{text}".encode("ascii")).hexdigest()


def _place_after(last: AuditEntry | None) -> tuple[int, str]:
    return (1, GENESIS) if last is None else (last.sequence + 1, last.hash)


def append(last: AuditEntry | None, record: AuditRecord) -> AuditEntry:
    """Return the entry that follows ``last``, or the first of a chain."""
    sequence, previous_hash = _place_after(last)
    return AuditEntry(record, sequence, previous_hash, chain_hash(previous_hash, sequence, record))


def verify(entries: Iterable[AuditEntry], after: AuditEntry | None = None) -> AuditFault | None:
    """Return the first bad entry, or None when the chain holds.

    Args:
        entries: in the order of the log.
        after: the entry before the first one, already verified; None at the start of a chain.
    """
    expected = _place_after(after)
    for entry in entries:
        sequence, previous_hash = expected
        if entry.sequence != sequence:
            return AuditFault(sequence, f"expected entry {sequence}, found {entry.sequence}")
        if entry.previous_hash != previous_hash:
            return AuditFault(sequence, "does not follow the entry before it")
        if entry.hash != chain_hash(previous_hash, sequence, entry.record):
            return AuditFault(sequence, "its fields do not give its hash")
        expected = _place_after(entry)
    return None
