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

    A device that is reached for the first time is no event: nothing was restored.
    """
    repositories: Mapping[str, Meters | Channels | Gateways] = {
        "meter": uow.meters,
        "channel": uow.channels,
        "gateway": uow.gateways,
    }
    events = []
    for change in changes:
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
        if changed and before.state is not change.state and not first_contact:
            events.append(_event(change, new_id()))
    await uow.events.add_all(events)


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
