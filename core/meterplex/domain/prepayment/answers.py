"""What the answer to a sent order means: only a positive one that names it settles anything.

An error is never *failed, give the money back*: a meter answers "duplicate" to a frame whose first
copy it has taken.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from meterplex.domain.prepayment.arming import Arming
from meterplex.domain.prepayment.orders import OrderState

LOG_INS_MAX: Final = 2
LOG_IN_PERIOD: Final = timedelta(hours=1)
"""Meters lock themselves after about 15 failed authentications."""


class AnswerKind(StrEnum):
    """What came back after an order was sent."""

    ACCEPTED = "accepted"
    SILENCE = "silence"
    DAMAGED = "damaged"
    """A bad checksum, a wrong address, a stale or doubled reply."""
    DUPLICATE = "duplicate"
    COUNT_WRONG = "count_wrong"
    OTHER_ERROR = "other_error"
    OVER_HOARD = "over_hoard"
    CUSTOMER_MISMATCH = "customer_mismatch"
    AUTHENTICATION = "authentication"
    """Authentication or the security module failed."""
    NOT_SENT = "not_sent"
    """No answer: the link proved that no byte has left."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        meter: number that it names, count: that it names; None where it does not.
    """

    kind: AnswerKind
    meter: str | None = None
    count: int | None = None


class AnswerStep(StrEnum):
    """What is done next."""

    BOOK = "book"
    READ_BACK = "read_back"
    """At once, while ARMED: only evidence E1 confirms, all else makes it UNCERTAIN."""
    READ_EVIDENCE = "read_evidence"
    """After the link's drain time."""
    HOLD = "hold"
    """Keep the count, tell the operator: evidence is read, only a person lets it be sent again."""
    LOG_IN = "log_in"
    """Log in to the meter once more where :func:`may_log_in` allows, then read evidence."""
    ARM_LATER = "arm_later"


@dataclass(frozen=True, slots=True)
class AnswerVerdict:
    """The order's next state, what is done next, and one line for people."""

    state: OrderState
    step: AnswerStep
    sentence: str


_HOLD_FOR: Final = {
    AnswerKind.OVER_HOARD: "the meter says that it would hold too much",
    AnswerKind.CUSTOMER_MISMATCH: "the meter says that it belongs to another customer",
}


def after_answer(arming: Arming, answer: Answer, *, sent_before: bool = False) -> AnswerVerdict:
    """Say what follows from the answer to an ARMED order.

    Args:
        sent_before: an earlier frame of this order may be out.
    """
    if answer.kind is AnswerKind.ACCEPTED:
        return _accepted(arming, answer)
    if answer.kind is AnswerKind.NOT_SENT and not sent_before:
        return AnswerVerdict(OrderState.PAID, AnswerStep.ARM_LATER, "nothing was sent")
    if answer.kind in _HOLD_FOR:
        return _uncertain(AnswerStep.HOLD, _HOLD_FOR[answer.kind])
    if answer.kind is AnswerKind.AUTHENTICATION:
        return _uncertain(AnswerStep.LOG_IN, "the meter refused the authentication")
    return _uncertain(AnswerStep.READ_EVIDENCE, f"answer: {answer.kind.replace('_', ' ')}")


def may_log_in(failed_at: Iterable[datetime], now: datetime) -> bool:
    """Tell whether another authentication may be tried: at most 2 failures within an hour.

    A failure that lies after ``now`` counts: a clock that jumped back frees no tries.
    """
    return sum(at > now - LOG_IN_PERIOD for at in failed_at) < LOG_INS_MAX


def _accepted(arming: Arming, answer: Answer) -> AnswerVerdict:
    meter = arming.baseline.meter
    if answer.count not in (None, arming.count):
        sentence = f"the answer names count {answer.count}, sent {arming.count}"
        return _uncertain(AnswerStep.READ_EVIDENCE, sentence)
    if None not in (meter, answer.meter) and answer.meter != meter:
        sentence = f"the answer names meter {answer.meter}, sent to {meter}"
        return _uncertain(AnswerStep.READ_EVIDENCE, sentence)
    if None in (meter, answer.meter, answer.count):
        sentence = "accepted, but the answer does not name meter and count"
        return AnswerVerdict(OrderState.ARMED, AnswerStep.READ_BACK, sentence)
    sentence = f"meter {meter} accepted count {arming.count}"
    return AnswerVerdict(OrderState.CONFIRMED, AnswerStep.BOOK, sentence)


def _uncertain(step: AnswerStep, sentence: str) -> AnswerVerdict:
    return AnswerVerdict(OrderState.UNCERTAIN, step, sentence)
