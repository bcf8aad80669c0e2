"""What can be wrong with a tariff version, told with the path of the field, all at once."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from meterplex.domain.registers import ELECTRICITY, Unit
from meterplex.domain.tariff.components import Component
from meterplex.domain.tariff.version import (
    BASE_UNITS,
    KINDS_NAMED,
    POWER_FACTOR_NAME,
    Block,
    ComponentKind,
    DayType,
    Demand,
    PowerFactor,
    Prices,
    Season,
    Slot,
    Span,
    Standing,
    Surcharge,
    TariffVersion,
)

BANDS_MAX: Final = 5
SLOTS_MAX: Final = 14
DEMAND_WINDOWS_MIN: Final = (15, 30)
_LEAP_YEAR: Final = 2024


@dataclass(frozen=True, slots=True)
class TariffFault:
    """One thing that is wrong; ``path`` as in ``seasons[0].days[1].slots``."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class TariffError(Exception):
    """A tariff version that cannot be rated; ``faults`` has at least one entry."""

    def __init__(self, faults: Sequence[TariffFault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def find_faults(tariff: TariffVersion) -> tuple[TariffFault, ...]:
    """Return everything that keeps a version from being rated; empty when it is sound."""
    return tuple(
        TariffFault(path, message)
        for part in (_head, _bands, _seasons, _matrices, _components, _applications, _minimum)
        for path, message in part(tariff)
    )


Findings = Iterator[tuple[str, str]]


def _head(tariff: TariffVersion) -> Findings:
    if not tariff.id:
        yield "id", "is empty"
    if tariff.version < 1:
        yield "version", f"{tariff.version} is below 1"
    if tariff.utility not in BASE_UNITS:
        yield "utility", f"{tariff.utility!r} is not one of {', '.join(BASE_UNITS)}"
    if not re.fullmatch("[A-Z]{3}", tariff.currency):
        yield "currency", f"{tariff.currency!r} is no ISO 4217 code of three capital letters"
    try:
        ZoneInfo(tariff.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield "time_zone", f"{tariff.time_zone!r} is no time zone"
    if not 1970 <= tariff.valid_from.year < 2200:
        yield "valid_from", f"{tariff.valid_from} is not between 1970 and 2199"
    for name, span in (("blocks", tariff.block_span), ("billing", tariff.billing_span)):
        if span is Span.DAY:
            yield f"periods.{name}", "'day' is neither month nor year"
    for day in sorted(tariff.holidays.dates & tariff.holidays.working_days):
        yield "holidays.working_days", f"{day} is also a holiday"


def _bands(tariff: TariffVersion) -> Findings:
    if not 1 <= len(tariff.bands) <= BANDS_MAX:
        yield "bands.names", f"{len(tariff.bands)} bands, allowed are 1 to {BANDS_MAX}"
    yield from _names("bands.names", tariff.bands)


def _names(path: str, names: Sequence[str]) -> Findings:
    for name, count in Counter(names).items():
        if not name:
            yield path, "a name is empty"
        elif count > 1:
            yield path, f"{name!r} is there {count} times"


def _seasons(tariff: TariffVersion) -> Findings:
    if not tariff.seasons:
        yield "seasons", "gap in the calendar: there is no season"
    first_days: dict[tuple[int, int], int] = {}
    for index, season in enumerate(tariff.seasons):
        path = f"seasons[{index}]"
        if not season.name:
            yield f"{path}.name", "is empty"
        try:
            date(_LEAP_YEAR, season.month, season.day)
        except ValueError:
            yield f"{path}.from", f"{season.month:02}-{season.day:02} is no day of the year"
        other = first_days.setdefault((season.month, season.day), index)
        if other != index:
            yield f"{path}.from", f"overlaps seasons[{other}], which begins on the same day"
        yield from _days(path, season, tariff.bands)


def _days(path: str, season: Season, bands: Sequence[str]) -> Findings:
    plan_of: dict[DayType, int] = {}
    for index, plan in enumerate(season.days):
        for day_type in plan.types:
            if day_type in plan_of:
                yield (
                    f"{path}.days[{index}].types",
                    f"{day_type.value} has slots already in days[{plan_of[day_type]}]",
                )
            plan_of[day_type] = index
        yield from _slots(f"{path}.days[{index}].slots", plan.slots, bands)
    for day_type in DayType:
        if day_type not in plan_of:
            yield f"{path}.days", f"gap in the calendar: no slots for {day_type.value}"


def _slots(path: str, slots: Sequence[Slot], bands: Sequence[str]) -> Findings:
    if len(slots) > SLOTS_MAX:
        yield path, f"{len(slots)} slots, allowed are {SLOTS_MAX}"
    if not slots or slots[0].at != time.min:
        yield path, "gap in the calendar: the first slot must begin at 00:00"
    for index, (before, after) in enumerate(pairwise(slots), start=1):
        if after.at <= before.at:
            yield (
                f"{path}[{index}].at",
                f"{after.at:%H:%M} does not come after the slot before it, {before.at:%H:%M}",
            )
    for index, slot in enumerate(slots):
        if slot.band not in bands:
            yield f"{path}[{index}].band", f"unknown band {slot.band!r}"


def _matrices(tariff: TariffVersion) -> Findings:
    """Blocks and prices: the tariff's own once, then those of each season that brings any."""
    bands = len(tariff.bands)
    inherits_blocks = any(season.blocks is None for season in tariff.seasons)
    inherits_both = any(
        season.blocks is None and season.prices is None for season in tariff.seasons
    )
    if tariff.blocks or inherits_blocks:
        yield from _blocks("blocks", tariff.blocks)
    if tariff.prices or inherits_both:
        yield from _prices("energy.prices", tariff.prices, len(tariff.blocks), bands)
    for index, season in enumerate(tariff.seasons):
        path = f"seasons[{index}]"
        if season.blocks is not None:
            yield from _blocks(f"{path}.blocks", season.blocks)
        if season.blocks is not None or season.prices is not None:
            blocks = len(tariff.blocks_of(season))
            yield from _prices(f"{path}.prices", tariff.prices_of(season), blocks, bands)


def _blocks(path: str, blocks: Sequence[Block]) -> Findings:
    if not blocks:
        yield path, "there is no block"
        return
    yield from _names(path, [block.name for block in blocks])
    below = Decimal(0)
    for index, block in enumerate(blocks[:-1]):
        where = f"{path}[{index}].up_to"
        if block.up_to is None:
            yield where, "only the last block has no upper limit"
        elif block.up_to <= below:
            yield where, f"overlapping blocks: {block.up_to} is not above {below}"
        else:
            below = block.up_to
    if blocks[-1].up_to is not None:
        yield (
            f"{path}[{len(blocks) - 1}].up_to",
            f"gap: no block for use above {blocks[-1].up_to}; the last block has no limit",
        )


def _prices(path: str, prices: Prices, blocks: int, bands: int) -> Findings:
    if len(prices) != blocks:
        yield path, f"{len(prices)} rows of prices for {blocks} blocks"
    for row, cells in enumerate(prices):
        if len(cells) != bands:
            yield f"{path}[{row}]", f"{len(cells)} prices for {bands} bands"
        for column, price in enumerate(cells):
            if price < 0:
                yield f"{path}[{row}][{column}]", f"price {price} is negative"


def _components(tariff: TariffVersion) -> Findings:
    for index, standing in enumerate(tariff.standing):
        if standing.per is Span.YEAR:
            yield f"standing[{index}].per", "'year' is neither day nor month"
        if standing.amount < 0:
            yield f"standing[{index}].amount", f"{standing.amount} is negative"
    if tariff.demand and BASE_UNITS.get(tariff.utility, Unit.KWH) is not Unit.KWH:
        yield "demand", f"{tariff.utility} is not measured in kWh, so it has no kW"
    for index, demand in enumerate(tariff.demand):
        if demand.window_min not in DEMAND_WINDOWS_MIN:
            yield f"demand[{index}].window_min", f"{demand.window_min} is neither 15 nor 30"
        if demand.price_per_kw < 0:
            yield f"demand[{index}].price_per_kw", f"{demand.price_per_kw} is negative"
    if tariff.power_factor is not None:
        if tariff.utility != ELECTRICITY:
            yield "power_factor", f"{tariff.utility} has no power factor"
        yield from _power_factor(tariff.power_factor)
    kinds = [component.type.kind for component in tariff.components]
    if kinds != sorted(kinds):
        yield "components", f"are not by kind: {', '.join(kinds)}"
    for path, component in _plugin_components(tariff):
        for key, message in component.faults(tariff.utility):
            yield f"{path}.{key}" if key else path, message


def _plugin_components(tariff: TariffVersion) -> Iterator[tuple[str, Component]]:
    """Yield the components of plugins, each with its path: they are counted by kind."""
    counts: Counter[str] = Counter()
    for component in tariff.components:
        kind = component.type.kind
        yield f"{kind}[{counts[kind]}]", component
        counts[kind] += 1


def _power_factor(power_factor: PowerFactor) -> Findings:
    if not 0 < power_factor.target <= 1:
        yield "power_factor.target", f"{power_factor.target} is not above 0 and at most 1"
    yield from _steps("below", power_factor, downwards=True)
    yield from _steps("above", power_factor, downwards=False)
    for index, step in enumerate(power_factor.table):
        path = f"power_factor.table[{index}]"
        if (step.below is None) == (step.above is None):
            yield path, "expected one of below and above"
        if step.per <= 0:
            yield f"{path}.per", f"{step.per} is not above 0"
        if step.at_most is not None and step.at_most * step.percent < 0:
            yield f"{path}.at_most", f"{step.at_most} has not the sign of percent"


def _steps(side: str, power_factor: PowerFactor, *, downwards: bool) -> Findings:
    """Thresholds of one side begin at the target or beyond it and move away from it."""
    sign = -1 if downwards else 1
    last: Decimal | None = None
    for index, step in enumerate(power_factor.table):
        threshold = step.below if downwards else step.above
        if threshold is None:
            continue
        beyond = (threshold - (power_factor.target if last is None else last)) * sign
        if beyond < 0 or (beyond == 0 and last is not None):
            than = f"target {power_factor.target}" if last is None else f"{last} before it"
            yield f"power_factor.table[{index}].{side}", f"{threshold} is not {side} {than}"
        last = threshold


def _applications(tariff: TariffVersion) -> Findings:
    """Names of components, and that each ``applies_to`` names something evaluated before."""
    taken = {kind.value: "another kind of component" for kind in ComponentKind}
    taken[POWER_FACTOR_NAME] = "the power factor charge"
    named: list[str] = []
    parts: tuple[tuple[str, Sequence[Standing | Demand | Component | Surcharge]], ...] = (
        ("standing", tariff.standing),
        ("demand", tariff.demand),
        ("plugin", tariff.components),
        ("surcharge", tariff.surcharges),
    )
    plugin_paths = [path for path, _ in _plugin_components(tariff)]
    for section, components in parts:
        taken.pop(section)
        if section == "surcharge" and tariff.power_factor is not None:
            yield from _applies_to("power_factor", tariff.power_factor.applies_to, named)
        for index, component in enumerate(components):
            path = plugin_paths[index] if section == "plugin" else f"{section}[{index}]"
            if not component.name:
                yield f"{path}.name", "is empty"
            elif component.name in taken:
                yield f"{path}.name", f"{component.name!r} is already {taken[component.name]}"
            if isinstance(component, Surcharge):
                yield from _surcharge(path, component, named)
            taken.setdefault(component.name, path)
            named.append(component.name)
        taken.setdefault(section, "another kind of component")


def _surcharge(path: str, surcharge: Surcharge, named: Sequence[str]) -> Findings:
    if (surcharge.per_unit is None) == (surcharge.percent is None):
        yield path, "expected one of per_unit and percent"
    elif surcharge.percent is not None:
        yield from _applies_to(path, surcharge.applies_to, named)
    elif surcharge.applies_to not in ((), (ComponentKind.ENERGY.value,)):
        yield f"{path}.applies_to", "per_unit goes by the units used: only 'energy' fits"


def _applies_to(path: str, names: Sequence[str], named: Sequence[str]) -> Findings:
    if not names:
        yield f"{path}.applies_to", "names no component"
    for name in names:
        if name not in KINDS_NAMED and name not in named:
            yield f"{path}.applies_to", f"{name!r} is no component before this one"


def _minimum(tariff: TariffVersion) -> Findings:
    if tariff.minimum is None:
        return
    if tariff.minimum.per is Span.YEAR:
        yield "minimum.per", "'year' is neither day nor month"
    if tariff.minimum.amount < 0:
        yield "minimum.amount", f"{tariff.minimum.amount} is negative"
