from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest

from meterplex.db import Database
from meterplex.db.errors import ConflictError, MissingReferenceError, NotFoundError
from meterplex.domain.estate import ChannelId
from meterplex.domain.readings import (
    DeviceEventRecord,
    EventKind,
    ReadFailure,
    ReadingRun,
    ReadingSource,
    RunId,
)
from meterplex.simulator.identifiers import IdentifierSource

if TYPE_CHECKING:
    from tests.conftest import Estate

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
identifiers = IdentifierSource(Random(13))


def run(estate: "Estate", started_at: datetime = NOW) -> ReadingRun:
    one, two, three = (meter.id for meter in estate.meters)
    return ReadingRun(
        RunId(identifiers.new(started_at)),
        estate.organisation.id,
        estate.channel.id,
        ReadingSource.SCHEDULED,
        started_at,
        started_at + timedelta(seconds=5),
        succeeded=(three, one),
        failed=(ReadFailure(two, "LinkTimeoutError: no reply"),),
    )


def event(estate: "Estate", at: datetime, meter: int = 0) -> DeviceEventRecord:
    return DeviceEventRecord(
        identifiers.new(at),
        estate.organisation.id,
        "meter",
        estate.meters[meter].id,
        EventKind.FLAG_RAISED,
        "cover_open",
        at,
        "seen",
    )


async def add_runs(database: Database, *runs: ReadingRun) -> None:
    async with database.unit_of_work() as uow:
        for each in runs:
            await uow.runs.add(each)
        await uow.commit()


async def test_run_comes_back_with_its_lists_in_order(database: Database, estate: "Estate") -> None:
    full, empty = run(estate), replace(run(estate, NOW + MINUTE), succeeded=(), failed=())
    await add_runs(database, full, empty)
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.runs.get(estate.organisation.id, full.id) == full
        assert await uow.runs.get(estate.organisation.id, empty.id) == empty


async def test_newest_runs_come_first(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    bus = replace(estate.channel, id=ChannelId(identifiers.new(NOW)), code="bus-2")
    async with database.unit_of_work() as uow:
        await uow.channels.add(bus)
        await uow.commit()
    runs = [run(estate, NOW + n * MINUTE) for n in range(3)]
    elsewhere = replace(run(estate, NOW + 9 * MINUTE), channel_id=bus.id)
    await add_runs(database, *runs, elsewhere, run(other_estate, NOW + 10 * MINUTE))
    organisation_id = estate.organisation.id
    async with database.unit_of_work(read_only=True) as uow:
        of_channel = await uow.runs.newest(organisation_id, estate.channel.id, limit=2)
        of_all = await uow.runs.newest(organisation_id)
    assert of_channel == (runs[2], runs[1])
    assert of_all == (elsewhere, runs[2], runs[1], runs[0])


async def test_run_is_stored_once(database: Database, estate: "Estate") -> None:
    stored = run(estate)
    await add_runs(database, stored)
    with pytest.raises(ConflictError):
        await add_runs(database, stored)


async def test_run_stays_in_its_organisation(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    stored = run(estate)
    await add_runs(database, stored)
    async with database.unit_of_work(read_only=True) as uow:
        with pytest.raises(NotFoundError):
            await uow.runs.get(other_estate.organisation.id, stored.id)
    with pytest.raises(MissingReferenceError):
        await add_runs(database, replace(run(estate), channel_id=other_estate.channel.id))
    with pytest.raises(MissingReferenceError):
        await add_runs(database, replace(run(estate), succeeded=(other_estate.meters[0].id,)))


async def test_events_come_newest_first_or_by_time(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    events = [event(estate, NOW + n * MINUTE, n % 2) for n in range(4)]
    async with database.unit_of_work() as uow:
        await uow.events.add_all([*events, event(other_estate, NOW)])
        await uow.commit()
    organisation_id = estate.organisation.id
    async with database.unit_of_work(read_only=True) as uow:
        newest = await uow.events.newest(organisation_id, limit=3)
        of_meter = await uow.events.newest(organisation_id, estate.meters[1].id)
        between = await uow.events.between(organisation_id, NOW + MINUTE, NOW + 3 * MINUTE)
    assert newest == (events[3], events[2], events[1])
    assert of_meter == (events[3], events[1])
    assert between == (events[1], events[2])
