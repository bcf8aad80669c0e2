"""Writes what a draft adds and changes, in an order in which no key is taken on the way."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from meterplex.db import UnitOfWork
from meterplex.domain.estate import ChannelId, Meter, UsagePoint, UsagePointId
from meterplex.services.estate.draft import EstateDraft


async def write_draft(uow: UnitOfWork, draft: EstateDraft, at: datetime) -> None:
    """Write a draft without problems; the caller commits.

    Args:
        at: when bindings that changed ended.

    Raises:
        ConflictError: a key was taken by somebody else meanwhile.
    """
    if draft.organisation_is_new:
        await uow.organisations.add(draft.organisation)
    await _write_property(uow, draft)
    await _write_meters(uow, draft, at)
    await uow.usage_points.add_all(_parents_first(draft.usage_points.added()))
    for point in draft.usage_points.updated():
        await uow.usage_points.replace(point)
    await _write_accounts(uow, draft)
    await _write_bindings(uow, draft, at)


async def _write_accounts(uow: UnitOfWork, draft: EstateDraft) -> None:
    await uow.customers.add_all(draft.customers.added())
    for customer in draft.customers.updated():
        await uow.customers.replace(customer)
    await uow.accounts.add_all(draft.accounts.added())
    for account in draft.accounts.updated():
        await uow.accounts.replace(account)


async def _write_property(uow: UnitOfWork, draft: EstateDraft) -> None:
    await uow.sites.add_all(draft.sites.added())
    for site in draft.sites.updated():
        await uow.sites.replace(site)
    await uow.buildings.add_all(draft.buildings.added())
    for building in draft.buildings.updated():
        await uow.buildings.replace(building)
    await uow.units.add_all(draft.units.added())
    for unit in draft.units.updated():
        await uow.units.replace(unit)
    await uow.gateways.add_all(draft.gateways.added())
    for gateway in draft.gateways.updated():
        await uow.gateways.replace(gateway)
    await uow.channels.add_all(draft.channels.added())
    for channel in draft.channels.updated():
        await uow.channels.replace(channel)


async def _write_meters(uow: UnitOfWork, draft: EstateDraft, at: datetime) -> None:
    updated = draft.meters.updated()
    # Meters may swap addresses: whoever stands at a place that another takes steps aside first.
    taken = {_place(meter) for meter in (*updated, *draft.meters.added())}
    for meter in updated:
        standing = draft.meters.standing(meter.serial)
        if standing is not None and standing.removed_at is None and _place(standing) in taken:
            await uow.meters.replace(replace(standing, removed_at=at))
    for meter in updated:
        await uow.meters.replace(meter)
    await uow.meters.add_all(draft.meters.added())


def _place(meter: Meter) -> tuple[ChannelId, str]:
    return meter.channel_id, meter.address


def _parents_first(points: Iterable[UsagePoint]) -> list[UsagePoint]:
    """Return the points in an order in which each comes after its parent."""
    left = {point.id: point for point in points}
    ordered: list[UsagePoint] = []
    while left:
        chain: list[UsagePoint] = []
        identifier: UsagePointId | None = next(iter(left))
        while identifier in left:
            point = left.pop(identifier)
            chain.append(point)
            identifier = point.parent_id
        ordered += reversed(chain)
    return ordered


async def _write_bindings(uow: UnitOfWork, draft: EstateDraft, at: datetime) -> None:
    updated = draft.bindings.updated()
    for binding in updated:
        standing = draft.bindings.standing(binding.meter_id)
        if standing is not None:
            await uow.bindings.end(standing.organisation_id, standing.id, at)
    await uow.bindings.add_all((*updated, *draft.bindings.added()))
