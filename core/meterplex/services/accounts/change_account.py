"""Changes what an account is held to: limits, the order of deductions, heads (F53, F57, F60)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from meterplex.db import Database
from meterplex.domain.accounts import Account, AccountState, Category, format_deduction_order
from meterplex.domain.estate import AccountId, OrganisationId
from meterplex.services.accounts.find_accounts import hold_account
from meterplex.services.accounts.messages import push_limits, reconsider_supply
from meterplex.services.accounts.open_account import (
    AccountLimits,
    check_head_count,
    check_limits,
    checked_overload,
)
from meterplex.services.books.errors import MoneyInputError
from meterplex.services.operators.audit import record


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What of an account becomes another.

    Attributes:
        limits: by name of the field of ``AccountLimits``; those that are left out stay.
        deduction_order: and ``head_count``: None leaves it as it is.
        overload_kw: power above which its meters disconnect; None leaves it as it is.
    """

    limits: Mapping[str, int | None] = field(default_factory=dict)
    deduction_order: tuple[Category, ...] | None = None
    head_count: int | None = None
    overload_kw: Decimal | None = None


async def change_account(
    database: Database,
    organisation_id: OrganisationId,
    account_id: AccountId,
    change: AccountChange,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> Account:
    """Change an account; what its meters keep of it is written to them.

    Raises:
        UnknownAccountError, AccountStateError: there is no such account, or it is being closed.
        MoneyInputError: a value cannot be, or nothing is to change.
    """
    overload = checked_overload(change.overload_kw)
    living = {AccountState.OPEN, AccountState.SUSPENDED}
    async with database.unit_of_work() as uow:
        account = await hold_account(uow, organisation_id, account_id, living)
        changed = _changed(account, change)
        detail = _difference(account, changed)
        if overload:
            detail["overload_kw"] = overload
        if not detail:
            raise MoneyInputError("change", "nothing is to change")
        await uow.accounts.replace(changed)
        await reconsider_supply(uow, changed, at)
        if change.limits or overload:
            await push_limits(uow, changed, at, overload)
        subject = f"account {account.number}"
        await record(uow, organisation_id, operator, "account.set", subject, detail, at)
        if not dry_run:
            await uow.commit()
    return changed


def _changed(account: Account, change: AccountChange) -> Account:
    known = AccountLimits.__dataclass_fields__
    if strange := sorted(change.limits.keys() - known.keys()):
        raise MoneyInputError("limits", f"unknown {', '.join(strange)}")
    limits = {name: change.limits.get(name, getattr(account, name)) for name in known}
    for name in ("overdraft_units", "emergency_units"):
        if limits[name] is None:
            raise MoneyInputError(name.removesuffix("_units"), "has no default of the site's")
    check_limits(AccountLimits(**limits))
    check_head_count(change.head_count)
    if change.deduction_order is not None:
        account = replace(account, deduction_order=change.deduction_order)
    if change.head_count is not None:
        account = replace(account, head_count=change.head_count)
    return replace(account, **limits)


def _difference(before: Account, after: Account) -> dict[str, str]:
    difference = {}
    for name in (*AccountLimits.__dataclass_fields__, "head_count"):
        was, becomes = getattr(before, name), getattr(after, name)
        if was != becomes:
            difference[name] = f"{was} -> {becomes}"
    if before.deduction_order != after.deduction_order:
        difference["deduction_order"] = format_deduction_order(after.deduction_order)
    return difference
