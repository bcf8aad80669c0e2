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


class Moment(StrEnum):
    """On which side of it."""

    BEFORE = "before"
    AFTER = "after"


CrashHook: TypeAlias = Callable[[CrashPoint, Moment], None]
"""Called at each place; what it raises ends the work there, as a kill would."""


def no_crash(point: CrashPoint, moment: Moment) -> None:
    """Go on."""
