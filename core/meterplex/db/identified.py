"""Repositories of things that are known by (organisation, identifier).

``add`` raises ``ConflictError`` for a code, number or address that is taken, and
``MissingReferenceError`` for what the organisation does not have. ``get`` raises
``NotFoundError``.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any, ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

import sqlalchemy as sa

from meterplex.db.errors import NotFoundError
from meterplex.db.repository import Repository
from meterplex.domain.estate import OrganisationId


class DataclassInstance(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Identified(DataclassInstance, Protocol):
    """A frozen dataclass of an organisation's, with an identifier of its own."""

    @property
    def id(self) -> UUID:
        """A UUIDv7."""
        ...

    @property
    def organisation_id(self) -> OrganisationId:
        """Whose it is."""
        ...


Thing = TypeVar("Thing", bound=Identified)


class IdentifiedRepository(Repository, Generic[Thing]):
    """Things of an organisation that are known by (organisation, identifier)."""

    table: sa.Table
    kind: Callable[..., Thing]
    order = "code"
    """Column that lists are ordered by."""

    def _from_row(self, row: sa.RowMapping) -> Thing:
        return self.kind(**row)

    def _to_row(self, thing: Thing) -> dict[str, Any]:
        return columns_of(thing)

    async def add(self, thing: Thing) -> None:
        """Add one."""
        await self.add_all([thing])

    async def add_all(self, things: Iterable[Thing]) -> None:
        """Add many in the order given; what is referred to comes first."""
        await self._insert(self.table, [self._to_row(thing) for thing in things])

    async def get(self, organisation_id: OrganisationId, identifier: UUID) -> Thing:
        """Return one.

        Raises:
            NotFoundError: the organisation has none of this identifier.
        """
        thing = await self._find(organisation_id, self.table.c.id == identifier)
        if thing is None:
            raise NotFoundError(f"no {self.table.name} {identifier} in this organisation")
        return thing

    async def by_ids(
        self, organisation_id: OrganisationId, identifiers: Collection[UUID]
    ) -> Mapping[UUID, Thing]:
        """Return those of some identifiers that the organisation has."""
        things = await self._select(organisation_id, self.table.c.id.in_(identifiers))
        return {thing.id: thing for thing in things}

    async def replace(self, thing: Thing) -> None:
        """Write all fields of one that is there.

        Raises:
            NotFoundError: the organisation has none of its identifier.
        """
        row = self._to_row(thing)
        where = self._is(thing.organisation_id, thing.id)
        result = await self._execute(sa.update(self.table).where(where).values(row))
        if result.rowcount == 0:
            raise NotFoundError(f"no {self.table.name} {thing.id} in this organisation")

    async def all(self, organisation_id: OrganisationId) -> tuple[Thing, ...]:
        """Return all of the organisation."""
        return await self._select(organisation_id)

    def _is(self, organisation_id: OrganisationId, identifier: UUID) -> sa.ColumnElement[bool]:
        columns = self.table.c
        return sa.and_(columns.organisation_id == organisation_id, columns.id == identifier)

    async def _find(
        self, organisation_id: OrganisationId, *where: sa.ColumnElement[bool]
    ) -> Thing | None:
        found = await self._select(organisation_id, *where)
        return found[0] if found else None

    async def _select(
        self, organisation_id: OrganisationId, *where: sa.ColumnElement[bool]
    ) -> tuple[Thing, ...]:
        columns = self.table.c
        rows = await self._rows(
            sa.select(self.table)
            .where(columns.organisation_id == organisation_id, *where)
            .order_by(columns[self.order], columns.id)
        )
        return tuple(self._from_row(row) for row in rows)


def columns_of(thing: DataclassInstance) -> dict[str, Any]:
    """Return the fields of a flat dataclass by name."""
    return {field.name: getattr(thing, field.name) for field in fields(thing)}
