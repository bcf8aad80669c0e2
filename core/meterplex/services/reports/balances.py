"""Topped up, used and remaining by account (F99), and money given back (F66, F67)."""

from meterplex.db import UnitOfWork
from meterplex.domain.reports import BalanceRow, Movements, PaidBack, RefundRow, Report, report_of
from meterplex.services.reports.scope import ReportDays, ReportScope


async def balances(
    uow: UnitOfWork, scope: ReportScope, days: ReportDays
) -> Report[BalanceRow, Movements]:
    """Return what each account had, what happened, and what it had then.

    Opening + topped up - reversed - used - fees - returned + other = closing, in every row. An
    account that had nothing, and with which nothing happened, is left out.
    """
    rows = [row for span in scope.spans(days) for row in await uow.reports.movements(span)]
    told = sorted(
        (row for row in rows if not row.figures.quiet), key=lambda row: (row.site, row.account)
    )
    return report_of(Movements, told)


async def given_back(
    uow: UnitOfWork, scope: ReportScope, days: ReportDays
) -> Report[RefundRow, PaidBack]:
    """Return each refund, reversal and payout in a line of its own, oldest first."""
    rows = [row for span in scope.spans(days) for row in await uow.reports.given_back(span)]
    return report_of(PaidBack, sorted(rows, key=lambda row: row.at))
