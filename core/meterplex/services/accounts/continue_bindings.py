"""Goes on with a meter under another account or other terms: steps of somebody's transaction.

The credit that a meter holds stays where it is; in the ledger it moves from the binding that ends
to the one that begins.
"""

from dataclasses import replace
from datetime import datetime

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account
from meterplex.domain.estate import Binding, Meter, Site
from meterplex.domain.ledger import EntryKind, in_meter, signed
from meterplex.services.accounts.bind_meters import Terms, begin_binding
from meterplex.services.accounts.binding_counters import GivenReadings, counters_at
from meterplex.services.accounts.settle_meters import check_charged
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import BusyError


async def check_no_orders(uow: UnitOfWork, account: Account) -> None:
    """See that no money of an account is on its way into or out of a meter.

    Raises:
        BusyError: some is.
    """
    for binding in await uow.bindings.of_account(account.organisation_id, account.id):
        orders = await uow.orders.open_of_binding(account.organisation_id, binding.id)
        if orders:
            raise BusyError(
                "account",
                f"{account.number}: order {orders[0].id} is {orders[0].state}, settle it first",
            )


async def continue_binding(
    uow: UnitOfWork,
    site: Site,
    account: Account,
    before: Binding,
    terms: Terms,
    readings: GivenReadings,
    *,
    at: datetime,
    operator: str,
    charged: bool = True,
) -> Binding:
    """End a binding and begin the next one of its meter, for an account on terms.

    Args:
        account: of the next binding.
        readings: what the meter shows now; empty takes what was read last.
        charged: it must be charged up to there; False in a dry run, which charges nothing.

    Raises:
        MoneyInputError: a reading cannot be true, or the last one is too old.
        BusyError: a reading came in that is not charged yet.
    """
    meter = await uow.meters.get(before.organisation_id, before.meter_id)
    counters = await counters_at(uow, meter, readings, at, operator=operator)
    if charged:
        await check_charged(uow, before, meter, counters)
    binding = await begin_binding(uow, account, before, terms, counters, at)
    if before.mode is not None and before.mode.in_meter and terms.mode.in_meter:
        await _carry_credit(uow, site, account, before, binding, meter, at, operator)
    return binding


async def _carry_credit(
    uow: UnitOfWork,
    site: Site,
    account: Account,
    before: Binding,
    binding: Binding,
    meter: Meter,
    at: datetime,
    operator: str,
) -> None:
    held = await uow.ledger.lock(
        account.organisation_id, account.currency, [in_meter(before.id), in_meter(binding.id)]
    )
    await book(
        uow,
        site,
        EntryKind.TRANSFER,
        signed(in_meter(before.id), in_meter(binding.id), held[in_meter(before.id)]),
        currency=account.currency,
        at=at,
        operator=operator,
        account=account,
        memo=f"stays in meter {meter.serial}",
    )
    wallet = await uow.wallets.find(before.organisation_id, before.id)
    if wallet is not None:
        await uow.wallets.put(replace(wallet, binding_id=binding.id))
