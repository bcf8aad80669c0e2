"""Reports: rows and totals about sales, accounts, arrears, bills, shares and the ledger."""

from meterplex.services.reports.accounts import list_accounts, low_balances
from meterplex.services.reports.arrears import age_receivables, bills_by_month, shared_costs
from meterplex.services.reports.balances import balances, given_back
from meterplex.services.reports.sales import sales, takings_by_cashier
from meterplex.services.reports.scope import ReportDays, ReportError, ReportScope
from meterplex.services.reports.trial_balance import trial_balance

__all__ = [
    "ReportDays",
    "ReportError",
    "ReportScope",
    "age_receivables",
    "balances",
    "bills_by_month",
    "given_back",
    "list_accounts",
    "low_balances",
    "sales",
    "shared_costs",
    "takings_by_cashier",
    "trial_balance",
]
