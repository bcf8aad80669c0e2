"""Takes a payment: dues first, the rest becomes credit, here or on its way to a meter.

One transaction holds the key, the order, the ledger entry and the messages of what follows. What
is kept on the server is credited by it; an order for a meter is PAID by it, and delivered later
(see ``deliver_orders``).
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, AccountState
from meterplex.domain.billing import minor_step_units
from meterplex.domain.estate import AccountId, Binding, BindingId, OrganisationId, Site
from meterplex.domain.ledger import ROUNDING, EntryKind, cash, customer, signed, transit
from meterplex.domain.money import LEDGER_DECIMALS, LEDGER_UNITS, minor_decimals
from meterplex.domain.prepayment import Direction, OrderId, OrderKind, OrderState
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep, StepCode
from meterplex.sdk.accounts import AccountEventKind
from meterplex.services.accounts.find_accounts import check_state, hold_account, open_bindings
from meterplex.services.accounts.messages import reconsider_supply, tell_event, wake_orders
from meterplex.services.books.amounts import AMOUNT_MAX, format_amount
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import (
    AmountError,
    MeterUnfitError,
    MoneyInputError,
    UnknownThingError,
)
from meterplex.services.operators.audit import record
from meterplex.services.orders.crash_points import CrashHook, CrashPoint, Moment, no_crash
from meterplex.services.orders.deduct_dues import Settled, deduct, postings_of, settled_by
from meterplex.services.orders.hoard_limit import check_hoard
from meterplex.services.orders.idempotency import (
    RequestKey,
    check_key,
    first_answer,
    keep_answer,
    once,
)
from meterplex.services.receipts.issue_receipt import issue_receipt

WORD_LENGTH_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class VendRequest:
    """A payment.

    Attributes:
        amount_units: ledger units, whole minor units of the account's currency.
        idempotency_key: of the caller's choice; the same payment again has the same one.
        method: how was paid: ``cash``, ``bank`` ...
        channel: where: ``desk``, ``rest`` ...
        binding_id: whose meter gets the credit; None takes the account's only one, or the wallet
            on the server.
    """

    organisation_id: OrganisationId
    account_id: AccountId
    amount_units: int
    idempotency_key: str
    method: str = "cash"
    channel: str = "desk"
    binding_id: BindingId | None = None

    @property
    def body(self) -> dict[str, Any]:
        """What makes it this request."""
        return {
            "account": str(self.account_id),
            "amount_units": self.amount_units,
            "method": self.method,
            "channel": self.channel,
            "binding": None if self.binding_id is None else str(self.binding_id),
        }


@dataclass(frozen=True, slots=True)
class Sale:
    """A vend as it was answered first.

    Attributes:
        binding_id: whose meter gets the credit; None for the wallet on the server.
        settled: what went to dues.
        credit_units: the rest, which became credit.
        state: PAID for what has yet to reach its meter, else CONFIRMED.
        wallet_units: the credit on the server after it.
        receipt: its number.
        repeated: this answers a repetition; nothing was booked now.
    """

    order_id: OrderId
    account_id: AccountId
    binding_id: BindingId | None
    amount_units: int
    currency: str
    settled: tuple[Settled, ...]
    credit_units: int
    state: OrderState
    wallet_units: int
    at: datetime
    receipt: str = ""
    repeated: bool = False


async def vend_credit(
    database: Database,
    request: VendRequest,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
    crash: CrashHook = no_crash,
) -> Sale:
    """Take a payment.

    Args:
        operator: name of who takes it.
        dry_run: do all of it, but keep nothing.

    Raises:
        MoneyInputError: the amount, the key, the method or the channel cannot be.
        UnknownThingError: the organisation has no such account, the account no such meter.
        AccountStateError: the account takes no payment now.
        MeterUnfitError: several meters to choose from, or one that credit cannot be sent to.
        HoardLimitError: more credit than may be held.
        IdempotencyError: the key was used for something else.
    """
    request = _checked(request)
    key = RequestKey(
        request.organisation_id, operator, "vend", request.idempotency_key, request.body
    )

    async def sell() -> Sale:
        async with database.unit_of_work() as uow:
            account = await hold_account(
                uow, request.organisation_id, request.account_id, frozenset(AccountState)
            )
            answer = await first_answer(uow, key, Sale)
            if answer is not None:
                return answer
            sale = await sell_in(uow, account, request, at=at, operator=operator)
            crash(CrashPoint.IDEMPOTENCY, Moment.BEFORE)
            await keep_answer(uow, key, sale)
            crash(CrashPoint.IDEMPOTENCY, Moment.AFTER)
            await note_sale(uow, sale, account, request, operator)
            if not dry_run:
                crash(CrashPoint.PAID, Moment.BEFORE)
                await uow.commit()
                crash(CrashPoint.PAID, Moment.AFTER)
        return sale

    return await once(sell)


def check_payable(amount_units: int, currency: str, field: str = "amount") -> None:
    """See that an amount can be paid: above zero, in whole minor units, not beyond all measure.

    Raises:
        AmountError: it cannot.
    """
    decimals = minor_decimals(currency)
    if not 0 < amount_units <= AMOUNT_MAX * LEDGER_UNITS:
        raise AmountError(field, f"{amount_units} ledger units: expected above 0, and payable")
    if amount_units % 10 ** (LEDGER_DECIMALS - decimals):
        raise AmountError(field, f"{amount_units} ledger units: {currency} has {decimals} decimals")


def check_word(text: str, field: str) -> str:
    """Return the name of a way of paying, or of a place.

    Raises:
        MoneyInputError: it is empty, too long or not printable.
    """
    word = text.strip()
    if not (1 <= len(word) <= WORD_LENGTH_MAX and word.isprintable()):
        raise MoneyInputError(field, f"{text!r}: expected 1 to {WORD_LENGTH_MAX} characters")
    return word


async def meter_binding(
    uow: UnitOfWork, account: Account, binding_id: BindingId | None, field: str = "meter"
) -> Binding | None:
    """Return the binding whose meter is meant; None when it is the wallet on the server.

    Raises:
        UnknownThingError: the account has no such open binding.
        MeterUnfitError: several to choose from, none at all, or one whose credit travels otherwise.
    """
    opened = await open_bindings(uow, account)
    in_meter = [binding for binding in opened if binding.mode and binding.mode.in_meter]
    if binding_id is not None:
        chosen = next((binding for binding in opened if binding.id == binding_id), None)
        if chosen is None:
            raise UnknownThingError(field, f"account {account.number} has no such meter now")
        return _reachable(chosen, field) if chosen in in_meter else None
    if not in_meter and not account.mode.in_meter:
        return None
    if len(in_meter) < len(opened) and not account.mode.in_meter:
        return None
    if len(in_meter) == 1:
        return _reachable(in_meter[0], field)
    meters = await uow.meters.by_ids(account.organisation_id, {each.meter_id for each in in_meter})
    choices = ", ".join(sorted(meter.serial for meter in meters.values())) or "none"
    raise MeterUnfitError(field, f"account {account.number} needs one of its meters: {choices}")


def _reachable(binding: Binding, field: str) -> Binding:
    if binding.mode is not AccountMode.PREPAID_METER:
        raise MeterUnfitError(field, f"credit of mode {binding.mode} is not sent over the line")
    return binding


def _checked(request: VendRequest) -> VendRequest:
    return replace(
        request,
        idempotency_key=check_key(request.idempotency_key),
        method=check_word(request.method, "method"),
        channel=check_word(request.channel, "channel"),
    )


async def sell_in(
    uow: UnitOfWork, account: Account, request: VendRequest, *, at: datetime, operator: str
) -> Sale:
    """Take a payment inside the transaction of the caller, who adds :func:`note_sale` last.

    Args:
        account: held by the caller, or new.

    Raises:
        MoneyError: see :func:`vend_credit`.
        ConflictError: an order has the key.
    """
    check_payable(request.amount_units, account.currency)
    check_vendable(account)
    binding = await meter_binding(uow, account, request.binding_id)
    site = await uow.sites.get(account.organisation_id, account.site_id)
    deduction = await deduct(uow, account, request.amount_units, at=at)
    dust_units = _dust_units(account, binding, deduction.rest_units)
    credit_units = deduction.rest_units - dust_units
    await check_hoard(uow, account, site, binding, credit_units, "amount")
    order = _order(account, binding, request, credit_units, at, operator)
    sentence = f"{format_amount(order.amount_units, order.currency)} {order.currency} paid"
    await uow.orders.place(
        order, OrderStep(at, order.state, StepCode.ASKED, sentence, operator, request.body)
    )
    target = customer(account.id) if binding is None else transit(binding.id)
    source = cash(request.method)
    postings = postings_of(account, source, deduction.allocations)
    postings += signed(source, target, credit_units) + signed(source, ROUNDING, dust_units)
    entry = await book(
        uow,
        site,
        EntryKind.PAYMENT,
        postings,
        currency=account.currency,
        at=at,
        operator=operator,
        account=account,
        order_id=order.id,
        memo=sentence,
    )
    assert entry is not None
    receipt = await issue_receipt(uow, account, site, entry, order=order, at=at)
    await _tell(uow, account, site, order, at)
    wallet = customer(account.id)
    balances = await uow.ledger.balances(account.organisation_id, account.currency, [wallet])
    return Sale(
        order.id,
        account.id,
        order.binding_id,
        order.amount_units,
        order.currency,
        settled_by(deduction.allocations),
        credit_units,
        order.state,
        balances[wallet],
        at,
        receipt.number,
    )


def _dust_units(account: Account, binding: Binding | None, rest_units: int) -> int:
    """Return what of the rest of a payment no meter can take: below the minor unit."""
    return 0 if binding is None else rest_units % minor_step_units(account.currency)


def check_vendable(account: Account) -> None:
    """See that an account takes payments.

    Raises:
        AccountStateError: it is suspended, being closed or closed.
    """
    check_state(account, {AccountState.OPEN}, "account")


def _order(
    account: Account,
    binding: Binding | None,
    request: VendRequest,
    credit_units: int,
    at: datetime,
    operator: str,
) -> CreditOrder:
    travels = binding is not None and credit_units > 0
    return CreditOrder(
        id=OrderId(uuid_utils.compat.uuid7()),
        organisation_id=account.organisation_id,
        site_id=account.site_id,
        account_id=account.id,
        binding_id=None if binding is None else binding.id,
        kind=OrderKind.VEND,
        direction=Direction.DELIVER,
        state=OrderState.PAID if travels else OrderState.CONFIRMED,
        amount_units=request.amount_units,
        deliver_units=credit_units if travels else 0,
        currency=account.currency,
        idempotency_key=request.idempotency_key,
        method=request.method,
        channel=request.channel,
        asked_by=operator,
        created_at=at,
        due_at=at if travels else None,
        settled_at=None if travels else at,
        outcome="" if travels else "credited",
    )


async def _tell(
    uow: UnitOfWork, account: Account, site: Site, order: CreditOrder, at: datetime
) -> None:
    await reconsider_supply(uow, account, at)
    if order.state is OrderState.PAID and order.binding_id is not None:
        await wake_orders(uow, account, order.binding_id, at)
        return
    amount = format_amount(order.amount_units, order.currency)
    detail = {"order": str(order.id), "amount": amount}
    await tell_event(uow, account, site, AccountEventKind.CREDITED, at, detail=detail)


async def note_sale(
    uow: UnitOfWork, sale: Sale, account: Account, request: VendRequest, operator: str
) -> None:
    """Write the audit entry of a payment; the last thing before the commit."""
    detail = {
        "account": account.number,
        "amount": format_amount(sale.amount_units, sale.currency),
        "method": request.method,
        "channel": request.channel,
        "receipt": sale.receipt,
    }
    await record(
        uow,
        request.organisation_id,
        operator,
        "money.vend",
        f"order {sale.order_id}",
        detail,
        sale.at,
    )
