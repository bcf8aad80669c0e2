"""Gives unused credit back to its owner: taken back first, then owed to him, then paid out.

On the server the credit is taken back at once. Credit in a meter is taken back by an order that the
meter must prove; only then is there anything to pay out (prepayment-protocol R3, R4).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.domain.accounts import Account, AccountState
from meterplex.domain.approvals import ApprovalError, ApprovalId, ApprovalKind
from meterplex.domain.estate import AccountId, Binding, BindingId, OrganisationId, Site
from meterplex.domain.ledger import EntryKind, Posting, customer, refund_payable
from meterplex.domain.operators import Operator
from meterplex.domain.prepayment import (
    Direction,
    OrderId,
    OrderKind,
    OrderState,
    people_needed,
)
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep, StepCode
from meterplex.services.accounts.find_accounts import check_state, hold_account
from meterplex.services.accounts.messages import reconsider_supply, wake_orders
from meterplex.services.books.amounts import format_amount
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import MeterUnfitError, NotEnoughCreditError
from meterplex.services.estate.site_policies import load_parameters
from meterplex.services.operators import approvals
from meterplex.services.operators.audit import record
from meterplex.services.orders.crash_points import CrashHook, CrashPoint, Moment, no_crash
from meterplex.services.orders.credit_origin import refundable, sold_units
from meterplex.services.orders.idempotency import (
    RequestKey,
    check_key,
    first_answer,
    keep_answer,
    once,
)
from meterplex.services.orders.vend_credit import check_payable, check_word, meter_binding

CANNOT_GIVE_BACK: Final = (
    "it cannot give credit back, and nothing is paid out on a promise: swap it (account swap) for"
    " one that can, which carries the credit over, then ask again"
)


class SecondPersonNeededError(ApprovalError):
    """The amount is above what one person may give back.

    Attributes:
        kind: and ``content``: what the second person has to approve.
    """

    def __init__(self, kind: ApprovalKind, content: Mapping[str, Any]) -> None:
        super().__init__(f"{kind} needs the approval of a second person")
        self.kind = kind
        self.content = content


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """Credit that its owner wants back.

    Attributes:
        amount_units: ledger units, whole minor units of the account's currency.
        binding_id: whose meter gives it back; None takes the account's only one, or the wallet
            on the server.
        approval_id: of a second person, above the site's limit.
    """

    organisation_id: OrganisationId
    account_id: AccountId
    amount_units: int
    idempotency_key: str
    channel: str = "desk"
    binding_id: BindingId | None = None
    approval_id: ApprovalId | None = None

    @property
    def body(self) -> dict[str, Any]:
        """What makes it this request, and what a second person approves."""
        return {
            "account": str(self.account_id),
            "amount_units": self.amount_units,
            "channel": self.channel,
            "binding": None if self.binding_id is None else str(self.binding_id),
        }


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund as it was answered first.

    Attributes:
        state: CONFIRMED when it can be paid out; PAID while the meter has to give it back.
        payable_units: to be paid out to the account's customer, all in all.
        repeated: this answers a repetition; nothing was booked now.
    """

    order_id: OrderId
    account_id: AccountId
    binding_id: BindingId | None
    amount_units: int
    currency: str
    state: OrderState
    payable_units: int
    at: datetime
    repeated: bool = False


async def refund_credit(
    database: Database,
    request: RefundRequest,
    *,
    at: datetime,
    operator: Operator,
    can_withdraw: bool = True,
    dry_run: bool = False,
    crash: CrashHook = no_crash,
) -> Refund:
    """Take unused credit back, now or by an order to its meter.

    Args:
        can_withdraw: the meter, where it is one, can give credit back.
        dry_run: do all of it, but keep nothing.

    Raises:
        MoneyInputError: the amount, the key or the channel cannot be.
        UnknownThingError: the organisation has no such account, the account no such meter.
        AccountStateError: the account is closed.
        NotEnoughCreditError: more than was bought here and is left.
        MeterUnfitError: several meters to choose from, or one that cannot give credit back.
        IdempotencyError: the key was used for something else.
        ApprovalError: it needs a second person, whose approval this is not.
    """
    request = replace(
        request,
        idempotency_key=check_key(request.idempotency_key),
        channel=check_word(request.channel, "channel"),
    )
    key = RequestKey(
        request.organisation_id, operator.name, "refund", request.idempotency_key, request.body
    )

    async def give_back() -> Refund:
        async with database.unit_of_work() as uow:
            account = await hold_account(
                uow, request.organisation_id, request.account_id, frozenset(AccountState)
            )
            answer = await first_answer(uow, key, Refund)
            if answer is not None:
                return answer
            refund = await _refund(uow, account, request, operator, at, can_withdraw=can_withdraw)
            await keep_answer(uow, key, refund)
            await _record(uow, refund, account, request, operator)
            if not dry_run:
                crash(CrashPoint.PAID, Moment.BEFORE)
                await uow.commit()
                crash(CrashPoint.PAID, Moment.AFTER)
        return refund

    return await once(give_back)


async def need_second_person(
    uow: UnitOfWork,
    operator: Operator,
    site: Site,
    approval_id: ApprovalId | None,
    kind: ApprovalKind,
    amount_units: int,
    content: dict[str, Any],
    at: datetime,
) -> ApprovalId | None:
    """Take the approval that an amount needs; None for one that needs none.

    Raises:
        SecondPersonNeededError: it needs one, and there is none yet.
        ApprovalError: this does not allow it.
    """
    limit = (await load_parameters(uow, site)).refund_alone_max_units
    if people_needed(amount_units, limit) == 1:
        return None
    if approval_id is None:
        raise SecondPersonNeededError(kind, content)
    return (await approvals.require(uow, operator, approval_id, kind, content, at=at)).id


async def _refund(
    uow: UnitOfWork,
    account: Account,
    request: RefundRequest,
    operator: Operator,
    at: datetime,
    *,
    can_withdraw: bool,
) -> Refund:
    check_payable(request.amount_units, account.currency)
    check_state(account, frozenset(AccountState) - {AccountState.CLOSED}, "account")
    binding = await meter_binding(uow, account, request.binding_id)
    if binding is not None and not can_withdraw:
        raise MeterUnfitError("meter", CANNOT_GIVE_BACK)
    site = await uow.sites.get(account.organisation_id, account.site_id)
    await _check_left(uow, account, binding, request.amount_units)
    approval_id = await need_second_person(
        uow,
        operator,
        site,
        request.approval_id,
        ApprovalKind.REFUND,
        request.amount_units,
        request.body,
        at,
    )
    order = _order(account, binding, request, approval_id, operator, at)
    sentence = f"{format_amount(order.amount_units, order.currency)} {order.currency} asked back"
    await uow.orders.place(
        order, OrderStep(at, order.state, StepCode.ASKED, sentence, operator.name, request.body)
    )
    if binding is None:
        await _take_back(uow, account, site, order, at)
    else:
        await wake_orders(uow, account, binding.id, at)
    payable = refund_payable(account.id)
    balances = await uow.ledger.balances(account.organisation_id, account.currency, [payable])
    return Refund(
        order.id,
        account.id,
        order.binding_id,
        order.amount_units,
        order.currency,
        order.state,
        balances[payable],
        at,
    )


async def _check_left(
    uow: UnitOfWork, account: Account, binding: Binding | None, amount_units: int
) -> None:
    if binding is None:
        wallet = customer(account.id)
        held = await uow.ledger.lock(account.organisation_id, account.currency, [wallet])
        remaining = held[wallet]
    else:
        remaining = await _left_in_meter(uow, account, binding)
    most = await refundable(uow, account, remaining)
    if amount_units > most:
        asked, left = (format_amount(each, account.currency) for each in (amount_units, most))
        raise NotEnoughCreditError("amount", f"{asked} asked back, at most {left} can be given")


async def _left_in_meter(uow: UnitOfWork, account: Account, binding: Binding) -> int:
    """Return what a meter can still be asked for: as it was read last, and sold to it."""
    row = await uow.wallets.find(account.organisation_id, binding.id)
    remaining = 0 if row is None else row.remaining_units
    live = await uow.orders.open_of_binding(account.organisation_id, binding.id)
    asked = sum(order.deliver_units for order in live if order.direction is Direction.WITHDRAW)
    return min(remaining, await sold_units(uow, account, binding)) - asked


async def _take_back(
    uow: UnitOfWork, account: Account, site: Site, order: CreditOrder, at: datetime
) -> None:
    await book(
        uow,
        site,
        EntryKind.REFUND,
        (Posting(customer(account.id), refund_payable(account.id), order.amount_units),),
        currency=account.currency,
        at=at,
        operator=order.asked_by,
        account=account,
        order_id=order.id,
    )
    await reconsider_supply(uow, account, at)


def _order(
    account: Account,
    binding: Binding | None,
    request: RefundRequest,
    approval_id: ApprovalId | None,
    operator: Operator,
    at: datetime,
) -> CreditOrder:
    travels = binding is not None
    return CreditOrder(
        id=OrderId(uuid_utils.compat.uuid7()),
        organisation_id=account.organisation_id,
        site_id=account.site_id,
        account_id=account.id,
        binding_id=None if binding is None else binding.id,
        kind=OrderKind.REFUND,
        direction=Direction.WITHDRAW,
        state=OrderState.PAID if travels else OrderState.CONFIRMED,
        amount_units=request.amount_units,
        deliver_units=request.amount_units if travels else 0,
        currency=account.currency,
        idempotency_key=request.idempotency_key,
        method="",
        channel=request.channel,
        asked_by=operator.name,
        created_at=at,
        approval_id=approval_id,
        due_at=at if travels else None,
        settled_at=None if travels else at,
        outcome="" if travels else "taken back",
    )


async def _record(
    uow: UnitOfWork, refund: Refund, account: Account, request: RefundRequest, operator: Operator
) -> None:
    detail = {
        "account": account.number,
        "amount": format_amount(refund.amount_units, refund.currency),
        "channel": request.channel,
    }
    await record(
        uow,
        account.organisation_id,
        operator.name,
        "money.refund",
        f"order {refund.order_id}",
        detail,
        refund.at,
    )
