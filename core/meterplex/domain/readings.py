"""Readings, the runs that made them, and the events of devices.

A reading is known by (meter, register, time). The same key with the same value is the same
reading; with another value it is a new revision with its source and reason, and the newest one
counts.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NewType
from uuid import UUID

from meterplex.domain.estate import ChannelId, MeterId, OrganisationId
from meterplex.domain.registers import RegisterType

RunId = NewType("RunId", UUID)


class ReadingQuality(StrEnum):
    """How far a stored reading may be trusted; only good ones may move money."""

    GOOD = "good"
    SUSPECT = "suspect"
    ESTIMATED = "estimated"


class ReadingSource(StrEnum):
    """How a reading came in."""

    SCHEDULED = "scheduled"
    ON_DEMAND = "on_demand"
    TRIGGERED = "triggered"
    BACK_FILL = "back_fill"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one register at one time, as the meter shows it (before ct and pt).

    Attributes:
        read_at: when the reply came in, or for back-fill when the meter froze it; UTC.
        revision: 0 for the first value of its key.
        reason: why there is a later revision, or why the quality is not good.
    """

    meter_id: MeterId
    register: RegisterType
    read_at: datetime
    value: Decimal
    quality: ReadingQuality = ReadingQuality.GOOD
    source: ReadingSource = ReadingSource.SCHEDULED
    revision: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReadFailure:
    """A meter that a run could not read, and why in one line."""

    meter_id: MeterId
    reason: str


@dataclass(frozen=True, slots=True)
class ReadingRun:
    """One pass over the meters of a channel that were due, with its success and failure list."""

    id: RunId
    organisation_id: OrganisationId
    channel_id: ChannelId
    source: ReadingSource
    started_at: datetime
    ended_at: datetime
    succeeded: tuple[MeterId, ...]
    failed: tuple[ReadFailure, ...]


class EventKind(StrEnum):
    """What happened to a device."""

    LOST = "lost"
    RESTORED = "restored"
    FLAG_RAISED = "flag_raised"
    FLAG_CLEARED = "flag_cleared"
    LOGGED = "logged"
    """An entry of the device's own event log."""


@dataclass(frozen=True, slots=True)
class DeviceEventRecord:
    """Something that happened to a meter, gateway or channel, told once.

    Attributes:
        subject: ``meter``, ``gateway`` or ``channel``; ``subject_id`` is its identifier.
        code: the flag or log code; the lost reason for LOST; empty for RESTORED.
    """

    id: UUID
    organisation_id: OrganisationId
    subject: str
    subject_id: UUID
    kind: EventKind
    code: str
    at: datetime
    detail: str = ""
