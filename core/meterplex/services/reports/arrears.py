"""What is owed, by age; bills by month with what is paid and in arrears; shared costs.

These show things as they stand: what is paid of a bill is kept, not when.
"""

from datetime import datetime

from meterplex.db import UnitOfWork
from meterplex.domain.reports import (
    AgeingRow,
    Arrears,
    Billed,
    BillsRow,
    Report,
    Shared,
    ShareRow,
    report_of,
)
from meterplex.services.reports.scope import ReportDays, ReportScope


async def age_receivables(
    uow: UnitOfWork, scope: ReportScope, *, at: datetime
) -> Report[AgeingRow, Arrears]:
    """Return what each account owes, by days since the due dates of its bills."""
    rows = [
        row
        for span, today in scope.spans_today(at)
        for row in await uow.account_reports.ageing(span, today)
    ]
    return report_of(Arrears, sorted(rows, key=lambda row: (row.site, row.account)))


async def bills_by_month(
    uow: UnitOfWork, scope: ReportScope, days: ReportDays, *, at: datetime
) -> Report[BillsRow, Billed]:
    """Return the bills for times that begin in some days, by month and site (F105)."""
    rows = [
        row
        for span, today in scope.spans_today(at)
        for row in await uow.account_reports.bills(span, days.first, days.until, today)
    ]
    return report_of(Billed, sorted(rows, key=lambda row: (row.month, row.site, row.currency)))


async def shared_costs(
    uow: UnitOfWork, scope: ReportScope, days: ReportDays
) -> Report[ShareRow, Shared]:
    """Return the shared costs whose time begins in some days."""
    rows = [
        row
        for span in scope.spans(days)
        for row in await uow.account_reports.shares(span, days.first, days.until)
    ]
    return report_of(Shared, sorted(rows, key=lambda row: (row.since, row.site, row.name)))
