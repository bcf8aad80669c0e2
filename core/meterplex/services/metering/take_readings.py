"""Takes what drivers read into the store: a whole run, or nothing of it."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from meterplex.db import Database, UnitOfWork
from meterplex.domain.estate import Meter, MeterId, OrganisationId
from meterplex.domain.estate_rules import is_other_meter
from meterplex.domain.plausibility import OTHER_METER, CounterReading, doubt
from meterplex.domain.prepayment import PrepaymentRules
from meterplex.domain.readings import (
    DeviceEventRecord,
    EventKind,
    Reading,
    ReadingQuality,
    ReadingRun,
    ReadingSource,
)
from meterplex.domain.registers import RegisterType
from meterplex.domain.supply import SUPPLY_FLAGS
from meterplex.sdk import MeterSnapshot, Quality, RegisterValue
from meterplex.services.metering.device_states import StateChange, note_states
from meterplex.services.metering.reading_messages import tell_readings
from meterplex.services.orders.compare_counts import SeenWallet, compare_counts

SUSPECT_READING: Final = "suspect_reading"
"""Flag of a meter of whose last snapshot a value was kept as suspect."""

REFUSED_READING: Final = "refused_reading"
"""Flag of a meter of whose last snapshot a value could not be kept."""

_OWN_FLAGS: Final = frozenset({SUSPECT_READING, REFUSED_READING, OTHER_METER})
_STEPS_MAX: Final = (1 << 63) - 1

RULES: Final = PrepaymentRules()

LastGood = Mapping[tuple[MeterId, str], Reading]


@dataclass(frozen=True, slots=True)
class TakenSnapshot:
    """What one read of one meter gave, and when its reply came in (UTC).

    Attributes:
        serial: that the device told, where it was asked: when it had been lost.
    """

    meter: Meter
    read_at: datetime
    snapshot: MeterSnapshot
    serial: str | None = None


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What storing a run showed.

    Attributes:
        abnormal: meters whose readings have become suspect with this run, or that raised a flag:
            they should be read again at once. A meter that stays so is not named again.
    """

    abnormal: frozenset[MeterId]


@dataclass(frozen=True, slots=True)
class _Judged:
    """A snapshot as it will be stored; ``raised`` are the flags of our own, with their reasons."""

    taken: TakenSnapshot
    readings: tuple[Reading, ...]
    raised: Mapping[str, str]


async def store_run(
    database: Database,
    run: ReadingRun,
    taken: Sequence[TakenSnapshot],
    changes: Sequence[StateChange],
    new_id: Callable[[], UUID],
) -> RunOutcome:
    """Store a run, its readings, the changes of states and flags, in one transaction.

    A run that is stored already is left as it is, so a call whose commit went unanswered may be
    made again. A value that cannot be kept (no number, too large, of a register type that is not
    what it was) costs only itself.

    Raises:
        DatabaseError: nothing was stored, or the commit went unanswered.
    """
    if taken:
        times = [each.read_at for each in taken]
        await database.make_partitions(min(times), max(times), now=run.ended_at)
    # Judged beforehand: on SQLite nobody else can write from here to the commit.
    async with database.unit_of_work(read_only=True) as uow:
        judged = await _judge(uow, run, taken)
        paid_for = await _paid_for(uow, run.organisation_id, taken)
    readings = [reading for each in judged for reading in each.readings]
    async with database.unit_of_work() as uow:
        if await uow.runs.find(run.organisation_id, run.id) is not None:
            return RunOutcome(frozenset())
        await uow.readings.store(run.organisation_id, readings, received_at=run.ended_at)
        await uow.runs.add(run)
        await note_states(uow, changes, new_id)
        abnormal = await _note_flags(uow, run.organisation_id, judged, new_id)
        if paid_for:
            oldest = min(each.read_at for each in taken)
            await tell_readings(uow, run.organisation_id, paid_for, since=oldest, at=run.ended_at)
        await uow.commit()
    return RunOutcome(abnormal)


async def compare_wallets(
    database: Database,
    run: ReadingRun,
    taken: Sequence[TakenSnapshot],
    rules: PrepaymentRules = RULES,
) -> None:
    """Compare the wallets that came along with a stored run with what was sold to them (F61).

    A transaction of its own, since it holds accounts; a repetition changes nothing.
    """
    seen = [
        SeenWallet(each.meter, each.read_at, each.snapshot.credit)
        for each in taken
        if each.snapshot.credit is not None
    ]
    await compare_counts(database, run.organisation_id, seen, rules)


async def _paid_for(
    uow: UnitOfWork, organisation_id: OrganisationId, taken: Sequence[TakenSnapshot]
) -> frozenset[MeterId]:
    """Return the meters of a run whose use somebody pays for."""
    if not taken:
        return frozenset()
    meters = {each.meter.id for each in taken}
    bindings = await uow.bindings.open_of_meters(organisation_id, meters)
    return frozenset(each.meter_id for each in bindings if each.account_id is not None)


async def _judge(uow: UnitOfWork, run: ReadingRun, taken: Sequence[TakenSnapshot]) -> list[_Judged]:
    if not taken:
        return []
    known = {register.slug: register for register in (await uow.registers.all()).values()}
    last_good = await uow.readings.last_good_counters(
        run.organisation_id,
        {each.meter.id for each in taken},
        before=min(each.read_at for each in taken),
    )
    meters = await uow.meters.by_ids(run.organisation_id, {each.meter.id for each in taken})
    judged = []
    for each in taken:
        stranger = _stranger(each, meters[each.meter.id])
        judged.append(_judge_snapshot(each, run.source, known, last_good, stranger))
        await asyncio.sleep(0)  # a line may be waiting for the event loop
    return judged


def _judge_snapshot(
    taken: TakenSnapshot,
    source: ReadingSource,
    known: dict[str, RegisterType],
    last_good: LastGood,
    stranger: str,
) -> _Judged:
    """Make readings of a snapshot; a register type seen here first is added to ``known``."""
    readings: list[Reading] = []
    raised: dict[str, str] = {OTHER_METER: stranger} if stranger else {}
    for value in taken.snapshot.values:
        refusal = _refusal(value, known.setdefault(value.register.slug, value.register))
        if refusal is not None:
            raised.setdefault(REFUSED_READING, f"{value.register.slug}: {refusal}")
            continue
        reading = _reading(taken, value, source, last_good, stranger)
        readings.append(reading)
        if reading.quality is ReadingQuality.SUSPECT:
            raised.setdefault(SUSPECT_READING, f"{value.register.slug}: {reading.reason}")
    return _Judged(taken, tuple(readings), raised)


def _stranger(taken: TakenSnapshot, meter: Meter) -> str:
    """Say which device answers in the meter's place; empty when none is known to."""
    if is_other_meter(meter.serial, taken.serial):
        return f"number {taken.serial} answers, expected {meter.serial}"
    if taken.serial is None and OTHER_METER in meter.flags:
        return f"not known to be {meter.serial}"
    return ""


def _refusal(value: RegisterValue, known: RegisterType) -> str | None:
    """Return why a value cannot be kept at all."""
    if value.register != known:
        return f"expected {known.unit} at resolution {known.resolution}, {known.obis}"
    if not _is_number(value.value):
        return f"{value.value!r} is not a number"
    if abs(value.register.to_steps(value.value)) > _STEPS_MAX:
        return f"{value.value} is too large"
    return None


def _is_number(value: object) -> bool:
    """Whether a driver, which need not be typed, gave a finite ``Decimal``."""
    return isinstance(value, Decimal) and value.is_finite()


def _reading(
    taken: TakenSnapshot,
    value: RegisterValue,
    source: ReadingSource,
    last_good: LastGood,
    stranger: str,
) -> Reading:
    before = last_good.get((taken.meter.id, value.register.slug))
    reason = stranger or doubt(
        value.register,
        CounterReading(value.value, taken.read_at),
        None if before is None else CounterReading(before.value, before.read_at),
    )
    if reason is None and value.quality is Quality.SUSPECT:
        reason = "the meter or its driver marks it as doubtful"
    return Reading(
        meter_id=taken.meter.id,
        register=value.register,
        read_at=taken.read_at,
        value=value.value,
        quality=ReadingQuality.GOOD if reason is None else ReadingQuality.SUSPECT,
        source=source,
        reason=reason or "",
    )


async def _note_flags(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    judged: Collection[_Judged],
    new_id: Callable[[], UUID],
) -> frozenset[MeterId]:
    """Write changed flags with an event for each; return the meters that raised one."""
    meters = await uow.meters.by_ids(organisation_id, {each.taken.meter.id for each in judged})
    abnormal: set[MeterId] = set()
    for each in judged:
        meter = meters[each.taken.meter.id]
        flags = _flags_after(meter.flags, each)
        if flags == meter.flags:
            continue
        await uow.meters.set_flags(organisation_id, meter.id, flags)
        await uow.events.add_all(_flag_events(meter, flags, each, new_id))
        if flags - meter.flags:
            abnormal.add(meter.id)
    return frozenset(abnormal)


def _flags_after(flags: frozenset[str], judged: _Judged) -> frozenset[str]:
    """Return the flags after a snapshot; what it did not include stays as it was."""
    told, supply = judged.taken.snapshot.flags, judged.taken.snapshot.supply
    of_device = flags - _OWN_FLAGS - SUPPLY_FLAGS if told is None else told
    of_supply = flags & SUPPLY_FLAGS if supply is None else supply.flags
    return of_device | of_supply | judged.raised.keys()


def _flag_events(
    meter: Meter, flags: frozenset[str], judged: _Judged, new_id: Callable[[], UUID]
) -> Iterator[DeviceEventRecord]:
    for code in sorted(flags ^ meter.flags):
        yield DeviceEventRecord(
            id=new_id(),
            organisation_id=meter.organisation_id,
            subject="meter",
            subject_id=meter.id,
            kind=EventKind.FLAG_RAISED if code in flags else EventKind.FLAG_CLEARED,
            code=code,
            at=judged.taken.read_at,
            detail=judged.raised.get(code, ""),
        )
