"""What follows where an estate file opened accounts: where they begin, what their meters hold."""

from datetime import datetime

from meterplex.db import UnitOfWork
from meterplex.db.accounts import BindingOpening
from meterplex.domain.accounts import Account
from meterplex.domain.estate import Binding, Meter, Site
from meterplex.sdk.accounts import AccountEventKind
from meterplex.services.accounts.bind_meters import take_in_credit
from meterplex.services.accounts.binding_counters import counters_at
from meterplex.services.accounts.first_readings import await_first_readings
from meterplex.services.accounts.messages import push_limits, reconsider_supply, tell_event
from meterplex.services.estate.draft import EstateDraft


async def open_imported(
    uow: UnitOfWork, draft: EstateDraft, *, at: datetime, operator: str
) -> None:
    """Begin the bindings that a draft gave to accounts, in the transaction that wrote it.

    Bindings begin at what their meters showed last; where that was never read, at the first
    reading.
    """
    accounts = {account.id: account for account in draft.accounts.things.values()}
    sites = {site.id: site for site in draft.sites.things.values()}
    meters = {meter.id: meter for meter in draft.meters.things.values()}
    for binding in (*draft.bindings.updated(), *draft.bindings.added()):
        if binding.account_id is None:
            continue
        account = accounts[binding.account_id]
        await _begin(
            uow,
            binding,
            meters[binding.meter_id],
            account,
            sites[account.site_id],
            at=at,
            operator=operator,
        )
    for account in draft.accounts.added():
        await tell_event(uow, account, sites[account.site_id], AccountEventKind.OPENED, at)
    for account in (*draft.accounts.added(), *draft.accounts.updated()):
        await reconsider_supply(uow, account, at)
        await push_limits(uow, account, at)


async def _begin(
    uow: UnitOfWork,
    binding: Binding,
    meter: Meter,
    account: Account,
    site: Site,
    *,
    at: datetime,
    operator: str,
) -> None:
    counters = await counters_at(uow, meter, {}, at, operator=operator, age_max=None)
    if counters is None:
        await await_first_readings(uow, [binding], at)
    else:
        await uow.binding_openings.add_all(
            BindingOpening(binding.organisation_id, binding.id, register, value)
            for register, value in counters.values.items()
        )
    if binding.mode is not None and binding.mode.in_meter:
        await take_in_credit(uow, site, account, binding, meter, at=at, operator=operator)
