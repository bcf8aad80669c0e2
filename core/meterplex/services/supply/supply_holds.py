"""Holds: set and ended by people, for one account or a whole site."""

from datetime import datetime

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.db.supply import StoredHold, StoredHoldId
from meterplex.domain.accounts import Account, AccountState
from meterplex.domain.estate import OrganisationId, Site
from meterplex.domain.supply_holds import HoldOwner
from meterplex.services.accounts.messages import reconsider_supply
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.operators.audit import record

REASON_LENGTH_MAX = 200


async def set_hold(
    database: Database,
    site: Site,
    account: Account | None,
    owner: HoldOwner,
    *,
    reason: str,
    until: datetime | None,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> StoredHold:
    """Keep supply on, for an account or for all of a site.

    Raises:
        MoneyInputError: no reason, an end that has passed, or an owner that is no person's.
    """
    if owner is HoldOwner.WINDOW:
        raise MoneyInputError("owner", "the program sets the window's own hold")
    reason = reason.strip()
    if not 1 <= len(reason) <= REASON_LENGTH_MAX:
        raise MoneyInputError("reason", f"expected 1 to {REASON_LENGTH_MAX} characters")
    if until is not None and until <= at:
        raise MoneyInputError("until", f"{until.isoformat()}: expected a time to come")
    async with database.unit_of_work() as uow:
        hold = await add_hold(
            uow, site, account, owner, reason=reason, until=until, at=at, operator=operator
        )
        if not dry_run:
            await uow.commit()
    return hold


async def add_hold(
    uow: UnitOfWork,
    site: Site,
    account: Account | None,
    owner: HoldOwner,
    *,
    reason: str,
    until: datetime | None,
    at: datetime,
    operator: str,
) -> StoredHold:
    """Set a hold in the caller's transaction; see :func:`set_hold`."""
    hold = StoredHold(
        StoredHoldId(uuid_utils.compat.uuid7()),
        site.organisation_id,
        site.id,
        None if account is None else account.id,
        owner.value,
        reason,
        at,
        until,
        operator,
    )
    await uow.supply_holds.add(hold)
    await _reconsider(uow, hold, at)
    detail = {"owner": owner.value, "reason": reason, "whose": _whose(site, account)}
    detail["until"] = "" if until is None else until.isoformat()
    await record(
        uow, site.organisation_id, operator, "supply.hold.set", f"hold {hold.id}", detail, at
    )
    return hold


async def end_hold(
    database: Database,
    organisation_id: OrganisationId,
    hold_id: StoredHoldId,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> StoredHold:
    """End a hold.

    Raises:
        NotFoundError: there is no such hold.
        MoneyConflictError: it is ended already.
    """
    async with database.unit_of_work() as uow:
        hold = await uow.supply_holds.end(organisation_id, hold_id, at, operator)
        if hold is None:
            await uow.supply_holds.get(organisation_id, hold_id)
            raise MoneyConflictError("hold", "it is ended already")
        await _reconsider(uow, hold, at)
        await record(uow, organisation_id, operator, "supply.hold.end", f"hold {hold_id}", {}, at)
        if not dry_run:
            await uow.commit()
    return hold


async def _reconsider(uow: UnitOfWork, hold: StoredHold, at: datetime) -> None:
    if hold.account_id is not None:
        accounts = [await uow.accounts.get(hold.organisation_id, hold.account_id)]
    else:
        accounts = [*await uow.accounts.in_site(hold.organisation_id, hold.site_id)]
    for account in accounts:
        if account.state is not AccountState.CLOSED:
            await reconsider_supply(uow, account, at)


def _whose(site: Site, account: Account | None) -> str:
    return f"site {site.code}" if account is None else f"account {account.number}"
