"""What follows when a supply command was read back as done, in the transaction that notes it."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.domain.commands import SUPPLY_ACTIONS, Command, CommandKind
from meterplex.domain.estate import Meter
from meterplex.domain.readings import DeviceEventRecord, EventKind
from meterplex.domain.supply import SUPPLY_FLAGS, SupplyAction, SupplyMode, SupplyState
from meterplex.sdk.accounts import AccountEventKind
from meterplex.services.accounts.messages import reconsider_supply, tell_event
from meterplex.services.follow_up.notices import tell_customer

_PROVEN: Final = {
    SupplyAction.DISCONNECT: SupplyState(False, SupplyMode.FORCED_OFF),
    SupplyAction.RECONNECT: SupplyState(True, SupplyMode.AUTOMATIC),
    SupplyAction.HOLD: SupplyState(True, SupplyMode.HELD),
}
"""The state that each action is confirmed by; AUTOMATIC proves a mode only."""
_OFF: Final = frozenset({"supply_off", "supply_forced_off"})


async def note_supply(uow: UnitOfWork, command: Command, at: datetime) -> None:
    """Note the supply that a confirmed command has proven, and tell whom it concerns."""
    meter = await uow.meters.get(command.organisation_id, command.meter_id)
    flags = flags_after(meter.flags, SUPPLY_ACTIONS[command.kind])
    if flags != meter.flags:
        await uow.meters.set_flags(meter.organisation_id, meter.id, flags)
        await uow.events.add_all(_events(meter, flags, command, at))
    binding = await uow.bindings.open_of_meter(meter.organisation_id, meter.id)
    if binding is None or binding.account_id is None:
        return
    account = await uow.accounts.get(meter.organisation_id, binding.account_id)
    # Credit may be waiting to be taken back until the supply is off.
    await uow.orders.wake([(meter.organisation_id, meter.id)], at)
    is_off = bool(flags & _OFF)
    if is_off is not bool(meter.flags & _OFF) or await _turns_back(uow, command):
        kind = AccountEventKind.DISCONNECTED if is_off else AccountEventKind.RECONNECTED
        site = await uow.sites.get(meter.organisation_id, meter.site_id)
        point = await uow.usage_points.get(meter.organisation_id, binding.usage_point_id)
        detail = {"meter": meter.serial, "command": str(command.id), "cause": command.cause}
        await tell_event(uow, account, site, kind, at, utility=point.utility, detail=detail)
        await tell_customer(uow, account, kind.value, {"meter": meter.serial}, at)
    await reconsider_supply(uow, account, at)


async def _turns_back(uow: UnitOfWork, command: Command) -> bool:
    """Whether the last confirmed command had it the other way.

    A reading may have seen the relay before the command's own read-back did; then the meter's
    conditions do not change any more, and yet nobody was told.
    """
    before = await uow.commands.confirmed_before(command)
    takes = CommandKind.DISCONNECT
    return before is not None and (before.kind is takes) is not (command.kind is takes)


def flags_after(flags: frozenset[str], action: SupplyAction) -> frozenset[str]:
    """Return a meter's conditions once an action was proven."""
    proven = _PROVEN.get(action)
    if proven is None:
        return flags - {"supply_held", "supply_forced_off"}
    return (flags - SUPPLY_FLAGS) | proven.flags


def _events(
    meter: Meter, flags: frozenset[str], command: Command, at: datetime
) -> Iterator[DeviceEventRecord]:
    for code in sorted(flags ^ meter.flags):
        yield DeviceEventRecord(
            id=uuid_utils.compat.uuid7(),
            organisation_id=meter.organisation_id,
            subject="meter",
            subject_id=meter.id,
            kind=EventKind.FLAG_RAISED if code in flags else EventKind.FLAG_CLEARED,
            code=code,
            at=at,
            detail=f"command {command.id}",
        )
