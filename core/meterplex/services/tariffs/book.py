"""The published tariffs of an organisation, ready to rate with."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

from meterplex.db import UnitOfWork
from meterplex.db.tariff_versions import PublishedTariff
from meterplex.domain.charges import TariffVersionId
from meterplex.domain.estate import Binding, OrganisationId
from meterplex.domain.tariff import Rater, TariffComponent, TariffVersion
from meterplex.services.tariffs.document import tariff_from_text
from meterplex.services.tariffs.file_format import NO_COMPONENTS
from meterplex.services.tariffs.price_override import tariff_of_meter

FOR_EVER = datetime(2199, 12, 31, tzinfo=UTC)
"""When the last version of a tariff ends; nobody bills later."""


@dataclass(frozen=True, slots=True, eq=False)
class TariffSpan:
    """A version of a tariff in force in ``[start, end)``."""

    id: TariffVersionId
    tariff: TariffVersion
    rater: Rater
    start: datetime
    end: datetime


class TariffBook:
    """Gives the versions of tariffs with their raters; a rater is made once and kept."""

    def __init__(self, components: Mapping[str, TariffComponent] = NO_COMPONENTS) -> None:
        self._components = components
        self._published: dict[tuple[OrganisationId, str], tuple[PublishedTariff, ...]] = {}
        self._raters: dict[tuple[TariffVersionId, str, datetime], TariffSpan] = {}

    async def load(
        self, uow: UnitOfWork, organisation_id: OrganisationId, codes: Collection[str]
    ) -> None:
        """Look up what is published now."""
        found = await uow.tariff_versions.of_codes(organisation_id, codes)
        self._published |= {(organisation_id, code): found[code] for code in codes}

    def spans(
        self, binding: Binding, code: str, known_at: datetime | None = None
    ) -> tuple[TariffSpan, ...]:
        """Return the versions that a binding is rated with, in order; none where there is none.

        Args:
            code: that was loaded.
            known_at: what was published later is not looked at.

        Raises:
            TariffError: a version or the prices of the binding's own do not hold any more.
        """
        versions = [
            each
            for each in self._published.get((binding.organisation_id, code), ())
            if known_at is None or each.published_at <= known_at
        ]
        override = binding.price_override
        following: Sequence[PublishedTariff | None] = [*versions[1:], None][: len(versions)]
        return tuple(
            self._span(version, after, override)
            for version, after in zip(versions, following, strict=True)
        )

    def _span(
        self,
        version: PublishedTariff,
        after: PublishedTariff | None,
        override: Mapping[str, object] | None,
    ) -> TariffSpan:
        end = FOR_EVER if after is None else _midnight(after)
        own = "" if override is None else json.dumps(override, sort_keys=True)
        key = version.id, own, end
        known = self._raters.get(key)
        if known is None:
            tariff = tariff_of_meter(tariff_from_text(version.document, self._components), override)
            rater = Rater(tariff, None if after is None else after.valid_from)
            known = TariffSpan(version.id, tariff, rater, _midnight(version), end)
            self._raters[key] = known
        return known


def _midnight(version: PublishedTariff) -> datetime:
    zone = ZoneInfo(json.loads(version.document)["time_zone"])
    return datetime.combine(version.valid_from, time.min, zone)
