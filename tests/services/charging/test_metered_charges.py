"""Charges of meters that count the credit down themselves."""

from dataclasses import replace
from decimal import Decimal

import pytest
from tests.conftest import Estate
from tests.domain.tariff_samples import FLAT
from tests.services.charging_cases import BEGIN, HOUR, Tenancy, move_in, total

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.charges import ChargeKind, HoldReason, HoldState
from meterplex.domain.ledger import EntryKind, Posting, cash, in_meter, revenue
from meterplex.domain.registers import CREDIT_REMAINING
from meterplex.domain.tariff import Span, Standing
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import MeterUnfitError
from meterplex.services.charging.explain_charge import replay_charge
from meterplex.services.charging.metered_charges import PRICE_MISMATCH
from meterplex.services.tariffs.check_meter_tariff import check_meter_tariff


async def deliver(tenancy: Tenancy, amount_units: int, hours: float) -> None:
    async with tenancy.database.unit_of_work() as uow:
        await book(
            uow,
            tenancy.estate.site,
            EntryKind.DELIVERY,
            [Posting(cash("cash"), in_meter(tenancy.binding.id), amount_units)],
            currency="CNY",
            at=BEGIN + hours * HOUR,
            operator="delivery",
            account=tenancy.account,
        )
        await uow.commit()


async def show(tenancy: Tenancy, hours: float, energy: str, credit: str) -> None:
    await tenancy.read((hours, energy))
    await tenancy.read((hours, credit), register=CREDIT_REMAINING)


async def mismatches(tenancy: Tenancy) -> int:
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        events = await uow.events.newest(tenancy.account.organisation_id, tenancy.meter_id)
    return sum(event.code == PRICE_MISMATCH for event in events)


async def test_the_fall_of_the_credit_is_the_charge(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate, mode=AccountMode.PREPAID_METER)
    await deliver(tenancy, 50_0000, 0)
    await show(tenancy, 1, "104", "48.00")
    (first,) = (await tenancy.charge(1)).charges
    assert (first.kind, first.amount_units) == (ChargeKind.METERED, 2_0000)
    await deliver(tenancy, 10_0000, 1.5)
    await show(tenancy, 2, "110", "55.00")
    (second,) = (await tenancy.charge(2)).charges
    assert (second.amount_units, second.from_at, second.to_value) == (
        3_0000,
        first.to_at,
        Decimal(55),
    )
    assert (await tenancy.charge(2)).charges == ()
    balances = await tenancy.balances()
    assert balances[in_meter(tenancy.binding.id)] == 55_0000
    assert balances[revenue("electricity")] == 5_0000
    assert await mismatches(tenancy) == 0
    for charge in (first, second):
        replay = await replay_charge(database, charge.organisation_id, charge.id)
        assert replay.same


async def test_credit_that_rose_by_itself_is_held(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate, mode=AccountMode.PREPAID_METER)
    await deliver(tenancy, 50_0000, 0)
    await show(tenancy, 1, "104", "58.00")
    done = await tenancy.charge(1)
    assert [hold.reason for hold in done.held] == [HoldReason.NEGATIVE]
    assert (await tenancy.charge(1)).held == ()
    await show(tenancy, 2, "105", "47.50")
    assert total((await tenancy.charge(2)).charges) == 2_5000
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.reading_holds.in_state(estate.organisation.id, HoldState.OPEN) == ()


async def test_other_prices_in_the_meter_are_told_once_a_day(
    database: Database, estate: Estate
) -> None:
    tenancy = await move_in(database, estate, mode=AccountMode.PREPAID_METER)
    await deliver(tenancy, 500_0000, 0)
    for hour in range(1, 5):
        await show(tenancy, hour, str(100 + 40 * hour), str(500 - 60 * hour))
        await tenancy.charge(hour)
    assert await mismatches(tenancy) == 1
    assert total(await tenancy.charges()) == 240_0000


def test_what_a_meter_cannot_hold_is_refused() -> None:
    check_meter_tariff(FLAT)
    daily = Standing("service", Span.DAY, Decimal(1))
    with pytest.raises(MeterUnfitError, match="a meter charges energy alone"):
        check_meter_tariff(replace(FLAT, standing=(daily,)))
