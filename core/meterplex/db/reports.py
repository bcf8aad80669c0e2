"""Reports over the ledger, each one statement over sets; amounts are ledger units.

What was long ago is never read again: a balance at some time is the one that is kept, less all
that was booked since. Local days are told by the offsets of the site's zone in the period, which
are few, so that both databases agree to the second whatever time zones they know.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from meterplex.db import money_tables as tables
from meterplex.db.ledger_owners import owned_ledger_accounts
from meterplex.db.repository import Repository
from meterplex.db.tables import site as site_table
from meterplex.domain.estate import AccountId, OrganisationId, SiteId
from meterplex.domain.ledger import EntryKind, LedgerKind
from meterplex.domain.reports import (
    BalanceRow,
    Movements,
    PaidBack,
    RefundRow,
    Takings,
    TakingsRow,
    TrialRow,
    Turnover,
    figures_from,
)

_EPOCH: Final = date(1970, 1, 1)
_DAY_S: Final = 86_400
_MICROSECONDS: Final = 10**6

_FEES: Final = (EntryKind.FEE, EntryKind.SHARE, EntryKind.BILL)
_USED: Final = (EntryKind.CHARGE, EntryKind.ADJUSTMENT)
_RETURNED: Final = (EntryKind.REFUND, EntryKind.WITHDRAWAL, EntryKind.VOID)
_NAMED: Final = (*_FEES, *_USED, *_RETURNED, EntryKind.PAYMENT, EntryKind.REVERSAL)
_GIVEN_BACK: Final = (*_RETURNED, EntryKind.PAYOUT, EntryKind.REVERSAL)

SHARED_KINDS: Final = (
    LedgerKind.CASH,
    LedgerKind.REVENUE,
    LedgerKind.TAX,
    LedgerKind.ROUNDING,
    LedgerKind.BROUGHT_IN,
)
"""Ledger accounts that belong to no customer: the trial balance shows each of them."""


@dataclass(frozen=True, slots=True)
class ReportSpan:
    """Local days at sites of one time zone.

    Attributes:
        start: and ``end``, aware, half-open.
        offsets: when, and how far, local time is ahead of UTC from then on; the first at start.
        account_id: only this one; None for all of the sites.
    """

    organisation_id: OrganisationId
    site_ids: frozenset[SiteId]
    start: datetime
    end: datetime
    offsets: tuple[tuple[datetime, timedelta], ...]
    account_id: AccountId | None = None


class TakingsBy(StrEnum):
    """What takings are told apart by."""

    DAY = "day"
    CASHIER = "cashier"
    CHANNEL = "channel"
    METHOD = "method"


class Reports(Repository):
    """Sums over the ledger, for whoever asks for them by sites and time."""

    async def takings(self, span: ReportSpan, by: Collection[TakingsBy]) -> tuple[TakingsRow, ...]:
        """Return what was taken, taken back and paid out."""
        moved = _cash_moved(span, with_channel=TakingsBy.CHANNEL in by)
        columns = [self._takings_key(span, moved, each) for each in sorted(by)]
        query = (
            sa.select(*columns, moved.c.currency, *_takings_columns(moved))
            .group_by(*columns, moved.c.currency)
            .order_by(*columns, moved.c.currency)
        )
        return tuple(_takings_row(row) for row in await self._rows(query))

    def _takings_key(self, span: ReportSpan, moved: sa.Subquery, by: TakingsBy) -> sa.Label[Any]:
        if by is TakingsBy.DAY:
            return self._local_day(moved.c.booked_at, span).label(by.value)
        return moved.c[by.value].label(by.value)

    def _local_day(self, at: sa.ColumnElement[Any], span: ReportSpan) -> sa.ColumnElement[Any]:
        """Return the local day of a time, counted from 1970."""
        offset = _offset_s(at, span.offsets)
        if self._postgresql:
            seconds = sa.extract("epoch", at) + offset
            return sa.cast(sa.func.floor(seconds / _DAY_S), sa.Integer)
        return (sa.type_coerce(at, sa.BigInteger) // _MICROSECONDS + offset) // _DAY_S

    async def movements(self, span: ReportSpan) -> tuple[BalanceRow, ...]:
        """Return how accounts stood, what happened, and how they stand then, by account."""
        owned = owned_ledger_accounts(span.organisation_id, postgresql=self._postgresql).subquery(
            "owned"
        )
        changed = _changes_since(span)
        query = (
            sa.select(
                site_table.c.code.label("site"),
                tables.account.c.number.label("account"),
                tables.customer.c.name.label("customer"),
                owned.c.currency,
                *_movement_columns(owned, changed),
            )
            .select_from(owned)
            .outerjoin(changed, changed.c.ledger_id == owned.c.id)
            .join(tables.account, _same(tables.account, span, owned.c.account_id))
            .join(tables.customer, _same(tables.customer, span, tables.account.c.customer_id))
            .join(site_table, _same(site_table, span, tables.account.c.site_id))
            .where(*_of_scope(tables.account, span))
            .group_by(
                site_table.c.code,
                tables.account.c.number,
                tables.customer.c.name,
                owned.c.currency,
            )
            .order_by(site_table.c.code, tables.account.c.number)
        )
        return tuple(_balance_row(row) for row in await self._rows(query))

    async def given_back(self, span: ReportSpan) -> tuple[RefundRow, ...]:
        """Return refunds, reversals of payments and payouts, each in its line, oldest first."""
        account, entry = tables.account, tables.ledger_entry.c
        side = _sides(span, (LedgerKind.CASH, LedgerKind.REFUND_PAYABLE), *_GIVEN_BACK)
        cash = side.c.ledger_kind == LedgerKind.CASH
        about = [side.c[column.name] for column in (entry.booked_at, entry.kind, entry.order_id)]
        about += [side.c[column.name] for column in (entry.operator, entry.memo, entry.currency)]
        query = (
            sa.select(
                *about,
                site_table.c.code.label("site"),
                account.c.number.label("account"),
                sa.func.max(sa.case((cash, side.c.subject), else_="")).label("method"),
                _sum(sa.case((cash, 0), else_=side.c.change)).label("payable_units"),
                _sum(sa.case((cash, side.c.change), else_=0)).label("paid_units"),
            )
            .select_from(side)
            .join(account, _same(account, span, side.c.account_id))
            .join(site_table, _same(site_table, span, account.c.site_id))
            .where(*_of_scope(account, span))
            .group_by(side.c.id, *about, site_table.c.code, account.c.number)
            .order_by(side.c.booked_at, side.c.id)
        )
        return tuple(_refund_row(row) for row in await self._rows(query))

    async def turnovers(
        self, organisation_id: OrganisationId, start: date, end: date
    ) -> tuple[TrialRow, ...]:
        """Return the trial balance over the periods (first days of months) in ``[start, end)``."""
        ledger = tables.ledger_account
        changed = _changes_by_period(organisation_id, start, end)
        shown = sa.case((ledger.c.kind.in_(SHARED_KINDS), ledger.c.subject), else_="")
        since = changed.c.credit + changed.c.after - changed.c.debit
        query = (
            sa.select(
                ledger.c.kind,
                shown.label("subject"),
                ledger.c.currency,
                sa.func.count().label("accounts"),
                _sum(ledger.c.balance_units - sa.func.coalesce(since, 0)).label("opening_units"),
                _sum(changed.c.debit).label("debit_units"),
                _sum(changed.c.credit).label("credit_units"),
            )
            .select_from(ledger)
            .outerjoin(changed, changed.c.ledger_id == ledger.c.id)
            .where(ledger.c.organisation_id == organisation_id)
            .group_by(ledger.c.kind, shown, ledger.c.currency)
            .order_by(ledger.c.kind, shown, ledger.c.currency)
        )
        return tuple(_trial_row(row) for row in await self._rows(query))


def _sum(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(column), 0)


def _offset_s(
    at: sa.ColumnElement[Any], offsets: Iterable[tuple[datetime, timedelta]]
) -> sa.ColumnElement[Any]:
    """Return how many seconds local time is ahead of UTC at a time."""
    latest_first = sorted(offsets, reverse=True)
    whens: list[tuple[Any, Any]] = [
        (at >= since, sa.literal(int(offset.total_seconds()), sa.Integer))
        for since, offset in latest_first
    ]
    return sa.case(*whens) if whens else sa.literal(0, sa.Integer)


def _same(
    table: sa.Table | sa.Alias, span: ReportSpan, key: sa.ColumnElement[Any]
) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.organisation_id == span.organisation_id, table.c.id == key)


def _of_scope(account: sa.Table, span: ReportSpan) -> list[sa.ColumnElement[bool]]:
    where: list[sa.ColumnElement[bool]] = [account.c.site_id.in_(sorted(span.site_ids))]
    if span.account_id is not None:
        where.append(account.c.id == span.account_id)
    return where


def _booked(span: ReportSpan) -> tuple[sa.ColumnElement[bool], ...]:
    entry = tables.ledger_entry.c
    return (
        entry.organisation_id == span.organisation_id,
        entry.booked_at >= span.start,
        entry.booked_at < span.end,
    )


# -- cash --------------------------------------------------------------------------------------


def _sides(span: ReportSpan, at: Collection[LedgerKind], *kinds: EntryKind) -> sa.Subquery:
    """Return the changes of ledger accounts ``at`` some kinds, with the entries they are of.

    Args:
        kinds: of entries; all when none is given.
    """
    entry, ledger, posting = tables.ledger_entry, tables.ledger_account, tables.ledger_posting
    where = [*_booked(span), *([entry.c.kind.in_(kinds)] if kinds else [])]
    booked = sa.select(entry).where(*where).cte("booked").prefix_with("MATERIALIZED")
    debit, credit = _not_by_index(posting.c.debit_id), _not_by_index(posting.c.credit_id)
    amount = posting.c.amount_units
    query = (
        sa.select(
            *booked.c,
            ledger.c.kind.label("ledger_kind"),
            ledger.c.subject,
            sa.case((ledger.c.id == posting.c.credit_id, amount), else_=-amount).label("change"),
        )
        .select_from(booked)
        .join(
            posting,
            sa.and_(
                posting.c.organisation_id == span.organisation_id,
                posting.c.entry_id == booked.c.id,
            ),
        )
        .join(
            ledger,
            sa.and_(
                ledger.c.organisation_id == span.organisation_id,
                ledger.c.id.in_([debit, credit]),
            ),
        )
        .where(ledger.c.kind.in_(at))
    )
    return query.subquery("side")


_BOTH_SIDES: Final = (
    (tables.ledger_posting.c.credit_id, tables.ledger_posting.c.amount_units.label("change")),
    (tables.ledger_posting.c.debit_id, (-tables.ledger_posting.c.amount_units).label("change")),
)


def _postings_of_entries(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    entry, posting = tables.ledger_entry, tables.ledger_posting
    same = sa.and_(
        posting.c.organisation_id == entry.c.organisation_id,
        posting.c.entry_id == entry.c.id,
    )
    return sa.select(*columns).select_from(entry).join(posting, same)


def _not_by_index(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a column so that no index on it is used.

    SQLite, which has no statistics, would begin with the few cash accounts, or with all postings,
    and look up their entries; it is to begin with the entries of the span.
    """
    return sa.func.coalesce(column, column)


def _cash_moved(span: ReportSpan, *, with_channel: bool) -> sa.Subquery:
    """Return the changes of cash with all that they can be told apart by; debits above zero."""
    account, order = tables.account, tables.credit_order
    side = _sides(span, (LedgerKind.CASH,))
    channel = sa.func.coalesce(order.c.channel, "") if with_channel else sa.literal("")
    query = (
        sa.select(
            side.c.id.label("entry_id"),
            side.c.booked_at,
            side.c.operator.label(TakingsBy.CASHIER.value),
            channel.label(TakingsBy.CHANNEL.value),
            side.c.subject.label(TakingsBy.METHOD.value),
            side.c.currency,
            (side.c.kind == EntryKind.REVERSAL).label("reversal"),
            (-side.c.change).label("taken"),
        )
        .select_from(side)
        .join(account, _same(account, span, side.c.account_id))
        .where(*_of_scope(account, span))
    )
    if with_channel:
        query = query.outerjoin(order, _same(order, span, side.c.order_id))
    return query.subquery("moved")


def _takings_columns(moved: sa.Subquery) -> list[sa.ColumnElement[Any]]:
    taken, entry_id, reversal = moved.c.taken, moved.c.entry_id, moved.c.reversal
    sold, paid_out = sa.and_(~reversal, taken > 0), sa.and_(~reversal, taken < 0)

    def count(which: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
        return sa.func.count(sa.distinct(sa.case((which, entry_id))))

    return [
        count(sold).label("sales"),
        _sum(sa.case((sold, taken))).label("sold_units"),
        count(reversal).label("reversals"),
        _sum(sa.case((reversal, -taken))).label("reversed_units"),
        count(paid_out).label("payouts"),
        _sum(sa.case((paid_out, -taken))).label("paid_out_units"),
    ]


def _takings_row(row: sa.RowMapping) -> TakingsRow:
    day = row.get(TakingsBy.DAY.value)
    return TakingsRow(
        day=None if day is None else _EPOCH + timedelta(days=day),
        cashier=row.get(TakingsBy.CASHIER.value, ""),
        channel=row.get(TakingsBy.CHANNEL.value, ""),
        method=row.get(TakingsBy.METHOD.value, ""),
        currency=row["currency"],
        figures=figures_from(Takings, row),
    )


# -- balances ----------------------------------------------------------------------------------


def _changes_since(span: ReportSpan) -> sa.Subquery:
    """Return by how much ledger accounts changed in a span, by cause, and after it."""
    entry = tables.ledger_entry.c
    each = _changes(
        entry.kind,
        (entry.booked_at < span.end).label("within"),
        where=(
            entry.organisation_id == span.organisation_id,
            entry.booked_at >= span.start,
        ),
    )

    def changed(kinds: Collection[EntryKind], name: str) -> sa.ColumnElement[Any]:
        which = sa.and_(each.c.within, each.c.kind.in_(kinds))
        return _sum(sa.case((which, each.c.change))).label(name)

    query = sa.select(
        each.c.ledger_id,
        _sum(sa.case((each.c.within, 0), else_=each.c.change)).label("after"),
        _sum(sa.case((each.c.within, each.c.change))).label("within"),
        changed((EntryKind.PAYMENT,), "paid"),
        changed((EntryKind.REVERSAL,), "reversed"),
        changed(_USED, "used"),
        changed(_FEES, "fees"),
        changed(_RETURNED, "returned"),
    ).group_by(each.c.ledger_id)
    return query.subquery("changed")


def _changes(*by: sa.ColumnElement[Any], where: Collection[sa.ColumnElement[bool]]) -> sa.Subquery:
    """Return the sums of the changes of ledger accounts by entries, told apart ``by`` columns."""
    sums = [
        _postings_of_entries(
            *by, side.label("ledger_id"), sa.func.sum(change.element).label("change")
        )
        .where(*where)
        .group_by(*by, side)
        for side, change in _BOTH_SIDES
    ]
    return sa.union_all(*sums).subquery("each")


def _movement_columns(owned: sa.Subquery, changed: sa.Subquery) -> list[sa.ColumnElement[Any]]:
    after, within = sa.func.coalesce(changed.c.after, 0), sa.func.coalesce(changed.c.within, 0)
    named = (
        changed.c.paid + changed.c.reversed + changed.c.used + changed.c.fees + changed.c.returned
    )
    return [
        _sum(owned.c.balance_units - after - within).label("opening_units"),
        _sum(changed.c.paid).label("topped_up_units"),
        _sum(-changed.c.reversed).label("reversed_units"),
        _sum(-changed.c.used).label("used_units"),
        _sum(-changed.c.fees).label("fees_units"),
        _sum(-changed.c.returned).label("returned_units"),
        _sum(changed.c.within - named).label("other_units"),
        _sum(owned.c.balance_units - after).label("closing_units"),
    ]


def _balance_row(row: sa.RowMapping) -> BalanceRow:
    figures = figures_from(Movements, row)
    return BalanceRow(row["site"], row["account"], row["customer"], row["currency"], figures)


def _refund_row(row: sa.RowMapping) -> RefundRow:
    return RefundRow(
        at=row["booked_at"],
        kind=row["kind"],
        site=row["site"],
        account=row["account"],
        order_id=row["order_id"],
        operator=row["operator"],
        method=row["method"],
        memo=row["memo"],
        currency=row["currency"],
        figures=figures_from(PaidBack, row),
    )


# -- trial balance -----------------------------------------------------------------------------


def _changes_by_period(organisation_id: OrganisationId, start: date, end: date) -> sa.Subquery:
    """Return the debits and credits of ledger accounts in periods, and the change after them."""
    entry = tables.ledger_entry.c
    each = _changes(
        (entry.period < end).label("within"),
        where=(entry.organisation_id == organisation_id, entry.period >= start),
    )
    moved, within = each.c.change, each.c.within
    query = sa.select(
        each.c.ledger_id,
        _sum(sa.case((sa.and_(within, moved < 0), -moved))).label("debit"),
        _sum(sa.case((sa.and_(within, moved > 0), moved))).label("credit"),
        _sum(sa.case((within, 0), else_=moved)).label("after"),
    ).group_by(each.c.ledger_id)
    return query.subquery("changed")


def _trial_row(row: sa.RowMapping) -> TrialRow:
    figures = figures_from(Turnover, row)
    return TrialRow(row["kind"], row["subject"], row["accounts"], row["currency"], figures)
