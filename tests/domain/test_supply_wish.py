from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterplex.domain.registers import ELECTRICITY, GAS
from meterplex.domain.supply import SupplyAction
from meterplex.domain.supply_holds import Bypass, HoldOwner, SupplyHold
from meterplex.domain.supply_policy import DEFAULT_POLICY, SupplyPolicy
from meterplex.domain.supply_wish import may_take_supply, reconnect_delays, wanted_supply

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DISCONNECT, RECONNECT = SupplyAction.DISCONNECT, SupplyAction.RECONNECT
HOLD, AUTOMATIC = SupplyAction.HOLD, SupplyAction.AUTOMATIC
BAND = SupplyPolicy(reconnect_threshold_units=50_000)
CARE = SupplyHold(HoldOwner.CARE, "ventilator")
BYPASS = Bypass(NOON, NOON + timedelta(hours=4), "li.na", "wang.wei", "relay welded")


@pytest.mark.parametrize(
    ("balance", "action", "reason"),
    [
        (None, None, "the balance is not known"),
        (-100_001, DISCONNECT, "balance -10.0001 is below -10.0000"),
        (-100_000, None, "balance -10.0000 is between -10.0000 and -5.0000"),
        (-50_001, None, "balance -5.0001 is between -10.0000 and -5.0000"),
        (-50_000, RECONNECT, "balance -5.0000 is not below -5.0000"),
    ],
    ids=["unknown", "below", "band-begins", "band-ends", "enough"],
)
def test_balance_decides_with_hysteresis(
    balance: int | None, action: SupplyAction | None, reason: str
) -> None:
    decision = wanted_supply(balance, -100_000, BAND, utility=ELECTRICITY, now=NOON)
    assert (decision.action, decision.reason) == (action, reason)


def test_without_threshold_who_is_not_below_the_limit_is_supplied() -> None:
    wishes = [
        wanted_supply(balance, 0, DEFAULT_POLICY, utility=ELECTRICITY, now=NOON).action
        for balance in (-1, 0)
    ]
    assert wishes == [DISCONNECT, RECONNECT]


def test_hold_keeps_supply_on_whatever_the_balance() -> None:
    decision = wanted_supply(
        -1, 0, DEFAULT_POLICY, utility=ELECTRICITY, now=NOON, holds=[CARE], left_alone="suspended"
    )
    assert (decision.action, decision.reason) == (HOLD, "care hold (ventilator)")


@pytest.mark.parametrize(
    ("now", "action"), [(NOON, DISCONNECT), (None, HOLD)], ids=["ended", "time-not-known"]
)
def test_hold_ends_only_by_a_clock_that_is_trusted(
    now: datetime | None, action: SupplyAction
) -> None:
    hold = SupplyHold(HoldOwner.WEATHER, until=NOON)
    wish = wanted_supply(-1, 0, DEFAULT_POLICY, utility=ELECTRICITY, now=now, holds=[hold])
    assert wish.action is action


@pytest.mark.parametrize("balance", [-1, 10**6, None])
def test_bypass_means_no_automatic_command_at_all(balance: int | None) -> None:
    decision = wanted_supply(
        balance, 0, DEFAULT_POLICY, utility=ELECTRICITY, now=NOON, holds=[CARE], bypass=BYPASS
    )
    assert decision.action is None
    assert "relay welded" in decision.reason


@pytest.mark.parametrize("balance", [-1, 10**6])
def test_account_out_of_normal_run_is_left_as_it_is(balance: int) -> None:
    decision = wanted_supply(
        balance, 0, DEFAULT_POLICY, utility=ELECTRICITY, now=NOON, left_alone="account is closing"
    )
    assert (decision.action, decision.reason) == (None, "account is closing")


@pytest.mark.parametrize(
    ("policy", "person_on_site", "action"),
    [
        (DEFAULT_POLICY, False, None),
        (DEFAULT_POLICY, True, RECONNECT),
        (SupplyPolicy(gas_reconnect_on_site=False), False, RECONNECT),
    ],
    ids=["nobody-there", "person-there", "site-allows"],
)
def test_gas_is_opened_with_a_person_on_site(
    policy: SupplyPolicy, person_on_site: bool, action: SupplyAction | None
) -> None:
    decision = wanted_supply(1, 0, policy, utility=GAS, now=NOON, person_on_site=person_on_site)
    assert decision.action is action


def test_gas_is_shut_off_without_a_person_on_site() -> None:
    assert wanted_supply(-1, 0, DEFAULT_POLICY, utility=GAS, now=NOON).action is DISCONNECT


@settings(deadline=None)
@given(
    balances=st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=2).map(sorted),
    limit=st.integers(-(10**6), 0),
    threshold=st.integers(0, 10**5),
)
def test_more_money_never_asks_for_less_supply(
    balances: list[int], limit: int, threshold: int
) -> None:
    policy = SupplyPolicy(reconnect_threshold_units=threshold)
    ranks = {DISCONNECT: 0, None: 1, RECONNECT: 2}
    less, more = (
        ranks[wanted_supply(balance, limit, policy, utility=ELECTRICITY, now=NOON).action]
        for balance in balances
    )
    assert less <= more


@pytest.mark.parametrize(
    ("action", "in_meter", "balance", "taken"),
    [
        (DISCONNECT, False, 10**6, True),
        (DISCONNECT, True, 10**6, True),
        (HOLD, True, -1, False),
        (AUTOMATIC, True, 1, False),
        (AUTOMATIC, True, 0, True),
        (AUTOMATIC, True, None, True),
        (AUTOMATIC, False, -1, False),
        (RECONNECT, True, 0, True),
        (RECONNECT, True, 1, False),
        (RECONNECT, False, None, False),
    ],
)
def test_releasing_a_meter_without_credit_takes_its_supply(
    action: SupplyAction, in_meter: bool, balance: int | None, taken: bool
) -> None:
    asked = may_take_supply(action, balance_units=balance, limit_units=0, balance_in_meter=in_meter)
    assert asked is taken


@pytest.mark.parametrize("count", [0, 1, 20])
def test_few_reconnects_go_at_once(count: int) -> None:
    assert reconnect_delays(count, Random(1), DEFAULT_POLICY) == (timedelta(0),) * count


def test_many_reconnects_are_spread_over_ten_minutes() -> None:
    delays = reconnect_delays(6000, Random(1), DEFAULT_POLICY)
    assert delays == reconnect_delays(6000, Random(1), DEFAULT_POLICY)
    assert min(delays) >= timedelta(0)
    assert max(delays) <= timedelta(seconds=600)
    by_minute = [0] * 11
    for delay in delays:
        by_minute[delay // timedelta(minutes=1)] += 1
    assert all(450 < reconnects < 750 for reconnects in by_minute[:10])


def test_twenty_one_reconnects_are_spread() -> None:
    assert len(set(reconnect_delays(21, Random(1), DEFAULT_POLICY))) > 1
