"""Repository of the ledger: entries are only ever added, balances move with them."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat
from sqlalchemy.dialects import postgresql

from meterplex.db import money_tables as tables
from meterplex.db.bulk_rows import BulkRows
from meterplex.db.errors import NotFoundError
from meterplex.db.repository import Repository
from meterplex.domain.estate import AccountId, OrganisationId
from meterplex.domain.ledger import (
    Entry,
    EntryId,
    EntryKind,
    LedgerAccount,
    LedgerKind,
    Posting,
    changes,
    open_period,
)

Balances = Mapping[LedgerAccount, int]

_ENTRY: Final = tuple(name for name in Entry.__dataclass_fields__ if name != "postings")
_of_entry: Final = attrgetter(*_ENTRY)
_ENTRIES: Final = BulkRows.adding(tables.ledger_entry, *_ENTRY)
_POSTINGS: Final = BulkRows.adding(
    tables.ledger_posting,
    "organisation_id",
    "entry_id",
    "position",
    "debit_id",
    "credit_id",
    "currency",
    "amount_units",
)


@dataclass(frozen=True, slots=True)
class ClosedPeriod:
    """A month that takes no entry any more, with the balances it was closed with."""

    period: date
    closed_at: datetime
    closed_by: str
    trial_balance: Mapping[str, int]


class Ledger(Repository):
    """The ledger of all organisations; amounts are ledger units."""

    async def lock(
        self, organisation_id: OrganisationId, currency: str, accounts: Collection[LedgerAccount]
    ) -> Balances:
        """Hold ledger accounts until the transaction ends, and return their balances.

        Always in the same order, so that two transactions never wait for each other. Accounts
        that do not exist yet are made.
        """
        ids = await self._hold(organisation_id, currency, accounts)
        return {account: balance for account, (_, balance) in ids.items()}

    async def add(self, entry: Entry) -> None:
        """Add an entry; see :meth:`add_all`."""
        await self.add_all([entry])

    async def add_all(
        self, entries: Sequence[Entry], *, first: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Add entries and move the balances of their accounts.

        Args:
            first: writes what refers to the entries, before balances are held: others who book to
                the same accounts wait from then on.

        Raises:
            ConflictError: one reverses an entry that is reversed already, or an account that may
                not fall below zero would.
            AppendOnlyError: one belongs to a closed period.
        """
        groups: dict[tuple[OrganisationId, str], list[Entry]] = defaultdict(list)
        for entry in entries:
            groups[entry.organisation_id, entry.currency].append(entry)
        for (organisation_id, currency), group in groups.items():
            await self._write(organisation_id, currency, group)
        if first is not None:
            await first()
        for (organisation_id, currency), group in groups.items():
            moved = changes(posting for entry in group for posting in entry.postings)
            held = await self._hold(organisation_id, currency, moved)
            by_id = {held[account][0]: change for account, change in moved.items()}
            await self._move_balances(organisation_id, by_id)

    async def _write(
        self, organisation_id: OrganisationId, currency: str, entries: Sequence[Entry]
    ) -> None:
        named = {
            account
            for entry in entries
            for posting in entry.postings
            for account in (posting.debit, posting.credit)
        }
        known = await self._identify(organisation_id, currency, named)
        await self._write_bulk(_ENTRIES, [_of_entry(entry) for entry in entries])
        await self._write_bulk(
            _POSTINGS,
            [
                (
                    organisation_id,
                    entry.id,
                    position,
                    known[posting.debit][0],
                    known[posting.credit][0],
                    currency,
                    posting.amount_units,
                )
                for entry in entries
                for position, posting in enumerate(entry.postings)
            ],
        )

    async def _move_balances(
        self, organisation_id: OrganisationId, moved: Mapping[UUID, int]
    ) -> None:
        """Add to balances that are held."""
        if not moved:
            return
        columns = tables.ledger_account.c
        update = sa.update(tables.ledger_account).where(columns.organisation_id == organisation_id)
        if self._postgresql:
            given = (
                sa.func.unnest(
                    sa.cast(list(moved), postgresql.ARRAY(sa.Uuid)),
                    sa.cast(list(moved.values()), postgresql.ARRAY(sa.BigInteger)),
                )
                .table_valued(
                    sa.column("account", sa.Uuid), sa.column("change", sa.BigInteger), name="given"
                )
                .render_derived()
            )
            await self._execute(
                update.where(columns.id == given.c.account).values(
                    balance_units=columns.balance_units + given.c.change
                )
            )
            return
        change = sa.bindparam("change", type_=sa.BigInteger)
        await self._execute(
            update.where(columns.id == sa.bindparam("account", type_=sa.Uuid)).values(
                balance_units=columns.balance_units + change
            ),
            [{"account": account, "change": change} for account, change in moved.items()],
        )

    async def _hold(
        self, organisation_id: OrganisationId, currency: str, accounts: Collection[LedgerAccount]
    ) -> dict[LedgerAccount, tuple[UUID, int]]:
        found = await self._find(organisation_id, currency, accounts, hold=True)
        if len(found) < len(accounts):
            await self._identify(organisation_id, currency, accounts)
            found = await self._find(organisation_id, currency, accounts, hold=True)
        return found

    async def _identify(
        self, organisation_id: OrganisationId, currency: str, accounts: Collection[LedgerAccount]
    ) -> dict[LedgerAccount, tuple[UUID, int]]:
        """Return ledger accounts, made where there are none; nobody holds them."""
        found = await self._find(organisation_id, currency, accounts)
        missing = sorted(set(accounts) - found.keys())
        if missing:
            await self._execute(
                self._insert_new(tables.ledger_account),
                [
                    {
                        "organisation_id": organisation_id,
                        "id": uuid_utils.compat.uuid7(),
                        "kind": account.kind,
                        "subject": account.subject,
                        "currency": currency,
                        "balance_units": 0,
                    }
                    for account in missing
                ],
            )
            found = await self._find(organisation_id, currency, accounts)
        return found

    async def _find(
        self,
        organisation_id: OrganisationId,
        currency: str,
        accounts: Collection[LedgerAccount],
        *,
        hold: bool = False,
    ) -> dict[LedgerAccount, tuple[UUID, int]]:
        columns = tables.ledger_account.c
        by_kind: dict[LedgerKind, list[str]] = defaultdict(list)
        for account in accounts:
            by_kind[account.kind].append(account.subject)
        if not by_kind:
            return {}
        query = (
            sa.select(columns.kind, columns.subject, columns.id, columns.balance_units)
            .where(
                columns.organisation_id == organisation_id,
                columns.currency == currency,
                sa.or_(
                    *(
                        sa.and_(columns.kind == kind, self._among(columns.subject, subjects))
                        for kind, subjects in by_kind.items()
                    )
                ),
            )
            .order_by(columns.kind, columns.subject)
        )
        result = await self._execute(query.with_for_update(key_share=True) if hold else query)
        rows: Sequence[Sequence[Any]] = result.all()
        return {
            LedgerAccount(kind, subject): (account_id, balance)
            for kind, subject, account_id, balance in rows
        }

    async def balances(
        self, organisation_id: OrganisationId, currency: str, accounts: Collection[LedgerAccount]
    ) -> Balances:
        """Return the balances of ledger accounts; of one without postings it is 0."""
        found = await self._find(organisation_id, currency, accounts)
        return {account: found.get(account, (None, 0))[1] for account in accounts}

    async def trial_balance(
        self, organisation_id: OrganisationId, currency: str
    ) -> dict[LedgerAccount, int]:
        """Return all balances that are kept; they sum to zero."""
        columns = tables.ledger_account.c
        rows = await self._rows(
            sa.select(columns.kind, columns.subject, columns.balance_units)
            .where(columns.organisation_id == organisation_id, columns.currency == currency)
            .order_by(columns.kind, columns.subject)
        )
        return {LedgerAccount(row["kind"], row["subject"]): row["balance_units"] for row in rows}

    async def summed(
        self, organisation_id: OrganisationId, currency: str, *, until: date | None = None
    ) -> dict[LedgerAccount, int]:
        """Return all balances as their postings sum them, of all periods or of those before one."""
        account, posting = tables.ledger_account.c, tables.ledger_posting.c
        sides = []
        for column, sign in ((posting.credit_id, 1), (posting.debit_id, -1)):
            query = sa.select(
                column.label("account_id"), (posting.amount_units * sign).label("change")
            ).where(posting.organisation_id == organisation_id)
            if until is not None:
                entry = tables.ledger_entry.c
                query = query.join(
                    tables.ledger_entry,
                    sa.and_(
                        entry.organisation_id == posting.organisation_id,
                        entry.id == posting.entry_id,
                    ),
                ).where(entry.period < until)
            sides.append(query)
        change = sa.union_all(*sides).subquery()
        rows = await self._rows(
            sa.select(account.kind, account.subject, sa.func.sum(change.c.change).label("balance"))
            .join(change, change.c.account_id == account.id)
            .where(account.organisation_id == organisation_id, account.currency == currency)
            .group_by(account.kind, account.subject)
            .order_by(account.kind, account.subject)
        )
        return {LedgerAccount(row["kind"], row["subject"]): int(row["balance"]) for row in rows}

    async def currencies(self, organisation_id: OrganisationId) -> tuple[str, ...]:
        """Return the currencies that anything was booked in."""
        columns = tables.ledger_account.c
        rows = await self._rows(
            sa.select(columns.currency)
            .where(columns.organisation_id == organisation_id)
            .distinct()
            .order_by(columns.currency)
        )
        return tuple(row["currency"] for row in rows)

    # -- entries -------------------------------------------------------------------------------

    async def get(self, organisation_id: OrganisationId, entry_id: EntryId) -> Entry:
        """Return one entry.

        Raises:
            NotFoundError: the organisation has none of this identifier.
        """
        found = await self._entries(organisation_id, tables.ledger_entry.c.id == entry_id)
        if not found:
            raise NotFoundError(f"no ledger entry {entry_id} in this organisation")
        return found[0]

    async def of_account(
        self,
        organisation_id: OrganisationId,
        account_id: AccountId,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        but: Collection[EntryKind] = (),
    ) -> tuple[Entry, ...]:
        """Return the entries on an account's statement, booked in ``[start, end)``, in order.

        Args:
            but: kinds that are left out.
        """
        columns = tables.ledger_entry.c
        where = [columns.account_id == account_id]
        where += [columns.kind.not_in(sorted(but))] if but else []
        where += [] if start is None else [columns.booked_at >= start]
        where += [] if end is None else [columns.booked_at < end]
        return await self._entries(organisation_id, *where)

    async def of_order(self, organisation_id: OrganisationId, order_id: UUID) -> tuple[Entry, ...]:
        """Return the entries of an order, in order."""
        return await self._entries(organisation_id, tables.ledger_entry.c.order_id == order_id)

    async def between(
        self, organisation_id: OrganisationId, start: datetime, end: datetime
    ) -> tuple[Entry, ...]:
        """Return the entries booked in ``[start, end)``, in order."""
        columns = tables.ledger_entry.c
        return await self._entries(
            organisation_id, columns.booked_at >= start, columns.booked_at < end
        )

    async def _entries(
        self, organisation_id: OrganisationId, *where: sa.ColumnElement[bool]
    ) -> tuple[Entry, ...]:
        entry, posting = tables.ledger_entry, tables.ledger_posting
        rows = await self._rows(
            sa.select(entry)
            .where(entry.c.organisation_id == organisation_id, *where)
            .order_by(entry.c.booked_at, entry.c.id)
        )
        debit, credit = tables.ledger_account.alias("debit"), tables.ledger_account.alias("credit")
        chosen = (
            sa.select(entry.c.id)
            .where(entry.c.organisation_id == organisation_id, *where)
            .scalar_subquery()
        )
        details = await self._rows(
            sa.select(
                posting.c.entry_id,
                posting.c.amount_units,
                debit.c.kind.label("debit_kind"),
                debit.c.subject.label("debit_subject"),
                credit.c.kind.label("credit_kind"),
                credit.c.subject.label("credit_subject"),
            )
            .join(
                debit,
                sa.and_(
                    debit.c.organisation_id == posting.c.organisation_id,
                    debit.c.id == posting.c.debit_id,
                ),
            )
            .join(
                credit,
                sa.and_(
                    credit.c.organisation_id == posting.c.organisation_id,
                    credit.c.id == posting.c.credit_id,
                ),
            )
            .where(posting.c.organisation_id == organisation_id, posting.c.entry_id.in_(chosen))
            .order_by(posting.c.entry_id, posting.c.position)
        )
        postings: dict[UUID, list[Posting]] = defaultdict(list)
        for row in details:
            postings[row["entry_id"]].append(
                Posting(
                    LedgerAccount(row["debit_kind"], row["debit_subject"]),
                    LedgerAccount(row["credit_kind"], row["credit_subject"]),
                    row["amount_units"],
                )
            )
        return tuple(Entry(**row, postings=tuple(postings[row["id"]])) for row in rows)

    # -- periods -------------------------------------------------------------------------------

    async def closed_periods(self, organisation_id: OrganisationId) -> tuple[ClosedPeriod, ...]:
        """Return the closed periods, in order."""
        columns = tables.ledger_period.c
        rows = await self._rows(
            sa.select(tables.ledger_period)
            .where(columns.organisation_id == organisation_id)
            .order_by(columns.period)
        )
        return tuple(
            ClosedPeriod(row["period"], row["closed_at"], row["closed_by"], row["trial_balance"])
            for row in rows
        )

    async def open_period(self, organisation_id: OrganisationId, wanted: date) -> date:
        """Return the period that an entry of ``wanted`` is booked in: the first not closed."""
        columns = tables.ledger_period.c
        rows = await self._rows(
            sa.select(columns.period).where(
                columns.organisation_id == organisation_id, columns.period >= wanted
            )
        )
        return open_period(wanted, [row["period"] for row in rows])

    async def moved(
        self,
        organisation_id: OrganisationId,
        currency: str,
        account: LedgerAccount,
        kinds: Collection[EntryKind],
    ) -> int:
        """Return what entries of some kinds credited an account less what they debited it."""
        found = await self._find(organisation_id, currency, [account])
        if account not in found:
            return 0
        account_id, _ = found[account]
        entry, posting = tables.ledger_entry.c, tables.ledger_posting.c
        total = 0
        for column, sign in ((posting.credit_id, 1), (posting.debit_id, -1)):
            result = await self._execute(
                sa.select(sa.func.coalesce(sa.func.sum(posting.amount_units), 0))
                .join_from(
                    tables.ledger_posting,
                    tables.ledger_entry,
                    sa.and_(
                        entry.organisation_id == posting.organisation_id,
                        entry.id == posting.entry_id,
                    ),
                )
                .where(
                    posting.organisation_id == organisation_id,
                    column == account_id,
                    entry.kind.in_(sorted(kinds)),
                )
            )
            total += sign * int(result.scalar_one())
        return total

    async def hold_still(self) -> None:
        """Let nobody book until the transaction ends, and wait for whoever is booking."""
        if self._postgresql:
            await self._execute(sa.text("LOCK TABLE ledger_entry IN SHARE ROW EXCLUSIVE MODE"))

    async def oldest_period(self, organisation_id: OrganisationId) -> date | None:
        """Return the first period that anything was booked in; None while nothing was."""
        columns = tables.ledger_entry.c
        row = await self._row(
            sa.select(sa.func.min(columns.period).label("period")).where(
                columns.organisation_id == organisation_id
            )
        )
        return None if row is None else row["period"]

    async def count_bare_entries(self, organisation_id: OrganisationId) -> int:
        """Return how many entries have no posting; none, or somebody wrote past this program."""
        entry, posting = tables.ledger_entry.c, tables.ledger_posting.c
        row = await self._row(
            sa.select(sa.func.count().label("bare")).where(
                entry.organisation_id == organisation_id,
                ~sa.exists().where(
                    posting.organisation_id == entry.organisation_id,
                    posting.entry_id == entry.id,
                ),
            )
        )
        return 0 if row is None else int(row["bare"])

    async def close_period(self, organisation_id: OrganisationId, closed: ClosedPeriod) -> None:
        """Close a period for ever.

        Raises:
            ConflictError: it is closed already.
        """
        await self._insert(
            tables.ledger_period,
            [
                {
                    "organisation_id": organisation_id,
                    "period": closed.period,
                    "closed_at": closed.closed_at,
                    "closed_by": closed.closed_by,
                    "trial_balance": dict(closed.trial_balance),
                }
            ],
        )
