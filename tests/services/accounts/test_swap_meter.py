"""Swapping a meter: what the old one held is in the new one, once, wherever it was cut off."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Estate
from tests.services.account_office import ENERGY, YUAN, Office, open_office, sqlite_office
from tests.services.crashing_database import CrashError, CrashingDatabase

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account
from meterplex.domain.approvals import ApprovalError, ApprovalKind
from meterplex.domain.ledger import in_meter, transit
from meterplex.domain.prepayment import OrderId, OrderKind, OrderState
from meterplex.sdk import SupplyAction
from meterplex.services.accounts.change_account import AccountChange, change_account
from meterplex.services.accounts.open_account import AccountLimits
from meterplex.services.accounts.swap_meter import (
    NewMeter,
    Swap,
    SwapMeter,
    SwapStep,
    estimate_content,
    swap_meter,
)
from meterplex.services.books.errors import (
    MeterUnfitError,
    MoneyConflictError,
    MoneyInputError,
    UnknownThingError,
)
from meterplex.services.charging.charge_readings import charge_meters
from meterplex.services.orders.reverse_order import Reversal, ReversalRequest, reverse_order

NEW = "20269999"
AT_ZERO = {ENERGY: Decimal(0)}


@pytest.fixture
async def office(database: Database, estate: Estate) -> Office:
    return await open_office(database, estate)


def wanted(office: Office, account: Account, **more: Any) -> SwapMeter:
    new = more.pop("new", NewMeter(NEW, readings=AT_ZERO))
    return SwapMeter(office.organisation_id, account.id, "p-1", new, **more)


async def swap(office: Office, account: Account, database: Any = None, **more: Any) -> Swap:
    return await swap_meter(
        database or office.database,
        office.plugins,
        wanted(office, account, **more),
        at=office.clock(),
        operator=office.cashier,
    )


async def metered(office: Office, *amounts: int) -> Account:
    """An account whose meter holds what was vended."""
    await office.poll(0)
    account = (await office.open(mode=AccountMode.PREPAID_METER)).account
    for number, yuan in enumerate(amounts):
        await office.vend(account, yuan, f"k-{number}")
        await office.deliver(0)
    await office.poll(0)
    return account


async def held(office: Office, index: int) -> Sequence[int]:
    """What the ledger has in the meter and on its way there, over all its bindings."""
    bindings = await office.bindings(index)
    return [
        sum([await office.balance(name(binding.id)) for binding in bindings])
        for name in (in_meter, transit)
    ]


async def test_use_before_and_after_is_charged_by_its_own_meter(office: Office) -> None:
    await office.show(0, "100")
    account = (await office.open(balance_units=100 * YUAN)).account
    await office.show(0, "110")
    swapped = await swap(office, account)
    assert swapped.step is SwapStep.DONE
    new = office.add_twin(NEW)
    await office.show(new, "5")
    meter = await office.meter(new)
    await charge_meters(office.database, office.organisation_id, [meter.id], office.clock())
    async with office.database.unit_of_work(read_only=True) as uow:
        charges = await uow.charges.of_account(office.organisation_id, account.id)
    assert [each.units for each in charges] == [10, 5]
    assert (await office.meter(0)).removed_at is not None


async def test_credit_of_the_old_meter_goes_into_the_new_one(office: Office) -> None:
    account = await metered(office, 40)
    swapped = await swap(office, account)
    assert swapped.step is SwapStep.DELIVER
    assert await held(office, 0) == [0, 0]
    new = office.add_twin(NEW)
    assert await held(office, new) == [0, 40 * YUAN]
    await office.deliver(new)
    assert await held(office, new) == [40 * YUAN, 0]
    assert (await swap(office, account)).step is SwapStep.DONE
    kinds = [(order.kind, order.amount_units) for order in await office.orders(account)]
    assert kinds == [(OrderKind.VEND, 40 * YUAN), (OrderKind.TRANSFER, 40 * YUAN)]
    assert await office.balances() == {"cash": -40 * YUAN, "meter": 40 * YUAN}


async def test_what_was_queued_goes_to_the_new_meter(office: Office) -> None:
    account = await metered(office, 40)
    queued = await office.vend(account, 15, "k-queued")
    await swap(office, account)
    new = office.add_twin(NEW)
    await office.deliver(new)
    async with office.database.unit_of_work(read_only=True) as uow:
        order = await uow.orders.get(office.organisation_id, queued.order_id)
    assert order.state is OrderState.CONFIRMED
    assert await held(office, new) == [55 * YUAN, 0]
    assert await held(office, 0) == [0, 0]


async def reverse(office: Office, order_id: OrderId) -> Reversal:
    request = ReversalRequest(office.organisation_id, order_id, "r-1", "typed twice")
    return await reverse_order(office.database, request, at=office.clock(), operator=office.manager)


async def test_what_was_queued_and_went_along_can_be_reversed(office: Office) -> None:
    account = await metered(office)
    queued = await office.vend(account, 15, "k-queued")
    await swap(office, account)
    new = office.add_twin(NEW)
    await office.deliver(new)
    await office.poll(new)
    reversal = await reverse(office, queued.order_id)
    assert (reversal.state, reversal.debt_units) == (OrderState.PAID, 0)
    await office.driver(new).set_supply(SupplyAction.DISCONNECT)
    await office.deliver(new)
    assert await held(office, new) == [0, 0]
    assert await office.balances() == {}


async def test_what_the_old_meter_took_is_not_asked_back_from_it(office: Office) -> None:
    account = await metered(office)
    sale = await office.vend(account, 15)
    await office.deliver(0)
    await office.poll(0)
    await swap(office, account)
    with pytest.raises(MeterUnfitError, match="carried over"):
        await reverse(office, sale.order_id)


async def test_credit_goes_in_parts_below_the_hoard_limit(office: Office) -> None:
    await office.poll(0)
    limits = AccountLimits(hoard_units=30 * YUAN)
    opened = await office.open(mode=AccountMode.PREPAID_METER, limits=limits)
    await office.vend(opened.account, 30)
    await office.deliver(0)
    await office.poll(0)
    await change_account(
        office.database,
        office.organisation_id,
        opened.account.id,
        AccountChange({"hoard_units": 20 * YUAN}),
        at=office.clock(),
        operator="x",
    )
    await swap(office, opened.account)
    transfers = [each for each in await office.orders(opened.account) if each.method == "transfer"]
    assert [each.amount_units for each in transfers] == [20 * YUAN, 10 * YUAN]


async def test_a_dead_meter_takes_two_people_and_an_estimate(office: Office) -> None:
    account = await metered(office, 40)
    office.clock.advance(days=3)
    with pytest.raises(MoneyInputError, match="was read last"):
        await swap(office, account)
    estimate = {"estimated_units": 33 * YUAN}
    with pytest.raises(ApprovalError):
        await swap(office, account, **estimate)
    content = estimate_content(wanted(office, account, **estimate))
    approval = await office.approve(ApprovalKind.ESTIMATE_SWAP, content)
    with pytest.raises(ApprovalError):
        await swap(office, account, estimated_units=34 * YUAN, approval_id=approval)
    await swap(office, account, **estimate, approval_id=approval)
    assert await held(office, 0) == [0, 0]
    new = office.add_twin(NEW)
    assert await held(office, new) == [0, 33 * YUAN]
    assert (await office.balances())["revenue"] == 7 * YUAN


async def test_an_estimate_is_not_above_what_was_read(office: Office) -> None:
    account = await metered(office, 40)
    with pytest.raises(MoneyInputError) as refused:
        await swap(office, account, estimated_units=41 * YUAN)
    assert refused.value.field == "estimated"


async def test_the_old_meter_is_not_bound_again_with_credit_in_it(office: Office) -> None:
    account = await metered(office, 40)
    await swap(office, account)
    async with office.database.unit_of_work() as uow:
        new = await uow.meters.by_serial(office.organisation_id, NEW)
        assert new is not None
        await uow.meters.replace(replace(new, address="99"))
        await uow.meters.replace(replace(await office.meter(0), removed_at=None))
        await uow.commit()
    with pytest.raises(MeterUnfitError, match="not known to be empty"):
        await swap(office, account, new=NewMeter(office.meters[0].serial, readings={}))


@pytest.mark.parametrize(
    ("new", "kind"),
    [
        pytest.param(NewMeter(NEW, model="none", readings=AT_ZERO), UnknownThingError, id="model"),
        pytest.param(NewMeter(NEW, address="0", readings=AT_ZERO), MoneyInputError, id="address"),
        pytest.param(NewMeter(NEW), MoneyInputError, id="never read"),
        pytest.param(NewMeter(NEW, address="2", readings=AT_ZERO), MoneyConflictError, id="taken"),
    ],
)
async def test_a_bad_new_meter_is_refused_and_the_old_one_stays(
    sqlite_template: Path, tmp_path: Path, new: NewMeter, kind: type[Exception]
) -> None:
    async with sqlite_office(sqlite_template, tmp_path) as office:
        account = await metered(office, 40)
        with pytest.raises(kind):
            await swap(office, account, new=new)
        assert await held(office, 0) == [40 * YUAN, 0]
        assert (await office.meter(0)).removed_at is None


@pytest.mark.parametrize("durable", [False, True], ids=["before", "after"])
async def test_a_swap_goes_on_after_a_crash_at_any_commit(
    sqlite_template: Path, tmp_path: Path, durable: bool
) -> None:
    number, crashed = 0, True
    while crashed:
        number += 1
        async with sqlite_office(sqlite_template, tmp_path) as office:
            account = await metered(office, 40)
            await office.vend(account, 15, "k-queued")
            dying = CrashingDatabase(office.database, number, durable=durable)
            try:
                await swap(office, account, dying)
                crashed = False
            except CrashError:
                await swap(office, account)
            new = office.add_twin(NEW)
            await office.deliver(new)
            assert (await swap(office, account)).step is SwapStep.DONE
            assert await held(office, 0) == [0, 0]
            assert await held(office, new) == [55 * YUAN, 0]
            assert await office.balances() == {"cash": -55 * YUAN, "meter": 55 * YUAN}
    assert number > 3
