"""Suspends an account, and lets it go on: no vends meanwhile; charges and supply stay (F81)."""

from dataclasses import replace
from datetime import datetime

from meterplex.db import Database
from meterplex.domain.accounts import Account, AccountState
from meterplex.domain.estate import AccountId, OrganisationId
from meterplex.services.accounts.find_accounts import hold_account
from meterplex.services.accounts.messages import reconsider_supply
from meterplex.services.operators.audit import record


async def suspend_account(
    database: Database,
    organisation_id: OrganisationId,
    account_id: AccountId,
    *,
    reason: str,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> Account:
    """Take no vends for an account until it is resumed.

    Raises:
        UnknownAccountError: there is no such account.
        AccountStateError: it is not open.
    """
    return await _move(
        database,
        organisation_id,
        account_id,
        AccountState.OPEN,
        AccountState.SUSPENDED,
        reason=reason,
        at=at,
        operator=operator,
        dry_run=dry_run,
    )


async def resume_account(
    database: Database,
    organisation_id: OrganisationId,
    account_id: AccountId,
    *,
    reason: str = "",
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> Account:
    """Let a suspended account go on.

    Raises:
        UnknownAccountError: there is no such account.
        AccountStateError: it is not suspended.
    """
    return await _move(
        database,
        organisation_id,
        account_id,
        AccountState.SUSPENDED,
        AccountState.OPEN,
        reason=reason,
        at=at,
        operator=operator,
        dry_run=dry_run,
    )


async def _move(
    database: Database,
    organisation_id: OrganisationId,
    account_id: AccountId,
    before: AccountState,
    after: AccountState,
    *,
    reason: str,
    at: datetime,
    operator: str,
    dry_run: bool,
) -> Account:
    async with database.unit_of_work() as uow:
        account = await hold_account(uow, organisation_id, account_id, {before})
        moved = replace(account, state=after)
        await uow.accounts.replace(moved)
        await reconsider_supply(uow, moved, at)
        verb = "suspend" if after is AccountState.SUSPENDED else "resume"
        subject, detail = f"account {account.number}", {"reason": reason}
        await record(uow, organisation_id, operator, f"account.{verb}", subject, detail, at)
        if not dry_run:
            await uow.commit()
    return moved
