"""Where the demo's story happens: the program at work, its database, and the devices themselves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from meterplex.cli.demo.estate import TENANT_METER, TIME_ZONE, DemoEstate
from meterplex.db import Database, UnitOfWork
from meterplex.domain.accounts import Account
from meterplex.domain.estate import Meter, Organisation
from meterplex.domain.operators import Operator
from meterplex.headend.head_end import HeadEnd
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import MeterDriver
from meterplex.sdk.testing import TwinLink
from meterplex.services.accounts.balances import account_balance
from meterplex.services.accounts.find_accounts import open_bindings
from meterplex.services.books.amounts import format_amount

LOOK_S: Final = 0.5
CURRENCY: Final = "CNY"


@dataclass(frozen=True, slots=True)
class TenantView:
    """A tenant's account now, as text for the screen.

    Attributes:
        balance: on the server, or what the meter was last read to hold.
        orders: the newest first, each with its state.
        notice: the newest.
    """

    account: str
    balance: str
    supplied: bool
    orders: str
    notice: str


@dataclass(frozen=True, slots=True)
class Scene:
    """The program at work.

    Attributes:
        wall: the business time.
        notices: the file that the notifier writes.
    """

    database: Database
    plugins: PluginManager
    head_end: HeadEnd
    estate: DemoEstate
    operator: Operator
    wall: Callable[[], datetime]
    notices: Path

    def local(self, at: datetime | None = None) -> datetime:
        """Return a time, or the business time now, as the clocks at the sites show it."""
        return (at or self.wall()).astimezone(ZoneInfo(TIME_ZONE))

    @asynccontextmanager
    async def look(self) -> AsyncIterator[tuple[UnitOfWork, Organisation]]:
        """Look into the database, at most every :data:`LOOK_S`."""
        await asyncio.sleep(LOOK_S)
        async with self.database.unit_of_work(read_only=True) as uow:
            yield uow, (await uow.organisations.all())[0]

    async def meter_read(self, serial: str) -> Meter:
        """Return a meter once it was read."""
        while True:
            async with self.look() as (uow, organisation):
                meter = await uow.meters.by_serial(organisation.id, serial)
                read = await uow.readings.newest_times(organisation.id)
            if meter is not None and meter.id in read:
                return meter

    def device(self, code: str) -> MeterDriver:
        """Return a driver that asks a tenant's device itself: past line, head-end and database."""
        bus = self.estate.bus(code)
        twin = self.estate.simulated.buses[code].bus.twins[TENANT_METER]
        return self.plugins.make_driver(bus.model, TwinLink(twin), TENANT_METER, bus.settings)

    async def tenants(self) -> list[TenantView]:
        """Return the accounts that were opened so far."""
        async with self.database.unit_of_work(read_only=True) as uow:
            (organisation,) = await uow.organisations.all()
            accounts = await uow.accounts.all(organisation.id)
            return [await _view(uow, account) for account in accounts]


async def _view(uow: UnitOfWork, account: Account) -> TenantView:
    (binding,) = await open_bindings(uow, account)
    wallet = await uow.wallets.find(account.organisation_id, binding.id)
    units = (await account_balance(uow, account)).available_units
    if account.mode.in_meter and wallet is not None:
        units = wallet.remaining_units
    meter = await uow.meters.get(account.organisation_id, binding.meter_id)
    orders = await uow.orders.of_account(account.organisation_id, account.id)
    notices = await uow.notices.newest(account.organisation_id, account_id=account.id, limit=1)
    return TenantView(
        account.number,
        format_amount(units, account.currency),
        not meter.flags & {"supply_off", "supply_forced_off"},
        ", ".join(
            f"{format_amount(order.amount_units, order.currency)} {order.state}"
            for order in sorted(orders, key=lambda order: order.created_at, reverse=True)
        ),
        notices[0].text if notices else "",
    )
