"""Publishes tariff versions: dated, numbered upwards, and never changed again."""

import json
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.db.tariff_versions import PublishedTariff
from meterplex.domain.charges import TariffVersionId
from meterplex.domain.estate import OrganisationId
from meterplex.domain.tariff import TariffVersion
from meterplex.services.books.errors import MoneyConflictError
from meterplex.services.operators.audit import record
from meterplex.services.tariffs.document import tariff_digest, tariff_to_text


@dataclass(frozen=True, slots=True)
class Publication:
    """What publishing a version did.

    Attributes:
        known: the very same version was published before; nothing was done.
    """

    published: PublishedTariff
    known: bool = False


async def publish_tariff(
    database: Database,
    organisation_id: OrganisationId,
    version: TariffVersion,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> Publication:
    """Store a sound version; what is charged from its first day on is rated with it.

    A version begins after the last one of its code. Only the first version of a code may begin in
    the past, where nothing can have been charged by it yet; a later one may not, as bills that
    were made would change.

    Args:
        dry_run: do all of it, but keep nothing.

    Raises:
        MoneyConflictError: the number or the day does not follow the last version, the day has
            begun, or utility, currency or time zone are others.
    """
    async with database.unit_of_work() as uow:
        before = await uow.tariff_versions.of_code(organisation_id, version.id)
        digest = tariff_digest(version)
        same = next((each for each in before if each.sha256 == digest), None)
        if same is not None:
            return Publication(same, known=True)
        if before:
            _check_follows(version, before[-1], at)
        published = _published(organisation_id, version, digest, at, operator)
        await uow.tariff_versions.add(published)
        await _note(uow, published, at)
        if not dry_run:
            await uow.commit()
    return Publication(published)


def _check_follows(version: TariffVersion, last: PublishedTariff, at: datetime) -> None:
    if version.version <= last.version:
        raise MoneyConflictError(
            "version", f"{version.version}: expected more than {last.version}, published last"
        )
    if version.valid_from <= last.valid_from:
        raise MoneyConflictError(
            "valid_from",
            f"{version.valid_from}: version {last.version} is valid from {last.valid_from} on",
        )
    if datetime.combine(version.valid_from, time.min, ZoneInfo(version.time_zone)) <= at:
        raise MoneyConflictError(
            "valid_from", f"{version.valid_from}: has begun, and use since then may be charged"
        )
    time_zone = json.loads(last.document)["time_zone"]
    for field, before, after in (
        ("utility", last.utility, version.utility),
        ("currency", last.currency, version.currency),
        ("time_zone", time_zone, version.time_zone),
    ):
        if before != after:
            raise MoneyConflictError(field, f"{after}: the versions before have {before}")


def _published(
    organisation_id: OrganisationId,
    version: TariffVersion,
    digest: str,
    at: datetime,
    operator: str,
) -> PublishedTariff:
    return PublishedTariff(
        id=TariffVersionId(uuid_utils.compat.uuid7()),
        organisation_id=organisation_id,
        code=version.id,
        version=version.version,
        utility=version.utility,
        currency=version.currency,
        valid_from=version.valid_from,
        document=tariff_to_text(version),
        sha256=digest,
        published_at=at,
        published_by=operator,
    )


async def _note(uow: UnitOfWork, published: PublishedTariff, at: datetime) -> None:
    await record(
        uow,
        published.organisation_id,
        published.published_by,
        "tariff.publish",
        f"tariff {published.code}",
        {
            "version": str(published.version),
            "valid_from": published.valid_from.isoformat(),
            "sha256": published.sha256,
        },
        at,
    )
