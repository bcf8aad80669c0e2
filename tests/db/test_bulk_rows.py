"""Rows written at once are as durable, checked and typed as rows written one by one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from tests.conftest import Estate
from uuid_utils.compat import uuid7

from meterplex.db import Database, money_tables
from meterplex.db.bulk_rows import BulkRows, json_text
from meterplex.db.errors import MissingReferenceError
from meterplex.db.outbox import OutboxMessage
from meterplex.domain.estate import OrganisationId

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def message(estate: Estate, number: int) -> OutboxMessage:
    return OutboxMessage(
        uuid7(),
        estate.organisation.id,
        "supply",
        f"account {number}",
        NOON,
        NOON + number * timedelta(microseconds=1),
        {"name": "Süd", "number": number},
    )


@pytest.mark.integration
async def test_rows_come_out_as_they_went_in(database: Database, estate: Estate) -> None:
    messages = [message(estate, number) for number in range(50)]
    async with database.unit_of_work() as uow:
        await uow.outbox.add_all(messages)
        await uow.commit()
    async with database.unit_of_work(read_only=True) as uow:
        found = await uow.outbox.due({"supply"}, NOON + timedelta(seconds=1))
    assert list(found) == messages


@pytest.mark.integration
async def test_rows_written_first_in_a_unit_of_work_end_with_it(
    database: Database, estate: Estate
) -> None:
    async with database.unit_of_work() as uow:
        await uow.outbox.add_all([message(estate, 1)])
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.outbox.open_count() == 0


@pytest.mark.integration
async def test_references_of_rows_are_checked(database: Database, estate: Estate) -> None:
    stray = replace(message(estate, 1), organisation_id=OrganisationId(uuid4()))
    async with database.unit_of_work() as uow:
        with pytest.raises(MissingReferenceError):
            await uow.outbox.add_all([message(estate, 2), stray])


def test_values_are_bound_where_the_statement_has_them() -> None:
    table, one, other = money_tables.charged_register, uuid4(), uuid4()
    given = {
        "units": (Decimal("1.50"), "1.50"),
        "until": (NOON, 1782907200000000),
        "binding_id": (one, one.hex),
        "booked_at": (NOON + timedelta(microseconds=1), 1782907200000001),
        "register_id": (3, 3),
        "organisation_id": (other, other.hex),
    }
    bulk = BulkRows.adding(table, *given)
    ((*bound,),) = bulk.bound([tuple(value for value, _ in given.values())])
    listed = bulk.sqlite.partition("(")[2].partition(")")[0].split(", ")
    assert dict(zip(listed, bound, strict=True)) == {
        name: each for name, (_, each) in given.items()
    }


def test_json_is_text() -> None:
    assert json_text({"name": "Süd", "lines": []}) == '{"name":"Süd","lines":[]}'
