"""Repositories of charges, of how far registers are charged, and of held readings."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from meterplex.db import money_tables, tables
from meterplex.db.bulk_rows import BulkRows, json_text
from meterplex.db.errors import NotFoundError
from meterplex.db.identified import columns_of
from meterplex.db.registers import Registers
from meterplex.db.repository import Repository
from meterplex.domain.charges import (
    Charge,
    ChargeId,
    ChargeKind,
    HoldId,
    HoldState,
    ReadingHold,
    TariffVersionId,
)
from meterplex.domain.estate import (
    AccountId,
    Binding,
    BindingId,
    MeterId,
    OrganisationId,
    UsagePointId,
)
from meterplex.domain.readings import ReadingQuality, ReadingSource
from meterplex.domain.registers import RegisterType, Utility

FOR_EVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""After everything."""


@dataclass(frozen=True, slots=True)
class ChargedPeriod:
    """What a billing period of a register was charged so far.

    Attributes:
        lines: see ``services.tariffs.document``.
        anchor_at: of the last sure reading not after the start, which showed ``anchor_value``.
        anchor_units: used before it since the binding began.
    """

    organisation_id: OrganisationId
    binding_id: BindingId
    register: RegisterType
    tariff_version_id: TariffVersionId
    start: datetime
    lines: Sequence[Mapping[str, Any]]
    amount_units: int
    anchor_at: datetime
    anchor_value: Decimal
    anchor_units: Decimal


@dataclass(frozen=True, slots=True)
class ChargedRegister:
    """How far a register is charged.

    Attributes:
        until: where its next tile starts.
        value: that the meter showed there, or was estimated to.
        units: of all its charges, after ct and pt.
        booked_at: when it was charged last.
    """

    organisation_id: OrganisationId
    binding_id: BindingId
    register: RegisterType
    until: datetime
    value: Decimal
    units: Decimal
    booked_at: datetime


@dataclass(frozen=True, slots=True)
class StoredReading:
    """The newest revision of a reading; ``count`` in steps of its register."""

    at: datetime
    count: int
    quality: ReadingQuality
    source: ReadingSource
    revision: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class ReadingSpan:
    """Readings of a register in ``(after, until]``."""

    meter_id: MeterId
    register: RegisterType
    after: datetime
    until: datetime = FOR_EVER


Key = tuple[BindingId, str]
"""A binding and the slug of a register."""

_CHARGE: Final = (
    "organisation_id",
    "id",
    "account_id",
    "binding_id",
    "kind",
    "from_at",
    "to_at",
    "from_value",
    "to_value",
    "units",
    "amount_units",
    "booked_at",
    "tariff_version_id",
    "adjusts_id",
    "entry_id",
    "reason",
)
_PERIOD: Final = (
    "organisation_id",
    "binding_id",
    "tariff_version_id",
    "start",
    "amount_units",
    "anchor_at",
    "anchor_value",
    "anchor_units",
)
_CHARGED: Final = ("organisation_id", "binding_id", "until", "value", "units", "booked_at")

_of_charge: Final = attrgetter(*_CHARGE)
_of_period: Final = attrgetter(*_PERIOD)
_of_charged: Final = attrgetter(*_CHARGED)

_CHARGES: Final = BulkRows.adding(money_tables.charge, *_CHARGE, "register_id", "lines")
_PERIODS: Final = BulkRows.replacing(money_tables.charged_period, *_PERIOD, "register_id", "lines")
_CHARGED_REGISTERS: Final = BulkRows.replacing(
    money_tables.charged_register, *_CHARGED, "register_id"
)


class _OfRegisters(Repository):
    """Rows that name a register by its number and come out with its type.

    Types are only ever added, so those that were looked up hold for the transaction.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection)
        self._types: Mapping[int, RegisterType] = {}

    async def _numbers(self, registers: Iterable[RegisterType]) -> Mapping[str, int]:
        wanted = {register.slug: register for register in registers}
        known = {register.slug: number for number, register in self._types.items()}
        if any(
            slug not in known or self._types[known[slug]] != register
            for slug, register in wanted.items()
        ):
            known = dict(await Registers(self._connection).ensure(wanted.values()))
        return known

    async def _with_registers(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        rows = await self._records(query)
        if any(row["register_id"] not in self._types for row in rows):
            self._types = await Registers(self._connection).all()
        for row in rows:
            row["register"] = self._types[row.pop("register_id")]
        return rows

    async def _put(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows by their primary key, whether or not they are there."""
        if not rows:
            return
        key = [column.name for column in table.primary_key]
        insert = postgresql.insert if self._postgresql else sqlite.insert
        statement = insert(table)
        others = {
            column.name: statement.excluded[column.name]
            for column in table.columns
            if column.name not in key
        }
        await self._execute(statement.on_conflict_do_update(index_elements=key, set_=others), rows)


class Charges(_OfRegisters):
    """What was charged; lists come in the order in which they were booked."""

    async def add_all(self, charges: Collection[Charge]) -> None:
        """Add charges.

        Raises:
            ConflictError: a tile is charged already.
        """
        numbers = await self._numbers(charge.register for charge in charges)
        await self._write_bulk(
            _CHARGES,
            [
                (*_of_charge(each), numbers[each.register.slug], json_text(each.lines))
                for each in charges
            ],
        )

    async def get(self, organisation_id: OrganisationId, charge_id: ChargeId) -> Charge:
        """Return one.

        Raises:
            NotFoundError: the organisation has none of this identifier.
        """
        found = await self._charges(organisation_id, money_tables.charge.c.id == charge_id)
        if not found:
            raise NotFoundError(f"no charge {charge_id} in this organisation")
        return found[0]

    async def of_account(
        self,
        organisation_id: OrganisationId,
        account_id: AccountId,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> tuple[Charge, ...]:
        """Return the charges of an account for tiles that end in ``(start, end]``."""
        columns = money_tables.charge.c
        where = [columns.account_id == account_id]
        where += [] if start is None else [columns.to_at > start]
        where += [] if end is None else [columns.to_at <= end]
        return await self._charges(organisation_id, *where)

    async def of_binding(
        self, organisation_id: OrganisationId, binding_id: BindingId
    ) -> tuple[Charge, ...]:
        """Return all charges of a binding."""
        return await self._charges(organisation_id, money_tables.charge.c.binding_id == binding_id)

    async def tile_at(
        self,
        organisation_id: OrganisationId,
        binding_id: BindingId,
        register: RegisterType,
        at: datetime,
    ) -> Charge | None:
        """Return the charge of the tile ``(from, to]`` that a time lies in."""
        columns = money_tables.charge.c
        numbers = await self._numbers([register])
        found = await self._charges(
            organisation_id,
            columns.binding_id == binding_id,
            columns.register_id == numbers[register.slug],
            columns.kind != ChargeKind.ADJUSTMENT,
            columns.from_at < at,
            columns.to_at >= at,
        )
        return found[0] if found else None

    async def _charges(
        self, organisation_id: OrganisationId, *where: sa.ColumnElement[bool]
    ) -> tuple[Charge, ...]:
        columns = money_tables.charge.c
        rows = await self._with_registers(
            sa.select(money_tables.charge)
            .where(columns.organisation_id == organisation_id, *where)
            .order_by(columns.booked_at, columns.id)
        )
        return tuple(Charge(**row | {"lines": tuple(row["lines"])}) for row in rows)

    # -- how far -------------------------------------------------------------------------------

    async def registers(
        self, organisation_id: OrganisationId, binding_ids: Collection[BindingId]
    ) -> Mapping[Key, ChargedRegister]:
        """Return how far the registers of some bindings are charged."""
        columns = money_tables.charged_register.c
        rows = await self._with_registers(
            sa.select(money_tables.charged_register).where(
                columns.organisation_id == organisation_id,
                self._among(columns.binding_id, binding_ids),
            )
        )
        return {(row["binding_id"], row["register"].slug): ChargedRegister(**row) for row in rows}

    async def put_registers(self, registers: Collection[ChargedRegister]) -> None:
        """Write how far registers are charged."""
        numbers = await self._numbers(each.register for each in registers)
        await self._write_bulk(
            _CHARGED_REGISTERS,
            [(*_of_charged(each), numbers[each.register.slug]) for each in registers],
        )

    async def periods(
        self, organisation_id: OrganisationId, binding_ids: Collection[BindingId]
    ) -> Mapping[Key, tuple[ChargedPeriod, ...]]:
        """Return the charged periods of some bindings, in order."""
        columns = money_tables.charged_period.c
        rows = await self._with_registers(
            sa.select(money_tables.charged_period)
            .where(
                columns.organisation_id == organisation_id,
                self._among(columns.binding_id, binding_ids),
            )
            .order_by(columns.binding_id, columns.register_id, columns.start)
        )
        found: dict[Key, list[ChargedPeriod]] = defaultdict(list)
        for row in rows:
            found[row["binding_id"], row["register"].slug].append(ChargedPeriod(**row))
        return {key: tuple(periods) for key, periods in found.items()}

    async def put_periods(self, periods: Collection[ChargedPeriod]) -> None:
        """Write what periods were charged so far."""
        numbers = await self._numbers(each.register for each in periods)
        await self._write_bulk(
            _PERIODS,
            [
                (*_of_period(each), numbers[each.register.slug], json_text(each.lines))
                for each in periods
            ],
        )

    # -- what is charged -----------------------------------------------------------------------

    async def accounts_of_meters(
        self, organisation_id: OrganisationId, meter_ids: Collection[MeterId]
    ) -> tuple[AccountId, ...]:
        """Return the accounts of all bindings of some meters, the ended ones too, in order."""
        columns = tables.binding.c
        result = await self._execute(
            sa.select(columns.account_id)
            .where(
                columns.organisation_id == organisation_id,
                self._among(columns.meter_id, meter_ids),
                columns.account_id.is_not(None),
            )
            .distinct()
            .order_by(columns.account_id)
        )
        return tuple(result.scalars())

    async def bindings_of(
        self, organisation_id: OrganisationId, account_ids: Collection[AccountId]
    ) -> tuple[Binding, ...]:
        """Return all bindings of some accounts, the ended ones too."""
        columns = tables.binding.c
        rows = await self._records(
            sa.select(tables.binding)
            .where(
                columns.organisation_id == organisation_id,
                self._among(columns.account_id, account_ids),
            )
            .order_by(columns.account_id, columns.since, columns.id)
        )
        return tuple(Binding(**row) for row in rows)

    async def utilities_of(
        self, organisation_id: OrganisationId, bindings: Collection[Binding]
    ) -> Mapping[UsagePointId, Utility]:
        """Return what is measured at the usage points of some bindings."""
        columns = tables.usage_point.c
        result = await self._execute(
            sa.select(columns.id, columns.utility).where(
                columns.organisation_id == organisation_id,
                self._among(columns.id, {binding.usage_point_id for binding in bindings}),
            )
        )
        return {row.id: row.utility for row in result}

    async def openings(
        self, organisation_id: OrganisationId, binding_ids: Collection[BindingId]
    ) -> Mapping[BindingId, Mapping[str, tuple[RegisterType, Decimal, Decimal | None]]]:
        """Return register, opening and closing value of some bindings, by binding and slug."""
        columns = money_tables.binding_opening.c
        rows = await self._with_registers(
            sa.select(money_tables.binding_opening).where(
                columns.organisation_id == organisation_id,
                self._among(columns.binding_id, binding_ids),
            )
        )
        found: dict[BindingId, dict[str, tuple[RegisterType, Decimal, Decimal | None]]] = {}
        for row in rows:
            register = row["register"]
            values = (register, row["opening_value"], row["closing_value"])
            found.setdefault(row["binding_id"], {})[register.slug] = values
        return found

    async def readings(
        self,
        organisation_id: OrganisationId,
        spans: Collection[ReadingSpan],
        *,
        known_at: datetime = FOR_EVER,
    ) -> Mapping[tuple[MeterId, str], list[StoredReading]]:
        """Return the readings of some spans, each in its newest revision, oldest first.

        Args:
            known_at: what was received later is not looked at.
        """
        found: dict[tuple[MeterId, str], list[StoredReading]] = defaultdict(list)
        if not spans:
            return found
        columns = tables.reading.c
        values = (columns.read_at, columns.value, columns.quality, columns.source)
        query, slugs = await self._within(
            organisation_id,
            spans,
            columns.meter_id,
            columns.register_id,
            *values,
            columns.revision,
            columns.received_at,
        )
        query = query.where(columns.received_at <= known_at).order_by(
            columns.meter_id, columns.register_id, columns.read_at, columns.revision
        )
        rows: Sequence[Sequence[Any]] = (await self._execute(query)).all()
        for meter_id, register_id, *fields in rows:
            reading = StoredReading(*fields)
            readings = found[meter_id, slugs[register_id]]
            if readings and readings[-1].at == reading.at:
                readings[-1] = reading
            else:
                readings.append(reading)
        return found

    async def earliest_received(
        self, organisation_id: OrganisationId, spans: Collection[ReadingSpan], since: datetime
    ) -> Mapping[tuple[MeterId, str], datetime]:
        """Return the time of the oldest reading that was received from ``since`` on, if any."""
        columns = tables.reading.c
        key = (columns.meter_id, columns.register_id)
        oldest = sa.func.min(columns.read_at, type_=columns.read_at.type)
        query, slugs = await self._within(organisation_id, spans, *key, oldest)
        query = query.where(columns.received_at >= since).group_by(*key)
        rows: Sequence[Sequence[Any]] = (await self._execute(query)).all()
        return {(meter_id, slugs[number]): at for meter_id, number, at in rows}

    async def _within(
        self,
        organisation_id: OrganisationId,
        spans: Collection[ReadingSpan],
        *selected: sa.ColumnElement[Any],
    ) -> tuple[sa.Select[Any], Mapping[int, str]]:
        """Select from the readings of some spans; with the slugs of registers by number."""
        numbers = await self._numbers(span.register for span in spans)
        columns = tables.reading.c
        span = self._table_of(
            [(each.meter_id, numbers[each.register.slug], each.after, each.until) for each in spans]
        )
        query = (
            sa.select(*selected)
            .join_from(
                tables.reading,
                span,
                sa.and_(
                    columns.meter_id == span.c.meter_id,
                    columns.register_id == span.c.register_id,
                    columns.read_at > span.c.after,
                    columns.read_at <= span.c.until,
                ),
            )
            .where(columns.organisation_id == organisation_id)
        )
        return query, {number: slug for slug, number in numbers.items()}

    def _table_of(self, spans: Sequence[tuple[Any, ...]]) -> sa.FromClause:
        """Return spans as a table to join with.

        On PostgreSQL as four arrays: a statement of a thousand rows takes long to compile.
        """
        time = tables.reading.c.read_at.type
        kinds: dict[str, Any] = {
            "meter_id": sa.Uuid(),
            "register_id": sa.SmallInteger(),
            "after": time,
            "until": time,
        }
        if self._postgresql:
            arrays = [
                sa.cast(list(column), postgresql.ARRAY(kind))
                for column, kind in zip(zip(*spans, strict=True), kinds.values(), strict=True)
            ]
            columns = [sa.column(name, kind) for name, kind in kinds.items()]
            return sa.func.unnest(*arrays).table_valued(*columns, name="span").render_derived()
        wanted = sa.values(*(sa.column(name, kind) for name, kind in kinds.items()), name="wanted")
        return wanted.data(list(spans)).cte()


class ReadingHolds(_OfRegisters):
    """Readings that wait for a decision, and what became of them; oldest first."""

    async def put_all(self, holds: Collection[ReadingHold]) -> None:
        """Write holds, new ones and known ones.

        Raises:
            ConflictError: a reading of another hold's.
        """
        numbers = await self._numbers(hold.register for hold in holds)
        await self._put(money_tables.reading_hold, [_numbered(hold, numbers) for hold in holds])

    async def get(self, organisation_id: OrganisationId, hold_id: HoldId) -> ReadingHold:
        """Return one.

        Raises:
            NotFoundError: the organisation has none of this identifier.
        """
        found = await self._holds(organisation_id, money_tables.reading_hold.c.id == hold_id)
        if not found:
            raise NotFoundError(f"no held reading {hold_id} in this organisation")
        return found[0]

    async def of_bindings(
        self, organisation_id: OrganisationId, binding_ids: Collection[BindingId]
    ) -> Mapping[Key, tuple[ReadingHold, ...]]:
        """Return all holds of some bindings, by binding and slug of the register."""
        found: dict[Key, list[ReadingHold]] = defaultdict(list)
        where = self._among(money_tables.reading_hold.c.binding_id, binding_ids)
        for hold in await self._holds(organisation_id, where):
            found[hold.binding_id, hold.register.slug].append(hold)
        return {key: tuple(holds) for key, holds in found.items()}

    async def in_state(
        self, organisation_id: OrganisationId, state: HoldState
    ) -> tuple[ReadingHold, ...]:
        """Return all holds in a state."""
        return await self._holds(organisation_id, money_tables.reading_hold.c.state == state)

    async def all(self, organisation_id: OrganisationId) -> tuple[ReadingHold, ...]:
        """Return all holds."""
        return await self._holds(organisation_id)

    async def _holds(
        self, organisation_id: OrganisationId, *where: sa.ColumnElement[bool]
    ) -> tuple[ReadingHold, ...]:
        columns = money_tables.reading_hold.c
        rows = await self._with_registers(
            sa.select(money_tables.reading_hold)
            .where(columns.organisation_id == organisation_id, *where)
            .order_by(columns.read_at, columns.id)
        )
        return tuple(ReadingHold(**row) for row in rows)


def _numbered(
    thing: Charge | ChargedPeriod | ChargedRegister | ReadingHold, numbers: Mapping[str, int]
) -> dict[str, Any]:
    row = columns_of(thing)
    register: RegisterType = row.pop("register")
    return row | {"register_id": numbers[register.slug]}
