import json
import tomllib
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.tariff_cases import COMPONENTS, drain, dues

from meterplex.domain.tariff import (
    ComponentField,
    FieldKind,
    Holidays,
    Rater,
    TariffComponent,
    TariffError,
    find_faults,
)
from meterplex.services.tariffs import files as tariff_files
from meterplex.services.tariffs.file_format import parse_tariff
from meterplex.services.tariffs.files import (
    IntervalsError,
    TariffFileError,
    read_tariff,
    read_usage,
)
from meterplex.services.tariffs.rated_document import describe, format_units

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
HEADER = "start,end,units\n"
HOUR = "2026-07-01T00:00:00+08:00,2026-07-01T01:00:00+08:00"


def document() -> dict[str, Any]:
    return tomllib.loads((EXAMPLES / "tariff.toml").read_text("utf-8"))


def faults_of(tariff: dict[str, Any]) -> list[str]:
    with pytest.raises(TariffError) as raised:
        parse_tariff(tariff)
    return [str(fault) for fault in raised.value.faults]


def write(folder: Path, text: str, name: str = "intervals.csv") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_example_comes_out_to_the_digit() -> None:
    rating = Rater(read_tariff(EXAMPLES / "tariff.toml")).rate(
        read_usage(EXAMPLES / "intervals.csv")
    )
    assert describe(rating) == json.loads((EXAMPLES / "rated.json").read_text("utf-8"))


def test_seasonal_example_is_sound() -> None:
    tariff = read_tariff(EXAMPLES / "tariff-seasonal.toml")
    assert [season.name for season in tariff.seasons] == ["winter", "summer"]
    assert tariff.blocks_of(tariff.seasons[1])[0].up_to == 260


def test_json_says_the_same_as_toml(tmp_path: Path) -> None:
    text = json.dumps(document(), default=date.isoformat)
    assert read_tariff(write(tmp_path, text, "tariff.JSON")) == read_tariff(
        EXAMPLES / "tariff.toml"
    )


def test_holidays_are_dates() -> None:
    tariff = document() | {
        "holidays": {"dates": [date(2026, 10, 1), "2026-10-02"], "working_days": ["2026-10-10"]}
    }
    assert parse_tariff(tariff).holidays == Holidays(
        frozenset({date(2026, 10, 1), date(2026, 10, 2)}), frozenset({date(2026, 10, 10)})
    )


def change(*path: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    def edit(tariff: Any) -> None:
        for key in path[:-1]:
            tariff = tariff[key]
        tariff[path[-1]] = to

    return edit


def drop(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def edit(tariff: Any) -> None:
        for key in path[:-1]:
            tariff = tariff[key]
        del tariff[path[-1]]

    return edit


@pytest.mark.parametrize(
    ("edit", "faults"),
    [
        (drop("id"), ["id: is missing"]),
        (change("id", to=7), ["id: expected text, got 7"]),
        (change("version", to=True), ["version: expected a whole number, got True"]),
        (change("version", to="3"), ["version: expected a whole number, got '3'"]),
        (
            change("rounding", to="up"),
            ["rounding: expected one of half_up, half_even, got 'up'"],
        ),
        (
            change("valid_from", to="July"),
            ["valid_from: expected a date, for example 2026-07-01, got 'July'"],
        ),
        (
            change("valid_from", to=5),
            ["valid_from: expected a date, for example 2026-07-01, got 5"],
        ),
        (drop("periods", "blocks"), ["periods.blocks: is missing"]),
        (
            drop("periods"),
            [
                "periods: is missing",
                "periods.blocks: is missing",
                "periods.billing: is missing",
                "periods.block_allocation: is missing",
            ],
        ),
        (change("periods", "blcks", to=1), ["periods.blcks: unknown key, did you mean 'blocks'?"]),
        (change("zzz", to=1), ["zzz: unknown key"]),
        (
            change("seasons", 0, "from", to="1-1"),
            ["seasons[0].from: expected a month and day, for example \"05-01\", got '1-1'"],
        ),
        (
            change("seasons", 0, "days", 0, "slots", 1, "at", to="24:00"),
            [
                'seasons[0].days[0].slots[1].at: expected a time of day, for example "06:00", '
                "got '24:00'"
            ],
        ),
        (
            change("seasons", 0, "days", 0, "slots", 1, to=[]),
            [
                "seasons[0].days[0].slots[1]: expected a table of keys, got []",
                "seasons[0].days[0].slots[1].at: is missing",
                "seasons[0].days[0].slots[1].band: is missing",
            ],
        ),
        (change("seasons", to={}), ["seasons: expected a list, got {}"]),
        (drop("seasons"), ["seasons: gap in the calendar: there is no season"]),
        (
            change("energy", "prices", 1, 0, to=0.5),
            ['energy.prices[1][0]: expected a decimal as text, for example "0.6170", got 0.5'],
        ),
        (
            change("energy", "prices", 1, to="0.5"),
            ["energy.prices[1]: expected a list, got '0.5'"],
        ),
        (
            drop("energy", "prices"),
            ["energy.prices: 0 rows of prices for 3 blocks"],
        ),
        (drop("energy"), ["energy.prices: 0 rows of prices for 3 blocks"]),
        (
            change("blocks", 0, "up_to", to="1e9"),
            ["blocks[0].up_to: expected a decimal as text, for example \"0.6170\", got '1e9'"],
        ),
        (
            change("minimum", "amount", to="9" * 80),
            [
                'minimum.amount: expected a decimal as text, for example "0.6170", got '
                f"'{'9' * 56}..."
            ],
        ),
        (
            change("seasons", 0, "days", 0, "slots", 1, "band", to="noon"),
            ["seasons[0].days[0].slots[1].band: unknown band 'noon'"],
        ),
        (
            change("surcharge", 1, "applies_to", to=["funds", "levy"]),
            ["surcharge[1].applies_to: 'levy' is no component before this one"],
        ),
        (
            change("seasons", 0, "from", to="02-30"),
            ["seasons[0].from: 02-30 is no day of the year"],
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_bad_tariff_is_refused_with_the_path(
    edit: Callable[[dict[str, Any]], None], faults: list[str]
) -> None:
    tariff = document()
    edit(tariff)
    assert faults_of(tariff) == faults


def test_everything_wrong_is_told_but_no_echo() -> None:
    tariff = document()
    tariff["blocks"][0]["up_to"] = "many"  # would leave the blocks in disorder too
    tariff["currency"] = "yuan"
    tariff["demand"][0]["window_min"] = 20
    tariff["oops"] = 1
    assert faults_of(tariff) == [
        "blocks[0].up_to: expected a decimal as text, for example \"0.6170\", got 'many'",
        "oops: unknown key",
        "currency: 'yuan' is no ISO 4217 code of three capital letters",
        "demand[0].window_min: 20 is neither 15 nor 30",
    ]


def test_every_key_of_the_format_is_read() -> None:
    tariff = parse_tariff(document())
    assert find_faults(tariff) == ()
    assert tariff.power_factor is not None
    assert tariff.power_factor.table[1].at_most == Decimal("-0.75")
    assert tariff.surcharges[1].tax_code == "VAT13"
    assert tariff.minimum is not None


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("t.toml", "id =", "Invalid value"),
        ("t.json", "{", "Expecting property name"),
        ("t.json", "[" * 100_000, "recursion"),
        ("t.json", "[]", "expected a table of keys"),
        ("t.toml", "#" * 2_000_000, "2000000 bytes, allowed are 1048576"),
    ],
    ids=["toml", "json", "deep json", "list", "large"],
)
def test_unreadable_tariff_file(tmp_path: Path, name: str, text: str, reason: str) -> None:
    with pytest.raises(TariffFileError, match=reason):
        read_tariff(write(tmp_path, text, name))


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(TariffFileError, match="No such file"):
        read_tariff(tmp_path / "none.toml")
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TariffFileError, match="decode"):
        read_usage(tmp_path / "x.csv")


def test_rows_may_come_in_any_order_and_with_a_byte_order_mark(tmp_path: Path) -> None:
    later = HOUR.replace("T01", "T02").replace("T00", "T01")
    text = f"\ufeff{HEADER}{later},2.5\n\n{HOUR},1\n"
    usage = read_usage(write(tmp_path, text))
    assert usage.steps.tolist() == [10, 25]


def test_reactive_units_may_be_there(tmp_path: Path) -> None:
    text = f"start,end,units,reactive_units\n{HOUR},1,0.5\n"
    usage = read_usage(write(tmp_path, text))
    assert usage.reactive_steps is not None
    assert usage.reactive_steps.tolist() == [5]


@pytest.mark.parametrize(
    ("rows", "problems"),
    [
        (f"{HOUR}\n", ["row 2, start: 2 cells, expected 3"]),
        (f"{HOUR},one\n", ["row 2, units: 'one' is no decimal number of units"]),
        (f"{HOUR},1E5\n", ["row 2, units: '1E5' is no decimal number of units"]),
        (
            f"{HOUR},-1\nx,2026-07-01T01:00:00,1\n",
            [
                "row 3, start: Invalid isoformat string: 'x'",
                "row 3, end: '2026-07-01T01:00:00' has no offset from UTC, "
                "as 2026-07-01T00:00:00+08:00 has",
            ],
        ),
        (f"{HOUR},-1\n", ["row 2, units: units are negative"]),
        (
            f"{HOUR},1\n\n{HOUR},1\n",
            ["row 4, start: begins before the end of the one before it"],
        ),
        ("", ["row 1, start: no interval, and no service time to bill"]),
        (f"{HOUR},1\n" * 4, ["row 5, start: more than 3 rows"]),
    ],
    ids=["short", "word", "exponent", "two in a row", "negative", "overlap", "empty", "too many"],
)
def test_bad_rows_are_told_with_their_number(
    tmp_path: Path, rows: str, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tariff_files, "INTERVALS_MAX", 3)
    with pytest.raises(IntervalsError) as raised:
        read_usage(write(tmp_path, HEADER + rows))
    assert [str(problem) for problem in raised.value.problems] == problems
    assert str(raised.value) == "\n".join(problems)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the first row must be start,end,units or"),
        ("from,to,kWh\n", "got 'from,to,kWh'"),
        (f'{HEADER}"{"x" * 200_000}\n', "row 2: field larger than field limit"),
    ],
    ids=["empty", "other columns", "endless cell"],
)
def test_file_that_holds_no_intervals(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(TariffFileError, match=reason):
        read_usage(write(tmp_path, text))


def test_document_tells_shares_and_spans(tmp_path: Path) -> None:
    tariff = parse_tariff(
        document() | {"minimum": {"per": "month", "amount": "900.00"}, "currency": "JPY"}
    )
    text = f"start,end,units,reactive_units\n{HOUR},3,4\n"
    rating = Rater(tariff).rate(read_usage(write(tmp_path, text)))
    (period,) = json.loads(json.dumps(describe(rating, spans=True)["periods"]))
    start = {"start": "2026-07-01T00:00:00+08:00", "end": "2026-08-01T00:00:00+08:00"}
    factor, minimum = period["lines"][-4], period["lines"][-1]
    assert factor == {
        "component": "power factor",
        "base": "114.9210",
        "power_factor": "0.60",
        "percent": "15",
        "amount": "17.2382",
        **start,
    }
    assert minimum == {"component": "minimum", "base": "152.1972", "amount": "747.8028", **start}
    assert (period["total"], period["payable"]) == ("900.0000", "900")


@pytest.mark.parametrize(
    ("units", "decimals", "text"),
    [
        ("9/4", 2, "2.25"),
        ("7/2", 2, "3.50"),
        ("9/8", 0, "1.125"),
        ("1", 0, "1"),
        ("100", 0, "100"),
        ("10/31", 0, "0.322581"),
        ("10/3", 2, "3.333333"),
        ("0", 0, "0"),
        ("-3/2", 0, "-1.5"),
        ("1/100000000", 8, "0.00000001"),
    ],
)
def test_units_show_at_least_the_decimals_given(units: str, decimals: int, text: str) -> None:
    assert format_units(Fraction(units), decimals) == text


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=5)
    | st.sampled_from(["0", "1", "-1", "0.5", "00:00", "01-01", "day", "energy", "2026-07-01"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_document_is_a_tariff_or_refused(data: st.DataObject) -> None:
    tariff: Any = document()
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = tariff
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            if (
                not isinstance(place[key], dict | list)
                or not place[key]
                or data.draw(st.booleans())
            ):
                break
            place = place[key]
        place[key] = data.draw(values)
    with suppress(TariffError):
        Rater(parse_tariff(tariff))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_intervals_or_refused(raw: bytes, headed: bool) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "intervals.csv"
        path.write_bytes(HEADER.encode() * headed + raw)
        with suppress(TariffFileError, IntervalsError):
            read_usage(path)


def with_components(**tables: object) -> dict[str, Any]:
    return document() | tables


def component_faults(tariff: dict[str, Any]) -> list[str]:
    with pytest.raises(TariffError) as raised:
        parse_tariff(tariff, COMPONENTS)
    return [str(fault) for fault in raised.value.faults]


def test_component_is_a_table_named_by_its_kind() -> None:
    tariff = parse_tariff(with_components(drain={"price": "0.70"}), COMPONENTS)
    assert tariff.components == (drain(Decimal("0.70")),)


def test_components_come_by_kind_and_then_as_listed() -> None:
    tables = with_components(
        dues={}, drain=[{"name": "roof", "price": "2"}, {"name": "area", "price": "1"}]
    )
    assert parse_tariff(tables, COMPONENTS).components == (
        drain(Decimal(2), name="roof"),
        drain(Decimal(1), name="area"),
        dues(1),
    )


def test_taxes_may_name_a_component() -> None:
    tariff = document()
    tariff["surcharge"][-1]["applies_to"].append("drain")
    parse_tariff(tariff | {"drain": {"price": "1"}}, COMPONENTS)
    assert component_faults(tariff) == [
        "surcharge[1].applies_to: 'drain' is no component before this one"
    ]


@pytest.mark.parametrize(
    ("tables", "fault"),
    [
        ({"drain": {}}, "drain.price: is missing"),
        (
            {"drain": [{"price": 0.7}]},
            'drain[0].price: expected a decimal as text, for example "0.6170", got 0.7',
        ),
        ({"drain": {"price": "1", "prise": "2"}}, "drain.prise: unknown key"),
        ({"drain": "1"}, "drain: expected a list, got '1'"),
        ({"dues": {"percent": "5"}}, "dues.percent: expected a whole number, got '5'"),
        ({"roof": {"slope": "round"}}, "roof.slope: expected one of flat, steep, got 'round'"),
        ({"roof": {"owner": 7}}, "roof.owner: expected text, got 7"),
        (
            {"roof": {"owner": "a\0"}},
            "roof.owner: expected text without control characters, got 'a\\x00'",
        ),
        (
            {"storm": {"price": "1"}},
            "storm: unknown table; plugins bring these components: "
            "drain (drains), dues (guild), roof (roofs)",
        ),
        ({"blockz": []}, "blockz: unknown key, did you mean 'blocks'?"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_table_of_a_component_is_checked_as_the_cores_own(
    tables: dict[str, object], fault: str
) -> None:
    roof = TariffComponent(
        kind="roof",
        title="Roof",
        fields=(
            ComponentField("slope", FieldKind.TEXT, "kind", "flat", ("flat", "steep")),
            ComponentField("owner", FieldKind.TEXT, "whose", ""),
        ),
        charge=lambda _settings, _bill: (),
        plugin="roofs",
    )
    with pytest.raises(TariffError) as raised:
        parse_tariff(with_components(**tables), COMPONENTS | {"roof": roof})
    (found,) = raised.value.faults
    assert str(found).startswith(fault)


def test_tariff_of_a_missing_plugin_is_told_without_echo() -> None:
    tariff = document()
    tariff["surcharge"][-1]["applies_to"].append("drain")
    assert faults_of(tariff | {"drain": {"price": "1"}}) == [
        "drain: unknown table; plugins bring these components: none"
    ]
