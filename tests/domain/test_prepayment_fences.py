from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from meterplex.domain.prepayment import (
    DecisionRefusal,
    Evidence,
    EvidenceRead,
    Fence,
    FenceFacts,
    OrderState,
    decision_refusal,
    fence_of,
    may_void,
    next_fence_read,
)

SENT = datetime(2026, 3, 2, 12, tzinfo=UTC)
E1, E2, E3, E4 = Evidence.E1, Evidence.E2, Evidence.E3, Evidence.E4


def after(minutes: float) -> datetime:
    return SENT + timedelta(minutes=minutes)


def read(
    minutes: float, evidence: Evidence = E2, count: int = 7, clock: datetime | None = None
) -> EvidenceRead:
    return EvidenceRead(after(minutes), evidence, count, clock)


SENT_ONLY = FenceFacts(count=8, count_binds=True, last_sent_at=SENT, reads=())
DECLARED = replace(SENT_ONLY, declared_foreign=True)
DIRECT = replace(SENT_ONLY, session_closed_at=after(1), drain_time=timedelta(minutes=1))
EXPIRING = replace(SENT_ONLY, frame_expires_at=after(10))


@pytest.mark.parametrize(
    ("facts", "fence"),
    [
        (SENT_ONLY, None),
        (replace(SENT_ONLY, reads=(read(1),)), None),
        (replace(SENT_ONLY, reads=(read(1), read(600))), None),
        (replace(SENT_ONLY, reads=(read(1, E3, 8),)), Fence.F1),
        (replace(SENT_ONLY, reads=(read(2, E1, 8), read(1, E3, 8))), None),
        (replace(SENT_ONLY, reads=(read(-1, E3, 8),)), None),
        (replace(SENT_ONLY, reads=(read(0, E3, 8),)), None),
        (replace(SENT_ONLY, count_binds=False, reads=(read(1, E3, 8),)), None),
        (replace(SENT_ONLY, reads=(read(1, E4, 9),)), None),
        (replace(DECLARED, reads=(read(1, E4, 9),)), Fence.F1),
        (replace(DECLARED, reads=(read(1, E4, 8),)), Fence.F1),
        (replace(DECLARED, reads=(read(1, E4, 7),)), None),
        (replace(DECLARED, reads=(EvidenceRead(after(1), E4),)), None),
        (replace(DECLARED, count_binds=False, reads=(read(1, E4, 9),)), None),
        (replace(SENT_ONLY, wallet_renewed_at=after(1)), Fence.F2),
        (replace(SENT_ONLY, wallet_renewed_at=SENT), None),
    ],
    ids=[
        "sent",
        "one unchanged read",
        "two unchanged reads through a gateway",
        "another purchase",
        "ours after all",
        "another purchase before sending",
        "another purchase, read while sending",
        "another purchase on a blind meter",
        "conflict",
        "conflict, declared foreign",
        "declared foreign, count n",
        "declared foreign, not taken",
        "declared foreign, no count read",
        "declared foreign, blind meter",
        "wallet initialised after sending",
        "wallet initialised before sending",
    ],
)
def test_what_fences_an_order(facts: FenceFacts, fence: Fence | None) -> None:
    assert fence_of(facts) is fence


@pytest.mark.parametrize(
    ("facts", "fence"),
    [
        (replace(DIRECT, reads=(read(14), read(15))), Fence.F3),
        (replace(DIRECT, reads=(read(15), read(14))), Fence.F3),
        (replace(DIRECT, reads=(read(2), read(14), read(15))), Fence.F3),
        (replace(DIRECT, reads=(read(13.9), read(14.9))), None),
        (replace(DIRECT, reads=(read(14), read(14.9))), None),
        (replace(DIRECT, reads=(read(14),)), None),
        (replace(DIRECT, reads=(read(14), read(15), read(16, E4))), None),
        (replace(DIRECT, reads=()), None),
        (replace(DIRECT, session_closed_at=SENT, reads=(read(13), read(14))), Fence.F3),
        (replace(DIRECT, session_closed_at=after(-1), reads=(read(14), read(15))), None),
        (replace(DIRECT, session_closed_at=None, reads=(read(14), read(15))), None),
    ],
    ids=[
        "quiet",
        "in any order",
        "earlier reads do not matter",
        "too early",
        "too close",
        "one read",
        "something else was read",
        "no read",
        "session closed with sending",
        "session closed before sending",
        "session open, or not direct",
    ],
)
def test_a_direct_link_fences_when_all_is_quiet(facts: FenceFacts, fence: Fence | None) -> None:
    assert fence_of(facts) is fence


@pytest.mark.parametrize(
    ("facts", "fence"),
    [
        (replace(EXPIRING, reads=(read(11, clock=after(10.1)),)), Fence.F4),
        (replace(EXPIRING, reads=(read(11, clock=after(10)),)), None),
        (replace(EXPIRING, reads=(read(11),)), None),
        (replace(EXPIRING, reads=(read(11, E4, clock=after(11)),)), None),
        (replace(EXPIRING, reads=(read(11, clock=after(11)), read(12, clock=after(9)))), None),
        (EXPIRING, None),
        (replace(SENT_ONLY, reads=(read(11, clock=after(11)),)), None),
    ],
    ids=[
        "expired",
        "at the last moment",
        "meter's clock not read",
        "something else was read",
        "the meter's clock was set back",
        "no read",
        "carries no expiry",
    ],
)
def test_an_expiry_fences_by_the_meters_own_clock(facts: FenceFacts, fence: Fence | None) -> None:
    assert fence_of(facts) is fence


@pytest.mark.parametrize(
    ("state", "ever_sent", "fence", "may"),
    [
        (OrderState.PAID, False, None, True),
        (OrderState.PAID, True, None, False),
        (OrderState.PAID, True, Fence.F1, True),
        (OrderState.ARMED, True, Fence.F2, False),
        (OrderState.UNCERTAIN, True, None, False),
        (OrderState.UNCERTAIN, False, None, False),
        (OrderState.UNCERTAIN, True, Fence.F3, True),
        (OrderState.CONFLICT, False, None, True),
        (OrderState.CONFLICT, True, None, False),
        (OrderState.CONFLICT, True, Fence.F4, True),
        (OrderState.CONFIRMED, False, Fence.F1, False),
        (OrderState.VOIDED, False, Fence.F1, False),
    ],
)
def test_only_what_can_never_arrive_is_voided(
    state: OrderState, ever_sent: bool, fence: Fence | None, may: bool
) -> None:
    assert may_void(state, ever_sent=ever_sent, fence=fence) is may


ANN_AND_BOB = frozenset({"ann", "bob"})
CONFLICT = OrderState.CONFLICT


@pytest.mark.parametrize(
    ("state", "to", "people", "reason", "ever_sent", "fence", "refusal"),
    [
        (CONFLICT, OrderState.CONFIRMED, ANN_AND_BOB, "seen", True, None, None),
        (CONFLICT, OrderState.VOIDED, ANN_AND_BOB, "seen", True, Fence.F1, None),
        (CONFLICT, OrderState.PAID, ANN_AND_BOB, "seen", False, None, None),
        (CONFLICT, OrderState.VOIDED, ANN_AND_BOB, "seen", True, None, DecisionRefusal.FENCE),
        (CONFLICT, OrderState.PAID, ANN_AND_BOB, "seen", True, None, DecisionRefusal.FENCE),
        (CONFLICT, OrderState.PAID, {"ann"}, "seen", False, None, DecisionRefusal.PEOPLE),
        (CONFLICT, OrderState.PAID, ANN_AND_BOB, " ", False, None, DecisionRefusal.REASON),
        (CONFLICT, OrderState.ARMED, ANN_AND_BOB, "seen", False, None, DecisionRefusal.STATE),
        (
            OrderState.UNCERTAIN,
            OrderState.CONFIRMED,
            ANN_AND_BOB,
            "seen",
            True,
            None,
            DecisionRefusal.STATE,
        ),
    ],
    ids=[
        "confirmed",
        "voided behind a fence",
        "never sent, waits again",
        "voided without a fence",
        "sent anew without a fence",
        "one person",
        "no reason",
        "no such move",
        "no conflict",
    ],
)
def test_two_people_decide_a_conflict(
    state: OrderState,
    to: OrderState,
    people: frozenset[str],
    reason: str,
    ever_sent: bool,
    fence: Fence | None,
    refusal: DecisionRefusal | None,
) -> None:
    assert (
        decision_refusal(state, to, people=people, reason=reason, ever_sent=ever_sent, fence=fence)
        is refusal
    )


@pytest.mark.parametrize(
    ("facts", "minutes"),
    [
        (SENT_ONLY, None),
        (replace(DIRECT, session_closed_at=after(-1)), None),
        (DIRECT, 14),
        (replace(DIRECT, reads=(read(2), read(13.9))), 14),
        (replace(DIRECT, reads=(read(20), read(14.5))), 15.5),
    ],
    ids=["stores frames", "session open", "not read", "read too early", "read once"],
)
def test_when_a_read_helps_to_fence(facts: FenceFacts, minutes: float | None) -> None:
    assert next_fence_read(facts) == (None if minutes is None else after(minutes))
