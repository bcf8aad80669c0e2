"""Commands to devices: durable rows with a life of their own.

::

    QUEUED -> SENT -> CONFIRMED   read back in the wanted state
       |        |---> REFUSED     the device said no, or keeps another state
       |        `---> UNKNOWN     sent, not proven: read before anything else
       |-> QUARANTINED            too many disconnects at once: QUEUED again, or FAILED,
       |                          by a person
       |-> EXPIRED                not_after passed before it was sent, or sent again
       `-> FAILED                 never sent (wrong capability, bad values, overruled), or a read
                                  that got no answer

QUEUED again, EXPIRED and FAILED follow SENT only where it is proven that no byte had left.

SENT is committed before the first byte leaves. A command found SENT at start-up is UNKNOWN. From
UNKNOWN a later read-back leads to CONFIRMED or REFUSED. A control frame that may be sent again
without harm (supply actions, limits, prices, clock: setting twice is setting once) goes back to
QUEUED from UNKNOWN while ``not_after`` allows; a frame that moves value never does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType
from uuid import UUID

from meterplex.domain.estate import MeterId, OrganisationId
from meterplex.domain.supply import SupplyAction

CommandId = NewType("CommandId", UUID)


class CommandKind(StrEnum):
    """What a command does; the first four are the supply actions."""

    DISCONNECT = "disconnect"
    RECONNECT = "reconnect"
    HOLD = "hold"
    AUTOMATIC = "automatic"
    WRITE_PRICES = "write_prices"
    WRITE_LIMITS = "write_limits"
    WRITE_CALENDAR = "write_calendar"
    SYNC_CLOCK = "sync_clock"
    READ = "read"
    """Read the meter now, on somebody's demand."""


class CommandState(StrEnum):
    """See the module's picture."""

    QUARANTINED = "quarantined"
    """Over the limit of disconnects: a person decides, it never goes by itself."""
    QUEUED = "queued"
    SENT = "sent"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    FAILED = "failed"


MOVES: Final[dict[CommandState, frozenset[CommandState]]] = {
    CommandState.QUARANTINED: frozenset({CommandState.QUEUED, CommandState.FAILED}),
    CommandState.QUEUED: frozenset(
        {
            CommandState.SENT,
            CommandState.EXPIRED,
            CommandState.FAILED,
            CommandState.QUARANTINED,
        }
    ),
    CommandState.SENT: frozenset(
        {
            CommandState.CONFIRMED,
            CommandState.REFUSED,
            CommandState.UNKNOWN,
            CommandState.QUEUED,
            CommandState.EXPIRED,
            CommandState.FAILED,
        }
    ),
    CommandState.UNKNOWN: frozenset(
        {CommandState.CONFIRMED, CommandState.REFUSED, CommandState.QUEUED}
    ),
    CommandState.CONFIRMED: frozenset(),
    CommandState.REFUSED: frozenset(),
    CommandState.EXPIRED: frozenset(),
    CommandState.FAILED: frozenset(),
}
"""Allowed moves."""

SETTLED: Final = frozenset(state for state, moves in MOVES.items() if not moves)
"""States in which nothing more happens."""

SUPPLY_ACTIONS: Final[dict[CommandKind, SupplyAction]] = {
    CommandKind.DISCONNECT: SupplyAction.DISCONNECT,
    CommandKind.RECONNECT: SupplyAction.RECONNECT,
    CommandKind.HOLD: SupplyAction.HOLD,
    CommandKind.AUTOMATIC: SupplyAction.AUTOMATIC,
}
"""The kinds that move supply, and what they ask of it."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command to one meter.

    Attributes:
        batch_id: commands that were asked for together.
        arguments: of its kind, as text: prices, limits, a local time, a calendar.
        not_after: it is never sent later than this.
        asked_by: operator or rule.
        cause: why supply is taken away (a ``supply_gate.Cause``); empty for other commands.
        approval_id: of two people, where the action needs them.
        attempts: how often its control frame may have left.
        outcome: one line for people; empty while QUEUED.
    """

    id: CommandId
    organisation_id: OrganisationId
    meter_id: MeterId
    kind: CommandKind
    asked_by: str
    created_at: datetime
    not_after: datetime
    arguments: Mapping[str, str] = field(default_factory=dict)
    batch_id: UUID | None = None
    state: CommandState = CommandState.QUEUED
    attempts: int = 0
    sent_at: datetime | None = None
    settled_at: datetime | None = None
    outcome: str = ""
    cause: str = ""
    approval_id: UUID | None = None
