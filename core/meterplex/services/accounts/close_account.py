"""Closes an account for good: settled, paid out, every balance of it zero (F94).

::

    FREEZE            its meters take no credit any more
    SETTLE_ORDERS     what was never sent is given up, what was sent is finished
    FINAL_CHARGES     up to the final readings
    TAKE_BACK_CREDIT  meters give back what they hold, then all bindings end
    SET_OFF_DEBTS     credit pays what is owed; the rest is to be paid out
    PAY_OUT           and is paid out
    DONE              nothing is left, no order or command is alive: CLOSED

Each step is a commit of its own and leaves the name of the next one in the account, so closing
goes on after a crash at the first step without its commit (prepayment-protocol section 7). A step
that waits (for an order, a payment, a person) says so, and is asked again.

Credit that was not bought here (brought in, found in a meter, sold by others) is not paid out.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from meterplex.db import Database, UnitOfWork
from meterplex.domain.accounts import Account, AccountState, Category, ClosingStep
from meterplex.domain.approvals import ApprovalId
from meterplex.domain.commands import SETTLED, Command, CommandState
from meterplex.domain.deductions import Due, allocate
from meterplex.domain.estate import AccountId, Binding, OrganisationId, Site
from meterplex.domain.ledger import (
    BROUGHT_IN,
    ROUNDING,
    Entry,
    EntryKind,
    LedgerAccount,
    Posting,
    cash,
    customer,
    debt,
    in_meter,
    receivable,
    refund_payable,
    signed,
    suspense,
)
from meterplex.domain.money import LEDGER_DECIMALS, minor_decimals
from meterplex.domain.operators import Operator
from meterplex.domain.prepayment import LIVE, Fence, OrderState, may_void, refundable_units
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep, StepCode
from meterplex.sdk.accounts import AccountEventKind
from meterplex.services.accounts.balances import account_balance
from meterplex.services.accounts.bind_meters import begin_binding
from meterplex.services.accounts.binding_counters import counters_at
from meterplex.services.accounts.find_accounts import hold_account, open_bindings
from meterplex.services.accounts.messages import reconsider_supply, tell_event
from meterplex.services.accounts.settle_meters import (
    ReadingsOfPoints,
    check_charged,
    readings_of,
    settle_account,
)
from meterplex.services.accounts.transfer_account import LIVING
from meterplex.services.billing.charge_fees import charge_fees, end_fee
from meterplex.services.billing.settle_bills import note_paid
from meterplex.services.books.amounts import format_amount
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import BusyError
from meterplex.services.operators.audit import record
from meterplex.services.orders.credit_origin import credit_origin
from meterplex.services.orders.deduct_dues import dues_of
from meterplex.services.orders.pay_out import PayoutRequest, pay_out
from meterplex.services.orders.settle_orders import hold_order, void
from meterplex.services.orders.transfer_credit import take_from_meter
from meterplex.services.receipts.issue_receipt import issue_receipt

CHANNEL: Final = "close"


@dataclass(frozen=True, slots=True)
class CloseAccount:
    """A closing as asked for; asked for again, it goes on.

    Attributes:
        readings: what meters show now, by code of the usage point.
        settle_method: how what is still owed is paid now (``cash`` ...); empty leaves it owed,
            and the closing waits.
        payout_method: how credit that is left is paid out now; empty leaves it to be paid.
        reason: for the record.
        approval_id: of a second person, for a payout above the site's limit.
    """

    organisation_id: OrganisationId
    account_id: AccountId
    readings: ReadingsOfPoints = field(default_factory=dict)
    settle_method: str = ""
    payout_method: str = ""
    reason: str = ""
    approval_id: ApprovalId | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    """How far a closing has come.

    Attributes:
        step: the next one.
        waiting: for what, in one line; empty when for nothing.
    """

    account: Account
    step: ClosingStep
    waiting: str = ""

    @property
    def closed(self) -> bool:
        """Whether nothing is left to do."""
        return self.account.state is AccountState.CLOSED


async def close_account(
    database: Database,
    wanted: CloseAccount,
    *,
    at: datetime,
    operator: Operator,
    dry_run: bool = False,
) -> Closing:
    """Begin to close an account, or go on, as far as it goes now.

    Args:
        dry_run: see whether it may be begun, but begin nothing.

    Raises:
        MoneyError: there is no such account, or a reading cannot be true; the steps that were
            done stay done.
        ApprovalError: the payout needs a second person.
    """
    if not dry_run:
        await _claim_fees(database, wanted, at, operator.name)
    account = await _begin(database, wanted, at, operator.name, dry_run=dry_run)
    run = _Run(database, wanted, at, operator)
    while not dry_run and account.closing_step is not None:
        waiting = await run.step(account.closing_step)
        account = await _find(database, wanted)
        if waiting:
            return Closing(account, account.closing_step or ClosingStep.DONE, waiting)
    return Closing(account, account.closing_step or ClosingStep.DONE)


async def _claim_fees(
    database: Database, wanted: CloseAccount, at: datetime, operator: str
) -> None:
    """End the fees of an account, and claim what is due of them until today."""
    async with database.unit_of_work(read_only=True) as uow:
        found = await uow.accounts.by_ids(wanted.organisation_id, [wanted.account_id])
        account = found.get(wanted.account_id)
        if account is None or account.state not in LIVING:
            return
        site = await uow.sites.get(wanted.organisation_id, account.site_id)
        fees = await uow.fees.of_account(wanted.organisation_id, account.id)
    today = at.astimezone(ZoneInfo(site.time_zone)).date()
    for each in fees:
        if each.fee.ends_on is None or each.fee.ends_on > today:
            ends_on = max(today, each.charged_until)
            await end_fee(
                database,
                wanted.organisation_id,
                each.id,
                ends_on,
                at=at,
                operator=operator,
            )
    if fees:
        await charge_fees(
            database,
            wanted.organisation_id,
            today,
            at=at,
            operator=operator,
            site_ids=[site.id],
        )


async def _find(database: Database, wanted: CloseAccount) -> Account:
    async with database.unit_of_work(read_only=True) as uow:
        return await uow.accounts.get(wanted.organisation_id, wanted.account_id)


async def _begin(
    database: Database, wanted: CloseAccount, at: datetime, operator: str, *, dry_run: bool
) -> Account:
    async with database.unit_of_work() as uow:
        account = await hold_account(
            uow, wanted.organisation_id, wanted.account_id, frozenset(AccountState)
        )
        if account.state not in LIVING:
            return account
        closing = replace(account, state=AccountState.CLOSING, closing_step=next(iter(ClosingStep)))
        await uow.accounts.replace(closing)
        await reconsider_supply(uow, closing, at)
        subject, detail = f"account {account.number}", {"reason": wanted.reason}
        await record(
            uow, account.organisation_id, operator, "account.close.begin", subject, detail, at
        )
        if not dry_run:
            await uow.commit()
    return closing


@dataclass(frozen=True, slots=True)
class _Run:
    """The steps of one closing, each a transaction of its own."""

    database: Database
    wanted: CloseAccount
    at: datetime
    operator: Operator

    async def step(self, step: ClosingStep) -> str:
        """Do one step; return for what it waits, empty when it was done."""
        wanted = self.wanted
        try:
            if step is ClosingStep.FINAL_CHARGES:
                await self._charge()
            if step is ClosingStep.PAY_OUT and wanted.payout_method:
                await self._pay_out()
            async with self.database.unit_of_work() as uow:
                account = await hold_account(
                    uow, wanted.organisation_id, wanted.account_id, {AccountState.CLOSING}
                )
                if account.closing_step is not step:
                    return ""
                site = await uow.sites.get(account.organisation_id, account.site_id)
                work = _Step(uow, wanted, account, site, self.at, self.operator.name)
                waiting = await work.do(step)
                await uow.commit()
        except BusyError as busy:
            return busy.reason
        return waiting

    async def _charge(self) -> None:
        """Charge up to the final readings."""
        wanted, name = self.wanted, self.operator.name
        await settle_account(
            self.database,
            wanted.organisation_id,
            wanted.account_id,
            wanted.readings,
            at=self.at,
            operator=name,
        )

    async def _pay_out(self) -> None:
        """Pay out what is to be paid out, once."""
        wanted = self.wanted
        payable = refund_payable(wanted.account_id)
        async with self.database.unit_of_work(read_only=True) as uow:
            account = await uow.accounts.get(wanted.organisation_id, wanted.account_id)
            held = await uow.ledger.balances(wanted.organisation_id, account.currency, [payable])
        if held[payable]:
            request = PayoutRequest(
                wanted.organisation_id,
                account.id,
                held[payable],
                f"{CHANNEL}:{account.id}:{held[payable]}",
                wanted.payout_method,
                wanted.approval_id,
            )
            await pay_out(self.database, request, at=self.at, operator=self.operator)


@dataclass(frozen=True, slots=True)
class _Step:
    """One step, inside its transaction."""

    uow: UnitOfWork
    wanted: CloseAccount
    account: Account
    site: Site
    at: datetime
    operator: str

    async def do(self, step: ClosingStep) -> str:
        """Do it, and name the next one; or return for what it waits.

        Raises:
            BusyError: for what it waits, where nothing of it may be kept.
        """
        steps: Mapping[ClosingStep, Callable[[], Awaitable[str]]] = {
            ClosingStep.FREEZE: self._freeze,
            ClosingStep.SETTLE_ORDERS: self._settle_orders,
            ClosingStep.FINAL_CHARGES: self._end_server_bindings,
            ClosingStep.TAKE_BACK_CREDIT: self._take_back_credit,
            ClosingStep.SET_OFF_DEBTS: self._set_off_debts,
            ClosingStep.PAY_OUT: self._pay_out,
            ClosingStep.DONE: self._close,
        }
        waiting = await steps[step]()
        if not waiting and step is not ClosingStep.DONE:
            following = list(ClosingStep)[list(ClosingStep).index(step) + 1]
            await self.uow.accounts.replace(replace(self.account, closing_step=following))
        return waiting

    async def _freeze(self) -> str:
        for binding in await open_bindings(self.uow, self.account):
            await self.uow.bindings.replace(replace(binding, frozen=True))
        return ""

    async def _settle_orders(self) -> str:
        live = await self.uow.orders.of_account(self.account.organisation_id, self.account.id, LIVE)
        return ", ".join(
            [
                f"order {order.id} is {order.state}"
                for order in live
                if not await self._given_up(order, "the account is being closed")
            ]
        )

    async def _given_up(self, order: CreditOrder, sentence: str) -> bool:
        """Give an order up, if it may be: it was never sent, or stands behind a fence."""
        fence = Fence(order.fence) if order.fence else None
        if not may_void(order.state, ever_sent=order.ever_sent, fence=fence):
            return False
        held = await hold_order(self.uow, order.organisation_id, order.id)
        step = OrderStep(self.at, OrderState.VOIDED, StepCode.VOIDED, sentence, self.operator)
        await void(self.uow, held, step)
        return True

    async def _end_server_bindings(self) -> str:
        for binding in await open_bindings(self.uow, self.account):
            if not _in_meter(binding):
                await self._end(binding, charged=True)
        return ""

    async def _end(self, binding: Binding, *, charged: bool) -> None:
        meter = await self.uow.meters.get(binding.organisation_id, binding.meter_id)
        readings = await readings_of(self.uow, binding, self.wanted.readings)
        counters = await counters_at(
            self.uow, meter, readings, self.at, operator=self.operator, age_max=None
        )
        if charged:
            await check_charged(self.uow, binding, meter, counters)
        await begin_binding(self.uow, None, binding, None, counters, self.at)

    async def _take_back_credit(self) -> str:
        waiting = []
        for binding in await open_bindings(self.uow, self.account):
            told = await self._empty_meter(binding)
            if told:
                waiting.append(told)
            else:
                await self._end(binding, charged=False)
        return ", ".join(waiting)

    async def _empty_meter(self, binding: Binding) -> str:
        """Have a meter give back what it holds; return for what that waits."""
        held = (await self._balances([in_meter(binding.id)]))[in_meter(binding.id)]
        takeable = await self._takeable(binding, held)
        live = await self.uow.orders.open_of_binding(binding.organisation_id, binding.id)
        waiting = [
            f"order {order.id} is {order.state}"
            for order in live
            if order.deliver_units <= takeable
            or not await self._given_up(order, "more than was bought in the meter")
        ]
        if waiting:
            return ", ".join(waiting)
        if held < 0:
            owed = receivable(self.account.id, Category.UTILITY)
            await self._book(EntryKind.SETTLEMENT, [Posting(owed, in_meter(binding.id), -held)])
            return ""
        if takeable == 0:
            rest, credit = held % self._minor_step, in_meter(binding.id)
            left = (*signed(credit, BROUGHT_IN, held - rest), *signed(credit, ROUNDING, rest))
            await self._book(EntryKind.SETTLEMENT, left, "not to be taken back")
            return ""
        order = await take_from_meter(
            self.uow,
            self.account,
            binding,
            takeable,
            at=self.at,
            operator=self.operator,
            channel=CHANNEL,
        )
        return f"order {order.id} takes {self._said(takeable)} back from the meter"

    async def _takeable(self, binding: Binding, held_units: int) -> int:
        """Return what of its credit a meter can give back: no more than was bought in it."""
        row = await self.uow.wallets.find(binding.organisation_id, binding.id)
        total = None if row is None else row.total_purchased_units
        bought = max(held_units if total is None else min(held_units, total), 0)
        return bought - bought % self._minor_step

    async def _set_off_debts(self) -> str:
        await self._explain_suspense()
        await self._lend_no_more()
        owed, payment = await self._set_off(), None
        if owed > 0 and self.wanted.settle_method:
            payment, owed = await self._take_payment(owed), 0
        account = self.account
        await note_paid(self.uow, account.organisation_id, account.id, account.currency, self.at)
        if owed > 0:
            return f"the account owes {self._said(owed)}: have it paid"
        await self._make_payable()
        if payment is not None:
            await issue_receipt(self.uow, account, self.site, payment, at=self.at)
        return ""

    async def _explain_suspense(self) -> None:
        """What others sold to its meters was not sold here, and nobody asked for it."""
        bindings = await self.uow.bindings.of_account(self.account.organisation_id, self.account.id)
        names = [suspense(binding.id) for binding in bindings]
        for name, units in (await self._balances(names)).items():
            await self._book(EntryKind.SETTLEMENT, signed(name, BROUGHT_IN, units))

    async def _lend_no_more(self) -> None:
        wallet = customer(self.account.id)
        units = (await self._balances([wallet]))[wallet]
        if units < 0:
            owed = receivable(self.account.id, Category.UTILITY)
            await self._book(EntryKind.SETTLEMENT, [Posting(owed, wallet, -units)])

    async def _set_off(self) -> int:
        """Let credit pay what is owed; return what is then still owed."""
        wallet, payable = customer(self.account.id), refund_payable(self.account.id)
        held = await self._balances([wallet, payable])
        dues = await self._dues()
        deduction = allocate(
            held[wallet] + held[payable], dues, self.account.deduction_order, at=self.at
        )
        left = {wallet: held[wallet], payable: held[payable]}
        postings: list[Posting] = []
        for allocation in deduction.allocations:
            target, units = self._due_account(allocation.due), allocation.amount_units
            for source in (wallet, payable):
                part = min(units, left[source])
                postings += signed(source, target, part)
                left[source] -= part
                units -= part
        await self._book(EntryKind.SETTLEMENT, postings)
        return sum(due.amount_units for due in dues) - sum(
            allocation.amount_units for allocation in deduction.allocations
        )

    async def _take_payment(self, owed_units: int) -> Entry | None:
        """Take what is owed as paid now, up to the minor unit."""
        surplus = -owed_units % self._minor_step
        source = cash(self.wanted.settle_method)
        dues = await self._dues()
        deduction = allocate(owed_units, dues, self.account.deduction_order, at=self.at)
        postings = [
            Posting(source, self._due_account(each.due), each.amount_units)
            for each in deduction.allocations
        ]
        return await self._book(
            EntryKind.PAYMENT, [*postings, *signed(source, ROUNDING, surplus)], "paid at closing"
        )

    async def _dues(self) -> tuple[Due, ...]:
        plans = await self.uow.debt_plans.of_account(
            self.account.organisation_id, self.account.id, ended=True
        )
        names = {debt(plan.id): plan for plan in plans}
        balances = await self._balances(list(names))
        debts = [
            Due(Category.DEBT, str(plan.id), -balances[name], plan.created_at)
            for name, plan in names.items()
            if balances[name] < 0
        ]
        return (*debts, *await dues_of(self.uow, self.account))

    def _due_account(self, due: Due) -> LedgerAccount:
        if due.category is Category.DEBT:
            return debt(UUID(due.key))
        return receivable(self.account.id, due.category)

    async def _make_payable(self) -> None:
        """Have what was bought and is left paid out; what was not bought goes back."""
        wallet, payable = customer(self.account.id), refund_payable(self.account.id)
        held = await self._balances([wallet, payable])
        total = held[wallet] + held[payable]
        origin = await credit_origin(self.uow, self.account)
        refundable = refundable_units(
            total,
            paid_units=origin.paid_units,
            refunded_units=0,
            gift_units=origin.given_units,
        )
        target = refundable - refundable % self._minor_step
        await self._give_up(wallet, payable, total - refundable, BROUGHT_IN)
        await self._give_up(wallet, payable, refundable - target, ROUNDING)
        rest = (await self._balances([wallet]))[wallet]
        await self._book(EntryKind.REFUND, signed(wallet, payable, rest), "credit left at closing")

    async def _give_up(
        self, wallet: LedgerAccount, payable: LedgerAccount, units: int, target: LedgerAccount
    ) -> None:
        from_wallet = min(units, (await self._balances([wallet]))[wallet])
        postings = signed(wallet, target, from_wallet)
        postings += signed(payable, target, units - from_wallet)
        await self._book(EntryKind.SETTLEMENT, postings, "not to be paid out")

    async def _pay_out(self) -> str:
        payable = refund_payable(self.account.id)
        units = (await self._balances([payable]))[payable]
        return f"{self._said(units)} are to be paid out" if units else ""

    async def _close(self) -> str:
        account = self.account
        if waiting := await self._alive():
            return waiting
        balance = await account_balance(self.uow, account, lock=True)
        if not balance.is_zero or await self._dues():
            # Something was booked meanwhile: settle it as before.
            again = replace(account, closing_step=ClosingStep.SET_OFF_DEBTS)
            await self.uow.accounts.replace(again)
            return ""
        closed = replace(account, state=AccountState.CLOSED, closing_step=None, closed_at=self.at)
        await self.uow.accounts.replace(closed)
        await tell_event(self.uow, closed, self.site, AccountEventKind.CLOSED, self.at)
        subject, detail = f"account {account.number}", {"reason": self.wanted.reason}
        await record(
            self.uow,
            account.organisation_id,
            self.operator,
            "account.close",
            subject,
            detail,
            self.at,
        )
        return ""

    async def _alive(self) -> str:
        """End the commands that were never sent; return which are on their way."""
        waiting = []
        for binding in await self.uow.bindings.of_account(
            self.account.organisation_id, self.account.id
        ):
            now = await self.uow.bindings.open_of_meter(binding.organisation_id, binding.meter_id)
            if now is not None and now.account_id not in {None, self.account.id}:
                continue  # its commands are the next account's
            commands = await self.uow.commands.of_meter(binding.organisation_id, binding.meter_id)
            for command in commands:
                if command.state in SETTLED:
                    continue
                if not await self._end_command(command):
                    waiting.append(f"command {command.id} is {command.state}")
        return ", ".join(waiting)

    async def _end_command(self, command: Command) -> bool:
        ends = {
            CommandState.QUEUED: CommandState.EXPIRED,
            CommandState.QUARANTINED: CommandState.FAILED,
        }
        if command.state not in ends:
            return False
        moved = await self.uow.commands.move(
            command.organisation_id,
            command.id,
            {command.state},
            ends[command.state],
            at=self.at,
            outcome="the account was closed",
        )
        return moved is not None

    @property
    def _minor_step(self) -> int:
        return int(10 ** (LEDGER_DECIMALS - minor_decimals(self.account.currency)))

    def _said(self, units: int) -> str:
        return f"{format_amount(units, self.account.currency)} {self.account.currency}"

    async def _balances(self, names: list[LedgerAccount]) -> Mapping[LedgerAccount, int]:
        return await self.uow.ledger.lock(
            self.account.organisation_id, self.account.currency, names
        )

    async def _book(
        self, kind: EntryKind, postings: Iterable[Posting], memo: str = "closing"
    ) -> Entry | None:
        return await book(
            self.uow,
            self.site,
            kind,
            tuple(postings),
            currency=self.account.currency,
            at=self.at,
            operator=self.operator,
            account=self.account,
            memo=memo,
        )


def _in_meter(binding: Binding) -> bool:
    return binding.mode is not None and binding.mode.in_meter
