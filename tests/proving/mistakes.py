"""Six mistakes that money programs make, each to be switched on so that the proofs must fail."""

from dataclasses import replace
from typing import Any

from meterplex.domain.prepayment import (
    Answer,
    AnswerKind,
    Arming,
    Evidence,
    Fence,
    FenceFacts,
    Next,
    OrderState,
    PrepaymentRules,
    Verdict,
    Wallet,
)
from meterplex.domain.prepayment.credit_order import CreditOrder
from meterplex.domain.prepayment.wallet import total_moved
from meterplex.services.orders.deliver_orders import CreditMeter, OrderDelivery
from meterplex.services.orders.evidence import DIRECT, LinkFacts
from meterplex.services.orders.meter_wallets import currency_amount


def forgets_the_count(right: PrepaymentRules) -> PrepaymentRules:
    """A retry takes a freshly read count."""

    def judge(*args: Any, **facts: Any) -> Verdict:
        verdict = right.judge(*args, **facts)
        return replace(verdict, next=Next.FENCE) if verdict.next is Next.SEND_AGAIN else verdict

    def fence_of(facts: FenceFacts) -> Fence | None:
        unchanged = bool(facts.reads) and facts.reads[-1].evidence is Evidence.E2
        return Fence.F1 if unchanged else right.fence_of(facts)

    return replace(right, judge=judge, fence_of=fence_of)


def takes_duplicate_for_failure(right: PrepaymentRules) -> PrepaymentRules:
    """A refusal, as of a count that was taken already, means that nothing was taken."""

    def after_answer(arming: Arming, answer: Answer, *, sent_before: bool = False) -> Any:
        if answer.kind in {AnswerKind.DUPLICATE, AnswerKind.OTHER_ERROR}:
            answer, sent_before = Answer(AnswerKind.NOT_SENT), False
        return right.after_answer(arming, answer, sent_before=sent_before)

    return replace(right, after_answer=after_answer)


def voids_on_one_read(right: PrepaymentRules) -> PrepaymentRules:
    """One read that shows "not taken" is a fence."""

    def fence_of(facts: FenceFacts) -> Fence | None:
        unchanged = bool(facts.reads) and facts.reads[-1].evidence is Evidence.E2
        return Fence.F3 if unchanged else right.fence_of(facts)

    return replace(right, fence_of=fence_of)


def takes_missing_record_for_foreign(right: PrepaymentRules) -> PrepaymentRules:
    """What the meter has no record of any more, since others bought after it, was not ours."""

    def judge(arming: Arming, wallet: Wallet, *args: Any, **facts: Any) -> Verdict:
        if (wallet.purchase_count or 0) > arming.count:
            moved = total_moved(arming.baseline, wallet) or 0
            return Verdict(Evidence.E3, Next.FENCE, "the record is not there", moved)
        return right.judge(arming, wallet, *args, **facts)

    return replace(right, judge=judge)


def confirms_twins(right: PrepaymentRules) -> PrepaymentRules:
    """Whatever looks like ours is ours."""

    def judge(*args: Any, **facts: Any) -> Verdict:
        return right.judge(*args, **facts | {"sole_seller": True})

    return replace(right, judge=judge)


class SendsFirst(OrderDelivery):
    """Sends, and then writes down that it was going to."""

    async def attempt(
        self, order: CreditOrder, meter: CreditMeter, link: LinkFacts = DIRECT
    ) -> CreditOrder:
        if order.state is OrderState.PAID:
            wallet = await meter.read_credit()
            await meter.deliver_credit(
                wallet.purchase_count + 1, currency_amount(order.deliver_units)
            )
        return await super().attempt(order, meter, link)
