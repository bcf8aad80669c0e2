"""Shedding load when supply is short or the government calls for it (F71).

The fewest customers are cut: those with the largest demand first, until the site draws no more
than it may. Whom a hold or a bypass protects is left out. Supply comes back at the time given.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

import uuid_utils.compat

from meterplex.db import Database
from meterplex.domain.commands import Command, CommandId, CommandKind
from meterplex.domain.estate import Binding, Meter, OrganisationId, Site
from meterplex.domain.supply_gate import DisconnectCause
from meterplex.domain.supply_holds import holds_in_force
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import Capability
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.metering.issue_commands import NOT_AFTER_MAX, write_commands
from meterplex.services.supply.decide_supply import RULE

POWER: Final = "active_power"
"""Slug of the register that tells what a meter draws."""
UNTIL: Final = "until"
"""Argument of a disconnect that ends by itself."""


@dataclass(frozen=True, slots=True)
class Shed:
    """A meter that would be cut off, and what it drew when it was read last."""

    meter: Meter
    power_kw: Decimal


@dataclass(frozen=True, slots=True)
class ShedPlan:
    """Whom it takes to bring a site's demand down.

    Attributes:
        before_kw: what the site draws; after_kw: what would be left.
        kept: meters that draw power and are protected.
    """

    before_kw: Decimal
    after_kw: Decimal
    shed: tuple[Shed, ...]
    kept: tuple[Shed, ...]


async def plan_shortage(
    database: Database, plugins: PluginManager, site: Site, reduce_to_kw: Decimal, at: datetime
) -> ShedPlan:
    """Choose whom to cut off at a site, by what the meters drew when they were read last.

    Raises:
        MoneyInputError: the target is no power.
        MoneyConflictError: those who may be cut off do not draw enough.
    """
    if not reduce_to_kw.is_finite() or reduce_to_kw < 0:
        raise MoneyInputError("reduce_to", f"{reduce_to_kw}: expected kW, 0 or more")
    organisation_id = site.organisation_id
    async with database.unit_of_work(read_only=True) as uow:
        meters = {each.id: each for each in await uow.meters.in_site(organisation_id, site.id)}
        bindings = {
            each.meter_id: each
            for each in await uow.bindings.open(organisation_id)
            if each.meter_id in meters
        }
        points = await uow.usage_points.in_site(organisation_id, site.id)
        readings = await uow.readings.latest(organisation_id)
        holds = await uow.supply_holds.not_ended(organisation_id)
        bypassed = {each.meter_id for each in await uow.bypasses.not_ended(organisation_id)}
    parents = {each.parent_id for each in points}
    held_site = holds_in_force(
        (each.hold for each in holds if each.site_id == site.id and each.account_id is None), at
    )
    held_accounts = {
        each.account_id for each in holds if each.account_id and holds_in_force([each.hold], at)
    }
    drawn: list[tuple[Shed, Binding]] = []
    for reading in readings:
        meter, binding = meters.get(reading.meter_id), bindings.get(reading.meter_id)
        if reading.register.slug != POWER or meter is None or binding is None:
            continue
        if binding.usage_point_id in parents or "supply_off" in meter.flags:
            continue
        drawn.append((Shed(meter, reading.value * binding.ct * binding.pt), binding))
    kept: list[Shed] = []
    may_shed: list[Shed] = []
    for each, binding in sorted(drawn, key=lambda one: (-one[0].power_kw, one[0].meter.serial)):
        model = plugins.models.get(each.meter.model)
        protected = (
            bool(held_site)
            or binding.account_id in held_accounts
            or each.meter.id in bypassed
            or model is None
            or Capability.SUPPLY not in model.capabilities
        )
        (kept if protected else may_shed).append(each)
    return _chosen(may_shed, kept, reduce_to_kw)


def _chosen(may_shed: Sequence[Shed], kept: Iterable[Shed], reduce_to_kw: Decimal) -> ShedPlan:
    kept = tuple(kept)
    before = sum((each.power_kw for each in (*may_shed, *kept)), Decimal(0))
    after, shed = before, []
    for each in may_shed:
        if after <= reduce_to_kw or each.power_kw <= 0:
            break
        shed.append(each)
        after -= each.power_kw
    if after > reduce_to_kw:
        raise MoneyConflictError(
            "reduce_to", f"{after} kW would be left even without all who may be cut off"
        )
    return ShedPlan(before, after, tuple(shed), kept)


async def end_shortages(database: Database, *, at: datetime) -> tuple[Command, ...]:
    """Give supply back, after its time, to meters that were cut off and whose use nobody pays for.

    The supply loop does it for accounts, which may have come into arrears meanwhile.
    """
    issued: list[Command] = []
    async with database.unit_of_work() as uow:
        for organisation in await uow.organisations.all():
            for command in await uow.commands.standing_disconnects(
                organisation.id, DisconnectCause.SHORTAGE.value
            ):
                until = command.arguments.get(UNTIL)
                if until is None or at < datetime.fromisoformat(until):
                    continue
                binding = await uow.bindings.open_of_meter(organisation.id, command.meter_id)
                if binding is None or binding.account_id is None:
                    issued.append(_reconnect(organisation.id, command, at))
        await write_commands(uow, issued)
        await uow.commit()
    return tuple(issued)


def _reconnect(organisation_id: OrganisationId, ended: Command, at: datetime) -> Command:
    return Command(
        id=CommandId(uuid_utils.compat.uuid7()),
        organisation_id=organisation_id,
        meter_id=ended.meter_id,
        kind=CommandKind.RECONNECT,
        asked_by=RULE,
        created_at=at,
        not_after=at + NOT_AFTER_MAX,
    )
