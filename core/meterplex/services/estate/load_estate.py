"""What a head-end needs of the estate, in one look."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from meterplex.db import Database
from meterplex.domain.estate import Channel, Meter, MeterId, OrganisationId, Site
from meterplex.services.estate.import_estate import ESTATE_CHANGED


@dataclass(frozen=True, slots=True)
class Installation:
    """The installed estate of all organisations.

    Attributes:
        version: number of the audit entry about the last change of each organisation's estate.
        newest_reading: when each meter was read last, for those that ever were.
    """

    version: Mapping[OrganisationId, int]
    sites: tuple[Site, ...]
    channels: tuple[Channel, ...]
    meters: tuple[Meter, ...]
    newest_reading: Mapping[MeterId, datetime]


async def load_installation(database: Database, known: Installation | None) -> Installation:
    """Return the estate; ``known`` itself when nothing has changed since.

    Every change of the estate leaves an audit entry in its own transaction, so the audit log tells
    cheaply whether anything has changed.
    """
    async with database.unit_of_work(read_only=True) as uow:
        organisations = await uow.organisations.all()
        version = {
            organisation.id: await uow.audit.last_of(organisation.id, ESTATE_CHANGED)
            for organisation in organisations
        }
        if known is not None and known.version == version:
            return known
        sites: list[Site] = []
        channels: list[Channel] = []
        meters: list[Meter] = []
        newest: dict[MeterId, datetime] = {}
        for organisation in organisations:
            sites += await uow.sites.all(organisation.id)
            channels += await uow.channels.all(organisation.id)
            meters += await uow.meters.all(organisation.id)
            newest |= await uow.readings.newest_times(organisation.id)
        return Installation(version, tuple(sites), tuple(channels), tuple(meters), newest)
