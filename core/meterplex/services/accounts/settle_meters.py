"""Charges the meters of an account up to the counters that its bindings are to end with.

It comes before the transaction that ends them, in commits of its own: charging what was read is
right whatever becomes of the rest.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from meterplex.db import Database, UnitOfWork
from meterplex.domain.accounts import AccountState
from meterplex.domain.charges import HoldState
from meterplex.domain.estate import AccountId, Binding, Meter, OrganisationId
from meterplex.services.accounts.binding_counters import Counters, GivenReadings, counters_at
from meterplex.services.accounts.find_accounts import hold_account, open_bindings
from meterplex.services.books.errors import BusyError, MoneyInputError
from meterplex.services.charging.charge_readings import charge_meters

ReadingsOfPoints = Mapping[str, GivenReadings]
"""What meters show now, by code of the usage point."""


async def settle_account(
    database: Database,
    organisation_id: OrganisationId,
    account_id: AccountId,
    readings: ReadingsOfPoints,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> None:
    """Store the readings that were given, and charge all meters of an account.

    Args:
        dry_run: do nothing; what is not charged yet is then not looked for either.

    Raises:
        MoneyError: there is no such account, it is closed, or a reading cannot be true.
    """
    if dry_run:
        return
    living = frozenset(AccountState) - {AccountState.CLOSED}
    async with database.unit_of_work() as uow:
        account = await hold_account(uow, organisation_id, account_id, living)
        bindings = await open_bindings(uow, account)
        await check_points(uow, bindings, readings)
        for binding in bindings:
            given = await readings_of(uow, binding, readings)
            if given:
                meter = await uow.meters.get(organisation_id, binding.meter_id)
                await counters_at(uow, meter, given, at, operator=operator)
        await uow.commit()
    await charge_meters(database, organisation_id, {each.meter_id for each in bindings}, at)


async def check_points(
    uow: UnitOfWork, bindings: Iterable[Binding], readings: ReadingsOfPoints
) -> None:
    """See that readings were given for usage points of these bindings only.

    Raises:
        MoneyInputError: they were not.
    """
    known = {await _code(uow, binding) for binding in bindings}
    if strange := sorted(readings.keys() - known):
        raise MoneyInputError("readings", f"the account has no usage point {', '.join(strange)}")


async def readings_of(
    uow: UnitOfWork, binding: Binding, readings: ReadingsOfPoints
) -> GivenReadings:
    """Return what was given for the usage point of a binding; empty when nothing was."""
    return readings.get(await _code(uow, binding), {}) if readings else {}


async def _code(uow: UnitOfWork, binding: Binding) -> str:
    point = await uow.usage_points.get(binding.organisation_id, binding.usage_point_id)
    return point.code


async def check_charged(
    uow: UnitOfWork, binding: Binding, meter: Meter, counters: Counters | None
) -> None:
    """See that a binding is charged up to the counters that it is to end with.

    Raises:
        BusyError: a reading is held, or came in after it was charged.
    """
    if counters is None:
        return
    held = await uow.reading_holds.of_bindings(binding.organisation_id, [binding.id])
    for hold in (each for holds in held.values() for each in holds):
        if hold.state is HoldState.OPEN:
            raise BusyError(
                "readings",
                f"meter {meter.serial}: reading {hold.value} of {hold.read_at:%Y-%m-%d %H:%M} UTC "
                f"is held ({hold.reason}): settle it first",
            )
    charged = await uow.charges.registers(binding.organisation_id, [binding.id])
    for register, value in counters.values.items():
        so_far = charged.get((binding.id, register.slug))
        if so_far is not None and so_far.value != value:
            raise BusyError(
                "readings",
                f"meter {meter.serial} was read at {counters.at:%Y-%m-%d %H:%M:%S} UTC and is "
                f"charged until {so_far.until:%Y-%m-%d %H:%M:%S} only: try again",
            )
