"""What is known of every meter now: where it is, whether it answers, how fresh its readings are."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from meterplex.db import Database
from meterplex.domain.estate import (
    Binding,
    Channel,
    ChannelId,
    Meter,
    MeterId,
    OrganisationId,
    Site,
    SiteId,
    UsagePoint,
    UsagePointId,
)
from meterplex.domain.readings import Reading


@dataclass(frozen=True, slots=True)
class MeterStatus:
    """One installed meter.

    Attributes:
        binding, usage_point: where it measures; None when it is bound to nothing.
        readings: the newest of each register, as the meter shows it.
        last_good_at: when it was last read well; None if never.
        age: since then.
        interval: how often it is to be read.
    """

    site: Site
    channel: Channel
    meter: Meter
    binding: Binding | None
    usage_point: UsagePoint | None
    readings: tuple[Reading, ...]
    last_good_at: datetime | None
    age: timedelta | None
    interval: timedelta

    @property
    def is_fresh(self) -> bool:
        """Whether its last good reading is no older than two intervals: one run may be missed."""
        return self.age is not None and self.age <= 2 * self.interval


@dataclass(frozen=True, slots=True)
class _Places:
    sites: Mapping[SiteId, Site]
    channels: Mapping[ChannelId, Channel]
    points: Mapping[UsagePointId, UsagePoint]
    bindings: Mapping[MeterId, Binding]


async def meter_states(
    database: Database,
    organisation_id: OrganisationId,
    at: datetime,
    *,
    site_code: str | None = None,
) -> tuple[MeterStatus, ...]:
    """Return every installed meter of the organisation or of one site, by serial.

    Args:
        at: now; ages count from it.
    """
    async with database.unit_of_work(read_only=True) as uow:
        places = _Places(
            sites={site.id: site for site in await uow.sites.all(organisation_id)},
            channels={each.id: each for each in await uow.channels.all(organisation_id)},
            points={point.id: point for point in await uow.usage_points.all(organisation_id)},
            bindings={each.meter_id: each for each in await uow.bindings.open(organisation_id)},
        )
        meters = [
            meter
            for meter in await uow.meters.all(organisation_id)
            if site_code is None or places.sites[meter.site_id].code == site_code
        ]
        newest = await uow.readings.newest_times(organisation_id)
        latest: dict[MeterId, list[Reading]] = {}
        for reading in await uow.readings.latest(organisation_id):
            latest.setdefault(reading.meter_id, []).append(reading)
    return tuple(
        _status(meter, places, tuple(latest.get(meter.id, ())), newest.get(meter.id), at)
        for meter in meters
    )


def _status(
    meter: Meter,
    places: _Places,
    readings: tuple[Reading, ...],
    last_good_at: datetime | None,
    at: datetime,
) -> MeterStatus:
    site, binding = places.sites[meter.site_id], places.bindings.get(meter.id)
    return MeterStatus(
        site=site,
        channel=places.channels[meter.channel_id],
        meter=meter,
        binding=binding,
        usage_point=None if binding is None else places.points[binding.usage_point_id],
        readings=readings,
        last_good_at=last_good_at,
        age=None if last_good_at is None else at - last_good_at,
        interval=meter.reading_interval or site.reading_interval,
    )
