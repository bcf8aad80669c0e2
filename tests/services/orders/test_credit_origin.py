"""One rule for what was not bought, whoever asks: a refund, a closing, an order given up."""

from decimal import Decimal

import pytest
from tests.conftest import Estate
from tests.services.account_office import YUAN, Office, open_office

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, AccountState, ClosingStep
from meterplex.domain.ledger import EntryKind, Posting, customer, refund_payable, suspense
from meterplex.domain.prepayment import OrderState, PrepaymentRules
from meterplex.services.accounts.close_account import CloseAccount, Closing, close_account
from meterplex.services.accounts.customers import NewCustomer
from meterplex.services.accounts.transfer_account import TransferAccount, transfer_account
from meterplex.services.billing.debt_plans import NewDebtPlan, add_debt_plan
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import BusyError, NotEnoughCreditError
from meterplex.services.orders.decide_orders import void_order
from meterplex.services.orders.pay_out import Payout, PayoutRequest, pay_out
from meterplex.services.orders.refund_credit import Refund, RefundRequest, refund_credit


@pytest.fixture
async def office(database: Database, estate: Estate) -> Office:
    office = await open_office(database, estate)
    await office.poll(0)
    return office


async def give_back(office: Office, account: Account, yuan: int, key: str = "r-1") -> Refund:
    request = RefundRequest(office.organisation_id, account.id, yuan * YUAN, key)
    return await refund_credit(office.database, request, at=office.clock(), operator=office.cashier)


async def pay(office: Office, account: Account, yuan: int, key: str = "p-1") -> Payout:
    request = PayoutRequest(office.organisation_id, account.id, yuan * YUAN, key)
    return await pay_out(office.database, request, at=office.clock(), operator=office.cashier)


async def close(office: Office, account: Account) -> Closing:
    wanted = CloseAccount(office.organisation_id, account.id)
    return await close_account(office.database, wanted, at=office.clock(), operator=office.cashier)


async def hand_over(office: Office, account: Account) -> Account:
    wanted = TransferAccount(
        office.organisation_id, account.id, "A-2", NewCustomer("C-2", "Wang Fang"), True
    )
    opened = await transfer_account(
        office.database, office.plugins, wanted, at=office.clock(), operator="cashier"
    )
    return opened.account


async def test_credit_that_others_sold_is_not_refunded(office: Office) -> None:
    account = (await office.open()).account
    await office.vend(account, 20)
    async with office.database.unit_of_work() as uow:
        await book(
            uow,
            office.estate.site,
            EntryKind.FOREIGN,
            [Posting(suspense(account.id), customer(account.id), 30 * YUAN)],
            currency="CNY",
            at=office.clock(),
            operator="test",
            account=account,
        )
        await uow.commit()
    with pytest.raises(NotEnoughCreditError, match=r"at most 20\.00"):
        await give_back(office, account, 21)


async def test_an_old_debt_is_no_gift(office: Office) -> None:
    account = (await office.open()).account
    await office.vend(account, 20)
    plan = NewDebtPlan(account.id, "old", 15 * YUAN, percent=Decimal(10))
    await add_debt_plan(
        office.database, office.organisation_id, plan, at=office.clock(), operator="x"
    )
    assert (await give_back(office, account, 20)).payable_units == 20 * YUAN


async def test_what_waits_to_be_paid_out_is_not_given_back_again(office: Office) -> None:
    account = (await office.open()).account
    await office.vend(account, 20)
    await give_back(office, account, 20)
    await office.vend(account, 10, "k-2")
    await pay(office, account, 20)
    with pytest.raises(NotEnoughCreditError, match=r"at most 10\.00"):
        await give_back(office, account, 11, "r-2")


@pytest.mark.parametrize("mode", [AccountMode.PREPAID_SERVER, AccountMode.PREPAID_METER])
async def test_a_new_owner_is_given_back_what_the_former_one_paid(
    office: Office, mode: AccountMode
) -> None:
    before = (await office.open(mode=mode, balance_units=30 * YUAN)).account
    await office.vend(before, 20)
    await office.deliver(0)
    await office.poll(0)
    after = await hand_over(office, before)
    with pytest.raises(NotEnoughCreditError, match=r"at most 20\.00"):
        await give_back(office, after, 21)
    await give_back(office, after, 20)
    assert (await office.balances())["brought_in"] == -30 * YUAN


async def test_carried_credit_that_is_given_up_is_not_paid_out(office: Office) -> None:
    opened = await office.open(mode=AccountMode.PREPAID_METER, balance_units=30 * YUAN)
    (order,) = await office.orders(opened.account)
    voided = await void_order(
        office.database,
        office.organisation_id,
        order.id,
        at=office.clock(),
        operator="cashier",
        reason="typed twice",
        rules=PrepaymentRules(),
    )
    assert voided.state is OrderState.VOIDED
    assert await office.balances() == {}


async def test_nothing_is_paid_out_before_a_closing_has_told_gifts_apart(office: Office) -> None:
    account = (await office.open(balance_units=30 * YUAN)).account
    await office.vend(account, 20)
    await give_back(office, account, 5)
    async with office.database.unit_of_work() as uow:
        found = await uow.accounts.lock(office.organisation_id, account.id)
        values = {name: getattr(found, name) for name in Account.__dataclass_fields__}
        values |= {"state": AccountState.CLOSING, "closing_step": ClosingStep.TAKE_BACK_CREDIT}
        await uow.accounts.replace(Account(**values))
        await uow.commit()
    with pytest.raises(BusyError, match="being closed"):
        await pay(office, account, 5)
    assert (await close(office, account)).step is ClosingStep.PAY_OUT
    assert await office.balance(refund_payable(account.id)) == 20 * YUAN
    assert (await pay(office, account, 20)).left_units == 0
    assert (await close(office, account)).closed
