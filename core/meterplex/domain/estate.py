"""The estate: who owns what, where it stands, and which wire leads to it (names from IEC 61968).

organisation > site > building > unit; usage point < binding > meter > channel (> gateway).
Every identifier is a UUIDv7 made outside; every thing belongs to one organisation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

from meterplex.domain.account_mode import AccountMode
from meterplex.domain.registers import Utility

OrganisationId = NewType("OrganisationId", UUID)
SiteId = NewType("SiteId", UUID)
BuildingId = NewType("BuildingId", UUID)
UnitId = NewType("UnitId", UUID)
GatewayId = NewType("GatewayId", UUID)
ChannelId = NewType("ChannelId", UUID)
MeterId = NewType("MeterId", UUID)
UsagePointId = NewType("UsagePointId", UUID)
BindingId = NewType("BindingId", UUID)
AccountId = NewType("AccountId", UUID)


@dataclass(frozen=True, slots=True)
class Organisation:
    """A property group.

    Attributes:
        currency: ISO 4217 code.
        language: ``zh`` or ``en``, of its notices and receipts.
    """

    id: OrganisationId
    name: str
    currency: str
    language: str


@dataclass(frozen=True, slots=True)
class Site:
    """A sub-property.

    Attributes:
        code: unique in the organisation.
        time_zone: IANA name; bills and windows are in it.
        utilities: what is enabled here.
        reading_interval: how often its meters are read unless they say otherwise.
    """

    id: SiteId
    organisation_id: OrganisationId
    code: str
    name: str
    time_zone: str
    utilities: frozenset[Utility]
    reading_interval: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Building:
    """A building or group of buildings; ``code`` is unique in the site."""

    id: BuildingId
    organisation_id: OrganisationId
    site_id: SiteId
    code: str
    name: str


@dataclass(frozen=True, slots=True)
class Unit:
    """What is let: a flat, a shop; ``code`` is unique in the site."""

    id: UnitId
    organisation_id: OrganisationId
    site_id: SiteId
    building_id: BuildingId
    code: str
    floor: str = ""
    area_m2: Decimal | None = None


class LinkState(StrEnum):
    """Whether a meter, gateway or channel can be reached."""

    NEW = "new"
    """Never reached yet."""
    REACHED = "reached"
    LOST = "lost"


class LostReason(StrEnum):
    """What is believed to be broken, from the nearest end: F32's causes."""

    LINE = "line"
    """The channel cannot be opened."""
    GATEWAY = "gateway"
    """The gateway does not answer or is not dialled in."""
    METER = "meter"
    """The channel works, this meter does not answer."""
    MODEM = "modem"
    PLUGIN = "plugin"
    """The meter's plugin is missing, broken or disabled."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A device that joins buses to a network; ``code`` is unique in the site."""

    id: GatewayId
    organisation_id: OrganisationId
    site_id: SiteId
    code: str
    dialect: str
    registration: str
    secret_file: str = ""
    state: LinkState = LinkState.NEW
    state_since: datetime | None = None
    lost_reason: LostReason | None = None


@dataclass(frozen=True, slots=True)
class ReadingWindow:
    """Local times of day between which scheduled reads may start: ``[start, end)``.

    ``end`` of 00:00 means the end of the day; a start after the end runs over midnight.
    """

    start: time = time(0)
    end: time = time(0)


@dataclass(frozen=True, slots=True)
class Channel:
    """One half-duplex path; ``code`` is unique in the site.

    Attributes:
        url: see the manual's channel URLs.
        devices_max: how many devices the bus may carry; None takes the models' own limit.
    """

    id: ChannelId
    organisation_id: OrganisationId
    site_id: SiteId
    code: str
    url: str
    gateway_id: GatewayId | None = None
    window: ReadingWindow = field(default=ReadingWindow())
    devices_max: int | None = None
    state: LinkState = LinkState.NEW
    state_since: datetime | None = None
    lost_reason: LostReason | None = None


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter as installed.

    Attributes:
        serial: the maker's number, unique in the organisation.
        model: id of a plugin's model.
        address: on its channel, in the model's normal form.
        reading_interval: overrides the site's.
        settings: of the model, for this meter.
        flags: conditions it reported last (``alarm_1``, ``meter_fault`` ...).
        removed_at: when it was taken out, which frees its address; None while installed.
    """

    id: MeterId
    organisation_id: OrganisationId
    site_id: SiteId
    channel_id: ChannelId
    serial: str
    model: str
    address: str
    reading_interval: timedelta | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    state: LinkState = LinkState.NEW
    state_since: datetime | None = None
    lost_reason: LostReason | None = None
    flags: frozenset[str] = frozenset()
    removed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """A metering point of one utility in a unit or a common area; ``code`` is unique in the site.

    Attributes:
        parent_id: the usage point whose meter also measures what goes through this one.
    """

    id: UsagePointId
    organisation_id: OrganisationId
    site_id: SiteId
    code: str
    utility: Utility
    unit_id: UnitId | None = None
    parent_id: UsagePointId | None = None


@dataclass(frozen=True, slots=True)
class Binding:
    """One meter at one usage point for one account; a change of any opens a new binding.

    Attributes:
        account_id: who pays; None for common areas and where nobody is charged.
        mode: how is paid; None without an account.
        tariff: code of its own tariff (F83); empty takes the account's.
        price_override: see ``domain.tariff.override``; None for none.
        frozen: no vends are delivered to it now: it is being swapped or closed.
        sole_seller: nobody else sells credit to this meter (no cards, no handhelds).
        ct: current transformer ratio (secondary 1), pt: voltage transformer ratio. Readings times
            ct times pt are primary values; applied once, in charging and reports.
    """

    id: BindingId
    organisation_id: OrganisationId
    meter_id: MeterId
    usage_point_id: UsagePointId
    since: datetime
    until: datetime | None = None
    ct: Decimal = Decimal(1)
    pt: Decimal = Decimal(1)
    account_id: AccountId | None = None
    mode: AccountMode | None = None
    tariff: str = ""
    price_override: Mapping[str, Any] | None = None
    frozen: bool = False
    sole_seller: bool = True
