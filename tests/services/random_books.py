"""An office that does whatever an office does, at random but the same for a seed."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

from uuid_utils.compat import uuid7

from meterplex.db import Database, UnitOfWork
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, Category, Customer, CustomerId
from meterplex.domain.bills import AccountDebt, DebtPlanId
from meterplex.domain.debt_plans import DebtPlan, PaymentShare
from meterplex.domain.estate import AccountId, BindingId, OrganisationId, Site
from meterplex.domain.ledger import (
    BROUGHT_IN,
    ROUNDING,
    Entry,
    EntryId,
    EntryKind,
    Posting,
    cash,
    customer,
    debt,
    in_meter,
    receivable,
    refund_payable,
    revenue,
    signed,
    suspense,
    take_credit,
    tax,
    transit,
)
from meterplex.services.billing.issue_claims import Claim, claim
from meterplex.services.books.book_entries import (
    EntryDraft,
    book,
    book_all,
    find_discrepancies,
    take_back,
)
from meterplex.services.orders.deduct_dues import deduct, postings_of
from meterplex.services.orders.vend_credit import VendRequest, vend_credit

BEGIN = datetime(2026, 1, 1, 4, tzinfo=UTC)
BATCH = 50
"""Operations in one transaction."""
CHARGED_AT_ONCE = 25
CENT = 100

Operation = Callable[[UnitOfWork, Account], Awaitable[None]]


@dataclass
class RandomOffice:
    """Does random operations on some accounts, each with one meter.

    Attributes:
        done: operations that are in the books.
        dropped: operations whose transaction was rolled back.
    """

    database: Database
    site: Site
    seed: int
    accounts: list[Account] = field(default_factory=list)
    done: int = 0
    dropped: int = 0

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        self._bindings: dict[AccountId, BindingId] = {}
        self._at = BEGIN
        self._payments: list[Entry] = []

    async def open(self, count: int) -> None:
        """Open accounts, every fourth of them post-paid."""
        organisation_id = self.site.organisation_id
        async with self.database.unit_of_work() as uow:
            for number in range(count):
                someone = Customer(CustomerId(uuid7()), organisation_id, f"C{number}", "Li")
                await uow.customers.add(someone)
                account = Account(
                    AccountId(uuid7()),
                    organisation_id,
                    self.site.id,
                    someone.id,
                    f"A{number}",
                    AccountMode.PREPAID_SERVER if number % 4 else AccountMode.POSTPAID,
                    "CNY",
                    BEGIN,
                    overdraft_units=self._random.choice([0, 20_0000]),
                )
                await uow.accounts.add(account)
                self.accounts.append(account)
                self._bindings[account.id] = BindingId(uuid7())
            await uow.commit()

    async def work(self, operations: int) -> None:
        """Do so many operations; one batch in ten is thought better of, and done again."""
        until = self.done + operations
        while self.done < until:
            if self._random.random() < 0.1:
                await self._vend_at_the_desk()
            count = min(BATCH, until - self.done)
            async with self.database.unit_of_work() as uow:
                payments = list(self._payments)
                charged = await self._charge(uow, min(count, CHARGED_AT_ONCE))
                for _ in range(count - charged):
                    await self._one(uow)
                if self._random.random() < 0.1:
                    self._payments = payments
                    self.dropped += count
                    continue
                await uow.commit()
            self.done += count

    async def problems(self) -> tuple[str, ...]:
        """Return what is wrong with balances and their sum."""
        async with self.database.unit_of_work(read_only=True) as uow:
            organisation_id: OrganisationId = self.site.organisation_id
            total = sum((await uow.ledger.trial_balance(organisation_id, "CNY")).values())
            found = await find_discrepancies(uow, organisation_id)
        return found if total == 0 else (f"sums to {total}", *found)

    async def _vend_at_the_desk(self) -> None:
        account = self._random.choice(self.accounts)
        request = VendRequest(
            account.organisation_id, account.id, self._amount() * CENT, str(self._at)
        )
        await vend_credit(self.database, request, at=self._at, operator="desk")
        self._at += timedelta(seconds=1)

    async def _one(self, uow: UnitOfWork) -> None:
        operations: Sequence[tuple[Operation, int]] = (
            (self._pay, 25),
            (self._send_to_meter, 10),
            (self._charge_meter, 10),
            (self._refund, 4),
            (self._take_back, 3),
            (self._transfer, 3),
            (self._foreign, 2),
            (self._claim_fee, 1),
            (self._move_debt, 1),
            (self._round, 1),
        )
        kinds, weights = zip(*operations, strict=True)
        (operation,) = self._random.choices(kinds, weights)
        chosen = self._random.choice(self.accounts)
        account = await uow.accounts.lock(chosen.organisation_id, chosen.id)
        await operation(uow, account)
        self._at += timedelta(seconds=self._random.randrange(1, 300))

    def _amount(self) -> int:
        return self._random.choice([1, 99, 5000, self._random.randrange(1, 100_000)])

    async def _book(
        self, uow: UnitOfWork, account: Account, kind: EntryKind, *postings: Posting
    ) -> Entry | None:
        return await book(
            uow,
            self.site,
            kind,
            postings,
            currency="CNY",
            at=self._at,
            operator="office",
            account=account,
        )

    async def _charge(self, uow: UnitOfWork, count: int) -> int:
        """Charge some accounts at once, and return how many."""
        chosen = self._random.sample(self.accounts, min(count, len(self.accounts)))
        names = [customer(account.id) for account in chosen]
        balances = await uow.ledger.lock(self.site.organisation_id, "CNY", names)
        drafts = [
            EntryDraft(
                EntryId(uuid7()),
                self.site,
                EntryKind.CHARGE,
                self._use(account, balances[customer(account.id)]),
                "CNY",
                "office",
                account,
            )
            for account in chosen
        ]
        await book_all(uow, self.site.organisation_id, drafts, self._at)
        return len(chosen)

    def _use(self, account: Account, balance_units: int) -> tuple[Posting, ...]:
        amount = self._random.choice([-1, 1, 1, 1, 1]) * self._random.randrange(13, 30_0000)
        owed, earned = receivable(account.id, Category.UTILITY), revenue("electricity")
        if account.mode is AccountMode.POSTPAID:
            return signed(owed, earned, amount) + signed(owed, tax("vat"), amount // 13)
        overdraft, wallet = account.overdraft_units, customer(account.id)
        return take_credit(balance_units, overdraft, owed, wallet, earned, amount)

    async def _pay(self, uow: UnitOfWork, account: Account) -> None:
        amount = self._amount() * CENT
        till = cash(self._random.choice(["cash", "bank"]))
        deduction = await deduct(uow, account, amount, at=self._at)
        postings = postings_of(account, till, deduction.allocations)
        postings += signed(till, customer(account.id), deduction.rest_units)
        entry = await self._book(uow, account, EntryKind.PAYMENT, *postings)
        assert entry is not None
        self._payments.append(entry)

    async def _take_back(self, uow: UnitOfWork, account: Account) -> None:
        if self._payments:
            entry = self._payments.pop(self._random.randrange(len(self._payments)))
            await take_back(uow, self.site, entry, at=self._at, operator="office")

    async def _send_to_meter(self, uow: UnitOfWork, account: Account) -> None:
        amount, binding = self._amount() * CENT, self._bindings[account.id]
        sold = Posting(cash("cash"), transit(binding), amount)
        await self._book(uow, account, EntryKind.PAYMENT, sold)
        if self._random.random() < 0.2:
            void = Posting(transit(binding), refund_payable(account.id), amount)
            await self._book(uow, account, EntryKind.VOID, void)
        else:
            proven = Posting(transit(binding), in_meter(binding), amount)
            await self._book(uow, account, EntryKind.DELIVERY, proven)

    async def _charge_meter(self, uow: UnitOfWork, account: Account) -> None:
        used = Posting(
            in_meter(self._bindings[account.id]),
            revenue("electricity"),
            self._random.randrange(1, 50_0000),
        )
        await self._book(uow, account, EntryKind.CHARGE, used)

    async def _refund(self, uow: UnitOfWork, account: Account) -> None:
        wallet, payable = customer(account.id), refund_payable(account.id)
        names = [wallet, payable]
        balances = await uow.ledger.lock(account.organisation_id, "CNY", names)
        refund = signed(wallet, payable, max(balances[wallet] // 2, 0))
        await self._book(uow, account, EntryKind.REFUND, *refund)
        payout = signed(payable, cash("bank"), balances[payable])
        await self._book(uow, account, EntryKind.PAYOUT, *payout)

    async def _transfer(self, uow: UnitOfWork, account: Account) -> None:
        other = self._random.choice(self.accounts)
        if other.id == account.id:
            return
        source, target = self._bindings[account.id], self._bindings[other.id]
        amount = self._random.randrange(1, 10_0000)
        moved = Posting(in_meter(source), transit(target), amount)
        await self._book(uow, account, EntryKind.TRANSFER, moved)
        proven = Posting(transit(target), in_meter(target), amount)
        await self._book(uow, account, EntryKind.DELIVERY, proven)

    async def _foreign(self, uow: UnitOfWork, account: Account) -> None:
        binding = self._bindings[account.id]
        bought = Posting(suspense(binding), in_meter(binding), self._amount() * CENT)
        await self._book(uow, account, EntryKind.FOREIGN, bought)

    async def _claim_fee(self, uow: UnitOfWork, account: Account) -> None:
        amount = self._amount() * CENT
        rent = self._random.random() < 0.5
        category = Category.RENT if rent else Category.FEE
        first = self._at.date()
        made = Claim(
            kind=EntryKind.FEE,
            category=category,
            title=category.value,
            earned=category.value,
            since=first,
            until=first + timedelta(days=30),
            due_on=date(2030, 1, 1),
            amount_units=amount,
            lines=({"text": category.value, "amount_units": amount},),
        )
        await claim(uow, self.site, account, made, at=self._at, operator="office")

    async def _move_debt(self, uow: UnitOfWork, account: Account) -> None:
        names = {
            receivable(account.id, category): category
            for category in (Category.UTILITY, Category.RENT, Category.FEE)
        }
        balances = await uow.ledger.lock(account.organisation_id, "CNY", list(names))
        owed = [name for name in names if balances[name] < 0]
        source = self._random.choice([*owed, BROUGHT_IN])
        amount = -balances[source] if source in owed else self._amount() * CENT
        plan_id = DebtPlanId(uuid7())
        percent = self._random.randrange(1, 101)
        plan = DebtPlan(str(plan_id), amount, PaymentShare(Decimal(percent)))
        await uow.debt_plans.add(
            AccountDebt(
                plan_id,
                account.organisation_id,
                account.id,
                "plan",
                "CNY",
                plan,
                self._at,
                "office",
            )
        )
        moved = Posting(debt(plan_id), source, amount)
        await self._book(uow, account, EntryKind.TRANSFER, moved)

    async def _round(self, uow: UnitOfWork, account: Account) -> None:
        owed = receivable(account.id, Category.UTILITY)
        rounding = self._random.randrange(-49, 50)
        await self._book(uow, account, EntryKind.BILL, *signed(owed, ROUNDING, rounding))
