"""Whatever happened, the reports say what the ledger says."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any

import pytest
from tests.conftest import Estate
from tests.services.reports.history import START, Group, live, settle_in

from meterplex.db import Database
from meterplex.domain.ledger import (
    Entry,
    EntryKind,
    LedgerKind,
    Posting,
    cash,
    changes,
    customer,
    refund_payable,
    revenue,
)
from meterplex.domain.reports import Movements, ReportStep, Takings, add_up
from meterplex.services.reports import (
    ReportDays,
    ReportError,
    ReportScope,
    balances,
    given_back,
    sales,
    takings_by_cashier,
    trial_balance,
)

YUAN = 10_000
MARCH = ReportDays(date(2026, 3, 1), date(2026, 4, 1))
SPRING = ReportDays(date(2026, 3, 1), date(2026, 6, 1))
NOTHING = add_up(Movements, [])
ALWAYS = ReportDays(date(2026, 1, 1), date(2027, 1, 1))


@pytest.fixture
async def group(database: Database, estate: Estate) -> Group:
    return await settle_in(database, estate)


@pytest.fixture(params=[1, 2], ids=lambda seed: f"seed-{seed}")
async def lived(group: Group, request: pytest.FixtureRequest) -> Group:
    """A group after a random history across the change to summer time in Berlin."""
    await live(group, Random(request.param), 90)
    return group


def taken(entry: Entry) -> Iterator[tuple[str, int]]:
    """Yield the ways and amounts of money that an entry took; below zero what it gave."""
    for ledger, change in changes(entry.postings).items():
        if ledger.kind is LedgerKind.CASH:
            yield ledger.subject, -change


def expected_takings(entries: list[Entry]) -> Takings:
    moved = [(entry, sum(amount for _, amount in taken(entry))) for entry in entries]
    moved = [(entry, amount) for entry, amount in moved if amount]
    back = [amount for entry, amount in moved if entry.kind is EntryKind.REVERSAL]
    other = [amount for entry, amount in moved if entry.kind is not EntryKind.REVERSAL]
    sold, paid = [each for each in other if each > 0], [each for each in other if each < 0]
    return Takings(len(sold), sum(sold), len(back), -sum(back), len(paid), -sum(paid))


@pytest.mark.parametrize("step", list(ReportStep))
async def test_sales_are_what_the_ledger_took(lived: Group, step: ReportStep) -> None:
    by_start: dict[date, list[Entry]] = defaultdict(list)
    for entry in lived.entries:
        by_start[step.start(lived.day_of(entry))].append(entry)
    told = {start: expected_takings(entries) for start, entries in by_start.items()}
    async with lived.database.unit_of_work(read_only=True) as uow:
        report = await sales(uow, lived.scope(), ALWAYS, step)
    assert {row.start: row.figures for row in report.rows} == {
        start: takings for start, takings in told.items() if takings != add_up(Takings, [])
    }
    assert [row.start for row in report.rows] == sorted(row.start for row in report.rows)
    held = sum(
        units for ledger, units in lived.balances().items() if ledger.kind is LedgerKind.CASH
    )
    assert report.totals["CNY"].net_units == -held


async def test_cashiers_sum_to_the_sales(lived: Group) -> None:
    async with lived.database.unit_of_work(read_only=True) as uow:
        cashiers = await takings_by_cashier(uow, lived.scope(), SPRING)
        report = await sales(uow, lived.scope(), SPRING, ReportStep.YEAR)
    expected: dict[tuple[str, str], int] = defaultdict(int)
    for entry in lived.entries:
        if date(2026, 3, 1) <= lived.day_of(entry) < date(2026, 6, 1):
            for method, amount in taken(entry):
                expected[entry.operator, method] += amount
    assert {(row.cashier, row.method): row.figures.net_units for row in cashiers.rows} == expected
    assert cashiers.totals["CNY"].net_units == report.totals["CNY"].net_units
    assert cashiers.totals["CNY"].sold_units == report.totals["CNY"].sold_units


@pytest.mark.parametrize("first", [1, 10, 29])
async def test_balances_open_and_close_as_the_ledger(lived: Group, first: int) -> None:
    days = ReportDays(date(2026, 3, first), date(2026, 4, 5))
    async with lived.database.unit_of_work(read_only=True) as uow:
        report = await balances(uow, lived.scope(), days)
    rows = {row.account: row.figures for row in report.rows}
    for tenant in lived.tenants:
        opens, closes = (
            tenant.position(
                lived.balances(datetime.combine(day, time.min, tenant.local).astimezone(UTC))
            )
            for day in (days.first, days.until)
        )
        row = rows.get(tenant.account.number, NOTHING)
        assert (row.opening_units, row.closing_units) == (opens, closes)


async def test_balances_are_an_identity(lived: Group) -> None:
    async with lived.database.unit_of_work(read_only=True) as uow:
        report = await balances(uow, lived.scope(), MARCH)
    assert report.rows
    for figures in (*(row.figures for row in report.rows), report.totals["CNY"]):
        assert figures.closing_units == (
            figures.opening_units
            + figures.topped_up_units
            - figures.reversed_units
            - figures.used_units
            - figures.fees_units
            - figures.returned_units
            + figures.other_units
        )


async def test_topped_up_of_all_accounts_is_what_was_sold(lived: Group) -> None:
    async with lived.database.unit_of_work(read_only=True) as uow:
        accounts = await balances(uow, lived.scope(), ALWAYS)
        sold = await sales(uow, lived.scope(), ALWAYS, ReportStep.YEAR)
    assert accounts.totals["CNY"].topped_up_units == sold.totals["CNY"].sold_units
    assert accounts.totals["CNY"].reversed_units == sold.totals["CNY"].reversed_units
    earned = lived.balances()[revenue("electricity")] + lived.balances().get(revenue("rent"), 0)
    used = accounts.totals["CNY"].used_units + accounts.totals["CNY"].fees_units
    assert used == earned


async def test_given_back_is_what_became_payable_and_was_paid(lived: Group) -> None:
    async with lived.database.unit_of_work(read_only=True) as uow:
        report = await given_back(uow, lived.scope(), ALWAYS)
        sold = await sales(uow, lived.scope(), ALWAYS, ReportStep.YEAR)
    payable = sum(
        units
        for ledger, units in lived.balances().items()
        if ledger.kind is LedgerKind.REFUND_PAYABLE
    )
    total, takings = report.totals["CNY"], sold.totals["CNY"]
    assert total.payable_units == payable
    assert total.paid_units == takings.paid_out_units + takings.reversed_units
    assert [row.at for row in report.rows] == sorted(row.at for row in report.rows)
    lines = sum(row.kind is EntryKind.REVERSAL for row in report.rows)
    assert lines == takings.reversals


@pytest.mark.parametrize(
    "days",
    [
        pytest.param(MARCH, id="march"),
        pytest.param(ReportDays(date(2026, 4, 1), date(2026, 5, 1)), id="april"),
        pytest.param(ALWAYS, id="always"),
    ],
)
async def test_trial_balance_is_zero_and_that_of_the_ledger(lived: Group, days: ReportDays) -> None:
    async with lived.database.unit_of_work(read_only=True) as uow:
        report = await trial_balance(uow, lived.organisation_id, days)
        kept = await uow.ledger.summed(lived.organisation_id, "CNY", until=days.until)
        before = await uow.ledger.summed(lived.organisation_id, "CNY", until=days.first)
    total = report.totals["CNY"]
    assert (total.opening_units, total.closing_units) == (0, 0)
    assert total.debit_units == total.credit_units
    for row in report.rows:
        for told, books in (
            (row.figures.closing_units, kept),
            (row.figures.opening_units, before),
        ):
            assert told == sum(
                units
                for ledger, units in books.items()
                if ledger.kind is row.kind and (not row.subject or ledger.subject == row.subject)
            )


async def test_site_sees_its_own_only(lived: Group) -> None:
    async with lived.database.unit_of_work(read_only=True) as uow:
        whole = await sales(uow, lived.scope(), ALWAYS, ReportStep.YEAR)
        parts = [
            await sales(uow, lived.scope(site), ALWAYS, ReportStep.YEAR) for site in lived.sites
        ]
        for site in lived.sites:
            rows = (await balances(uow, lived.scope(site), ALWAYS)).rows
            assert {row.site for row in rows} == {site.code}
    assert whole.totals["CNY"] == add_up(Takings, (part.totals["CNY"] for part in parts))


async def test_account_sees_its_own_only(lived: Group) -> None:
    tenant = lived.tenants[0]
    scope = ReportScope(lived.organisation_id, lived.sites, tenant.account.id)
    own = [entry for entry in lived.entries if entry.account_id == tenant.account.id]
    async with lived.database.unit_of_work(read_only=True) as uow:
        report = await sales(uow, scope, ALWAYS, ReportStep.YEAR)
        accounts = await balances(uow, scope, ALWAYS)
    assert report.totals["CNY"] == expected_takings(own)
    assert [row.account for row in accounts.rows] == [tenant.account.number]


async def test_other_organisation_sees_nothing(lived: Group, other_estate: Estate) -> None:
    scope = ReportScope(other_estate.organisation.id, (other_estate.site, *lived.sites))
    async with lived.database.unit_of_work(read_only=True) as uow:
        assert (await sales(uow, scope, ALWAYS, ReportStep.DAY)).rows == ()
        assert (await balances(uow, scope, ALWAYS)).rows == ()
        assert (await given_back(uow, scope, ALWAYS)).rows == ()
        assert (await trial_balance(uow, scope.organisation_id, ALWAYS)).rows == ()


@pytest.mark.parametrize(
    ("site", "at", "day"),
    [
        pytest.param(0, datetime(2026, 3, 1, 15, 59, 59, tzinfo=UTC), 1, id="before-midnight"),
        pytest.param(0, datetime(2026, 3, 1, 16, tzinfo=UTC), 2, id="midnight-shanghai"),
        pytest.param(1, datetime(2026, 3, 28, 22, 59, 59, tzinfo=UTC), 28, id="winter-berlin"),
        pytest.param(1, datetime(2026, 3, 28, 23, tzinfo=UTC), 29, id="midnight-winter"),
        pytest.param(1, datetime(2026, 3, 29, 21, 59, 59, tzinfo=UTC), 29, id="summer-berlin"),
        pytest.param(1, datetime(2026, 3, 29, 22, tzinfo=UTC), 30, id="midnight-summer"),
    ],
)
async def test_sales_lie_in_the_local_day(group: Group, site: int, at: datetime, day: int) -> None:
    tenant = group.tenants[site]
    payment = Posting(cash("cash"), customer(tenant.account.id), YUAN)
    await group.book(group.entry(tenant, EntryKind.PAYMENT, payment, at=at))
    async with group.database.unit_of_work(read_only=True) as uow:
        report = await sales(uow, group.scope(), ALWAYS, ReportStep.DAY)
        assert [row.start for row in report.rows] == [date(2026, 3, day)]
        own = ReportDays(date(2026, 3, day), date(2026, 3, day) + timedelta(days=1))
        assert len((await sales(uow, group.scope(), own, ReportStep.DAY)).rows) == 1
        before = ReportDays(date(2026, 2, 1), date(2026, 3, day))
        assert (await sales(uow, group.scope(), before, ReportStep.DAY)).rows == ()


async def test_refunds_and_reversals_stand_beside_the_sales(group: Group) -> None:
    tenant = group.tenants[0]
    wallet, payable = customer(tenant.account.id), refund_payable(tenant.account.id)
    wrong = group.entry(tenant, EntryKind.PAYMENT, Posting(cash("cash"), wallet, 70 * YUAN))
    await group.book(
        group.entry(tenant, EntryKind.PAYMENT, Posting(cash("cash"), wallet, 100 * YUAN)),
        wrong,
        group.opposite(wrong, START + timedelta(minutes=5)),
        group.entry(tenant, EntryKind.REFUND, Posting(wallet, payable, 20 * YUAN)),
        group.entry(tenant, EntryKind.PAYOUT, Posting(payable, cash("cash"), 20 * YUAN)),
    )
    async with group.database.unit_of_work(read_only=True) as uow:
        (row,) = (await sales(uow, group.scope(), MARCH, ReportStep.MONTH)).rows
    assert row.figures == Takings(2, 170 * YUAN, 1, 70 * YUAN, 1, 20 * YUAN)
    assert row.figures.net_units == 80 * YUAN


@pytest.mark.parametrize(
    ("first", "until", "message"),
    [
        pytest.param(date(2026, 3, 2), date(2026, 3, 2), "not after", id="no-day"),
        pytest.param(date(2026, 3, 2), date(2026, 3, 1), "not after", id="backwards"),
        pytest.param(date(2000, 1, 1), date(2026, 3, 1), "at most", id="too-long"),
    ],
)
def test_impossible_days_are_refused(first: date, until: date, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        ReportDays(first, until)


async def test_trial_balance_of_part_months_is_refused(group: Group) -> None:
    async with group.database.unit_of_work(read_only=True) as uow:
        for days in (
            ReportDays(date(2026, 3, 2), date(2026, 4, 1)),
            ReportDays(date(2026, 3, 1), date(2026, 4, 2)),
        ):
            with pytest.raises(ReportError, match="first of a month"):
                await trial_balance(uow, group.organisation_id, days)


async def test_empty_books_give_empty_reports(group: Group) -> None:
    reports: list[Any] = []
    async with group.database.unit_of_work(read_only=True) as uow:
        reports.append(await sales(uow, group.scope(), MARCH, ReportStep.DAY))
        reports.append(await takings_by_cashier(uow, group.scope(), MARCH))
        reports.append(await balances(uow, group.scope(), MARCH))
        reports.append(await given_back(uow, group.scope(), MARCH))
    assert [(report.rows, report.totals) for report in reports] == [((), {})] * 4
