"""How fresh the readings of live meters stay while some are dead, and when a revived one is seen.

The head-end is asked for more than its buses can carry (an interval of a second), so that a scan
takes as long as the wires and the dead meters make it. What counts is what the database holds.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from statistics import median

from bench.figures import Figure
from bench.paced_buses import BAUD, SNAPSHOT_COUNT, PacedBuses, exchange_s
from bench.paced_head_end import PacedHeadEnd, now, working_head_end
from meterplex.domain.estate import Meter, MeterId
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT

LOOK_S = 0.5

ReadAt = Mapping[str, Sequence[datetime]]
"""When each meter was read, by serial."""


async def read_times(paced: PacedHeadEnd, start: datetime, end: datetime) -> ReadAt:
    times: dict[str, list[datetime]] = {}
    async with paced.database.unit_of_work(read_only=True) as uow:
        for meter in paced.meters:
            history = await uow.readings.history(
                paced.organisation_id, meter.id, ACTIVE_ENERGY_IMPORT, start, end
            )
            times[meter.serial] = [reading.read_at for reading in history]
    return times


def oldest_s(times: ReadAt, live: Sequence[Meter], start: datetime, end: datetime) -> float:
    """Return the greatest age that a live meter's newest reading reached in a span."""
    return max(
        (after - before).total_seconds()
        for meter in live
        for before, after in pairwise((start, *times[meter.serial], end))
    )


def scan_s(times: ReadAt, live: Sequence[Meter]) -> float:
    """Return how long one scan of a bus takes: the mean time between reads of a meter."""
    spans: dict[object, list[float]] = defaultdict(list)
    for meter in live:
        read = times[meter.serial]
        spans[meter.channel_id].append((read[-1] - read[0]).total_seconds() / (len(read) - 1))
    return max(median(bus) for bus in spans.values())


async def revived_within_s(paced: PacedHeadEnd, dead: Sequence[Meter], since: datetime) -> float:
    """Wait until every revived meter has been read and return the longest time it took."""
    waiting = {meter.id for meter in dead}
    newest: Mapping[MeterId, datetime] = {}
    while waiting:
        await asyncio.sleep(LOOK_S)
        async with paced.database.unit_of_work(read_only=True) as uow:
            newest = await uow.readings.newest_times(paced.organisation_id)
        waiting = {meter for meter in waiting if newest.get(meter, since) <= since}
    return max((newest[meter.id] - since).total_seconds() for meter in dead)


async def measure(
    buses: PacedBuses, meters: int, dead: int, settle_s: float, seconds: float, store_s: float
) -> tuple[float, float, float]:
    """Return the oldest age, the scan time and the time until revived meters were seen, in s."""
    async with working_head_end(buses.urls, meters, "1s") as paced:
        gone = [meter for meter in paced.meters if int(meter.address) > meters - dead]
        live = [meter for meter in paced.meters if meter not in gone]
        await asyncio.sleep(settle_s)
        start = now()
        await asyncio.sleep(seconds)
        end = now()
        await asyncio.sleep(store_s)
        times = await read_times(paced, start, end)
        assert not any(times[meter.serial] for meter in gone)
        revived_at = now()
        for address in {int(meter.address) for meter in gone}:
            buses.revive(address)
        seen_s = await revived_within_s(paced, gone, revived_at)
        return oldest_s(times, live, start, end), scan_s(times, live), seen_s


def run(
    buses: int = 12,
    meters: int = 27,
    dead: int = 3,
    settle_s: float = 45.0,
    seconds: float = 60.0,
    store_s: float = 5.0,
    trials: int = 3,
) -> list[Figure]:
    measured, violations = [], 0
    for _ in range(trials):
        with PacedBuses(buses, meters, dead) as paced:
            measured.append(asyncio.run(measure(paced, meters, dead, settle_s, seconds, store_s)))
            violations += paced.look().gap_violations
    ages, scans, revivals = zip(*measured, strict=True)
    wire_s = (meters - dead) * exchange_s(SNAPSHOT_COUNT)
    where = f"{buses} buses x {meters} meters at {BAUD}, {dead} of each bus dead"
    return [
        Figure("oldest reading of a live meter", max(ages), "s", at_most=60, detail=where),
        Figure(
            "live scan against its wire time",
            median(scans) / wire_s,
            "x",
            at_most=1.25,
            detail=f"scan {median(scans):.2f} s, wire {wire_s:.2f} s; {where}",
        ),
        Figure("revived meters all seen within", max(revivals), "s", at_most=60, detail=where),
        Figure("gap violations of the head-end", violations, "", at_most=0, detail=where),
    ]
