"""What of a tariff a meter can hold itself: a price for each rate, and when each rate applies.

A meter charges energy alone, at one price a rate, on days that are all alike within a season. A
tariff that says more would be charged wrongly by the meter, so it is refused and told why.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from meterplex.domain.tariff import Season, Slot, TariffError, TariffFault, TariffVersion
from meterplex.sdk import Prices, Rate, RateChange, SeasonStart, TouCalendar

RATES: Final = (Rate.SHARP, Rate.PEAK, Rate.FLAT, Rate.VALLEY)
"""The rates that a meter has prices for; bands of these names are them."""


@dataclass(frozen=True, slots=True)
class MeterTerms:
    """A tariff as a meter holds it.

    Attributes:
        calendar: None where one price applies at any time, whatever calendar the meter has.
    """

    prices: Prices
    calendar: TouCalendar | None


def meter_terms(tariff: TariffVersion) -> MeterTerms:
    """Return a sound tariff as a meter holds it.

    Rates that no band names are not in the calendar; they get the tariff's lowest price, so that a
    meter which errs does not charge more than the tariff allows.

    Raises:
        TariffError: with everything that a meter cannot hold.
    """
    faults = [TariffFault(path, message) for path, message in _obstacles(tariff)]
    if faults:
        raise TariffError(faults)
    (prices,) = tariff.prices_of(tariff.seasons[0])
    if len(tariff.bands) == 1:
        return MeterTerms(_prices(dict.fromkeys(RATES, prices[0]), prices[0]), None)
    by_rate = {Rate(band): price for band, price in zip(tariff.bands, prices, strict=True)}
    return MeterTerms(_prices(by_rate, min(prices)), _calendar(tariff))


def _obstacles(tariff: TariffVersion) -> Iterator[tuple[str, str]]:
    rates = ", ".join(RATES)
    for band in tariff.bands:
        if len(tariff.bands) > 1 and band not in RATES:
            yield "bands.names", f"{band!r} is no rate of a meter: {rates}"
    first = tariff.prices_of(tariff.seasons[0])
    for index, season in enumerate(tariff.seasons):
        path = f"seasons[{index}]"
        if len(tariff.blocks_of(season)) > 1:
            yield f"{path}.blocks", "a meter holds no blocks"
        if tariff.prices_of(season) != first:
            yield f"{path}.prices", "a meter holds the same prices all year"
        if len({plan.slots for plan in season.days}) > 1:
            yield f"{path}.days", "a meter knows no kinds of days"
        if (season.month, season.day) == (2, 29):
            yield f"{path}.from", "a meter may not know 29 February"
    for section, components in (
        ("standing", tariff.standing),
        ("demand", tariff.demand),
        ("power_factor", tariff.power_factor),
        ("surcharge", tariff.surcharges),
        ("minimum", tariff.minimum is not None and tariff.minimum.amount),
        *((component.type.kind, True) for component in tariff.components),
    ):
        if components:
            yield section, "a meter charges energy alone"


def _prices(by_rate: dict[Rate, Decimal], rest: Decimal) -> Prices:
    return Prices(*(by_rate.get(rate, rest) for rate in RATES))


def _calendar(tariff: TariffVersion) -> TouCalendar:
    """Return the seasons in the order of the year, with each different day once."""
    days: dict[tuple[Slot, ...], int] = {}
    seasons = tuple(
        SeasonStart(season.month, season.day, days.setdefault(_day(season), len(days)))
        for season in sorted(tariff.seasons, key=lambda each: (each.month, each.day))
    )
    tables = tuple(tuple(RateChange(slot.at, Rate(slot.band)) for slot in day) for day in days)
    return TouCalendar(seasons, tables)


def _day(season: Season) -> tuple[Slot, ...]:
    """Return the slots of a season's days, those that change nothing left out."""
    slots = season.days[0].slots
    return tuple(
        slot for index, slot in enumerate(slots) if index == 0 or slot.band != slots[index - 1].band
    )
