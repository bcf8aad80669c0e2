"""The places where a program may stop between two durable facts, by name.

Production hands in :func:`no_crash`. Whoever proves that nothing is lost or doubled hands in a
hook that raises, or kills the process, at a place of its choice.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias


class CrashPoint(StrEnum):
    """What is just going to be, or has just been, done (prepayment-protocol section 10)."""

    IDEMPOTENCY = "idempotency"
    """The key, the order and the ledger are one commit: this is the row, PAID the commit."""
    PAID = "paid"
    BASELINE_READ = "baseline_read"
    ARMED = "armed"
    FIRST_BYTE = "first_byte"
    LAST_BYTE = "last_byte"
    ANSWER_READ = "answer_read"
    CONFIRMED = "confirmed"
    UNCERTAIN = "uncertain"
    FENCE = "fence"
    VOIDED = "voided"


class SupplyCrashPoint(StrEnum):
    """The same on the way from a committed fact to a relay; each may happen again."""

    OUTBOX_TAKE = "outbox_take"
    """A message is handled; after it, but before that is noted, it will be handled once more."""
    RELAY_COMMAND = "relay_command"
    """A command is marked SENT; its first byte comes after it."""
    RELAY_READ_BACK = "relay_read_back"
    """What was read back is stored as the outcome."""


class Moment(StrEnum):
    """On which side of it."""

    BEFORE = "before"
    AFTER = "after"


CrashHook: TypeAlias = Callable[[CrashPoint, Moment], None]
"""Called at each place; what it raises ends the work there, as a kill would."""

SupplyCrashHook: TypeAlias = Callable[[SupplyCrashPoint, Moment], None]


def no_crash(point: CrashPoint | SupplyCrashPoint, moment: Moment) -> None:
    """Go on."""
