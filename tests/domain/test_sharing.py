from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterplex.domain.sharing import (
    ResidualDecision,
    Sharer,
    SharingBasis,
    SharingError,
    judge_residual,
    share_amount,
)

AREA, HEADS, EQUAL, USE = SharingBasis


def sharers(**weights: str) -> list[Sharer]:
    return [Sharer(key, Decimal(weight)) for key, weight in weights.items()]


@pytest.mark.parametrize(
    ("amount", "basis", "weights", "shares"),
    [
        pytest.param(10000, AREA, {"a": "75", "b": "25"}, [7500, 2500], id="exact"),
        pytest.param(100, EQUAL, {"a": "1", "b": "1", "c": "1"}, [34, 33, 33], id="tie-by-key"),
        pytest.param(100, EQUAL, {"c": "1", "b": "1", "a": "1"}, [33, 33, 34], id="any-order"),
        # 100 / 7: quotas 14.28, 28.57, 57.14; the largest remainder is b's.
        pytest.param(
            100, HEADS, {"a": "1", "b": "2", "c": "4"}, [14, 29, 57], id="largest-remainder"
        ),
        pytest.param(99, USE, {"a": "0", "b": "0.001"}, [0, 99], id="zero-weight"),
        pytest.param(100, EQUAL, {"a": "1", "b": "0"}, [100, 0], id="takes-no-part"),
        pytest.param(-100, EQUAL, {"a": "1", "b": "1", "c": "1"}, [-34, -33, -33], id="back"),
        pytest.param(0, AREA, {"a": "3", "b": "4"}, [0, 0], id="nothing"),
        pytest.param(1, AREA, {"a": "1", "b": "1e15"}, [0, 1], id="far-apart"),
    ],
)
def test_shares(
    amount: int, basis: SharingBasis, weights: dict[str, str], shares: list[int]
) -> None:
    statement = share_amount(amount, basis, sharers(**weights))
    assert [share.amount_units for share in statement.shares] == shares
    assert [share.key for share in statement.shares] == list(weights)


def test_shares_of_a_payable_amount_are_whole_fen() -> None:
    statement = share_amount(100_000, EQUAL, sharers(a="1", b="1", c="1"), step_units=100)
    assert [share.amount_units for share in statement.shares] == [33_400, 33_300, 33_300]


def test_statement_lets_a_tenant_reckon_again() -> None:
    statement = share_amount(1000, AREA, sharers(shop="88.50", office="11.5"))
    share = statement.share_of("shop")
    assert (statement.basis, statement.amount_units) == (AREA, 1000)
    assert (share.weight, statement.total_weight) == (Decimal("88.50"), Decimal("100.00"))
    assert statement.exact_units(share) == 885 == share.amount_units
    with pytest.raises(KeyError, match="cellar"):
        statement.share_of("cellar")


def test_total_weight_keeps_every_digit() -> None:
    weights = sharers(a="1000000000000000.000000000000001", b="1E+2", c="0.1")
    total = share_amount(1, USE, weights).total_weight
    assert total == Decimal("1000000000000100.100000000000001")


@pytest.mark.parametrize(
    ("amount", "basis", "given", "step", "field", "reason"),
    [
        pytest.param(1, AREA, [], 1, "sharers", "nobody", id="nobody"),
        pytest.param(1, AREA, sharers(a="0", b="0"), 1, "sharers", "area are zero", id="all-zero"),
        pytest.param(
            1, AREA, sharers(a="-1"), 1, "sharers[a].weight", "below zero", id="below-zero"
        ),
        pytest.param(1, AREA, sharers(a="NaN"), 1, "sharers[a].weight", "no number", id="nan"),
        pytest.param(1, AREA, sharers(a="Infinity"), 1, "sharers[a].weight", "no number", id="inf"),
        pytest.param(1, AREA, sharers(a="1E+16"), 1, "sharers[a].weight", "digits", id="huge"),
        pytest.param(
            1, USE, sharers(a="0E-999999999"), 1, "sharers[a].weight", "digits", id="zeros"
        ),
        pytest.param(1, HEADS, sharers(a="1.5"), 1, "sharers[a].weight", "whole", id="half-a-head"),
        pytest.param(1, EQUAL, sharers(a="2"), 1, "sharers[a].weight", "0 nor 1", id="two-parts"),
        pytest.param(1, EQUAL, [Sharer("a"), Sharer("a")], 1, "sharers[a]", "twice", id="twice"),
        pytest.param(150, EQUAL, [Sharer("a")], 100, "amount_units", "multiple", id="half-steps"),
        pytest.param(1, EQUAL, [Sharer("a")], 0, "step_units", "below 1", id="no-step"),
    ],
)
def test_refusal_names_the_field(
    amount: int, basis: SharingBasis, given: list[Sharer], step: int, field: str, reason: str
) -> None:
    with pytest.raises(SharingError, match=reason) as refused:
        share_amount(amount, basis, given, step_units=step)
    assert refused.value.field == field


weights = st.decimals(0, 10**6, allow_nan=False, places=3)
crowds = st.lists(weights, min_size=1, max_size=30).filter(any)
amounts = st.integers(-(10**12), 10**12)


def crowd(values: list[Decimal]) -> list[Sharer]:
    return [Sharer(f"{at:03d}", value) for at, value in enumerate(values)]


@given(amounts, crowds, st.sampled_from([1, 10, 100, 10_000]))
def test_shares_sum_to_the_amount_and_miss_less_than_a_step(
    steps: int, values: list[Decimal], step: int
) -> None:
    statement = share_amount(steps * step, USE, crowd(values), step_units=step)
    assert sum(share.amount_units for share in statement.shares) == steps * step
    for share in statement.shares:
        assert abs(share.amount_units - statement.exact_units(share)) < step
        assert share.amount_units % step == 0


@given(amounts, crowds)
def test_who_weighs_more_never_carries_less(amount: int, values: list[Decimal]) -> None:
    shares = share_amount(amount, USE, crowd(values)).shares
    by_weight = sorted(shares, key=lambda share: (share.weight, abs(share.amount_units)))
    carried = [abs(share.amount_units) for share in by_weight]
    assert carried == sorted(carried)


@given(st.integers(0, 10**6), crowds, st.integers(0, 29), weights)
def test_more_weight_never_lowers_ones_own_share(
    amount: int, values: list[Decimal], place: int, more: Decimal
) -> None:
    at = place % len(values)
    heavier = [*values[:at], values[at] + more, *values[at + 1 :]]
    before = share_amount(amount, USE, crowd(values)).shares[at]
    after = share_amount(amount, USE, crowd(heavier)).shares[at]
    assert after.amount_units >= before.amount_units


@given(amounts, crowds, st.randoms(use_true_random=False))
def test_order_of_sharers_changes_no_share(amount: int, values: list[Decimal], rng: Random) -> None:
    asked = crowd(values)
    shuffled = list(asked)
    rng.shuffle(shuffled)
    first, second = (share_amount(amount, USE, each) for each in (asked, shuffled))
    assert sorted(second.shares, key=lambda share: share.key) == list(first.shares)


@pytest.mark.parametrize(
    ("main", "subs", "units", "decision"),
    [
        pytest.param("100", ["40", "35.5"], "24.5", ResidualDecision.SHARE, id="common-use"),
        pytest.param("100", ["60", "40"], "0", ResidualDecision.NOTHING, id="none"),
        pytest.param("100", ["102"], "-2", ResidualDecision.NOTHING, id="meters-err"),
        pytest.param("100", ["102.001"], "-2.001", ResidualDecision.HOLD, id="too-much"),
        pytest.param("0", ["0.1"], "-0.1", ResidualDecision.HOLD, id="main-stands"),
        pytest.param("0", [], "0", ResidualDecision.NOTHING, id="nothing-at-all"),
    ],
)
def test_residual(main: str, subs: list[str], units: str, decision: ResidualDecision) -> None:
    residual = judge_residual(Decimal(main), [Decimal(sub) for sub in subs])
    assert residual.units == Decimal(units)
    assert residual.decision is decision
