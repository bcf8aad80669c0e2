import json
import tomllib
from decimal import Decimal
from typing import Any

import pytest
from tests.domain.tariff_samples import FLAT, decimals

from meterplex.domain.tariff import PriceOverride, TariffError
from meterplex.services.tariffs.price_override import (
    describe_override,
    parse_override,
    tariff_of_meter,
)

DOCUMENT = """
[energy]
prices = [["0.58", "0.29"]]

[seasons]
summer = [["0.65", "0.31"]]

[standing]
"meter service" = "0.00"
"""
OVERRIDE = PriceOverride(
    prices=decimals("0.58 0.29"),
    season_prices=(("summer", decimals("0.65 0.31")),),
    standing=(("meter service", Decimal("0.00")),),
)


def test_document_is_read() -> None:
    assert parse_override(tomllib.loads(DOCUMENT)) == OVERRIDE


@pytest.mark.parametrize(
    "override",
    [OVERRIDE, PriceOverride(), PriceOverride(factor_percent=Decimal("95.50"))],
    ids=["prices", "nothing", "factor"],
)
def test_override_comes_back_from_its_document(override: PriceOverride) -> None:
    stored = json.loads(json.dumps(describe_override(override)))
    assert parse_override(stored) == override


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"enrgy": {}}, "enrgy: unknown key, did you mean 'energy'?"),
        ({"energy": {"price": []}}, "energy.price: unknown key, did you mean 'prices'?"),
        ({"energy": {"prices": [[0.5]]}}, "energy.prices[0][0]: expected a decimal as text"),
        ({"energy": {"prices": "0.5"}}, "energy.prices: expected a list, got '0.5'"),
        ({"energy": 7}, "energy: expected a table of keys, got 7"),
        ({"energy": {"factor_percent": 95}}, "energy.factor_percent: expected a decimal as text"),
        ({"seasons": {"summer": [["x"]]}}, "seasons.summer[0][0]: expected a decimal as text"),
        ({"standing": {"rent": 5}}, "standing.rent: expected a decimal as text"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_malformed_document_is_refused(document: dict[str, Any], fault: str) -> None:
    with pytest.raises(TariffError) as raised:
        parse_override(document)
    (found,) = raised.value.faults
    assert str(found).startswith(fault)


def test_meter_without_an_override_has_the_tariff_itself() -> None:
    assert tariff_of_meter(FLAT, None) is FLAT
    own = tariff_of_meter(FLAT, {"energy": {"factor_percent": "50"}})
    assert own.prices == decimals("0.2500")
