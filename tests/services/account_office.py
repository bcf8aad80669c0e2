"""An office that opens and closes accounts; its meters are simulated DTSY1352."""

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.conftest import Estate, make_estate, store_estate
from tests.domain.tariff_samples import FLAT
from tests.services.till import approve, balances_by_kind, cashier_and_manager
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.db.tariff_versions import PublishedTariff
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account
from meterplex.domain.approvals import ApprovalId, ApprovalKind
from meterplex.domain.charges import TariffVersionId
from meterplex.domain.estate import Binding, BindingId, Meter, UsagePoint, UsagePointId
from meterplex.domain.ledger import LedgerAccount
from meterplex.domain.operators import Operator
from meterplex.domain.prepayment import PrepaymentRules
from meterplex.domain.prepayment.credit_order import CreditOrder
from meterplex.domain.readings import Reading
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT, ELECTRICITY
from meterplex.headend import builtin_channels
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import MeterDriver
from meterplex.sdk.testing import TwinLink
from meterplex.services.accounts.customers import NewCustomer
from meterplex.services.accounts.open_account import (
    NewBinding,
    OpenAccount,
    OpenedAccount,
    open_account,
)
from meterplex.services.charging.charge_readings import charge_meters
from meterplex.services.orders.compare_counts import SeenWallet, compare_counts
from meterplex.services.orders.deliver_orders import OrderDelivery
from meterplex.services.orders.vend_credit import Sale, VendRequest, vend_credit
from meterplex.services.tariffs.document import tariff_digest, tariff_to_text
from meterplex_acrel_dtsy import models, plugin

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
"""Noon in Shanghai."""
YUAN = 10_000
ENERGY = ACTIVE_ENERGY_IMPORT.slug


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=2)
        return self.now

    def advance(self, **span: float) -> None:
        self.now += timedelta(**span)


@dataclass
class Office:
    """Three usage points ``p-1`` ... with a meter each, bound for nobody; a tariff is published."""

    database: Database
    estate: Estate
    plugins: PluginManager
    meters: tuple[Meter, ...]
    cashier: Operator
    manager: Operator
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.serials = [meter.serial for meter in self.meters]
        self.twins = [self._twin(serial) for serial in self.serials]
        self.links = [TwinLink(twin) for twin in self.twins]

    def _twin(self, serial: str) -> Any:
        model = models.dtsy1352()
        assert model.twin is not None
        settings = {
            each.name: each.default for each in model.twin_settings if each.default is not None
        }
        settings |= {"serial": serial, "remaining": "0", "purchase_count": "0"}
        twin: Any = model.twin("1", settings | {"count_checked": "true"}, 1)
        twin.advance(NOON)
        return twin

    def add_twin(self, serial: str) -> int:
        """Put a meter into service that the estate gets later; return its index."""
        self.serials.append(serial)
        self.twins.append(self._twin(serial))
        self.links.append(TwinLink(self.twins[-1]))
        return len(self.twins) - 1

    def driver(self, index: int) -> MeterDriver:
        return models.dtsy1352().driver(self.links[index], "1", {"count_checked": "true"})

    @property
    def organisation_id(self) -> Any:
        return self.estate.organisation.id

    # -- meters --------------------------------------------------------------------------------

    async def show(self, index: int, kwh: str) -> None:
        """Store a reading of a counter, as a head-end does."""
        self.clock.advance(minutes=30)
        meter, at = await self.meter(index), self.clock()
        reading = Reading(meter.id, ACTIVE_ENERGY_IMPORT, at, Decimal(kwh))
        async with self.database.unit_of_work() as uow:
            await uow.readings.store(self.organisation_id, [reading], received_at=at)
            await uow.commit()

    async def poll(self, index: int) -> None:
        """Read a meter, and do all that follows from it."""
        self.clock.advance(minutes=30)
        meter, at = await self.meter(index), self.clock()
        snapshot = await self.driver(index).read()
        assert snapshot.credit is not None
        readings = [Reading(meter.id, each.register, at, each.value) for each in snapshot.values]
        async with self.database.unit_of_work() as uow:
            await uow.readings.store(self.organisation_id, readings, received_at=at)
            await uow.commit()
        seen = SeenWallet(meter, at, snapshot.credit)
        await compare_counts(self.database, self.organisation_id, [seen], PrepaymentRules())
        await charge_meters(self.database, self.organisation_id, [meter.id], self.clock())

    async def meter(self, index: int) -> Meter:
        serial = self.serials[index]
        async with self.database.unit_of_work(read_only=True) as uow:
            meter = await uow.meters.by_serial(self.organisation_id, serial)
        assert meter is not None
        return meter

    async def deliver(self, index: int) -> None:
        """Deliver what is due to a meter, until nothing is."""
        delivery = OrderDelivery(self.database, self.clock)
        meter = await self.meter(index)
        for _ in range(10):
            self.clock.advance(minutes=31)
            due = [each for each in await delivery.due() if await self._goes_to(each, meter)]
            if not due:
                return
            for order in due:
                await delivery.attempt(order, self.driver(index))

    async def _goes_to(self, order: CreditOrder, meter: Meter) -> bool:
        assert order.binding_id is not None
        async with self.database.unit_of_work(read_only=True) as uow:
            binding = await uow.bindings.get(self.organisation_id, order.binding_id)
        return binding.meter_id == meter.id

    # -- accounts ------------------------------------------------------------------------------

    def wanted(self, number: str = "A-1", *points: str, **more: Any) -> OpenAccount:
        values: dict[str, Any] = {
            "organisation_id": self.organisation_id,
            "site": "east",
            "number": number,
            "customer": NewCustomer(f"C-{number}", "Li Na", "13800138000"),
            "mode": AccountMode.PREPAID_SERVER,
            "tariff": "flat",
            "bindings": tuple(NewBinding(point) for point in points or ("p-1",)),
        }
        return OpenAccount(**values | more)

    async def open(self, number: str = "A-1", *points: str, **more: Any) -> OpenedAccount:
        wanted = self.wanted(number, *points, **more)
        return await open_account(
            self.database, self.plugins, wanted, at=self.clock(), operator="cashier"
        )

    async def vend(self, account: Account, yuan: int, key: str = "k-1", **more: Any) -> Sale:
        request = VendRequest(self.organisation_id, account.id, yuan * YUAN, key, **more)
        return await vend_credit(self.database, request, at=self.clock(), operator="cashier")

    async def account(self, account: Account) -> Account:
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.accounts.get(self.organisation_id, account.id)

    async def bindings(self, index: int) -> tuple[Binding, ...]:
        """All bindings that a meter ever was in."""
        meter = await self.meter(index)
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.bindings.of_meter(self.organisation_id, meter.id)

    async def orders(self, account: Account) -> tuple[CreditOrder, ...]:
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.orders.of_account(self.organisation_id, account.id)

    async def balance(self, name: LedgerAccount) -> int:
        async with self.database.unit_of_work(read_only=True) as uow:
            return (await uow.ledger.balances(self.organisation_id, "CNY", [name]))[name]

    async def balances(self) -> Mapping[str, int]:
        """All balances that are not zero, by kind, in ledger units; the books are right."""
        return await balances_by_kind(self.database, self.organisation_id)

    async def approve(self, kind: ApprovalKind, content: dict[str, Any]) -> ApprovalId:
        """Have the manager allow what the cashier asks for."""
        return await approve(
            self.database,
            self.cashier,
            self.manager,
            kind,
            content,
            site_id=self.estate.site.id,
            at=self.clock(),
        )


async def open_office(database: Database, estate: Estate) -> Office:
    """Store usage points, operators and a tariff beside an estate."""
    organisation_id, site = estate.organisation.id, estate.site
    meters = tuple(replace(meter, model="acrel_dtsy1352") for meter in estate.meters)
    points = [
        UsagePoint(UsagePointId(uuid7()), organisation_id, site.id, f"p-{number}", ELECTRICITY)
        for number in range(1, len(meters) + 1)
    ]
    bindings = [
        Binding(BindingId(uuid7()), organisation_id, meter.id, point.id, NOON - timedelta(days=9))
        for meter, point in zip(meters, points, strict=True)
    ]
    cashier, manager = cashier_and_manager(organisation_id, NOON)
    tariff = PublishedTariff(
        id=TariffVersionId(uuid7()),
        organisation_id=organisation_id,
        code=FLAT.id,
        version=FLAT.version,
        utility=FLAT.utility,
        currency=FLAT.currency,
        valid_from=FLAT.valid_from,
        document=tariff_to_text(FLAT),
        sha256=tariff_digest(FLAT),
        published_at=NOON,
        published_by="test",
    )
    async with database.unit_of_work() as uow:
        for meter in meters:
            await uow.meters.replace(meter)
        await uow.usage_points.add_all(points)
        await uow.bindings.add_all(bindings)
        for each in (cashier, manager):
            await uow.operators.add(each, "no password")
        await uow.tariff_versions.add(tariff)
        await uow.commit()
    plugins = PluginManager.load((builtin_channels, plugin), ())
    return Office(database, estate, plugins, meters, cashier, manager)


@asynccontextmanager
async def sqlite_office(template: Path, folder: Path) -> AsyncIterator[Office]:
    """An office in a new SQLite file, for what does not depend on the kind of database."""
    file = shutil.copy(template, folder / f"{uuid7()}.db")
    async with await Database.open(f"sqlite:///{file}") as database:
        estate = make_estate()
        await store_estate(database, estate)
        yield await open_office(database, estate)
