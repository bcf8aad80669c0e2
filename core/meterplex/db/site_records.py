"""Repositories of what a site decides for itself: default parameters, holidays, numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from meterplex.db import money_tables as tables
from meterplex.db.identified import columns_of
from meterplex.db.repository import Repository
from meterplex.domain.estate import OrganisationId, SiteId


@dataclass(frozen=True, slots=True)
class Holiday:
    """A day that is no working day; ``working`` is a weekend day that is worked."""

    organisation_id: OrganisationId
    site_id: SiteId
    day: date
    name: str
    working: bool = False


class SiteRecords(Repository):
    """Default parameters, holidays and numbers of sites."""

    async def policy(self, organisation_id: OrganisationId, site_id: SiteId) -> Mapping[str, Any]:
        """Return the parameters that a site has set; empty when it has set none."""
        columns = tables.site_policy.c
        row = await self._row(
            sa.select(columns.document).where(
                columns.organisation_id == organisation_id, columns.site_id == site_id
            )
        )
        return {} if row is None else row["document"]

    async def set_policy(
        self, organisation_id: OrganisationId, site_id: SiteId, document: Mapping[str, Any]
    ) -> None:
        """Write the parameters of a site."""
        key = {"organisation_id": organisation_id, "site_id": site_id}
        columns = tables.site_policy.c
        result = await self._execute(
            sa.update(tables.site_policy)
            .where(*(columns[name] == value for name, value in key.items()))
            .values(document=dict(document))
        )
        if result.rowcount == 0:
            await self._insert(tables.site_policy, [key | {"document": dict(document)}])

    async def holidays(
        self, organisation_id: OrganisationId, site_id: SiteId
    ) -> tuple[Holiday, ...]:
        """Return the calendar of a site, in order."""
        columns = tables.holiday.c
        rows = await self._rows(
            sa.select(tables.holiday)
            .where(columns.organisation_id == organisation_id, columns.site_id == site_id)
            .order_by(columns.day)
        )
        return tuple(Holiday(**row) for row in rows)

    async def set_holidays(
        self, organisation_id: OrganisationId, site_id: SiteId, year: int, days: Iterable[Holiday]
    ) -> None:
        """Replace the calendar of a site for one year."""
        columns = tables.holiday.c
        await self._execute(
            sa.delete(tables.holiday).where(
                columns.organisation_id == organisation_id,
                columns.site_id == site_id,
                columns.day.between(date(year, 1, 1), date(year, 12, 31)),
            )
        )
        await self._insert(tables.holiday, [columns_of(day) for day in days])

    async def take_number(self, organisation_id: OrganisationId, site_id: SiteId, name: str) -> int:
        """Return the next number of a sequence of a site, from 1 on, without gaps.

        The sequence is held until the transaction ends: a number that is not committed is given
        to the next.
        """
        key = {"organisation_id": organisation_id, "site_id": site_id, "name": name}
        await self._execute(self._insert_new(tables.number_sequence), [key | {"last": 0}])
        columns = tables.number_sequence.c
        result = await self._execute(
            sa.update(tables.number_sequence)
            .where(*(columns[name] == value for name, value in key.items()))
            .values(last=columns.last + 1)
            .returning(columns.last)
        )
        return int(result.scalar_one())
