"""Debts paid off by agreement: arrears or an old debt moved under a plan (F69, B16).

From then on the claim is the ledger's DEBT account of the plan, and payments give to it what the
plan says before they become credit; see ``deduct_dues``.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.domain.accounts import Account, AccountState, Category
from meterplex.domain.bills import AccountDebt, DebtPlanId
from meterplex.domain.debt_plans import (
    DebtPlan,
    InstalmentPeriod,
    Instalments,
    PaymentShare,
    instalment_due,
)
from meterplex.domain.estate import AccountId, OrganisationId, Site
from meterplex.domain.ledger import BROUGHT_IN, EntryKind, LedgerAccount, Posting, debt, receivable
from meterplex.services.accounts.find_accounts import checked_name, hold_account
from meterplex.services.accounts.messages import reconsider_supply
from meterplex.services.books.amounts import format_amount
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import AmountError, MoneyInputError, NotEnoughCreditError
from meterplex.services.operators.audit import record


@dataclass(frozen=True, slots=True)
class NewDebtPlan:
    """A debt plan as agreed: a share of each payment, or instalments.

    Attributes:
        amount_units: ledger units; None takes all that is owed in the category.
        category: whose arrears are moved; None for a debt from outside.
        percent: share of each payment; None for instalments.
        instalment_units: each period; None for a share.
        first_on: local date of the first instalment.
    """

    account_id: AccountId
    name: str
    amount_units: int | None = None
    category: Category | None = None
    percent: Decimal | None = None
    instalment_units: int | None = None
    first_on: date | None = None
    period: InstalmentPeriod = InstalmentPeriod.MONTH

    def rule(self, zone: ZoneInfo) -> PaymentShare | Instalments:
        """Return the rule.

        Raises:
            MoneyInputError: neither or both ways, or instalments without a first date.
            DebtPlanError: a share or an instalment that means nothing.
        """
        if self.percent is not None and self.instalment_units is None:
            return PaymentShare(self.percent)
        if self.percent is None and self.instalment_units is not None:
            if self.first_on is None:
                raise MoneyInputError("first_on", "instalments need the date of the first")
            return Instalments(self.instalment_units, self.first_on, zone, self.period)
        raise MoneyInputError("percent", "expected a share of each payment or instalments, one")


@dataclass(frozen=True, slots=True)
class DebtState:
    """A debt plan and how far it has come; ledger units.

    Attributes:
        due_units: what of its instalments is due now and not paid; 0 for a share.
    """

    debt: AccountDebt
    left_units: int
    due_units: int

    @property
    def paid_units(self) -> int:
        """What was paid on it."""
        return self.debt.plan.debt_units - self.left_units


async def add_debt_plan(
    database: Database,
    organisation_id: OrganisationId,
    new: NewDebtPlan,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> AccountDebt:
    """Put arrears, or a debt from outside, under a plan.

    Raises:
        MoneyError: no such account, one that is closed, more than it owes, or no amount.
        DebtPlanError: a plan that cannot pay off a debt.
    """
    async with database.unit_of_work() as uow:
        open_states = {AccountState.OPEN, AccountState.SUSPENDED}
        account = await hold_account(uow, organisation_id, new.account_id, open_states)
        site = await uow.sites.get(organisation_id, account.site_id)
        amount_units = await _amount(uow, account, new)
        plan_id = DebtPlanId(uuid_utils.compat.uuid7())
        rule = new.rule(ZoneInfo(site.time_zone))
        added = AccountDebt(
            plan_id,
            organisation_id,
            account.id,
            checked_name(new.name, "name"),
            account.currency,
            DebtPlan(str(plan_id), amount_units, rule),
            at,
            operator,
        )
        await uow.debt_plans.add(added)
        source = BROUGHT_IN if new.category is None else receivable(account.id, new.category)
        await _move(uow, site, account, added, source, at, operator)
        if not dry_run:
            await uow.commit()
    return added


async def _amount(uow: UnitOfWork, account: Account, new: NewDebtPlan) -> int:
    if new.category is None:
        if new.amount_units is None:
            raise AmountError("amount", "a debt from outside needs one")
        return new.amount_units
    if new.category is Category.DEBT:
        raise MoneyInputError("category", "a debt is under a plan already")
    owed = receivable(account.id, new.category)
    balances = await uow.ledger.lock(account.organisation_id, account.currency, [owed])
    left = max(-balances[owed], 0)
    amount = left if new.amount_units is None else new.amount_units
    if not 0 < amount <= left:
        owing, asked = (format_amount(units, account.currency) for units in (left, amount))
        raise NotEnoughCreditError("amount", f"{asked}: {owing} is owed for {new.category}")
    return amount


async def _move(
    uow: UnitOfWork,
    site: Site,
    account: Account,
    added: AccountDebt,
    source: LedgerAccount,
    at: datetime,
    operator: str,
) -> None:
    amount_units = added.plan.debt_units
    kind = EntryKind.OPENING if source == BROUGHT_IN else EntryKind.TRANSFER
    await book(
        uow,
        site,
        kind,
        [Posting(debt(added.id), source, amount_units)],
        currency=account.currency,
        at=at,
        operator=operator,
        account=account,
        memo=f"under debt plan {added.name}",
    )
    await reconsider_supply(uow, account, at)
    amount = format_amount(amount_units, account.currency)
    detail = {"plan": added.name, "amount": amount, "from": str(source.kind)}
    subject = f"account {account.number}"
    await record(uow, account.organisation_id, operator, "debt.add", subject, detail, at)


async def debt_states(
    uow: UnitOfWork, account: Account, *, at: datetime, ended: bool = False
) -> tuple[DebtState, ...]:
    """Return the debt plans of an account and how far they have come; with ``ended`` all."""
    debts = await uow.debt_plans.of_account(account.organisation_id, account.id, ended=ended)
    names = [debt(each.id) for each in debts]
    balances = await uow.ledger.balances(account.organisation_id, account.currency, names)
    return tuple(
        DebtState(
            each,
            -balances[name],
            instalment_due(each.plan, each.plan.debt_units + balances[name], at),
        )
        for each, name in zip(debts, names, strict=True)
    )
