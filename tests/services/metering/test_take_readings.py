from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import sqlalchemy as sa

from meterplex.db import Database, migrations
from meterplex.db.errors import MissingReferenceError
from meterplex.domain.estate import LinkState, LostReason, MeterId
from meterplex.domain.plausibility import OTHER_METER
from meterplex.domain.readings import (
    DeviceEventRecord,
    EventKind,
    ReadFailure,
    Reading,
    ReadingQuality,
    ReadingRun,
    ReadingSource,
    RunId,
)
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT, VOLTAGE_L1, Unit
from meterplex.domain.supply import SupplyMode, SupplyState
from meterplex.sdk import MeterSnapshot, Quality, RegisterValue
from meterplex.services.metering.device_states import StateChange
from meterplex.services.metering.take_readings import (
    REFUSED_READING,
    SUSPECT_READING,
    RunOutcome,
    TakenSnapshot,
    store_run,
)
from meterplex.simulator.identifiers import IdentifierSource

if TYPE_CHECKING:
    from tests.conftest import Estate

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
identifiers = IdentifierSource(Random(17))


def new_id() -> UUID:
    return identifiers.new(NOON)


def kwh(value: str, quality: Quality = Quality.GOOD) -> RegisterValue:
    return RegisterValue(ACTIVE_ENERGY_IMPORT, Decimal(value), quality)


def take(
    estate: "Estate",
    *values: RegisterValue,
    minute: int = 0,
    flags: frozenset[str] | None = None,
    meter: int = 0,
) -> TakenSnapshot:
    at = NOON + minute * MINUTE
    return TakenSnapshot(estate.meters[meter], at, MeterSnapshot(values, flags=flags))


def run_of(
    estate: "Estate", *taken: TakenSnapshot, failed: Sequence[ReadFailure] = ()
) -> ReadingRun:
    times = [each.read_at for each in taken] or [NOON]
    return ReadingRun(
        RunId(new_id()),
        estate.organisation.id,
        estate.channel.id,
        ReadingSource.SCHEDULED,
        min(times) - timedelta(seconds=1),
        max(times),
        tuple(each.meter.id for each in taken),
        tuple(failed),
    )


async def store(database: Database, estate: "Estate", *taken: TakenSnapshot) -> RunOutcome:
    return await store_run(database, run_of(estate, *taken), taken, (), new_id)


async def latest(database: Database, estate: "Estate") -> dict[tuple[MeterId, str], Reading]:
    async with database.unit_of_work(read_only=True) as uow:
        readings = await uow.readings.latest(estate.organisation.id)
    return {(reading.meter_id, reading.register.slug): reading for reading in readings}


async def energy(database: Database, estate: "Estate") -> Reading:
    return (await latest(database, estate))[estate.meters[0].id, "active_energy_import"]


async def flag_events(database: Database, estate: "Estate") -> list[tuple[EventKind, str]]:
    """Return the flag events, oldest first; those of one snapshot in the order of their codes."""
    async with database.unit_of_work(read_only=True) as uow:
        events = await uow.events.newest(estate.organisation.id)
    return [(event.kind, event.code) for event in sorted(events, key=order)]


def order(event: DeviceEventRecord) -> tuple[datetime, str]:
    return event.at, event.code


async def flags(database: Database, estate: "Estate") -> frozenset[str]:
    async with database.unit_of_work(read_only=True) as uow:
        return (await uow.meters.get(estate.organisation.id, estate.meters[0].id)).flags


async def test_run_is_stored_with_its_readings_and_states(
    database: Database, estate: "Estate"
) -> None:
    one, two, three = estate.meters
    taken = [
        take(estate, kwh("10"), RegisterValue(VOLTAGE_L1, Decimal("230.1"))),
        take(estate, kwh("20"), meter=2),
    ]
    run = run_of(estate, *taken, failed=[ReadFailure(two.id, "LinkTimeoutError: no reply")])
    lost = StateChange.of(two, LinkState.LOST, LostReason.METER, NOON, "no reply")
    outcome = await store_run(database, run, taken, [lost], new_id)
    assert outcome.abnormal == frozenset()
    stored = await latest(database, estate)
    assert stored[one.id, "active_energy_import"] == Reading(
        one.id, ACTIVE_ENERGY_IMPORT, NOON, Decimal("10.000")
    )
    assert stored[one.id, "voltage_l1"].value == Decimal("230.10")
    assert stored[three.id, "active_energy_import"].value == 20
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.runs.get(estate.organisation.id, run.id) == run
        assert (await uow.meters.get(estate.organisation.id, two.id)).state is LinkState.LOST


async def test_run_told_again_changes_nothing(database: Database, estate: "Estate") -> None:
    taken = [take(estate, kwh("10"), flags=frozenset({"alarm_1"}))]
    run = run_of(estate, *taken)
    first = await store_run(database, run, taken, (), new_id)
    again = await store_run(database, run, taken, (), new_id)
    assert first.abnormal == {estate.meters[0].id}
    assert again.abnormal == frozenset()
    assert await flag_events(database, estate) == [(EventKind.FLAG_RAISED, "alarm_1")]
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.runs.newest(estate.organisation.id) == (run,)


async def test_run_that_cannot_be_stored_leaves_nothing(
    database: Database, estate: "Estate"
) -> None:
    stranger = replace(estate.meters[1], id=MeterId(new_id()))
    taken = [take(estate, kwh("10"), flags=frozenset({"alarm_1"}))]
    run = run_of(estate, *taken, failed=[ReadFailure(stranger.id, "no reply")])
    with pytest.raises(MissingReferenceError):
        await store_run(database, run, taken, (), new_id)
    assert await latest(database, estate) == {}
    assert await flags(database, estate) == frozenset()
    assert await flag_events(database, estate) == []


async def test_run_without_any_answer_is_stored(database: Database, estate: "Estate") -> None:
    run = run_of(estate, failed=[ReadFailure(estate.meters[0].id, "no reply")])
    await store_run(database, run, (), (), new_id)
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.runs.newest(estate.organisation.id) == (run,)


@pytest.mark.parametrize("source", [ReadingSource.TRIGGERED, ReadingSource.ON_DEMAND])
async def test_readings_carry_the_source_of_their_run(
    database: Database, estate: "Estate", source: ReadingSource
) -> None:
    taken = [take(estate, kwh("10"))]
    run = replace(run_of(estate, *taken), source=source)
    await store_run(database, run, taken, (), new_id)
    assert (await energy(database, estate)).source is source


async def test_value_that_the_driver_doubts_is_kept_as_suspect(
    database: Database, estate: "Estate"
) -> None:
    outcome = await store(database, estate, take(estate, kwh("10", Quality.SUSPECT)))
    reading = await energy(database, estate)
    assert reading.quality is ReadingQuality.SUSPECT
    assert reading.reason == "the meter or its driver marks it as doubtful"
    assert outcome.abnormal == {estate.meters[0].id}


@pytest.mark.parametrize(
    ("value", "reason"),
    [("9.99", "fell from 10.000 to 9.99"), ("5000", "rose by 4990.000 kWh")],
    ids=["falls", "jumps"],
)
async def test_counter_that_cannot_be_true_is_kept_as_suspect(
    database: Database, estate: "Estate", value: str, reason: str
) -> None:
    await store(database, estate, take(estate, kwh("10")))
    outcome = await store(database, estate, take(estate, kwh(value), minute=1))
    reading = await energy(database, estate)
    assert (reading.quality, reading.value) == (ReadingQuality.SUSPECT, Decimal(value))
    assert reading.reason.startswith(reason)
    assert outcome.abnormal == {estate.meters[0].id}
    assert await flags(database, estate) == {SUSPECT_READING}


async def test_counter_is_compared_with_its_last_good_value(
    database: Database, estate: "Estate"
) -> None:
    for minute, value in enumerate(("10", "9", "9.5", "10.5")):
        await store(database, estate, take(estate, kwh(value), minute=minute))
    async with database.unit_of_work(read_only=True) as uow:
        history = await uow.readings.history(
            estate.organisation.id,
            estate.meters[0].id,
            ACTIVE_ENERGY_IMPORT,
            NOON,
            NOON + 10 * MINUTE,
        )
    assert [reading.quality for reading in history] == ["good", "suspect", "suspect", "good"]


async def test_value_corrected_to_suspect_is_no_base(database: Database, estate: "Estate") -> None:
    await store(database, estate, take(estate, kwh("10")))
    await store(database, estate, take(estate, kwh("500"), minute=60))
    wrong = Reading(
        estate.meters[0].id,
        ACTIVE_ENERGY_IMPORT,
        NOON + 60 * MINUTE,
        Decimal(500),
        ReadingQuality.SUSPECT,
        ReadingSource.MANUAL,
        reason="seen on site: 12",
    )
    async with database.unit_of_work() as uow:
        await uow.readings.store(estate.organisation.id, [wrong], received_at=NOON)
        await uow.commit()
    await store(database, estate, take(estate, kwh("12"), minute=90))
    assert (await energy(database, estate)).quality is ReadingQuality.GOOD


async def test_suspect_meter_is_named_once_and_told_when_it_is_right_again(
    database: Database, estate: "Estate"
) -> None:
    named = [
        bool((await store(database, estate, take(estate, kwh(value), minute=n))).abnormal)
        for n, value in enumerate(("10", "9", "9", "11"))
    ]
    assert named == [False, True, False, False]
    assert await flag_events(database, estate) == [
        (EventKind.FLAG_RAISED, SUSPECT_READING),
        (EventKind.FLAG_CLEARED, SUSPECT_READING),
    ]
    assert await flags(database, estate) == frozenset()


@pytest.mark.parametrize(
    ("refused", "detail"),
    [
        pytest.param(kwh("NaN"), "Decimal('NaN') is not a number", id="no-number"),
        pytest.param(kwh("1e16"), "1E+16 is too large", id="beyond-64-bits"),
        pytest.param(
            RegisterValue(replace(ACTIVE_ENERGY_IMPORT, unit=Unit.KVARH), Decimal(1)),
            "expected kWh at resolution 0.001, 1-0:1.8.0",
            id="another-register-type",
        ),
    ],
)
async def test_value_that_cannot_be_kept_costs_only_itself(
    database: Database, estate: "Estate", refused: RegisterValue, detail: str
) -> None:
    await store(database, estate, take(estate, kwh("10")))
    volts = RegisterValue(VOLTAGE_L1, Decimal(230))
    outcome = await store(database, estate, take(estate, refused, volts, minute=1))
    stored = await latest(database, estate)
    assert stored[estate.meters[0].id, "active_energy_import"].value == 10
    assert stored[estate.meters[0].id, "voltage_l1"].value == 230
    assert outcome.abnormal == {estate.meters[0].id}
    assert await flags(database, estate) == {REFUSED_READING}
    async with database.unit_of_work(read_only=True) as uow:
        (event,) = await uow.events.newest(estate.organisation.id)
    assert event.detail == f"active_energy_import: {detail}"


async def test_value_of_another_type_than_decimal_is_refused(
    database: Database, estate: "Estate"
) -> None:
    make: Callable[..., RegisterValue] = RegisterValue
    await store(database, estate, take(estate, make(ACTIVE_ENERGY_IMPORT, 1.5)))
    assert await latest(database, estate) == {}
    assert await flags(database, estate) == {REFUSED_READING}


async def test_two_definitions_of_one_new_register_in_a_run_do_not_stop_it(
    database: Database, estate: "Estate"
) -> None:
    other = replace(ACTIVE_ENERGY_IMPORT, resolution=Decimal("0.01"))
    taken = [
        take(estate, kwh("10")),
        take(estate, RegisterValue(other, Decimal(20)), meter=1),
    ]
    outcome = await store(database, estate, *taken)
    assert set(await latest(database, estate)) == {(estate.meters[0].id, "active_energy_import")}
    assert outcome.abnormal == {estate.meters[1].id}


async def test_change_of_flags_is_told_once_each(database: Database, estate: "Estate") -> None:
    for minute, told in enumerate(
        (
            frozenset({"alarm_1"}),
            frozenset({"alarm_1"}),
            None,
            frozenset({"alarm_1", "cover_open"}),
            frozenset({"arrears"}),
            frozenset[str](),
        )
    ):
        await store(database, estate, take(estate, minute=minute, flags=told))
    assert await flag_events(database, estate) == [
        (EventKind.FLAG_RAISED, "alarm_1"),
        (EventKind.FLAG_RAISED, "cover_open"),
        (EventKind.FLAG_CLEARED, "alarm_1"),
        (EventKind.FLAG_RAISED, "arrears"),
        (EventKind.FLAG_CLEARED, "cover_open"),
        (EventKind.FLAG_CLEARED, "arrears"),
    ]
    assert await flags(database, estate) == frozenset()


async def test_snapshot_without_flags_leaves_them(database: Database, estate: "Estate") -> None:
    await store(database, estate, take(estate, flags=frozenset({"alarm_1"})))
    await store(database, estate, take(estate, kwh("1"), minute=1))
    assert await flags(database, estate) == {"alarm_1"}


async def test_change_of_supply_is_told_once_each(database: Database, estate: "Estate") -> None:
    states = (
        SupplyState(True, SupplyMode.AUTOMATIC),
        SupplyState(False, SupplyMode.FORCED_OFF),
        SupplyState(False, SupplyMode.FORCED_OFF),
        None,
        SupplyState(True, SupplyMode.AUTOMATIC),
    )
    for minute, state in enumerate(states):
        taken = take(estate, minute=minute, flags=frozenset())
        snapshot = replace(taken.snapshot, supply=state)
        await store(database, estate, replace(taken, snapshot=snapshot))
    assert await flag_events(database, estate) == [
        (EventKind.FLAG_RAISED, "supply_forced_off"),
        (EventKind.FLAG_RAISED, "supply_off"),
        (EventKind.FLAG_CLEARED, "supply_forced_off"),
        (EventKind.FLAG_CLEARED, "supply_off"),
    ]


@pytest.mark.parametrize(
    "database_url", [pytest.param("postgresql", marks=pytest.mark.integration)], indirect=True
)
async def test_run_makes_the_partition_of_its_month(
    database: Database, database_url: str, estate: "Estate"
) -> None:
    await store(database, estate, take(estate, kwh("10")))
    async with migrations.transaction(database_url) as connection:
        month = sa.select(sa.func.count()).select_from(sa.table("reading_2026_11"))
        assert (await connection.execute(month)).scalar_one() == 1


async def test_readings_of_another_meter_in_its_place_are_none_of_its_own(
    database: Database, estate: "Estate"
) -> None:
    own = estate.meters[0].serial
    told = ["90000001", None, own, None]
    seen = []
    for minute, serial in enumerate(told):
        taken = replace(take(estate, kwh(f"{100 + minute}"), minute=minute), serial=serial)
        await store(database, estate, taken)
        reading = await energy(database, estate)
        seen.append((reading.quality, OTHER_METER in await flags(database, estate)))
    assert seen == [
        (ReadingQuality.SUSPECT, True),
        (ReadingQuality.SUSPECT, True),  # not asked again, so nothing is known better
        (ReadingQuality.GOOD, False),
        (ReadingQuality.GOOD, False),
    ]
    assert (EventKind.FLAG_RAISED, OTHER_METER) in await flag_events(database, estate)
