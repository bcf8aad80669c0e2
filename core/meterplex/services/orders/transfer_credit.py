"""Credit on its way into a meter that was not sold now: brought along, swapped, converted.

A transfer is no sale: it books from where the credit was to TRANSIT, and the delivery of orders
brings it into the meter as it does any other.
"""

from dataclasses import replace
from datetime import datetime
from typing import Final

import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account
from meterplex.domain.estate import Binding, Site
from meterplex.domain.ledger import BROUGHT_IN, EntryKind, LedgerAccount, Posting, transit
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep, StepCode, key_of
from meterplex.domain.prepayment.orders import Direction, OrderId, OrderKind, OrderState
from meterplex.services.accounts.messages import wake_orders
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import HoardLimitError
from meterplex.services.orders.hoard_limit import hoard_limit

METHOD: Final = "transfer"
PARTS_MAX: Final = 100


async def send_to_meter(
    uow: UnitOfWork,
    site: Site,
    account: Account,
    binding: Binding,
    source: LedgerAccount,
    amount_units: int,
    *,
    at: datetime,
    operator: str,
    channel: str = "open",
) -> tuple[CreditOrder, ...]:
    """Move credit from a ledger account towards a meter, in parts no larger than its hoard limit.

    Args:
        amount_units: whole minor units, in ledger units.
        channel: why: ``open``, ``swap`` or ``convert``.

    Raises:
        HoardLimitError: it would be more than :data:`PARTS_MAX` parts.
    """
    orders = []
    for part in _parts(amount_units, await hoard_limit(uow, account, site)):
        order = _order(account, binding, part, at, operator, channel)
        sentence = f"carried over by {operator}: {channel}"
        step = OrderStep(at, order.state, StepCode.ASKED, sentence, operator)
        await uow.orders.place(order, step)
        await book(
            uow,
            site,
            EntryKind.OPENING if source == BROUGHT_IN else EntryKind.TRANSFER,
            [Posting(source, transit(binding.id), part)],
            currency=account.currency,
            at=at,
            operator=operator,
            account=account,
            order_id=order.id,
            memo=f"on its way into the meter: {channel}",
        )
        orders.append(order)
    await wake_orders(uow, account, binding.id, at)
    return tuple(orders)


async def take_from_meter(
    uow: UnitOfWork,
    account: Account,
    binding: Binding,
    amount_units: int,
    *,
    at: datetime,
    operator: str,
    channel: str,
) -> CreditOrder:
    """Ask a meter to give credit back; once it has, it is to be paid out.

    Args:
        amount_units: whole minor units, in ledger units.
        channel: why: ``close``.
    """
    order = replace(
        _order(account, binding, amount_units, at, operator, channel),
        kind=OrderKind.REFUND,
        direction=Direction.WITHDRAW,
    )
    sentence = f"asked back by {operator}: {channel}"
    await uow.orders.place(order, OrderStep(at, order.state, StepCode.ASKED, sentence, operator))
    await wake_orders(uow, account, binding.id, at)
    return order


def _parts(amount_units: int, hoard_units: int | None) -> list[int]:
    if not hoard_units:
        return [amount_units]
    whole, rest = divmod(amount_units, hoard_units)
    if whole >= PARTS_MAX:
        raise HoardLimitError(
            "hoard", f"credit would go in {whole} parts, expected at most {PARTS_MAX}: raise it"
        )
    return [hoard_units] * whole + ([rest] if rest else [])


def _order(
    account: Account, binding: Binding, units: int, at: datetime, operator: str, channel: str
) -> CreditOrder:
    identifier = OrderId(uuid_utils.compat.uuid7())
    return CreditOrder(
        id=identifier,
        organisation_id=account.organisation_id,
        site_id=account.site_id,
        account_id=account.id,
        binding_id=binding.id,
        kind=OrderKind.TRANSFER,
        direction=Direction.DELIVER,
        state=OrderState.PAID,
        amount_units=units,
        deliver_units=units,
        currency=account.currency,
        idempotency_key=key_of(METHOD, identifier),
        method=METHOD,
        channel=channel,
        asked_by=operator,
        created_at=at,
        due_at=at,
    )
