"""A head-end whose wall clock runs faster than its event loop, as a simulation's does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from tests.conftest import Estate
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.domain.estate import MeterId
from meterplex.domain.readings import Reading, ReadingSource
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT
from meterplex.headend import builtin_channels
from meterplex.headend.bus import Member
from meterplex.headend.head_end import HeadEnd
from meterplex.plugin_manager import PluginManager

NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)


@asynccontextmanager
async def seated(database: Database, pace: float) -> AsyncIterator[dict[MeterId, Member]]:
    """The members of the only bus, just seated; nothing knows their model, so none is asked."""
    plugins = PluginManager.load([builtin_channels], entry_points=[])
    head_end = HeadEnd(database, plugins, lambda: NOW, uuid7, pace=pace)
    task = asyncio.create_task(head_end.run())
    try:
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if head_end.buses:
                break
        (bus,) = head_end.buses.values()
        yield bus.members
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("pace", "interval_s"), [(1, 1800), (60, 30)])
async def test_intervals_shrink_with_the_pace(
    database: Database, estate: Estate, pace: float, interval_s: float
) -> None:
    async with seated(database, pace) as members:
        intervals = {member.plan.interval_s for member in members.values()}
    assert len(members) == len(estate.meters)
    assert intervals == {interval_s}


async def test_rest_of_an_interval_shrinks_with_the_pace(
    database: Database, estate: Estate
) -> None:
    meter, read_at = estate.meters[0], NOW - timedelta(minutes=12)
    reading = Reading(
        meter.id, ACTIVE_ENERGY_IMPORT, read_at, Decimal(1), source=ReadingSource.SCHEDULED
    )
    await database.make_partitions(read_at, read_at, now=NOW)
    async with database.unit_of_work() as uow:
        await uow.readings.store(estate.organisation.id, [reading], received_at=read_at)
        await uow.commit()

    async with seated(database, 60) as members:
        due_in_s = members[meter.id].plan.due_at - asyncio.get_running_loop().time()
    assert 17 < due_in_s <= 18
