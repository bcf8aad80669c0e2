"""Transfer, conversion, tariffs, limits, suspension: credit goes along, use is charged once."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from tests.conftest import Estate
from tests.services.account_office import ENERGY, YUAN, Office, open_office
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, AccountState, Category
from meterplex.domain.charges import TariffVersionId
from meterplex.domain.ledger import customer, in_meter, refund_payable, transit
from meterplex.sdk import SupplyAction
from meterplex.services.accounts.account_meters import ChangeTariff, change_tariff
from meterplex.services.accounts.change_account import AccountChange, change_account
from meterplex.services.accounts.convert_account import ConvertAccount, convert_account
from meterplex.services.accounts.customers import (
    CustomerChange,
    NewCustomer,
    edit_customer,
)
from meterplex.services.accounts.open_account import OpenedAccount
from meterplex.services.accounts.suspend_account import resume_account, suspend_account
from meterplex.services.accounts.transfer_account import TransferAccount, transfer_account
from meterplex.services.books.errors import (
    AccountStateError,
    BusyError,
    MoneyConflictError,
    MoneyInputError,
    UnknownAccountError,
    UnknownThingError,
)
from meterplex.services.orders.refund_credit import RefundRequest, refund_credit


@pytest.fixture
async def office(database: Database, estate: Estate) -> Office:
    return await open_office(database, estate)


async def transfer(office: Office, account: Account, **more: Any) -> OpenedAccount:
    wanted = TransferAccount(
        office.organisation_id, account.id, "A-2", NewCustomer("C-2", "Ms Wu"), **more
    )
    return await transfer_account(
        office.database, office.plugins, wanted, at=office.clock(), operator="x"
    )


async def convert(office: Office, account: Account, mode: AccountMode, **more: Any) -> Account:
    wanted = ConvertAccount(office.organisation_id, account.id, mode, **more)
    converted, _ = await convert_account(
        office.database, office.plugins, wanted, at=office.clock(), operator="x"
    )
    return converted


async def charged_units(office: Office, account: Account) -> list[Decimal]:
    async with office.database.unit_of_work(read_only=True) as uow:
        charges = await uow.charges.of_account(office.organisation_id, account.id)
    return [charge.units for charge in charges]


async def test_the_new_owner_begins_where_the_former_ends(office: Office) -> None:
    await office.show(0, "100")
    before = (await office.open(balance_units=50 * YUAN)).account
    await office.show(0, "107")
    after = await transfer(office, before, readings={"p-1": {ENERGY: Decimal(110)}})
    (_, old, new) = await office.bindings(0)
    assert (old.account_id, new.account_id) == (before.id, after.account.id)
    assert old.until == new.since
    await office.show(0, "111")
    assert sum(await charged_units(office, before)) == 10
    assert await office.balance(customer(before.id)) > 0
    assert await office.balance(customer(after.account.id)) == 0


async def test_credit_moves_along_only_if_asked(office: Office) -> None:
    await office.show(0, "100")
    before = (await office.open()).account
    await office.vend(before, 50)
    after = await transfer(office, before, move_credit=True)
    assert await office.balance(customer(before.id)) == 0
    assert await office.balance(customer(after.account.id)) == 50 * YUAN
    await office.balances()


async def test_credit_in_a_meter_is_moved_or_refunded_first(office: Office) -> None:
    await office.poll(0)
    before = (await office.open(mode=AccountMode.PREPAID_METER)).account
    await office.vend(before, 40)
    with pytest.raises(BusyError):
        await transfer(office, before)
    await office.deliver(0)
    await office.poll(0)
    with pytest.raises(MoneyConflictError) as refused:
        await transfer(office, before)
    assert refused.value.field == "move_credit"
    after = await transfer(office, before, move_credit=True)
    assert await office.balance(in_meter(after.bindings[0].id)) == 40 * YUAN
    await office.vend(after.account, 10, "k-2")
    await office.deliver(0)
    assert await office.balances() == {"cash": -50 * YUAN, "meter": 50 * YUAN}


async def test_from_the_server_into_the_meter(office: Office) -> None:
    await office.poll(0)
    account = (await office.open()).account
    await office.vend(account, 40)
    converted = await convert(office, account, AccountMode.PREPAID_METER)
    assert converted.mode is AccountMode.PREPAID_METER
    (*_, binding) = await office.bindings(0)
    assert await office.balance(transit(binding.id)) == 40 * YUAN
    await office.deliver(0)
    assert await office.balances() == {"cash": -40 * YUAN, "meter": 40 * YUAN}


async def test_from_the_meter_to_the_server_after_it_gave_back(office: Office) -> None:
    await office.poll(0)
    account = (await office.open(mode=AccountMode.PREPAID_METER)).account
    await office.vend(account, 40)
    await office.deliver(0)
    await office.poll(0)
    with pytest.raises(MoneyConflictError, match=r"holds 40\.00 CNY"):
        await convert(office, account, AccountMode.PREPAID_SERVER)
    await office.driver(0).set_supply(SupplyAction.DISCONNECT)
    request = RefundRequest(office.organisation_id, account.id, 40 * YUAN, "r-1")
    await refund_credit(office.database, request, at=office.clock(), operator=office.cashier)
    await office.deliver(0)
    await office.poll(0)
    await convert(office, account, AccountMode.PREPAID_SERVER)
    assert await office.balance(customer(account.id)) == 40 * YUAN
    assert await office.balance(refund_payable(account.id)) == 0
    assert await office.balances() == {"cash": -40 * YUAN, "customer": 40 * YUAN}


async def test_an_overdraft_is_owed_when_nobody_lends_any_more(office: Office) -> None:
    await office.show(0, "100")
    opened = await office.open()
    account = opened.account
    await change_account(
        office.database,
        office.organisation_id,
        account.id,
        AccountChange({"overdraft_units": 100 * YUAN}),
        at=office.clock(),
        operator="x",
    )
    await office.show(0, "110")
    converted = await convert(office, account, AccountMode.POSTPAID)
    assert converted.mode is AccountMode.POSTPAID
    assert await office.balance(customer(account.id)) == 0
    balances = await office.balances()
    assert balances["receivable"] == -balances["revenue"] < 0


async def test_a_conversion_into_the_same_mode_is_refused(office: Office) -> None:
    await office.show(0, "1")
    account = (await office.open()).account
    with pytest.raises(MoneyInputError) as refused:
        await convert(office, account, AccountMode.PREPAID_SERVER)
    assert refused.value.field == "mode"


async def publish_dearer(office: Office) -> None:
    async with office.database.unit_of_work() as uow:
        (flat,) = await uow.tariff_versions.of_code(office.organisation_id, "flat")
        document = flat.document.replace('"id":"flat"', '"id":"dear"')
        dear = replace(
            flat,
            id=TariffVersionId(uuid7()),
            code="dear",
            document=document,
            valid_from=date(2026, 1, 1),
        )
        await uow.tariff_versions.add(dear)
        await uow.commit()


async def test_what_was_used_before_keeps_its_tariff(office: Office) -> None:
    await publish_dearer(office)
    await office.show(0, "100")
    account = (await office.open(balance_units=100 * YUAN)).account
    await office.show(0, "110")
    wanted = ChangeTariff(office.organisation_id, account.id, "dear")
    changed = await change_tariff(
        office.database, office.plugins, wanted, at=office.clock(), operator="x"
    )
    _, old, new = await office.bindings(0)
    assert changed.tariff == "dear"
    assert (old.tariff, new.tariff) == ("flat", "")
    assert await charged_units(office, account) == [10]


async def test_one_usage_point_has_prices_of_its_own(office: Office) -> None:
    await office.show(0, "100")
    account = (await office.open()).account
    override = {"energy": {"factor_percent": "95"}}
    wanted = ChangeTariff(
        office.organisation_id, account.id, "", usage_point="p-1", price_override=override
    )
    await change_tariff(office.database, office.plugins, wanted, at=office.clock(), operator="x")
    (*_, binding) = await office.bindings(0)
    assert binding.price_override == override
    with pytest.raises(MoneyInputError) as unfit:
        await change_tariff(
            office.database,
            office.plugins,
            replace(wanted, price_override={"standing": {"none": "1"}}),
            at=office.clock(),
            operator="x",
        )
    assert unfit.value.field == "price_override"
    with pytest.raises(MoneyInputError):
        await change_tariff(
            office.database,
            office.plugins,
            replace(wanted, usage_point=""),
            at=office.clock(),
            operator="x",
        )


async def test_suspended_accounts_take_no_payment(office: Office) -> None:
    await office.show(0, "1")
    account = (await office.open()).account
    ids = (office.database, office.organisation_id, account.id)
    suspended = await suspend_account(*ids, reason="dispute", at=office.clock(), operator="x")
    assert suspended.state is AccountState.SUSPENDED
    with pytest.raises(AccountStateError):
        await office.vend(account, 10)
    with pytest.raises(AccountStateError):
        await suspend_account(*ids, reason="again", at=office.clock(), operator="x")
    await resume_account(*ids, at=office.clock(), operator="x")
    await office.vend(account, 10)


async def test_limits_are_changed_one_by_one(office: Office) -> None:
    await office.show(0, "1")
    account = (await office.open()).account

    async def change(change: AccountChange) -> Account:
        return await change_account(
            office.database,
            office.organisation_id,
            account.id,
            change,
            at=office.clock(),
            operator="x",
        )

    order = (Category.RENT, Category.DEBT, Category.FEE, Category.UTILITY)
    changed = await change(AccountChange({"alarm_1_units": 5}, order, 3))
    assert (changed.alarm_1_units, changed.deduction_order, changed.head_count) == (5, order, 3)
    assert (await change(AccountChange({"alarm_1_units": None}))).alarm_1_units is None
    for bad, field in (
        (AccountChange(), "change"),
        (AccountChange({"overdraft_units": None}), "overdraft"),
        (AccountChange({"nonsense": 1}), "limits"),
        (AccountChange({"hoard_units": -1}), "hoard"),
        (AccountChange(head_count=-1), "head_count"),
    ):
        with pytest.raises(MoneyInputError) as refused:
            await change(bad)
        assert refused.value.field == field


async def test_customers_are_changed_by_number(office: Office) -> None:
    await office.show(0, "1")
    opened = await office.open()
    number = opened.customer.number
    ids = (office.database, office.organisation_id, number)
    changed = await edit_customer(
        *ids, CustomerChange(phone="10086"), at=office.clock(), operator="x"
    )
    assert (changed.name, changed.phone) == (opened.customer.name, "10086")
    with pytest.raises(MoneyInputError):
        await edit_customer(*ids, CustomerChange(name=""), at=office.clock(), operator="x")
    with pytest.raises(UnknownThingError):
        await edit_customer(
            office.database,
            office.organisation_id,
            "none",
            CustomerChange(phone="1"),
            at=office.clock(),
            operator="x",
        )


async def test_another_organisation_changes_nothing(office: Office, other_estate: Estate) -> None:
    await office.show(0, "1")
    account = (await office.open()).account
    stranger = other_estate.organisation.id
    with pytest.raises(UnknownAccountError):
        await suspend_account(
            office.database, stranger, account.id, reason="", at=office.clock(), operator="x"
        )
    with pytest.raises(UnknownAccountError):
        await convert_account(
            office.database,
            office.plugins,
            ConvertAccount(stranger, account.id, AccountMode.POSTPAID),
            at=office.clock(),
            operator="x",
        )
    with pytest.raises(UnknownAccountError):
        await transfer_account(
            office.database,
            office.plugins,
            TransferAccount(stranger, account.id, "A-9", NewCustomer("C-9", "x")),
            at=office.clock(),
            operator="x",
        )
    assert (await office.account(account)) == account
