from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.tariff_cases import random_tariff
from tests.domain.tariff_samples import FLAT, blocks, decimals, month_of, only_bill

from meterplex.domain.money import Rounding
from meterplex.domain.tariff import (
    PriceOverride,
    Span,
    Standing,
    TariffError,
    TariffVersion,
    find_faults,
    override_prices,
)
from meterplex.domain.tariff.override import scale_price

STEPPED = replace(
    FLAT,
    blocks=blocks("100"),
    prices=decimals("0.5", "0.6"),
    standing=(Standing("rent", Span.MONTH, Decimal(5)), Standing("pole", Span.DAY, Decimal(1))),
)
YEAR = FLAT.seasons[0]
SEASONAL = replace(
    STEPPED,
    seasons=(
        replace(YEAR, name="winter"),
        replace(YEAR, name="summer", month=6, prices=decimals("0.7", "0.8")),
    ),
)
ALL_SEASONAL = replace(
    SEASONAL,
    prices=(),
    seasons=tuple(replace(season, prices=decimals("1", "2")) for season in SEASONAL.seasons),
)


def faults_of(tariff: TariffVersion, override: PriceOverride) -> list[str]:
    with pytest.raises(TariffError) as raised:
        override_prices(tariff, override)
    return [str(fault) for fault in raised.value.faults]


def test_matrix_replaces_the_prices_and_nothing_else() -> None:
    own = override_prices(STEPPED, PriceOverride(prices=decimals("0.4", "0.45")))
    assert own == replace(STEPPED, prices=decimals("0.4", "0.45"))
    assert only_bill(own, month_of("150")).total_units == 400_000 + 225_000 + 50_000 + 310_000


def test_standing_amount_is_replaced_by_its_name() -> None:
    own = override_prices(STEPPED, PriceOverride(standing=(("rent", Decimal(0)),)))
    assert own.standing == (replace(STEPPED.standing[0], amount=Decimal(0)), STEPPED.standing[1])
    assert own.prices == STEPPED.prices


def test_factor_scales_every_energy_price() -> None:
    own = override_prices(SEASONAL, PriceOverride(factor_percent=Decimal(95)))
    assert own.prices == decimals("0.475", "0.57")
    assert own.seasons[0].prices is None
    assert own.seasons[1].prices == decimals("0.665", "0.76")


def test_seasons_with_prices_of_their_own_are_replaced_by_name() -> None:
    override = PriceOverride(
        prices=decimals("1", "2"), season_prices=(("summer", decimals("3", "4")),)
    )
    own = override_prices(SEASONAL, override)
    assert own.prices == decimals("1", "2")
    assert [season.prices for season in own.seasons] == [None, decimals("3", "4")]


def test_override_of_nothing_is_the_tariff() -> None:
    assert override_prices(SEASONAL, PriceOverride()) == SEASONAL


@pytest.mark.parametrize(
    ("tariff", "override", "faults"),
    [
        (
            STEPPED,
            PriceOverride(prices=decimals("1", "2"), factor_percent=Decimal(90)),
            ["energy: expected one of factor_percent and prices"],
        ),
        (
            STEPPED,
            PriceOverride(factor_percent=Decimal(-1)),
            ["energy.factor_percent: -1 is negative"],
        ),
        (
            ALL_SEASONAL,
            PriceOverride(
                prices=decimals("1", "2"),
                season_prices=(("summer", decimals("1", "2")), ("winter", decimals("1", "2"))),
            ),
            ["energy.prices: every season of the tariff has prices of its own"],
        ),
        (
            SEASONAL,
            PriceOverride(
                prices=decimals("1", "2"),
                season_prices=(("summer", decimals("1", "2")), ("winter", decimals("1", "2"))),
            ),
            ["seasons.winter: the tariff has no season 'winter' with prices of its own"],
        ),
        (
            SEASONAL,
            PriceOverride(prices=decimals("1", "2")),
            ["seasons.summer: is missing: the season has prices of its own"],
        ),
        (
            SEASONAL,
            PriceOverride(season_prices=(("summer", decimals("1", "2")),)),
            ["energy.prices: is missing: only prices of seasons are given"],
        ),
        (
            STEPPED,
            PriceOverride(standing=(("rant", Decimal(1)),)),
            ["standing.rant: the tariff has no standing charge 'rant'"],
        ),
        (
            STEPPED,
            PriceOverride(prices=decimals("1")),
            ["energy.prices: 1 rows of prices for 2 blocks"],
        ),
        (
            STEPPED,
            PriceOverride(standing=(("pole", Decimal(-1)),)),
            ["standing[1].amount: -1 is negative"],
        ),
    ],
    ids=[
        "both",
        "negative factor",
        "no prices",
        "no season",
        "season forgotten",
        "tariff forgotten",
        "no standing",
        "other shape",
        "negative standing",
    ],
)
def test_override_that_does_not_fit_is_refused(
    tariff: TariffVersion, override: PriceOverride, faults: list[str]
) -> None:
    assert faults_of(tariff, override) == faults


def test_all_seasons_may_be_overridden_without_prices_of_the_tariff() -> None:
    override = PriceOverride(
        season_prices=(("summer", decimals("1", "3")), ("winter", decimals("2", "4")))
    )
    own = override_prices(ALL_SEASONAL, override)
    assert [season.prices for season in own.seasons] == [decimals("2", "4"), decimals("1", "3")]


@pytest.mark.parametrize(
    ("price", "percent", "scaled"),
    [
        ("0.6170", "95", "0.58615"),
        ("0.6170", "100", "0.6170"),
        ("0.5000", "90", "0.4500"),
        ("0.00000001", "50", "0.00000001"),
        ("7", "33.3333", "2.333331"),
        ("0.12345678", "33.3", "0.04111111"),
        ("5", "0", "0"),
    ],
)
def test_factor_keeps_the_decimals_and_adds_what_is_needed(
    price: str, percent: str, scaled: str
) -> None:
    assert f"{scale_price(Decimal(price), Decimal(percent), Rounding.HALF_UP):f}" == scaled


def test_half_is_rounded_as_the_tariff_says() -> None:
    assert scale_price(Decimal("0.00000001"), Decimal(50), Rounding.HALF_EVEN) == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1 << 32), st.decimals(0, 300, places=3))
def test_scaled_tariff_is_sound_and_whole_percent_is_the_tariff(seed: int, factor: Decimal) -> None:
    tariff = random_tariff(Random(seed))
    assert not find_faults(override_prices(tariff, PriceOverride(factor_percent=factor)))
    assert override_prices(tariff, PriceOverride(factor_percent=Decimal(100))) == tariff
