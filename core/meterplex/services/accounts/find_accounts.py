"""Accounts by name, held, and in a state for what is to be done with them."""

from collections.abc import Collection
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from meterplex.db import UnitOfWork
from meterplex.db.errors import NotFoundError
from meterplex.db.tariff_versions import PublishedTariff
from meterplex.domain.accounts import Account, AccountState
from meterplex.domain.estate import AccountId, Binding, OrganisationId, Site, UsagePoint
from meterplex.domain.registers import Utility
from meterplex.services.books.errors import (
    AccountClosedError,
    AccountStateError,
    MoneyInputError,
    UnknownAccountError,
    UnknownTariffError,
    UnknownThingError,
)

NAME_LENGTH_MAX: Final = 200
NUMBER_LENGTH_MAX: Final = 64


async def find_account(
    uow: UnitOfWork, organisation_id: OrganisationId, number: str, field: str = "account"
) -> Account:
    """Return the account of a number.

    Raises:
        UnknownAccountError: the organisation has none.
    """
    account = await uow.accounts.by_number(organisation_id, number)
    if account is None:
        raise UnknownAccountError(field, f"no account {number!r}")
    return account


async def hold_account(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    account_id: AccountId,
    allowed: Collection[AccountState],
    field: str = "account",
) -> Account:
    """Return an account, held until the transaction ends, if it is in an allowed state.

    Raises:
        UnknownAccountError: the organisation has none of this identifier.
        AccountClosedError: it is closed or being closed, which is not allowed.
        AccountStateError: it is in another state that is not allowed.
    """
    try:
        account = await uow.accounts.lock(organisation_id, account_id)
    except NotFoundError as error:
        raise UnknownAccountError(field, str(error)) from error
    check_state(account, allowed, field)
    return account


def check_state(account: Account, allowed: Collection[AccountState], field: str) -> None:
    """See that an account is in one of some states.

    Raises:
        AccountClosedError, AccountStateError: it is not.
    """
    if account.state in allowed:
        return
    reason = f"{account.number} is {account.state}, expected {' or '.join(sorted(allowed))}"
    if account.state in {AccountState.CLOSING, AccountState.CLOSED}:
        raise AccountClosedError(field, reason)
    raise AccountStateError(field, reason)


async def open_bindings(uow: UnitOfWork, account: Account) -> tuple[Binding, ...]:
    """Return the bindings of an account that have not ended, in the order they began."""
    bindings = await uow.bindings.of_account(account.organisation_id, account.id)
    return tuple(binding for binding in bindings if binding.until is None)


async def find_point(uow: UnitOfWork, site: Site, code: str, field: str) -> UsagePoint:
    """Return the usage point of a code.

    Raises:
        UnknownThingError: the site has none.
    """
    point = await uow.usage_points.by_code(site.organisation_id, site.id, code)
    if point is None:
        raise UnknownThingError(field, f"no usage point {code!r} at site {site.code!r}")
    return point


async def find_tariff(
    uow: UnitOfWork, site: Site, code: str, at: datetime, field: str = "tariff"
) -> PublishedTariff:
    """Return the version of a tariff that is in force on the site's local day.

    Raises:
        UnknownTariffError: none of the code is published, or none is in force yet.
    """
    versions = await uow.tariff_versions.of_code(site.organisation_id, code)
    if not versions:
        raise UnknownTariffError(field, f"no tariff {code!r} is published")
    day = at.astimezone(ZoneInfo(site.time_zone)).date()
    in_force = [version for version in versions if version.valid_from <= day]
    if not in_force:
        first = versions[0].valid_from
        raise UnknownTariffError(field, f"tariff {code!r} is in force from {first} on only")
    return in_force[-1]


def check_utility(tariff: PublishedTariff, utility: Utility, field: str) -> None:
    """See that a tariff is for what a usage point measures.

    Raises:
        MoneyInputError: it is for another utility.
    """
    if tariff.utility != utility:
        raise MoneyInputError(
            field, f"tariff {tariff.code!r} is for {tariff.utility}, expected one for {utility}"
        )


def checked_number(text: str, field: str) -> str:
    """Return the number of an account or customer: short, printable, without blanks around.

    Raises:
        MoneyInputError: it is empty, too long or holds control characters.
    """
    return _checked(text, field, NUMBER_LENGTH_MAX)


def checked_name(text: str, field: str) -> str:
    """Return a name, as :func:`checked_number` does, but longer.

    Raises:
        MoneyInputError: it is empty, too long or holds control characters.
    """
    return _checked(text, field, NAME_LENGTH_MAX)


def _checked(text: str, field: str, length_max: int) -> str:
    clean = text.strip()
    if not clean:
        raise MoneyInputError(field, "is empty")
    if len(clean) > length_max:
        raise MoneyInputError(field, f"{len(clean)} characters, expected at most {length_max}")
    if not clean.isprintable():
        raise MoneyInputError(field, f"{clean!r} holds control characters")
    return clean
