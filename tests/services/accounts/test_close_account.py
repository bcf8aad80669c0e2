"""Closing: every balance zero at the end, whatever it began with and wherever it was cut off."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Estate
from tests.services.account_office import ENERGY, YUAN, Office, open_office, sqlite_office
from tests.services.crashing_database import CrashError, CrashingDatabase

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, AccountState, Category, ClosingStep
from meterplex.domain.commands import CommandKind, CommandState
from meterplex.domain.ledger import (
    EntryKind,
    Posting,
    customer,
    in_meter,
    receivable,
    refund_payable,
    revenue,
)
from meterplex.domain.prepayment import OrderState
from meterplex.sdk import SupplyAction
from meterplex.services.accounts.balances import account_balance
from meterplex.services.accounts.close_account import CloseAccount, Closing, close_account
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import (
    AccountClosedError,
    MeterUnfitError,
    MoneyInputError,
    UnknownAccountError,
)
from meterplex.services.metering.issue_commands import issue_commands


@pytest.fixture
async def office(database: Database, estate: Estate) -> Office:
    return await open_office(database, estate)


async def close(office: Office, account: Account, database: Any = None, **more: Any) -> Closing:
    return await close_account(
        database or office.database,
        CloseAccount(office.organisation_id, account.id, **more),
        at=office.clock(),
        operator=office.cashier,
    )


async def is_zero(office: Office, account: Account) -> bool:
    async with office.database.unit_of_work(read_only=True) as uow:
        return (await account_balance(uow, account)).is_zero


async def owe(office: Office, account: Account, category: Category, units: int) -> None:
    async with office.database.unit_of_work() as uow:
        await book(
            uow,
            office.estate.site,
            EntryKind.FEE,
            [Posting(receivable(account.id, category), revenue(category), units)],
            currency="CNY",
            at=office.clock(),
            operator="test",
            account=account,
        )
        await uow.commit()


async def test_an_empty_account_is_closed_at_once(office: Office) -> None:
    await office.show(0, "1")
    account = (await office.open()).account
    closing = await close(office, account)
    assert closing.closed
    assert closing.account.closed_at is not None
    (_, ended, nobodys) = await office.bindings(0)
    assert (ended.until, nobodys.account_id) == (nobodys.since, None)
    assert (await close(office, account)) == Closing(closing.account, ClosingStep.DONE)
    with pytest.raises(AccountClosedError):
        await office.vend(account, 10)


async def test_credit_is_paid_out_after_the_last_charge(office: Office) -> None:
    await office.show(0, "100")
    account = (await office.open()).account
    await office.vend(account, 50)
    await office.show(0, "110.123")
    closing = await close(office, account)
    assert closing.step is ClosingStep.PAY_OUT
    payable = await office.balance(refund_payable(account.id))
    assert 0 < payable < 50 * YUAN
    assert payable % 100 == 0
    assert f"{payable / YUAN:.2f} CNY are to be paid out" == closing.waiting
    with pytest.raises(AccountClosedError):
        await office.vend(account, 10, "k-2")

    assert (await close(office, account, payout_method="cash")).closed
    assert await is_zero(office, account)
    balances = await office.balances()
    assert balances["cash"] == payable - 50 * YUAN


async def test_debts_are_set_against_credit_first(office: Office) -> None:
    await office.show(0, "100")
    account = (await office.open()).account
    await office.vend(account, 50)
    await owe(office, account, Category.RENT, 20 * YUAN)
    closing = await close(office, account)
    assert closing.step is ClosingStep.PAY_OUT
    assert await office.balance(refund_payable(account.id)) == 30 * YUAN
    assert await office.balance(receivable(account.id, Category.RENT)) == 0


async def test_what_is_still_owed_has_to_be_paid(office: Office) -> None:
    await office.show(0, "100")
    account = (await office.open()).account
    await owe(office, account, Category.RENT, 12_3456)
    closing = await close(office, account)
    assert (closing.step, closing.waiting) == (
        ClosingStep.SET_OFF_DEBTS,
        "the account owes 12.3456 CNY: have it paid",
    )
    assert (await close(office, account, settle_method="bank")).closed
    balances = await office.balances()
    assert (balances["cash"], balances["rounding"]) == (-12_3500, 44)
    async with office.database.unit_of_work(read_only=True) as uow:
        entries = await uow.ledger.of_account(office.organisation_id, account.id)
        (payment,) = [each for each in entries if each.kind is EntryKind.PAYMENT]
        assert await uow.receipts.of_entry(office.organisation_id, payment.id) is not None


async def test_what_was_brought_in_is_not_paid_out(office: Office) -> None:
    await office.show(0, "100")
    account = (await office.open(balance_units=30 * YUAN)).account
    await office.vend(account, 20)
    await close(office, account)
    assert await office.balance(refund_payable(account.id)) == 20 * YUAN


async def test_a_meter_gives_its_credit_back_before_anything_is_paid(office: Office) -> None:
    await office.poll(0)
    opened = await office.open(mode=AccountMode.PREPAID_METER)
    account, (binding,) = opened.account, opened.bindings
    await office.vend(account, 40)
    await office.deliver(0)
    await office.poll(0)
    closing = await close(office, account)
    assert closing.step is ClosingStep.TAKE_BACK_CREDIT
    assert "takes 40.00 CNY back from the meter" in closing.waiting
    assert await office.balance(in_meter(binding.id)) == 40 * YUAN
    assert (await close(office, account)).step is ClosingStep.TAKE_BACK_CREDIT

    await switch_off(office, 0)
    await office.deliver(0)
    assert office.twins[0].body.wallet.remaining == 0
    assert (await close(office, account, payout_method="cash")).closed
    assert await office.balances() == {}


@pytest.mark.parametrize("bought", [20, 0])
async def test_what_a_meter_was_found_to_hold_does_not_hold_a_closing_up(
    office: Office, bought: int
) -> None:
    office.twins[0].body.wallet.remaining = 30 * YUAN
    await office.poll(0)
    account = (await office.open(mode=AccountMode.PREPAID_METER)).account
    if bought:
        await office.vend(account, bought)
        await office.deliver(0)
        await office.poll(0)
    # That nothing was bought in the meter is not known before it is asked for credit.
    asked = bought or 30
    assert f"takes {asked}.00 CNY back" in (await close(office, account)).waiting
    await switch_off(office, 0)
    await office.deliver(0)
    assert office.twins[0].body.wallet.remaining == 30 * YUAN
    assert (await close(office, account, payout_method="cash")).closed
    assert await office.balances() == {}
    with pytest.raises(MeterUnfitError, match="not known to be empty"):
        await office.open("A-2", mode=AccountMode.PREPAID_METER)


async def switch_off(office: Office, index: int) -> None:
    await office.driver(index).set_supply(SupplyAction.DISCONNECT)


async def test_an_order_that_was_never_sent_is_given_up(office: Office) -> None:
    await office.poll(0)
    account = (await office.open(mode=AccountMode.PREPAID_METER)).account
    sale = await office.vend(account, 40)
    assert (await close(office, account, payout_method="cash")).closed
    (order,) = await office.orders(account)
    assert (order.id, order.state) == (sale.order_id, OrderState.VOIDED)
    assert await office.balances() == {}


async def test_no_command_is_left_alive(office: Office) -> None:
    await office.show(0, "1")
    account = (await office.open()).account
    batch = await issue_commands(
        office.database,
        office.plugins,
        office.organisation_id,
        [await office.meter(0)],
        CommandKind.SYNC_CLOCK,
        {},
        asked_by="x",
        at=office.clock(),
    )
    assert (await close(office, account)).closed
    async with office.database.unit_of_work(read_only=True) as uow:
        command = await uow.commands.get(office.organisation_id, batch.commands[0].id)
    assert command.state is CommandState.EXPIRED


async def test_a_dry_run_begins_nothing(office: Office) -> None:
    await office.show(0, "1")
    account = (await office.open()).account
    closing = await close_account(
        office.database,
        CloseAccount(office.organisation_id, account.id),
        at=office.clock(),
        operator=office.cashier,
        dry_run=True,
    )
    assert closing.step is ClosingStep.FREEZE
    assert (await office.account(account)).state is AccountState.OPEN


async def test_final_readings_are_checked(office: Office) -> None:
    await office.show(0, "100")
    account = (await office.open()).account
    with pytest.raises(MoneyInputError) as low:
        await close(office, account, readings={"p-1": {ENERGY: Decimal(99)}})
    assert low.value.field == "readings"
    with pytest.raises(MoneyInputError, match="no usage point p-2"):
        await close(office, account, readings={"p-2": {ENERGY: Decimal(101)}})
    assert (await close(office, account, settle_method="cash")).closed


async def test_another_organisation_closes_nothing(office: Office, other_estate: Estate) -> None:
    await office.show(0, "1")
    account = (await office.open()).account
    with pytest.raises(UnknownAccountError):
        await close_account(
            office.database,
            CloseAccount(other_estate.organisation.id, account.id),
            at=office.clock(),
            operator=office.cashier,
        )


async def _rich_account(office: Office) -> Account:
    """An account with credit in a meter, an order never sent, a wallet and rent owed."""
    await office.poll(0)
    opened = await office.open(mode=AccountMode.PREPAID_METER)
    account = opened.account
    await office.vend(account, 40)
    await office.deliver(0)
    await office.poll(0)
    await office.vend(account, 15, "k-2")
    await owe(office, account, Category.RENT, 5 * YUAN)
    await switch_off(office, 0)
    return account


async def _close_to_the_end(office: Office, account: Account, database: Any = None) -> None:
    waiting = ""
    for _ in range(3):
        closing = await close(office, account, database, payout_method="cash")
        if closing.closed:
            return
        waiting = closing.waiting
        await office.deliver(0)
    raise AssertionError(waiting)


async def test_closing_goes_on_after_a_crash_at_any_commit(
    sqlite_template: Path, tmp_path: Path
) -> None:
    # After one commit is as before the next: what is durable is the same.
    number, crashed = 0, True
    while crashed:
        number += 1
        async with sqlite_office(sqlite_template, tmp_path) as office:
            account = await _rich_account(office)
            dying = CrashingDatabase(office.database, number, durable=True)
            try:
                await _close_to_the_end(office, account, dying)
                crashed = False
            except CrashError:
                await _close_to_the_end(office, account)
            assert (await office.account(account)).state is AccountState.CLOSED
            assert await is_zero(office, account)
            balances = await office.balances()
            assert balances == {"cash": -5 * YUAN, "revenue": 5 * YUAN}
            assert await office.balance(customer(account.id)) == 0
    assert number > len(ClosingStep)
