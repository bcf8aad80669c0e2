import pytest

from meterplex.domain.bus_plan import BusConcern, Population, check_population
from meterplex.domain.estate_rules import is_other_meter, parent_cycles, shared_places


def test_places_with_one_thing_are_not_shared() -> None:
    placed = [("7", "a"), ("8", "b"), ("7", "c"), ("9", "d")]
    assert shared_places(placed) == {"7": ("a", "c")}


@pytest.mark.parametrize(
    ("parents", "rings"),
    [
        pytest.param({}, (), id="nothing"),
        pytest.param({"a": None, "b": "a", "c": "b", "d": "a"}, (), id="tree"),
        pytest.param({"b": "elsewhere"}, (), id="unknown parent"),
        pytest.param({"a": "a"}, (("a",),), id="itself"),
        pytest.param({"a": "b", "b": "a"}, (("a", "b"),), id="two"),
        pytest.param({"x": "a", "a": "b", "b": "c", "c": "a"}, (("a", "b", "c"),), id="tail"),
        pytest.param(
            {"a": "b", "b": "a", "r": None, "c": "d", "d": "c", "e": "c"},
            (("a", "b"), ("c", "d")),
            id="two rings",
        ),
    ],
)
def test_rings_of_parents_are_found_once_each(
    parents: dict[str, str | None], rings: tuple[tuple[str, ...], ...]
) -> None:
    assert parent_cycles(parents) == rings


def test_long_chain_of_parents_is_walked_once() -> None:
    count = 20_000
    chain = {number: number + 1 for number in range(count)} | {count: None}
    assert parent_cycles(chain) == ()


def test_population_within_the_limit_is_of_no_concern() -> None:
    assert check_population([Population("modbus", 32, 32)]) == ()
    assert check_population([]) == ()


def test_population_beyond_the_limit_and_of_two_protocols_is_told() -> None:
    warnings = check_population([Population("modbus", 32, 32), Population("dlt645", 1, 64)])
    assert [warning.concern for warning in warnings] == [
        BusConcern.TOO_MANY_DEVICES,
        BusConcern.MIXED_PROTOCOLS,
    ]


@pytest.mark.parametrize(
    ("serial", "told", "other"),
    [
        ("20260711000123", "20260711000123", False),
        ("20260711000123", "260711000123", False),
        ("000711000123", "711000123", False),
        ("abc-1", "ABC-1", False),
        ("m1", None, False),
        ("m1", "", False),
        ("20260711000123", "260711000124", True),
        ("m1", "m2", True),
    ],
)
def test_another_meter_is_known_by_its_number(serial: str, told: str | None, other: bool) -> None:
    assert is_other_meter(serial, told) is other
