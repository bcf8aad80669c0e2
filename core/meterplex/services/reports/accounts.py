"""Lists of open and closed accounts (F95), and of those that run low (F56)."""

from collections.abc import Collection
from datetime import datetime

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import AccountState
from meterplex.domain.reports import (
    AccountRow,
    Credit,
    CreditRow,
    LowRow,
    Position,
    Report,
    report_of,
)
from meterplex.domain.warnings import Thresholds, WarningLevel, thresholds_of
from meterplex.services.estate.site_policies import load_parameters
from meterplex.services.reports.scope import ReportScope


async def list_accounts(
    uow: UnitOfWork,
    scope: ReportScope,
    states: Collection[AccountState] = tuple(AccountState),
    *,
    at: datetime,
) -> Report[AccountRow, Position]:
    """Return the accounts in some states, with what they have and owe."""
    rows = [
        row
        for span, _ in scope.spans_today(at)
        for row in await uow.account_reports.accounts(span, states)
    ]
    return report_of(Position, sorted(rows, key=lambda row: (row.site, row.account)))


async def low_balances(
    uow: UnitOfWork, scope: ReportScope, *, at: datetime
) -> Report[LowRow, Credit]:
    """Return the wallets of open accounts that are at or below a threshold, lowest first."""
    defaults = {site.code: (await load_parameters(uow, site)).thresholds for site in scope.sites}
    rows = [
        _low_row(row, level)
        for span, _ in scope.spans_today(at)
        for row in await uow.account_reports.credits(span)
        if (level := _level(row, defaults[row.site])) is not None
    ]
    rows.sort(key=lambda row: (row.figures.remaining_units, row.site, row.account, row.meter))
    return report_of(Credit, rows)


def _level(row: CreditRow, defaults: Thresholds) -> WarningLevel | None:
    """Return the most serious level that a wallet has fallen to."""
    own = thresholds_of(defaults, row.alarm_1_units, row.alarm_2_units)
    for level in (WarningLevel.ARREARS, WarningLevel.ALARM_2, WarningLevel.ALARM_1):
        if row.figures.remaining_units <= own.of(level):
            return level
    return None


def _low_row(row: CreditRow, level: WarningLevel) -> LowRow:
    return LowRow(
        row.site,
        row.account,
        row.customer,
        row.phone,
        row.meter,
        level,
        row.currency,
        row.figures,
    )
