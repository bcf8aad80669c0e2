"""Reports about accounts as they stand: what they have and owe, their bills, their shares."""

from collections.abc import Collection
from datetime import date, timedelta
from typing import Any, Final

import sqlalchemy as sa

from meterplex.db import money_tables as tables
from meterplex.db.ledger_owners import CREDIT, owned_ledger_accounts
from meterplex.db.reports import ReportSpan
from meterplex.db.repository import Repository
from meterplex.db.tables import binding, meter
from meterplex.db.tables import site as site_table
from meterplex.domain.accounts import AccountState
from meterplex.domain.ledger import LedgerKind
from meterplex.domain.reports import (
    AccountRow,
    AgeingRow,
    Arrears,
    Billed,
    BillsRow,
    Credit,
    CreditRow,
    Position,
    Shared,
    ShareRow,
    figures_from,
)
from meterplex.domain.sharing import SharingBasis

_AGES: Final = (30, 60, 90)
"""Days since the due date at which a debt becomes older."""


class AccountReports(Repository):
    """Sums by account; the sites of a span choose them, its times do not matter here."""

    async def accounts(
        self, span: ReportSpan, states: Collection[AccountState]
    ) -> tuple[AccountRow, ...]:
        """Return accounts in some states with what they have and owe (F95)."""
        account, owned = tables.account, self._owned(span)
        credit = owned.c.kind.in_(CREDIT)
        balance = sa.func.coalesce(owned.c.balance_units, 0)
        query = (
            _with_names(
                span,
                account.c.mode,
                account.c.state,
                account.c.opened_at,
                account.c.closed_at,
                account.c.currency,
                _sum(sa.case((credit, balance), else_=0)).label("credit_units"),
                _sum(sa.case((credit, 0), else_=-balance)).label("owed_units"),
            )
            .outerjoin(owned, owned.c.account_id == account.c.id)
            .where(account.c.state.in_(sorted(states)))
            .group_by(
                site_table.c.code,
                *account.c,
                tables.customer.c.name,
                tables.customer.c.phone,
            )
            .order_by(site_table.c.code, account.c.number)
        )
        return tuple(
            AccountRow(
                row["site"],
                row["account"],
                row["customer"],
                row["mode"],
                row["state"],
                row["opened_at"],
                row["closed_at"],
                row["currency"],
                Position(int(row["credit_units"]), int(row["owed_units"])),
            )
            for row in await self._rows(query)
        )

    async def credits(self, span: ReportSpan) -> tuple[CreditRow, ...]:
        """Return the wallets of open accounts: those on the server, and those in their meters.

        A wallet on the server is what is left after what is owed for use.
        """
        account, owned = tables.account, self._owned(span)
        in_meter = owned.c.kind == LedgerKind.METER
        own_meter = sa.func.coalesce(meter.c.serial, "")
        utility = sa.and_(owned.c.kind == LedgerKind.RECEIVABLE, owned.c.subject.like("%/utility"))
        query = (
            _with_names(
                span,
                account.c.id.label("account_id"),
                account.c.alarm_1_units,
                account.c.alarm_2_units,
                account.c.currency,
                own_meter.label("meter"),
                _sum(owned.c.balance_units).label("remaining_units"),
            )
            .join(owned, owned.c.account_id == account.c.id)
            .outerjoin(
                binding,
                sa.and_(
                    in_meter,
                    binding.c.organisation_id == span.organisation_id,
                    binding.c.id == owned.c.binding_id,
                ),
            )
            .outerjoin(
                meter,
                sa.and_(
                    meter.c.organisation_id == span.organisation_id,
                    meter.c.id == binding.c.meter_id,
                ),
            )
            .where(
                account.c.state == AccountState.OPEN,
                sa.or_(
                    sa.and_(in_meter, binding.c.until.is_(None)),
                    owned.c.kind == LedgerKind.CUSTOMER,
                    utility,
                ),
            )
            .group_by(
                site_table.c.code,
                *account.c,
                tables.customer.c.name,
                tables.customer.c.phone,
                own_meter,
            )
            .order_by(site_table.c.code, account.c.number, own_meter)
        )
        names = [name for name in CreditRow.__dataclass_fields__ if name != "figures"]
        return tuple(
            CreditRow(
                **{name: row[name] for name in names},
                figures=Credit(int(row["remaining_units"])),
            )
            for row in await self._rows(query)
        )

    async def ageing(self, span: ReportSpan, today: date) -> tuple[AgeingRow, ...]:
        """Return what accounts owe by the age of their bills on a local day."""
        account = tables.account
        owed = sa.union_all(self._unpaid(span, today), self._receivables(span)).subquery("owed")
        names = [column.name for column in owed.c if column.name not in {"account_id", "all"}]
        billed = sum((owed.c[name] for name in names), start=sa.literal(0, sa.BigInteger))
        query = (
            _with_names(
                span,
                account.c.currency,
                *(_sum(owed.c[name]).label(name) for name in names),
                _sum(owed.c["all"] - billed).label("unbilled_units"),
            )
            .join(owed, owed.c.account_id == account.c.id)
            .group_by(
                site_table.c.code,
                account.c.number,
                tables.customer.c.name,
                tables.customer.c.phone,
                account.c.currency,
            )
            .order_by(site_table.c.code, account.c.number)
        )
        return tuple(
            AgeingRow(
                row["site"],
                row["account"],
                row["customer"],
                row["currency"],
                figures_from(Arrears, row),
            )
            for row in await self._rows(query)
        )

    def _unpaid(self, span: ReportSpan, today: date) -> sa.Select[Any]:
        bill = tables.bill.c
        rest, zero = bill.amount_units - bill.paid_units, sa.literal(0, sa.BigInteger)
        edges = [today, *(today - timedelta(days=days) for days in _AGES)]
        ages = (
            ("not_due_units", bill.due_on >= edges[0]),
            ("days_1_30_units", sa.and_(bill.due_on < edges[0], bill.due_on >= edges[1])),
            ("days_31_60_units", sa.and_(bill.due_on < edges[1], bill.due_on >= edges[2])),
            ("days_61_90_units", sa.and_(bill.due_on < edges[2], bill.due_on >= edges[3])),
            ("over_90_units", bill.due_on < edges[3]),
        )
        return sa.select(
            bill.account_id,
            zero.label("all"),
            *(sa.case((which, rest), else_=zero).label(name) for name, which in ages),
        ).where(bill.organisation_id == span.organisation_id, bill.paid_units < bill.amount_units)

    def _receivables(self, span: ReportSpan) -> sa.Select[Any]:
        owned, zero = self._owned(span), sa.literal(0, sa.BigInteger)
        return sa.select(
            owned.c.account_id, (-owned.c.balance_units).label("all"), zero, zero, zero, zero, zero
        ).where(owned.c.kind == LedgerKind.RECEIVABLE, owned.c.balance_units != 0)

    async def bills(
        self, span: ReportSpan, first: date, last: date, today: date
    ) -> tuple[BillsRow, ...]:
        """Return the bills for periods that begin in ``[first, last)``, by month (F105)."""
        bill = tables.bill.c
        year = sa.extract("year", bill.since).label("year")
        month = sa.extract("month", bill.since).label("month")
        rest = bill.amount_units - bill.paid_units
        late = sa.and_(rest > 0, bill.due_on < today)
        query = (
            sa.select(
                year,
                month,
                site_table.c.code.label("site"),
                bill.currency,
                sa.func.count().label("bills"),
                _sum(bill.amount_units).label("billed_units"),
                _sum(sa.case((rest == 0, 1), else_=0)).label("paid"),
                _sum(bill.paid_units).label("paid_units"),
                _sum(sa.case((late, 1), else_=0)).label("in_arrears"),
                _sum(sa.case((late, rest), else_=0)).label("in_arrears_units"),
            )
            .select_from(tables.bill)
            .join(site_table, _same(site_table, span, bill.site_id))
            .where(*_of_sites(tables.bill, span), bill.since >= first, bill.since < last)
            .group_by(year, month, site_table.c.code, bill.currency)
            .order_by(year, month, site_table.c.code, bill.currency)
        )
        if span.account_id is not None:
            query = query.where(bill.account_id == span.account_id)
        return tuple(
            BillsRow(
                date(int(row["year"]), int(row["month"]), 1),
                row["site"],
                row["currency"],
                figures_from(Billed, row),
            )
            for row in await self._rows(query)
        )

    async def shares(self, span: ReportSpan, first: date, last: date) -> tuple[ShareRow, ...]:
        """Return the shared costs whose time begins in ``[first, last)``, oldest first."""
        run, bill = tables.share_run.c, tables.bill.c
        query = (
            sa.select(
                site_table.c.code.label("site"),
                run.name,
                run.basis,
                run.since,
                run.until,
                run.currency,
                run.amount_units,
                sa.func.count(bill.id).label("shares"),
                _sum(bill.amount_units).label("billed_units"),
                _sum(bill.paid_units).label("paid_units"),
            )
            .select_from(tables.share_run)
            .join(site_table, _same(site_table, span, run.site_id))
            .outerjoin(
                tables.bill,
                sa.and_(bill.organisation_id == span.organisation_id, bill.share_run_id == run.id),
            )
            .where(*_of_sites(tables.share_run, span), run.since >= first, run.since < last)
            .group_by(
                site_table.c.code,
                run.id,
                run.name,
                run.basis,
                run.since,
                run.until,
                run.currency,
                run.amount_units,
            )
            .order_by(run.since, site_table.c.code, run.name)
        )
        return tuple(
            ShareRow(
                row["site"],
                row["name"],
                SharingBasis(row["basis"]),
                row["since"],
                row["until"],
                row["currency"],
                figures_from(Shared, row),
            )
            for row in await self._rows(query)
        )

    def _owned(self, span: ReportSpan) -> sa.CTE:
        """Return whose each ledger account is, worked out once and not for each account."""
        query = owned_ledger_accounts(span.organisation_id, postgresql=self._postgresql)
        return query.cte("owned").prefix_with("MATERIALIZED")


def _sum(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(column), 0)


def _same(table: sa.Table, span: ReportSpan, key: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.organisation_id == span.organisation_id, table.c.id == key)


def _of_sites(table: sa.Table, span: ReportSpan) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        table.c.organisation_id == span.organisation_id,
        table.c.site_id.in_(sorted(span.site_ids)),
    )


def _with_names(span: ReportSpan, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Return a query over the accounts of a span, with the names that people know them by."""
    account, customer = tables.account, tables.customer
    query = (
        sa.select(
            site_table.c.code.label("site"),
            account.c.number.label("account"),
            customer.c.name.label("customer"),
            customer.c.phone,
            *columns,
        )
        .select_from(account)
        .join(customer, _same(customer, span, account.c.customer_id))
        .join(site_table, _same(site_table, span, account.c.site_id))
        .where(*_of_sites(account, span))
    )
    return query if span.account_id is None else query.where(account.c.id == span.account_id)
