import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from tests.conftest import Estate
from tests.services.prepaid_desk import NOON, YUAN, Desk, open_desk
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import AccountState
from meterplex.domain.approvals import ApprovalError, ApprovalKind
from meterplex.domain.estate import (
    AccountId,
    Binding,
    BindingId,
    OrganisationId,
    UsagePoint,
    UsagePointId,
)
from meterplex.domain.ledger import (
    BROUGHT_IN,
    Entry,
    EntryId,
    EntryKind,
    Posting,
    cash,
    customer,
    in_meter,
    refund_payable,
    revenue,
    suspense,
    transit,
)
from meterplex.domain.prepayment import OrderState, Wallet
from meterplex.domain.registers import ELECTRICITY
from meterplex.sdk import SupplyAction
from meterplex.sdk.testing.links import lose_reply, on_control, undisturbed
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import (
    AccountClosedError,
    AmountError,
    IdempotencyError,
    MeterUnfitError,
    NotEnoughCreditError,
)
from meterplex.services.orders.credit_origin import sold_to
from meterplex.services.orders.meter_wallets import put_wallet
from meterplex.services.orders.pay_out import Payout, PayoutRequest, pay_out
from meterplex.services.orders.refund_credit import (
    Refund,
    RefundRequest,
    SecondPersonNeededError,
    refund_credit,
)

SERVER = AccountMode.PREPAID_SERVER


def asked(desk: Desk, yuan: int, key: str, **more: Any) -> RefundRequest:
    account = desk.account
    return RefundRequest(account.organisation_id, account.id, yuan * YUAN, key, **more)


async def give_back(
    desk: Desk, yuan: int, key: str, binding_id: BindingId | None = None, **more: Any
) -> Refund:
    request = asked(desk, yuan, key, binding_id=binding_id)
    return await refund_credit(
        desk.database, request, at=desk.clock(), operator=desk.cashier, **more
    )


async def pay(desk: Desk, yuan: int, key: str, **more: Any) -> Payout:
    account = desk.account
    request = PayoutRequest(account.organisation_id, account.id, yuan * YUAN, key, **more)
    return await pay_out(desk.database, request, at=desk.clock(), operator=desk.cashier)


async def move(desk: Desk, kind: EntryKind, posting: Posting) -> None:
    async with desk.database.unit_of_work() as uow:
        await book(
            uow,
            desk.estate.site,
            kind,
            [posting],
            currency="CNY",
            at=NOON,
            operator="test",
            account=desk.account,
        )
        await uow.commit()


async def switch_off(desk: Desk) -> None:
    await desk.driver().set_supply(SupplyAction.DISCONNECT)


async def test_credit_on_the_server_is_taken_back_and_then_paid_out(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate, SERVER)
    await desk.vend(50, "k-1")
    refund = await give_back(desk, 20, "r-1")
    assert (refund.state, refund.payable_units) == (OrderState.CONFIRMED, 20 * YUAN)
    assert await desk.balances() == {
        "cash": -50 * YUAN,
        "customer": 30 * YUAN,
        "refund_payable": 20 * YUAN,
    }
    payout = await pay(desk, 20, "p-1")
    assert (payout.left_units, payout.repeated) == (0, False)
    assert (await pay(desk, 20, "p-1")).repeated
    assert await desk.balances() == {"cash": -30 * YUAN, "customer": 30 * YUAN}


async def test_more_than_is_owed_back_is_not_paid_out(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER)
    await desk.vend(50, "k-1")
    await give_back(desk, 20, "r-1")
    with pytest.raises(NotEnoughCreditError, match=r"21\.00 asked, 20\.00"):
        await pay(desk, 21, "p-1")
    with pytest.raises(AmountError):
        await pay(desk, 0, "p-1")


async def test_what_was_used_or_given_is_not_refunded(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER)
    await desk.vend(50, "k-1")
    wallet = customer(desk.account.id)
    await move(desk, EntryKind.CHARGE, Posting(wallet, revenue("electricity"), 10 * YUAN))
    await move(desk, EntryKind.OPENING, Posting(BROUGHT_IN, wallet, 5 * YUAN))
    with pytest.raises(NotEnoughCreditError, match=r"at most 40\.00") as refused:
        await give_back(desk, 41, "r-1")
    assert refused.value.field == "amount"
    await give_back(desk, 30, "r-1")
    with pytest.raises(NotEnoughCreditError, match=r"at most 10\.00"):
        await give_back(desk, 11, "r-2")


async def test_refunds_at_once_give_back_no_more_than_there_is(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate, SERVER)
    await desk.vend(50, "k-1")
    results = await asyncio.gather(
        *(give_back(desk, 30, f"r-{number}") for number in range(4)), return_exceptions=True
    )
    assert sum(isinstance(each, Refund) for each in results) == 1
    assert await desk.balance(customer(desk.account.id)) == 20 * YUAN


async def test_meter_gives_credit_back_while_its_relay_is_open(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(50, "k-1")
    await desk.deliver()
    refund = await give_back(desk, 20, "r-1")
    assert (refund.state, refund.payable_units) == (OrderState.PAID, 0)
    assert await desk.deliver() == [OrderState.PAID]
    order = await desk.order(refund.order_id)
    assert "supply off" in order.held
    assert (desk.count, desk.held_cents) == (1, 5_000)
    await switch_off(desk)
    desk.clock.advance(minutes=31)
    assert await desk.deliver() == [OrderState.CONFIRMED]
    assert (desk.count, desk.held_cents) == (2, 3_000)
    assert await desk.balances() == {
        "cash": -50 * YUAN,
        "meter": 30 * YUAN,
        "refund_payable": 20 * YUAN,
    }
    await desk.vend(5, "k-2")
    assert await desk.deliver() == [OrderState.CONFIRMED]


async def test_withdrawal_whose_answer_is_lost_is_proven_by_the_wallet(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(50, "k-1")
    await desk.deliver()
    await switch_off(desk)
    await give_back(desk, 20, "r-1")
    desk.link.disturb = on_control(lose_reply)
    assert await desk.deliver() == [OrderState.UNCERTAIN]
    desk.link.disturb = undisturbed
    await desk.settle()
    assert (desk.count, desk.held_cents) == (2, 3_000)
    assert (await desk.balances())["refund_payable"] == 20 * YUAN


async def test_less_left_in_the_meter_than_asked_holds_the_refund(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(50, "k-1")
    await desk.deliver()
    await switch_off(desk)
    refund = await give_back(desk, 50, "r-1")
    desk.twin.body.wallet.remaining -= 10 * YUAN
    assert await desk.deliver() == [OrderState.PAID]
    assert "left of what was bought" in (await desk.order(refund.order_id)).held


async def test_meter_that_cannot_give_back_is_refused(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(50, "k-1")
    await desk.deliver()
    with pytest.raises(MeterUnfitError, match="swap it"):
        await give_back(desk, 20, "r-1", can_withdraw=False)
    assert await desk.balances() == {"cash": -50 * YUAN, "meter": 50 * YUAN}


async def test_meter_gives_back_no_more_than_it_was_sold(
    database: Database, estate: Estate
) -> None:
    """The account paid for more, but another meter of it got that."""
    desk = await open_desk(database, estate)
    second = await bind_second(desk)
    for binding, yuan in ((desk.binding, 100), (second, 20)):
        await desk.vend(yuan, f"k-{yuan}", binding_id=binding.id)
    async with database.unit_of_work() as uow:
        await put_wallet(uow, second, Wallet(50 * YUAN, 1, 50 * YUAN), desk.clock())
        await uow.commit()
    with pytest.raises(NotEnoughCreditError, match=r"21\.00 asked back, at most 20\.00"):
        await give_back(desk, 21, "r-1", binding_id=second.id)
    await give_back(desk, 15, "r-2", binding_id=second.id)
    with pytest.raises(NotEnoughCreditError, match=r"at most 5\.00"):
        await give_back(desk, 6, "r-3", binding_id=second.id)


async def bind_second(desk: Desk) -> Binding:
    meter, point = desk.estate.meters[1], UsagePointId(uuid7())
    binding = replace(desk.binding, id=BindingId(uuid7()), meter_id=meter.id, usage_point_id=point)
    async with desk.database.unit_of_work() as uow:
        await uow.usage_points.add(
            UsagePoint(point, desk.account.organisation_id, desk.estate.site.id, "p-2", ELECTRICITY)
        )
        await uow.bindings.add(binding)
        await uow.commit()
    return binding


BINDING, OTHER = BindingId(UUID(int=1)), BindingId(UUID(int=2))
ACCOUNT = AccountId(UUID(int=3))


@pytest.mark.parametrize(
    ("posting", "units"),
    [
        (Posting(cash("cash"), transit(BINDING), 7), 7),
        (Posting(transit(BINDING), in_meter(BINDING), 7), 0),
        (Posting(cash("cash"), transit(OTHER), 7), 0),
        (Posting(in_meter(OTHER), transit(BINDING), 7), 7),
        (Posting(in_meter(BINDING), transit(OTHER), 7), -7),
        (Posting(in_meter(BINDING), refund_payable(ACCOUNT), 7), -7),
        (Posting(transit(BINDING), cash("cash"), 7), -7),
        (Posting(in_meter(BINDING), revenue("electricity"), 7), 0),
        (Posting(BROUGHT_IN, in_meter(BINDING), 7), 0),
        (Posting(suspense(BINDING), in_meter(BINDING), 7), 0),
    ],
    ids=str,
)
def test_what_was_sold_to_a_meter(posting: Posting, units: int) -> None:
    entry = Entry(
        EntryId(UUID(int=4)),
        OrganisationId(UUID(int=5)),
        EntryKind.PAYMENT,
        "CNY",
        NOON,
        NOON.date(),
        (posting,),
        "test",
    )
    assert sold_to([entry], {in_meter(BINDING), transit(BINDING)}) == units


async def test_large_refund_needs_a_second_person(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER)
    await desk.vend(900, "k-1")
    with pytest.raises(SecondPersonNeededError) as needed:
        await give_back(desk, 501, "r-1")
    request = asked(desk, 501, "r-1")
    assert needed.value.content == request.body
    approval = await desk.approve(ApprovalKind.REFUND, request.body)
    other = replace(asked(desk, 502, "r-1"), approval_id=approval)
    with pytest.raises(ApprovalError):
        await refund_credit(database, other, at=desk.clock(), operator=desk.cashier)
    allowed = replace(request, approval_id=approval)
    await refund_credit(database, allowed, at=desk.clock(), operator=desk.cashier)
    with pytest.raises(SecondPersonNeededError):
        await pay(desk, 501, "p-1")
    assert (await desk.balances())["refund_payable"] == 501 * YUAN


async def test_refund_is_done_once_a_key(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER)
    await desk.vend(50, "k-1")
    first = await give_back(desk, 20, "r-1")
    assert await give_back(desk, 20, "r-1") == replace(first, repeated=True)
    with pytest.raises(IdempotencyError):
        await give_back(desk, 10, "k-1")
    assert await desk.balance(customer(desk.account.id)) == 30 * YUAN


async def test_dry_run_keeps_nothing(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER)
    await desk.vend(50, "k-1")
    await give_back(desk, 20, "r-1", dry_run=True)
    assert await desk.balances() == {"cash": -50 * YUAN, "customer": 50 * YUAN}


async def test_closed_account_gives_nothing_back(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate, SERVER, state=AccountState.CLOSED)
    with pytest.raises(AccountClosedError):
        await give_back(desk, 20, "r-1")
