"""Charging on both databases: each case ends with books that are right."""

import asyncio
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from tests.conftest import Estate
from tests.domain.tariff_samples import FLAT, blocks, decimals, one_season, slots
from tests.services.charging_cases import (
    BEGIN,
    HOUR,
    Tenancy,
    close_account,
    july,
    move_in,
    new_id,
    total,
)

from meterplex.db import Database
from meterplex.db.outbox import OutboxMessage
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Category
from meterplex.domain.charges import ChargeKind, HoldReason, HoldState, ReadingHold
from meterplex.domain.ledger import customer, receivable, revenue, tax
from meterplex.domain.plausibility import OTHER_METER
from meterplex.domain.readings import ReadingQuality
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT
from meterplex.domain.tariff import Span, Standing, Surcharge
from meterplex.services.charging.charge_readings import (
    ChargingOutcome,
    charge_meters,
    readings_handler,
)
from meterplex.services.charging.estimate_readings import estimate_reading
from meterplex.services.charging.settle_holds import HoldDecision, settle_hold
from meterplex.services.metering.reading_messages import READINGS
from meterplex.services.tariffs.book import TariffBook

BLOCKS = replace(FLAT, id="blocks", blocks=blocks("10", "20"), prices=decimals("1", "2", "5"))


async def test_a_reading_is_charged_once(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.pay(100_0000)
    await tenancy.read((1, "104"))
    (charge,) = (await tenancy.charge(1)).charges
    assert (charge.kind, charge.units) == (ChargeKind.REGULAR, Decimal(4))
    assert charge.amount_units == 2_0000
    assert (charge.from_at, charge.to_at) == (BEGIN, BEGIN + HOUR)
    assert (charge.from_value, charge.to_value) == (Decimal(100), Decimal(104))
    assert (await tenancy.charge(1)).charges == ()
    assert await tenancy.charges() == (charge,)
    balances = await tenancy.balances()
    assert balances[customer(tenancy.account.id)] == 98_0000
    assert balances[revenue("electricity")] == 2_0000
    await tenancy.check_books()


async def test_tiles_follow_each_other(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate, BLOCKS, ct=Decimal(5))
    for hour, value in ((1, "101"), (2, "102.5"), (3, "102.5"), (9, "104")):
        await tenancy.read((hour, value))
        await tenancy.charge(hour, since=hour)
    charges = await tenancy.charges()
    assert [(each.to_at - each.from_at) // HOUR for each in charges] == [1, 1, 1, 6]
    assert [each.units for each in charges] == [5, Decimal("7.5"), 0, Decimal("7.5")]
    assert [each.amount_units for each in charges] == [5_0000, 10_0000, 0, 15_0000]
    assert charges[2].entry_id is None
    await tenancy.check_books()


async def test_prepaid_credit_is_taken_to_the_overdraft_and_the_rest_is_owed(
    database: Database, estate: Estate
) -> None:
    tenancy = await move_in(database, estate, overdraft_units=5000)
    await tenancy.pay(1_0000)
    await tenancy.read((1, "104"))
    await tenancy.charge(1)
    balances = await tenancy.balances()
    assert balances[customer(tenancy.account.id)] == -5000
    assert balances[receivable(tenancy.account.id, Category.UTILITY)] == -5000


async def test_postpaid_use_is_owed(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate, mode=AccountMode.POSTPAID)
    await tenancy.pay(9_0000)
    await tenancy.read((1, "104"))
    await tenancy.charge(1)
    balances = await tenancy.balances()
    assert balances[customer(tenancy.account.id)] == 9_0000
    assert balances[receivable(tenancy.account.id, Category.UTILITY)] == -2_0000


async def test_taxes_go_to_their_own_account(database: Database, estate: Estate) -> None:
    vat = Surcharge("vat", percent=Decimal(13), applies_to=("energy",), tax_code="VAT13")
    tenancy = await move_in(database, estate, replace(FLAT, surcharges=(vat,)))
    await tenancy.read((1, "104"))
    await tenancy.charge(1)
    balances = await tenancy.balances()
    assert (balances[revenue("electricity")], balances[tax("VAT13")]) == (2_0000, 2600)
    await tenancy.check_books()


async def test_charging_asks_for_supply_to_be_decided_again(
    database: Database, estate: Estate
) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "104"))
    await tenancy.charge(1)
    async with database.unit_of_work(read_only=True) as uow:
        messages = await uow.outbox.due(["supply"], BEGIN + HOUR)
    assert [(each.topic, each.subject) for each in messages] == [
        ("supply", str(tenancy.account.id))
    ]


async def test_dry_run_tells_and_keeps_nothing(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "104"))
    assert total((await tenancy.charge(1, dry_run=True)).charges) == 2_0000
    assert await tenancy.charges() == ()
    assert await tenancy.balances() == {}


async def test_late_reading_makes_an_adjustment_of_the_tile_it_lies_in(
    database: Database, estate: Estate
) -> None:
    day_and_night = replace(
        FLAT,
        bands=("night", "day"),
        seasons=one_season(*slots(at_0000="night", at_1200="day")),
        prices=decimals("1 3"),
    )
    tenancy = await move_in(database, estate, day_and_night)
    await tenancy.read((6, "100"))
    await tenancy.charge(6)
    await tenancy.read((18, "112"))
    (tile,) = (await tenancy.charge(18)).charges
    assert tile.amount_units == (6 * 1 + 6 * 3) * 10_000
    await tenancy.read((12, "102"), received=BEGIN + 20 * HOUR)
    (adjustment,) = (await tenancy.charge(20)).charges
    assert adjustment.amount_units == 8_0000
    assert (adjustment.kind, adjustment.units) == (ChargeKind.ADJUSTMENT, Decimal(0))
    assert adjustment.adjusts_id == tile.id
    await tenancy.check_books()


async def test_corrected_reading_is_booked_as_a_linked_adjustment(
    database: Database, estate: Estate
) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "104"))
    first = (await tenancy.charge(1)).charges[0]
    await tenancy.read((1, "106"), received=BEGIN + 2 * HOUR)
    (adjustment,) = (await tenancy.charge(2)).charges
    assert adjustment.kind is ChargeKind.ADJUSTMENT
    assert (adjustment.amount_units, adjustment.units) == (1_0000, Decimal(2))
    assert adjustment.adjusts_id == first.id
    async with database.unit_of_work(read_only=True) as uow:
        assert adjustment.entry_id is not None
        entry = await uow.ledger.get(adjustment.organisation_id, adjustment.entry_id)
    assert (entry.kind, "2026-07" in entry.memo) == ("adjustment", True)
    await tenancy.read((3, "107"))
    (regular,) = (await tenancy.charge(3)).charges
    assert (regular.from_value, regular.units) == (Decimal(106), Decimal(1))
    await tenancy.check_books()


async def test_late_reading_of_another_month_moves_use_between_the_bills(
    database: Database, estate: Estate
) -> None:
    tenancy = await move_in(database, estate, BLOCKS)
    day = 24
    await tenancy.read(*((number * day, "102") for number in (5, 10, 15, 20, 25, 29)))
    await tenancy.charge(29 * day)
    await tenancy.read((33 * day, "118"))
    await tenancy.charge(33 * day, since=33 * day)
    assert total(await tenancy.charges()) == 18_0000  # 2 and 8 in July, 8 in August
    await tenancy.read((31 * day, "118"), received=BEGIN + 34 * day * HOUR)
    (adjustment,) = (await tenancy.charge(34 * day)).charges
    assert adjustment.amount_units == 8_0000  # 10 and 8 at the second price, all in July
    assert {line["period"][:10] for line in adjustment.lines} == {"2026-06-30", "2026-07-31"}
    await tenancy.check_books()


async def test_a_tariff_change_inside_a_tile_splits_it_and_keeps_the_blocks(
    database: Database, estate: Estate
) -> None:
    later = replace(BLOCKS, version=2, valid_from=july(3), prices=decimals("10", "20", "50"))
    tenancy = await move_in(database, estate, BLOCKS, later)
    await tenancy.read((96, "116"))
    (charge,) = (await tenancy.charge(96)).charges
    assert charge.amount_units == (8 * 1 + 2 * 10 + 6 * 20) * 10_000
    assert {line["tariff_version"] for line in charge.lines} == {1, 2}
    await tenancy.check_books()


async def test_price_override_of_a_binding_counts(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate, price_override={"energy": {"factor_percent": "50"}})
    await tenancy.read((1, "104"))
    await tenancy.charge(1)
    assert total(await tenancy.charges()) == 1_0000


async def test_standing_charges_accrue_by_day(database: Database, estate: Estate) -> None:
    daily = replace(FLAT, standing=(Standing("service", Span.DAY, Decimal(1)),))
    tenancy = await move_in(database, estate, daily)
    amounts = []
    for hour in (12, 24, 36, 72):
        await tenancy.read((hour, "100"))
        amounts.append(total((await tenancy.charge(hour)).charges))
    assert amounts == [0, 1_0000, 0, 2_0000]


async def test_an_estimate_is_settled_by_one_signed_charge(
    database: Database, estate: Estate
) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "104"))
    await tenancy.charge(1)
    done = await estimate_reading(
        database,
        estate.organisation.id,
        estate.meters[0],
        ACTIVE_ENERGY_IMPORT,
        Decimal(120),
        BEGIN + 5 * HOUR,
        at=BEGIN + 5 * HOUR,
        operator="wang",
    )
    assert [(each.kind, each.amount_units) for each in done.charges] == [("estimate", 8_0000)]
    await tenancy.read((6, "110"))
    (settling,) = (await tenancy.charge(6)).charges
    assert (settling.kind, settling.amount_units) == (ChargeKind.REGULAR, -5_0000)
    assert (settling.from_value, settling.to_value) == (Decimal(120), Decimal(110))
    assert settling.units == -10
    assert total(await tenancy.charges()) == 5_0000
    await tenancy.check_books()


async def settle(tenancy: Tenancy, hours: float, decision: HoldDecision) -> ChargingOutcome:
    (hold,) = await holds(tenancy, HoldState.OPEN)
    return await settle_hold(
        tenancy.database,
        tenancy.account.organisation_id,
        hold.id,
        decision,
        at=BEGIN + hours * HOUR,
        operator="wang",
    )


async def holds(tenancy: Tenancy, state: HoldState) -> tuple[ReadingHold, ...]:
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        return await uow.reading_holds.in_state(tenancy.account.organisation_id, state)


@pytest.mark.parametrize(
    ("value", "hours", "reason"),
    [
        pytest.param("90", 1, HoldReason.NEGATIVE, id="negative"),
        pytest.param("0.5", 1, HoldReason.RESET, id="reset"),
        pytest.param("99999", 1, HoldReason.JUMP, id="jump"),
        pytest.param("104", 24 * 8, HoldReason.GAP, id="gap"),
    ],
)
async def test_what_cannot_be_is_held_and_moves_no_money(
    database: Database, estate: Estate, value: str, hours: int, reason: HoldReason
) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((hours, value))
    done = await tenancy.charge(hours)
    assert done.charges == ()
    assert [hold.reason for hold in done.held] == [reason]
    assert (await tenancy.charge(hours)).held == ()
    async with database.unit_of_work(read_only=True) as uow:
        events = await uow.events.newest(estate.organisation.id, tenancy.meter_id)
    assert [(event.kind, event.code) for event in events] == [("flag_raised", "reading_held")]
    assert await tenancy.balances() == {}


async def test_reading_of_another_device_is_held_as_replaced(
    database: Database, estate: Estate
) -> None:
    tenancy = await move_in(database, estate)
    async with database.unit_of_work() as uow:
        flags = frozenset({OTHER_METER})
        await uow.meters.set_flags(estate.organisation.id, tenancy.meter_id, flags)
        await uow.commit()
    await tenancy.read((1, "104"), quality=ReadingQuality.SUSPECT)
    assert [hold.reason for hold in (await tenancy.charge(1)).held] == [HoldReason.REPLACED]
    assert (await tenancy.charge(1)).held == ()
    assert await tenancy.balances() == {}


async def test_doubtful_reading_waits_for_the_next_good_one(
    database: Database, estate: Estate
) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "104"), quality=ReadingQuality.SUSPECT)
    assert [hold.reason for hold in (await tenancy.charge(1)).held] == [HoldReason.SUSPECT]
    await tenancy.read((2, "106"))
    assert total((await tenancy.charge(2)).charges) == 3_0000
    (hold,) = await holds(tenancy, HoldState.RELEASED)
    assert hold.settled_by == "charging"


async def test_gap_is_closed_by_back_filled_readings(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate)
    day = 24
    await tenancy.read((10 * day, "110"))
    await tenancy.charge(10 * day)
    await tenancy.read((5 * day, "104"), received=BEGIN + 11 * day * HOUR)
    assert total((await tenancy.charge(11 * day)).charges) == 5_0000
    assert await holds(tenancy, HoldState.OPEN) == ()


async def test_released_jump_is_charged(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "9100"), quality=ReadingQuality.SUSPECT)
    await tenancy.charge(1)
    done = await settle(tenancy, 2, HoldDecision(HoldState.RELEASED))
    assert total(done.charges) == 4500_0000
    await tenancy.read((3, "9101"))
    assert total((await tenancy.charge(3)).charges) == 5000
    await tenancy.check_books()


async def test_rejected_reading_is_passed_over(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "50"))
    await tenancy.charge(1)
    assert (await settle(tenancy, 1, HoldDecision(HoldState.REJECTED))).charges == ()
    await tenancy.read((2, "104"))
    assert total((await tenancy.charge(2)).charges) == 2_0000


async def test_new_start_charges_both_counts(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "3"))
    await tenancy.charge(1)
    decision = HoldDecision(HoldState.NEW_START, Decimal(110), Decimal(1))
    done = await settle(tenancy, 2, decision)
    assert [each.units for each in done.charges] == [12]
    await tenancy.read((3, "4"))
    assert [each.units for each in (await tenancy.charge(3)).charges] == [1]
    await tenancy.check_books()


async def test_counter_that_rolls_over_goes_on(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate, opening=Decimal(99990))
    await tenancy.read((1, "5"), quality=ReadingQuality.SUSPECT, reason="fell")
    (charge,) = (await tenancy.charge(1)).charges
    assert charge.units == 15
    async with database.unit_of_work(read_only=True) as uow:
        good = await uow.readings.last_good_counters(
            estate.organisation.id, [tenancy.meter_id], before=BEGIN + 2 * HOUR
        )
    assert [reading.value for reading in good.values()] == [5]


async def test_without_tariff_opening_or_account_nothing_is_charged(
    database: Database, estate: Estate
) -> None:
    early = replace(FLAT, id="later", valid_from=date(2026, 8, 1))
    cases = [
        await move_in(database, estate, early, meter=0),
        await move_in(database, estate, replace(FLAT, id="unknown"), meter=1),
    ]
    for tenancy in cases:
        await tenancy.read((1, "104"))
    reasons = [(await tenancy.charge(1)).uncharged[0].reason for tenancy in cases]
    assert "valid from 2026-08-01" in reasons[0]
    assert reasons[1] == "no version of tariff 'unknown'"
    assert await cases[0].balances() == {}


async def test_a_closed_account_is_charged_no_more(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate)
    await close_account(tenancy)
    await tenancy.read((1, "104"))
    assert (await tenancy.charge(1)) == ChargingOutcome()


async def test_many_accounts_are_charged_apart(database: Database, estate: Estate) -> None:
    tenancies = [await move_in(database, estate, meter=number) for number in range(3)]
    for number, tenancy in enumerate(tenancies):
        await tenancy.read((1, str(101 + number)))
    first = tenancies[0]
    done = await charge_meters(
        database, estate.organisation.id, [each.meter_id for each in tenancies], BEGIN + HOUR
    )
    assert sorted(each.amount_units for each in done.charges) == [5000, 1_0000, 1_5000]
    await first.check_books()


async def test_charging_at_once_charges_once(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "104"))
    await asyncio.gather(*(tenancy.charge(1) for _ in range(4)))
    assert total(await tenancy.charges()) == 2_0000
    await tenancy.check_books()


async def test_handler_charges_the_meters_of_a_message(database: Database, estate: Estate) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "104"))
    handle = readings_handler(database, TariffBook(), lambda: BEGIN + HOUR)
    message = OutboxMessage(
        id=new_id(),
        organisation_id=estate.organisation.id,
        topic=READINGS,
        subject="",
        created_at=BEGIN,
        due_at=BEGIN,
        payload={"meters": [str(tenancy.meter_id)], "since": (BEGIN + HOUR).isoformat()},
    )
    await handle(message)
    await handle(message)
    assert total(await tenancy.charges()) == 2_0000
