"""Prices of its own for one meter: a tariff version with some of its amounts replaced.

An override changes what units and standing charges cost, nothing else: bands, blocks, calendar,
taxes and rounding stay the tariff's. What it leads to is a tariff version like any other, rated by
the same engine and checked as a whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Final

from meterplex.domain.money import Rounding, round_ratio
from meterplex.domain.tariff.faults import TariffError, TariffFault, find_faults
from meterplex.domain.tariff.version import Prices, TariffVersion

PRICE_DECIMALS_MAX: Final = 8
"""Of a price after a factor; as many as a tariff file may write."""


@dataclass(frozen=True, slots=True)
class PriceOverride:
    """What a meter pays otherwise than its tariff says.

    Attributes:
        prices: [block][band], instead of the tariff's own.
        season_prices: by name, instead of those that the season brings.
        factor_percent: of every energy price of the tariff; not together with the two above.
        standing: amounts by name of the standing charge.
    """

    prices: Prices | None = None
    season_prices: tuple[tuple[str, Prices], ...] = ()
    factor_percent: Decimal | None = None
    standing: tuple[tuple[str, Decimal], ...] = ()


def override_prices(tariff: TariffVersion, override: PriceOverride) -> TariffVersion:
    """Return a sound version with the prices of an override.

    Raises:
        TariffError: with everything in the override that does not fit the tariff, by the paths of
            the override; else with what is wrong in the version that came out, by the tariff's.
    """
    faults = [TariffFault(path, message) for path, message in _misfits(tariff, override)]
    if faults:
        raise TariffError(faults)
    standing, of_season = dict(override.standing), dict(override.season_prices)
    own = replace(
        tariff,
        prices=tariff.prices if override.prices is None else override.prices,
        seasons=tuple(
            season
            if season.prices is None
            else replace(season, prices=of_season.get(season.name, season.prices))
            for season in tariff.seasons
        ),
        standing=tuple(
            replace(each, amount=standing.get(each.name, each.amount)) for each in tariff.standing
        ),
    )
    if override.factor_percent is not None:
        own = _scaled(own, override.factor_percent)
    unsound = find_faults(own)
    if unsound:
        raise TariffError(unsound)
    return own


def _misfits(tariff: TariffVersion, override: PriceOverride) -> Iterator[tuple[str, str]]:
    of_season, factor = dict(override.season_prices), override.factor_percent
    if factor is not None and (override.prices is not None or of_season):
        yield "energy", "expected one of factor_percent and prices"
    if factor is not None and factor < 0:
        yield "energy.factor_percent", f"{factor} is negative"
    if override.prices is not None and not tariff.prices:
        yield "energy.prices", "every season of the tariff has prices of its own"
    with_prices = {season.name for season in tariff.seasons if season.prices is not None}
    for name in of_season:
        if name not in with_prices:
            yield f"seasons.{name}", f"the tariff has no season {name!r} with prices of its own"
    if override.prices is not None or of_season:
        yield from _forgotten(tariff, override, sorted(with_prices - of_season.keys()))
    names = {standing.name for standing in tariff.standing}
    for name in dict(override.standing):
        if name not in names:
            yield f"standing.{name}", f"the tariff has no standing charge {name!r}"


def _forgotten(
    tariff: TariffVersion, override: PriceOverride, seasons: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Some prices replaced and others not would be nobody's intention."""
    for name in seasons:
        yield f"seasons.{name}", "is missing: the season has prices of its own"
    if override.prices is None and tariff.prices:
        yield "energy.prices", "is missing: only prices of seasons are given"


def _scaled(tariff: TariffVersion, percent: Decimal) -> TariffVersion:
    def scaled(prices: Prices) -> Prices:
        return tuple(
            tuple(scale_price(price, percent, tariff.rounding) for price in row) for row in prices
        )

    return replace(
        tariff,
        prices=scaled(tariff.prices),
        seasons=tuple(
            season if season.prices is None else replace(season, prices=scaled(season.prices))
            for season in tariff.seasons
        ),
    )


def scale_price(price: Decimal, percent: Decimal, rounding: Rounding) -> Decimal:
    """Return a percentage of a price, exact up to 8 decimals, with no fewer than the price has."""
    exact = Fraction(price) * Fraction(percent) / 100
    steps = round_ratio(exact.numerator * 10**PRICE_DECIMALS_MAX, exact.denominator, rounding)
    decimals = PRICE_DECIMALS_MAX
    while decimals > _decimals(price) and steps % 10 == 0:
        steps, decimals = steps // 10, decimals - 1
    return Decimal(steps).scaleb(-decimals)


def _decimals(price: Decimal) -> int:
    exponent = price.as_tuple().exponent
    assert isinstance(exponent, int)
    return max(-exponent, 0)
