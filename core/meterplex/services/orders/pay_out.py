"""Pays out what is owed back to a customer, never more (prepayment-protocol R5)."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from meterplex.db import Database, UnitOfWork
from meterplex.domain.accounts import Account, AccountState, ClosingStep
from meterplex.domain.approvals import ApprovalId, ApprovalKind
from meterplex.domain.estate import AccountId, OrganisationId
from meterplex.domain.ledger import EntryId, EntryKind, Posting, cash, refund_payable
from meterplex.domain.operators import Operator
from meterplex.services.accounts.find_accounts import hold_account
from meterplex.services.books.amounts import format_amount
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import BusyError, NotEnoughCreditError
from meterplex.services.operators.audit import record
from meterplex.services.orders.idempotency import (
    RequestKey,
    check_key,
    first_answer,
    keep_answer,
    once,
)
from meterplex.services.orders.refund_credit import need_second_person
from meterplex.services.orders.vend_credit import check_payable, check_word
from meterplex.services.receipts.issue_receipt import issue_receipt


@dataclass(frozen=True, slots=True)
class PayoutRequest:
    """Money that leaves.

    Attributes:
        amount_units: ledger units, whole minor units of the account's currency.
        method: how it is paid: ``cash``, ``bank`` ...
        approval_id: of a second person, above the site's limit.
    """

    organisation_id: OrganisationId
    account_id: AccountId
    amount_units: int
    idempotency_key: str
    method: str = "cash"
    approval_id: ApprovalId | None = None

    @property
    def body(self) -> dict[str, Any]:
        """What makes it this request, and what a second person approves."""
        return {
            "account": str(self.account_id),
            "amount_units": self.amount_units,
            "method": self.method,
        }


@dataclass(frozen=True, slots=True)
class Payout:
    """A payout as it was answered first.

    Attributes:
        left_units: what is still to be paid out.
        receipt: its number.
        repeated: this answers a repetition; nothing was booked now.
    """

    entry_id: EntryId
    account_id: AccountId
    amount_units: int
    currency: str
    method: str
    left_units: int
    at: datetime
    receipt: str = ""
    repeated: bool = False


async def pay_out(
    database: Database,
    request: PayoutRequest,
    *,
    at: datetime,
    operator: Operator,
    dry_run: bool = False,
) -> Payout:
    """Pay out, once a key.

    Raises:
        MoneyInputError: the amount, the key or the method cannot be.
        UnknownAccountError: the organisation has no such account.
        NotEnoughCreditError: less is owed back.
        BusyError: the account is being closed, and what is to be paid out is not known yet.
        IdempotencyError: the key was used for something else.
        ApprovalError: it needs a second person, whose approval this is not.
    """
    request = replace(
        request,
        idempotency_key=check_key(request.idempotency_key),
        method=check_word(request.method, "method"),
    )
    key = RequestKey(
        request.organisation_id, operator.name, "payout", request.idempotency_key, request.body
    )

    async def pay() -> Payout:
        async with database.unit_of_work() as uow:
            account = await hold_account(
                uow, request.organisation_id, request.account_id, frozenset(AccountState)
            )
            answer = await first_answer(uow, key, Payout)
            if answer is not None:
                return answer
            payout = await _pay(uow, account, request, operator, at)
            await keep_answer(uow, key, payout)
            detail = {
                "account": account.number,
                "amount": format_amount(payout.amount_units, payout.currency),
                "method": payout.method,
                "receipt": payout.receipt,
            }
            subject = f"entry {payout.entry_id}"
            await record(
                uow, account.organisation_id, operator.name, "money.payout", subject, detail, at
            )
            if not dry_run:
                await uow.commit()
        return payout

    return await once(pay)


async def _pay(
    uow: UnitOfWork, account: Account, request: PayoutRequest, operator: Operator, at: datetime
) -> Payout:
    check_payable(request.amount_units, account.currency)
    if account.closing_step not in {None, ClosingStep.PAY_OUT}:
        # Meters have given back all they held: what of it was bought, and is not owed, is not
        # told apart yet.
        raise BusyError("account", f"{account.number} is being closed: settle it first")
    payable = refund_payable(account.id)
    held = await uow.ledger.lock(account.organisation_id, account.currency, [payable])
    left = held[payable] - request.amount_units
    if left < 0:
        asked = format_amount(request.amount_units, account.currency)
        owed = format_amount(held[payable], account.currency)
        raise NotEnoughCreditError("amount", f"{asked} asked, {owed} is to be paid out")
    site = await uow.sites.get(account.organisation_id, account.site_id)
    await need_second_person(
        uow,
        operator,
        site,
        request.approval_id,
        ApprovalKind.PAYOUT,
        request.amount_units,
        request.body,
        at,
    )
    entry = await book(
        uow,
        site,
        EntryKind.PAYOUT,
        (Posting(payable, cash(request.method), request.amount_units),),
        currency=account.currency,
        at=at,
        operator=operator.name,
        account=account,
    )
    assert entry is not None
    receipt = await issue_receipt(uow, account, site, entry, at=at)
    return Payout(
        entry.id,
        account.id,
        request.amount_units,
        account.currency,
        request.method,
        left,
        at,
        receipt.number,
    )
