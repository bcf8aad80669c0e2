"""Sales by day, month and year, and by cashier: F100, F102.

Reversals and payouts are never taken off the sales of a row; they stand beside them (R6).
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

from meterplex.db import UnitOfWork
from meterplex.db.reports import TakingsBy
from meterplex.domain.reports import (
    CashierRow,
    Report,
    ReportStep,
    SalesRow,
    Takings,
    TakingsRow,
    add_up,
    report_of,
)
from meterplex.services.reports.scope import ReportDays, ReportScope


async def sales(
    uow: UnitOfWork, scope: ReportScope, days: ReportDays, step: ReportStep
) -> Report[SalesRow, Takings]:
    """Return what was sold, taken back and paid out in each period that has any of it."""
    found = defaultdict[tuple[date, str], list[Takings]](list)
    for row in await _takings(uow, scope, days, TakingsBy.DAY):
        assert row.day is not None
        found[step.start(row.day), row.currency].append(row.figures)
    rows = [SalesRow(*key, add_up(Takings, found[key])) for key in sorted(found)]
    return report_of(Takings, rows)


async def takings_by_cashier(
    uow: UnitOfWork, scope: ReportScope, days: ReportDays
) -> Report[CashierRow, Takings]:
    """Return what each cashier took, took back and paid out, by place and way of paying."""
    by = (TakingsBy.CASHIER, TakingsBy.CHANNEL, TakingsBy.METHOD)
    found = defaultdict[tuple[str, str, str, str], list[Takings]](list)
    for row in await _takings(uow, scope, days, *by):
        found[row.cashier, row.channel, row.method, row.currency].append(row.figures)
    rows = [CashierRow(*key, add_up(Takings, found[key])) for key in sorted(found)]
    return report_of(Takings, rows)


async def _takings(
    uow: UnitOfWork, scope: ReportScope, days: ReportDays, *by: TakingsBy
) -> Iterable[TakingsRow]:
    """Return takings, of each time zone in turn."""
    return [row for span in scope.spans(days) for row in await uow.reports.takings(span, by)]
