"""Lays the rows of the table ``meter`` over a draft: the meter, its usage point, its binding."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from meterplex.domain.estate import (
    Binding,
    BindingId,
    Channel,
    Meter,
    MeterId,
    Site,
    UsagePoint,
    UsagePointId,
)
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import MeterModel, PluginError, SettingsError
from meterplex.sdk.settings import complete_settings
from meterplex.services.estate.draft import EstateDraft
from meterplex.services.estate.file_format import Cells, nearest

_ONE: Final = Decimal(1)


class MeterRows:
    """Takes rows of meters; sites, units and channels must be in the draft already."""

    def __init__(self, draft: EstateDraft, plugins: PluginManager, at: datetime) -> None:
        self._draft = draft
        self._plugins = plugins
        self._at = at

    def take(self, cells: Cells) -> None:
        """Take one row."""
        draft, serial = self._draft, cells.code("serial")
        site = draft.site_of(cells)
        model = self._model(cells, site)
        channel = draft.in_site(cells, site, draft.channels, "channel")
        address = self._address(cells, model)
        ratios = [cells.number(column, _ONE, positive=True) for column in ("ct", "pt")]
        meter = self._meter(cells, model, channel, address)
        if not draft.meters.claim(cells, "serial", serial):
            return
        if site is None or model is None or meter is None:
            return
        draft.meters.put(serial, meter)
        self._bind(cells, meter, self._usage_point(cells, site, model), ratios[0], ratios[1])

    def _model(self, cells: Cells, site: Site | None) -> MeterModel | None:
        name, models = cells.text("model"), self._plugins.models
        if not name:
            return None
        model = models.get(name)
        if model is None:
            cells.refuse("model", f"no plugin has the model {name!r}{nearest(name, models)}")
        elif site is not None and model.utility not in site.utilities:
            cells.refuse("model", f"{model.utility} is not enabled at site {site.code!r}")
        return model

    def _address(self, cells: Cells, model: MeterModel | None) -> str:
        address = cells.text("address")
        if model is None or not address:
            return address
        try:
            return self._plugins.check_address(model.id, address)
        except (SettingsError, PluginError) as error:
            cells.refuse("address", str(error))
            return address

    def _meter(
        self, cells: Cells, model: MeterModel | None, channel: Channel | None, address: str
    ) -> Meter | None:
        interval = cells.interval("reading_interval")
        settings = {
            column.removeprefix("settings."): text
            for column, text in cells.row.cells.items()
            if column.startswith("settings.")
        }
        if model is None or channel is None:
            return None
        try:
            complete_settings(model.settings, settings, f"model {model.id}")
        except SettingsError as error:
            cells.refuse("settings", str(error))
        meter = Meter(
            id=MeterId(self._draft.identify(self._draft.meters.standing(cells.text("serial")))),
            organisation_id=self._draft.organisation_id,
            site_id=channel.site_id,
            channel_id=channel.id,
            serial=cells.text("serial"),
            model=model.id,
            address=address,
            reading_interval=interval,
            settings=settings,
        )
        standing = self._draft.meters.standing(meter.serial)
        if standing is None:
            return meter
        return replace(
            meter,
            state=standing.state,
            state_since=standing.state_since,
            lost_reason=standing.lost_reason,
            flags=standing.flags,
        )

    def _usage_point(self, cells: Cells, site: Site, model: MeterModel) -> UsagePoint | None:
        """Lay the meter's usage point and its parent over the draft."""
        draft, code = self._draft, cells.code("usage_point")
        unit = draft.in_site(cells, site, draft.units, "unit")
        if not code:
            for column in ("unit", "parent_usage_point"):
                if cells.has(column):
                    cells.refuse(column, "needs a usage_point beside it")
            return None
        parent = None
        if cells.has("parent_usage_point"):
            parent = self._point_made_if_new(cells, site, model, "parent_usage_point")
        point = self._point_made_if_new(cells, site, model, "usage_point")
        if point.utility != model.utility:
            cells.refuse("usage_point", f"{code!r} is for {point.utility}, not {model.utility}")
        point = replace(
            point,
            unit_id=None if unit is None else unit.id,
            parent_id=None if parent is None else parent.id,
        )
        key = (site.code, code)
        if cells.sound and draft.usage_points.claim(cells, "usage_point", key):
            draft.usage_points.put(key, point)
        return point

    def _point_made_if_new(
        self, cells: Cells, site: Site, model: MeterModel, column: str
    ) -> UsagePoint:
        points, key = self._draft.usage_points, (site.code, cells.code(column))
        point = points.things.get(key)
        if point is None:
            point = UsagePoint(
                id=UsagePointId(self._draft.new_id()),
                organisation_id=self._draft.organisation_id,
                site_id=site.id,
                code=key[1],
                utility=model.utility,
            )
            points.put(key, point)
        return point

    def _bind(
        self, cells: Cells, meter: Meter, point: UsagePoint | None, ct: Decimal, pt: Decimal
    ) -> None:
        """Bind a meter to its usage point; a change of point or ratio begins a new binding."""
        bindings = self._draft.bindings
        standing = bindings.standing(meter.id)
        if point is None and standing is None:
            if ct != _ONE or pt != _ONE:
                cells.refuse("ct", "ct and pt need a usage_point to apply to")
            return
        point_id = standing.usage_point_id if point is None and standing else None
        if point is not None:
            point_id = point.id
        assert point_id is not None
        bindings.rows[meter.id] = cells.row
        now = (point_id, ct, pt)
        if standing is not None and now == (standing.usage_point_id, standing.ct, standing.pt):
            return
        if standing is not None and standing.account_id is not None:
            cells.refuse("usage_point", "the meter belongs to an account: use meterplex account")
            return
        binding = Binding(
            id=BindingId(self._draft.new_id()),
            organisation_id=self._draft.organisation_id,
            meter_id=meter.id,
            usage_point_id=point_id,
            since=self._at,
            ct=ct,
            pt=pt,
        )
        bindings.put(meter.id, binding)
