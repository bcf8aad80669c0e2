"""Repositories of customers, accounts, and what a binding began and ended with."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from meterplex.db import money_tables as tables
from meterplex.db.errors import NotFoundError
from meterplex.db.identified import IdentifiedRepository, columns_of
from meterplex.db.registers import Registers
from meterplex.db.repository import Repository
from meterplex.domain.accounts import (
    Account,
    AccountState,
    Customer,
    CustomerId,
    format_deduction_order,
    parse_deduction_order,
)
from meterplex.domain.estate import AccountId, BindingId, OrganisationId, SiteId
from meterplex.domain.registers import RegisterType


class Customers(IdentifiedRepository[Customer]):
    """Who has accounts; lists come in the order of their numbers."""

    table = tables.customer
    kind = Customer
    order = "number"

    async def by_number(self, organisation_id: OrganisationId, number: str) -> Customer | None:
        """Return the customer of this number."""
        return await self._find(organisation_id, tables.customer.c.number == number)


class Accounts(IdentifiedRepository[Account]):
    """The wallets; lists come in the order of their numbers."""

    table = tables.account
    order = "number"

    def _from_row(self, row: sa.RowMapping) -> Account:
        return Account(**{**row, "deduction_order": parse_deduction_order(row["deduction_order"])})

    def _to_row(self, thing: Account) -> dict[str, Any]:
        return columns_of(thing) | {
            "deduction_order": format_deduction_order(thing.deduction_order)
        }

    async def by_number(self, organisation_id: OrganisationId, number: str) -> Account | None:
        """Return the account of this number."""
        return await self._find(organisation_id, tables.account.c.number == number)

    async def in_site(
        self, organisation_id: OrganisationId, site_id: SiteId
    ) -> tuple[Account, ...]:
        """Return all of a site."""
        return await self._select(organisation_id, tables.account.c.site_id == site_id)

    async def of_customer(
        self, organisation_id: OrganisationId, customer_id: CustomerId
    ) -> tuple[Account, ...]:
        """Return all of a customer."""
        return await self._select(organisation_id, tables.account.c.customer_id == customer_id)

    async def in_states(
        self, organisation_id: OrganisationId, states: Iterable[AccountState]
    ) -> tuple[Account, ...]:
        """Return all in some states (F95)."""
        return await self._select(organisation_id, tables.account.c.state.in_(sorted(states)))

    async def lock(self, organisation_id: OrganisationId, account_id: AccountId) -> Account:
        """Return one, held until the transaction ends: what moves its money happens in turn.

        Raises:
            NotFoundError: the organisation has none of this identifier.
        """
        row = await self._row(
            sa.select(tables.account)
            .where(self._is(organisation_id, account_id))
            .with_for_update(key_share=True)
        )
        if row is None:
            raise NotFoundError(f"no account {account_id} in this organisation")
        return self._from_row(row)

    async def lock_all(
        self, organisation_id: OrganisationId, account_ids: Collection[AccountId]
    ) -> tuple[Account, ...]:
        """Return several in the order of their identifiers, held until the transaction ends.

        All who hold more than one take them in this order, so that none waits for another.
        """
        columns = tables.account.c
        rows = await self._records(
            sa.select(tables.account)
            .where(columns.organisation_id == organisation_id, self._among(columns.id, account_ids))
            .order_by(columns.id)
            .with_for_update(key_share=True)
        )
        orders = {row["deduction_order"] for row in rows}
        known = {order: parse_deduction_order(order) for order in orders}
        for row in rows:
            row["deduction_order"] = known[row["deduction_order"]]
        return tuple(Account(**row) for row in rows)


@dataclass(frozen=True, slots=True)
class BindingOpening:
    """A register at the start and the end of a binding, as the meter showed it."""

    organisation_id: OrganisationId
    binding_id: BindingId
    register: RegisterType
    opening_value: Decimal
    closing_value: Decimal | None = None


class BindingOpenings(Repository):
    """The registers that bindings began and ended with."""

    async def add_all(self, openings: Iterable[BindingOpening]) -> None:
        """Add what bindings begin with.

        Raises:
            ConflictError: a binding has an opening of the register already.
        """
        added = tuple(openings)
        ids = await Registers(self._connection).ensure(each.register for each in added)
        rows = [_opening_row(each, ids[each.register.slug]) for each in added]
        await self._insert(tables.binding_opening, rows)

    async def of_binding(
        self, organisation_id: OrganisationId, binding_id: BindingId
    ) -> Mapping[str, BindingOpening]:
        """Return the openings of a binding by the slug of their register."""
        registers = await Registers(self._connection).all()
        columns = tables.binding_opening.c
        rows = await self._rows(
            sa.select(tables.binding_opening).where(
                columns.organisation_id == organisation_id, columns.binding_id == binding_id
            )
        )
        found = [
            BindingOpening(
                organisation_id,
                binding_id,
                registers[row["register_id"]],
                row["opening_value"],
                row["closing_value"],
            )
            for row in rows
        ]
        return {opening.register.slug: opening for opening in found}

    async def close(self, opening: BindingOpening) -> None:
        """Write the closing value of an opening that is there.

        Raises:
            NotFoundError: the binding has no opening of the register.
        """
        slug = opening.register.slug
        register_id = (await Registers(self._connection).ensure([opening.register]))[slug]
        columns = tables.binding_opening.c
        result = await self._execute(
            sa.update(tables.binding_opening)
            .where(
                columns.organisation_id == opening.organisation_id,
                columns.binding_id == opening.binding_id,
                columns.register_id == register_id,
            )
            .values(closing_value=opening.closing_value)
        )
        if result.rowcount == 0:
            raise NotFoundError(f"binding {opening.binding_id}: no {opening.register.slug}")


def _opening_row(opening: BindingOpening, register_id: int) -> dict[str, Any]:
    return {
        "organisation_id": opening.organisation_id,
        "binding_id": opening.binding_id,
        "register_id": register_id,
        "opening_value": opening.opening_value,
        "closing_value": opening.closing_value,
    }


@dataclass(frozen=True, slots=True)
class WalletRow:
    """The credit in the meter of a binding as it was read, or settled, last; ledger units."""

    organisation_id: OrganisationId
    binding_id: BindingId
    purchase_count: int
    total_purchased_units: int | None
    remaining_units: int
    read_at: datetime


class Wallets(Repository):
    """The credit in meters, one row a binding."""

    async def find(
        self, organisation_id: OrganisationId, binding_id: BindingId
    ) -> WalletRow | None:
        """Return the wallet of a binding; None when it was never read."""
        columns = tables.wallet.c
        row = await self._row(
            sa.select(tables.wallet)
            .where(columns.organisation_id == organisation_id, columns.binding_id == binding_id)
            .with_for_update()
        )
        return None if row is None else WalletRow(**row)

    async def put(self, wallet: WalletRow) -> None:
        """Write the wallet of a binding."""
        row = columns_of(wallet)
        columns = tables.wallet.c
        result = await self._execute(
            sa.update(tables.wallet)
            .where(
                columns.organisation_id == wallet.organisation_id,
                columns.binding_id == wallet.binding_id,
            )
            .values(row)
        )
        if result.rowcount == 0:
            await self._insert(tables.wallet, [row])
