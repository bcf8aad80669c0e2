"""Converts an account in place to another way of paying, without losing a cent (B12).

Its bindings end at a reading and go on under the new mode. Credit follows: from the server into
the meter as a transfer; out of a meter only after the meter has given it back, as a refund that
then goes to the wallet instead of being paid out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from meterplex.db import Database, UnitOfWork
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, Category
from meterplex.domain.estate import AccountId, Binding, BindingId, OrganisationId, Site
from meterplex.domain.ledger import (
    EntryKind,
    LedgerAccount,
    Posting,
    customer,
    in_meter,
    receivable,
    refund_payable,
)
from meterplex.domain.money import LEDGER_DECIMALS, minor_decimals
from meterplex.plugin_manager import PluginManager
from meterplex.services.accounts.balances import AccountBalance, account_balance
from meterplex.services.accounts.bind_meters import check_mode, take_in_credit, terms_of
from meterplex.services.accounts.binding_counters import GivenReadings
from meterplex.services.accounts.continue_bindings import check_no_orders, continue_binding
from meterplex.services.accounts.find_accounts import hold_account, open_bindings
from meterplex.services.accounts.messages import push_limits, reconsider_supply
from meterplex.services.accounts.open_account import check_terms
from meterplex.services.accounts.settle_meters import check_points, readings_of, settle_account
from meterplex.services.accounts.transfer_account import LIVING
from meterplex.services.books.amounts import format_amount
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.operators.audit import record
from meterplex.services.orders.transfer_credit import send_to_meter


@dataclass(frozen=True, slots=True)
class ConvertAccount:
    """A conversion as asked for.

    Attributes:
        tariff: of the account from then on; empty keeps it.
        readings: what meters show now, by code of the usage point.
        credit_to: usage point whose meter gets the credit; empty where there is only one.
    """

    organisation_id: OrganisationId
    account_id: AccountId
    mode: AccountMode
    tariff: str = ""
    readings: Mapping[str, GivenReadings] = field(default_factory=dict)
    credit_to: str = ""


async def convert_account(
    database: Database,
    plugins: PluginManager,
    wanted: ConvertAccount,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> tuple[Account, tuple[Binding, ...]]:
    """Convert an account; return it with its new bindings.

    Raises:
        MoneyError: the mode is the one it has, a meter cannot be paid for like this or still
            holds credit, an order is on its way, or a reading cannot be true.
    """
    organisation_id, account_id = wanted.organisation_id, wanted.account_id
    await settle_account(
        database,
        organisation_id,
        account_id,
        wanted.readings,
        at=at,
        operator=operator,
        dry_run=dry_run,
    )
    async with database.unit_of_work() as uow:
        before = await hold_account(uow, organisation_id, account_id, LIVING)
        if before.mode is wanted.mode:
            raise MoneyInputError("mode", f"account {before.number} is {before.mode} already")
        await check_no_orders(uow, before)
        site = await uow.sites.get(organisation_id, before.site_id)
        after = replace(before, mode=wanted.mode, tariff=wanted.tariff or before.tariff)
        old = await open_bindings(uow, before)
        await check_points(uow, old, wanted.readings)
        conversion = _Conversion(uow, plugins, site, before, after, at, operator)
        bindings = await conversion.bindings(old, wanted, charged=not dry_run)
        await uow.accounts.replace(after)
        await conversion.carry_credit(old, bindings, wanted)
        await reconsider_supply(uow, after, at)
        await push_limits(uow, after, at)
        detail = {"from": str(before.mode), "to": str(after.mode), "tariff": after.tariff}
        subject = f"account {after.number}"
        await record(uow, organisation_id, operator, "account.convert", subject, detail, at)
        if not dry_run:
            await uow.commit()
    return after, bindings


@dataclass(frozen=True, slots=True)
class _Conversion:
    """One conversion, inside its transaction."""

    uow: UnitOfWork
    plugins: PluginManager
    site: Site
    before: Account
    after: Account
    at: datetime
    operator: str

    async def bindings(
        self, old: tuple[Binding, ...], wanted: ConvertAccount, *, charged: bool
    ) -> tuple[Binding, ...]:
        """End the old bindings and begin the new ones."""
        uow, begun = self.uow, []
        for binding in old:
            meter = await uow.meters.get(binding.organisation_id, binding.meter_id)
            check_mode(self.plugins, meter, self.after.mode, "mode")
            terms = replace(terms_of(binding, self.before), mode=self.after.mode)
            await check_terms(uow, self.plugins, self.site, self.after, meter, terms, self.at)
            if not binding.tariff and self.after.tariff != self.before.tariff:
                # What is charged late keeps the tariff that it was used under.
                await uow.bindings.replace(replace(binding, tariff=self.before.tariff))
            new = await continue_binding(
                uow,
                self.site,
                self.after,
                binding,
                terms,
                await readings_of(uow, binding, wanted.readings),
                at=self.at,
                operator=self.operator,
                charged=charged,
            )
            begun.append(new)
            if self.after.mode.in_meter and not _in_meter(binding):
                await take_in_credit(
                    uow,
                    self.site,
                    self.after,
                    new,
                    meter,
                    at=self.at,
                    operator=self.operator,
                )
        return tuple(begun)

    async def carry_credit(
        self, old: tuple[Binding, ...], new: tuple[Binding, ...], wanted: ConvertAccount
    ) -> None:
        """Move what the account has to where the new mode keeps it."""
        balance = await account_balance(self.uow, self.after, lock=True)
        await self._leave_meters(old, balance)
        await self._into_wallet(balance)
        balance = await account_balance(self.uow, self.after)
        if self.after.mode.in_meter:
            await self._into_meter(new, balance, wanted.credit_to)

    async def _leave_meters(self, old: tuple[Binding, ...], balance: AccountBalance) -> None:
        if self.after.mode.in_meter:
            return
        for binding in filter(_in_meter, old):
            held = balance.in_meter_units[binding.id]
            if held > 0:
                meter = await self.uow.meters.get(binding.organisation_id, binding.meter_id)
                amount = format_amount(held, self.after.currency)
                raise MoneyConflictError(
                    "mode",
                    f"meter {meter.serial} holds {amount} {self.after.currency}: take it back "
                    "first, as a refund; it then goes to the wallet",
                )
            await self._book(
                Posting(self._owed, in_meter(binding.id), -held) if held else None,
                "arrears of the meter",
            )

    async def _into_wallet(self, balance: AccountBalance) -> None:
        """What meters gave back goes to the wallet; what the wallet lent becomes owed."""
        wallet, mode = customer(self.after.id), self.after.mode
        if self.before.mode.in_meter and balance.payable_units:
            given_back = Posting(refund_payable(self.after.id), wallet, balance.payable_units)
            await self._book(given_back, "given back by meters")
        if balance.wallet_units < 0 and (mode.in_meter or not mode.prepaid):
            await self._book(Posting(self._owed, wallet, -balance.wallet_units), "overdraft")

    async def _into_meter(
        self, new: tuple[Binding, ...], balance: AccountBalance, credit_to: str
    ) -> None:
        step = 10 ** (LEDGER_DECIMALS - minor_decimals(self.after.currency))
        payable = balance.wallet_units - balance.wallet_units % step
        if payable <= 0:
            return
        chosen = await self._chosen(new, credit_to)
        await send_to_meter(
            self.uow,
            self.site,
            self.after,
            chosen,
            customer(self.after.id),
            payable,
            at=self.at,
            operator=self.operator,
            channel="convert",
        )

    async def _chosen(self, new: tuple[Binding, ...], credit_to: str) -> Binding:
        codes: dict[str, BindingId] = {}
        for binding in new:
            point = await self.uow.usage_points.get(binding.organisation_id, binding.usage_point_id)
            codes[point.code] = binding.id
        if not credit_to and len(new) != 1:
            choices = ", ".join(sorted(codes)) or "none"
            raise MoneyInputError("credit_to", f"name the usage point of one meter: {choices}")
        if credit_to and credit_to not in codes:
            raise MoneyInputError("credit_to", f"the account has no usage point {credit_to!r}")
        return next(each for each in new if not credit_to or each.id == codes[credit_to])

    @property
    def _owed(self) -> LedgerAccount:
        return receivable(self.after.id, Category.UTILITY)

    async def _book(self, posting: Posting | None, memo: str) -> None:
        await book(
            self.uow,
            self.site,
            EntryKind.TRANSFER,
            [] if posting is None else [posting],
            currency=self.after.currency,
            at=self.at,
            operator=self.operator,
            account=self.after,
            memo=f"converted from {self.before.mode}: {memo}",
        )


def _in_meter(binding: Binding) -> bool:
    return binding.mode is not None and binding.mode.in_meter
