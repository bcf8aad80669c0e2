"""A shop whose balance is kept on the server: it runs out, is warned, cut, pays, and is back."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from meterplex.cli.demo.estate import SHOP, TENANT_METER
from meterplex.cli.demo.scene import CURRENCY, Scene
from meterplex.cli.demo.tariffs import shop_tariff
from meterplex.cli.demo.telling import Chapter, NotAsToldError
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account
from meterplex.domain.charges import Charge, ChargeKind
from meterplex.domain.commands import Command, CommandKind, CommandState
from meterplex.domain.estate import Meter, Site
from meterplex.domain.friendly_hours import Holidays, may_disconnect_at
from meterplex.domain.warnings import COUNTED, WarningLevel
from meterplex.services.accounts.customers import NewCustomer
from meterplex.services.accounts.open_account import NewBinding, OpenAccount, open_account
from meterplex.services.books.amounts import format_amount, parse_amount
from meterplex.services.charging.explain_charge import explain_charge, replay_charge
from meterplex.services.estate.site_policies import load_parameters, set_parameters
from meterplex.services.orders.vend_credit import Sale, VendRequest, vend_credit
from meterplex.services.supply.decide_supply import RULE
from meterplex.services.tariffs.publish_tariff import publish_tariff

ACCOUNT: Final = "SHOP-1"
FIRST_PURCHASE: Final = "6.00"
TOP_UP: Final = "30.00"
PARAMETERS: Final = {"alarm_1": "4.50", "alarm_2": "2.50", "warning_lead": "5m"}
"""Of the shop's site; all else, such as Mon-Fri 09:00-16:00 for disconnects, is the default."""


@dataclass(slots=True)
class Shop:
    """The chapter of the shop."""

    scene: Scene
    _account: Account = field(init=False)
    _meter: Meter = field(init=False)
    _warned_at: datetime = field(init=False)

    @property
    def chapter(self) -> Chapter:
        """What must happen."""
        lead = PARAMETERS["warning_lead"]
        return (
            (f"shop {ACCOUNT} opened, {FIRST_PURCHASE} {CURRENCY} paid first", self._opened),
            ("the shop's use charged by the time of day", self._charged),
            ("alarm 1 told to the shop", lambda: self._told(WarningLevel.ALARM_1)),
            ("alarm 2 told to the shop", lambda: self._told(WarningLevel.ALARM_2)),
            ("arrears told to the shop", lambda: self._told(WarningLevel.ARREARS)),
            (f"the shop disconnected, {lead} after that and from 09:00 on", self._disconnected),
            (f"the shop paid {TOP_UP} {CURRENCY} and is reconnected", self._reconnected),
            ("a charge of the shop explained, and made again", self._explained),
        )

    async def _opened(self) -> str:
        scene, bus = self.scene, self.scene.estate.bus(SHOP)
        self._meter = await scene.meter_read(bus.serial(TENANT_METER))
        database, organisation_id = scene.database, self._meter.organisation_id
        by, site = scene.operator.name, await self._site()
        await publish_tariff(database, organisation_id, shop_tariff(), at=scene.wall(), operator=by)
        await set_parameters(database, site, PARAMETERS, at=scene.wall(), operator=by)
        wanted = OpenAccount(
            organisation_id=organisation_id,
            site=site.code,
            number=ACCOUNT,
            customer=NewCustomer("C-1", "Mr Chen's Noodles", phone="13800138000"),
            mode=AccountMode.PREPAID_SERVER,
            tariff=shop_tariff().id,
            bindings=(NewBinding(bus.usage_point(TENANT_METER)),),
            purchase_units=parse_amount(FIRST_PURCHASE, CURRENCY, "purchase"),
        )
        opened = await open_account(database, scene.plugins, wanted, at=scene.wall(), operator=by)
        self._account = opened.account
        if opened.sale is None:
            raise NotAsToldError("opened without its first purchase")
        return _receipt(opened.sale)

    async def _site(self) -> Site:
        async with self.scene.database.unit_of_work(read_only=True) as uow:
            return await uow.sites.get(self._meter.organisation_id, self._meter.site_id)

    async def _top_up(self) -> Sale:
        scene = self.scene
        request = VendRequest(
            self._account.organisation_id,
            self._account.id,
            parse_amount(TOP_UP, CURRENCY, "amount"),
            idempotency_key=f"demo-{ACCOUNT}",
        )
        return await vend_credit(
            scene.database, request, at=scene.wall(), operator=scene.operator.name
        )

    async def _charged(self) -> str:
        charge = await self._newest_charge()
        bands = ", ".join(sorted({line["band"] for line in charge.lines if line.get("band")}))
        amount = format_amount(charge.amount_units, CURRENCY)
        return f"{charge.units.normalize():f} kWh at {bands}, {amount} {CURRENCY}"

    async def _newest_charge(self) -> Charge:
        account = self._account
        while True:
            async with self.scene.look() as (uow, _):
                charges = await uow.charges.of_account(account.organisation_id, account.id)
            rated = [
                each
                for each in charges
                if each.kind is ChargeKind.REGULAR and each.amount_units > 0
            ]
            if rated:
                return max(rated, key=lambda charge: charge.to_at)

    async def _told(self, level: WarningLevel) -> str:
        """Wait until a warning has left, and stands in the notifier's file."""
        account = self._account
        while True:
            async with self.scene.look() as (uow, _):
                warnings = await uow.warnings.of_episode(account.organisation_id, account.id)
                notices = await uow.notices.newest(
                    account.organisation_id, account_id=account.id, states=COUNTED
                )
            left = {each.level: each for each in warnings if each.state in COUNTED}
            if level not in left or (sent_at := left[level].sent_at) is None:
                continue
            with_it = {each.id for each in warnings if each.raised_at == left[level].raised_at}
            notice = next(each for each in notices if each.warning_id in with_it)
            if str(notice.id) not in self._in_file():
                raise NotAsToldError(f"notice {notice.id} is not in {self.scene.notices}")
            self._warned_at = sent_at
            return f"{self.scene.local(sent_at):%H:%M} {notice.text}"

    def _in_file(self) -> set[str]:
        lines = self.scene.notices.read_text("utf-8").splitlines()
        return {json.loads(line)["id"] for line in lines}

    async def _disconnected(self) -> str:
        command = await self._confirmed(CommandKind.DISCONNECT)
        assert command.sent_at is not None
        async with self.scene.look() as (uow, _):
            site = await uow.sites.get(self._meter.organisation_id, self._meter.site_id)
            policy = (await load_parameters(uow, site)).supply
        sent = self.scene.local(command.sent_at)
        if sent - self._warned_at < policy.warning_lead:
            raise NotAsToldError(f"sent {sent - self._warned_at} after the warning")
        if not may_disconnect_at(policy, sent, Holidays()):
            raise NotAsToldError(f"sent at {sent:%H:%M}, outside the window")
        await self._see(connected=False)
        warned = self.scene.local(self._warned_at)
        return f"warned {warned:%H:%M}, sent {sent:%H:%M}, its relay is open"

    async def _confirmed(self, kind: CommandKind) -> Command:
        """Wait until the rule's command was read back as done."""
        meter = self._meter
        while True:
            async with self.scene.look() as (uow, _):
                command = await uow.commands.newest_of_supply(meter.organisation_id, meter.id)
            if (
                command is not None
                and command.asked_by == RULE
                and command.kind is kind
                and command.state is CommandState.CONFIRMED
            ):
                return command

    async def _see(self, *, connected: bool) -> None:
        state = await self.scene.device(SHOP).read_supply()
        if state.connected is not connected:
            raise NotAsToldError(f"the meter itself says: {state}")

    async def _reconnected(self) -> str:
        paid_at = self.scene.wall()
        sale = await self._top_up()
        if not sale.receipt:
            raise NotAsToldError("no receipt was issued")
        command = await self._confirmed(CommandKind.RECONNECT)
        await self._see(connected=True)
        assert command.settled_at is not None
        return f"{_receipt(sale)}, relay closed {_minutes(command.settled_at - paid_at)} later"

    async def _explained(self) -> str:
        scene, organisation_id = self.scene, self._account.organisation_id
        charge = await self._newest_charge()
        told = await explain_charge(scene.database, organisation_id, charge.id)
        again = await replay_charge(scene.database, organisation_id, charge.id)
        start, end = told.readings
        if not again.same or start is None or end is None or told.entry is None:
            raise NotAsToldError(f"charge {charge.id} made again is {again.amount_units}")
        tariff = ", ".join(f"{each.code} v{each.version}" for each in told.tariffs.values())
        return (
            f"{start.value} to {end.value} kWh, {tariff}, "
            f"{format_amount(charge.amount_units, CURRENCY)} {CURRENCY}, the same again"
        )


def _receipt(sale: Sale) -> str:
    return f"receipt {sale.receipt}, balance {format_amount(sale.wallet_units, CURRENCY)}"


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:.1f} min"
