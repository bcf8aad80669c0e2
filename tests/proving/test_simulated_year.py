"""A leap year of readings, payments and arrears, in a zone with summer time and in one without.

Each day its readings come: some late, some doubled, some in another order. Every register's
charges must tile the year (I15), must be those that readings in order give (I16), and no disconnect
may be sent inside a protected hour (I17, D4), which is worked out here by itself.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from shutil import copy
from zoneinfo import ZoneInfo

import pytest
from tests.conftest import make_estate, store_estate
from tests.domain.tariff_samples import FLAT
from tests.proving.hits import WRITTEN
from tests.services.charging_cases import publish
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.db.notices import StoredWarning, WarningId
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.charges import Charge
from meterplex.domain.commands import Command, CommandId, CommandKind, CommandState
from meterplex.domain.estate import (
    AccountId,
    Binding,
    BindingId,
    Meter,
    Site,
    UsagePoint,
    UsagePointId,
)
from meterplex.domain.readings import Reading, ReadingSource
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT, ELECTRICITY
from meterplex.domain.warnings import WarningLevel, WarningState
from meterplex.plugin_manager import PluginManager
from meterplex.services.accounts.customers import NewCustomer
from meterplex.services.accounts.open_account import NewBinding, OpenAccount, open_account
from meterplex.services.books.book_entries import find_discrepancies
from meterplex.services.charging.charge_readings import charge_meters
from meterplex.services.estate.site_policies import set_holidays
from meterplex.services.metering.deliver_commands import CommandRows
from meterplex.services.metering.issue_commands import NOT_AFTER_MAX, write_commands
from meterplex.services.orders.vend_credit import VendRequest, vend_credit
from meterplex.services.supply.decide_supply import RULE
from meterplex.services.tariffs.book import TariffBook

YEAR = 2028
HOUR = timedelta(hours=1)
YUAN = 10_000
PRICE_UNITS = 5_000
"""Of a kWh, by the tariff's one price."""
HOLIDAYS = [date(YEAR, 1, 3), date(YEAR, 2, 29), date(YEAR, 5, 1), date(YEAR, 10, 3)]
"""Weekdays all, the leap day among them."""


def is_protected(local: datetime) -> bool:
    """Tell whether nobody may be switched off: by the words of the rule, not by its code."""
    weekend = local.isoweekday() in {6, 7}
    working = 9 <= local.hour < 16
    tomorrow = local.date() + timedelta(days=1)
    return weekend or not working or local.date() in HOLIDAYS or tomorrow in HOLIDAYS


@dataclass
class Year:
    """One household through a year."""

    database: Database
    plugins: PluginManager
    site: Site
    meter: Meter
    random: Random
    account_id: AccountId
    shown: Decimal = Decimal(1000)
    late: list[Reading] = field(default_factory=list)
    sent: list[datetime] = field(default_factory=list)
    refused: int = 0
    book: TariffBook = field(default_factory=TariffBook)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.site.time_zone)

    def midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)

    async def live(self, day: date) -> None:
        """Let a day of 23, 24 or 25 hours pass, try to switch off, and charge it."""
        begin, end = self.midnight(day), self.midnight(day + timedelta(days=1))
        moments = sorted(
            begin + self.random.random() * (end - begin) for _ in range(self.random.randint(1, 2))
        )
        for at in moments:
            await self._watch(at)
            await self._try_to_switch_off(at)
        await self._take_readings(begin, end)
        if self.random.random() < 0.3:
            await self._pay(end)

    async def _watch(self, at: datetime) -> None:
        """Note that the program was there all the time."""
        async with self.database.unit_of_work() as uow:
            system = await uow.breakers.lock_system()
            await uow.breakers.put(
                replace(system, seen_at=at, outage_ended_at=None, opened_at=None)
            )
            await uow.commit()

    async def _take_readings(self, begin: datetime, end: datetime) -> None:
        readings = []
        at = begin + HOUR
        while at <= end:
            self.shown += Decimal(self.random.randint(0, 400)) / 100
            readings.append(self._reading(at))
            at += HOUR
        come, self.late = [*self.late, *readings], []
        if self.random.random() < 0.2:
            kept = self.random.randrange(1, len(come))
            come, self.late = come[:kept], come[kept:]
        if self.random.random() < 0.3:
            self.random.shuffle(come)
        for part in (come[: len(come) // 2], come[len(come) // 2 :], come[:1]):
            if part:
                await self.store(part, end)
        await self.charge(end)

    async def store(self, readings: list[Reading], at: datetime) -> None:
        async with self.database.unit_of_work() as uow:
            await uow.readings.store(self.site.organisation_id, readings, received_at=at)
            await uow.commit()

    async def charge(self, at: datetime) -> None:
        ids = [self.meter.id]
        await charge_meters(self.database, self.site.organisation_id, ids, at, book=self.book)

    def _reading(self, at: datetime) -> Reading:
        return Reading(
            self.meter.id, ACTIVE_ENERGY_IMPORT, at, self.shown, source=ReadingSource.SCHEDULED
        )

    async def _pay(self, at: datetime) -> None:
        request = VendRequest(
            self.site.organisation_id,
            self.account_id,
            self.random.randint(1, 60) * YUAN,
            f"k-{at.isoformat()}",
        )
        await vend_credit(self.database, request, at=at, operator="cashier")

    async def _try_to_switch_off(self, at: datetime) -> None:
        command = Command(
            CommandId(uuid7()),
            self.site.organisation_id,
            self.meter.id,
            CommandKind.DISCONNECT,
            RULE,
            at,
            at + NOT_AFTER_MAX,
            cause="arrears",
        )
        async with self.database.unit_of_work() as uow:
            await write_commands(uow, [command])
            await uow.commit()
        rows = CommandRows(self.database, lambda: at)
        if not await rows.move(command, CommandState.SENT, ""):
            self.refused += 1
            return
        self.sent.append(at)
        sent = replace(command, state=CommandState.SENT)
        await rows.move(sent, CommandState.REFUSED, "the relay is stuck")


async def begin_year(database: Database, plugins: PluginManager, zone: str) -> Year:
    estate = make_estate(meters=1)
    site = replace(estate.site, time_zone=zone, reading_interval=timedelta(days=2))
    meter = replace(estate.meters[0], model="power_meter")
    estate = replace(estate, site=site, meters=(meter,))
    await store_estate(database, estate)
    tariff = replace(FLAT, time_zone=zone, valid_from=date(YEAR - 1, 1, 1))
    await publish(database, estate, tariff)
    begin = datetime(YEAR, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    await set_holidays(
        database,
        site,
        YEAR,
        dict.fromkeys(HOLIDAYS, "holiday"),
        at=begin,
        operator="manager",
    )
    point = UsagePoint(UsagePointId(uuid7()), site.organisation_id, site.id, "p-1", ELECTRICITY)
    binding = Binding(
        BindingId(uuid7()), site.organisation_id, meter.id, point.id, begin - timedelta(days=1)
    )
    async with database.unit_of_work() as uow:
        await uow.usage_points.add(point)
        await uow.bindings.add(binding)
        await uow.commit()
    readings = {"active_energy_import": Decimal(1000)}
    wanted = OpenAccount(
        site.organisation_id,
        site.code,
        "a-1",
        NewCustomer("c-1", "Li Na"),
        AccountMode.PREPAID_SERVER,
        tariff="flat",
        bindings=(NewBinding("p-1", readings=readings),),
    )
    opened = await open_account(database, plugins, wanted, at=begin, operator="manager")
    year = Year(database, plugins, site, meter, Random(zone), opened.account.id)
    await _warn(year, begin - timedelta(days=2))
    return year


async def _warn(year: Year, at: datetime) -> None:
    async with year.database.unit_of_work() as uow:
        await uow.warnings.add_all(
            StoredWarning(
                WarningId(uuid7()),
                year.site.organisation_id,
                year.account_id,
                None,
                level,
                at,
                0,
                at,
                WarningState.SENT,
                at,
            )
            for level in WarningLevel
        )
        await uow.commit()


def check_tiles(charges: list[Charge], begin: datetime, end: datetime) -> None:
    tiles = sorted(charges, key=lambda each: each.from_at)
    assert tiles[0].from_at == begin
    assert tiles[-1].to_at == end
    for one, following in pairwise(tiles):
        assert one.to_at == following.from_at


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Shanghai"])
async def test_year_is_charged_whole_and_nobody_is_cut_off_at_night(
    sqlite_template: Path, tmp_path: Path, plugins: PluginManager, zone: str
) -> None:
    path = copy(sqlite_template, tmp_path / "year.db")
    async with await Database.open(f"sqlite:///{path}") as database:
        year = await begin_year(database, plugins, zone)
        day = date(YEAR, 1, 1)
        while day.year == YEAR:
            await year.live(day)
            day += timedelta(days=1)
        end = year.midnight(day)
        if year.late:
            await year.store(year.late, end)
        await year.charge(end)
        async with database.unit_of_work(read_only=True) as uow:
            organisation_id = year.site.organisation_id
            assert await find_discrepancies(uow, organisation_id) == ()
            charges = list(await uow.charges.of_account(organisation_id, year.account_id))
    locals_ = [at.astimezone(year.zone) for at in year.sent]
    assert [each for each in locals_ if is_protected(each)] == []
    assert len(year.sent) > 20
    tiles = [each for each in charges if each.kind.value != "adjustment"]
    check_tiles(tiles, year.midnight(date(YEAR, 1, 1)), end)
    used = year.shown - 1000
    assert sum((each.units for each in charges), Decimal(0)) == used
    assert sum(each.amount_units for each in charges) == used * PRICE_UNITS
    WRITTEN.append(
        f"year in {zone}: {len(tiles)} charges without gap or overlap, "
        f"{len(year.sent)} disconnects sent, {year.refused} refused, none in a protected hour"
    )
