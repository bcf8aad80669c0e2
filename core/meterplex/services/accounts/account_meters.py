"""Adds meters to an account, takes one away, changes what one pays (F83, F93)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from meterplex.db import Database, UnitOfWork
from meterplex.domain.accounts import Account, AccountState
from meterplex.domain.estate import AccountId, Binding, OrganisationId, Site
from meterplex.domain.ledger import in_meter
from meterplex.plugin_manager import PluginManager
from meterplex.services.accounts.bind_meters import begin_binding, terms_of
from meterplex.services.accounts.binding_counters import GivenReadings, counters_at
from meterplex.services.accounts.continue_bindings import check_no_orders, continue_binding
from meterplex.services.accounts.find_accounts import (
    find_point,
    find_tariff,
    hold_account,
    open_bindings,
)
from meterplex.services.accounts.messages import push_limits, reconsider_supply
from meterplex.services.accounts.open_account import NewBinding, bind_point, check_terms
from meterplex.services.accounts.settle_meters import (
    ReadingsOfPoints,
    check_charged,
    check_points,
    readings_of,
    settle_account,
)
from meterplex.services.accounts.transfer_account import LIVING
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError, UnknownThingError
from meterplex.services.operators.audit import record


async def add_meters(
    database: Database,
    plugins: PluginManager,
    organisation_id: OrganisationId,
    account_id: AccountId,
    new: tuple[NewBinding, ...],
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> tuple[Binding, ...]:
    """Add usage points to an open account; return their bindings.

    Raises:
        MoneyError: the account is not open; or see :func:`bind_point`.
    """
    if not new:
        raise MoneyInputError("usage_points", "none is named")
    async with database.unit_of_work() as uow:
        account = await hold_account(uow, organisation_id, account_id, {AccountState.OPEN})
        site = await uow.sites.get(organisation_id, account.site_id)
        bindings = []
        for each in new:
            binding = await bind_point(uow, plugins, site, account, each, at=at, operator=operator)
            bindings.append(binding)
        await push_limits(uow, account, at)
        await reconsider_supply(uow, account, at)
        detail = {"usage_points": ", ".join(each.usage_point for each in new)}
        subject = f"account {account.number}"
        await record(uow, organisation_id, operator, "account.add_meter", subject, detail, at)
        if not dry_run:
            await uow.commit()
    return tuple(bindings)


async def remove_meter(
    database: Database,
    organisation_id: OrganisationId,
    account_id: AccountId,
    usage_point: str,
    *,
    readings: GivenReadings | None = None,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> Binding:
    """Take a usage point from an account, as of a reading; its meter then measures for nobody.

    Returns:
        The new binding of the meter, which has no account.

    Raises:
        MoneyError: the account has no such usage point, its meter holds credit, an order is on
            its way, or a reading cannot be true.
    """
    given: ReadingsOfPoints = {usage_point: readings} if readings else {}
    await settle_account(
        database, organisation_id, account_id, given, at=at, operator=operator, dry_run=dry_run
    )
    async with database.unit_of_work() as uow:
        account = await hold_account(uow, organisation_id, account_id, LIVING)
        site = await uow.sites.get(organisation_id, account.site_id)
        binding = await binding_at(uow, site, account, usage_point)
        await check_no_orders(uow, account)
        await _check_empty(uow, account, binding)
        meter = await uow.meters.get(organisation_id, binding.meter_id)
        counters = await counters_at(uow, meter, readings or {}, at, operator=operator)
        if not dry_run:
            await check_charged(uow, binding, meter, counters)
        nobodys = await begin_binding(uow, None, binding, None, counters, at)
        await reconsider_supply(uow, account, at)
        detail = {"usage_point": usage_point, "meter": meter.serial}
        subject = f"account {account.number}"
        await record(uow, organisation_id, operator, "account.remove_meter", subject, detail, at)
        if not dry_run:
            await uow.commit()
    return nobodys


async def binding_at(
    uow: UnitOfWork, site: Site, account: Account, usage_point: str, field: str = "usage_point"
) -> Binding:
    """Return the open binding of an account at a usage point.

    Raises:
        UnknownThingError: there is no such usage point, or it is not the account's.
    """
    point = await find_point(uow, site, usage_point, field)
    for binding in await open_bindings(uow, account):
        if binding.usage_point_id == point.id:
            return binding
    raise UnknownThingError(field, f"{usage_point!r} does not belong to account {account.number}")


async def _check_empty(uow: UnitOfWork, account: Account, binding: Binding) -> None:
    held = in_meter(binding.id)
    balances = await uow.ledger.balances(account.organisation_id, account.currency, [held])
    if balances[held]:
        raise MoneyConflictError(
            "usage_point", "its meter holds credit or arrears: refund or convert first"
        )


@dataclass(frozen=True, slots=True)
class ChangeTariff:
    """Another tariff for an account, or for one of its usage points.

    Attributes:
        tariff: code; for a usage point, empty takes the account's.
        usage_point: empty changes the account, and with it all that have no tariff of their own.
        price_override: of the usage point; None for none.
        readings: what meters show now, by code of the usage point.
    """

    organisation_id: OrganisationId
    account_id: AccountId
    tariff: str
    usage_point: str = ""
    price_override: Mapping[str, Any] | None = None
    readings: ReadingsOfPoints = field(default_factory=dict)


async def change_tariff(
    database: Database,
    plugins: PluginManager,
    wanted: ChangeTariff,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> Account:
    """Rate use by another tariff from a reading on; what was used before keeps the one it had.

    Raises:
        MoneyError: the tariff is unknown or does not fit, the account has no such usage point, an
            order is on its way, or a reading cannot be true.
    """
    organisation_id, account_id = wanted.organisation_id, wanted.account_id
    if wanted.price_override is not None and not wanted.usage_point:
        raise MoneyInputError("price_override", "is for one usage point: name it")
    await settle_account(
        database,
        organisation_id,
        account_id,
        wanted.readings,
        at=at,
        operator=operator,
        dry_run=dry_run,
    )
    async with database.unit_of_work() as uow:
        before = await hold_account(uow, organisation_id, account_id, LIVING)
        await check_no_orders(uow, before)
        site = await uow.sites.get(organisation_id, before.site_id)
        if wanted.tariff:
            await find_tariff(uow, site, wanted.tariff, at)
        after, chosen = await _chosen(uow, site, before, wanted)
        await check_points(uow, chosen, wanted.readings)
        for binding in chosen:
            await _retariff(
                uow,
                plugins,
                site,
                before,
                after,
                binding,
                wanted,
                at,
                operator,
                charged=not dry_run,
            )
        await uow.accounts.replace(after)
        await reconsider_supply(uow, after, at)
        detail = {
            "tariff": wanted.tariff,
            "usage_point": wanted.usage_point,
            "price_override": "yes" if wanted.price_override is not None else "no",
        }
        subject = f"account {after.number}"
        await record(uow, organisation_id, operator, "account.tariff", subject, detail, at)
        if not dry_run:
            await uow.commit()
    return after


async def _chosen(
    uow: UnitOfWork, site: Site, before: Account, wanted: ChangeTariff
) -> tuple[Account, tuple[Binding, ...]]:
    """Return the account as it will be, and the bindings that get another tariff."""
    if wanted.usage_point:
        return before, (await binding_at(uow, site, before, wanted.usage_point),)
    if not wanted.tariff:
        raise MoneyInputError("tariff", "is empty")
    bindings = await open_bindings(uow, before)
    return replace(before, tariff=wanted.tariff), tuple(
        binding for binding in bindings if not binding.tariff
    )


async def _retariff(
    uow: UnitOfWork,
    plugins: PluginManager,
    site: Site,
    before: Account,
    after: Account,
    binding: Binding,
    wanted: ChangeTariff,
    at: datetime,
    operator: str,
    *,
    charged: bool,
) -> None:
    meter = await uow.meters.get(binding.organisation_id, binding.meter_id)
    terms = terms_of(binding, before)
    if wanted.usage_point:
        terms = replace(terms, tariff=wanted.tariff, price_override=wanted.price_override)
    await check_terms(uow, plugins, site, after, meter, terms, at)
    if not binding.tariff and after.tariff != before.tariff:
        # What is charged late keeps the tariff that it was used under.
        await uow.bindings.replace(replace(binding, tariff=before.tariff))
    readings = await readings_of(uow, binding, wanted.readings)
    await continue_binding(
        uow, site, after, binding, terms, readings, at=at, operator=operator, charged=charged
    )
