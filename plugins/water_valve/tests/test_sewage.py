from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from meterplex.sdk import WATER, BillSoFar, ComponentLine, ComponentSettings
from meterplex_water_valve.plugin import meterplex_tariff_components
from meterplex_water_valve.sewage import SEWAGE, charge, check

BERLIN = ZoneInfo("Europe/Berlin")
JULY = BillSoFar(
    utility=WATER,
    currency="EUR",
    start=datetime(2026, 7, 1, tzinfo=BERLIN),
    end=datetime(2026, 8, 1, tzinfo=BERLIN),
    days=Fraction(31),
    months=Fraction(1),
    units=Fraction(30),
)


def table(price: str = "1.42", share: str = "95", free: str = "2") -> ComponentSettings:
    return ComponentSettings(
        (
            ("price", Decimal(price)),
            ("share_percent", Decimal(share)),
            ("free_units", Decimal(free)),
        )
    )


def test_example_of_the_readme() -> None:
    (line,) = charge(table(), JULY)
    assert line == ComponentLine(Fraction("37.772"), Fraction("26.6"), "m3", Decimal("1.42"))


@pytest.mark.parametrize("units", ["0", "1.9", "2"])
def test_free_units_cost_nothing(units: str) -> None:
    assert charge(table(), replace(JULY, units=Fraction(units))) == ()


def test_part_of_a_month_has_its_part_of_the_free_units() -> None:
    half = replace(JULY, months=Fraction(1, 2))
    (line,) = charge(table(share="100"), half)
    assert line.units == 29


def test_more_water_never_costs_less() -> None:
    amounts = [
        sum(Fraction(line.amount) for line in charge(table(), replace(JULY, units=Fraction(n, 7))))
        for n in range(60)
    ]
    assert amounts == sorted(amounts)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (table(price="-1"), "price"),
        (table(free="-0.5"), "free_units"),
        (table(share="0"), "share_percent"),
        (table(share="100.1"), "share_percent"),
    ],
    ids=["price", "free", "no share", "more than all"],
)
def test_impossible_value_is_told(settings: ComponentSettings, field: str) -> None:
    assert [name for name, _ in check(settings)] == [field]


def test_sound_table_has_no_faults() -> None:
    assert not list(check(table()))


def test_every_field_has_help_and_only_the_price_must_be_given() -> None:
    assert all(field.help for field in SEWAGE.fields)
    assert [field.name for field in SEWAGE.fields if field.default is None] == ["price"]


def test_plugin_gives_the_component() -> None:
    assert meterplex_tariff_components() == (SEWAGE,)
