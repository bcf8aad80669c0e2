"""Low-balance warnings: each level once an episode, with a notice to the customer (F56, F57).

The warning, its notice and the outbox row that has it sent are written together. A warning counts
from when its notifier said that it left; who cannot be reached stands on a list until somebody
has brought it on paper.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.db.notices import Notice, NoticeId, StoredWarning, WarningId
from meterplex.domain.accounts import Account
from meterplex.domain.estate import BindingId, OrganisationId, Site
from meterplex.domain.warnings import (
    COUNTED,
    Thresholds,
    WarningLevel,
    WarningState,
    due_warnings,
    episodes_ended,
)
from meterplex.sdk.accounts import AccountEventKind
from meterplex.services.accounts.messages import reconsider_supply, tell_event
from meterplex.services.books.amounts import format_amount
from meterplex.services.books.errors import MoneyConflictError
from meterplex.services.estate.site_policies import SiteParameters
from meterplex.services.follow_up.notices import tell_customer
from meterplex.services.operators.audit import record

_EVENTS: Final = {
    WarningLevel.ALARM_1: AccountEventKind.LOW_1,
    WarningLevel.ALARM_2: AccountEventKind.LOW_2,
    WarningLevel.ARREARS: AccountEventKind.ARREARS,
}


async def warn(
    uow: UnitOfWork,
    account: Account,
    site: Site,
    parameters: SiteParameters,
    balance_units: int | None,
    at: datetime,
    *,
    binding_id: BindingId | None = None,
    only_arrears: bool = False,
) -> tuple[StoredWarning, ...]:
    """Raise the warnings that are due and end the episodes that are over.

    Args:
        balance_units: of the account, or of the meter of ``binding_id``; None, not known, does
            nothing.
        only_arrears: for what is billed there is no low balance, only what is overdue.

    Returns:
        The warnings raised now.
    """
    if balance_units is None:
        return ()
    thresholds = parameters.thresholds_of(account)
    if only_arrears:
        thresholds = Thresholds(-1, -1, -1)
    open_ = await uow.warnings.of_episode(account.organisation_id, account.id, binding_id)
    told = {each.level for each in open_}
    over = set(episodes_ended(balance_units, thresholds, told))
    ended = [each.id for each in open_ if each.level in over]
    if ended:
        await uow.warnings.end(account.organisation_id, ended, at)
    levels = due_warnings(balance_units, thresholds, told)
    if only_arrears:
        levels = tuple(level for level in levels if level is WarningLevel.ARREARS)
    raised = [_warning(account, binding_id, level, balance_units, at) for level in levels]
    await uow.warnings.add_all(raised)
    if raised:
        # One message tells the worst of several levels; the others count with it.
        await _tell(uow, account, parameters, thresholds, raised[-1], at)
    for warning in raised:
        await tell_event(uow, account, site, _EVENTS[warning.level], at)
    return tuple(raised)


async def note_on_paper(
    database: Database,
    organisation_id: OrganisationId,
    notice_id: NoticeId,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> Notice:
    """Note that somebody brought a notice that could not be sent, on paper; it counts from now.

    Raises:
        NotFoundError: there is no such notice.
        MoneyConflictError: it was sent, or brought, already.
    """
    async with database.unit_of_work() as uow:
        notice = await uow.notices.get(organisation_id, notice_id)
        if notice.account_id is not None:
            await uow.accounts.lock(organisation_id, notice.account_id)
        if notice.state in COUNTED:
            raise MoneyConflictError("notice", f"it is {notice.state} already")
        brought = replace(notice, state=WarningState.ON_PAPER, notifier="paper", sent_at=at)
        await uow.notices.replace(brought)
        if notice.warning_id is not None:
            await note_told(uow, brought, notice.warning_id, at, operator)
        subject = f"notice {notice_id}"
        await record(uow, organisation_id, operator, "notice.paper", subject, {}, at)
        if not dry_run:
            await uow.commit()
    return brought


async def note_told(
    uow: UnitOfWork, notice: Notice, warning_id: WarningId, at: datetime, by: str
) -> None:
    """Let a warning, and those that were raised with it, come as far as its notice."""
    warning = await uow.warnings.get(notice.organisation_id, warning_id)
    noted = await uow.warnings.note_state(warning, notice.state, at=at, by=by)
    if noted and notice.state in COUNTED and notice.account_id is not None:
        account = await uow.accounts.get(notice.organisation_id, notice.account_id)
        await reconsider_supply(uow, account, at)


def _warning(
    account: Account,
    binding_id: BindingId | None,
    level: WarningLevel,
    balance_units: int,
    at: datetime,
) -> StoredWarning:
    return StoredWarning(
        WarningId(uuid_utils.compat.uuid7()),
        account.organisation_id,
        account.id,
        binding_id,
        level,
        at,
        balance_units,
        at,
    )


async def _tell(
    uow: UnitOfWork,
    account: Account,
    parameters: SiteParameters,
    thresholds: Thresholds,
    warning: StoredWarning,
    at: datetime,
) -> Notice:
    lead = parameters.supply.warning_lead
    words = {
        "balance": format_amount(warning.balance_units, account.currency),
        "threshold": format_amount(thresholds.of(warning.level), account.currency),
        "lead": _in_words(lead),
    }
    return await tell_customer(uow, account, warning.level.value, words, at, warning.id)


def _in_words(lead: timedelta) -> str:
    """Return a time in hours, or in minutes where it is no whole number of hours."""
    minutes = lead // timedelta(minutes=1)
    return f"{minutes} min" if minutes % 60 else f"{minutes // 60} h"
