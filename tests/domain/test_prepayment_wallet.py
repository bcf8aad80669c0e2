from dataclasses import replace

import pytest

from meterplex.domain.prepayment import (
    Comparison,
    CountCapability,
    Direction,
    PurchaseRecord,
    Wallet,
    compare_count,
    count_alarm,
)

OK, FOREIGN, CONFLICT = Comparison.OK, Comparison.FOREIGN, Comparison.CONFLICT
EXPECTED = Wallet(500, 7, 9000, meter="M1", customer="C1")
NO_TOTAL = Wallet(500, 7)
NO_COUNT = Wallet(500, total_purchased_units=9000)
NINE = PurchaseRecord(9, 250)
EIGHT = PurchaseRecord(8, 100)


@pytest.mark.parametrize(
    ("expected", "seen", "outcome", "foreign_units"),
    [
        (EXPECTED, EXPECTED, OK, 0),
        (EXPECTED, replace(EXPECTED, remaining_units=-20), OK, 0),
        (EXPECTED, replace(EXPECTED, meter=None, customer=None), OK, 0),
        (EXPECTED, replace(EXPECTED, meter="M2"), CONFLICT, 0),
        (EXPECTED, replace(EXPECTED, customer="C2"), CONFLICT, 0),
        (EXPECTED, Wallet(500, 8, 9300), FOREIGN, 300),
        (EXPECTED, Wallet(500, 9, 9300), FOREIGN, 300),
        (EXPECTED, Wallet(500, 8, 9000), CONFLICT, 0),
        (EXPECTED, Wallet(500, 8, 8700), CONFLICT, 0),
        (EXPECTED, Wallet(500, 7, 9300), CONFLICT, 0),
        (EXPECTED, Wallet(500, 6, 9000), CONFLICT, 0),
        (NO_TOTAL, Wallet(500, 7), OK, 0),
        (NO_TOTAL, Wallet(500, 9, records=(NINE, EIGHT)), FOREIGN, 350),
        (NO_TOTAL, Wallet(500, 9, records=(NINE,)), CONFLICT, 0),
        (NO_TOTAL, Wallet(500, 8), CONFLICT, 0),
        (NO_TOTAL, NO_COUNT, OK, 0),
        (NO_COUNT, NO_COUNT, OK, 0),
        (NO_COUNT, Wallet(500, total_purchased_units=9100), FOREIGN, 100),
        (NO_COUNT, Wallet(500, total_purchased_units=8900), CONFLICT, 0),
    ],
    ids=[
        "as expected",
        "use is no purchase",
        "what is not told is not compared",
        "other meter",
        "other customer",
        "one purchase",
        "two purchases",
        "count alone moved",
        "total fell",
        "total alone moved",
        "count fell",
        "no total, count as expected",
        "no total, records tell",
        "no total, a record is gone",
        "no total and no records",
        "nothing in common",
        "no count, total as expected",
        "no count, total rose",
        "no count, total fell",
    ],
)
def test_purchases_made_elsewhere_are_seen_at_each_read(
    expected: Wallet, seen: Wallet, outcome: Comparison, foreign_units: int
) -> None:
    comparison = compare_count(expected, seen)
    assert (comparison.outcome, comparison.foreign_units) == (outcome, foreign_units)
    assert bool(comparison.sentence) is (outcome is not OK)


def test_what_was_found_is_said_in_words() -> None:
    assert (
        compare_count(EXPECTED, Wallet(0, 6)).sentence
        == "count 6, expected 7; the total is not told"
    )
    assert compare_count(EXPECTED, Wallet(0, 7, 9001)).sentence == (
        "count 7, expected 7; the total moved by 0.0001"
    )
    assert compare_count(EXPECTED, replace(EXPECTED, meter="M2")).sentence == (
        "meter number M2, expected M1"
    )


@pytest.mark.parametrize(
    ("told", "same"),
    [
        ("20260711000123", True),
        ("260711000123", True),
        ("11000123", True),
        ("1000123", False),
        ("260711000124", False),
        ("120260711000123", False),
    ],
)
def test_meter_may_tell_the_end_of_its_number(told: str, same: bool) -> None:
    expected = replace(EXPECTED, meter="20260711000123")
    outcome = compare_count(expected, replace(EXPECTED, meter=told)).outcome
    assert outcome is (OK if same else Comparison.CONFLICT)


@pytest.mark.parametrize(("count", "alarm"), [(8999, False), (9000, True), (9999, True)])
def test_counts_running_out_raise_an_alarm(count: int, alarm: bool) -> None:
    assert count_alarm(count, CountCapability(True, 10000)) is alarm


@pytest.mark.parametrize(
    ("capability", "deliver", "withdraw"),
    [
        (CountCapability(True, 9999), True, True),
        (CountCapability(True, 9999, withdraws_absolutely=True), True, False),
        (CountCapability(False, 9999), False, False),
    ],
    ids=["checked", "checked, writes absolutely", "blind"],
)
def test_which_frames_are_bound_to_the_next_count(
    capability: CountCapability, deliver: bool, withdraw: bool
) -> None:
    assert capability.binds(Direction.DELIVER) is deliver
    assert capability.binds(Direction.WITHDRAW) is withdraw
