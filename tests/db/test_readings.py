import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from meterplex.db import Database
from meterplex.db.errors import (
    InvalidValueError,
    MissingReferenceError,
    RegisterChangedError,
)
from meterplex.db.reading_store import ANOTHER_VALUE, StoreResult
from meterplex.domain.estate import MeterId
from meterplex.domain.readings import Reading, ReadingQuality, ReadingSource
from meterplex.domain.registers import (
    ACTIVE_ENERGY_IMPORT,
    VOLTAGE_L1,
    ObisCode,
    RegisterType,
    Unit,
)

if TYPE_CHECKING:
    from tests.conftest import Estate

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def energy(meter_id: MeterId, value: str, at: datetime = NOON) -> Reading:
    return Reading(meter_id, ACTIVE_ENERGY_IMPORT, at, Decimal(value))


async def store(database: Database, estate: "Estate", *readings: Reading) -> StoreResult:
    async with database.unit_of_work() as uow:
        result = await uow.readings.store(estate.organisation.id, readings, received_at=NOON)
        await uow.commit()
    return result


async def history(
    database: Database,
    estate: "Estate",
    start: datetime = NOON,
    end: datetime = NOON + 60 * MINUTE,
) -> list[str]:
    async with database.unit_of_work(read_only=True) as uow:
        readings = await uow.readings.history(
            estate.organisation.id, estate.meters[0].id, ACTIVE_ENERGY_IMPORT, start, end
        )
    return [str(reading.value) for reading in readings]


async def revisions(database: Database, estate: "Estate") -> Sequence[Reading]:
    async with database.unit_of_work(read_only=True) as uow:
        return await uow.readings.revisions(
            estate.organisation.id, estate.meters[0].id, ACTIVE_ENERGY_IMPORT, NOON
        )


async def test_reading_comes_back_as_it_was_stored(database: Database, estate: "Estate") -> None:
    reading = Reading(
        estate.meters[0].id,
        VOLTAGE_L1,
        datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC),
        Decimal("229.87"),
        ReadingQuality.SUSPECT,
        ReadingSource.ON_DEMAND,
        reason="fell",
    )
    await store(database, estate, reading)
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.readings.latest(estate.organisation.id) == (reading,)


async def test_time_of_another_zone_is_the_same_instant(
    database: Database, estate: "Estate"
) -> None:
    shanghai = NOON.astimezone(tz=timezone_east(8))
    await store(database, estate, energy(estate.meters[0].id, "1", shanghai))
    result = await store(database, estate, energy(estate.meters[0].id, "1", NOON))
    assert result == StoreResult(inserted=0, unchanged=1, revised=0)


def timezone_east(hours: int) -> "timezone":
    return timezone(timedelta(hours=hours))


async def test_same_batch_again_changes_nothing(database: Database, estate: "Estate") -> None:
    batch = [energy(estate.meters[0].id, str(n), NOON + n * MINUTE) for n in range(50)]
    assert await store(database, estate, *batch) == StoreResult(50, 0, 0)
    assert await store(database, estate, *reversed(batch)) == StoreResult(0, 50, 0)
    assert len(await history(database, estate)) == 50


async def test_another_value_becomes_the_next_revision_and_counts(
    database: Database, estate: "Estate"
) -> None:
    first = energy(estate.meters[0].id, "10")
    second = replace(first, value=Decimal(11), source=ReadingSource.MANUAL, reason="seen on site")
    await store(database, estate, first)
    assert await store(database, estate, second) == StoreResult(0, 0, 1)
    assert await history(database, estate) == ["11.000"]
    told = [
        (each.revision, each.value, each.source, each.reason)
        for each in await revisions(database, estate)
    ]
    assert told == [
        (0, Decimal("10.000"), ReadingSource.SCHEDULED, ""),
        (1, Decimal("11.000"), ReadingSource.MANUAL, "seen on site"),
    ]


async def test_revision_without_a_reason_gets_one(database: Database, estate: "Estate") -> None:
    await store(database, estate, energy(estate.meters[0].id, "10"))
    await store(database, estate, energy(estate.meters[0].id, "11"))
    assert [each.reason for each in await revisions(database, estate)] == ["", ANOTHER_VALUE]


async def test_batch_told_again_after_a_correction_does_not_undo_it(
    database: Database, estate: "Estate"
) -> None:
    first = energy(estate.meters[0].id, "10")
    await store(database, estate, first)
    await store(database, estate, replace(first, value=Decimal(11), source=ReadingSource.MANUAL))
    assert await store(database, estate, first) == StoreResult(0, 1, 0)
    assert await history(database, estate) == ["11.000"]


async def test_correction_back_to_an_earlier_value_counts(
    database: Database, estate: "Estate"
) -> None:
    first = energy(estate.meters[0].id, "10")
    manual = replace(first, source=ReadingSource.MANUAL)
    await store(database, estate, first)
    await store(database, estate, replace(manual, value=Decimal(11)))
    await store(database, estate, replace(manual, reason="was right"))
    assert await history(database, estate) == ["10.000"]


async def test_suspect_value_that_is_accepted_becomes_a_revision(
    database: Database, estate: "Estate"
) -> None:
    suspect = replace(energy(estate.meters[0].id, "10"), quality=ReadingQuality.SUSPECT)
    await store(database, estate, suspect)
    accepted = replace(suspect, quality=ReadingQuality.GOOD, reason="checked on site")
    assert await store(database, estate, accepted) == StoreResult(0, 0, 1)
    assert [each.quality for each in await revisions(database, estate)] == ["suspect", "good"]


async def test_conflicts_within_a_batch_follow_its_order(
    database: Database, estate: "Estate"
) -> None:
    batch = [energy(estate.meters[0].id, value) for value in ("10", "11", "10", "12", "12")]
    assert await store(database, estate, *batch) == StoreResult(inserted=1, unchanged=2, revised=2)
    assert [each.value for each in await revisions(database, estate)] == [10, 11, 12]
    assert await store(database, estate, *batch) == StoreResult(0, 5, 0)


async def test_empty_batch_is_stored(database: Database, estate: "Estate") -> None:
    assert await store(database, estate) == StoreResult(0, 0, 0)


async def test_batch_of_tens_of_thousands_is_stored_at_once(
    database: Database, estate: "Estate"
) -> None:
    meter_ids = [meter.id for meter in estate.meters]
    batch = [
        energy(meter_ids[n % 3], str(n), NOON + (n // 3) * timedelta(seconds=1))
        for n in range(20_000)
    ]
    assert await store(database, estate, *batch) == StoreResult(20_000, 0, 0)
    changed = [replace(each, value=each.value + 1) for each in batch[:5_000]]
    assert await store(database, estate, *changed, *batch[5_000:]) == StoreResult(0, 15_000, 5_000)


async def test_values_at_the_edge_of_64_bits_are_kept(database: Database, estate: "Estate") -> None:
    largest = Decimal(2**63 - 1).scaleb(-3)
    await store(database, estate, energy(estate.meters[0].id, str(largest)))
    assert await history(database, estate) == [str(largest)]


@pytest.mark.parametrize(
    ("value", "at"),
    [
        pytest.param(Decimal(2**63).scaleb(-3), NOON, id="beyond-64-bits"),
        pytest.param(Decimal("NaN"), NOON, id="no-number"),
        pytest.param(Decimal(1), NOON.replace(tzinfo=None), id="naive-time"),
    ],
)
async def test_what_cannot_be_kept_is_refused(
    database: Database, estate: "Estate", value: Decimal, at: datetime
) -> None:
    with pytest.raises(InvalidValueError):
        await store(database, estate, Reading(estate.meters[0].id, ACTIVE_ENERGY_IMPORT, at, value))


async def test_refused_batch_leaves_nothing(database: Database, estate: "Estate") -> None:
    unknown = MeterId(estate.site.id)
    with pytest.raises(MissingReferenceError):
        await store(database, estate, energy(estate.meters[0].id, "1"), energy(unknown, "2"))
    assert await history(database, estate) == []


async def test_reading_cannot_cross_organisations(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    with pytest.raises(MissingReferenceError):
        await store(database, estate, energy(other_estate.meters[0].id, "1"))


async def test_changed_resolution_is_refused(database: Database, estate: "Estate") -> None:
    coarse = RegisterType(
        "flow", ObisCode.parse("8-0:2.0.0"), Unit.CUBIC_METRE_PER_HOUR, Decimal("0.01")
    )
    fine = replace(coarse, resolution=Decimal("0.001"))
    await store(database, estate, Reading(estate.meters[0].id, coarse, NOON, Decimal(1)))
    with pytest.raises(RegisterChangedError, match="flow"):
        await store(database, estate, Reading(estate.meters[0].id, fine, NOON, Decimal(1)))


async def test_history_is_half_open(database: Database, estate: "Estate") -> None:
    batch = [energy(estate.meters[0].id, str(n), NOON + n * MINUTE) for n in range(4)]
    await store(database, estate, *batch)
    told = await history(database, estate, NOON + MINUTE, NOON + 3 * MINUTE)
    assert told == ["1.000", "2.000"]


async def test_latest_is_the_newest_of_each_register_of_each_meter(
    database: Database, estate: "Estate"
) -> None:
    one, two, _ = (meter.id for meter in estate.meters)
    volts = Reading(one, VOLTAGE_L1, NOON, Decimal("230.00"))
    await store(
        database, estate, energy(one, "1"), energy(one, "2", NOON + MINUTE), volts, energy(two, "3")
    )
    async with database.unit_of_work(read_only=True) as uow:
        of_all = await uow.readings.latest(estate.organisation.id)
        of_one = await uow.readings.latest(estate.organisation.id, [one])
    assert {(each.meter_id, each.register.slug, each.value) for each in of_all} == {
        (one, "active_energy_import", Decimal(2)),
        (one, "voltage_l1", Decimal(230)),
        (two, "active_energy_import", Decimal(3)),
    }
    assert {each.meter_id for each in of_one} == {one}


async def test_last_before_midnight_is_the_days_end(database: Database, estate: "Estate") -> None:
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    meter_id = estate.meters[0].id
    await store(
        database, estate, energy(meter_id, "1", midnight - MINUTE), energy(meter_id, "2", midnight)
    )
    async with database.unit_of_work(read_only=True) as uow:
        of_day = await uow.readings.last_before(
            estate.organisation.id, meter_id, ACTIVE_ENERGY_IMPORT, midnight
        )
        before = await uow.readings.last_before(
            estate.organisation.id, meter_id, ACTIVE_ENERGY_IMPORT, midnight - MINUTE
        )
    assert of_day is not None
    assert of_day.value == 1
    assert before is None


async def test_newest_times_leave_out_suspect_readings_and_unread_meters(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    one, two, _ = (meter.id for meter in estate.meters)
    suspect = replace(energy(one, "9", NOON + 2 * MINUTE), quality=ReadingQuality.SUSPECT)
    await store(
        database,
        estate,
        energy(one, "1"),
        energy(one, "2", NOON + MINUTE),
        suspect,
        energy(two, "3"),
    )
    await store(database, other_estate, energy(other_estate.meters[0].id, "4"))
    async with database.unit_of_work(read_only=True) as uow:
        times = await uow.readings.newest_times(estate.organisation.id)
    assert times == {one: NOON + MINUTE, two: NOON}


async def test_two_writers_of_one_batch_store_it_once(database: Database, estate: "Estate") -> None:
    first = [energy(estate.meters[n % 3].id, str(n), NOON + n * MINUTE) for n in range(300)]
    second = [replace(each, value=each.value + n % 2) for n, each in enumerate(first)]
    await store(database, estate, *first[:100])
    results = await asyncio.gather(
        store(database, estate, *first),
        store(database, estate, *reversed(first)),
        store(database, estate, *second),
    )
    assert sum(result.inserted for result in results) == 200
    async with database.unit_of_work(read_only=True) as uow:
        kept = [
            await uow.readings.revisions(
                estate.organisation.id, each.meter_id, each.register, each.read_at
            )
            for each in first
        ]
    for n, revisions_kept in enumerate(kept):
        assert len(revisions_kept) in ({1} if n % 2 == 0 else {2})
        assert [each.revision for each in revisions_kept] == list(range(len(revisions_kept)))
