from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from meterplex.domain.audit import (
    GENESIS,
    AuditEntry,
    AuditFault,
    AuditRecord,
    append,
    chain_hash,
    verify,
)
from meterplex.domain.estate import OrganisationId

RECORD = AuditRecord(
    OrganisationId(UUID("019b76da-a800-7d8e-91b7-584a2265b1f5")),
    datetime(2026, 11, 20, 12, tzinfo=UTC),
    "operator:chen",
    "command.ask",
    "meter:7",
    {"kind": "disconnect", "reason": "欠费"},
)


def chain(length: int) -> list[AuditEntry]:
    entries: list[AuditEntry] = []
    for number in range(length):
        record = replace(RECORD, subject=f"meter:{number}")
        entries.append(append(entries[-1] if entries else None, record))
    return entries


def test_hash_is_the_one_written_down() -> None:
    # What sha256sum says of 64 zeros, a line feed and the fields as JSON, keys in order:
    text = (
        r'{"action":"command.ask","at":"2026-11-20T12:00:00.000000+00:00",'
        r'"detail":{"kind":"disconnect","reason":"\u6b20\u8d39"},"operator":"operator:chen",'
        r'"organisation_id":"019b76da-a800-7d8e-91b7-584a2265b1f5","sequence":1,"subject":"meter:7"}'
    )
    expected = "fad3ae22b03794207b6b91f509e6550bb645af095855152271e74da355c357f0"
    assert sha256(f"{'0' * 64}\n{text}".encode()).hexdigest() == expected
    assert chain_hash(GENESIS, 1, RECORD) == expected


def test_first_entry_follows_nothing() -> None:
    (first,) = chain(1)
    assert (first.sequence, first.previous_hash) == (1, "0" * 64)


def test_whole_chain_holds() -> None:
    assert verify(chain(5)) is None
    assert verify([]) is None


def test_chain_holds_in_parts() -> None:
    entries = chain(5)
    assert verify(entries[2:], after=entries[1]) is None


def test_same_instant_in_another_zone_gives_the_same_hash() -> None:
    shanghai = RECORD.at.astimezone(timezone(timedelta(hours=8)))
    assert chain_hash(GENESIS, 1, replace(RECORD, at=shanghai)) == chain_hash(GENESIS, 1, RECORD)


def test_order_of_the_detail_does_not_matter() -> None:
    turned = replace(RECORD, detail={"reason": "欠费", "kind": "disconnect"})
    assert chain_hash(GENESIS, 1, turned) == chain_hash(GENESIS, 1, RECORD)


def test_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no zone"):
        append(None, replace(RECORD, at=RECORD.at.replace(tzinfo=None)))


CHANGES: dict[str, dict[str, Any]] = {
    "organisation": {"organisation_id": OrganisationId(UUID(int=1))},
    "at": {"at": RECORD.at + timedelta(microseconds=1)},
    "operator": {"operator": "operator:wang"},
    "action": {"action": "command.cancel"},
    "subject": {"subject": "meter:8"},
    "detail": {"detail": {"kind": "reconnect", "reason": "欠费"}},
}


@pytest.mark.parametrize("case", CHANGES)
def test_change_of_any_field_is_found(case: str) -> None:
    entries = chain(3)
    forged = replace(entries[1].record, **CHANGES[case])
    entries[1] = replace(entries[1], record=forged)
    assert verify(entries) == AuditFault(2, "its fields do not give its hash")


def test_forged_entry_with_its_own_right_hash_is_found_at_the_next() -> None:
    entries = chain(3)
    entries[1] = append(entries[0], replace(entries[1].record, operator="operator:wang"))
    assert verify(entries) == AuditFault(3, "does not follow the entry before it")


def test_dropped_entry_is_found() -> None:
    entries = chain(4)
    del entries[1]
    assert verify(entries) == AuditFault(2, "expected entry 2, found 3")


def test_dropped_beginning_is_found() -> None:
    assert verify(chain(3)[1:]) == AuditFault(1, "expected entry 1, found 2")


def test_doubled_entry_is_found() -> None:
    entries = chain(3)
    entries.insert(1, entries[0])
    assert verify(entries) == AuditFault(2, "expected entry 2, found 1")


def test_separators_in_fields_do_not_make_two_records_equal() -> None:
    one = replace(RECORD, action='a","b', subject="c")
    other = replace(RECORD, action="a", subject='b","c')
    assert chain_hash(GENESIS, 1, one) != chain_hash(GENESIS, 1, other)
