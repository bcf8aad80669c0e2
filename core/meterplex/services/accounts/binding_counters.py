"""What the counters of a meter showed when one binding ended and the next began.

It is what the head-end read last, or what a person read at the meter and typed in. What is typed
becomes a reading like any other, so that the last charge of the one and the first of the other
meet at the same figure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from meterplex.db import UnitOfWork
from meterplex.domain.estate import Meter
from meterplex.domain.money import LEDGER_UNITS
from meterplex.domain.plausibility import CounterReading, doubt
from meterplex.domain.readings import Reading, ReadingQuality, ReadingSource
from meterplex.domain.registers import (
    CREDIT_REMAINING,
    PURCHASE_COUNT,
    STANDARD_REGISTERS,
    TOTAL_PURCHASED,
    RegisterType,
)
from meterplex.services.books.errors import MoneyInputError

GivenReadings = Mapping[str, Decimal]
"""Typed in, by the slug of the register, as the meter shows them."""

AGE_MAX: Final = timedelta(days=1)
"""An older reading begins or ends no binding: somebody else may have used since. Own choice."""

_AT_ONCE: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters at a time; ``values`` are as the meter shows them, before ct and pt."""

    at: datetime
    values: Mapping[RegisterType, Decimal]


@dataclass(frozen=True, slots=True)
class CreditReading:
    """The wallet in a meter as it was read last; amounts are ledger units."""

    read_at: datetime
    remaining_units: int
    purchase_count: int | None
    total_purchased_units: int | None


async def counters_at(
    uow: UnitOfWork,
    meter: Meter,
    given: GivenReadings,
    at: datetime,
    *,
    operator: str,
    field: str = "readings",
    age_max: timedelta | None = AGE_MAX,
) -> Counters | None:
    """Return the counters that a binding begins or ends with; None when they were never read.

    Args:
        given: counters that somebody read at the meter now; they are stored as readings.
        operator: who typed them.
        age_max: of the last reading, where none is given; None for any.

    Raises:
        MoneyInputError: a given one is of no counter, or cannot be true after the last reading;
            or none is given and the last reading is too old.
    """
    last = await uow.readings.last_good_counters(
        meter.organisation_id, [meter.id], before=at + _AT_ONCE
    )
    values = {reading.register: reading.value for reading in last.values()}
    if given:
        checked = await _checked(
            uow, meter, given, {each.register: each for each in last.values()}, at, field
        )
        await _store(uow, meter, checked, at, operator)
        return Counters(at, {**values, **checked})
    if not last:
        return None
    newest = max(reading.read_at for reading in last.values())
    if age_max is not None and at - newest > age_max:
        raise MoneyInputError(
            field,
            f"meter {meter.serial} was read last at {newest:%Y-%m-%d %H:%M} UTC: read it again, "
            "or give what it shows",
        )
    return Counters(newest, values)


async def _checked(
    uow: UnitOfWork,
    meter: Meter,
    given: GivenReadings,
    last: Mapping[RegisterType, Reading],
    at: datetime,
    field: str,
) -> Mapping[RegisterType, Decimal]:
    known = {each.slug: each for each in (await uow.registers.all()).values()}
    registers = STANDARD_REGISTERS | known
    checked: dict[RegisterType, Decimal] = {}
    for slug, value in given.items():
        register = registers.get(slug)
        if register is None or not register.cumulative:
            raise MoneyInputError(field, f"{slug!r} is no counter")
        if not value.is_finite():
            raise MoneyInputError(field, f"{slug}: {value} is no number")
        before = last.get(register)
        reason = doubt(
            register,
            CounterReading(value, at),
            None if before is None else CounterReading(before.value, before.read_at),
        )
        if reason is not None:
            raise MoneyInputError(field, f"meter {meter.serial}, {slug}: {reason}")
        checked[register] = register.from_steps(register.to_steps(value))
    return checked


async def _store(
    uow: UnitOfWork,
    meter: Meter,
    values: Mapping[RegisterType, Decimal],
    at: datetime,
    operator: str,
) -> None:
    readings = [
        Reading(
            meter_id=meter.id,
            register=register,
            read_at=at,
            value=value,
            source=ReadingSource.MANUAL,
            reason=f"read at the meter, given by {operator}",
        )
        for register, value in values.items()
    ]
    await uow.readings.store(meter.organisation_id, readings, received_at=at)


async def last_credit(uow: UnitOfWork, meter: Meter) -> CreditReading | None:
    """Return the wallet of a meter as it was read last; None when it never was."""
    latest = {
        reading.register: reading
        for reading in await uow.readings.latest(meter.organisation_id, [meter.id])
        if reading.quality is ReadingQuality.GOOD
    }
    remaining = latest.get(CREDIT_REMAINING)
    if remaining is None:
        return None
    count, total = latest.get(PURCHASE_COUNT), latest.get(TOTAL_PURCHASED)
    return CreditReading(
        read_at=remaining.read_at,
        remaining_units=_units(remaining),
        purchase_count=None if count is None else int(count.value),
        total_purchased_units=None if total is None else _units(total),
    )


def _units(reading: Reading) -> int:
    return int(reading.value * LEDGER_UNITS)
