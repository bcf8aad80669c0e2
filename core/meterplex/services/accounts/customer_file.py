"""The customer file: an account with all that is known of it (F95, F96)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from meterplex.db import UnitOfWork
from meterplex.db.accounts import BindingOpening
from meterplex.domain.accounts import Account, AccountState, Customer
from meterplex.domain.estate import (
    Binding,
    Channel,
    Gateway,
    Meter,
    OrganisationId,
    Site,
    UsagePoint,
)
from meterplex.domain.ledger import Entry
from meterplex.services.accounts.balances import AccountBalance, account_balance


@dataclass(frozen=True, slots=True)
class MeterFile:
    """A meter of an account, with where it is and what it began with.

    Attributes:
        gateway: that its channel is behind; None for one that needs none.
        openings: by the order of their registers' names; closing values once it ended.
    """

    binding: Binding
    usage_point: UsagePoint
    meter: Meter
    channel: Channel
    gateway: Gateway | None
    openings: tuple[BindingOpening, ...]


@dataclass(frozen=True, slots=True)
class AccountFile:
    """An account with its customer, balances and meters, the former ones too."""

    account: Account
    customer: Customer
    site: Site
    balance: AccountBalance
    meters: tuple[MeterFile, ...]


async def account_file(uow: UnitOfWork, account: Account) -> AccountFile:
    """Return the file of an account."""
    bindings = await uow.bindings.of_account(account.organisation_id, account.id)
    return AccountFile(
        account,
        await uow.customers.get(account.organisation_id, account.customer_id),
        await uow.sites.get(account.organisation_id, account.site_id),
        await account_balance(uow, account),
        tuple([await _meter_file(uow, binding) for binding in bindings]),
    )


async def _meter_file(uow: UnitOfWork, binding: Binding) -> MeterFile:
    whose = binding.organisation_id
    meter = await uow.meters.get(whose, binding.meter_id)
    channel = await uow.channels.get(whose, meter.channel_id)
    openings = await uow.binding_openings.of_binding(whose, binding.id)
    return MeterFile(
        binding,
        await uow.usage_points.get(whose, binding.usage_point_id),
        meter,
        channel,
        None if channel.gateway_id is None else await uow.gateways.get(whose, channel.gateway_id),
        tuple(openings[slug] for slug in sorted(openings)),
    )


@dataclass(frozen=True, slots=True)
class AccountLine:
    """An account in a list."""

    account: Account
    customer: Customer
    site: Site
    balance: AccountBalance


async def list_accounts(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    sites: Collection[Site],
    states: Collection[AccountState],
) -> tuple[AccountLine, ...]:
    """Return the accounts of some sites in some states, by number."""
    by_id = {site.id: site for site in sites}
    customers = {each.id: each for each in await uow.customers.all(organisation_id)}
    return tuple(
        [
            AccountLine(
                account,
                customers[account.customer_id],
                by_id[account.site_id],
                await account_balance(uow, account),
            )
            for account in await uow.accounts.in_states(organisation_id, states)
            if account.site_id in by_id
        ]
    )


async def statement(
    uow: UnitOfWork, account: Account, start: datetime | None, end: datetime | None
) -> tuple[Entry, ...]:
    """Return all that was booked for an account in ``[start, end)``, in order."""
    return await uow.ledger.of_account(account.organisation_id, account.id, start, end)
