"""A desk that sells to one account, its meter a simulated DTSY1352 whose link can be disturbed."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.conftest import Estate
from tests.services.till import approve, balances_by_kind, cashier_and_manager
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, AccountState, Customer, CustomerId
from meterplex.domain.approvals import ApprovalId, ApprovalKind
from meterplex.domain.estate import (
    AccountId,
    Binding,
    BindingId,
    Meter,
    UsagePoint,
    UsagePointId,
)
from meterplex.domain.ledger import LedgerAccount
from meterplex.domain.operators import Operator
from meterplex.domain.prepayment import OrderState, PrepaymentRules
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep
from meterplex.domain.registers import ELECTRICITY
from meterplex.sdk import MeterDriver
from meterplex.sdk.testing import TwinLink
from meterplex.services.orders.crash_points import CrashHook, no_crash
from meterplex.services.orders.deliver_orders import OrderDelivery
from meterplex.services.orders.evidence import DIRECT, LinkFacts
from meterplex.services.orders.vend_credit import Sale, VendRequest, vend_credit
from meterplex_acrel_dtsy import models

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
"""Noon in Shanghai."""
YUAN = 10_000


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def advance(self, **span: float) -> None:
        self.now += timedelta(**span)


@dataclass
class Desk:
    """All that a test needs; amounts are whole yuan."""

    database: Database
    estate: Estate
    account: Account
    binding: Binding
    meter: Meter
    cashier: Operator
    manager: Operator
    clock: Clock = field(default_factory=Clock)
    rules: PrepaymentRules = field(default=PrepaymentRules())
    link_facts: LinkFacts = DIRECT
    settings: dict[str, str] = field(default_factory=lambda: {"count_checked": "true"})

    def __post_init__(self) -> None:
        twin_settings = {"serial": self.meter.serial, "remaining": "0", "purchase_count": "0"}
        twin_settings["count_checked"] = self.settings["count_checked"]
        model = models.dtsy1352()
        assert model.twin is not None
        defaults = {each.name: each.default or "" for each in model.twin_settings}
        self.twin: Any = model.twin("1", defaults | twin_settings, 1)
        self.twin.advance(NOON)
        self.link = TwinLink(self.twin)

    def driver(self) -> MeterDriver:
        return models.dtsy1352().driver(self.link, "1", self.settings)

    def delivery(self, crash: CrashHook = no_crash) -> OrderDelivery:
        return OrderDelivery(self.database, self.clock, self.rules, crash)

    async def vend(self, yuan: int, key: str, **more: Any) -> Sale:
        request = VendRequest(
            self.account.organisation_id, self.account.id, yuan * YUAN, key, **more
        )
        return await vend_credit(
            self.database, request, at=self.clock(), operator=self.cashier.name
        )

    async def order(self, order_id: Any) -> CreditOrder:
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.orders.get(self.account.organisation_id, order_id)

    async def steps(self, order_id: Any) -> list[OrderStep]:
        async with self.database.unit_of_work(read_only=True) as uow:
            return [*await uow.orders.steps(self.account.organisation_id, order_id)]

    async def deliver(self, crash: CrashHook = no_crash) -> list[OrderState]:
        """Give each order that is due one attempt; return their states."""
        delivery = self.delivery(crash)
        due = await delivery.due()
        driver = self.driver()
        return [(await delivery.attempt(each, driver, self.link_facts)).state for each in due]

    async def settle(self, rounds: int = 10) -> None:
        """Deliver until nothing is due, over a minute's waits."""
        for _ in range(rounds):
            self.clock.advance(minutes=31)
            if not await self.deliver():
                return

    async def balances(self) -> dict[str, int]:
        """All balances that are not zero, by kind, in ledger units; the books are right."""
        return await balances_by_kind(self.database, self.account.organisation_id)

    async def balance(self, account: LedgerAccount) -> int:
        async with self.database.unit_of_work(read_only=True) as uow:
            found = await uow.ledger.balances(self.account.organisation_id, "CNY", [account])
        return found[account]

    async def approve(self, kind: ApprovalKind, content: dict[str, Any]) -> ApprovalId:
        """Have the manager allow what the cashier asks for."""
        return await approve(
            self.database,
            self.cashier,
            self.manager,
            kind,
            content,
            site_id=self.account.site_id,
            at=self.clock(),
        )

    async def change_account(self, **changes: Any) -> None:
        async with self.database.unit_of_work() as uow:
            account = await uow.accounts.get(self.account.organisation_id, self.account.id)
            values = {name: getattr(account, name) for name in Account.__dataclass_fields__}
            self.account = Account(**values | changes)
            await uow.accounts.replace(self.account)
            await uow.commit()

    @property
    def held_cents(self) -> int:
        """What the meter itself says that it holds, in fen."""
        remaining: int = self.twin.body.wallet.remaining
        return remaining // 100

    @property
    def count(self) -> int:
        stored: int = self.twin.body.wallet.purchase_count
        return stored


async def open_desk(
    database: Database,
    estate: Estate,
    mode: AccountMode = AccountMode.PREPAID_METER,
    *,
    state: AccountState = AccountState.OPEN,
    **settings: str,
) -> Desk:
    """Store an account with one meter, and two operators who may do everything."""
    organisation_id, site = estate.organisation.id, estate.site
    meter = estate.meters[0]
    customer = Customer(CustomerId(uuid7()), organisation_id, "c-1", "Li Na")
    account = Account(
        AccountId(uuid7()),
        organisation_id,
        site.id,
        customer.id,
        "a-1",
        mode,
        "CNY",
        NOON - timedelta(days=30),
        state=state,
    )
    point = UsagePoint(UsagePointId(uuid7()), organisation_id, site.id, "p-1", ELECTRICITY)
    binding = Binding(
        BindingId(uuid7()),
        organisation_id,
        meter.id,
        point.id,
        since=NOON - timedelta(days=30),
        account_id=account.id,
        mode=mode,
    )
    cashier, manager = cashier_and_manager(organisation_id, NOON)
    async with database.unit_of_work() as uow:
        await uow.customers.add(customer)
        await uow.accounts.add(account)
        await uow.usage_points.add(point)
        await uow.bindings.add(binding)
        for each in (cashier, manager):
            await uow.operators.add(each, "no password")
        await uow.commit()
    settings = {"count_checked": "true"} | settings
    return Desk(database, estate, account, binding, meter, cashier, manager, settings=settings)


def amount(yuan: str) -> int:
    return int(Decimal(yuan) * YUAN)
