"""Arrears by age, bills by month, shares, lists of accounts and what runs low."""

from datetime import date, datetime, timedelta
from random import Random
from typing import Any

import pytest
from tests.conftest import Estate
from tests.services.reports.history import START, Group, Tenant, live, settle_in
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.domain.accounts import AccountState, Category
from meterplex.domain.bills import BillId, IssuedBill, ShareRun, ShareRunId
from meterplex.domain.ledger import (
    BROUGHT_IN,
    EntryKind,
    LedgerKind,
    Posting,
    customer,
    in_meter,
    receivable,
    revenue,
)
from meterplex.domain.reports import Arrears, Billed, Position, Shared
from meterplex.domain.sharing import SharingBasis
from meterplex.domain.warnings import WarningLevel
from meterplex.services.reports import (
    ReportDays,
    ReportScope,
    age_receivables,
    bills_by_month,
    list_accounts,
    low_balances,
    shared_costs,
)

YUAN = 10_000
NOON = datetime.fromisoformat("2026-06-15T12:00:00+08:00")
TODAY = date(2026, 6, 15)
YEAR = ReportDays(date(2026, 1, 1), date(2027, 1, 1))


@pytest.fixture
async def group(database: Database, estate: Estate) -> Group:
    return await settle_in(database, estate)


def bill(
    tenant: Tenant, number: str, yuan: int, *, paid: int = 0, due: date = TODAY, **more: Any
) -> IssuedBill:
    """A bill for April unless told otherwise."""
    fields: dict[str, Any] = {
        "id": BillId(uuid7()),
        "organisation_id": tenant.account.organisation_id,
        "site_id": tenant.site.id,
        "account_id": tenant.account.id,
        "number": number,
        "category": Category.UTILITY,
        "title": "electricity",
        "since": date(2026, 4, 1),
        "until": date(2026, 5, 1),
        "issued_at": START,
        "due_on": due,
        "currency": "CNY",
        "amount_units": yuan * YUAN,
        "paid_units": paid * YUAN,
        "lines": (),
    }
    return IssuedBill(**fields | more)


async def store(group: Group, *bills: IssuedBill) -> None:
    async with group.database.unit_of_work() as uow:
        await uow.bills.add_all(bills)
        await uow.commit()


async def owe(group: Group, tenant: Tenant, yuan: int) -> None:
    owed = receivable(tenant.account.id, Category.UTILITY)
    posting = Posting(owed, revenue("electricity"), yuan * YUAN)
    await group.book(group.entry(tenant, EntryKind.CHARGE, posting))


@pytest.mark.parametrize(
    ("days_late", "field"),
    [
        pytest.param(-1, "not_due_units", id="due-tomorrow"),
        pytest.param(0, "not_due_units", id="due-today"),
        pytest.param(1, "days_1_30_units", id="1"),
        pytest.param(30, "days_1_30_units", id="30"),
        pytest.param(31, "days_31_60_units", id="31"),
        pytest.param(60, "days_31_60_units", id="60"),
        pytest.param(61, "days_61_90_units", id="61"),
        pytest.param(90, "days_61_90_units", id="90"),
        pytest.param(91, "over_90_units", id="91"),
    ],
)
async def test_debts_age_from_their_due_date(group: Group, days_late: int, field: str) -> None:
    tenant = group.tenants[0]
    due = TODAY - timedelta(days=days_late)
    await store(group, bill(tenant, "B1", 50, paid=20, due=due), bill(tenant, "B2", 9, paid=9))
    await owe(group, tenant, 30)
    async with group.database.unit_of_work(read_only=True) as uow:
        (row,) = (await age_receivables(uow, group.scope(), at=NOON)).rows
    assert getattr(row.figures, field) == 30 * YUAN
    assert row.figures.owed_units == 30 * YUAN
    assert row.account == "a-0"


async def test_what_is_not_billed_is_told_apart(group: Group) -> None:
    billed, unbilled = group.tenants[:2]
    await store(group, bill(billed, "B1", 50, due=TODAY - timedelta(days=5)))
    await owe(group, billed, 57)
    await owe(group, unbilled, 4)
    async with group.database.unit_of_work(read_only=True) as uow:
        report = await age_receivables(uow, group.scope(), at=NOON)
    assert [row.figures for row in report.rows] == [
        Arrears(0, 50 * YUAN, 0, 0, 0, 7 * YUAN),
        Arrears(0, 0, 0, 0, 0, 4 * YUAN),
    ]
    assert report.totals["CNY"].owed_units == 61 * YUAN


async def test_arrears_are_the_receivables_of_the_ledger(group: Group) -> None:
    await live(group, Random(7), 120)
    await store(group, bill(group.tenants[0], "B1", 50), bill(group.tenants[1], "B1", 20, paid=3))
    async with group.database.unit_of_work(read_only=True) as uow:
        report = await age_receivables(uow, group.scope(), at=NOON)
    owed = sum(
        units for ledger, units in group.balances().items() if ledger.kind is LedgerKind.RECEIVABLE
    )
    assert report.totals["CNY"].owed_units == -owed


async def test_day_of_ageing_is_that_of_the_site(group: Group) -> None:
    shanghai, berlin = group.tenants[:2]
    bills = (bill(shanghai, "B1", 10), bill(berlin, "B1", 10))
    await store(group, *bills)
    late_evening = datetime.fromisoformat("2026-06-15T23:30:00+02:00")
    async with group.database.unit_of_work(read_only=True) as uow:
        rows = (await age_receivables(uow, group.scope(), at=late_evening)).rows
    assert [(row.site, row.figures.days_1_30_units) for row in rows] == [
        ("east", 10 * YUAN),
        ("west", 0),
    ]


async def test_bills_are_flagged_by_month(group: Group) -> None:
    tenant, late = group.tenants[0], TODAY - timedelta(days=1)
    may: dict[str, Any] = {"since": date(2026, 5, 1), "until": date(2026, 6, 1)}
    await store(
        group,
        bill(tenant, "B1", 100, paid=100, due=late),
        bill(tenant, "B2", 60, paid=20, due=late),
        bill(tenant, "B3", 30),
        bill(tenant, "B4", 7, due=late, **may),
    )
    async with group.database.unit_of_work(read_only=True) as uow:
        report = await bills_by_month(uow, group.scope(), YEAR, at=NOON)
        april = ReportDays(date(2026, 4, 1), date(2026, 5, 1))
        alone = await bills_by_month(uow, group.scope(), april, at=NOON)
        nobody = ReportScope(group.organisation_id, group.sites, group.tenants[1].account.id)
        none = await bills_by_month(uow, nobody, YEAR, at=NOON)
    assert [(row.month, row.site, row.figures) for row in report.rows] == [
        (date(2026, 4, 1), "east", Billed(3, 190 * YUAN, 1, 120 * YUAN, 1, 40 * YUAN)),
        (date(2026, 5, 1), "east", Billed(1, 7 * YUAN, 0, 0, 1, 7 * YUAN)),
    ]
    assert report.totals["CNY"].open_units == 77 * YUAN
    assert alone.rows == report.rows[:1]
    assert none.rows == ()


async def test_shares_show_what_is_billed_and_paid(group: Group) -> None:
    first, second = group.tenants[0], group.tenants[2]
    run = ShareRun(
        id=ShareRunId(uuid7()),
        organisation_id=group.organisation_id,
        site_id=group.sites[0].id,
        name="lift",
        basis=SharingBasis.AREA,
        since=date(2026, 4, 1),
        until=date(2026, 5, 1),
        amount_units=90 * YUAN,
        currency="CNY",
        statement={},
        created_at=START,
        created_by="anna",
    )
    async with group.database.unit_of_work() as uow:
        await uow.share_runs.add(run)
        await uow.bills.add_all(
            [
                bill(first, "B1", 60, paid=60, share_run_id=run.id),
                bill(second, "B2", 30, share_run_id=run.id),
            ]
        )
        await uow.commit()
    async with group.database.unit_of_work(read_only=True) as uow:
        report = await shared_costs(uow, group.scope(), YEAR)
        abroad = await shared_costs(uow, group.scope(group.sites[1]), YEAR)
    (row,) = report.rows
    assert (row.name, row.basis, row.site) == ("lift", SharingBasis.AREA, "east")
    assert row.figures == Shared(2, 90 * YUAN, 90 * YUAN, 60 * YUAN)
    assert abroad.rows == ()


async def test_accounts_are_listed_by_state(group: Group) -> None:
    tenant = group.tenants[0]
    wallet = customer(tenant.account.id)
    await group.book(group.entry(tenant, EntryKind.OPENING, Posting(BROUGHT_IN, wallet, 8 * YUAN)))
    await owe(group, tenant, 3)
    async with group.database.unit_of_work(read_only=True) as uow:
        everyone = await list_accounts(uow, group.scope(), at=NOON)
        closed = await list_accounts(uow, group.scope(), [AccountState.CLOSED], at=NOON)
    assert [row.account for row in everyone.rows] == ["a-0", "a-2", "a-1", "a-3"]
    assert everyone.rows[0].figures == Position(8 * YUAN, 3 * YUAN)
    assert everyone.totals["CNY"].net_units == 5 * YUAN
    assert everyone.rows[1].figures == Position(0, 0)
    assert closed.rows == ()


@pytest.mark.parametrize(
    ("yuan", "level"),
    [
        pytest.param(51, None, id="enough"),
        pytest.param(50, WarningLevel.ALARM_1, id="alarm-1"),
        pytest.param(20, WarningLevel.ALARM_2, id="alarm-2"),
        pytest.param(0, WarningLevel.ARREARS, id="nothing"),
    ],
)
async def test_low_wallets_are_listed_with_their_level(
    group: Group, yuan: int, level: WarningLevel | None
) -> None:
    server, meter = group.tenants[0], group.tenants[2]
    credit = ((yuan + 5) * YUAN, yuan * YUAN)
    await group.book(
        group.entry(
            server,
            EntryKind.OPENING,
            Posting(BROUGHT_IN, customer(server.account.id), credit[0]),
        ),
        group.entry(
            meter, EntryKind.OPENING, Posting(BROUGHT_IN, in_meter(meter.binding.id), yuan * YUAN)
        )
        if yuan
        else group.entry(
            meter,
            EntryKind.TRANSFER,
            Posting(customer(meter.account.id), in_meter(meter.binding.id), YUAN),
            Posting(in_meter(meter.binding.id), customer(meter.account.id), YUAN),
        ),
    )
    await owe(group, server, 5)
    async with group.database.unit_of_work(read_only=True) as uow:
        rows = (await low_balances(uow, group.scope(), at=NOON)).rows
    found = {(row.account, row.meter): row.level for row in rows}
    assert found.get(("a-0", "")) is level
    assert found.get(("a-2", "20260003")) is level


async def test_thresholds_of_the_account_come_first(group: Group) -> None:
    tenant = group.tenants[0]
    wallet = Posting(BROUGHT_IN, customer(tenant.account.id), 30 * YUAN)
    await group.book(group.entry(tenant, EntryKind.OPENING, wallet))
    fields = {name: getattr(tenant.account, name) for name in type(tenant.account).__slots__}
    own = type(tenant.account)(**fields | {"alarm_1_units": 25 * YUAN, "alarm_2_units": YUAN})
    async with group.database.unit_of_work() as uow:
        await uow.accounts.replace(own)
        await uow.commit()
    async with group.database.unit_of_work(read_only=True) as uow:
        assert (await low_balances(uow, group.scope(), at=NOON)).rows == ()
