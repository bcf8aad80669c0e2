"""The trial balance of an organisation over whole months of its books."""

from meterplex.db import UnitOfWork
from meterplex.domain.estate import OrganisationId
from meterplex.domain.reports import Report, TrialRow, Turnover, report_of
from meterplex.services.reports.scope import ReportDays, ReportError


async def trial_balance(
    uow: UnitOfWork, organisation_id: OrganisationId, days: ReportDays
) -> Report[TrialRow, Turnover]:
    """Return the opening, debits, credits and closing of all ledger accounts, by kind.

    The books are of the organisation: revenue and cash belong to no site. An entry counts in the
    month that it is booked in, which for late facts is not that of their time.

    Raises:
        ReportError: the days are not whole months.
    """
    for field, day in (("from", days.first), ("to", days.until)):
        if day.day != 1:
            raise ReportError(f"{field}: {day} is not the first of a month")
    rows = await uow.reports.turnovers(organisation_id, days.first, days.until)
    return report_of(Turnover, rows)
