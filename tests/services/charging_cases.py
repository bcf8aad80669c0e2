"""A small estate with accounts, tariffs and readings, for tests of charging."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from tests.conftest import Estate
from tests.domain.tariff_samples import FLAT
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.db.accounts import BindingOpening
from meterplex.db.tariff_versions import PublishedTariff
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, AccountState, Customer, CustomerId
from meterplex.domain.charges import Charge, TariffVersionId
from meterplex.domain.estate import (
    AccountId,
    Binding,
    BindingId,
    MeterId,
    UsagePoint,
    UsagePointId,
)
from meterplex.domain.ledger import EntryKind, LedgerAccount, Posting, cash, customer
from meterplex.domain.readings import Reading, ReadingQuality, ReadingSource
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT, ELECTRICITY, RegisterType
from meterplex.domain.tariff import TariffVersion
from meterplex.services.books.book_entries import book, find_discrepancies
from meterplex.services.charging.charge_readings import ChargingOutcome, charge_meters
from meterplex.services.tariffs.document import tariff_digest, tariff_to_text

BEGIN = datetime(2026, 6, 30, 16, tzinfo=UTC)
"""Midnight of 1 July in Shanghai."""
HOUR = timedelta(hours=1)
OPENING = Decimal(100)


def new_id() -> UUID:
    return uuid7()


@dataclass(frozen=True, slots=True)
class Tenancy:
    """An account with one meter in service since ``BEGIN``, and the database that it is in."""

    database: Database
    estate: Estate
    account: Account
    binding: Binding

    @property
    def meter_id(self) -> MeterId:
        return self.binding.meter_id

    async def read(
        self,
        *values: tuple[float, str],
        quality: ReadingQuality = ReadingQuality.GOOD,
        register: RegisterType = ACTIVE_ENERGY_IMPORT,
        received: datetime | None = None,
        reason: str = "",
    ) -> None:
        """Store readings, each as hours since ``BEGIN`` and what the meter shows."""
        readings = [
            Reading(
                self.meter_id,
                register,
                BEGIN + hours * HOUR,
                Decimal(value),
                quality,
                ReadingSource.SCHEDULED,
                reason=reason,
            )
            for hours, value in values
        ]
        times = [each.read_at for each in readings]
        at = max(times) if received is None else received
        await self.database.make_partitions(min(times), max(times), now=at)
        async with self.database.unit_of_work() as uow:
            await uow.readings.store(self.account.organisation_id, readings, received_at=at)
            await uow.commit()

    async def charge(
        self, hours: float, since: float | None = None, **options: Any
    ) -> ChargingOutcome:
        return await charge_meters(
            self.database,
            self.account.organisation_id,
            [self.meter_id],
            BEGIN + hours * HOUR,
            since=None if since is None else BEGIN + since * HOUR,
            **options,
        )

    async def charges(self) -> tuple[Charge, ...]:
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.charges.of_account(self.account.organisation_id, self.account.id)

    async def balances(self) -> Mapping[LedgerAccount, int]:
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.ledger.trial_balance(self.account.organisation_id, "CNY")

    async def pay(self, amount_units: int, hours: float = 0) -> None:
        async with self.database.unit_of_work() as uow:
            await book(
                uow,
                self.estate.site,
                EntryKind.PAYMENT,
                [Posting(cash("cash"), customer(self.account.id), amount_units)],
                currency="CNY",
                at=BEGIN + hours * HOUR,
                operator="cashier",
                account=self.account,
            )
            await uow.commit()

    async def check_books(self) -> None:
        """See that the books are right, and that the charges are what the periods came to."""
        async with self.database.unit_of_work(read_only=True) as uow:
            organisation_id = self.account.organisation_id
            assert await find_discrepancies(uow, organisation_id) == ()
            charges = await uow.charges.of_binding(organisation_id, self.binding.id)
            periods = await uow.charges.periods(organisation_id, [self.binding.id])
            assert sum(charge.amount_units for charge in charges) == sum(
                period.amount_units for each in periods.values() for period in each
            )
            for charge in charges:
                assert charge.amount_units == sum(line["amount_units"] for line in charge.lines)
                assert charge.entry_id is not None or charge.amount_units == 0


async def publish(database: Database, estate: Estate, *versions: TariffVersion) -> None:
    async with database.unit_of_work() as uow:
        for version in versions:
            await uow.tariff_versions.add(
                PublishedTariff(
                    id=TariffVersionId(new_id()),
                    organisation_id=estate.organisation.id,
                    code=version.id,
                    version=version.version,
                    utility=version.utility,
                    currency=version.currency,
                    valid_from=version.valid_from,
                    document=tariff_to_text(version),
                    sha256=tariff_digest(version),
                    published_at=BEGIN,
                    published_by="test",
                )
            )
        await uow.commit()


async def move_in(
    database: Database,
    estate: Estate,
    *tariffs: TariffVersion,
    mode: AccountMode = AccountMode.PREPAID_SERVER,
    meter: int = 0,
    opening: Decimal = OPENING,
    register: RegisterType = ACTIVE_ENERGY_IMPORT,
    **more: Any,
) -> Tenancy:
    """Open an account for a meter; ``tariffs`` are published, the account has the first's code."""
    versions = tariffs or (FLAT,)
    if meter == 0:
        await publish(database, estate, *versions)
    organisation_id = estate.organisation.id
    someone = Customer(CustomerId(new_id()), organisation_id, f"C{meter}", "Li")
    of_binding = {name: more.pop(name) for name in ("ct", "pt", "price_override") if name in more}
    account = Account(
        AccountId(new_id()),
        organisation_id,
        estate.site.id,
        someone.id,
        f"A{meter}",
        mode,
        "CNY",
        BEGIN,
        tariff=versions[0].id,
        **more,
    )
    point = UsagePoint(
        UsagePointId(new_id()), organisation_id, estate.site.id, f"p{meter}", ELECTRICITY
    )
    binding = Binding(
        BindingId(new_id()),
        organisation_id,
        estate.meters[meter].id,
        point.id,
        BEGIN,
        account_id=account.id,
        mode=mode,
        **of_binding,
    )
    async with database.unit_of_work() as uow:
        await uow.customers.add(someone)
        await uow.accounts.add(account)
        await uow.usage_points.add(point)
        await uow.bindings.add(binding)
        await uow.binding_openings.add_all(
            [BindingOpening(organisation_id, binding.id, register, opening)]
        )
        await uow.commit()
    return Tenancy(database, estate, account, binding)


async def close_account(tenancy: Tenancy) -> None:
    async with tenancy.database.unit_of_work() as uow:
        await uow.accounts.replace(replace(tenancy.account, state=AccountState.CLOSED))
        await uow.commit()


def total(charges: Iterable[Charge]) -> int:
    return sum(charge.amount_units for charge in charges)


def july(day: int) -> date:
    return date(2026, 7, day)
