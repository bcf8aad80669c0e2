import json
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.tariff_cases import COMPONENTS, random_case, random_tariff
from tests.domain.tariff_samples import FLAT

from meterplex.domain.tariff import (
    ChargeLine,
    Component,
    ComponentField,
    ComponentKind,
    ComponentSettings,
    FieldKind,
    Rater,
    TariffComponent,
    TariffError,
)
from meterplex.services.tariffs.document import (
    TariffDocumentError,
    lines_from_json,
    lines_to_json,
    tariff_digest,
    tariff_from_text,
    tariff_to_text,
)
from meterplex.services.tariffs.file_format import parse_tariff

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
ROOF = TariffComponent(
    kind="rain",
    title="Rain water",
    fields=(
        ComponentField("price", FieldKind.DECIMAL, "per m2"),
        ComponentField("area", FieldKind.INTEGER, "m2", 100),
        ComponentField("roof", FieldKind.TEXT, "kind", "flat", ("flat", "steep")),
    ),
    charge=lambda _settings, _bill: (),
    plugin="roofs",
)
BERLIN = ZoneInfo("Europe/Berlin")
TWICE = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)
"""An instant whose wall time comes twice."""


@pytest.mark.parametrize("name", ["tariff.toml", "tariff-seasonal.toml"])
def test_example_comes_back_from_its_text(name: str) -> None:
    version = parse_tariff(tomllib.loads((EXAMPLES / name).read_text("utf-8")))
    assert tariff_from_text(tariff_to_text(version)) == version


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 32))
def test_any_tariff_comes_back_from_its_text(seed: int) -> None:
    version = random_tariff(Random(seed))
    text = tariff_to_text(version)
    assert tariff_from_text(text, COMPONENTS) == version
    assert tariff_to_text(tariff_from_text(text, COMPONENTS)) == text


def test_text_has_one_form() -> None:
    text = tariff_to_text(FLAT)
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert json.loads(text)["energy"] == {"prices": [["0.5000"]]}
    assert tariff_digest(FLAT) == sha256(text.encode()).hexdigest()
    assert tariff_digest(replace(FLAT, version=2)) != tariff_digest(FLAT)


def test_component_is_stored_with_the_defaults_it_was_published_with() -> None:
    values = (("price", Decimal("0.30")), ("area", 100), ("roof", "flat"))
    version = replace(FLAT, components=(Component(ROOF, "rain", ComponentSettings(values)),))
    text = tariff_to_text(version)
    assert json.loads(text)["rain"] == [
        {"name": "rain", "price": "0.30", "area": 100, "roof": "flat"}
    ]
    assert tariff_from_text(text, {"rain": ROOF}) == version


def test_stored_tariff_whose_plugin_is_gone_names_the_table() -> None:
    values = (("price", Decimal("0.30")), ("area", 100), ("roof", "flat"))
    version = replace(FLAT, components=(Component(ROOF, "rain", ComponentSettings(values)),))
    with pytest.raises(TariffError, match=r"^rain: unknown table; plugins bring .*: none$"):
        tariff_from_text(tariff_to_text(version))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000], ids=lambda text: text[:5])
def test_text_that_is_no_tariff_is_refused(text: str) -> None:
    with pytest.raises(TariffDocumentError, match="stored tariff is no"):
        tariff_from_text(text)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 32))
def test_lines_of_any_bill_come_back(seed: int) -> None:
    random = Random(seed)
    tariff, case = random_tariff(random), random_case(random)
    for bill in Rater(tariff).rate(case.usage).bills:
        rows = json.loads(json.dumps(lines_to_json(bill.lines)))
        assert lines_from_json(rows, tariff.time_zone) == bill.lines


def test_every_field_of_a_line_comes_back() -> None:
    line = ChargeLine(
        kind=ComponentKind.POWER_FACTOR,
        component="power factor",
        amount_units=-(10**20),
        start=TWICE,
        end=datetime(2026, 10, 26, tzinfo=BERLIN),
        units=Fraction(1, 3),
        unit="kWh",
        price=Decimal("0.6170"),
        block="第一档",
        band="peak",
        base_units=0,
        percent=Fraction(-7, 3),
        power_factor=Decimal("0.90"),
        tax_code="VAT13",
    )
    rows = json.loads(json.dumps(lines_to_json([line])))
    assert rows[0]["units"] == "1/3"
    (back,) = lines_from_json(rows, "Europe/Berlin")
    assert back == line
    assert back.start.astimezone(UTC) == TWICE.astimezone(UTC)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "gift"},
        {"units": "1/0"},
        {"units": "much"},
        {"price": "dear"},
        {"start": "today"},
        {"amount_units": None},
    ],
    ids=lambda change: f"{change}",
)
def test_row_that_is_no_line_is_refused(change: dict[str, object]) -> None:
    at = datetime(2026, 7, 1, tzinfo=BERLIN)
    rows = lines_to_json([ChargeLine(ComponentKind.STANDING, "rent", 5, at, at)])
    with pytest.raises(TariffDocumentError, match="stored charge line"):
        lines_from_json([rows[0] | change], "Europe/Berlin")


def test_row_without_an_amount_is_refused() -> None:
    with pytest.raises(TariffDocumentError, match="amount_units"):
        lines_from_json([{"kind": "standing", "component": "rent"}], "Europe/Berlin")
