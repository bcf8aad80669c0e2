"""Judges a draft of an estate as a whole: what no single row can show."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

from meterplex.domain.bus_plan import BusConcern, Population, check_population
from meterplex.domain.estate import Channel, ChannelId, Meter
from meterplex.domain.estate_rules import parent_cycles, shared_places
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import BusTolerance, ChannelUrl, SettingsError
from meterplex.services.estate.draft import EstateDraft, Identified, Register
from meterplex.services.estate.known_devices import line_of

Key = TypeVar("Key", bound=Hashable)
Thing = TypeVar("Thing", bound=Identified)


def check_draft(draft: EstateDraft, plugins: PluginManager) -> None:
    """Add to the draft's problems and warnings what is wrong with it as a whole.

    What stands already and is not in the file is not blamed: each problem names a row.
    """
    _check_lines(draft)
    _check_registrations(draft)
    _check_addresses(draft)
    _check_populations(draft, plugins)
    _check_parents(draft)
    _check_bindings(draft)


def _check_lines(draft: EstateDraft) -> None:
    def line(key: tuple[str, str]) -> str | None:
        try:
            return line_of(ChannelUrl.parse(draft.channels.things[key].url))
        except SettingsError:
            return None

    _refuse_shared(
        draft, draft.channels, "url", line, lambda key: f"the line is that of channel {key[1]!r}"
    )


def _check_registrations(draft: EstateDraft) -> None:
    gateways = draft.gateways
    _refuse_shared(
        draft,
        gateways,
        "registration",
        lambda key: gateways.things[key].registration or None,
        lambda key: f"the registration is that of gateway {key[1]!r}",
    )


def _check_addresses(draft: EstateDraft) -> None:
    codes = {channel.id: channel.code for channel in draft.channels.things.values()}
    meters = draft.meters.things

    def place(serial: str) -> tuple[ChannelId, str] | None:
        meter = meters[serial]
        return None if meter.removed_at else (meter.channel_id, meter.address)

    def reason(serial: str) -> str:
        meter = meters[serial]
        channel = codes[meter.channel_id]
        return f"{meter.address} on channel {channel!r} is the address of meter {serial!r}"

    _refuse_shared(draft, draft.meters, "address", place, reason)


def _check_bindings(draft: EstateDraft) -> None:
    serials = {meter.id: meter.serial for meter in draft.meters.things.values()}
    codes = {point.id: point.code for point in draft.usage_points.things.values()}
    bindings = draft.bindings
    _refuse_shared(
        draft,
        bindings,
        "usage_point",
        lambda meter_id: bindings.things[meter_id].usage_point_id,
        lambda meter_id: (
            f"{codes[bindings.things[meter_id].usage_point_id]!r} is measured by meter "
            f"{serials[meter_id]!r}"
        ),
    )


def _refuse_shared(
    draft: EstateDraft,
    register: Register[Key, Thing],
    column: str,
    place: Callable[[Key], Hashable],
    reason: Callable[[Key], str],
) -> None:
    """Refuse every row but the first holder of a place that more than one thing claims."""
    placed = [(place(key), key) for key in register.things]
    for where, keys in shared_places(placed).items():
        if where is None:
            continue
        holder = next((key for key in keys if key not in register.rows), keys[0])
        for key in keys:
            row = register.rows.get(key)
            if key != holder and row is not None:
                draft.problems.append(row.problem(column, reason(holder)))


def _check_populations(draft: EstateDraft, plugins: PluginManager) -> None:
    on_channel: dict[ChannelId, list[Meter]] = {}
    for meter in draft.meters.things.values():
        if meter.removed_at is None:
            on_channel.setdefault(meter.channel_id, []).append(meter)
    for channel in draft.channels.things.values():
        if _is_shared(channel, plugins):
            _check_population(draft, plugins, channel, on_channel.get(channel.id, []))


def _is_shared(channel: Channel, plugins: PluginManager) -> bool:
    """Whether an RS-485 bus is behind a channel; behind one that dials in there always is."""
    try:
        url = ChannelUrl.parse(channel.url)
        channel_type = plugins.channel_types.get(url.scheme)
        return channel_type is None or channel_type.configure(url).shared_bus
    except SettingsError:
        return False


def _check_population(
    draft: EstateDraft, plugins: PluginManager, channel: Channel, meters: Iterable[Meter]
) -> None:
    newest = None
    tolerances: Counter[BusTolerance] = Counter()
    for meter in meters:
        model = plugins.models.get(meter.model)
        if model is not None:
            tolerances[model.bus] += 1
            newest = draft.meters.rows.get(meter.serial, newest)
    if newest is None:
        return
    populations = [Population(b.protocol, count, b.devices_max) for b, count in tolerances.items()]
    for warning in check_population(populations, channel.devices_max):
        problem = newest.problem("channel", f"{channel.code!r}: {warning.text}")
        if warning.concern is BusConcern.TOO_MANY_DEVICES:
            draft.problems.append(problem)
        else:
            draft.warnings.append(problem)


def _check_parents(draft: EstateDraft) -> None:
    points = draft.usage_points
    keys = {point.id: key for key, point in points.things.items()}
    parents = {point.id: point.parent_id for point in points.things.values()}
    for ring in parent_cycles(parents):
        row = next((points.rows[keys[each]] for each in ring if keys[each] in points.rows), None)
        if row is not None:
            way = " > ".join(keys[each][1] for each in (*ring, ring[0]))
            draft.problems.append(row.problem("parent_usage_point", f"goes in a ring: {way}"))
    for key, child in _new_without_meter(draft):
        reason = f"{key[1]!r} is new and has no meter yet"
        draft.warnings.append(points.rows[child].problem("parent_usage_point", reason))


def _new_without_meter(
    draft: EstateDraft,
) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Give each new usage point that is only named as a parent, with one that names it."""
    points = draft.usage_points
    children = {points.things[key].parent_id: key for key in reversed(points.rows)}
    for key, point in points.things.items():
        if points.standing(key) is None and key not in points.rows and point.id in children:
            yield key, children[point.id]
