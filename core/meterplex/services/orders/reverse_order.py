"""Undoes one whole vend that was made in error, once (prepayment-protocol R1, R2)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.domain.accounts import AccountState
from meterplex.domain.approvals import ApprovalId, ApprovalKind
from meterplex.domain.estate import OrganisationId
from meterplex.domain.ledger import Entry, customer
from meterplex.domain.operators import Operator
from meterplex.domain.prepayment import (
    Direction,
    OrderId,
    OrderKind,
    OrderState,
    ReversalFacts,
    ReversalRefusal,
    Undo,
    reversal_refusals,
    way_to_undo,
)
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep, StepCode
from meterplex.services.accounts.find_accounts import check_state
from meterplex.services.accounts.messages import reconsider_supply, wake_orders
from meterplex.services.books.amounts import format_amount
from meterplex.services.books.errors import (
    BusyError,
    MeterUnfitError,
    MoneyConflictError,
    NotEnoughCreditError,
)
from meterplex.services.operators.audit import record
from meterplex.services.orders.idempotency import (
    RequestKey,
    check_key,
    first_answer,
    keep_answer,
    once,
)
from meterplex.services.orders.refund_credit import CANNOT_GIVE_BACK, need_second_person
from meterplex.services.orders.settle_orders import (
    HeldOrder,
    book_reversal,
    credited_units,
    hold_order,
    move,
)
from meterplex.services.orders.vend_credit import check_word

_REASONS: Final = {
    ReversalRefusal.KIND: "only vends are reversed",
    ReversalRefusal.REVERSED: "it has been reversed",
    ReversalRefusal.DAY: "it was sold on another day",
    ReversalRefusal.CASH_REPORT: "the period it was sold in is closed",
    ReversalRefusal.PERSON: "whoever sold it cannot reverse it",
    ReversalRefusal.USED: "part of it is used, and nobody consented to a debt",
}


class ReversalRefusedError(MoneyConflictError):
    """The vend cannot be reversed.

    Attributes:
        refusals: all that speaks against it.
    """

    def __init__(self, refusals: Sequence[ReversalRefusal]) -> None:
        super().__init__("order", "; ".join(_REASONS[each] for each in refusals))
        self.refusals = tuple(refusals)


@dataclass(frozen=True, slots=True)
class ReversalRequest:
    """A vend that was an error.

    Attributes:
        reason: why, in words.
        debt_consented: the customer agreed to owe what of it is used.
        approval_id: of a second person, above the site's limit.
    """

    organisation_id: OrganisationId
    order_id: OrderId
    idempotency_key: str
    reason: str
    channel: str = "desk"
    debt_consented: bool = False
    approval_id: ApprovalId | None = None

    @property
    def body(self) -> dict[str, Any]:
        """What makes it this request, and what a second person approves."""
        return {
            "order": str(self.order_id),
            "reason": self.reason,
            "channel": self.channel,
            "debt_consented": self.debt_consented,
        }


@dataclass(frozen=True, slots=True)
class Reversal:
    """A reversal as it was answered first.

    Attributes:
        state: CONFIRMED when it is booked; PAID while the meter has to give the credit back.
        debt_units: what of the vend was used, and is owed now.
        repeated: this answers a repetition; nothing was booked now.
    """

    order_id: OrderId
    reverses_id: OrderId
    amount_units: int
    currency: str
    state: OrderState
    debt_units: int
    at: datetime
    repeated: bool = False


async def reverse_order(
    database: Database,
    request: ReversalRequest,
    *,
    at: datetime,
    operator: Operator,
    can_withdraw: bool = True,
    dry_run: bool = False,
) -> Reversal:
    """Undo a vend: at once, or by an order that takes its credit back from the meter first.

    Args:
        can_withdraw: the meter, where it is one, can give credit back.
        dry_run: do all of it, but keep nothing.

    Raises:
        MoneyInputError: the key, the reason or the channel cannot be.
        NotFoundError: the organisation has no such order.
        ReversalRefusedError: the rules speak against it.
        BusyError: it was sent and is not proven yet.
        MeterUnfitError: its meter cannot give credit back.
        IdempotencyError: the key was used for something else.
        ApprovalError: it needs a second person, whose approval this is not.
    """
    request = replace(
        request,
        idempotency_key=check_key(request.idempotency_key),
        channel=check_word(request.channel, "channel"),
        reason=request.reason.strip(),
    )
    key = RequestKey(
        request.organisation_id, operator.name, "reverse", request.idempotency_key, request.body
    )

    async def reverse() -> Reversal:
        async with database.unit_of_work() as uow:
            held = await hold_order(uow, request.organisation_id, request.order_id)
            answer = await first_answer(uow, key, Reversal)
            if answer is not None:
                return answer
            reversal = await _reverse(uow, held, request, operator, at, can_withdraw=can_withdraw)
            await keep_answer(uow, key, reversal)
            detail = {
                "reverses": str(request.order_id),
                "account": held.account.number,
                "amount": format_amount(reversal.amount_units, reversal.currency),
                "reason": request.reason,
            }
            subject = f"order {reversal.order_id}"
            await record(
                uow,
                request.organisation_id,
                operator.name,
                "money.reverse",
                subject,
                detail,
                at,
            )
            if not dry_run:
                await uow.commit()
        return reversal

    return await once(reverse)


async def _reverse(
    uow: UnitOfWork,
    held: HeldOrder,
    request: ReversalRequest,
    operator: Operator,
    at: datetime,
    *,
    can_withdraw: bool,
) -> Reversal:
    vend = held.order
    check_state(held.account, frozenset(AccountState) - {AccountState.CLOSED}, "account")
    entries = await uow.ledger.of_order(vend.organisation_id, vend.id)
    credit_units = credited_units(entries)
    unused_units = await _unused_units(uow, held, credit_units)
    await _check(uow, held, request, operator, at, entries, credit_units - unused_units)
    approval_id = await need_second_person(
        uow,
        operator,
        held.site,
        request.approval_id,
        ApprovalKind.REVERSAL,
        vend.amount_units,
        request.body,
        at,
    )
    way = way_to_undo(
        vend.state,
        ever_sent=vend.ever_sent,
        in_meter=vend.deliver_units > 0,
        can_withdraw=can_withdraw,
    )
    if way is Undo.FINISH_FIRST:
        raise BusyError("order", "it was sent, and is not proven yet")
    if way is Undo.CLAW_BACK:
        raise MeterUnfitError("meter", CANNOT_GIVE_BACK)
    if way is Undo.WITHDRAW_FIRST and _has_moved_on(held):
        raise MeterUnfitError("meter", "what it held was carried over: refund it from there")
    if way is Undo.WITHDRAW_FIRST and unused_units == 0:
        raise NotEnoughCreditError("order", "nothing of it is left in the meter")
    order = _order(held, request, approval_id, operator, at, way, unused_units)
    step = OrderStep(at, order.state, StepCode.ASKED, request.reason, operator.name, request.body)
    await uow.orders.place(order, step)
    if way is Undo.WITHDRAW_FIRST and order.binding_id is not None:
        await wake_orders(uow, held.account, order.binding_id, at)
    else:
        await _undo_now(uow, held, order, way, unused_units, at)
    return Reversal(
        order.id,
        vend.id,
        order.amount_units,
        order.currency,
        order.state,
        credit_units - unused_units,
        at,
    )


def _has_moved_on(held: HeldOrder) -> bool:
    """Whether the binding has ended, and what its meter held went to another one."""
    return held.binding is not None and held.binding.until is not None


async def _unused_units(uow: UnitOfWork, held: HeldOrder, credit_units: int) -> int:
    """Return what is left of the credit that the vend brought, as far as it is known now."""
    order = held.order
    if order.binding_id is None:
        wallet = customer(order.account_id)
        balances = await uow.ledger.lock(order.organisation_id, order.currency, [wallet])
        return min(max(balances[wallet], 0), credit_units)
    if order.state is not OrderState.CONFIRMED:
        return credit_units
    row = await uow.wallets.find(order.organisation_id, order.binding_id)
    return min(0 if row is None else max(row.remaining_units, 0), credit_units)


async def _check(
    uow: UnitOfWork,
    held: HeldOrder,
    request: ReversalRequest,
    operator: Operator,
    at: datetime,
    entries: Sequence[Entry],
    used_units: int,
) -> None:
    vend, zone = held.order, ZoneInfo(held.site.time_zone)
    closed = False
    for entry in entries:
        open_period = await uow.ledger.open_period(vend.organisation_id, entry.period)
        closed = closed or open_period != entry.period
    before = await uow.orders.reversal_of(vend.organisation_id, vend.id)
    facts = ReversalFacts(
        kind=vend.kind,
        amount_units=vend.amount_units,
        unused_units=vend.amount_units - used_units,
        sold_on=vend.created_at.astimezone(zone).date(),
        today=at.astimezone(zone).date(),
        sold_by=vend.asked_by,
        asked_by=operator.name,
        reversed_before=before is not None or vend.state is OrderState.VOIDED,
        cash_report_closed=closed,
        debt_consented=request.debt_consented,
    )
    refusals = reversal_refusals(facts)
    if refusals:
        raise ReversalRefusedError(refusals)


async def _undo_now(
    uow: UnitOfWork, held: HeldOrder, order: CreditOrder, way: Undo, unused_units: int, at: datetime
) -> None:
    if way is Undo.VOID:
        given_up = replace(
            held.order,
            state=OrderState.VOIDED,
            due_at=None,
            settled_at=at,
            held="",
            outcome="reversed before it was sent",
        )
        step = OrderStep(at, given_up.state, StepCode.VOIDED, given_up.outcome, order.asked_by)
        await move(uow, held, given_up, step)
    reversal = replace(held, order=order)
    await book_reversal(uow, reversal, unused_units=unused_units, at=at, operator=order.asked_by)
    await reconsider_supply(uow, held.account, at)


def _order(
    held: HeldOrder,
    request: ReversalRequest,
    approval_id: ApprovalId | None,
    operator: Operator,
    at: datetime,
    way: Undo,
    unused_units: int,
) -> CreditOrder:
    vend, travels = held.order, way is Undo.WITHDRAW_FIRST
    return CreditOrder(
        id=OrderId(uuid_utils.compat.uuid7()),
        organisation_id=vend.organisation_id,
        site_id=vend.site_id,
        account_id=vend.account_id,
        binding_id=vend.binding_id,
        kind=OrderKind.REVERSAL,
        direction=Direction.WITHDRAW,
        state=OrderState.PAID if travels else OrderState.CONFIRMED,
        amount_units=vend.amount_units,
        deliver_units=unused_units if travels else 0,
        currency=vend.currency,
        idempotency_key=request.idempotency_key,
        method=vend.method,
        channel=request.channel,
        asked_by=operator.name,
        created_at=at,
        approval_id=approval_id,
        reverses_id=vend.id,
        due_at=at if travels else None,
        settled_at=None if travels else at,
        outcome="" if travels else "reversed",
    )
