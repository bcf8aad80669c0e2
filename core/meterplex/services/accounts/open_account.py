"""Opens an account: customer, bindings, limits and what it brings along, all or nothing (F80, F93).

What has to reach a meter follows by durable rows of its own: limits by the outbox, credit by
orders. A first purchase is taken in the same transaction: no account is open and its money not
booked, and opening it again is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import DEDUCTION_ORDER, Account, Category, Customer
from meterplex.domain.estate import AccountId, Binding, Meter, OrganisationId, Site
from meterplex.domain.ledger import BROUGHT_IN, EntryKind, Posting, customer
from meterplex.domain.prepayment.credit_order import key_of
from meterplex.domain.tariff import TariffError
from meterplex.plugin_manager import PluginManager
from meterplex.sdk.accounts import AccountEventKind
from meterplex.services.accounts.bind_meters import (
    Terms,
    begin_binding,
    check_cleared,
    check_mode,
    open_binding_of,
    take_in_credit,
)
from meterplex.services.accounts.binding_counters import GivenReadings, counters_at
from meterplex.services.accounts.customers import NewCustomer, add_customer, find_customer
from meterplex.services.accounts.find_accounts import (
    check_utility,
    checked_number,
    find_point,
    find_tariff,
)
from meterplex.services.accounts.messages import push_limits, reconsider_supply, tell_event
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import (
    MoneyConflictError,
    MoneyInputError,
    UnknownThingError,
)
from meterplex.services.estate.site_policies import SiteParameters, load_parameters
from meterplex.services.operators.audit import record
from meterplex.services.orders.hoard_limit import check_hoard
from meterplex.services.orders.transfer_credit import send_to_meter
from meterplex.services.orders.vend_credit import (
    Sale,
    VendRequest,
    check_payable,
    check_word,
    note_sale,
    sell_in,
)
from meterplex.services.tariffs.check_meter_tariff import check_meter_tariff
from meterplex.services.tariffs.document import tariff_from_text
from meterplex.services.tariffs.price_override import tariff_of_meter

OVERLOAD_KW_MAX: Final = Decimal(10_000)


@dataclass(frozen=True, slots=True)
class NewBinding:
    """A usage point that an account takes over.

    Attributes:
        usage_point: its code at the account's site.
        mode: None takes the account's.
        tariff: of its own; empty takes the account's.
        price_override: see ``services.tariffs.price_override``.
        readings: what its meter shows now; empty takes what was read last.
    """

    usage_point: str
    mode: AccountMode | None = None
    tariff: str = ""
    price_override: Mapping[str, Any] | None = None
    readings: GivenReadings = field(default_factory=dict)
    sole_seller: bool = True


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """Limits in ledger units; None takes the site's default."""

    alarm_1_units: int | None = None
    alarm_2_units: int | None = None
    overdraft_units: int | None = None
    emergency_units: int | None = None
    hoard_units: int | None = None


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """An account as asked for.

    Attributes:
        customer: a new one, or the number of one that there is.
        tariff: empty takes the site's default.
        balance_units: credit brought along from an older meter or system, in ledger units.
        purchase_units: first purchase, in ledger units; 0 for none.
        method: how the first purchase is paid.
        overload_kw: power above which the meters disconnect; None takes the site's default.
    """

    organisation_id: OrganisationId
    site: str
    number: str
    customer: NewCustomer | str
    mode: AccountMode
    tariff: str = ""
    bindings: tuple[NewBinding, ...] = ()
    limits: AccountLimits = field(default=AccountLimits())
    balance_units: int = 0
    deduction_order: tuple[Category, ...] = DEDUCTION_ORDER
    head_count: int | None = None
    overload_kw: Decimal | None = None
    purchase_units: int = 0
    method: str = "cash"


@dataclass(frozen=True, slots=True)
class OpenedAccount:
    """An account with what it was opened with.

    Attributes:
        sale: the first purchase.
    """

    account: Account
    customer: Customer
    bindings: tuple[Binding, ...]
    sale: Sale | None = None


async def open_account(
    database: Database,
    plugins: PluginManager,
    wanted: OpenAccount,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> OpenedAccount:
    """Open an account.

    Raises:
        MoneyError: a field is wrong, or what it names is unknown, taken or unfit; nothing was
            written.
    """
    async with database.unit_of_work() as uow:
        opened = await open_in(uow, plugins, wanted, at=at, operator=operator)
        purchase = _purchase(opened.account, wanted)
        if wanted.purchase_units:
            sale = await sell_in(uow, opened.account, purchase, at=at, operator=operator)
            opened = replace(opened, sale=sale)
        await note_opened(uow, opened, wanted, at=at, operator=operator)
        if opened.sale is not None:
            await note_sale(uow, opened.sale, opened.account, purchase, operator)
        if not dry_run:
            await uow.commit()
    return opened


async def open_in(
    uow: UnitOfWork,
    plugins: PluginManager,
    wanted: OpenAccount,
    *,
    at: datetime,
    operator: str,
) -> OpenedAccount:
    """Open an account inside the transaction of the caller, who adds :func:`note_opened` last."""
    site = await uow.sites.by_code(wanted.organisation_id, wanted.site)
    if site is None:
        raise UnknownThingError("site", f"no site {wanted.site!r}")
    await _check_number(uow, wanted)
    owner = await _customer(uow, wanted)
    parameters = await load_parameters(uow, site)
    account = await _account(uow, site, owner, wanted, parameters, at)
    await uow.accounts.add(account)
    bindings = []
    for new in wanted.bindings:
        binding = await bind_point(uow, plugins, site, account, new, at=at, operator=operator)
        bindings.append(binding)
    await _bring_in(uow, site, account, bindings, wanted.balance_units, at, operator)
    await reconsider_supply(uow, account, at)
    overload_kw = parameters.overload_kw if wanted.overload_kw is None else wanted.overload_kw
    await push_limits(uow, account, at, checked_overload(overload_kw))
    await tell_event(uow, account, site, AccountEventKind.OPENED, at)
    return OpenedAccount(account, owner, tuple(bindings))


async def note_opened(
    uow: UnitOfWork, opened: OpenedAccount, wanted: OpenAccount, *, at: datetime, operator: str
) -> None:
    """Write the audit entry of an opening; the last thing before the commit."""
    account = opened.account
    detail = {
        "site": wanted.site,
        "customer": opened.customer.number,
        "mode": str(account.mode),
        "tariff": account.tariff,
        "usage_points": ", ".join(new.usage_point for new in wanted.bindings),
        "brought_in_units": str(wanted.balance_units),
    }
    subject = f"account {account.number}"
    await record(uow, account.organisation_id, operator, "account.open", subject, detail, at)


def _purchase(account: Account, wanted: OpenAccount) -> VendRequest:
    return VendRequest(
        account.organisation_id,
        account.id,
        wanted.purchase_units,
        key_of("open", account.id),
        check_word(wanted.method, "method"),
    )


async def _check_number(uow: UnitOfWork, wanted: OpenAccount) -> None:
    number = checked_number(wanted.number, "number")
    if await uow.accounts.by_number(wanted.organisation_id, number) is not None:
        raise MoneyConflictError("number", f"{number!r} is taken")


async def _customer(uow: UnitOfWork, wanted: OpenAccount) -> Customer:
    if isinstance(wanted.customer, str):
        return await find_customer(uow, wanted.organisation_id, wanted.customer)
    return await add_customer(uow, wanted.organisation_id, wanted.customer)


async def _account(
    uow: UnitOfWork,
    site: Site,
    owner: Customer,
    wanted: OpenAccount,
    parameters: SiteParameters,
    at: datetime,
) -> Account:
    tariff = wanted.tariff or parameters.tariff
    if tariff:
        await find_tariff(uow, site, tariff, at)
    if wanted.balance_units < 0:
        raise MoneyInputError("balance", "is below zero: bring an old debt in as a debt plan")
    check_limits(wanted.limits)
    check_head_count(wanted.head_count)
    organisation = await uow.organisations.get(site.organisation_id)
    limits = wanted.limits
    return Account(
        id=AccountId(uuid_utils.compat.uuid7()),
        organisation_id=site.organisation_id,
        site_id=site.id,
        customer_id=owner.id,
        number=checked_number(wanted.number, "number"),
        mode=wanted.mode,
        currency=organisation.currency,
        opened_at=at,
        tariff=tariff,
        alarm_1_units=limits.alarm_1_units,
        alarm_2_units=limits.alarm_2_units,
        overdraft_units=_or_default(limits.overdraft_units, parameters.overdraft_units),
        emergency_units=_or_default(limits.emergency_units, parameters.emergency_units),
        hoard_units=limits.hoard_units,
        deduction_order=wanted.deduction_order,
        head_count=wanted.head_count,
    )


def _or_default(units: int | None, default_units: int) -> int:
    return default_units if units is None else units


def check_limits(limits: AccountLimits) -> None:
    """See that limits are not below zero, and the second alarm not above the first.

    Raises:
        MoneyInputError: one is.
    """
    for name in AccountLimits.__dataclass_fields__:
        units = getattr(limits, name)
        if units is not None and units < 0:
            raise MoneyInputError(name.removesuffix("_units"), "is below zero")
    first, second = limits.alarm_1_units, limits.alarm_2_units
    if first is not None and second is not None and second > first:
        raise MoneyInputError("alarm_2", "is above alarm_1, which comes first")


def check_head_count(heads: int | None) -> None:
    """See that a number of people can be.

    Raises:
        MoneyInputError: it is not from 0 to 10 000.
    """
    if heads is not None and not 0 <= heads <= 10_000:
        raise MoneyInputError("head_count", f"{heads}: expected 0 to 10000")


def checked_overload(overload_kw: Decimal | None) -> str:
    """Return a power limit as text; empty for None.

    Raises:
        MoneyInputError: it is not above 0, to 10 000 kW.
    """
    if overload_kw is None:
        return ""
    if not (overload_kw.is_finite() and 0 < overload_kw <= OVERLOAD_KW_MAX):
        raise MoneyInputError("overload_kw", f"{overload_kw}: expected above 0, to 10000 kW")
    return f"{overload_kw:f}"


async def bind_point(
    uow: UnitOfWork,
    plugins: PluginManager,
    site: Site,
    account: Account,
    new: NewBinding,
    *,
    at: datetime,
    operator: str,
) -> Binding:
    """Bind the meter of a usage point, which is nobody's, to an account.

    Raises:
        MoneyError: the usage point is unknown, has no meter or belongs to another account; the
            meter cannot be paid for like this; the tariff does not fit; a reading cannot be true.
    """
    point = await find_point(uow, site, new.usage_point, "usage_points")
    before = await open_binding_of(uow, point, "usage_points")
    if before.account_id is not None:
        whose = await uow.accounts.get(account.organisation_id, before.account_id)
        raise MoneyConflictError(
            "usage_points", f"{point.code!r} belongs to account {whose.number!r}"
        )
    meter = await uow.meters.get(account.organisation_id, before.meter_id)
    mode = new.mode or account.mode
    check_mode(plugins, meter, mode, "mode")
    await check_cleared(uow, meter, "usage_points")
    terms = Terms(mode, new.tariff, new.price_override, new.sole_seller)
    await check_terms(uow, plugins, site, account, meter, terms, at)
    counters = await counters_at(uow, meter, new.readings, at, operator=operator)
    if counters is None:
        raise MoneyInputError(
            "readings", f"meter {meter.serial} was never read: read it, or give what it shows"
        )
    binding = await begin_binding(uow, account, before, terms, counters, at)
    if mode.in_meter:
        await take_in_credit(uow, site, account, binding, meter, at=at, operator=operator)
    return binding


async def check_terms(
    uow: UnitOfWork,
    plugins: PluginManager,
    site: Site,
    account: Account,
    meter: Meter,
    terms: Terms,
    at: datetime,
) -> None:
    """See that there is a tariff for what a meter measures, and that it fits.

    Raises:
        MoneyError: there is none, it is for another utility, the override does not fit it, or the
            meter cannot hold it and should.
    """
    code = terms.tariff or account.tariff
    if not code:
        raise MoneyInputError("tariff", f"meter {meter.serial} needs one")
    tariff = await find_tariff(uow, site, code, at)
    model = plugins.models.get(meter.model)
    if model is not None:
        check_utility(tariff, model.utility, "tariff")
    version = tariff_from_text(tariff.document, plugins.tariff_components)
    try:
        own = tariff_of_meter(version, terms.price_override)
    except TariffError as error:
        told = "; ".join(str(fault) for fault in error.faults)
        raise MoneyInputError("price_override", told) from error
    if terms.mode.in_meter:
        check_meter_tariff(own)


async def _bring_in(
    uow: UnitOfWork,
    site: Site,
    account: Account,
    bindings: list[Binding],
    balance_units: int,
    at: datetime,
    operator: str,
) -> None:
    """Book credit that came along: to the account, or on its way into the only meter."""
    if balance_units == 0:
        return
    check_payable(balance_units, account.currency, "balance")
    if account.mode.in_meter:
        if len(bindings) != 1:
            raise MoneyInputError("balance", "goes into one meter: open with exactly one")
        await send_to_meter(
            uow, site, account, bindings[0], BROUGHT_IN, balance_units, at=at, operator=operator
        )
        return
    await check_hoard(uow, account, site, None, balance_units, "balance")
    await book(
        uow,
        site,
        EntryKind.OPENING,
        [Posting(BROUGHT_IN, customer(account.id), balance_units)],
        currency=account.currency,
        at=at,
        operator=operator,
        account=account,
        memo="brought along",
    )
