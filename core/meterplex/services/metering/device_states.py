"""Lost and restored: the states of meters, channels and gateways, with one event per change."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Self
from uuid import UUID

from meterplex.db import UnitOfWork
from meterplex.domain.estate import Channel, Gateway, LinkState, LostReason, Meter, OrganisationId
from meterplex.domain.readings import DeviceEventRecord, EventKind

if TYPE_CHECKING:
    from meterplex.db.estate import Channels, Gateways, Meters


@dataclass(frozen=True, slots=True)
class StateChange:
    """A device that was reached again or has been lost.

    Attributes:
        subject: ``meter``, ``channel`` or ``gateway``.
        reason: why it is lost; None when it is reached.
        detail: the last error, in one line.
    """

    organisation_id: OrganisationId
    subject: str
    subject_id: UUID
    state: LinkState
    reason: LostReason | None
    at: datetime
    detail: str = ""

    @classmethod
    def of(
        cls,
        device: Meter | Channel | Gateway,
        state: LinkState,
        reason: LostReason | None,
        at: datetime,
        detail: str = "",
    ) -> Self:
        """Return the change of one device."""
        subject = type(device).__name__.lower()
        return cls(device.organisation_id, subject, device.id, state, reason, at, detail)


async def note_states(
    uow: UnitOfWork, changes: Iterable[StateChange], new_id: Callable[[], UUID]
) -> None:
    """Write states, and one event for each that really changed.

    A device that is reached for the first time is no event: nothing was restored. A gateway is
    lost when all its channels are, and reached when one of them is.
    """
    events = []
    for change in changes:
        events += await _note(uow, change, new_id)
        if change.subject == "channel" and (of_gateway := await _of_gateway(uow, change)):
            events += await _note(uow, of_gateway, new_id)
    await uow.events.add_all(events)


async def _note(
    uow: UnitOfWork, change: StateChange, new_id: Callable[[], UUID]
) -> list[DeviceEventRecord]:
    repositories: Mapping[str, Meters | Channels | Gateways] = {
        "meter": uow.meters,
        "channel": uow.channels,
        "gateway": uow.gateways,
    }
    repository = repositories[change.subject]
    before = await repository.get(change.organisation_id, change.subject_id)
    changed = await repository.set_state(
        change.organisation_id,
        change.subject_id,
        change.state,
        since=change.at,
        reason=change.reason,
    )
    first_contact = before.state is LinkState.NEW and change.state is LinkState.REACHED
    told = changed and before.state is not change.state and not first_contact
    return [_event(change, new_id())] if told else []


async def _of_gateway(uow: UnitOfWork, change: StateChange) -> StateChange | None:
    """Return what a channel's change makes of its gateway; None where it has none."""
    organisation_id = change.organisation_id
    channel = await uow.channels.get(organisation_id, change.subject_id)
    if channel.gateway_id is None:
        return None
    gateway = await uow.gateways.get(organisation_id, channel.gateway_id)
    channels = await uow.channels.in_site(organisation_id, channel.site_id)
    lost = all(c.state is LinkState.LOST for c in channels if c.gateway_id == gateway.id)
    state = LinkState.LOST if lost else LinkState.REACHED
    reason = LostReason.GATEWAY if lost else None
    return StateChange.of(gateway, state, reason, change.at, change.detail)


def _event(change: StateChange, identifier: UUID) -> DeviceEventRecord:
    return DeviceEventRecord(
        id=identifier,
        organisation_id=change.organisation_id,
        subject=change.subject,
        subject_id=change.subject_id,
        kind=EventKind.LOST if change.state is LinkState.LOST else EventKind.RESTORED,
        code=change.reason or "",
        at=change.at,
        detail=change.detail,
    )
