"""Transfers what an account has to a new owner: a new account, from one reading on (F81).

The account before stays, with what it owes and is owed, to be paid and closed. Its credit moves
along only if asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from meterplex.db import Database, UnitOfWork
from meterplex.domain.accounts import Account, AccountState
from meterplex.domain.estate import AccountId, Binding, OrganisationId, Site
from meterplex.domain.ledger import BROUGHT_IN, EntryKind, Posting, customer, signed
from meterplex.plugin_manager import PluginManager
from meterplex.sdk.accounts import AccountEventKind
from meterplex.services.accounts.balances import AccountBalance, account_balance
from meterplex.services.accounts.bind_meters import terms_of
from meterplex.services.accounts.binding_counters import GivenReadings
from meterplex.services.accounts.continue_bindings import check_no_orders, continue_binding
from meterplex.services.accounts.customers import NewCustomer
from meterplex.services.accounts.find_accounts import hold_account, open_bindings
from meterplex.services.accounts.messages import reconsider_supply, tell_event
from meterplex.services.accounts.open_account import (
    AccountLimits,
    OpenAccount,
    OpenedAccount,
    note_opened,
    open_in,
)
from meterplex.services.accounts.settle_meters import check_points, readings_of, settle_account
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import MoneyConflictError
from meterplex.services.operators.audit import record
from meterplex.services.orders.credit_origin import credit_origin

LIVING = frozenset({AccountState.OPEN, AccountState.SUSPENDED})
"""States in which an account can be changed."""


@dataclass(frozen=True, slots=True)
class TransferAccount:
    """A transfer of ownership as asked for.

    Attributes:
        number: of the new account.
        customer: a new one, or the number of one that there is.
        move_credit: the credit goes to the new owner too.
        readings: what meters show now, by code of the usage point.
    """

    organisation_id: OrganisationId
    account_id: AccountId
    number: str
    customer: NewCustomer | str
    move_credit: bool = False
    readings: Mapping[str, GivenReadings] = field(default_factory=dict)


async def transfer_account(
    database: Database,
    plugins: PluginManager,
    wanted: TransferAccount,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> OpenedAccount:
    """Open the new account and give it the meters, as of one reading.

    Raises:
        MoneyError: a field is wrong, an order is on its way, or a meter holds credit that is not
            to be moved.
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
        await check_no_orders(uow, before)
        site = await uow.sites.get(organisation_id, before.site_id)
        like = _like(before, site, wanted)
        opened = await open_in(uow, plugins, like, at=at, operator=operator)
        bindings = await open_bindings(uow, before)
        await check_points(uow, bindings, wanted.readings)
        balance = await account_balance(uow, before, lock=True)
        if not wanted.move_credit:
            _check_meters_empty(bindings, balance)
        moved = []
        for binding in bindings:
            readings = await readings_of(uow, binding, wanted.readings)
            terms = terms_of(binding, before)
            begun = await continue_binding(
                uow,
                site,
                opened.account,
                binding,
                terms,
                readings,
                at=at,
                operator=operator,
                charged=not dry_run,
            )
            moved.append(begun)
        if wanted.move_credit:
            await _move_wallet(uow, site, before, opened.account, balance, at, operator)
            await _pass_on_gifts(uow, site, before, opened.account, balance, at, operator)
        await _follow(uow, site, before, opened.account, wanted, at, operator)
        await note_opened(uow, opened, like, at=at, operator=operator)
        if not dry_run:
            await uow.commit()
    return OpenedAccount(opened.account, opened.customer, tuple(moved))


def _like(before: Account, site: Site, wanted: TransferAccount) -> OpenAccount:
    return OpenAccount(
        organisation_id=before.organisation_id,
        site=site.code,
        number=wanted.number,
        customer=wanted.customer,
        mode=before.mode,
        tariff=before.tariff,
        limits=AccountLimits(
            before.alarm_1_units,
            before.alarm_2_units,
            before.overdraft_units,
            before.emergency_units,
            before.hoard_units,
        ),
        deduction_order=before.deduction_order,
    )


def _check_meters_empty(bindings: tuple[Binding, ...], balance: AccountBalance) -> None:
    for binding in bindings:
        if balance.in_meter_units.get(binding.id, 0) != 0:
            raise MoneyConflictError(
                "move_credit", "a meter holds credit or arrears: move them along, or refund first"
            )


async def _move_wallet(
    uow: UnitOfWork,
    site: Site,
    before: Account,
    after: Account,
    balance: AccountBalance,
    at: datetime,
    operator: str,
) -> None:
    if balance.wallet_units > 0:
        await book(
            uow,
            site,
            EntryKind.TRANSFER,
            [Posting(customer(before.id), customer(after.id), balance.wallet_units)],
            currency=before.currency,
            at=at,
            operator=operator,
            account=after,
            memo=f"from account {before.number}",
        )


async def _pass_on_gifts(
    uow: UnitOfWork,
    site: Site,
    before: Account,
    after: Account,
    balance: AccountBalance,
    at: datetime,
    operator: str,
) -> None:
    """Let credit that the former owner had not bought be none that the new one has bought."""
    moved = max(balance.wallet_units, 0) + sum(balance.in_meter_units.values())
    given = min((await credit_origin(uow, before)).given_units, moved)
    wallet = customer(after.id)
    for account, source, target in ((after, BROUGHT_IN, wallet), (before, wallet, BROUGHT_IN)):
        await book(
            uow,
            site,
            EntryKind.TRANSFER,
            signed(source, target, max(given, 0)),
            currency=before.currency,
            at=at,
            operator=operator,
            account=account,
            memo=f"not bought by account {before.number}",
        )


async def _follow(
    uow: UnitOfWork,
    site: Site,
    before: Account,
    after: Account,
    wanted: TransferAccount,
    at: datetime,
    operator: str,
) -> None:
    for account in (before, after):
        await reconsider_supply(uow, account, at)
    if wanted.move_credit:
        await tell_event(
            uow, after, site, AccountEventKind.CREDITED, at, detail={"from": before.number}
        )
    detail = {"to": after.number, "credit_moved": "yes" if wanted.move_credit else "no"}
    await record(
        uow,
        before.organisation_id,
        operator,
        "account.transfer",
        f"account {before.number}",
        detail,
        at,
    )
