"""Opening: all or nothing, from one reading on, and nothing of anybody else's."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Estate
from tests.services.account_office import ENERGY, NOON, YUAN, Office, open_office, sqlite_office
from tests.services.crashing_database import CrashError, CrashingDatabase
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.charges import TariffVersionId
from meterplex.domain.ledger import BROUGHT_IN, customer, in_meter, transit
from meterplex.domain.registers import WATER
from meterplex.services.accounts.account_meters import add_meters, remove_meter
from meterplex.services.accounts.customers import NewCustomer
from meterplex.services.accounts.messages import ACCOUNT_EVENT, LIMITS, SUPPLY
from meterplex.services.accounts.open_account import AccountLimits, NewBinding, open_account
from meterplex.services.books.errors import (
    AmountError,
    HoardLimitError,
    MeterUnfitError,
    MoneyConflictError,
    MoneyError,
    MoneyInputError,
    UnknownTariffError,
    UnknownThingError,
)
from meterplex.services.charging.charge_readings import charge_meters


@pytest.fixture
async def office(database: Database, estate: Estate) -> Office:
    return await open_office(database, estate)


async def test_an_account_begins_at_the_last_reading_of_its_meter(office: Office) -> None:
    await office.show(0, "120.5")
    opened = await office.open(balance_units=20 * YUAN)
    before, binding = await office.bindings(0)

    assert opened.bindings == (binding,)
    assert (before.until, before.account_id) == (binding.since, None)
    assert (binding.account_id, binding.mode) == (opened.account.id, AccountMode.PREPAID_SERVER)
    async with office.database.unit_of_work(read_only=True) as uow:
        openings = await uow.binding_openings.of_binding(office.organisation_id, binding.id)
        topics = {each.topic for each in await uow.outbox.due(TOPICS, office.clock())}
    assert openings[ENERGY].opening_value == Decimal("120.5")
    assert await office.balance(customer(opened.account.id)) == 20 * YUAN
    assert await office.balance(BROUGHT_IN) == -20 * YUAN
    assert topics == set(TOPICS)


async def test_use_is_charged_from_the_opening_reading_on(office: Office) -> None:
    await office.show(0, "100")
    opened = await office.open(balance_units=50 * YUAN)
    await office.show(0, "110")
    meter = await office.meter(0)
    outcome = await charge_meters(
        office.database, office.organisation_id, [meter.id], office.clock()
    )
    assert [each.units for each in outcome.charges] == [10]
    spent = 50 * YUAN - await office.balance(customer(opened.account.id))
    assert spent == outcome.charges[0].amount_units > 0


async def test_a_typed_reading_is_kept_as_a_reading(office: Office) -> None:
    await office.show(0, "100")
    typed = NewBinding("p-1", readings={ENERGY: Decimal("101.25")})
    opened = await office.open(bindings=(typed,))
    meter = await office.meter(0)
    async with office.database.unit_of_work(read_only=True) as uow:
        (latest,) = await uow.readings.latest(office.organisation_id, [meter.id])
    assert (latest.value, latest.source) == (Decimal("101.25"), "manual")
    assert latest.read_at == opened.bindings[0].since


async def test_defaults_of_the_site_count_where_nothing_is_said(office: Office) -> None:
    async with office.database.unit_of_work() as uow:
        site = office.estate.site
        policy = {"overdraft": "5.00", "tariff": "flat"}
        await uow.site_records.set_policy(site.organisation_id, site.id, policy)
        await uow.commit()
    await office.show(0, "1")
    opened = await office.open(tariff="")
    assert (opened.account.tariff, opened.account.overdraft_units) == ("flat", 5 * YUAN)


async def test_what_a_meter_holds_already_was_brought_in(office: Office) -> None:
    office.twins[0].body.wallet.remaining = 30_00
    await office.poll(0)
    opened = await office.open(mode=AccountMode.PREPAID_METER)
    held = await office.balance(in_meter(opened.bindings[0].id))
    assert held == -await office.balance(BROUGHT_IN)
    async with office.database.unit_of_work() as uow:
        wallet = await uow.wallets.find(office.organisation_id, opened.bindings[0].id)
    assert wallet is not None
    assert wallet.remaining_units == held


async def test_old_credit_goes_into_the_meter_as_a_transfer(office: Office) -> None:
    await office.poll(0)
    opened = await office.open(mode=AccountMode.PREPAID_METER, balance_units=30 * YUAN)
    binding = opened.bindings[0]
    assert await office.balance(transit(binding.id)) == 30 * YUAN
    await office.deliver(0)
    assert await office.balance(in_meter(binding.id)) == 30 * YUAN
    assert await office.balance(transit(binding.id)) == 0
    await office.balances()


@pytest.mark.parametrize("durable", [False, True], ids=["before", "after"])
async def test_a_first_purchase_is_paid_if_and_only_if_the_account_is_open(
    sqlite_template: Path, tmp_path: Path, durable: bool
) -> None:
    async with sqlite_office(sqlite_template, tmp_path) as office:
        await office.show(0, "1")
        wanted = office.wanted(purchase_units=50 * YUAN)
        dying: Any = CrashingDatabase(office.database, 1, durable=durable)
        with pytest.raises(CrashError):
            await open_account(dying, office.plugins, wanted, at=office.clock(), operator="cashier")
        if durable:
            with pytest.raises(MoneyConflictError, match="is taken"):
                await office.open(purchase_units=50 * YUAN)
        else:
            opened = await office.open(purchase_units=50 * YUAN)
            assert opened.sale is not None
            assert opened.sale.receipt
        assert await office.balances() == {"cash": -50 * YUAN, "customer": 50 * YUAN}


async def test_a_first_purchase_that_cannot_be_taken_opens_nothing(office: Office) -> None:
    await office.show(0, "1")
    limits = AccountLimits(hoard_units=40 * YUAN)
    with pytest.raises(HoardLimitError):
        await office.open(purchase_units=50 * YUAN, limits=limits)
    async with office.database.unit_of_work(read_only=True) as uow:
        assert await uow.accounts.by_number(office.organisation_id, "A-1") is None


async def test_a_dry_run_writes_nothing(office: Office) -> None:
    await office.show(0, "1")
    wanted = office.wanted()
    await open_account(
        office.database, office.plugins, wanted, at=office.clock(), operator="x", dry_run=True
    )
    assert len(await office.bindings(0)) == 1
    async with office.database.unit_of_work(read_only=True) as uow:
        assert await uow.accounts.all(office.organisation_id) == ()
        assert await uow.customers.all(office.organisation_id) == ()


TOPICS = (SUPPLY, ACCOUNT_EVENT, LIMITS)

BAD: list[Any] = [
    pytest.param({"site": "west"}, UnknownThingError, "site", id="unknown site"),
    pytest.param({"number": " "}, MoneyInputError, "number", id="empty number"),
    pytest.param({"number": "x" * 65}, MoneyInputError, "number", id="long number"),
    pytest.param({"customer": "C-9"}, UnknownThingError, "customer", id="unknown customer"),
    pytest.param(
        {"customer": NewCustomer("C-2", "")}, MoneyInputError, "customer_name", id="no name"
    ),
    pytest.param(
        {"customer": NewCustomer("C-2", "Li", language="fr")},
        MoneyInputError,
        "language",
        id="unknown language",
    ),
    pytest.param({"tariff": "none"}, UnknownTariffError, "tariff", id="unknown tariff"),
    pytest.param({"tariff": ""}, MoneyInputError, "tariff", id="no tariff"),
    pytest.param({"balance_units": -1}, MoneyInputError, "balance", id="negative balance"),
    pytest.param({"balance_units": 1}, AmountError, "balance", id="less than a fen"),
    pytest.param({"head_count": -1}, MoneyInputError, "head_count", id="negative heads"),
    pytest.param({"overload_kw": Decimal(0)}, MoneyInputError, "overload_kw", id="no power"),
    pytest.param({"mode": AccountMode.CARD}, MoneyInputError, "mode", id="card"),
    pytest.param(
        {"limits": AccountLimits(overdraft_units=-1)},
        MoneyInputError,
        "overdraft",
        id="negative overdraft",
    ),
    pytest.param(
        {"limits": AccountLimits(alarm_1_units=1, alarm_2_units=2)},
        MoneyInputError,
        "alarm_2",
        id="alarms the wrong way round",
    ),
    pytest.param(
        {"bindings": (NewBinding("p-9"),)}, UnknownThingError, "usage_points", id="unknown point"
    ),
    pytest.param(
        {"bindings": (NewBinding("p-1"), NewBinding("p-1"))},
        MoneyConflictError,
        "usage_points",
        id="point twice",
    ),
    pytest.param(
        {"bindings": (NewBinding("p-2"),)}, MoneyInputError, "readings", id="meter never read"
    ),
    pytest.param(
        {"bindings": (NewBinding("p-1", readings={ENERGY: Decimal(99)}),)},
        MoneyInputError,
        "readings",
        id="reading below the last",
    ),
    pytest.param(
        {"bindings": (NewBinding("p-1", readings={"voltage_l1": Decimal(230)}),)},
        MoneyInputError,
        "readings",
        id="reading of no counter",
    ),
    pytest.param(
        {"bindings": (NewBinding("p-1", readings={ENERGY: Decimal("NaN")}),)},
        MoneyInputError,
        "readings",
        id="reading that is no number",
    ),
]


@pytest.mark.parametrize(("change", "kind", "field"), BAD)
async def test_bad_input_names_its_field_and_leaves_nothing(
    sqlite_template: Path,
    tmp_path: Path,
    change: dict[str, Any],
    kind: type[MoneyError],
    field: str,
) -> None:
    async with sqlite_office(sqlite_template, tmp_path) as office:
        await office.show(0, "100")
        with pytest.raises(kind) as refused:
            await office.open(**change)
        assert refused.value.field == field
        async with office.database.unit_of_work(read_only=True) as uow:
            assert await uow.accounts.all(office.organisation_id) == ()
            assert await uow.customers.all(office.organisation_id) == ()
        assert len(await office.bindings(0)) == 1
        assert await office.balances() == {}


async def test_a_stale_reading_begins_nothing(office: Office) -> None:
    await office.show(0, "100")
    office.clock.advance(days=2)
    with pytest.raises(MoneyInputError, match="was read last"):
        await office.open()


async def test_a_number_and_a_usage_point_are_given_once(office: Office) -> None:
    await office.show(0, "1")
    await office.open()
    with pytest.raises(MoneyConflictError) as taken:
        await office.open("A-1", "p-2")
    assert taken.value.field == "number"
    with pytest.raises(MoneyConflictError, match="belongs to account 'A-1'"):
        await office.open("A-2", "p-1")


async def test_a_meter_without_a_wallet_cannot_hold_credit(office: Office) -> None:
    async with office.database.unit_of_work() as uow:
        meter = await office.meter(0)
        await uow.meters.replace(replace(meter, model="acme_m1"))
        await uow.commit()
    await office.show(0, "1")
    with pytest.raises(MeterUnfitError) as unfit:
        await office.open(mode=AccountMode.PREPAID_METER)
    assert unfit.value.field == "mode"


async def test_a_tariff_is_for_what_the_meter_measures(office: Office) -> None:
    async with office.database.unit_of_work() as uow:
        (flat,) = await uow.tariff_versions.of_code(office.organisation_id, "flat")
        water = replace(flat, id=TariffVersionId(uuid7()), code="water", utility=WATER)
        await uow.tariff_versions.add(water)
        await uow.commit()
    await office.show(0, "1")
    with pytest.raises(MoneyInputError, match="is for water"):
        await office.open(tariff="water")


async def test_nothing_of_another_organisation_is_known(
    office: Office, other_estate: Estate
) -> None:
    other = await open_office(office.database, other_estate)
    await office.show(0, "1")
    opened = await office.open()
    stranger = other.organisation_id
    with pytest.raises(UnknownThingError):
        await other.open(customer=opened.customer.number)
    with pytest.raises(UnknownThingError):
        await add_meters(
            office.database,
            office.plugins,
            stranger,
            opened.account.id,
            (NewBinding("p-2"),),
            at=office.clock(),
            operator="x",
        )


async def test_meters_are_added_and_removed_later(office: Office) -> None:
    await office.show(0, "1")
    await office.show(1, "7")
    account = (await office.open(balance_units=YUAN)).account
    (added,) = await add_meters(
        office.database,
        office.plugins,
        office.organisation_id,
        account.id,
        (NewBinding("p-2"),),
        at=office.clock(),
        operator="x",
    )
    assert added.account_id == account.id
    await office.show(1, "8")
    removed = await remove_meter(
        office.database,
        office.organisation_id,
        account.id,
        "p-2",
        at=office.clock(),
        operator="x",
    )
    assert (removed.account_id, removed.usage_point_id) == (None, added.usage_point_id)
    async with office.database.unit_of_work(read_only=True) as uow:
        (charge,) = await uow.charges.of_binding(office.organisation_id, added.id)
    assert charge.units == 1
    assert NOON + timedelta(seconds=1) < charge.to_at == removed.since
