"""The rules of prepayment in one value, so that a service is given them as it is given a clock."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from meterplex.domain.prepayment.answers import Answer, AnswerVerdict, after_answer
from meterplex.domain.prepayment.arming import Arming, ArmingRefusal, arm
from meterplex.domain.prepayment.evidence import RecordWindow, UseSince, Verdict, judge
from meterplex.domain.prepayment.fences import Fence, FenceFacts, fence_of, may_void
from meterplex.domain.prepayment.orders import Direction, OrderId, OrderState
from meterplex.domain.prepayment.wallet import (
    CountCapability,
    CountComparison,
    Wallet,
    compare_count,
)


class Arm(Protocol):
    """See :func:`arm`."""

    def __call__(
        self,
        order_id: OrderId,
        direction: Direction,
        amount_units: int,
        wallet: Wallet,
        capability: CountCapability,
        *,
        bound_to: Wallet,
        armed_at: datetime,
        hoard_units: int | None = None,
        mark: str | None = None,
    ) -> Arming | ArmingRefusal: ...


class Judge(Protocol):
    """See :func:`judge`."""

    def __call__(
        self,
        arming: Arming,
        wallet: Wallet,
        capability: CountCapability,
        *,
        sole_seller: bool = False,
        record_window: RecordWindow | None = None,
        use: UseSince | None = None,
    ) -> Verdict: ...


class AfterAnswer(Protocol):
    """See :func:`after_answer`."""

    def __call__(
        self, arming: Arming, answer: Answer, *, sent_before: bool = False
    ) -> AnswerVerdict: ...


class MayVoid(Protocol):
    """See :func:`may_void`."""

    def __call__(self, state: OrderState, *, ever_sent: bool, fence: Fence | None) -> bool: ...


@dataclass(frozen=True, slots=True)
class PrepaymentRules:
    """What a service asks at each step of an order."""

    arm: Arm = arm
    after_answer: AfterAnswer = after_answer
    judge: Judge = judge
    fence_of: Callable[[FenceFacts], Fence | None] = fence_of
    may_void: MayVoid = may_void
    compare_count: Callable[[Wallet, Wallet], CountComparison] = compare_count
