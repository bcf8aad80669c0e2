"""Estimated readings: charged at once, settled by the next actual one."""

from datetime import datetime
from decimal import Decimal

from meterplex.db import Database
from meterplex.domain.estate import Meter, OrganisationId
from meterplex.domain.readings import Reading, ReadingQuality, ReadingSource
from meterplex.domain.registers import RegisterType
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.charging.charge_readings import ChargingOutcome, charge_meters
from meterplex.services.operators.audit import record
from meterplex.services.tariffs.book import TariffBook


async def estimate_reading(
    database: Database,
    organisation_id: OrganisationId,
    meter: Meter,
    register: RegisterType,
    value: Decimal,
    read_at: datetime,
    *,
    at: datetime,
    operator: str,
    reason: str = "",
    book: TariffBook | None = None,
    dry_run: bool = False,
) -> ChargingOutcome:
    """Store what a meter is believed to have shown, and charge it until it is known.

    Args:
        read_at: not later than ``at``, and after the last reading of the register.
        dry_run: check everything, but store and charge nothing.

    Raises:
        MoneyInputError: the value is no number or below zero, or the time is in the future.
        MoneyConflictError: there is a reading at that time or later, or one that showed more.
    """
    if not value.is_finite() or value < 0:
        raise MoneyInputError("value", f"{value}: expected what a counter can show")
    if read_at > at:
        raise MoneyInputError("read_at", f"{read_at.isoformat()} is in the future")
    await database.make_partitions(read_at, read_at, now=at)
    async with database.unit_of_work() as uow:
        last = await uow.readings.last_before(organisation_id, meter.id, register, at)
        if last is not None and last.read_at >= read_at:
            raise MoneyConflictError(
                "read_at", f"{register.slug} was read later, at {last.read_at.isoformat()}"
            )
        if last is not None and last.value > value:
            raise MoneyConflictError("value", f"{value} is less than {last.value}, shown before")
        estimated = Reading(
            meter.id,
            register,
            read_at,
            value,
            ReadingQuality.ESTIMATED,
            ReadingSource.MANUAL,
            reason=reason or f"estimated by {operator}",
        )
        await uow.readings.store(organisation_id, [estimated], received_at=at)
        detail = {"register": register.slug, "value": str(value), "read_at": read_at.isoformat()}
        await record(
            uow,
            organisation_id,
            operator,
            "reading.estimate",
            f"meter {meter.serial}",
            detail | {"reason": reason},
            at,
        )
        if dry_run:
            return ChargingOutcome()
        await uow.commit()
    return await charge_meters(database, organisation_id, [meter.id], at, since=read_at, book=book)
