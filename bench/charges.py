"""Charges on PostgreSQL: many accounts in one transaction, against an ORM charge by charge.

Both sides turn new readings into booked charges with the same tariff engine, and write the same
rows. The ORM does it as an ordinary application would: for each binding it loads account, tariff,
holds, how far it is charged and the readings of the period, rates the period so far, adds charge,
entry, posting and what is to follow, moves the balances, and commits. The server syncs to disk.
"""

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from statistics import median
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from tests.conftest import Estate, PostgresCluster, make_estate, store_estate
from tests.domain.tariff_samples import FLAT
from uuid_utils.compat import uuid7

from bench.figures import Figure
from bench.ingest import postgres_bin_dir
from meterplex.db import Database, migrations, money_tables, tables
from meterplex.db.accounts import BindingOpening
from meterplex.db.database import driver_url
from meterplex.db.tariff_versions import PublishedTariff
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, Customer, CustomerId
from meterplex.domain.charges import ChargeKind, HoldState, TariffVersionId
from meterplex.domain.estate import (
    AccountId,
    Binding,
    BindingId,
    MeterId,
    UsagePoint,
    UsagePointId,
)
from meterplex.domain.ledger import EntryKind, LedgerKind
from meterplex.domain.readings import Reading
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT, ELECTRICITY
from meterplex.domain.tariff import Bill, ChargeLine, Interval, Rater, Usage, charges_since
from meterplex.services.accounts.messages import SUPPLY
from meterplex.services.books.book_entries import find_discrepancies
from meterplex.services.charging.charge_readings import charge_meters
from meterplex.services.tariffs.book import TariffBook
from meterplex.services.tariffs.document import (
    lines_from_json,
    lines_to_json,
    tariff_digest,
    tariff_from_text,
    tariff_to_text,
)

BEGIN = datetime(2026, 6, 30, 16, tzinfo=UTC)
METERS = 4_000
ORM_METERS = 100
TRIALS = 3
HALF_HOUR = timedelta(minutes=30)
OPENING = Decimal(100)
PER_READING = Decimal("1.234")
TARIFF = FLAT


class Base(DeclarativeBase):
    metadata = tables.metadata


def row_class(table: sa.Table) -> Any:
    """Return a class whose objects are rows of a table; its attributes are the columns."""
    return type(f"{table.name}_row", (Base,), {"__table__": table})


AccountRow = row_class(money_tables.account)
BindingRow = row_class(tables.binding)
OpeningRow = row_class(money_tables.binding_opening)
TariffRow = row_class(money_tables.tariff_version)
LedgerAccountRow = row_class(money_tables.ledger_account)
ReadingRow = row_class(tables.reading)
HoldRow = row_class(money_tables.reading_hold)
ChargedRegisterRow = row_class(money_tables.charged_register)
ChargedPeriodRow = row_class(money_tables.charged_period)
ChargeRow = row_class(money_tables.charge)
EntryRow = row_class(money_tables.ledger_entry)
PostingRow = row_class(money_tables.ledger_posting)
MessageRow = row_class(money_tables.outbox)


@dataclass(frozen=True, slots=True)
class Tenancies:
    """Accounts with one meter each, all under one tariff."""

    estate: Estate
    accounts: Sequence[Account]
    bindings: Sequence[Binding]
    tariff_version_id: TariffVersionId


def tenancies(meters: int) -> Tenancies:
    estate = make_estate(meters=meters)
    organisation_id = estate.organisation.id
    accounts = [
        Account(
            AccountId(uuid7()),
            organisation_id,
            estate.site.id,
            CustomerId(uuid7()),
            str(number),
            AccountMode.PREPAID_SERVER,
            "CNY",
            BEGIN,
            tariff=TARIFF.id,
        )
        for number in range(meters)
    ]
    bindings = [
        Binding(
            BindingId(uuid7()),
            organisation_id,
            meter.id,
            UsagePointId(uuid7()),
            BEGIN,
            account_id=account.id,
            mode=AccountMode.PREPAID_SERVER,
        )
        for account, meter in zip(accounts, estate.meters, strict=True)
    ]
    return Tenancies(estate, accounts, bindings, TariffVersionId(uuid7()))


async def store(database: Database, all_of: Tenancies) -> None:
    organisation_id = all_of.estate.organisation.id
    await store_estate(database, all_of.estate)
    async with database.unit_of_work() as uow:
        await uow.customers.add_all(
            Customer(each.customer_id, organisation_id, each.number, "Li")
            for each in all_of.accounts
        )
        await uow.accounts.add_all(all_of.accounts)
        await uow.usage_points.add_all(
            UsagePoint(
                each.usage_point_id,
                organisation_id,
                all_of.estate.site.id,
                str(number),
                ELECTRICITY,
            )
            for number, each in enumerate(all_of.bindings)
        )
        await uow.bindings.add_all(all_of.bindings)
        await uow.binding_openings.add_all(
            BindingOpening(organisation_id, each.id, ACTIVE_ENERGY_IMPORT, OPENING)
            for each in all_of.bindings
        )
        await uow.tariff_versions.add(
            PublishedTariff(
                id=all_of.tariff_version_id,
                organisation_id=organisation_id,
                code=TARIFF.id,
                version=1,
                utility=ELECTRICITY,
                currency="CNY",
                valid_from=date(2026, 1, 1),
                document=tariff_to_text(TARIFF),
                sha256=tariff_digest(TARIFF),
                published_at=BEGIN,
                published_by="bench",
            )
        )
        await uow.commit()


async def read(database: Database, meter_ids: Sequence[MeterId], organisation: Any, n: int) -> None:
    """Store the n-th reading of meters, counted from 1."""
    at = BEGIN + n * HALF_HOUR
    value = OPENING + n * PER_READING
    readings = [Reading(meter, ACTIVE_ENERGY_IMPORT, at, value) for meter in meter_ids]
    async with database.unit_of_work() as uow:
        await uow.readings.store(organisation.id, readings, received_at=at)
        await uow.commit()


async def ours(database: Database, all_of: Tenancies, book: TariffBook, n: int) -> float:
    """Return charges per second for the n-th readings."""
    at = BEGIN + n * HALF_HOUR
    ids = [meter.id for meter in all_of.estate.meters]
    await read(database, ids, all_of.estate.organisation, n)
    started = time.perf_counter()
    done = await charge_meters(
        database, all_of.estate.organisation.id, ids, at, since=at, book=book
    )
    elapsed = time.perf_counter() - started
    assert len(done.charges) == len(ids), f"{len(done.charges)} charges"
    return len(done.charges) / elapsed


class Orm:
    """An ordinary application: one session and commit for each charge."""

    def __init__(self, url: str, all_of: Tenancies, register_id: int) -> None:
        self.engine = create_async_engine(driver_url(url))
        self.organisation_id = all_of.estate.organisation.id
        self.all_of = all_of
        self.register_id = register_id
        self.raters: dict[str, Rater] = {}

    async def charge_all(self, count: int, n: int) -> float:
        """Return charges per second for the n-th readings of the first meters."""
        started = time.perf_counter()
        for binding in self.all_of.bindings[:count]:
            await self.charge(binding.id, BEGIN + n * HALF_HOUR)
        return count / (time.perf_counter() - started)

    async def charge(self, binding_id: BindingId, at: datetime) -> None:
        of = self.organisation_id
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            binding = await session.get_one(BindingRow, (of, binding_id))
            account = await session.get_one(
                AccountRow, (of, binding.account_id), with_for_update=True
            )
            key = of, binding_id, self.register_id
            opening = await session.get_one(OpeningRow, key)
            charged = await session.get(ChargedRegisterRow, key)
            if await self.held(session, binding_id):
                return
            tariff = await self.tariff(session, account.tariff)
            readings = await self.readings(session, binding)
            shown = [(binding.since, opening.opening_value)]
            shown += [
                (each.read_at, ACTIVE_ENERGY_IMPORT.from_steps(each.value)) for each in readings
            ]
            bill = self.rate(tariff, shown)
            before = shown[0] if charged is None else (charged.until, charged.value)
            lines = await self.period(session, binding, tariff, bill)
            amount = sum(line.amount_units for line in lines)
            entry_id = await self.post(session, account, amount, at)
            session.add(
                ChargeRow(
                    organisation_id=of,
                    id=uuid7(),
                    account_id=account.id,
                    binding_id=binding_id,
                    register_id=self.register_id,
                    kind=ChargeKind.REGULAR,
                    from_at=before[0],
                    to_at=at,
                    from_value=before[1],
                    to_value=shown[-1][1],
                    units=shown[-1][1] - before[1],
                    amount_units=amount,
                    booked_at=at,
                    tariff_version_id=tariff.id,
                    lines=lines_to_json(lines),
                    entry_id=entry_id,
                    reason="",
                )
            )
            if charged is None:
                charged = ChargedRegisterRow(
                    organisation_id=of, binding_id=binding_id, register_id=self.register_id
                )
                session.add(charged)
            charged.until, charged.value = shown[-1]
            charged.units = shown[-1][1] - opening.opening_value
            charged.booked_at = at
            session.add(
                MessageRow(
                    organisation_id=of,
                    id=uuid7(),
                    topic=SUPPLY,
                    subject=str(account.id),
                    payload={},
                    created_at=at,
                    due_at=at,
                    attempts=0,
                    last_error="",
                )
            )
            await session.commit()

    async def held(self, session: AsyncSession, binding_id: BindingId) -> bool:
        """Return whether readings of a binding wait for a decision."""
        found = await session.scalars(
            sa.select(HoldRow).where(
                HoldRow.organisation_id == self.organisation_id,
                HoldRow.binding_id == binding_id,
                HoldRow.state == HoldState.OPEN,
            )
        )
        return found.first() is not None

    async def tariff(self, session: AsyncSession, code: str) -> Any:
        found = await session.scalars(
            sa.select(TariffRow).where(
                TariffRow.organisation_id == self.organisation_id, TariffRow.code == code
            )
        )
        return found.one()

    async def readings(self, session: AsyncSession, binding: Any) -> Sequence[Any]:
        found = await session.scalars(
            sa.select(ReadingRow)
            .where(
                ReadingRow.organisation_id == self.organisation_id,
                ReadingRow.meter_id == binding.meter_id,
                ReadingRow.register_id == self.register_id,
                ReadingRow.read_at > binding.since,
            )
            .order_by(ReadingRow.read_at)
        )
        return found.all()

    async def period(
        self, session: AsyncSession, binding: Any, tariff: Any, bill: Bill
    ) -> Sequence[ChargeLine]:
        """Return what a bill adds to what its period was charged, and note what it is now."""
        key = self.organisation_id, binding.id, self.register_id, tariff.id, BEGIN
        period = await session.get(ChargedPeriodRow, key)
        charged = () if period is None else lines_from_json(period.lines, TARIFF.time_zone)
        if period is None:
            names = ChargedPeriodRow.__table__.primary_key.columns.keys()
            period = ChargedPeriodRow(
                **dict(zip(names, key, strict=True)),
                anchor_at=BEGIN,
                anchor_value=OPENING,
                anchor_units=Decimal(0),
            )
            session.add(period)
        period.lines = lines_to_json(bill.lines)
        period.amount_units = bill.total_units
        return charges_since(charged, bill)

    def rate(self, tariff: Any, shown: Sequence[tuple[datetime, Decimal]]) -> Bill:
        """Return the bill of what a counter showed so far."""
        rater = self.raters.get(tariff.sha256)
        if rater is None:
            rater = self.raters[tariff.sha256] = Rater(tariff_from_text(tariff.document))
        intervals = [
            Interval(one[0], other[0], other[1] - one[1]) for one, other in pairwise(shown)
        ]
        return rater.rate(Usage.of(intervals, service=(BEGIN, shown[-1][0]))).bills[0]

    async def post(self, session: AsyncSession, account: Any, amount: int, at: datetime) -> Any:
        owed = await self.ledger_account(session, LedgerKind.RECEIVABLE, f"{account.id}/utility")
        revenue = await self.ledger_account(session, LedgerKind.REVENUE, ELECTRICITY)
        entry = EntryRow(
            organisation_id=self.organisation_id,
            id=uuid7(),
            kind=EntryKind.CHARGE,
            currency="CNY",
            booked_at=at,
            period=date(2026, 7, 1),
            operator="orm",
            account_id=account.id,
            memo="electricity",
        )
        session.add(entry)
        await session.flush()
        session.add(
            PostingRow(
                organisation_id=self.organisation_id,
                entry_id=entry.id,
                position=0,
                debit_id=owed.id,
                credit_id=revenue.id,
                currency="CNY",
                amount_units=amount,
            )
        )
        owed.balance_units -= amount
        revenue.balance_units += amount
        await session.flush()
        return entry.id

    async def ledger_account(self, session: AsyncSession, kind: LedgerKind, subject: str) -> Any:
        found = (
            await session.scalars(
                sa.select(LedgerAccountRow)
                .where(
                    LedgerAccountRow.organisation_id == self.organisation_id,
                    LedgerAccountRow.kind == kind,
                    LedgerAccountRow.subject == subject,
                    LedgerAccountRow.currency == "CNY",
                )
                .with_for_update()
            )
        ).one_or_none()
        if found is None:
            found = LedgerAccountRow(
                organisation_id=self.organisation_id,
                id=uuid7(),
                kind=kind,
                subject=subject,
                currency="CNY",
                balance_units=0,
            )
            session.add(found)
            await session.flush()
        return found


async def measure(
    cluster: PostgresCluster, meters: int, orm_meters: int, trials: int
) -> dict[str, float]:
    """Return charges per second of both sides; the books of both are checked."""
    rates: dict[str, list[float]] = {"ours": [], "orm": []}
    urls = [cluster.url(await cluster.create_database()) for _ in rates]
    ours_of, orm_of = tenancies(meters), tenancies(orm_meters)
    for url in urls:
        await migrations.upgrade(url)
    async with await Database.open(urls[0]) as database, await Database.open(urls[1]) as other:
        await store(database, ours_of)
        await store(other, orm_of)
        for each in (database, other):
            await each.make_partitions(BEGIN, BEGIN + timedelta(days=2), now=BEGIN)
        async with other.unit_of_work() as uow:
            register = await uow.registers.ensure([ACTIVE_ENERGY_IMPORT])
        orm = Orm(urls[1], orm_of, register[ACTIVE_ENERGY_IMPORT.slug])
        book = TariffBook()
        gc.collect()
        gc.freeze()  # as after the start of a program: what is loaded is not looked at again
        for n in range(trials + 1):  # the first makes the ledger accounts of all
            mine = await ours(database, ours_of, book, n + 1)
            ids = [meter.id for meter in orm_of.estate.meters]
            await read(other, ids, orm_of.estate.organisation, n + 1)
            theirs = await orm.charge_all(orm_meters, n + 1)
            if n:
                rates["ours"].append(mine)
                rates["orm"].append(theirs)
        gc.unfreeze()
        await orm.engine.dispose()
        for each, who in ((database, ours_of), (other, orm_of)):
            async with each.unit_of_work(read_only=True) as uow:
                problems = await find_discrepancies(uow, who.estate.organisation.id)
                assert not problems, problems[0]
    return {name: median(values) for name, values in rates.items()}


def run(meters: int = METERS, orm_meters: int = ORM_METERS, trials: int = TRIALS) -> list[Figure]:
    cluster = PostgresCluster(postgres_bin_dir(), durable=True)
    cluster.start()
    try:
        rates = asyncio.run(measure(cluster, meters, orm_meters, trials))
    finally:
        cluster.stop()
    return [
        Figure(
            "charges, set-based against the ORM",
            rates["ours"] / rates["orm"],
            "x",
            at_least=100,
            detail=f"ours {rates['ours']:,.0f}/s, ORM {rates['orm']:,.0f}/s; {meters:,} charges "
            "a call, books exact",
        )
    ]
