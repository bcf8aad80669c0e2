"""What people decide about orders: give one up, settle a contradiction, look again now."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from meterplex.db import Database, UnitOfWork
from meterplex.domain.approvals import ApprovalId, ApprovalKind
from meterplex.domain.estate import OrganisationId
from meterplex.domain.operators import Operator
from meterplex.domain.prepayment import (
    DecisionRefusal,
    Fence,
    OrderId,
    OrderState,
    PrepaymentRules,
    decision_refusal,
)
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep, StepCode
from meterplex.services.accounts.messages import wake_orders
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.operators import approvals
from meterplex.services.operators.audit import record
from meterplex.services.orders.crash_points import CrashHook, CrashPoint, Moment, no_crash
from meterplex.services.orders.evidence import fence_facts
from meterplex.services.orders.meter_wallets import moved_by, put_wallet
from meterplex.services.orders.settle_orders import (
    HeldOrder,
    confirm,
    hold_order,
    move,
    void,
    zone_of,
)

REASON_LENGTH_MAX = 500
_REFUSALS: Mapping[DecisionRefusal, str] = {
    DecisionRefusal.STATE: "it is not in conflict, or cannot become that",
    DecisionRefusal.PEOPLE: "two people must agree",
    DecisionRefusal.REASON: "a reason is needed",
    DecisionRefusal.FENCE: "it was sent, and could still be taken by the meter",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of an order in CONFLICT.

    Attributes:
        to: CONFIRMED, VOIDED or PAID.
        reason: why, in words.
        approval_id: of the second person.
    """

    organisation_id: OrganisationId
    order_id: OrderId
    to: OrderState
    reason: str
    approval_id: ApprovalId | None = None

    @property
    def body(self) -> dict[str, Any]:
        """What the second person approves."""
        return {"order": str(self.order_id), "to": self.to.value, "reason": self.reason}


async def void_order(
    database: Database,
    organisation_id: OrganisationId,
    order_id: OrderId,
    *,
    at: datetime,
    operator: str,
    reason: str,
    rules: PrepaymentRules,
    dry_run: bool = False,
    crash: CrashHook = no_crash,
) -> CreditOrder:
    """Give an order up, if it was never sent or stands behind a fence.

    One that was sent and has no fence is not sent again from now on; it can be given up once its
    delivery has found a fence, or is confirmed by what is read.

    Returns:
        The order: VOIDED, or still UNCERTAIN and held.

    Raises:
        MoneyInputError: no reason.
        NotFoundError: the organisation has no such order.
        MoneyConflictError: it is settled, being sent, or in conflict.
    """
    reason = _checked_reason(reason)
    async with database.unit_of_work() as uow:
        held = await hold_order(uow, organisation_id, order_id)
        order = held.order
        fence = Fence(order.fence) if order.fence else None
        if rules.may_void(order.state, ever_sent=order.ever_sent, fence=fence):
            step = OrderStep(at, OrderState.VOIDED, StepCode.VOIDED, reason, operator)
            moved = await void(uow, held, step)
            point = CrashPoint.VOIDED
        elif order.state is OrderState.UNCERTAIN:
            sentence = f"to be given up behind a fence: {reason}"
            step = OrderStep(at, order.state, StepCode.HELD, sentence, operator)
            moved = await move(uow, held, replace(order, held=sentence), step)
            point = CrashPoint.UNCERTAIN
        else:
            raise MoneyConflictError("order", f"it is {order.state}, and cannot be given up")
        await _record(uow, organisation_id, operator, "order.void", moved, reason, at)
        if not dry_run:
            crash(point, Moment.BEFORE)
            await uow.commit()
            crash(point, Moment.AFTER)
    return moved


async def retry_order(
    database: Database,
    organisation_id: OrganisationId,
    order_id: OrderId,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> CreditOrder:
    """Have an order looked at now, and let it be sent again where it was held.

    Raises:
        NotFoundError: the organisation has no such order.
        MoneyConflictError: it is settled, being sent, or in conflict.
    """
    async with database.unit_of_work() as uow:
        held = await hold_order(uow, organisation_id, order_id)
        order = held.order
        if order.state not in {OrderState.PAID, OrderState.UNCERTAIN}:
            raise MoneyConflictError("order", f"it is {order.state}: nothing to try again")
        step = OrderStep(at, order.state, StepCode.RETRY, "asked for", operator)
        moved = await move(uow, held, replace(order, due_at=at, held=""), step)
        await _wake(uow, held, at)
        await _record(uow, organisation_id, operator, "order.retry", moved, "", at)
        if not dry_run:
            await uow.commit()
    return moved


async def resolve_conflict(
    database: Database,
    decision: Decision,
    *,
    at: datetime,
    operator: Operator,
    rules: PrepaymentRules,
    dry_run: bool = False,
) -> CreditOrder:
    """Settle an order in CONFLICT, or have it armed anew, as two people decided.

    Raises:
        MoneyInputError: no reason.
        NotFoundError: the organisation has no such order.
        MoneyConflictError: the rules speak against it.
        ApprovalError: the second person has not approved exactly this.
    """
    decision = replace(decision, reason=_checked_reason(decision.reason))
    async with database.unit_of_work() as uow:
        held = await hold_order(uow, decision.organisation_id, decision.order_id)
        if held.order.state is not OrderState.CONFLICT:
            raise MoneyConflictError("order", f"it is {held.order.state}, expected conflict")
        if decision.to is OrderState.CONFIRMED and held.order.arming is None:
            raise MoneyConflictError("to", "it was never sent: nothing of it can be in the meter")
        approval = await approvals.require(
            uow, operator, decision.approval_id, ApprovalKind.CONFLICT, decision.body, at=at
        )
        order = held.order
        foreign = decision.to is not OrderState.CONFIRMED
        steps = await uow.orders.steps(order.organisation_id, order.id)
        facts = fence_facts(order, steps, zone=zone_of(held), declared_foreign=foreign)
        fence = None if facts is None else rules.fence_of(facts)
        people = {str(each) for each in (approval.asked_by, approval.decided_by) if each}
        refusal = decision_refusal(
            order.state,
            decision.to,
            people=people,
            reason=decision.reason,
            ever_sent=order.ever_sent,
            fence=fence,
        )
        if refusal is not None:
            raise MoneyConflictError("to", _REFUSALS[refusal])
        moved = await _decide(uow, held, decision, fence, operator.name, at)
        await _record(
            uow,
            order.organisation_id,
            operator.name,
            "order.resolve",
            moved,
            decision.reason,
            at,
        )
        if not dry_run:
            await uow.commit()
    return moved


async def _decide(
    uow: UnitOfWork,
    held: HeldOrder,
    decision: Decision,
    fence: Fence | None,
    operator: str,
    at: datetime,
) -> CreditOrder:
    code = StepCode.DECIDED if fence is None else fence.value
    step = OrderStep(at, decision.to, code, decision.reason, operator, decision.body)
    order = held.order
    match decision.to:
        case OrderState.CONFIRMED:
            moved = await confirm(uow, held, step)
            await _account_for(uow, held, at)
        case OrderState.VOIDED:
            moved = await void(uow, held, step)
        case _:
            waiting = replace(
                order,
                state=OrderState.PAID,
                arming=None,
                uncertain_at=None,
                fence="" if fence is None else fence.value,
                held="",
                due_at=at,
                outcome=decision.reason,
            )
            moved = await move(uow, held, waiting, step)
            await _wake(uow, held, at)
    return moved


async def _account_for(uow: UnitOfWork, held: HeldOrder, at: datetime) -> None:
    """Keep the wallet as the order, which people found taken, must have left it."""
    arming, binding = held.order.arming, held.binding
    if arming is not None and binding is not None:
        wallet = moved_by(arming.baseline, arming.count, arming.change_units)
        await put_wallet(uow, binding, wallet, at)


async def _wake(uow: UnitOfWork, held: HeldOrder, at: datetime) -> None:
    if held.binding is not None:
        await wake_orders(uow, held.account, held.binding.id, at)


async def _record(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    operator: str,
    action: str,
    order: CreditOrder,
    reason: str,
    at: datetime,
) -> None:
    detail = {"state": order.state.value, "reason": reason}
    await record(uow, organisation_id, operator, action, f"order {order.id}", detail, at)


def _checked_reason(reason: str) -> str:
    text = reason.strip()
    if not 1 <= len(text) <= REASON_LENGTH_MAX:
        raise MoneyInputError("reason", f"expected 1 to {REASON_LENGTH_MAX} characters")
    return text
