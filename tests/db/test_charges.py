from dataclasses import replace
from decimal import Decimal

import pytest
from tests.conftest import Estate
from tests.services.charging_cases import BEGIN, HOUR, Tenancy, move_in, new_id

from meterplex.db import Database
from meterplex.db.charges import ReadingSpan
from meterplex.db.errors import AppendOnlyError, ConflictError, NotFoundError
from meterplex.domain.charges import (
    Charge,
    ChargeId,
    ChargeKind,
    HoldId,
    HoldReason,
    HoldState,
    ReadingHold,
)
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT


def charge_of(tenancy: Tenancy) -> Charge:
    return Charge(
        id=ChargeId(new_id()),
        organisation_id=tenancy.account.organisation_id,
        account_id=tenancy.account.id,
        binding_id=tenancy.binding.id,
        register=ACTIVE_ENERGY_IMPORT,
        kind=ChargeKind.REGULAR,
        from_at=BEGIN,
        to_at=BEGIN + HOUR,
        from_value=Decimal(100),
        to_value=Decimal("104.5"),
        units=Decimal("4.5"),
        amount_units=2_2500,
        booked_at=BEGIN + HOUR,
        lines=({"component": "energy", "amount_units": 2_2500},),
    )


async def test_charges_come_out_as_they_went_in(
    database: Database, estate: Estate, other_estate: Estate
) -> None:
    tenancy = await move_in(database, estate)
    charge = charge_of(tenancy)
    async with database.unit_of_work() as uow:
        await uow.charges.add_all([charge])
        await uow.commit()
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.charges.get(charge.organisation_id, charge.id) == charge
        of_account = uow.charges.of_account
        within = await of_account(charge.organisation_id, charge.account_id, BEGIN, BEGIN + HOUR)
        assert within == (charge,)
        after = await of_account(charge.organisation_id, charge.account_id, BEGIN + HOUR)
        assert after == ()
        with pytest.raises(NotFoundError):
            await uow.charges.get(other_estate.organisation.id, charge.id)


async def test_a_tile_is_charged_once_but_adjusted_often(
    database: Database, estate: Estate
) -> None:
    charge = charge_of(await move_in(database, estate))
    adjustment = replace(
        charge, id=ChargeId(new_id()), kind=ChargeKind.ADJUSTMENT, adjusts_id=charge.id
    )
    async with database.unit_of_work() as uow:
        await uow.charges.add_all([charge, adjustment, replace(adjustment, id=ChargeId(new_id()))])
        await uow.commit()
    async with database.unit_of_work() as uow:
        with pytest.raises(ConflictError):
            await uow.charges.add_all([replace(charge, id=ChargeId(new_id()))])
    async with database.unit_of_work(read_only=True) as uow:
        key = charge.organisation_id, charge.binding_id, charge.register
        assert await uow.charges.tile_at(*key, BEGIN + HOUR) == charge
        assert await uow.charges.tile_at(*key, BEGIN) is None


async def test_charges_never_change(database: Database, estate: Estate) -> None:
    charge = charge_of(await move_in(database, estate))
    async with database.unit_of_work() as uow:
        await uow.charges.add_all([charge])
        await uow.commit()
    for statement in ("UPDATE charge SET amount_units = 0", "DELETE FROM charge"):
        async with database.unit_of_work() as uow:
            with pytest.raises(AppendOnlyError):
                await uow.charges._execute_plain(statement, [()])


async def test_holds_are_written_again(
    database: Database, estate: Estate, other_estate: Estate
) -> None:
    tenancy = await move_in(database, estate)
    hold = ReadingHold(
        HoldId(new_id()),
        tenancy.account.organisation_id,
        tenancy.binding.id,
        ACTIVE_ENERGY_IMPORT,
        BEGIN + HOUR,
        Decimal(5),
        HoldReason.RESET,
        BEGIN + HOUR,
    )
    settled = replace(
        hold,
        state=HoldState.NEW_START,
        closing_value=Decimal("104.25"),
        opening_value=Decimal(0),
        settled_at=BEGIN + 2 * HOUR,
        settled_by="wang",
    )
    for each in (hold, settled):
        async with database.unit_of_work() as uow:
            await uow.reading_holds.put_all([each])
            await uow.commit()
        async with database.unit_of_work(read_only=True) as uow:
            assert await uow.reading_holds.get(hold.organisation_id, hold.id) == each
            assert await uow.reading_holds.all(hold.organisation_id) == (each,)
            assert await uow.reading_holds.all(other_estate.organisation.id) == ()


async def test_readings_come_by_span_in_their_newest_revision(
    database: Database, estate: Estate
) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "101"), (2, "102"), (3, "103"), received=BEGIN + 3 * HOUR)
    await tenancy.read((2, "102.5"), received=BEGIN + 4 * HOUR)
    span = ReadingSpan(tenancy.meter_id, ACTIVE_ENERGY_IMPORT, BEGIN + HOUR, BEGIN + 3 * HOUR)
    key = tenancy.meter_id, ACTIVE_ENERGY_IMPORT.slug
    organisation_id = estate.organisation.id
    async with database.unit_of_work(read_only=True) as uow:
        now = (await uow.charges.readings(organisation_id, [span]))[key]
        then = await uow.charges.readings(organisation_id, [span], known_at=BEGIN + 3 * HOUR)
        late = await uow.charges.earliest_received(organisation_id, [span], BEGIN + 4 * HOUR)
    assert [each.count for each in now] == [102_500, 103_000]
    assert [each.count for each in then[key]] == [102_000, 103_000]
    assert late == {key: BEGIN + 2 * HOUR}
