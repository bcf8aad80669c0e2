"""Fences: proof that an old frame can never be accepted any more; and what only they allow.

=====  ==================================================================================
F1     count n is taken by another purchase, on a meter that compares counts
F2     the wallet was initialised or its key changed after the last send, seen by reading
F3     the link stores nothing, its session was closed, long enough has passed, and two
       reads apart still show that count n is not taken
F4     the frame carried an expiry that the meter enforces, it has passed by the meter's
       own clock, and a read shows that count n is not taken
=====  ==================================================================================

One read that shows "not taken" is no fence: the frame may still sit in a gateway.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from meterplex.domain.prepayment.evidence import Evidence
from meterplex.domain.prepayment.orders import MOVES, OrderState

SETTLING_TIME: Final = timedelta(minutes=10)
DRAIN_TIMES: Final = 3
READS_APART: Final = timedelta(seconds=60)
"""Of F3. Own choice."""

DECIDERS: Final = 2
"""People who must agree on an order in CONFLICT."""


class Fence(StrEnum):
    """See the module's table."""

    F1 = "F1"
    F2 = "F2"
    F3 = "F3"
    F4 = "F4"


@dataclass(frozen=True, slots=True)
class EvidenceRead:
    """One read of the wallet after the last send.

    Attributes:
        count: that the meter showed.
        meter_clock: that the meter showed, in the clock of ``FenceFacts.frame_expires_at``.
    """

    at: datetime
    evidence: Evidence
    count: int | None = None
    meter_clock: datetime | None = None


@dataclass(frozen=True, slots=True)
class FenceFacts:
    """All that fences are judged by, of one order.

    Attributes:
        count: that was sent.
        count_binds: the meter takes the frame with the next count only
            (``CountCapability.binds``).
        last_sent_at: of its last frame.
        reads: since then, in any order.
        declared_foreign: two people found that count n, where taken, is not this order.
        wallet_renewed_at: when a read last showed an initialised wallet or another key.
        session_closed_at: of the session that sent the last frame, on a link declared ``direct``
            (no store-and-forward); None on any other link and while it is open.
        drain_time: of the link.
        frame_expires_at: latest expiry of all its frames, where the meter or terminal enforces it.
    """

    count: int
    count_binds: bool
    last_sent_at: datetime
    reads: tuple[EvidenceRead, ...]
    declared_foreign: bool = False
    wallet_renewed_at: datetime | None = None
    session_closed_at: datetime | None = None
    drain_time: timedelta = timedelta(0)
    frame_expires_at: datetime | None = None


def fence_of(facts: FenceFacts) -> Fence | None:
    """Return the fence that stands between the order and all its frames; None when none does."""
    reads = sorted(facts.reads, key=lambda read: read.at)
    reads = [read for read in reads if read.at > facts.last_sent_at]
    if any(read.evidence is Evidence.E1 for read in reads):
        return None
    if facts.count_binds and any(_taken_elsewhere(facts, read) for read in reads):
        return Fence.F1
    if facts.wallet_renewed_at is not None and facts.wallet_renewed_at > facts.last_sent_at:
        return Fence.F2
    if _quiet_on_direct_link(facts, reads):
        return Fence.F3
    if _expired(facts, reads):
        return Fence.F4
    return None


def next_fence_read(facts: FenceFacts) -> datetime | None:
    """Return when a read is wanted next for F3; None on a link that has no such fence.

    That time has passed where such a read was in vain.
    """
    quiet_from = _quiet_from(facts)
    if quiet_from is None:
        return None
    late = [read.at for read in facts.reads if read.at >= quiet_from]
    return min(late) + READS_APART if late else quiet_from


def may_void(state: OrderState, *, ever_sent: bool, fence: Fence | None) -> bool:
    """Tell whether an order may be given up and its money returned.

    An ARMED order never may: its bytes may be leaving now.
    """
    if OrderState.VOIDED not in MOVES[state]:
        return False
    return fence is not None or (not ever_sent and state is not OrderState.UNCERTAIN)


class DecisionRefusal(StrEnum):
    """Why a decision about an order in CONFLICT does not count."""

    STATE = "state"
    """The order is not in CONFLICT, or does not leave it for that state."""
    PEOPLE = "people"
    REASON = "reason"
    FENCE = "fence"
    """Something was sent, and it could still be accepted."""


def decision_refusal(
    state: OrderState,
    to: OrderState,
    *,
    people: AbstractSet[str],
    reason: str,
    ever_sent: bool,
    fence: Fence | None,
) -> DecisionRefusal | None:
    """Return why these people may not take an order out of CONFLICT; None when they may.

    CONFIRMED needs no fence: the order's frame is the one that was taken.
    """
    if state is not OrderState.CONFLICT or to not in MOVES[state]:
        return DecisionRefusal.STATE
    if len(people) < DECIDERS:
        return DecisionRefusal.PEOPLE
    if not reason.strip():
        return DecisionRefusal.REASON
    if to is not OrderState.CONFIRMED and ever_sent and fence is None:
        return DecisionRefusal.FENCE
    return None


def _taken_elsewhere(facts: FenceFacts, read: EvidenceRead) -> bool:
    taken = read.count is not None and read.count >= facts.count
    return read.evidence is Evidence.E3 or (facts.declared_foreign and taken)


def _quiet_on_direct_link(facts: FenceFacts, reads: list[EvidenceRead]) -> bool:
    quiet_from = _quiet_from(facts)
    if quiet_from is None:
        return False
    late = [read for read in reads if read.at >= quiet_from]
    if not late or any(read.evidence is not Evidence.E2 for read in late):
        return False
    return late[-1].at - late[0].at >= READS_APART


def _quiet_from(facts: FenceFacts) -> datetime | None:
    closed = facts.session_closed_at
    if closed is None or closed < facts.last_sent_at:
        return None
    return closed + SETTLING_TIME + DRAIN_TIMES * facts.drain_time


def _expired(facts: FenceFacts, reads: list[EvidenceRead]) -> bool:
    if facts.frame_expires_at is None or not reads:
        return False
    last = reads[-1]
    if last.evidence is not Evidence.E2 or last.meter_clock is None:
        return False
    return last.meter_clock > facts.frame_expires_at
