"""Debts under plans: moved without a loss, paid off by payments, ended at zero."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from tests.services.charging_cases import Tenancy, move_in

from meterplex.db import Database
from meterplex.domain.accounts import Category
from meterplex.domain.bills import AccountDebt
from meterplex.domain.debt_plans import DebtPlanError, InstalmentPeriod, Instalments, PaymentShare
from meterplex.domain.ledger import BROUGHT_IN, customer, receivable
from meterplex.services.billing.charge_fees import NewFee, add_fee, charge_fees
from meterplex.services.billing.debt_plans import DebtState, NewDebtPlan, add_debt_plan, debt_states
from meterplex.services.books.check_books import check_books
from meterplex.services.books.errors import (
    AmountError,
    MoneyInputError,
    NotEnoughCreditError,
)
from meterplex.services.orders.vend_credit import VendRequest, vend_credit

if TYPE_CHECKING:
    from tests.conftest import Estate

AT = datetime(2026, 7, 5, 2, tzinfo=UTC)
KEYS = count()


@pytest.fixture
async def tenancy(database: Database, estate: "Estate") -> Tenancy:
    return await move_in(database, estate)


async def owe(tenancy: Tenancy, price: int = 300) -> None:
    organisation_id = tenancy.account.organisation_id
    new = NewFee(
        tenancy.account.id, Category.FEE, "fee", Decimal(price), date(2026, 7, 1), due_days=9
    )
    await add_fee(tenancy.database, organisation_id, new, at=AT, operator="anna")
    await charge_fees(tenancy.database, organisation_id, date(2026, 7, 1), at=AT, operator="anna")


async def agree(tenancy: Tenancy, **more: Any) -> AccountDebt:
    return await add_debt_plan(
        tenancy.database,
        tenancy.account.organisation_id,
        NewDebtPlan(tenancy.account.id, "old debt", **more),
        at=AT,
        operator="anna",
    )


async def pay(tenancy: Tenancy, amount_units: int, days: int = 0) -> None:
    request = VendRequest(
        tenancy.account.organisation_id, tenancy.account.id, amount_units, f"d{next(KEYS)}"
    )
    when = AT + timedelta(days=days)
    await vend_credit(tenancy.database, request, at=when, operator="anna")


async def state(tenancy: Tenancy, days: int = 0) -> DebtState:
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        assert await check_books(uow, tenancy.account.organisation_id) == ()
        (found,) = await debt_states(uow, tenancy.account, at=AT + timedelta(days=days), ended=True)
    return found


async def test_share_of_each_payment_pays_off_a_debt_from_outside(tenancy: Tenancy) -> None:
    await agree(tenancy, amount_units=50_0000, percent=Decimal(30))
    assert (await tenancy.balances())[BROUGHT_IN] == 50_0000
    await pay(tenancy, 100_0000)
    assert (await state(tenancy)).left_units == 20_0000
    await pay(tenancy, 100_0000, 3)
    paid_off = await state(tenancy)
    assert (paid_off.left_units, paid_off.debt.ended_at) == (0, AT + timedelta(days=3))
    await pay(tenancy, 10_0000, 4)
    assert (await tenancy.balances())[customer(tenancy.account.id)] == 160_0000


async def test_arrears_move_under_a_plan_and_settle_their_bill(tenancy: Tenancy) -> None:
    await owe(tenancy)
    await agree(tenancy, category=Category.FEE, instalment_units=100_0000, first_on=AT.date())
    assert (await tenancy.balances())[receivable(tenancy.account.id, Category.FEE)] == 0
    now = await state(tenancy)
    assert (now.left_units, now.due_units) == (300_0000, 100_0000)
    async with tenancy.database.unit_of_work(read_only=True) as uow:
        (bill,) = await uow.bills.all(tenancy.account.organisation_id)
    assert bill.outstanding_units == 0


async def test_instalments_take_what_is_due_and_leave_the_rest_as_credit(
    tenancy: Tenancy,
) -> None:
    await agree(
        tenancy,
        amount_units=25_0000,
        instalment_units=10_0000,
        first_on=AT.date(),
        period=InstalmentPeriod.WEEK,
    )
    await pay(tenancy, 100_0000)
    assert (await state(tenancy)).left_units == 15_0000
    assert (await state(tenancy, 14)).due_units == 15_0000
    await pay(tenancy, 100_0000, 14)
    assert (await state(tenancy, 14)).debt.ended_at is not None
    assert (await tenancy.balances())[customer(tenancy.account.id)] == 175_0000


async def test_part_of_what_is_owed_can_be_moved(tenancy: Tenancy) -> None:
    await owe(tenancy)
    await agree(tenancy, category=Category.FEE, amount_units=200_0000, percent=Decimal(10))
    await pay(tenancy, 200_0000)
    balances = await tenancy.balances()
    assert (await state(tenancy)).left_units == 180_0000
    assert balances[receivable(tenancy.account.id, Category.FEE)] == 0
    assert balances[customer(tenancy.account.id)] == 80_0000


async def test_plan_that_cannot_be_is_refused(tenancy: Tenancy) -> None:
    share, yuan = {"percent": Decimal(5)}, {"amount_units": 1_0000}
    instalments = {"instalment_units": 1_0000}
    refused: tuple[tuple[dict[str, Any], type[Exception]], ...] = (
        (yuan, MoneyInputError),
        (yuan | share | instalments, MoneyInputError),
        (yuan | instalments, MoneyInputError),
        (share, AmountError),
        (yuan | {"percent": Decimal(101)}, DebtPlanError),
        (share | {"amount_units": 0}, DebtPlanError),
        (share | {"category": Category.FEE}, NotEnoughCreditError),
        (share | {"category": Category.DEBT}, MoneyInputError),
    )
    for more, error in refused:
        with pytest.raises(error):
            await agree(tenancy, **more)
    assert await tenancy.balances() == {}


async def test_plan_comes_back_as_agreed(tenancy: Tenancy) -> None:
    added = await agree(tenancy, amount_units=50_0000, percent=Decimal(30))
    weekly, zone = InstalmentPeriod.WEEK, ZoneInfo("Asia/Shanghai")
    for rule in (
        PaymentShare(Decimal("12.5"), 1, 5_0000),
        Instalments(7_0000, date(2026, 8, 31), zone, weekly),
    ):
        changed = replace(added, plan=replace(added.plan, rule=rule))
        async with tenancy.database.unit_of_work() as uow:
            await uow.debt_plans.replace(changed)
            assert await uow.debt_plans.get(changed.organisation_id, changed.id) == changed
