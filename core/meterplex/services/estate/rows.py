"""Lays the rows of an estate file over a draft: one function per table.

A row states the whole thing: an optional cell that is left empty means its default. Only what a
meter measures is never given up by an empty cell, because that would end a binding unasked.
"""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from meterplex.domain.estate import (
    Building,
    BuildingId,
    Channel,
    ChannelId,
    Gateway,
    GatewayId,
    Site,
    SiteId,
    Unit,
    UnitId,
)
from meterplex.domain.registers import ELECTRICITY, GAS, HEAT, WATER, Utility
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import ChannelUrl, SettingsError
from meterplex.services.estate.account_rows import AccountRows
from meterplex.services.estate.draft import EstateDraft
from meterplex.services.estate.file_format import GATEWAY_DIALECTS, Cells, nearest
from meterplex.services.estate.files import EstateRow
from meterplex.services.estate.meter_rows import MeterRows

DIAL_IN_SCHEMES: Final = ("dtu", "concentrator")
"""Schemes of channels whose gateway dials in; ``dtu://REGISTRATION``, ``concentrator://REG/1``."""

DEVICES_ON_A_BUS_MAX: Final = 247

Linked = TypeVar("Linked", Gateway, Channel)


class EstateRows:
    """Takes rows into a draft; they must come in the order of their tables.

    Args:
        plugins: what models and channel types there are.
        reading_interval: of sites that say nothing else.
        at: when changed bindings begin.
    """

    def __init__(
        self,
        draft: EstateDraft,
        plugins: PluginManager,
        *,
        reading_interval: timedelta,
        at: datetime,
    ) -> None:
        self._draft = draft
        self._plugins = plugins
        self._reading_interval = reading_interval
        self._takers = {
            "organisation": self._take_organisation,
            "site": self._take_site,
            "building": self._take_building,
            "unit": self._take_unit,
            "gateway": self._take_gateway,
            "channel": self._take_channel,
            "meter": MeterRows(draft, plugins, at).take,
            "account": AccountRows(draft, plugins, at).take,
        }
        utilities = {model.utility for model in plugins.models.values()}
        self._utilities = utilities | {ELECTRICITY, WATER, GAS, HEAT}

    def take(self, row: EstateRow) -> None:
        """Take one row of a known table."""
        self._takers[row.table](Cells(row, self._draft.problems))

    def _take_organisation(self, cells: Cells) -> None:
        standing = self._draft.organisation
        currency = cells.text("currency")
        if currency and not re.fullmatch(r"[A-Z]{3}", currency):
            cells.refuse("currency", f"{currency!r} is no currency code such as CNY")
        language = cells.choice("language", ("en", "zh"))
        if cells.sound and self._draft.organisation_is_new:
            self._draft.organisation = replace(standing, currency=currency, language=language)
        elif cells.sound:
            for column, stands in (
                ("currency", standing.currency),
                ("language", standing.language),
            ):
                if cells.text(column) != stands:
                    cells.refuse(column, f"is {stands!r}, an import does not change it")

    def _take_site(self, cells: Cells) -> None:
        sites, code = self._draft.sites, cells.code("code")
        zone = self._time_zone(cells)
        utilities = frozenset(self._utility(cells, name) for name in cells.texts("utilities"))
        interval = cells.interval("reading_interval") or self._reading_interval
        if sites.claim(cells, "code", code):
            site = Site(
                id=SiteId(self._draft.identify(sites.standing(code))),
                organisation_id=self._draft.organisation_id,
                code=code,
                name=cells.text("name"),
                time_zone=zone,
                utilities=utilities,
                reading_interval=interval,
            )
            sites.put(code, site)

    def _time_zone(self, cells: Cells) -> str:
        name = cells.text("time_zone")
        if name:
            try:
                ZoneInfo(name)
            except (ValueError, OSError, LookupError):
                near = nearest(name, available_timezones())
                cells.refuse("time_zone", f"unknown time zone {name!r}{near}")
        return name

    def _utility(self, cells: Cells, name: str) -> Utility:
        if name not in self._utilities:
            cells.refuse("utilities", f"unknown utility {name!r}{nearest(name, self._utilities)}")
        return Utility(name)

    def _take_building(self, cells: Cells) -> None:
        buildings, site = self._draft.buildings, self._draft.site_of(cells)
        key = (cells.text("site"), cells.code("code"))
        if buildings.claim(cells, "code", key) and site is not None:
            building = Building(
                id=BuildingId(self._draft.identify(buildings.standing(key))),
                organisation_id=self._draft.organisation_id,
                site_id=site.id,
                code=cells.text("code"),
                name=cells.text("name"),
            )
            buildings.put(key, building)

    def _take_unit(self, cells: Cells) -> None:
        draft, units, site = self._draft, self._draft.units, self._draft.site_of(cells)
        key = (cells.text("site"), cells.code("code"))
        building = draft.in_site(cells, site, draft.buildings, "building")
        area = cells.number("area_m2", Decimal(1), positive=True)
        if units.claim(cells, "code", key) and site is not None and building is not None:
            unit = Unit(
                id=UnitId(draft.identify(units.standing(key))),
                organisation_id=draft.organisation_id,
                site_id=site.id,
                building_id=building.id,
                code=cells.text("code"),
                floor=cells.text("floor"),
                area_m2=area if cells.has("area_m2") else None,
            )
            units.put(key, unit)

    def _take_gateway(self, cells: Cells) -> None:
        gateways, site = self._draft.gateways, self._draft.site_of(cells)
        key = (cells.text("site"), cells.code("code"))
        dialect = cells.choice("dialect", GATEWAY_DIALECTS)
        registration = cells.text("registration")
        if dialect not in ("", "tcp") and not registration:
            cells.refuse("registration", "is missing: by it a gateway that dials in is known")
        if gateways.claim(cells, "code", key) and site is not None:
            identity = Gateway(
                id=GatewayId(self._draft.identify(gateways.standing(key))),
                organisation_id=self._draft.organisation_id,
                site_id=site.id,
                code=cells.text("code"),
                dialect=dialect,
                registration=registration,
                secret_file=cells.text("secret_file"),
            )
            gateways.put(key, _with_state(identity, gateways.standing(key)))

    def _take_channel(self, cells: Cells) -> None:
        channels, site = self._draft.channels, self._draft.site_of(cells)
        key = (cells.text("site"), cells.code("code"))
        url = self._channel_url(cells)
        gateway = self._gateway(cells, site, url)
        window = cells.window("reading_window")
        devices_max = cells.count("devices_max", DEVICES_ON_A_BUS_MAX)
        if channels.claim(cells, "code", key) and site is not None:
            channel = Channel(
                id=ChannelId(self._draft.identify(channels.standing(key))),
                organisation_id=self._draft.organisation_id,
                site_id=site.id,
                code=cells.text("code"),
                url=cells.text("url"),
                gateway_id=None if gateway is None else gateway.id,
                window=window,
                devices_max=devices_max,
            )
            channels.put(key, _with_state(channel, channels.standing(key)))

    def _channel_url(self, cells: Cells) -> ChannelUrl | None:
        """Return the URL, checked by its channel type; None where it was refused."""
        if not cells.has("url"):
            return None
        try:
            url = ChannelUrl.parse(cells.text("url"))
            channel_type = self._plugins.channel_types.get(url.scheme)
            if channel_type is not None:
                channel_type.configure(url)
        except SettingsError as error:
            cells.refuse("url", str(error))
            return None
        if channel_type is None and url.scheme in DIAL_IN_SCHEMES:
            reason = f"no listener for {url.scheme}:// is installed, its meters stay unread"
            self._draft.warnings.append(cells.row.problem("url", reason))
        elif channel_type is None:
            known = (*self._plugins.channel_types, *DIAL_IN_SCHEMES)
            cells.refuse(
                "url", f"unknown kind of channel {url.scheme!r}{nearest(url.scheme, known)}"
            )
        return url

    def _gateway(self, cells: Cells, site: Site | None, url: ChannelUrl | None) -> Gateway | None:
        """Return the gateway that a channel names, by its code or by its registration."""
        draft = self._draft
        if cells.has("gateway"):
            return draft.in_site(cells, site, draft.gateways, "gateway")
        if url is None or site is None or url.scheme not in DIAL_IN_SCHEMES:
            return None
        registration = url.text.partition("://")[2].partition("?")[0]
        if url.scheme == "concentrator":
            registration = registration.partition("/")[0]
        in_site = {
            gateway.registration: gateway
            for gateway in draft.gateways.things.values()
            if gateway.site_id == site.id and gateway.registration
        }
        if registration not in in_site:
            near = nearest(registration, in_site)
            cells.refuse("url", f"no gateway registers as {registration!r}{near}")
        return in_site.get(registration)


def _with_state(thing: Linked, standing: Linked | None) -> Linked:
    """Return a thing with the link state that is known of it."""
    if standing is None:
        return thing
    return replace(
        thing,
        state=standing.state,
        state_since=standing.state_since,
        lost_reason=standing.lost_reason,
    )
