"""Repository of credit orders: every move is a compare-and-set, and leaves a step."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from meterplex.db import money_tables as tables
from meterplex.db import tables as db_tables
from meterplex.db.errors import IllegalMoveError
from meterplex.db.identified import IdentifiedRepository, columns_of
from meterplex.domain.estate import AccountId, BindingId, MeterId, OrganisationId, SiteId
from meterplex.domain.prepayment.arming import Arming
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep
from meterplex.domain.prepayment.orders import BLOCKING, LIVE, MOVES, OrderId, OrderKind, OrderState
from meterplex.domain.prepayment.wallet import PurchaseRecord, Wallet

_LOOKED_AT: Final = (OrderState.PAID, OrderState.UNCERTAIN)
"""States that a delivery does something about."""


class Orders(IdentifiedRepository[CreditOrder]):
    """The orders; lists come oldest first.

    ``add`` raises ``ConflictError`` for an idempotency key that is taken, and for a second order
    that reverses the same vend.
    """

    table = tables.credit_order
    order = "created_at"

    def _from_row(self, row: sa.RowMapping) -> CreditOrder:
        return _order(row)

    def _to_row(self, thing: CreditOrder) -> dict[str, Any]:
        return _row(thing)

    async def place(self, order: CreditOrder, step: OrderStep) -> None:
        """Add an order with its first step.

        Raises:
            ConflictError: its idempotency key is taken, or what it reverses is reversed already.
        """
        await self.add(order)
        await self._add_step(order, replace(step, number=1))

    async def by_key(self, organisation_id: OrganisationId, key: str) -> CreditOrder | None:
        """Return the order of an idempotency key."""
        return await self._find(organisation_id, tables.credit_order.c.idempotency_key == key)

    async def of_account(
        self,
        organisation_id: OrganisationId,
        account_id: AccountId,
        states: Collection[OrderState] = frozenset(OrderState),
    ) -> tuple[CreditOrder, ...]:
        """Return the orders of an account that are in some states."""
        columns = tables.credit_order.c
        return await self._select(
            organisation_id, columns.account_id == account_id, columns.state.in_(sorted(states))
        )

    async def open_of_binding(
        self, organisation_id: OrganisationId, binding_id: BindingId
    ) -> tuple[CreditOrder, ...]:
        """Return the orders of a binding that are not settled."""
        columns = tables.credit_order.c
        return await self._select(
            organisation_id, columns.binding_id == binding_id, columns.state.in_(sorted(LIVE))
        )

    async def of_binding(
        self, organisation_id: OrganisationId, binding_id: BindingId
    ) -> tuple[CreditOrder, ...]:
        """Return all orders of a binding."""
        return await self._select(organisation_id, tables.credit_order.c.binding_id == binding_id)

    async def between(
        self,
        organisation_id: OrganisationId,
        site_id: SiteId | None,
        start: datetime,
        end: datetime,
    ) -> tuple[CreditOrder, ...]:
        """Return the orders made in ``[start, end)`` at a site, or at all."""
        columns = tables.credit_order.c
        where = [columns.created_at >= start, columns.created_at < end]
        where += [] if site_id is None else [columns.site_id == site_id]
        return await self._select(organisation_id, *where)

    async def reversal_of(
        self, organisation_id: OrganisationId, order_id: OrderId
    ) -> CreditOrder | None:
        """Return the order that takes a vend back, unless it was voided."""
        columns = tables.credit_order.c
        return await self._find(
            organisation_id, columns.reverses_id == order_id, columns.state != OrderState.VOIDED
        )

    async def in_states(self, states: Collection[OrderState]) -> tuple[CreditOrder, ...]:
        """Return the orders of all organisations that go through meters and are in some states."""
        columns = tables.credit_order.c
        return await self._in_all(columns.state.in_(sorted(states)))

    async def due(self, now: datetime) -> tuple[CreditOrder, ...]:
        """Return the orders of all organisations whose delivery is to look at them now.

        What waits behind another order of its binding is left out, and so are vends to a frozen
        binding.
        """
        columns = tables.credit_order.c
        waits = sa.and_(
            columns.state == OrderState.PAID, sa.or_(_is_behind_another(), _is_frozen())
        )
        return await self._in_all(columns.state.in_(_LOOKED_AT), columns.due_at <= now, ~waits)

    async def wake(
        self, meters: Collection[tuple[OrganisationId, MeterId]] | None, now: datetime
    ) -> None:
        """Make what waits on some meters, or on all, due now."""
        columns, binding = tables.credit_order.c, db_tables.binding.c
        where = [columns.state.in_(_LOOKED_AT), columns.due_at > now]
        if meters is not None:
            of_meters = sa.select(binding.organisation_id, binding.id).where(
                sa.tuple_(binding.organisation_id, binding.meter_id).in_(list(meters))
            )
            where.append(sa.tuple_(columns.organisation_id, columns.binding_id).in_(of_meters))
        await self._execute(sa.update(tables.credit_order).where(*where).values(due_at=now))

    async def move(self, order: CreditOrder, moved: CreditOrder, step: OrderStep) -> bool:
        """Write a changed order, if it is still as it was; of several callers one wins.

        Args:
            order: as it was read; its state, count and attempt are compared.
            moved: what it becomes, in the same state or one that it may go to.
            step: what happened; it gets the next number.

        Raises:
            IllegalMoveError: no order may go this way.
            ConflictError: another order of the binding is on its way, or it was reversed already.
        """
        if moved.state is not order.state and moved.state not in MOVES[order.state]:
            raise IllegalMoveError(f"an order cannot go from {order.state} to {moved.state}")
        columns, was = tables.credit_order.c, _row(order)
        result = await self._execute(
            sa.update(tables.credit_order)
            .where(
                self._is(order.organisation_id, order.id),
                columns.state == order.state,
                columns.attempt == was["attempt"],
                columns.count.is_not_distinct_from(was["count"]),
            )
            .values(_row(moved))
        )
        if result.rowcount == 0:
            return False
        last = await self._row(
            sa.select(sa.func.max(tables.credit_order_step.c.number).label("number")).where(
                *self._steps_of(order)
            )
        )
        await self._add_step(order, replace(step, number=1 + ((last and last["number"]) or 0)))
        return True

    async def steps(
        self, organisation_id: OrganisationId, order_id: OrderId
    ) -> tuple[OrderStep, ...]:
        """Return all that happened to an order, in order."""
        columns = tables.credit_order_step.c
        rows = await self._rows(
            sa.select(tables.credit_order_step)
            .where(columns.organisation_id == organisation_id, columns.order_id == order_id)
            .order_by(columns.number)
        )
        return tuple(
            OrderStep(**{name: row[name] for name in OrderStep.__dataclass_fields__})
            for row in rows
        )

    def _steps_of(self, order: CreditOrder) -> tuple[sa.ColumnElement[bool], ...]:
        columns = tables.credit_order_step.c
        return (
            columns.organisation_id == order.organisation_id,
            columns.order_id == order.id,
        )

    async def _add_step(self, order: CreditOrder, step: OrderStep) -> None:
        key = {"organisation_id": order.organisation_id, "order_id": order.id}
        row = columns_of(step) | {"detail": dict(step.detail)}
        await self._insert(tables.credit_order_step, [key | row])

    async def _in_all(self, *where: sa.ColumnElement[bool]) -> tuple[CreditOrder, ...]:
        columns = tables.credit_order.c
        rows = await self._rows(
            sa.select(tables.credit_order)
            .where(columns.binding_id.is_not(None), *where)
            .order_by(columns.created_at, columns.id)
        )
        return tuple(_order(row) for row in rows)


def _is_behind_another() -> sa.ColumnElement[bool]:
    """An order of the same binding is on its way, or frozen."""
    this, other = tables.credit_order.c, tables.credit_order.alias("other")
    return sa.exists().where(
        other.c.organisation_id == this.organisation_id,
        other.c.binding_id == this.binding_id,
        other.c.id != this.id,
        other.c.state.in_(sorted(BLOCKING)),
    )


def _is_frozen() -> sa.ColumnElement[bool]:
    """A vend to a binding that takes none now."""
    this, binding = tables.credit_order.c, db_tables.binding.c
    return sa.and_(
        this.kind == OrderKind.VEND,
        sa.exists().where(
            binding.organisation_id == this.organisation_id,
            binding.id == this.binding_id,
            binding.frozen,
        ),
    )


def _row(order: CreditOrder) -> dict[str, Any]:
    row = columns_of(order)
    arming = order.arming
    return row | {
        "arming": None if arming is None else _arming_document(arming),
        "count": None if arming is None else arming.count,
        "attempt": 0 if arming is None else arming.attempt,
        "armed_at": None if arming is None else arming.armed_at,
    }


def _order(row: sa.RowMapping) -> CreditOrder:
    values = {name: row[name] for name in CreditOrder.__dataclass_fields__}
    return CreditOrder(**values | {"arming": None if row["arming"] is None else _arming(row)})


def _arming_document(arming: Arming) -> dict[str, Any]:
    return {
        "baseline": wallet_document(arming.baseline),
        "mark": arming.mark,
        "frame_hash": arming.frame_hash,
    }


def _arming(row: sa.RowMapping) -> Arming:
    document = row["arming"]
    return Arming(
        order_id=row["id"],
        direction=row["direction"],
        count=row["count"],
        amount_units=row["deliver_units"],
        baseline=_wallet(document["baseline"]),
        armed_at=row["armed_at"],
        attempt=row["attempt"],
        mark=document["mark"],
    )


def wallet_document(wallet: Wallet) -> dict[str, Any]:
    """Return a wallet as it is kept with an order and its steps."""
    records = wallet.records
    return columns_of(wallet) | {
        "records": None
        if records is None
        else [
            columns_of(each) | {"at": None if each.at is None else each.at.isoformat()}
            for each in records
        ]
    }


def _wallet(document: Mapping[str, Any]) -> Wallet:
    records = document["records"]
    if records is not None:
        records = tuple(
            PurchaseRecord(
                each["count"],
                each["amount_units"],
                None if each["at"] is None else datetime.fromisoformat(each["at"]),
                each["mark"],
            )
            for each in records
        )
    return Wallet(**{**document, "records": records})
