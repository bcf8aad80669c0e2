"""What follows from a change of an account, as rows of the outbox in the same transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
import uuid_utils.compat

from meterplex.db import UnitOfWork
from meterplex.db.outbox import OutboxMessage
from meterplex.domain.accounts import Account
from meterplex.domain.estate import BindingId, Site
from meterplex.domain.money import ledger_decimal
from meterplex.domain.registers import Utility
from meterplex.sdk.accounts import AccountEvent, AccountEventKind
from meterplex.services.accounts.balances import account_balance

SUPPLY: Final = "supply"
"""Reconsider the supply of an account; the subject is its identifier."""
ACCOUNT_EVENT: Final = "account_event"
"""Tell plugins; the subject is the account, the payload an ``AccountEvent``."""
ORDERS: Final = "orders"
"""An order waits; the subject is its binding."""
LIMITS: Final = "limits"
"""Write the limits of an account to its meters; the subject is its identifier."""


async def reconsider_supply(uow: UnitOfWork, account: Account, at: datetime) -> None:
    """Have the supply of an account decided again: its balance, state or limits changed."""
    await _post(uow, account, SUPPLY, str(account.id), at)


async def wake_orders(
    uow: UnitOfWork, account: Account, binding_id: BindingId, at: datetime
) -> None:
    """Have the delivery look at the orders of a binding."""
    await _post(uow, account, ORDERS, str(binding_id), at)


async def push_limits(
    uow: UnitOfWork, account: Account, at: datetime, overload_kw: str = ""
) -> None:
    """Have the limits of an account written to its meters.

    Args:
        overload_kw: power above which they disconnect, as text; empty leaves it as it is.
    """
    payload = {"overload_kw": overload_kw} if overload_kw else {}
    await _post(uow, account, LIMITS, str(account.id), at, payload)


async def tell_event(
    uow: UnitOfWork,
    account: Account,
    site: Site,
    kind: AccountEventKind,
    at: datetime,
    *,
    utility: Utility | None = None,
    detail: Mapping[str, str] | None = None,
) -> None:
    """Have plugins told what happened, with the balance as it is in this transaction."""
    balance = await account_balance(uow, account)
    organisation = await uow.organisations.get(account.organisation_id)
    event = AccountEvent(
        id=uuid_utils.compat.uuid7(),
        kind=kind,
        organisation_id=organisation.id,
        organisation=organisation.name,
        site_id=site.id,
        site=site.code,
        account_id=account.id,
        account_number=account.number,
        balance=ledger_decimal(balance.available_units + sum(balance.in_meter_units.values())),
        currency=account.currency,
        at=at,
        utility=utility,
        detail=dict(detail or {}),
    )
    payload = msgspec.to_builtins(event)
    await _post(uow, account, ACCOUNT_EVENT, str(account.id), at, payload)


async def _post(
    uow: UnitOfWork,
    account: Account,
    topic: str,
    subject: str,
    at: datetime,
    payload: Mapping[str, Any] | None = None,
) -> None:
    message = OutboxMessage(
        id=uuid_utils.compat.uuid7(),
        organisation_id=account.organisation_id,
        topic=topic,
        subject=subject,
        created_at=at,
        due_at=at,
        payload=payload or {},
    )
    await uow.outbox.add_all([message])
