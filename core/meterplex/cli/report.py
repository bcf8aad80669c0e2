"""``meterplex report``: sales, balances, arrears, bills and the books, of what one may see."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any, Final

import click

from meterplex.cli.group import FailingGroup
from meterplex.cli.program import Program, now, operator_option, pass_program, run
from meterplex.cli.report_output import ReportColumns, ReportForm, form_options, print_report
from meterplex.db import Database, UnitOfWork
from meterplex.domain import reports as rows
from meterplex.domain.accounts import AccountState
from meterplex.domain.estate import AccountId, Site
from meterplex.domain.operators import Operator, Right
from meterplex.domain.reports import Report, ReportStep
from meterplex.services import reports
from meterplex.services.accounts.find_accounts import find_account
from meterplex.services.reports import ReportDays, ReportScope

AnyReport = Report[Any, Any]

_DAY: Final = click.DateTime(["%Y-%m-%d"])


@dataclass(frozen=True, slots=True)
class Asked:
    """What every report is asked for: whose money, and how it is printed."""

    program: Program
    site: str | None
    account: str | None
    form: ReportForm

    def show(
        self,
        columns: ReportColumns,
        make: Callable[[UnitOfWork, ReportScope], Awaitable[AnyReport]],
        **about: object,
    ) -> None:
        """Make the report of what the signed-in operator may see, and print it."""

        async def work() -> AnyReport:
            async with self.program.database() as database:
                scope = await self.scope(database)
                async with database.unit_of_work(read_only=True) as uow:
                    return await make(uow, scope)

        about = {"site": self.site, "account": self.account} | about
        print_report(run(work()), columns, self.form, **about)

    async def scope(self, database: Database) -> ReportScope:
        """Return the sites that the operator may see, or those of them that are asked for.

        Raises:
            ForbiddenError: the operator may see no site, or not the one that is asked for.
        """
        operator = (await self.program.session(database)).operator
        async with database.unit_of_work(read_only=True) as uow:
            organisation = await self.program.organisation(uow)
            sites = await uow.sites.all(organisation.id)
            if self.site is not None:
                sites = (await self.program.site(uow, organisation, self.site),)
            account_id: AccountId | None = None
            if self.account is not None:
                account = await find_account(uow, organisation.id, self.account)
                sites = tuple(site for site in sites if site.id == account.site_id)
                account_id = account.id
        seen = await self._seen(database, operator, sites)
        return ReportScope(organisation.id, seen, account_id)

    async def _seen(
        self, database: Database, operator: Operator, sites: tuple[Site, ...]
    ) -> tuple[Site, ...]:
        seen = tuple(site for site in sites if operator.may(Right.REPORT_READ, site.id))
        named = self.site is not None or self.account is not None
        if not seen:
            refused = [site.id for site in sites] if named and sites else [None]
            await self.program.require(database, operator, [Right.REPORT_READ], refused)
        return seen


def _asked(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all reports about accounts have, as ``asked``."""

    @pass_program
    @wraps(command)
    def ask(
        program: Program,
        /,
        *,
        site: str | None,
        account: str | None,
        form: ReportForm,
        **options: object,
    ) -> None:
        command(asked=Asked(program, site, account, form), **options)

    decorated: Callable[..., None] = ask
    for decorate in (
        form_options,
        operator_option,
        click.option("--account", metavar="NUMBER", help="Only this account."),
        click.option(
            "--site", metavar="CODE", help="Only this site; otherwise all that you may see."
        ),
    ):
        decorated = decorate(decorated)
    return decorated


def _days(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options ``--from`` and ``--to``, as ``days``."""

    @wraps(command)
    def ask(*, first: datetime, until: datetime, **options: object) -> None:
        command(days=ReportDays(first.date(), until.date()), **options)

    decorated: Callable[..., None] = ask
    for name, argument, text in (
        ("--to", "until", "The day after the last."),
        ("--from", "first", "First local day."),
    ):
        option = click.option(name, argument, type=_DAY, required=True, metavar="DATE", help=text)
        decorated = option(decorated)
    return decorated


def _told(days: ReportDays) -> dict[str, object]:
    return {"from": days.first, "to": days.until}


@click.group(cls=FailingGroup)
def report() -> None:
    """Report on money, by the local days of each site; rows and their totals.

    It takes the right report.read; who holds it at some sites sees those.
    """


@report.command
@_days
@click.option(
    "--by",
    type=click.Choice([each.value for each in ReportStep]),
    default=ReportStep.DAY.value,
    show_default=True,
    help="Length of a period.",
)
@_asked
def sales(asked: Asked, days: ReportDays, by: str) -> None:
    """What was sold, taken back and paid out, by day, month or year."""
    asked.show(
        ReportColumns(rows.SalesRow, rows.Takings, payable=True),
        lambda uow, scope: reports.sales(uow, scope, days, ReportStep(by)),
        **_told(days),
        by=by,
    )


@report.command
@_days
@_asked
def cashiers(asked: Asked, days: ReportDays) -> None:
    """What each cashier took, by channel and way of paying."""
    asked.show(
        ReportColumns(rows.CashierRow, rows.Takings, payable=True),
        lambda uow, scope: reports.takings_by_cashier(uow, scope, days),
        **_told(days),
    )


@report.command
@_days
@_asked
def balances(asked: Asked, days: ReportDays) -> None:
    """Topped up, used and remaining, by account."""
    asked.show(
        ReportColumns(rows.BalanceRow, rows.Movements, payable=False),
        lambda uow, scope: reports.balances(uow, scope, days),
        **_told(days),
    )


@report.command
@_days
@_asked
def refunds(asked: Asked, days: ReportDays) -> None:
    """Each refund, reversal and payout in a line."""
    asked.show(
        ReportColumns(rows.RefundRow, rows.PaidBack, payable=True),
        lambda uow, scope: reports.given_back(uow, scope, days),
        **_told(days),
    )


@report.command
@_asked
def ageing(asked: Asked) -> None:
    """What accounts owe now, by days since it was due."""
    at = now()
    asked.show(
        ReportColumns(rows.AgeingRow, rows.Arrears, payable=True),
        lambda uow, scope: reports.age_receivables(uow, scope, at=at),
        at=at,
    )


@report.command
@_days
@_asked
def bills(asked: Asked, days: ReportDays) -> None:
    """Bills by month: paid, and in arrears now."""
    at = now()
    asked.show(
        ReportColumns(rows.BillsRow, rows.Billed, payable=True),
        lambda uow, scope: reports.bills_by_month(uow, scope, days, at=at),
        **_told(days),
        at=at,
    )


@report.command
@_days
@_asked
def shares(asked: Asked, days: ReportDays) -> None:
    """Shared costs, and what of them is billed and paid."""
    if asked.account is not None:
        raise click.UsageError("a shared cost belongs to a site, not to an account")
    asked.show(
        ReportColumns(rows.ShareRow, rows.Shared, payable=True),
        lambda uow, scope: reports.shared_costs(uow, scope, days),
        **_told(days),
    )


@report.command
@click.option(
    "--state",
    "states",
    type=click.Choice([each.value for each in AccountState]),
    multiple=True,
    help="Only accounts in this state; may be given several times.",
)
@click.option("--low", is_flag=True, help="Only credit at or below a warning threshold.")
@_asked
def accounts(asked: Asked, states: tuple[str, ...], low: bool) -> None:
    """Open and closed accounts with what they have and owe; or credit that runs low."""
    if low and states:
        raise click.UsageError("--low is of open accounts: leave --state out")
    at = now()
    if low:
        asked.show(
            ReportColumns(rows.LowRow, rows.Credit, payable=False),
            lambda uow, scope: reports.low_balances(uow, scope, at=at),
            at=at,
        )
        return
    wanted = tuple(AccountState(state) for state in states or AccountState)
    asked.show(
        ReportColumns(rows.AccountRow, rows.Position, payable=False),
        lambda uow, scope: reports.list_accounts(uow, scope, wanted, at=at),
        at=at,
    )


@report.command("trial-balance")
@_days
@form_options
@operator_option
@pass_program
def trial_balance(program: Program, days: ReportDays, form: ReportForm) -> None:
    """Opening, debits, credits and closing of the ledger over whole months.

    The books are of the organisation: it takes the right report.read at all its sites.
    """

    async def work() -> AnyReport:
        async with program.database() as database:
            operator = await program.operator(database, Right.REPORT_READ)
            async with database.unit_of_work(read_only=True) as uow:
                return await reports.trial_balance(uow, operator.organisation_id, days)

    columns = ReportColumns(rows.TrialRow, rows.Turnover, payable=False)
    print_report(run(work()), columns, form, **_told(days))
