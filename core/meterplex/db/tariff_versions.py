"""Repository of published tariff versions: dated documents that never change."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from meterplex.db import money_tables as tables
from meterplex.db.identified import IdentifiedRepository
from meterplex.domain.charges import TariffVersionId
from meterplex.domain.estate import OrganisationId
from meterplex.domain.registers import Utility


@dataclass(frozen=True, slots=True)
class PublishedTariff:
    """One version of a tariff.

    Attributes:
        valid_from: local date; the next version of the code ends it.
        document: canonical text, see ``services.tariffs.document``.
        sha256: of the document.
    """

    id: TariffVersionId
    organisation_id: OrganisationId
    code: str
    version: int
    utility: Utility
    currency: str
    valid_from: date
    document: str
    sha256: str
    published_at: datetime
    published_by: str


class TariffVersions(IdentifiedRepository[PublishedTariff]):
    """The published versions; lists come in the order of their beginnings.

    ``add`` raises ``ConflictError`` for a version, or a beginning, that the code has already.
    """

    table = tables.tariff_version
    kind = PublishedTariff
    order = "valid_from"

    async def of_code(
        self, organisation_id: OrganisationId, code: str
    ) -> tuple[PublishedTariff, ...]:
        """Return all versions of a tariff."""
        return await self._select(organisation_id, tables.tariff_version.c.code == code)

    async def of_codes(
        self, organisation_id: OrganisationId, codes: Collection[str]
    ) -> Mapping[str, tuple[PublishedTariff, ...]]:
        """Return all versions of some tariffs, by code."""
        found = await self._select(organisation_id, tables.tariff_version.c.code.in_(codes))
        return {code: tuple(each for each in found if each.code == code) for code in codes}

    async def codes(self, organisation_id: OrganisationId) -> frozenset[str]:
        """Return the codes that there are."""
        columns = tables.tariff_version.c
        rows = await self._rows(
            sa.select(columns.code).where(columns.organisation_id == organisation_id).distinct()
        )
        return frozenset(row["code"] for row in rows)
