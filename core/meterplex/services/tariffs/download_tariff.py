"""Brings a tariff to the meters that can hold it, and tells what became of each of them.

Prices and calendar go as two commands a meter, all of one batch, written in one transaction; the
head-end sends them and counts a meter's as confirmed when they were read back equal. A meter that
cannot hold the tariff has a row in the batch too, FAILED from the start, that says why. A meter
whose binding has prices of its own gets those.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.domain.commands import SETTLED, Command, CommandId, CommandKind, CommandState
from meterplex.domain.estate import Meter, MeterId, Organisation, Site
from meterplex.domain.operators import Operator
from meterplex.domain.tariff import TariffError, TariffVersion
from meterplex.plugin_manager import PluginManager
from meterplex.services.metering.command_arguments import calendar_arguments
from meterplex.services.metering.issue_commands import (
    NOT_AFTER_MAX,
    CommandBatch,
    NobodyCanError,
    check_rights,
    find_obstacle,
    write_commands,
)
from meterplex.services.operators.audit import record
from meterplex.services.tariffs.document import tariff_digest
from meterplex.services.tariffs.meter_terms import MeterTerms, meter_terms
from meterplex.services.tariffs.price_override import tariff_of_meter

_NAMED_AT_MOST: Final = 5


class DownloadError(Exception):
    """A tariff that may not be brought to any meter now; nothing was written."""


class Holding(StrEnum):
    """Whether a meter holds a tariff that it was sent."""

    HELD = "held"
    """All of it was read back."""
    REFUSED = "refused"
    """Some of it will not be in the meter; the reason says what."""
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class MeterHolding:
    """What became of a tariff at one meter; ``reason`` in one line."""

    meter_id: MeterId
    state: Holding
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Order:
    """A meter with what it is to hold, or why it cannot."""

    meter: Meter
    terms: MeterTerms | None
    obstacle: str = ""


async def download_tariff(
    database: Database,
    plugins: PluginManager,
    organisation: Organisation,
    meters: Collection[Meter],
    tariff: TariffVersion,
    *,
    asked_by: Operator,
    at: datetime,
    early: bool = False,
    dry_run: bool = False,
) -> CommandBatch:
    """Write the commands that bring a sound tariff to some meters.

    Args:
        at: now.
        early: also when the tariff is not valid yet; meters charge it from the moment they hold it.
        dry_run: do all of it, but keep nothing.

    Raises:
        DownloadError: the tariff is in another currency or not valid yet, or there is no meter.
        NobodyCanError: not one of the meters can hold it.
        ForbiddenError: the operator may not command the meters of a site.
    """
    if not meters:
        raise DownloadError("there is no meter")
    check_rights(asked_by, CommandKind.WRITE_PRICES, meters)
    _refuse_for_all(organisation, tariff, at, early=early)
    batch_id = uuid_utils.compat.uuid7()
    async with database.unit_of_work() as uow:
        orders = await _orders(uow, plugins, organisation, meters, tariff)
        if all(order.obstacle for order in orders):
            raise NobodyCanError(_reasons(order.obstacle for order in orders))
        commands = [
            Command(
                id=CommandId(uuid_utils.compat.uuid7()),
                organisation_id=organisation.id,
                meter_id=order.meter.id,
                kind=kind,
                asked_by=asked_by.name,
                created_at=at,
                not_after=at + NOT_AFTER_MAX,
                arguments=arguments,
                batch_id=batch_id,
                state=CommandState.FAILED if order.obstacle else CommandState.QUEUED,
                settled_at=at if order.obstacle else None,
                outcome=order.obstacle,
            )
            for order in orders
            for kind, arguments in _arguments(order.terms).items()
        ]
        await write_commands(uow, commands)
        await record(
            uow,
            organisation.id,
            asked_by.name,
            "tariff.download",
            f"tariff {tariff.id} version {tariff.version}",
            {
                "batch": str(batch_id),
                "digest": tariff_digest(tariff),
                "meters": str(len(orders)),
                "refused": str(sum(bool(order.obstacle) for order in orders)),
            },
            at,
        )
        if not dry_run:
            await uow.commit()
    return CommandBatch(batch_id, tuple(commands))


def _refuse_for_all(
    organisation: Organisation, tariff: TariffVersion, at: datetime, *, early: bool
) -> None:
    if tariff.currency != organisation.currency:
        raise DownloadError(
            f"{tariff.id} is in {tariff.currency}, {organisation.name} counts in "
            f"{organisation.currency}"
        )
    today = at.astimezone(ZoneInfo(tariff.time_zone)).date()
    if today < tariff.valid_from and not early:
        raise DownloadError(
            f"{tariff.id} version {tariff.version} is valid from {tariff.valid_from}, and a meter "
            f"charges what it holds at once"
        )


async def _orders(
    uow: UnitOfWork,
    plugins: PluginManager,
    organisation: Organisation,
    meters: Collection[Meter],
    tariff: TariffVersion,
) -> Sequence[_Order]:
    sites = {site.id: site for site in await uow.sites.all(organisation.id)}
    bindings = await uow.bindings.open(organisation.id)
    overrides = {binding.meter_id: binding.price_override for binding in bindings}
    return [
        _order(plugins, meter, sites[meter.site_id], tariff, overrides.get(meter.id))
        for meter in meters
    ]


def _order(
    plugins: PluginManager,
    meter: Meter,
    site: Site,
    tariff: TariffVersion,
    override: Mapping[str, object] | None,
) -> _Order:
    obstacle = find_obstacle(plugins, meter, CommandKind.WRITE_PRICES)
    if obstacle:
        return _Order(meter, None, obstacle)
    utility = plugins.models[meter.model].utility
    if utility != tariff.utility:
        return _Order(meter, None, f"measures {utility}, the tariff is for {tariff.utility}")
    try:
        terms = meter_terms(tariff_of_meter(tariff, override))
    except TariffError as error:
        return _Order(meter, None, _reasons(map(str, error.faults)))
    if terms.calendar is not None:
        obstacle = find_obstacle(plugins, meter, CommandKind.WRITE_CALENDAR)
        if not obstacle and tariff.time_zone != site.time_zone:
            obstacle = f"its clock is {site.time_zone}, the tariff's {tariff.time_zone}"
    return _Order(meter, None if obstacle else terms, obstacle)


def _reasons(reasons: Iterable[str]) -> str:
    """Return different reasons on one line, not more than a person reads."""
    different = list(dict.fromkeys(reasons))
    more = [f"and {len(different) - _NAMED_AT_MOST} more"] * (len(different) > _NAMED_AT_MOST)
    return "; ".join([*different[:_NAMED_AT_MOST], *more])


def _arguments(terms: MeterTerms | None) -> Mapping[CommandKind, Mapping[str, str]]:
    """Return the commands that bring terms to a meter; the one that fails where there are none."""
    if terms is None:
        return {CommandKind.WRITE_PRICES: {}}
    prices = {
        field.name: f"{getattr(terms.prices, field.name):f}" for field in fields(terms.prices)
    }
    commands: dict[CommandKind, Mapping[str, str]] = {CommandKind.WRITE_PRICES: prices}
    if terms.calendar is not None:
        commands[CommandKind.WRITE_CALENDAR] = calendar_arguments(terms.calendar)
    return commands


def holdings(commands: Iterable[Command]) -> tuple[MeterHolding, ...]:
    """Return what became of a tariff, by the commands of its batch, a line for each meter."""
    of_meter: dict[MeterId, list[Command]] = {}
    for command in commands:
        of_meter.setdefault(command.meter_id, []).append(command)
    return tuple(_holding(meter_id, own) for meter_id, own in of_meter.items())


def _holding(meter_id: MeterId, commands: Sequence[Command]) -> MeterHolding:
    lost = [
        command
        for command in commands
        if command.state in SETTLED and command.state is not CommandState.CONFIRMED
    ]
    if lost:
        return MeterHolding(meter_id, Holding.REFUSED, _reasons(map(_told, lost)))
    waiting = [command for command in commands if command.state not in SETTLED]
    if waiting:
        return MeterHolding(meter_id, Holding.PENDING, _reasons(map(_told, waiting)))
    return MeterHolding(meter_id, Holding.HELD)


def _told(command: Command) -> str:
    if command.sent_at is None and command.state is CommandState.FAILED:
        return command.outcome
    told = f"{command.kind} {command.state}"
    return f"{told}: {command.outcome}" if command.outcome else told


async def find_download(
    uow: UnitOfWork, organisation: Organisation, batch_id: UUID
) -> tuple[Command, ...]:
    """Return the commands of a batch, if it brought a tariff to meters; else none."""
    commands = await uow.commands.of_batch(organisation.id, batch_id)
    kinds = {CommandKind.WRITE_PRICES, CommandKind.WRITE_CALENDAR}
    return commands if all(command.kind in kinds for command in commands) else ()
