"""What an order books when it is settled, inside the transaction that settles it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account, Category
from meterplex.domain.estate import Binding, Meter, OrganisationId, Site
from meterplex.domain.ledger import (
    BROUGHT_IN,
    Entry,
    EntryKind,
    LedgerKind,
    Posting,
    customer,
    in_meter,
    receivable,
    refund_payable,
    signed,
    suspense,
    transit,
)
from meterplex.domain.prepayment import Direction, OrderId, OrderKind, OrderState
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep
from meterplex.domain.receipt_facts import moves_cash
from meterplex.sdk.accounts import AccountEventKind
from meterplex.services.accounts.messages import reconsider_supply, tell_event, wake_orders
from meterplex.services.books.amounts import format_amount
from meterplex.services.books.book_entries import book, take_back
from meterplex.services.orders.credit_origin import credit_origin
from meterplex.services.receipts.issue_receipt import issue_receipt


class OrderMovedError(Exception):
    """The order is not any more as it was when this was decided; nothing was done."""


@dataclass(frozen=True, slots=True)
class HeldOrder:
    """An order with all it belongs to; its account is held until the transaction ends.

    Attributes:
        binding, meter: None where the balance is kept on the server.
    """

    order: CreditOrder
    account: Account
    site: Site
    binding: Binding | None
    meter: Meter | None


async def hold_order(
    uow: UnitOfWork, organisation_id: OrganisationId, order_id: OrderId
) -> HeldOrder:
    """Return an order as it is now, with its account held.

    Raises:
        NotFoundError: the organisation has no such order.
    """
    found = await uow.orders.get(organisation_id, order_id)
    account = await uow.accounts.lock(organisation_id, found.account_id)
    order = await uow.orders.get(organisation_id, order_id)
    site = await uow.sites.get(organisation_id, order.site_id)
    if order.binding_id is None:
        return HeldOrder(order, account, site, None, None)
    binding = await uow.bindings.get(organisation_id, order.binding_id)
    meter = await uow.meters.get(organisation_id, binding.meter_id)
    return HeldOrder(order, account, site, binding, meter)


def zone_of(held: HeldOrder) -> ZoneInfo:
    """Return the zone of an order's site."""
    return ZoneInfo(held.site.time_zone)


async def move(
    uow: UnitOfWork, held: HeldOrder, moved: CreditOrder, step: OrderStep
) -> CreditOrder:
    """Move a held order on.

    Raises:
        OrderMovedError: somebody else did.
    """
    if not await uow.orders.move(held.order, moved, step):
        raise OrderMovedError(f"order {held.order.id} is not {held.order.state} any more")
    return moved


async def confirm(
    uow: UnitOfWork, held: HeldOrder, step: OrderStep, *, foreign_units: int = 0
) -> CreditOrder:
    """Settle an order as proven, and book what it moved.

    Args:
        foreign_units: bought elsewhere since it was armed.
    """
    at, operator = step.at, step.done_by
    moved = replace(
        held.order,
        state=OrderState.CONFIRMED,
        due_at=None,
        settled_at=at,
        held="",
        outcome=step.sentence,
    )
    confirmed = await move(uow, held, moved, step)
    if held.order.kind is OrderKind.REVERSAL:
        unused = held.order.deliver_units
        await book_reversal(uow, held, unused_units=unused, at=at, operator=operator)
    elif held.binding is not None:
        await _book_proven(uow, held, held.binding, at, operator)
    if held.binding is not None:
        await book_foreign(uow, held, held.binding, foreign_units, at)
    await _follow_up(uow, held, at)
    if held.order.kind is OrderKind.VEND:  # a transfer is no sale
        await _tell_credited(uow, held, at)
    return confirmed


async def void(uow: UnitOfWork, held: HeldOrder, step: OrderStep) -> CreditOrder:
    """Give an order up; money that was paid for it is to be paid out.

    Of credit that was only to be carried over, what was not bought goes back where it came from.
    """
    order = held.order
    moved = replace(
        order,
        state=OrderState.VOIDED,
        due_at=None,
        settled_at=step.at,
        held="",
        outcome=step.sentence,
    )
    voided = await move(uow, held, moved, step)
    if order.direction is Direction.DELIVER and held.binding is not None:
        source, payable = transit(held.binding.id), refund_payable(order.account_id)
        given = await _given_units(uow, held)
        postings = signed(source, BROUGHT_IN, given)
        postings += signed(source, payable, order.deliver_units - given)
        await _book(uow, held, EntryKind.VOID, postings, step.at, step.done_by)
    await _follow_up(uow, held, step.at)
    return voided


async def _given_units(uow: UnitOfWork, held: HeldOrder) -> int:
    """Return what of an order, when it is given up, was not bought."""
    if held.order.kind is not OrderKind.TRANSFER:
        return 0
    origin = await credit_origin(uow, held.account)
    return min(max(origin.given_units, 0), held.order.deliver_units)


async def book_reversal(
    uow: UnitOfWork, held: HeldOrder, *, unused_units: int, at: datetime, operator: str
) -> tuple[Entry, ...]:
    """Take back all that the reversed vend booked; what of its credit is used becomes owed."""
    order = held.order
    assert order.reverses_id is not None
    entries = await uow.ledger.of_order(order.organisation_id, order.reverses_id)
    taken = [
        await take_back(uow, held.site, entry, at=at, operator=operator)
        for entry in reversed(entries)
    ]
    credited = credited_units(entries)
    wallet = customer(order.account_id) if held.binding is None else in_meter(held.binding.id)
    used = credited - unused_units
    if used > 0:
        owed = receivable(order.account_id, Category.UTILITY)
        await _book(uow, held, EntryKind.SETTLEMENT, (Posting(owed, wallet, used),), at, operator)
    for entry in taken:
        if moves_cash(entry.postings):
            await issue_receipt(uow, held.account, held.site, entry, order=order, at=at)
    return tuple(taken)


async def book_foreign(
    uow: UnitOfWork, held: HeldOrder, binding: Binding, foreign_units: int, at: datetime
) -> None:
    """Book what others sold to a meter: it waits in SUSPENSE to be explained."""
    if foreign_units > 0:
        posting = Posting(suspense(binding.id), in_meter(binding.id), foreign_units)
        await book(
            uow,
            held.site,
            EntryKind.FOREIGN,
            (posting,),
            currency=held.account.currency,
            at=at,
            operator="delivery",
            account=held.account,
            memo="bought elsewhere",
        )


def credited_units(entries: Iterable[Entry]) -> int:
    """Return what of a vend became credit, by its payment, wherever it went from there."""
    payments = [entry for entry in entries if entry.kind is EntryKind.PAYMENT]
    return sum(
        posting.amount_units
        for entry in payments
        for posting in entry.postings
        if posting.credit.kind in {LedgerKind.CUSTOMER, LedgerKind.TRANSIT}
    )


async def _book_proven(
    uow: UnitOfWork, held: HeldOrder, binding: Binding, at: datetime, operator: str
) -> None:
    amount_units = held.order.deliver_units
    if held.order.direction is Direction.DELIVER:
        kind = EntryKind.DELIVERY
        posting = Posting(transit(binding.id), in_meter(binding.id), amount_units)
    else:
        kind = EntryKind.WITHDRAWAL
        payable = refund_payable(held.order.account_id)
        posting = Posting(in_meter(binding.id), payable, amount_units)
    await _book(uow, held, kind, (posting,), at, operator)


async def _book(
    uow: UnitOfWork,
    held: HeldOrder,
    kind: EntryKind,
    postings: tuple[Posting, ...],
    at: datetime,
    operator: str,
) -> None:
    await book(
        uow,
        held.site,
        kind,
        postings,
        currency=held.order.currency,
        at=at,
        operator=operator,
        account=held.account,
        order_id=held.order.id,
    )


async def _follow_up(uow: UnitOfWork, held: HeldOrder, at: datetime) -> None:
    await reconsider_supply(uow, held.account, at)
    if held.binding is not None:
        await wake_orders(uow, held.account, held.binding.id, at)


async def _tell_credited(uow: UnitOfWork, held: HeldOrder, at: datetime) -> None:
    order = held.order
    amount = format_amount(order.deliver_units, order.currency)
    detail = {"order": str(order.id), "amount": amount}
    if held.meter is not None:
        detail["meter"] = held.meter.serial
    await tell_event(uow, held.account, held.site, AccountEventKind.CREDITED, at, detail=detail)
