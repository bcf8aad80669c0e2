"""Binds meters to accounts and ends their bindings: steps inside somebody else's transaction.

A binding begins and ends at counters of its meter. One that ends where another begins shares its
figure and its time, so use is charged once, to the one or to the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.db.accounts import BindingOpening, WalletRow
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account
from meterplex.domain.estate import Binding, BindingId, Meter, Site, UsagePoint
from meterplex.domain.ledger import BROUGHT_IN, EntryKind, in_meter, signed
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import Capability
from meterplex.services.accounts.binding_counters import Counters, last_credit
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import MeterUnfitError, MoneyConflictError, MoneyInputError

NOT_SOLD = frozenset({AccountMode.CARD, AccountMode.TOKEN})
"""Ways of paying that nothing here can sell yet."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a binding is paid for.

    Attributes:
        tariff: of its own; empty takes the account's.
        price_override: see ``domain.tariff.override``; None for none (F83).
        sole_seller: nobody else sells credit to its meter.
    """

    mode: AccountMode
    tariff: str = ""
    price_override: Mapping[str, Any] | None = None
    sole_seller: bool = True


def terms_of(binding: Binding, account: Account) -> Terms:
    """Return the terms that a binding has."""
    return Terms(
        binding.mode or account.mode, binding.tariff, binding.price_override, binding.sole_seller
    )


async def open_binding_of(uow: UnitOfWork, point: UsagePoint, field: str) -> Binding:
    """Return the binding of the meter that measures a usage point now.

    Raises:
        MoneyConflictError: no meter does.
    """
    bindings = await uow.bindings.of_usage_point(point.organisation_id, point.id)
    for binding in bindings:
        if binding.until is None:
            return binding
    raise MoneyConflictError(field, f"no meter measures usage point {point.code!r}")


def check_mode(plugins: PluginManager, meter: Meter, mode: AccountMode, field: str) -> None:
    """See that a meter can be paid for in a way.

    Raises:
        MeterUnfitError: it keeps no credit, and should.
        MoneyInputError: nothing here sells in this way.
    """
    if mode in NOT_SOLD:
        raise MoneyInputError(field, f"{mode}: this version sells no credit by {mode}")
    if not mode.in_meter:
        return
    model = plugins.models.get(meter.model)
    needed = {Capability.CREDIT, Capability.DELIVER_CREDIT}
    missing = needed if model is None else needed - model.capabilities
    if missing:
        raise MeterUnfitError(
            field,
            f"meter {meter.serial}, model {meter.model}, cannot be {mode}: "
            f"it has no capability {', '.join(sorted(missing))}",
        )


async def check_cleared(uow: UnitOfWork, meter: Meter, field: str) -> None:
    """See that a meter holds no credit of a former account (prepayment-protocol section 6).

    Raises:
        MeterUnfitError: its credit is not known to be cleared.
    """
    former = [
        binding
        for binding in await uow.bindings.of_meter(meter.organisation_id, meter.id)
        if binding.until is not None and binding.mode is not None and binding.mode.in_meter
    ]
    if not former:
        return
    credit = await last_credit(uow, meter)
    wallet = await uow.wallets.find(meter.organisation_id, former[-1].id)
    known = [(each.read_at, each.remaining_units) for each in (credit, wallet) if each is not None]
    if not known or max(known)[1] != 0:
        raise MeterUnfitError(
            field,
            f"meter {meter.serial} is not known to be empty of the credit of its former account: "
            "clear it and read it",
        )


async def begin_binding(
    uow: UnitOfWork,
    account: Account | None,
    before: Binding,
    terms: Terms | None,
    counters: Counters | None,
    at: datetime,
) -> Binding:
    """End an open binding and begin the next one of the same meter, at the same counters.

    Args:
        account: of the next one; None for nobody's, then ``terms`` are None too.
        before: its openings get their closing values.
        at: when, if the counters were never read.
    """
    since = max(before.since, at if counters is None else counters.at)
    await _close(uow, before, counters, since)
    binding = Binding(
        id=BindingId(uuid_utils.compat.uuid7()),
        organisation_id=before.organisation_id,
        meter_id=before.meter_id,
        usage_point_id=before.usage_point_id,
        since=since,
        ct=before.ct,
        pt=before.pt,
    )
    await add_binding(uow, _on_terms(binding, account, terms), counters)
    return _on_terms(binding, account, terms)


def _on_terms(binding: Binding, account: Account | None, terms: Terms | None) -> Binding:
    if account is None or terms is None:
        return binding
    return replace(
        binding,
        account_id=account.id,
        mode=terms.mode,
        tariff=terms.tariff,
        price_override=terms.price_override,
        sole_seller=terms.sole_seller,
    )


async def end_binding(
    uow: UnitOfWork, binding: Binding, counters: Counters | None, at: datetime
) -> None:
    """End a binding at counters; the meter is then bound to nothing."""
    await _close(
        uow, binding, counters, max(binding.since, at if counters is None else counters.at)
    )


async def add_binding(uow: UnitOfWork, binding: Binding, counters: Counters | None) -> None:
    """Add a binding with its opening values."""
    await uow.bindings.add(binding)
    if counters is not None:
        await uow.binding_openings.add_all(
            BindingOpening(binding.organisation_id, binding.id, register, value)
            for register, value in counters.values.items()
        )


async def _close(
    uow: UnitOfWork, binding: Binding, counters: Counters | None, until: datetime
) -> None:
    await uow.bindings.end(binding.organisation_id, binding.id, until)
    if counters is None:
        return
    openings = await uow.binding_openings.of_binding(binding.organisation_id, binding.id)
    for register, value in counters.values.items():
        opening = openings.get(register.slug)
        if opening is not None:
            await uow.binding_openings.close(replace(opening, closing_value=value))


async def take_in_credit(
    uow: UnitOfWork,
    site: Site,
    account: Account,
    binding: Binding,
    meter: Meter,
    *,
    at: datetime,
    operator: str,
) -> None:
    """Take what a meter holds already as brought in, and its count as what the next is told by.

    A meter whose wallet was never read is taken in at its first read.
    """
    credit = await last_credit(uow, meter)
    if credit is None or credit.purchase_count is None:
        return
    await uow.wallets.put(
        WalletRow(
            binding.organisation_id,
            binding.id,
            credit.purchase_count,
            credit.total_purchased_units,
            credit.remaining_units,
            credit.read_at,
        )
    )
    await bring_in(
        uow,
        site,
        account,
        binding,
        meter,
        credit.remaining_units,
        at=at,
        operator=operator,
    )


async def bring_in(
    uow: UnitOfWork,
    site: Site,
    account: Account,
    binding: Binding,
    meter: Meter,
    remaining_units: int,
    *,
    at: datetime,
    operator: str,
) -> None:
    """Book what a meter was found to hold when its binding began: it was not sold here."""
    await book(
        uow,
        site,
        EntryKind.OPENING,
        signed(BROUGHT_IN, in_meter(binding.id), remaining_units),
        currency=account.currency,
        at=at,
        operator=operator,
        account=account,
        memo=f"found in meter {meter.serial}",
    )
