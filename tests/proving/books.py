"""The invariants of money (prepayment-protocol section 9), as they are checked on a household.

====  =============================================================================================
I1    every step: kept balances equal their postings, and all sum to zero
I2    every step: no row of ledger or audit log is changed or gone
I3    every step: what the meter was sold lies between what is proven and what is open
I4    after recovery: where nothing is uncertain or in conflict, both are equal
I5    every step: no order is CONFIRMED but by evidence E1 or two people
I6    every step: at most one order of a binding is ARMED or UNCERTAIN
I7    every step: counts of confirmed orders rise, unless the meter was initialised
I8    every step: frames of one count are of one order, unless fenced; each says its order's amount
I9    at every frame, by the link: an ARMED row is durable, seen over another connection
I10   every step: what is VOIDED was never sent or is fenced, and none of its frames was taken
I11   every step: paid out is at most what was paid in less what was used of it
I12   every step: one reversal of an order at most; taken back is all that it had booked
I13   when asked again: the same key gives the same answer, and one order
I14   ``test_concurrent_vends``
I15   ``test_simulated_year``
I16   ``test_simulated_year``
I17   ``test_gate_machine``
I18   ``test_gate_machine``
I19   ``test_gate_machine``
I20   ``test_gate_machine``
I21   at each swap: what the old meter held and what is on its way is what it was; so are the sales
I22   every step: a CLOSED account has zero everywhere and nothing alive
I23   every step: no row of the other organisation has changed
I24   after recovery from every crash, and ``test_kills``: the same orders, settled
====  =============================================================================================
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.proving.hits import FENCES
from tests.proving.household import Household
from tests.proving.lossy_link import InvariantError

from meterplex.domain.accounts import AccountState
from meterplex.domain.prepayment import BLOCKING, FINAL, Direction, OrderKind, OrderState
from meterplex.domain.prepayment.credit_order import CreditOrder
from meterplex.services.books.book_entries import find_discrepancies

KEPT = ("ledger_entry", "ledger_posting", "audit_entry")
OF_TENANT = ("account", "binding", "credit_order", "ledger_account", "ledger_posting", "outbox")
PROOFS = {"E1", "decided"}


def change_of(order: CreditOrder) -> int:
    """By how much an order moves what its meter holds, in ledger units."""
    sign = 1 if order.direction is Direction.DELIVER else -1
    return sign * order.deliver_units


@dataclass
class Books:
    """Checks a household after each step; remembers what must not change."""

    home: Household
    seen: dict[str, dict[int, tuple[Any, ...]]] = field(default_factory=dict)
    neighbour: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)

    def check(self) -> None:
        orders = self.home.run(self._orders())
        self._check_rows()
        self._check_meter(orders)
        self._check_proofs(orders)
        self._check_counts(orders)
        self._check_frames(orders)
        self._check_cash()
        self._check_reversals(orders)
        self._check_closed(orders)
        self._note(orders)

    def check_settled(self) -> None:
        """Check what must hold once the link was good for long enough."""
        self.check()
        orders = self.home.run(self._orders())
        states = {order.state for order in orders if order.binding_id == self.home.binding_id}
        _hold(OrderState.ARMED not in states, "I24: an order is ARMED after recovery")
        installed = self.home.installed
        if BLOCKING.isdisjoint(states):
            proven = self._proven(orders)
            _hold(
                installed.bought == proven,
                f"I4: {proven} units booked, {installed.bought} in the meter",
            )
        waits = self.home.run(self.home.frozen())
        if self.home.world.count_checked and self.home.world.sole_seller and not waits:
            stuck = [
                order.state
                for order in orders
                if order.direction is Direction.DELIVER
                and (
                    order.state is OrderState.UNCERTAIN
                    or (order.state is OrderState.PAID and BLOCKING.isdisjoint(states))
                )
                and not order.held
            ]
            _hold(not stuck, f"I24: orders stay {stuck} on a good link")

    async def _orders(self) -> tuple[CreditOrder, ...]:
        orders = await self.home.orders()
        async with self.home.database.unit_of_work(read_only=True) as uow:
            found = await find_discrepancies(uow, self.home.organisation_id)
        _hold(found == (), f"I1: {found}")
        return orders

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.home.eye.execute(statement, values).fetchall()

    def _check_rows(self) -> None:
        for table in KEPT:
            rows = {row[0]: row[1:] for row in self._rows(f"SELECT rowid, * FROM {table}")}
            for number, row in self.seen.get(table, {}).items():
                _hold(rows.get(number) == row, f"I2: row {number} of {table} changed")
            self.seen[table] = rows
        other = self.home.neighbour.hex
        for table in OF_TENANT:
            found = self._rows(f"SELECT * FROM {table} WHERE organisation_id = ?", other)
            _hold(bool(found) or table == "binding", f"I23: {table} of the neighbour is empty")
            before = self.neighbour.setdefault(table, found)
            _hold(before == found, f"I23: {table} of another organisation changed")

    def _proven(self, orders: tuple[CreditOrder, ...]) -> int:
        return sum(
            change_of(order)
            for order in orders
            if order.state is OrderState.CONFIRMED and order.binding_id == self.home.binding_id
        )

    def _check_meter(self, orders: tuple[CreditOrder, ...]) -> None:
        ours = [order for order in orders if order.binding_id == self.home.binding_id]
        proven, bought = self._proven(orders), self.home.installed.bought
        live = [change_of(order) for order in ours if order.state not in FINAL]
        least = proven + sum(min(change, 0) for change in live)
        most = proven + sum(max(change, 0) for change in live)
        _hold(least <= bought <= most, f"I3: {bought} in the meter, booked are {least} to {most}")
        flying = {OrderState.ARMED, OrderState.UNCERTAIN}
        count = sum(order.state in flying for order in ours)
        _hold(count <= 1, f"I6: {count} orders are in flight")

    def _check_proofs(self, orders: tuple[CreditOrder, ...]) -> None:
        moved = dict(
            self._rows(
                "SELECT order_id, count(*) FROM ledger_entry "
                "WHERE kind IN ('delivery', 'withdrawal') GROUP BY order_id"
            )
        )
        for order in orders:
            travels = order.deliver_units > 0 and order.kind is not OrderKind.REVERSAL
            confirmed = order.state is OrderState.CONFIRMED
            times = moved.get(order.id.hex, 0)
            _hold(times == int(confirmed and travels), f"order {order.id} was booked {times} times")
            if confirmed and order.deliver_units > 0:
                ((code, by),) = self._rows(
                    "SELECT code, done_by FROM credit_order_step WHERE order_id = ? "
                    "ORDER BY number DESC LIMIT 1",
                    order.id.hex,
                )
                people = by != "delivery"
                _hold(code in PROOFS or people, f"I5: confirmed by {code}")

    def _check_counts(self, orders: tuple[CreditOrder, ...]) -> None:
        armed = [
            (order.arming.armed_at, order.arming.count)
            for order in orders
            if order.state is OrderState.CONFIRMED
            and order.arming is not None
            and order.binding_id == self.home.binding_id
        ]
        since = max(self.home.initialised_at, default=None)
        counts = [count for at, count in sorted(armed) if since is None or at > since]
        _hold(counts == sorted(set(counts)), f"I7: confirmed counts are {counts}")

    def _check_frames(self, orders: tuple[CreditOrder, ...]) -> None:
        by_id = {str(order.id): order for order in orders}
        frames = [frame for frame in self.home.installed.link.sent if not frame.dead]
        of_count: dict[int, set[str]] = {}
        for frame in frames:
            of_count.setdefault(frame.count, set()).add(frame.order)
        for count, named in of_count.items():
            bare = [name for name in named if not self._was_fenced(name)]
            _hold(len(bare) <= 1, f"I8: count {count} was sent for {bare}")
        taken = Counter[str]()
        for frame in self.home.installed.link.sent:
            taken[frame.order] += frame.taken
        for name, order in by_id.items():
            if order.state is OrderState.VOIDED:
                fenced = not order.ever_sent or bool(order.fence) or self._was_fenced(name)
                _hold(fenced, f"I10: order {name} was sent, and voided without a fence")
                _hold(taken[name] == 0, f"I10: a frame of voided order {name} was taken")

    def _was_fenced(self, name: str) -> bool:
        """Whether a fence ever stood between the order and frames that it had sent."""
        key = UUID(name).hex
        rows = self._rows(
            "SELECT 1 FROM credit_order_step WHERE order_id = ? AND code LIKE 'F_' "
            "UNION SELECT 1 FROM credit_order WHERE id = ? AND fence <> ''",
            key,
            key,
        )
        return bool(rows)

    def _sum(self, kinds: tuple[str, ...], *, direction: str) -> int:
        """Sum what went out of CASH (debit) or into it (credit) by entries of some kinds."""
        marks = ", ".join("?" for _ in kinds)
        ((units,),) = self._rows(
            f"SELECT coalesce(sum(amount_units), 0) FROM ledger_posting p "
            f"JOIN ledger_entry e ON e.id = p.entry_id "
            f"JOIN ledger_account a ON a.id = p.{direction}_id "
            f"WHERE a.kind = 'cash' AND e.organisation_id = ? AND e.kind IN ({marks})",
            self.home.organisation_id.hex,
            *kinds,
        )
        assert isinstance(units, int)
        return units

    def _check_cash(self) -> None:
        paid = self._sum(("payment",), direction="debit")
        taken_back = self._sum(("reversal",), direction="credit")
        paid_out = self._sum(("payout",), direction="credit")
        meters = [self.home.installed, *self.home.former]
        given = sum(each.foreign + each.found_units for each in meters)
        used = max(0, self.home.used_units - given)
        owed = self._owed()
        _hold(
            paid_out <= paid - taken_back - used + owed,
            f"I11: {paid_out} paid out, {paid} paid in, {taken_back} taken back, {used} used, "
            f"{owed} owed",
        )

    def _owed(self) -> int:
        ((units,),) = self._rows(
            "SELECT coalesce(-sum(balance_units), 0) FROM ledger_account "
            "WHERE kind = 'receivable' AND organisation_id = ?",
            self.home.organisation_id.hex,
        )
        assert isinstance(units, int)
        return units

    def _check_reversals(self, orders: tuple[CreditOrder, ...]) -> None:
        reversals = [
            order
            for order in orders
            if order.kind is OrderKind.REVERSAL and order.state is not OrderState.VOIDED
        ]
        undone = [order.reverses_id for order in reversals]
        _hold(len(undone) == len(set(undone)), "I12: an order was reversed twice")
        for order in reversals:
            if order.state is not OrderState.CONFIRMED or order.reverses_id is None:
                continue
            rows = self._rows(
                "SELECT e.id, r.id FROM ledger_entry e LEFT JOIN ledger_entry r "
                "ON r.reverses_id = e.id WHERE e.order_id = ? AND e.reverses_id IS NULL",
                order.reverses_id.hex,
            )
            _hold(all(each for _, each in rows), "I12: a reversed order is not all taken back")

    def _check_closed(self, orders: tuple[CreditOrder, ...]) -> None:
        account = self.home.run(self.home.account())
        if account.state is not AccountState.CLOSED:
            return
        self.home.hits.add("closed")
        _hold(all(order.state in FINAL for order in orders), "I22: an order lives on")
        left = self._rows(
            "SELECT kind, subject, balance_units FROM ledger_account "
            "WHERE (subject LIKE ? OR subject LIKE ?) AND balance_units <> 0",
            f"{account.id}%",
            f"{self.home.binding_id}%",
        )
        _hold(left == [], f"I22: {left} are left")

    def _note(self, orders: tuple[CreditOrder, ...]) -> None:
        """Count what was come upon since the last look."""
        hits = self.home.hits
        steps = self._rows("SELECT rowid, state, code FROM credit_order_step")
        known = self.seen.setdefault("steps", {})
        for number, state, code in steps:
            if number not in known:
                known[number] = (state, code)
                hits.add(state)
                if code in FENCES:
                    hits.add(code)
        for order in orders:
            fenced = self.seen.setdefault("fences", {})
            if order.fence and fenced.get(order.id.int) != (order.fence,):
                fenced[order.id.int] = (order.fence,)
                hits.add(order.fence)
            if order.kind is not OrderKind.VEND and order.state is OrderState.CONFIRMED:
                hits.add(f"{order.kind} confirmed")


def _hold(fact: bool, otherwise: str) -> None:
    if not fact:
        raise InvariantError(otherwise)
