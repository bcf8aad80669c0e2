"""Where the credit of an account came from: only what was bought is ever paid out.

What was brought in, found in a meter or sold by others is a gift to this account. It counts as
unused, so that what is paid out never exceeds what was paid less what was used. What a former owner
paid for and left to this account was bought.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account
from meterplex.domain.estate import Binding
from meterplex.domain.ledger import (
    Entry,
    LedgerAccount,
    LedgerKind,
    customer,
    in_meter,
    refund_payable,
    transit,
)
from meterplex.domain.prepayment import LIVE, Direction, OrderKind, refundable_units
from meterplex.services.books.book_entries import CLAIMS

_CREDIT: Final = frozenset(
    {LedgerKind.CUSTOMER, LedgerKind.TRANSIT, LedgerKind.METER, LedgerKind.REFUND_PAYABLE}
)
_NOT_BOUGHT: Final = frozenset({LedgerKind.BROUGHT_IN, LedgerKind.SUSPENSE})


@dataclass(frozen=True, slots=True)
class CreditOrigin:
    """Where credit came from, in ledger units.

    Attributes:
        paid_units: money paid in, by this owner or a former one, less what was paid out.
        given_units: credit that was not bought here, less what went back where it came from.
    """

    paid_units: int
    given_units: int


async def credit_origin(uow: UnitOfWork, account: Account) -> CreditOrigin:
    """Return where all the credit that an account ever had came from."""
    organisation_id = account.organisation_id
    bindings = await uow.bindings.of_account(organisation_id, account.id)
    own = {customer(account.id), refund_payable(account.id)}
    own |= {name(binding.id) for binding in bindings for name in (in_meter, transit)}
    entries = await uow.ledger.of_account(organisation_id, account.id, but=CLAIMS)
    return origin_of(entries, own)


def origin_of(entries: Iterable[Entry], own: Collection[LedgerAccount]) -> CreditOrigin:
    """Return what the entries of an account tell.

    Args:
        own: ledger accounts that hold credit of the account.
    """
    paid, given = 0, 0
    for posting in (posting for entry in entries for posting in entry.postings):
        for source, target, units in (
            (posting.debit, posting.credit, posting.amount_units),
            (posting.credit, posting.debit, -posting.amount_units),
        ):
            left = source.kind in _CREDIT and source not in own and target in own
            if source.kind is LedgerKind.CASH or left:
                paid += units
            if source.kind in _NOT_BOUGHT and target.kind in _CREDIT:
                given += units
    return CreditOrigin(paid, given)


async def sold_units(uow: UnitOfWork, account: Account, binding: Binding) -> int:
    """Return what came to a meter for money and was not given back, in ledger units.

    Credit that was carried over from another meter or wallet counts: what of it was a gift is known
    of the account as a whole.
    """
    entries = await uow.ledger.of_account(account.organisation_id, account.id, but=CLAIMS)
    return sold_to(entries, {in_meter(binding.id), transit(binding.id)})


def sold_to(entries: Iterable[Entry], own: Collection[LedgerAccount]) -> int:
    """Return what the entries of an account tell of one meter.

    Args:
        own: ledger accounts of its binding.
    """
    sources = _CREDIT | {LedgerKind.CASH}
    return sum(
        units
        for posting in (posting for entry in entries for posting in entry.postings)
        for source, target, units in (
            (posting.debit, posting.credit, posting.amount_units),
            (posting.credit, posting.debit, -posting.amount_units),
        )
        if target in own and source not in own and source.kind in sources
    )


async def refundable(uow: UnitOfWork, account: Account, remaining_units: int) -> int:
    """Return the most that an account can be given back now, in ledger units.

    What is asked back already, or waits to be paid out, is not given a second time.

    Args:
        remaining_units: in the wallet, or in the meter as it was read last.
    """
    origin = await credit_origin(uow, account)
    payable = refund_payable(account.id)
    held = await uow.ledger.lock(account.organisation_id, account.currency, [payable])
    live = await uow.orders.of_account(account.organisation_id, account.id, LIVE)
    asked_units = sum(
        order.amount_units if order.kind is OrderKind.REVERSAL else order.deliver_units
        for order in live
        if order.direction is Direction.WITHDRAW
    )
    return refundable_units(
        remaining_units,
        paid_units=origin.paid_units,
        refunded_units=held[payable] + asked_units,
        gift_units=origin.given_units,
    )
