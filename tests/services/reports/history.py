"""A property group with two sites in different zones, and random histories of its money."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from tests.conftest import Estate
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, Category, Customer, CustomerId
from meterplex.domain.estate import (
    AccountId,
    Binding,
    BindingId,
    OrganisationId,
    Site,
    SiteId,
    UsagePoint,
    UsagePointId,
)
from meterplex.domain.ledger import (
    BROUGHT_IN,
    Entry,
    EntryId,
    EntryKind,
    LedgerAccount,
    LedgerKind,
    Posting,
    cash,
    changes,
    customer,
    in_meter,
    period_of,
    receivable,
    refund_payable,
    revenue,
    reverse,
    transit,
)
from meterplex.domain.registers import ELECTRICITY
from meterplex.services.reports import ReportScope

START = datetime(2026, 3, 1, tzinfo=UTC)
OWN = (LedgerKind.CUSTOMER, LedgerKind.TRANSIT, LedgerKind.METER, LedgerKind.RECEIVABLE)


@dataclass(frozen=True, slots=True)
class Tenant:
    """An account with one meter."""

    account: Account
    site: Site
    binding: Binding

    @property
    def local(self) -> ZoneInfo:
        return ZoneInfo(self.site.time_zone)

    def position(self, balances: dict[LedgerAccount, int]) -> int:
        """What it has, less what it owes."""
        owners = (str(self.account.id), str(self.binding.id))
        return sum(
            units
            for ledger, units in balances.items()
            if ledger.kind in OWN and ledger.subject.startswith(owners)
        )


@dataclass
class Group:
    """Two sites (Shanghai, Berlin), tenants at both, and all entries that were booked."""

    database: Database
    organisation_id: OrganisationId
    sites: tuple[Site, ...]
    tenants: tuple[Tenant, ...]
    entries: list[Entry] = field(default_factory=list)

    def scope(self, *sites: Site) -> ReportScope:
        return ReportScope(self.organisation_id, sites or self.sites)

    def tenant_of(self, entry: Entry) -> Tenant:
        return next(each for each in self.tenants if each.account.id == entry.account_id)

    def day_of(self, entry: Entry) -> date:
        return entry.booked_at.astimezone(self.tenant_of(entry).local).date()

    def entry(
        self,
        tenant: Tenant,
        kind: EntryKind,
        *postings: Posting,
        at: datetime = START,
        operator: str = "anna",
    ) -> Entry:
        return Entry(
            EntryId(uuid7()),
            self.organisation_id,
            kind,
            "CNY",
            at,
            period_of(at.astimezone(tenant.local).date()),
            postings,
            operator,
            tenant.account.id,
        )

    def opposite(self, entry: Entry, at: datetime) -> Entry:
        period = period_of(at.astimezone(self.tenant_of(entry).local).date())
        return reverse(entry, EntryId(uuid7()), at, period, "boris")

    async def book(self, *entries: Entry) -> None:
        async with self.database.unit_of_work() as uow:
            await uow.ledger.add_all(entries)
            await uow.commit()
        self.entries += entries

    def balances(self, until: datetime | None = None) -> dict[LedgerAccount, int]:
        """The balances by all entries before a time, reckoned here."""
        told = (entry for entry in self.entries if until is None or entry.booked_at < until)
        return dict(changes(posting for entry in told for posting in entry.postings))


async def settle_in(database: Database, estate: Estate, tenants: int = 4) -> Group:
    """Store the second site and the tenants, at the sites in turn."""
    organisation_id = estate.organisation.id
    abroad = replace(
        estate.site, id=SiteId(uuid7()), code="west", name="West", time_zone="Europe/Berlin"
    )
    sites = (estate.site, abroad)
    made = [_tenant(organisation_id, sites[at % 2], estate, at) for at in range(tenants)]
    async with database.unit_of_work() as uow:
        await uow.sites.add(abroad)
        for owner, tenant, point in made:
            await uow.customers.add(owner)
            await uow.accounts.add(tenant.account)
            await uow.usage_points.add(point)
            await uow.bindings.add(tenant.binding)
        await uow.commit()
    return Group(database, organisation_id, sites, tuple(tenant for _, tenant, _ in made))


def _tenant(
    organisation_id: OrganisationId, site: Site, estate: Estate, at: int
) -> tuple[Customer, Tenant, UsagePoint]:
    owner = Customer(CustomerId(uuid7()), organisation_id, f"c-{at}", f"Tenant {at}")
    mode = AccountMode.PREPAID_METER if at % 3 == 2 else AccountMode.PREPAID_SERVER
    account = Account(
        AccountId(uuid7()), organisation_id, site.id, owner.id, f"a-{at}", mode, "CNY", START
    )
    point = UsagePoint(UsagePointId(uuid7()), organisation_id, site.id, f"p-{at}", ELECTRICITY)
    binding = Binding(
        BindingId(uuid7()),
        organisation_id,
        estate.meters[at % len(estate.meters)].id,
        point.id,
        since=START + timedelta(hours=at),
        until=None if at < len(estate.meters) else START + timedelta(hours=at + 1),
        account_id=account.id,
        mode=mode,
    )
    return owner, Tenant(account, site, binding), point


async def live(group: Group, random: Random, steps: int) -> None:
    """Let money move at random: payments, deliveries, charges, refunds, payouts, reversals."""
    at = START
    payments: list[Entry] = []
    planned = Group(group.database, group.organisation_id, group.sites, group.tenants)
    for _ in range(steps):
        at += timedelta(minutes=random.randint(1, 1_500))
        tenant = random.choice(group.tenants)
        if payments and random.random() < 0.15:
            wrong = payments.pop(random.randrange(len(payments)))
            planned.entries.append(planned.opposite(wrong, at))
            continue
        kind, postings = random.choice([*_moves(planned, tenant, random)])
        operator = random.choice(("anna", "boris", "terminal-1"))
        entry = planned.entry(tenant, kind, *postings, at=at, operator=operator)
        planned.entries.append(entry)
        if kind is EntryKind.PAYMENT and random.random() < 0.5:
            payments.append(entry)
    await group.book(*planned.entries)


def _moves(
    group: Group, tenant: Tenant, random: Random
) -> Iterator[tuple[EntryKind, tuple[Posting, ...]]]:
    """Yield what may happen to a tenant now."""
    balances = group.balances()
    account, binding = tenant.account.id, tenant.binding.id
    wallet, meter, on_way = customer(account), in_meter(binding), transit(binding)
    payable, till = refund_payable(account), cash(random.choice(("cash", "bank")))
    owed = receivable(account, random.choice((Category.UTILITY, Category.RENT)))
    amount = random.randint(1, 300) * 100
    credit = random.choice((wallet, meter))
    yield EntryKind.PAYMENT, (Posting(till, wallet, amount),)
    yield EntryKind.PAYMENT, (Posting(till, owed, amount), Posting(till, wallet, 2 * amount))
    yield EntryKind.OPENING, (Posting(BROUGHT_IN, credit, amount),)
    yield EntryKind.CHARGE, (Posting(credit, revenue("electricity"), amount - 37),)
    yield EntryKind.ADJUSTMENT, (Posting(revenue("electricity"), credit, amount // 2 + 1),)
    yield EntryKind.FEE, (Posting(owed, revenue("rent"), amount),)
    yield EntryKind.SETTLEMENT, (Posting(wallet, owed, amount),)
    yield EntryKind.REFUND, (Posting(wallet, payable, amount),)
    other = random.choice(group.tenants)
    if other is not tenant:
        yield EntryKind.TRANSFER, (Posting(wallet, customer(other.account.id), amount),)
    if (sent := balances.get(on_way, 0)) > 0:
        yield EntryKind.DELIVERY, (Posting(on_way, meter, sent),)
        yield EntryKind.VOID, (Posting(on_way, payable, sent),)
    if (due := balances.get(payable, 0)) > 0:
        yield EntryKind.PAYOUT, (Posting(payable, till, due),)
    if tenant.account.mode is AccountMode.PREPAID_METER:
        yield EntryKind.TRANSFER, (Posting(wallet, on_way, amount),)
