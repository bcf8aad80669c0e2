from datetime import datetime
from decimal import Decimal

from tests.conftest import Estate
from tests.services.orders.test_deliver_orders import events
from tests.services.prepaid_desk import YUAN, Desk, open_desk

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.ledger import in_meter, suspense
from meterplex.domain.prepayment import PrepaymentRules
from meterplex.sdk import CreditState
from meterplex.sdk.testing.links import lose_reply, on_control, undisturbed
from meterplex.services.orders.compare_counts import SeenWallet, compare_counts


async def read(desk: Desk, at: datetime | None = None, credit: CreditState | None = None) -> None:
    """Have a scheduled reading compared."""
    if credit is None:
        credit = await desk.driver().read_credit()
    seen = SeenWallet(desk.meter, at or desk.clock(), credit)
    organisation_id = desk.account.organisation_id
    await compare_counts(desk.database, organisation_id, [seen], PrepaymentRules())


async def kept(desk: Desk) -> tuple[int, int] | None:
    async with desk.database.unit_of_work() as uow:
        row = await uow.wallets.find(desk.account.organisation_id, desk.binding.id)
    return None if row is None else (row.purchase_count, row.remaining_units // YUAN)


async def test_first_reading_is_the_baseline(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    assert await kept(desk) is None
    await desk.driver().deliver_credit(1, Decimal("7.00"))
    await read(desk)
    assert await kept(desk) == (1, 7)
    assert await desk.balances() == {"brought_in": -7 * YUAN, "meter": 7 * YUAN}
    assert await events(desk) == []


async def test_purchase_elsewhere_goes_to_suspense_once(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(30, "k-1")
    await desk.deliver()
    await desk.driver().deliver_credit(2, Decimal("7.00"))
    await read(desk)
    await read(desk)
    assert await desk.balance(suspense(desk.binding.id)) == -7 * YUAN
    assert await desk.balance(in_meter(desk.binding.id)) == 37 * YUAN
    assert (await events(desk)).count("foreign_purchase") == 1


async def test_what_purchases_cannot_explain_is_told_once(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(30, "k-1")
    await desk.deliver()
    desk.twin.body.wallet.purchase_count = 0
    await read(desk)
    await read(desk)
    assert (await events(desk)).count("purchase_count") == 1
    assert await desk.balances() == {"cash": -30 * YUAN, "meter": 30 * YUAN}
    async with database.unit_of_work(read_only=True) as uow:
        notices = await uow.notices.newest(desk.account.organisation_id)
    assert [notice.kind for notice in notices] == ["purchase_count"]


async def test_order_on_its_way_is_judged_by_its_own_evidence(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    await desk.vend(30, "k-1")
    desk.link.disturb = on_control(lose_reply)
    await desk.deliver()
    desk.link.disturb = undisturbed
    await read(desk)
    assert await desk.balances() == {"cash": -30 * YUAN, "transit": 30 * YUAN}
    await desk.settle()
    await read(desk)
    assert await desk.balances() == {"cash": -30 * YUAN, "meter": 30 * YUAN}
    assert await events(desk) == []


async def test_reading_that_is_stored_late_changes_nothing(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate)
    taken_at, old = desk.clock(), await desk.driver().read_credit()
    await desk.vend(30, "k-1")
    await desk.deliver()
    await read(desk, taken_at, old)
    assert await kept(desk) == (1, 30)
    assert await events(desk) == []


async def test_number_that_is_none_costs_only_itself(database: Database, estate: Estate) -> None:
    desk = await open_desk(database, estate)
    await read(desk, credit=CreditState(Decimal("NaN"), 1, Decimal(0)))
    assert await kept(desk) is None


async def test_wallet_of_an_account_on_the_server_is_not_ours(
    database: Database, estate: Estate
) -> None:
    desk = await open_desk(database, estate, AccountMode.PREPAID_SERVER)
    await read(desk)
    assert await kept(desk) is None
