"""A home whose meter keeps the credit: sold by count, and once with the line cut in between."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

from meterplex.cli.demo.estate import HOME, TENANT_METER
from meterplex.cli.demo.scene import CURRENCY, Scene
from meterplex.cli.demo.tariffs import home_tariff
from meterplex.cli.demo.telling import Chapter, NotAsToldError
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account
from meterplex.domain.charges import ChargeKind
from meterplex.domain.prepayment import Evidence, OrderState
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep
from meterplex.domain.prepayment.orders import OrderId
from meterplex.sdk import CreditState, DeviceTwin
from meterplex.services.accounts.balances import account_balance
from meterplex.services.accounts.customers import NewCustomer
from meterplex.services.accounts.open_account import (
    AccountLimits,
    NewBinding,
    OpenAccount,
    open_account,
)
from meterplex.services.books.amounts import format_amount, parse_amount
from meterplex.services.orders.vend_credit import VendRequest, vend_credit
from meterplex.services.tariffs.publish_tariff import publish_tariff

ACCOUNT: Final = "HOME-1"
VEND: Final = "50.00"
CUT_VEND: Final = "20.00"
LIMITS: Final = AccountLimits(alarm_1_units=50_000, alarm_2_units=20_000)
CUT_S: Final = 2.0
"""How long the line stays cut after the order was seen to be uncertain."""
_PURCHASE: Final = bytes.fromhex("20 01 00")
"""Function and block of a purchase, behind the address (DTSY1352 sheet section 7)."""


@dataclass(slots=True)
class FragileLine:
    """A device whose line is cut right behind the next purchase: it hears it, nobody hears it.

    Attributes:
        armed: whether the next purchase cuts the line.
        cut: whether it is cut now.
    """

    twin: DeviceTwin
    turn_round_s: float
    armed: bool = False
    cut: bool = False

    def receive(self, burst: bytes) -> bytes:
        """See ``DeviceTwin``."""
        if self.cut:
            return b""
        reply = self.twin.receive(burst)
        if self.armed and reply and burst[1:4] == _PURCHASE:
            self.cut, self.armed = True, False
        return b"" if self.cut else reply

    def advance(self, now: datetime) -> None:
        """See ``DeviceTwin``."""
        self.twin.advance(now)


@dataclass(slots=True)
class Home:
    """The chapter of the home."""

    scene: Scene
    _account: Account = field(init=False)
    _line: FragileLine = field(init=False)
    _before: CreditState = field(init=False)
    _cut_order: OrderId = field(init=False)

    @property
    def chapter(self) -> Chapter:
        """What must happen."""
        return (
            (f"home {ACCOUNT} opened with the credit in its meter", self._opened),
            (f"{VEND} {CURRENCY} sold into the meter, proven by its own count", self._sold),
            (f"{CUT_VEND} {CURRENCY} sold, the line cut in mid-delivery", self._cut),
            ("the line mended, the sale proven by evidence, taken once", self._mended),
            ("what the home's meter counted down was charged", self._charged),
        )

    async def _opened(self) -> str:
        scene, bus = self.scene, self.scene.estate.bus(HOME)
        meter = await scene.meter_read(bus.serial(TENANT_METER))
        by = scene.operator.name
        tariff = home_tariff()
        await publish_tariff(
            scene.database, meter.organisation_id, tariff, at=scene.wall(), operator=by
        )
        wanted = OpenAccount(
            organisation_id=meter.organisation_id,
            site=bus.site,
            number=ACCOUNT,
            customer=NewCustomer("C-2", "Ms Li", phone="13900139000"),
            mode=AccountMode.PREPAID_METER,
            tariff=tariff.id,
            bindings=(NewBinding(bus.usage_point(TENANT_METER)),),
            limits=LIMITS,
        )
        opened = await open_account(
            scene.database, scene.plugins, wanted, at=scene.wall(), operator=by
        )
        self._account = opened.account
        twins = scene.estate.simulated.buses[HOME].bus
        twin = twins.twins[TENANT_METER]
        self._line = FragileLine(twin, twin.turn_round_s)
        twins.twins[TENANT_METER] = self._line
        twins.revive(TENANT_METER)
        async with scene.look() as (uow, _):
            balance = await account_balance(uow, self._account)
        found = sum(balance.in_meter_units.values())
        if found <= 0:
            raise NotAsToldError("no credit was found in the meter")
        return f"{format_amount(found, CURRENCY)} {CURRENCY} were found in it"

    async def _sold(self) -> str:
        await self._settled(await self._pay(VEND, "first"))
        return await self._compare(VEND)

    async def _cut(self) -> str:
        self._line.armed = True
        self._cut_order = await self._pay(CUT_VEND, "cut")
        while True:
            order, _ = await self._order(self._cut_order)
            if self._line.cut and order.state is OrderState.UNCERTAIN:
                return f"the meter took it, nobody heard: {order.outcome}"

    async def _mended(self) -> str:
        await asyncio.sleep(CUT_S)
        self._line.cut = False
        await self._settled(self._cut_order)
        _, steps = await self._order(self._cut_order)
        codes = [step.code for step in steps]
        if Evidence.E1 not in codes:
            raise NotAsToldError(f"confirmed by {', '.join(codes)}")
        return f"{Evidence.E1}: {await self._compare(CUT_VEND)}"

    async def _charged(self) -> str:
        account = self._account
        while True:
            async with self.scene.look() as (uow, _):
                charges = await uow.charges.of_account(account.organisation_id, account.id)
            metered = [each for each in charges if each.kind is ChargeKind.METERED]
            if metered:
                total = sum(charge.amount_units for charge in metered)
                return f"{format_amount(total, CURRENCY)} {CURRENCY} so far"

    async def _pay(self, amount: str, what: str) -> OrderId:
        scene, self._before = self.scene, await self.scene.device(HOME).read_credit()
        request = VendRequest(
            self._account.organisation_id,
            self._account.id,
            parse_amount(amount, CURRENCY, "amount"),
            idempotency_key=f"demo-{ACCOUNT}-{what}",
        )
        sale = await vend_credit(
            scene.database, request, at=scene.wall(), operator=scene.operator.name
        )
        return sale.order_id

    async def _order(self, order_id: OrderId) -> tuple[CreditOrder, tuple[OrderStep, ...]]:
        organisation_id = self._account.organisation_id
        async with self.scene.look() as (uow, _):
            order = await uow.orders.get(organisation_id, order_id)
            return order, tuple(await uow.orders.steps(organisation_id, order_id))

    async def _settled(self, order_id: OrderId) -> None:
        while True:
            order, _ = await self._order(order_id)
            if order.state is OrderState.CONFIRMED:
                return
            if order.settled or order.state is OrderState.CONFLICT:
                raise NotAsToldError(f"order {order.state}: {order.outcome}")

    async def _compare(self, amount: str) -> str:
        """See on the meter itself that it took a purchase, and took it once."""
        before, after = self._before, await self.scene.device(HOME).read_credit()
        taken = after.purchase_count - before.purchase_count
        if before.total_purchased is None or after.total_purchased is None:
            raise NotAsToldError("the meter does not tell what it was sold")
        bought = after.total_purchased - before.total_purchased
        if taken != 1 or bought != Decimal(amount):
            raise NotAsToldError(f"the meter took {bought} in {taken} purchases")
        return f"count {before.purchase_count} to {after.purchase_count}, total {bought} more"
