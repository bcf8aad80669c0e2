from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations

import pytest

from meterplex.domain.charges import HoldReason, HoldState
from meterplex.domain.charging import (
    CounterLimits,
    Decision,
    Held,
    RollOver,
    Shown,
    Usable,
    recognise,
    tile,
)
from meterplex.domain.readings import ReadingQuality
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT, VOLTAGE_L1

BEGIN = datetime(2026, 7, 1, tzinfo=UTC)
LIMITS = CounterLimits.of(ACTIVE_ENERGY_IMPORT)
GOOD, SUSPECT, ESTIMATED = ReadingQuality


def shown(hours: float, units: float, quality: ReadingQuality = GOOD) -> Shown:
    return Shown(BEGIN + hours * timedelta(hours=1), round(units * 1000), quality)


@pytest.mark.parametrize(
    ("before", "hours", "after", "expected"),
    [
        pytest.param(100, 1, 104, Usable(4000), id="rise"),
        pytest.param(100, 1, 100, Usable(0), id="still"),
        pytest.param(100, 1, 4101, Usable(4_001_000), id="as-fast-as-can-be"),
        pytest.param(100, 24 * 7, 104, Usable(4000), id="as-late-as-may-be"),
        pytest.param(99_990, 1, 5, RollOver(15_000), id="roll-over-of-5-places"),
        pytest.param(9_999, 1, 1, RollOver(2_000), id="roll-over-of-4-places"),
        pytest.param(999_999, 1, 0, RollOver(1_000), id="roll-over-of-6-places"),
        pytest.param(100, 1, 4102, HoldReason.JUMP, id="jump"),
        pytest.param(100, 24 * 7 + 1, 104, HoldReason.GAP, id="gap"),
        pytest.param(100, 1, 99, HoldReason.NEGATIVE, id="negative"),
        pytest.param(100, 1, -1, HoldReason.NEGATIVE, id="below-zero"),
        pytest.param(50_000, 1, 3, HoldReason.RESET, id="reset"),
        pytest.param(99_990, 24 * 8, 5, HoldReason.RESET, id="roll-over-after-a-gap"),
        pytest.param(99_990, 1, 9_000, HoldReason.NEGATIVE, id="too-far-after-the-end"),
    ],
)
def test_readings_are_recognised(
    before: float, hours: float, after: float, expected: Usable | RollOver | HoldReason
) -> None:
    found = recognise(shown(0, before), shown(hours, after), LIMITS)
    assert (found.reason if isinstance(found, Held) else found) == expected


def test_a_known_modulus_is_the_only_one() -> None:
    limits = CounterLimits.of(ACTIVE_ENERGY_IMPORT, modulus=Decimal(5000))
    assert recognise(shown(0, 4999), shown(1, 1), limits) == RollOver(2000)
    found = recognise(shown(0, 3000), shown(1, 1), limits)
    assert isinstance(found, Held)


def test_what_has_no_known_limit_may_rise_at_will() -> None:
    limits = CounterLimits.of(VOLTAGE_L1)
    assert recognise(shown(0, 0), shown(1, 10**6), limits) == Usable(10**9)


def test_hold_says_what_happened() -> None:
    found = recognise(shown(0, 50_000), shown(1, 3), LIMITS)
    assert found == Held(HoldReason.RESET, "fell from 50000 to 3")


def used(*readings: Shown, decisions: dict[datetime, Decision] | None = None) -> list[float]:
    tiling = tile(shown(0, 100), readings, LIMITS, decisions or {})
    return [point.used / 1000 for point in tiling.points]


def held(*readings: Shown, decisions: dict[datetime, Decision] | None = None) -> HoldReason | None:
    tiling = tile(shown(0, 100), readings, LIMITS, decisions or {})
    return None if tiling.hold is None else tiling.hold.held.reason


def test_tiles_lie_between_accepted_readings() -> None:
    tiling = tile(shown(0, 100), [shown(2, 105), shown(1, 101), shown(0, 90)], LIMITS, {})
    assert [(point.at, point.used, point.sure) for point in tiling.points] == [
        (shown(1, 0).at, 1000, True),
        (shown(2, 0).at, 4000, True),
    ]


def test_first_reading_of_a_second_counts() -> None:
    tiling = tile(shown(0, 100), [shown(0.0001, 101), shown(1, 102)], LIMITS, {})
    assert [point.used for point in tiling.points] == [2000]
    assert tiling.left_out == {shown(0.0001, 0).at}


def test_tiles_end_at_a_held_reading() -> None:
    readings = shown(1, 101), shown(2, 90), shown(3, 91)
    assert used(*readings) == [1]
    assert held(*readings) is HoldReason.NEGATIVE


@pytest.mark.parametrize(
    ("doubtful", "following", "expected", "reason"),
    [
        pytest.param(shown(1, 104, SUSPECT), [], [], HoldReason.SUSPECT, id="alone"),
        pytest.param(
            shown(1, 104, SUSPECT),
            [shown(2, 105, SUSPECT)],
            [],
            HoldReason.SUSPECT,
            id="more-doubt",
        ),
        pytest.param(shown(1, 104, SUSPECT), [shown(2, 105)], [4, 1], None, id="proven"),
        pytest.param(shown(1, 110, SUSPECT), [shown(2, 105)], [5], None, id="disproven"),
        pytest.param(shown(1, 9000), [shown(2, 9001)], [], HoldReason.JUMP, id="jump-goes-on"),
        pytest.param(shown(1, 9000), [shown(4, 9001)], [8900, 1], None, id="jump-proven-in-time"),
        pytest.param(shown(1, 9000), [shown(2, 101)], [1], None, id="jump-disproven"),
        pytest.param(
            shown(1, 104, SUSPECT),
            [shown(2, 90), shown(3, 105)],
            [4],
            HoldReason.NEGATIVE,
            id="proven-past-another-held-one",
        ),
    ],
)
def test_later_readings_prove_or_disprove(
    doubtful: Shown, following: list[Shown], expected: list[float], reason: HoldReason | None
) -> None:
    assert used(doubtful, *following) == expected
    assert held(doubtful, *following) is reason


def test_what_was_proven_by_a_later_reading_is_no_anchor() -> None:
    tiling = tile(shown(0, 100), [shown(1, 104, SUSPECT), shown(2, 105)], LIMITS, {})
    assert [point.sure for point in tiling.points] == [False, True]


@pytest.mark.parametrize(
    ("following", "expected"),
    [
        pytest.param([], HoldReason.NEGATIVE, id="alone"),
        pytest.param([shown(2, 20_000)], HoldReason.NEGATIVE, id="next-cannot-be-either"),
        pytest.param([shown(2, 20_001, SUSPECT)], HoldReason.NEGATIVE, id="next-is-doubtful"),
    ],
)
def test_a_fall_stays_held(following: list[Shown], expected: HoldReason) -> None:
    tiling = tile(shown(0, 30_000), [shown(1, 15_000), *following], LIMITS, {})
    assert tiling.hold is not None
    assert tiling.hold.held.reason is expected


def test_a_fall_is_disproven_by_the_very_next_reading() -> None:
    tiling = tile(shown(0, 30_000), [shown(1, 0), shown(2, 30_004)], LIMITS, {})
    assert tiling.hold is None
    assert [point.used for point in tiling.points] == [4000]
    assert tiling.left_out == {shown(1, 0).at}


def test_a_counter_that_may_have_begun_anew_stays_held() -> None:
    tiling = tile(shown(0, 100), [shown(1, 1), shown(2, 101)], LIMITS, {})
    assert tiling.hold is not None


def test_back_filled_readings_close_a_gap() -> None:
    late = shown(24 * 10, 110)
    assert held(late) is HoldReason.GAP
    assert used(late, shown(24 * 5, 104)) == [4, 6]


def test_roll_over_is_accepted_though_doubtful() -> None:
    tiling = tile(shown(0, 99_999), [shown(1, 1, SUSPECT)], LIMITS, {})
    assert [(point.used, point.rolled_over) for point in tiling.points] == [(2000, True)]


def decide(hours: float, units: float, state: HoldState, *counts: int) -> dict[datetime, Decision]:
    return {shown(hours, 0).at: Decision(state, round(units * 1000), *counts)}


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        pytest.param(decide(1, 9000, HoldState.RELEASED), [8900, 1], id="released"),
        pytest.param(decide(1, 9000, HoldState.REJECTED), [], id="rejected-next-jumps-too"),
        pytest.param(decide(1, 9001, HoldState.RELEASED), [], id="about-another-value"),
        pytest.param(
            decide(1, 9000, HoldState.NEW_START, 110_000, 8_999_000), [11, 1], id="new-start"
        ),
    ],
)
def test_people_decide(decisions: dict[datetime, Decision], expected: list[float]) -> None:
    assert used(shown(1, 9000), shown(2, 9001), decisions=decisions) == expected


def test_a_decision_that_would_give_back_is_held_again() -> None:
    decisions = decide(1, 90, HoldState.RELEASED)
    assert held(shown(1, 90), decisions=decisions) is HoldReason.NEGATIVE


def test_estimates_count_at_the_end_only() -> None:
    estimates = shown(1, 103, ESTIMATED), shown(2, 106, ESTIMATED)
    assert used(*estimates) == [3, 3]
    assert used(*estimates, shown(3, 104)) == [4]
    assert used(*estimates, shown(1.5, 104)) == [4, 2]
    tiling = tile(shown(0, 100), estimates, LIMITS, {})
    assert [(point.estimated, point.sure) for point in tiling.points] == [(True, False)] * 2


def test_estimates_that_cannot_follow_are_passed_over() -> None:
    assert used(shown(2, 110), shown(2, 111, ESTIMATED), shown(3, 105, ESTIMATED)) == [10]


def test_estimates_go_on_after_a_held_reading() -> None:
    readings = shown(1, 50), shown(2, 104, ESTIMATED)
    assert (used(*readings), held(*readings)) == ([4], HoldReason.NEGATIVE)


def test_order_of_arrival_changes_nothing() -> None:
    readings = [
        shown(1, 101),
        shown(2, 9000, SUSPECT),
        shown(3, 103),
        shown(4, 102.5, SUSPECT),
        shown(5, 106, ESTIMATED),
    ]
    tilings = {repr(tile(shown(0, 100), order, LIMITS, {})) for order in permutations(readings)}
    assert len(tilings) == 1
