"""Writes the receipt of a movement of money, in the transaction of the movement.

So a number is used if and only if the money moved, and the numbers of a site and year have no
gaps. One movement has one receipt: asking again gives the same.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.db.receipts import StoredReceipt
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account
from meterplex.domain.billing import minor_step_units
from meterplex.domain.estate import Binding, OrganisationId, Site, SiteId
from meterplex.domain.ledger import Entry, EntryKind, LedgerKind, customer
from meterplex.domain.prepayment.credit_order import CreditOrder
from meterplex.domain.receipt_facts import (
    ItemFact,
    ItemKind,
    ReceiptFacts,
    check_text,
    paid_items,
    vend_kind,
)
from meterplex.domain.receipts import Language, Receipt, ReceiptKind, ReceiptNumber, UnitsEstimate
from meterplex.services.accounts.find_accounts import open_bindings
from meterplex.services.books.errors import MoneyConflictError, UnknownThingError
from meterplex.services.receipts.credit_estimate import estimate_units

_KINDS = {EntryKind.PAYOUT: ReceiptKind.REFUND, EntryKind.REVERSAL: ReceiptKind.REVERSAL}
_ON_SERVER = (AccountMode.PREPAID_SERVER, AccountMode.PACKAGE)


@dataclass(frozen=True, slots=True)
class IssuedReceipt:
    """A receipt as it is kept, its facts, and the text that proves them."""

    stored: StoredReceipt
    facts: ReceiptFacts
    verification: str

    @property
    def number(self) -> str:
        """As printed."""
        return self.stored.number

    def receipt(self, copy: int = 0, language: Language | None = None) -> Receipt:
        """Return it as it is printed: the original, or a copy."""
        receipt = self.facts.receipt(self.verification, language)
        return receipt.reprint(copy) if copy else receipt


async def issue_receipt(
    uow: UnitOfWork,
    account: Account,
    site: Site,
    entry: Entry,
    *,
    order: CreditOrder | None = None,
    at: datetime,
) -> IssuedReceipt:
    """Write the receipt of a payment, a reversal of one, or a payout; once for each.

    A step of the service that moves the money: the account is held, and the entry is booked.

    Args:
        order: that the entry belongs to.

    Raises:
        ReceiptError: the entry took no money and gave none.
    """
    known = await uow.receipts.of_entry(entry.organisation_id, entry.id)
    if known is not None:
        return issued(known)
    method, items = paid_items(entry.postings)
    local = at.astimezone(ZoneInfo(site.time_zone))
    bindings = await _bindings(uow, account, order)
    seller = await uow.organisations.get(account.organisation_id)
    buyer = await uow.customers.get(account.organisation_id, account.customer_id)
    number = await _take_number(uow, site, local.year)
    facts = ReceiptFacts(
        number=number,
        kind=_KINDS.get(entry.kind) or vend_kind(items),
        language=Language(buyer.language or seller.language),
        issued_at=local,
        seller=seller.name,
        site=site.name,
        account=account.number,
        customer=buyer.name,
        items=items,
        paid_minor=_minor(items, entry.currency),
        currency=entry.currency,
        method=method,
        cashier=entry.operator,
        place=await _place(uow, bindings),
        balance_after_units=await _balance_after(uow, account, entry),
        estimate=await _estimate(uow, account, site, bindings, items, at),
        order="" if order is None else str(order.id),
        refers_to=await _undone(uow, entry),
    )
    stored = StoredReceipt(
        id=uuid_utils.compat.uuid7(),
        organisation_id=account.organisation_id,
        site_id=site.id,
        account_id=account.id,
        entry_id=entry.id,
        order_id=None if order is None else order.id,
        number=str(number),
        issued_at=at,
        document=msgspec.to_builtins(facts),
    )
    await uow.receipts.add(stored)
    return issued(stored)


def issued(stored: StoredReceipt) -> IssuedReceipt:
    """Return a stored receipt with its facts and the text that proves them."""
    facts = msgspec.convert(dict(stored.document), ReceiptFacts)
    verification = check_text(stored.organisation_id, stored.id, stored.document)
    return IssuedReceipt(stored, facts, verification)


async def find_receipt(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    number: str,
    site_ids: Collection[SiteId] | None = None,
) -> IssuedReceipt:
    """Return the receipt of a number.

    Args:
        site_ids: only of these sites; None for all.

    Raises:
        UnknownThingError: there is none.
        MoneyConflictError: several sites have one of this number.
    """
    found = [
        receipt
        for receipt in await uow.receipts.by_number(organisation_id, number.strip().upper())
        if site_ids is None or receipt.site_id in site_ids
    ]
    if not found:
        raise UnknownThingError("receipt", f"no receipt {number!r}")
    if len(found) > 1:
        raise MoneyConflictError("receipt", f"several sites have a receipt {number!r}")
    return issued(found[0])


async def _take_number(uow: UnitOfWork, site: Site, year: int) -> ReceiptNumber:
    name = f"receipt-{year}"
    sequence = await uow.site_records.take_number(site.organisation_id, site.id, name)
    return ReceiptNumber(site.code, year, sequence)


async def _bindings(
    uow: UnitOfWork, account: Account, order: CreditOrder | None
) -> tuple[Binding, ...]:
    """Return what the money was for: the meter of the order, or all of the account."""
    opened = await open_bindings(uow, account)
    if order is None or order.binding_id is None:
        return opened
    return tuple(binding for binding in opened if binding.id == order.binding_id)


async def _place(uow: UnitOfWork, bindings: Collection[Binding]) -> str:
    """Return the codes of the units."""
    if not bindings:
        return ""
    organisation_id = next(iter(bindings)).organisation_id
    point_ids = {binding.usage_point_id for binding in bindings}
    points = await uow.usage_points.by_ids(organisation_id, point_ids)
    unit_ids = {point.unit_id for point in points.values() if point.unit_id}
    units = await uow.units.by_ids(organisation_id, unit_ids)
    return ", ".join(sorted(unit.code for unit in units.values()))


def _minor(items: Collection[ItemFact], currency: str) -> int:
    return sum(item.amount_units for item in items) // minor_step_units(currency)


async def _balance_after(uow: UnitOfWork, account: Account, entry: Entry) -> int | None:
    """Return the credit on the server; None where the credit of the account is elsewhere."""
    kinds = {side.kind for each in entry.postings for side in (each.debit, each.credit)}
    if account.mode not in _ON_SERVER or kinds & {LedgerKind.TRANSIT, LedgerKind.METER}:
        return None
    wallet = customer(account.id)
    balances = await uow.ledger.balances(account.organisation_id, entry.currency, [wallet])
    return balances[wallet]


async def _estimate(
    uow: UnitOfWork,
    account: Account,
    site: Site,
    bindings: tuple[Binding, ...],
    items: Collection[ItemFact],
    at: datetime,
) -> UnitsEstimate | None:
    credit = sum(item.amount_units for item in items if item.kind is ItemKind.CREDIT)
    return await estimate_units(uow, account, site, bindings, credit, at)


async def _undone(uow: UnitOfWork, entry: Entry) -> str:
    """Return the number of the receipt of what an entry takes back."""
    if entry.reverses_id is None:
        return ""
    taken_back = await uow.receipts.of_entry(entry.organisation_id, entry.reverses_id)
    return "" if taken_back is None else taken_back.number
