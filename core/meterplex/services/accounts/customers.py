"""Customers: made new, found, and changed."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.domain.accounts import Customer, CustomerId
from meterplex.domain.estate import OrganisationId
from meterplex.domain.operators import LANGUAGES
from meterplex.services.accounts.find_accounts import checked_name, checked_number
from meterplex.services.books.errors import (
    MoneyConflictError,
    MoneyInputError,
    UnknownThingError,
)
from meterplex.services.operators.audit import record

CONTACT_LENGTH_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class NewCustomer:
    """A customer as asked for; ``language`` empty takes the organisation's."""

    number: str
    name: str
    phone: str = ""
    email: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class CustomerChange:
    """What of a customer becomes another; None leaves it as it is."""

    name: str | None = None
    phone: str | None = None
    email: str | None = None
    language: str | None = None


async def find_customer(
    uow: UnitOfWork, organisation_id: OrganisationId, number: str, field: str = "customer"
) -> Customer:
    """Return the customer of a number.

    Raises:
        UnknownThingError: the organisation has none.
    """
    customer = await uow.customers.by_number(organisation_id, number)
    if customer is None:
        raise UnknownThingError(field, f"no customer {number!r}")
    return customer


async def add_customer(
    uow: UnitOfWork, organisation_id: OrganisationId, new: NewCustomer
) -> Customer:
    """Add a customer, in the caller's transaction.

    Raises:
        MoneyInputError: a field is malformed.
        MoneyConflictError: the number is taken.
    """
    customer = checked_customer(
        Customer(
            CustomerId(uuid_utils.compat.uuid7()),
            organisation_id,
            checked_number(new.number, "customer_number"),
            new.name,
            new.phone,
            new.email,
            new.language,
        )
    )
    if await uow.customers.by_number(organisation_id, customer.number) is not None:
        raise MoneyConflictError("customer_number", f"{customer.number!r} is taken")
    await uow.customers.add(customer)
    return customer


def checked_customer(customer: Customer) -> Customer:
    """Return a customer with clean texts.

    Raises:
        MoneyInputError: a field is malformed.
    """
    if customer.language and customer.language not in LANGUAGES:
        expected = " or ".join(LANGUAGES)
        raise MoneyInputError("language", f"{customer.language!r}: expected {expected}")
    return replace(
        customer,
        name=checked_name(customer.name, "customer_name"),
        phone=_contact(customer.phone, "phone"),
        email=_contact(customer.email, "email"),
    )


def _contact(text: str, field: str) -> str:
    clean = text.strip()
    if len(clean) > CONTACT_LENGTH_MAX:
        raise MoneyInputError(field, f"{len(clean)} characters, at most {CONTACT_LENGTH_MAX}")
    if not clean.isprintable():
        raise MoneyInputError(field, f"{clean!r} holds control characters")
    return clean


async def edit_customer(
    database: Database,
    organisation_id: OrganisationId,
    number: str,
    change: CustomerChange,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> Customer:
    """Change the name or contacts of a customer.

    Raises:
        UnknownThingError: there is no such customer.
        MoneyInputError: a field is malformed, or nothing is to change.
    """
    values = {
        name: text
        for name in CustomerChange.__dataclass_fields__
        if (text := getattr(change, name)) is not None
    }
    if not values:
        raise MoneyInputError("change", "nothing is to change")
    async with database.unit_of_work() as uow:
        customer = await find_customer(uow, organisation_id, number)
        changed = checked_customer(replace(customer, **values))
        await uow.customers.replace(changed)
        await record(
            uow,
            organisation_id,
            operator,
            "customer.edit",
            f"customer {customer.number}",
            values,
            at,
        )
        if not dry_run:
            await uow.commit()
    return changed
