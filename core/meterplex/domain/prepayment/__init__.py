"""Prepayment: orders, what is armed, what evidence proves, what fences, what is given back.

A meter takes a recharge (count n, amount a) only if n is its stored count + 1. So an order is given
its count once, sent with it as often as needed, and settled by what is read afterwards, never by
silence or an error. All here is pure; amounts are ledger units.
"""

from meterplex.domain.prepayment.answers import (
    Answer,
    AnswerKind,
    AnswerStep,
    AnswerVerdict,
    after_answer,
    may_log_in,
)
from meterplex.domain.prepayment.arming import (
    Arming,
    ArmingObstacle,
    ArmingRefusal,
    arm,
    send_again,
)
from meterplex.domain.prepayment.evidence import (
    STATE_AFTER,
    Evidence,
    Next,
    RecordWindow,
    UseSince,
    Verdict,
    judge,
)
from meterplex.domain.prepayment.fences import (
    DecisionRefusal,
    EvidenceRead,
    Fence,
    FenceFacts,
    decision_refusal,
    fence_of,
    may_void,
)
from meterplex.domain.prepayment.orders import (
    BLOCKING,
    DIRECTIONS,
    FINAL,
    LIVE,
    MOVES,
    Direction,
    OrderId,
    OrderKind,
    OrderState,
    may_arm,
)
from meterplex.domain.prepayment.refunds import (
    ReversalFacts,
    ReversalRefusal,
    Undo,
    claw_back_units,
    people_needed,
    refundable_units,
    reversal_debt_units,
    reversal_refusals,
    way_to_undo,
)
from meterplex.domain.prepayment.retry import alarm_due, next_look, retry_delay
from meterplex.domain.prepayment.rules import PrepaymentRules
from meterplex.domain.prepayment.wallet import (
    Baseline,
    Comparison,
    CountCapability,
    CountComparison,
    PurchaseRecord,
    Wallet,
    compare_count,
    count_alarm,
)

__all__ = [
    "BLOCKING",
    "DIRECTIONS",
    "FINAL",
    "LIVE",
    "MOVES",
    "STATE_AFTER",
    "Answer",
    "AnswerKind",
    "AnswerStep",
    "AnswerVerdict",
    "Arming",
    "ArmingObstacle",
    "ArmingRefusal",
    "Baseline",
    "Comparison",
    "CountCapability",
    "CountComparison",
    "DecisionRefusal",
    "Direction",
    "Evidence",
    "EvidenceRead",
    "Fence",
    "FenceFacts",
    "Next",
    "OrderId",
    "OrderKind",
    "OrderState",
    "PrepaymentRules",
    "PurchaseRecord",
    "RecordWindow",
    "ReversalFacts",
    "ReversalRefusal",
    "Undo",
    "UseSince",
    "Verdict",
    "Wallet",
    "after_answer",
    "alarm_due",
    "arm",
    "claw_back_units",
    "compare_count",
    "count_alarm",
    "decision_refusal",
    "fence_of",
    "judge",
    "may_arm",
    "may_log_in",
    "may_void",
    "next_look",
    "people_needed",
    "refundable_units",
    "retry_delay",
    "reversal_debt_units",
    "reversal_refusals",
    "send_again",
    "way_to_undo",
]
