from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterplex.domain.friendly_hours import Holidays
from meterplex.domain.limiter import Allowance, LimiterScope, LimiterVerdict
from meterplex.domain.registers import ELECTRICITY, GAS, HEAT, WATER
from meterplex.domain.supply_gate import (
    RULES_ASKED,
    Authority,
    DisconnectCause,
    GateFacts,
    Refusal,
    RefusalReason,
    cautions,
    is_excess,
    refusals,
)
from meterplex.domain.supply_holds import Bypass, HoldOwner, SupplyHold
from meterplex.domain.supply_policy import (
    DEFAULT_POLICY,
    OffAction,
    SupplyPolicy,
    UnitKind,
    WaterRule,
)
from meterplex.domain.warnings import WarningLevel, WarningSent, WarningState

NOON = datetime(2026, 11, 20, 12, tzinfo=ZoneInfo("Asia/Shanghai"))  # a Friday
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
R = RefusalReason
D1, D2, D3, D4, D5, D6, D7, D8 = Refusal
ARREARS, CLOSING, SHORTAGE, SAFETY = DisconnectCause

PASS = LimiterVerdict(3)
HOUR_USED_UP = LimiterVerdict(0, (Allowance(LimiterScope.TENANT, 5, HOUR),))
CARE = SupplyHold(HoldOwner.CARE, "ventilator")
WINDOW = SupplyHold(HoldOwner.WINDOW)
BYPASS = Bypass(NOON, NOON + DAY, "li.na", "wang.wei", "relay welded")


def warned(
    ago: timedelta = DAY,
    state: WarningState = WarningState.SENT,
    level: WarningLevel = WarningLevel.ARREARS,
) -> WarningSent:
    return WarningSent(level, NOON - ago, state)


SOUND = GateFacts(
    cause=ARREARS,
    utility=ELECTRICITY,
    limit_units=-100_000,
    now=NOON,
    clock_trusted=True,
    holidays=Holidays(),
    balance_units=-100_001,
    balance_read_at=NOON - HOUR,
    polling_interval=30 * MINUTE,
    reading_plausible=True,
    unsettled_orders=(),
    warnings=(warned(),),
    emergency_used=True,
    holds=(),
    limiter=PASS,
    breaker_closed=True,
    quarantined=False,
    authority=Authority.RULE,
    audited=True,
    unit_kind=UnitKind.HOME,
)


def refused(facts: GateFacts, policy: SupplyPolicy = DEFAULT_POLICY) -> list[tuple[str, str]]:
    return [(each.rule, each.reason) for each in refusals(facts, policy)]


def test_sound_facts_pass() -> None:
    assert refusals(SOUND, DEFAULT_POLICY) == ()


REFUSED: list[tuple[dict[str, Any], Refusal, RefusalReason]] = [
    ({"balance_units": None}, D1, R.BALANCE_UNKNOWN),
    ({"balance_units": -100_000}, D1, R.NOT_BELOW_LIMIT),
    ({"limit_units": -100_001}, D1, R.NOT_BELOW_LIMIT),
    ({"reading_plausible": False}, D1, R.READING_IMPLAUSIBLE),
    ({"reading_plausible": None}, D1, R.READING_IMPLAUSIBLE),
    ({"balance_read_at": None}, D1, R.READING_AGE_UNKNOWN),
    ({"polling_interval": None}, D1, R.READING_AGE_UNKNOWN),
    ({"balance_read_at": NOON - HOUR - timedelta.resolution}, D1, R.READING_STALE),
    ({"balance_read_at": NOON + timedelta.resolution}, D1, R.READING_IN_FUTURE),
    ({"outage_ended_at": NOON - 20 * MINUTE}, D1, R.READING_BEFORE_OUTAGE),
    ({"unsettled_orders": None}, D2, R.ORDERS_UNKNOWN),
    ({"unsettled_orders": ("paid",)}, D2, R.MONEY_ON_ITS_WAY),
    ({"unsettled_orders": ("uncertain", "armed")}, D2, R.MONEY_ON_ITS_WAY),
    ({"warnings": None}, D3, R.WARNINGS_UNKNOWN),
    ({"warnings": ()}, D3, R.NOT_WARNED),
    ({"warnings": (warned(level=WarningLevel.ALARM_2),)}, D3, R.NOT_WARNED),
    ({"warnings": (warned(state=WarningState.QUEUED),)}, D3, R.NOT_WARNED),
    ({"warnings": (warned(state=WarningState.FAILED),)}, D3, R.NOT_WARNED),
    ({"warnings": (warned(DAY - timedelta.resolution),)}, D3, R.WARNED_TOO_LATE),
    ({"warnings": (warned(-DAY),)}, D3, R.WARNED_TOO_LATE),
    ({"emergency_used": False}, D3, R.EMERGENCY_CREDIT_LEFT),
    ({"emergency_used": None}, D3, R.EMERGENCY_CREDIT_LEFT),
    ({"holidays": None}, D4, R.HOLIDAYS_UNKNOWN),
    ({"holidays": Holidays(frozenset({date(2026, 11, 21)}))}, D4, R.OUTSIDE_WINDOW),
    ({"holds": None}, D5, R.HOLDS_UNKNOWN),
    ({"holds": (CARE,)}, D5, R.HELD),
    ({"holds": (SupplyHold(HoldOwner.OPERATOR),)}, D5, R.HELD),
    ({"holds": (SupplyHold(HoldOwner.WEATHER, until=NOON + HOUR),)}, D5, R.HELD),
    ({"holds": (WINDOW,)}, D5, R.HELD),
    ({"holds": (CARE,), "balance_in_meter": True}, D5, R.HELD),
    ({"bypass": BYPASS}, D5, R.BYPASSED),
    ({"limiter": None}, D6, R.LIMITER_UNKNOWN),
    ({"limiter": HOUR_USED_UP}, D6, R.OVER_LIMIT),
    ({"quarantined": None}, D6, R.QUARANTINED),
    ({"quarantined": True}, D6, R.QUARANTINED),
    ({"breaker_closed": None}, D6, R.BREAKER_OPEN),
    ({"breaker_closed": False}, D6, R.BREAKER_OPEN),
    ({"outage_ended_at": NOON - 14 * MINUTE, "balance_read_at": NOON}, D6, R.SETTLING),
    ({"authority": Authority.NONE}, D7, R.NO_RIGHT),
    ({"batch_size": 11}, D7, R.SECOND_PERSON),
    ({"audited": False}, D7, R.NOT_AUDITED),
    ({"utility": WATER}, D8, R.VALVE_UNKNOWN),
    ({"utility": WATER, "unit_kind": None}, D8, R.VALVE_UNKNOWN),
    ({"utility": WATER, "valve_can_minimum_flow": True}, D8, R.WATER_OF_HOME),
    ({"utility": HEAT}, D8, R.TEMPERATURE_UNKNOWN),
    ({"utility": HEAT, "flow_c": Decimal(60)}, D8, R.TEMPERATURE_UNKNOWN),
    ({"utility": HEAT, "outdoor_c": Decimal("4.9")}, D8, R.FROST),
    ({"utility": HEAT, "outdoor_c": Decimal(6), "flow_c": Decimal("4.9")}, D8, R.FROST),
]


@pytest.mark.parametrize(
    ("changes", "rule", "reason"),
    REFUSED,
    ids=[f"{rule}-{reason}-{number}" for number, (_, rule, reason) in enumerate(REFUSED)],
)
def test_what_speaks_against_a_disconnect(
    changes: dict[str, Any], rule: Refusal, reason: RefusalReason
) -> None:
    assert refused(replace(SOUND, **changes)) == [(rule, reason)]


def test_every_reason_is_reached() -> None:
    assert {reason for *_, reason in REFUSED} | {R.CLOCK_UNTRUSTED} == set(RefusalReason)


@pytest.mark.parametrize(
    "changes",
    [
        {"balance_read_at": NOON},
        {"balance_in_meter": True, "holds": (WINDOW,)},
        {"holds": (SupplyHold(HoldOwner.WEATHER, until=NOON),)},
        {"warnings": (warned(), warned(MINUTE, WarningState.DELIVERED))},
        {"warnings": (warned(state=WarningState.FAILED), warned(state=WarningState.ON_PAPER))},
        {"outage_ended_at": NOON - HOUR},
        {"outage_ended_at": NOON - 15 * MINUTE, "balance_read_at": NOON - 15 * MINUTE},
        {"outage_ended_at": NOON, "authority": Authority.COMMAND},
        {"bypass": BYPASS, "authority": Authority.COMMAND},
        {"quarantined": True, "authority": Authority.COMMAND},
        {"authority": Authority.FORCE},
        {"batch_size": 10},
        {"batch_size": 11, "batch_approved": True},
        {"utility": GAS},
        {"utility": WATER, "valve_can_minimum_flow": True, "action": OffAction.MINIMUM_FLOW},
        {"utility": WATER, "valve_can_minimum_flow": False},
        {"utility": WATER, "unit_kind": UnitKind.BUSINESS},
        {"utility": HEAT, "outdoor_c": Decimal(5)},
        {"utility": HEAT, "outdoor_c": Decimal(5), "flow_c": Decimal(5)},
    ],
    ids="-".join,
)
def test_what_does_not_speak_against_a_disconnect(changes: dict[str, Any]) -> None:
    assert refused(replace(SOUND, **changes)) == []


@pytest.mark.parametrize(
    "changes", [{"now": None}, {"clock_trusted": False}], ids=["no-time", "not-trusted"]
)
def test_without_a_clock_to_trust_nothing_that_needs_time_is_true(changes: dict[str, Any]) -> None:
    ended = SupplyHold(HoldOwner.WEATHER, until=NOON - DAY)
    facts = replace(SOUND, holds=(ended,), outage_ended_at=NOON - 2 * DAY, **changes)
    assert refused(facts) == [
        (D1, R.READING_AGE_UNKNOWN),
        (D3, R.WARNED_TOO_LATE),
        (D4, R.CLOCK_UNTRUSTED),
        (D5, R.HELD),
        (D6, R.SETTLING),
    ]


def test_clock_set_back_behind_an_outage_settles_again() -> None:
    facts = replace(SOUND, outage_ended_at=NOON + DAY)
    assert refused(facts) == [(D1, R.READING_BEFORE_OUTAGE), (D6, R.SETTLING)]


def test_facts_left_out_refuse_by_every_rule() -> None:
    for utility in (WATER, HEAT):
        facts = GateFacts(cause=ARREARS, utility=utility, limit_units=0)
        assert {rule for rule, _ in refused(facts)} == set(Refusal)


@pytest.mark.parametrize("name", ["now", "balance_read_at", "outage_ended_at"])
def test_naive_time_is_refused(name: str) -> None:
    changes: dict[str, Any] = {name: NOON.replace(tzinfo=None)}
    with pytest.raises(ValueError, match=f"^{name} 2026-11-20T12:00:00 has no zone"):
        replace(SOUND, **changes)


def test_times_of_another_zone_are_the_same_times() -> None:
    facts = replace(SOUND, balance_read_at=(NOON - HOUR).astimezone(UTC))
    assert refused(facts) == []
    assert refused(replace(facts, now=NOON.astimezone(UTC))) == [(D4, R.OUTSIDE_WINDOW)]


@pytest.mark.parametrize("balance_in_meter", [False, True], ids=["server", "meter"])
@pytest.mark.parametrize("balance", [-100_001, -100_000, 0])
def test_balance_is_treated_alike_wherever_it_is_kept(balance: int, balance_in_meter: bool) -> None:
    facts = replace(SOUND, balance_units=balance, balance_in_meter=balance_in_meter)
    expected = [] if balance < -100_000 else [(D1, R.NOT_BELOW_LIMIT)]
    assert refused(facts) == expected


@pytest.mark.parametrize(
    ("changes", "policy", "sentence"),
    [
        ({"balance_units": 5}, {}, "D1: the balance of 0.0005 is not below -10.0000"),
        (
            {"balance_read_at": NOON - 2 * HOUR},
            {},
            "D1: the balance's reading is 2:00:00 old, at most 1:00:00 is allowed",
        ),
        (
            {"unsettled_orders": {"paid", "armed"}},
            {},
            "D2: money is on its way: orders armed, paid",
        ),
        ({"warnings": ()}, {}, "D3: the arrears warning was not sent"),
        (
            {"warnings": (warned(state=WarningState.FAILED),)},
            {},
            "D3: the arrears warning could not be sent: tell the customer on paper",
        ),
        (
            {"warnings": (warned(HOUR),)},
            {},
            "D3: the arrears warning went out Fri 2026-11-20 11:00, expected 1 day, 0:00:00 before",
        ),
        (
            {"now": NOON + 5 * HOUR, "balance_read_at": NOON + 5 * HOUR},
            {},
            "D4: Fri 2026-11-20 17:00 is in no disconnect window:"
            " the next begins Mon 2026-11-23 09:00",
        ),
        (
            {},
            {"disconnect_windows": ((),) * 7},
            "D4: Fri 2026-11-20 12:00 is in no disconnect window: none is near",
        ),
        ({"holds": (CARE,)}, {}, "D5: care hold (ventilator)"),
        ({"bypass": BYPASS}, {}, "D5: bypassed since 2026-11-20 12:00 (relay welded)"),
        ({"limiter": HOUR_USED_UP}, {}, "D6: tenant: 5 disconnects in 1:00:00 used up"),
        (
            {"batch_size": 11},
            {},
            "D7: 11 disconnects at once, more than 10: a second person must approve",
        ),
        (
            {"utility": WATER, "valve_can_minimum_flow": False},
            {"water_homes": WaterRule.NEVER_CLOSE},
            "D8: the site leaves a home its water, and this valve only closes",
        ),
        (
            {"utility": HEAT, "outdoor_c": Decimal(-3)},
            {},
            "D8: -3 degC outdoors, heat stays on below 5 degC",
        ),
    ],
)
def test_refusal_is_said_in_a_sentence(
    changes: dict[str, Any], policy: dict[str, Any], sentence: str
) -> None:
    found = refusals(replace(SOUND, **changes), replace(DEFAULT_POLICY, **policy))
    assert [str(each) for each in found] == [sentence]


def test_valve_need_not_be_known_where_every_valve_closes() -> None:
    facts = replace(SOUND, utility=WATER)
    assert refused(facts, SupplyPolicy(water_homes=WaterRule.CLOSE)) == []


BROKEN: dict[Refusal, dict[str, Any]] = {
    D1: {"balance_units": 10**6},
    D2: {"unsettled_orders": ("armed",)},
    D3: {"warnings": ()},
    D4: {"holidays": None},
    D5: {"holds": (CARE,)},
    D6: {"breaker_closed": False},
    D7: {"audited": False},
    D8: {"utility": HEAT, "outdoor_c": Decimal(-10)},
}


def test_all_that_fails_is_told_at_once() -> None:
    everything = {name: value for changes in BROKEN.values() for name, value in changes.items()}
    assert [rule for rule, _ in refused(replace(SOUND, **everything))] == list(Refusal)


ASKED = {
    ARREARS: {D1, D2, D3, D4, D5, D6, D7, D8},
    CLOSING: {D4, D5, D6, D7, D8},
    SHORTAGE: {D5, D6, D7, D8},
    SAFETY: {D7},
}


@pytest.mark.parametrize(("cause", "rule"), list(product(DisconnectCause, Refusal)))
def test_each_cause_asks_its_rules(cause: DisconnectCause, rule: Refusal) -> None:
    facts = replace(SOUND, cause=cause, authority=Authority.FORCE, **BROKEN[rule])
    assert [found for found, _ in refused(facts)] == ([rule] if rule in ASKED[cause] else [])
    assert RULES_ASKED[cause] == ASKED[cause]


@pytest.mark.parametrize("authority", Authority)
def test_only_a_person_with_the_right_forces_supply_off(authority: Authority) -> None:
    facts = replace(SOUND, cause=SAFETY, authority=authority)
    expected = [] if authority is Authority.FORCE else [(D7, R.NO_RIGHT)]
    assert refused(facts) == expected


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"limiter": HOUR_USED_UP}, "more disconnects than the limiter allows"),
        ({"limiter": None}, "more disconnects than the limiter allows"),
        ({"batch_size": 11}, "11 disconnects at once, more than 10"),
    ],
    ids=["over-limit", "limit-unknown", "large-batch"],
)
def test_safety_beyond_the_limiter_needs_a_second_person_and_is_not_stopped(
    changes: dict[str, Any], sentence: str
) -> None:
    facts = replace(SOUND, cause=SAFETY, authority=Authority.FORCE, **changes)
    (refusal,) = refusals(facts, DEFAULT_POLICY)
    assert refusal.reason is R.SECOND_PERSON
    assert refusal.sentence == f"{sentence}: a second person must approve"
    assert refusals(replace(facts, batch_approved=True), DEFAULT_POLICY) == ()


@pytest.mark.parametrize(
    ("changes", "quarantine"),
    [
        ({}, False),
        ({"limiter": HOUR_USED_UP}, True),
        ({"breaker_closed": False}, True),
        ({"limiter": HOUR_USED_UP, "breaker_closed": False}, True),
        ({"limiter": HOUR_USED_UP, "holds": (CARE,)}, False),
        ({"holds": (CARE,)}, False),
        ({"limiter": None}, False),
    ],
    ids=["passes", "over-limit", "breaker", "both", "refused-anyway", "held", "not-asked"],
)
def test_only_excess_goes_to_quarantine(changes: dict[str, Any], quarantine: bool) -> None:
    assert is_excess(refusals(replace(SOUND, **changes), DEFAULT_POLICY)) is quarantine


def test_forced_disconnect_shows_the_holds_it_passes() -> None:
    ended = SupplyHold(HoldOwner.WEATHER, until=NOON)
    facts = replace(SOUND, cause=SAFETY, authority=Authority.FORCE, holds=(CARE, ended))
    assert refusals(facts, DEFAULT_POLICY) == ()
    assert cautions(facts) == ("care hold (ventilator)",)
    assert cautions(replace(facts, holds=None)) == (
        "whether anything holds the supply is not known",
    )


NEAR_NOON = st.integers(-3 * 1440, 3 * 1440).map(lambda minutes: NOON + minutes * MINUTE)
HOLDS = st.builds(SupplyHold, st.sampled_from(HoldOwner), until=st.none() | NEAR_NOON)
ANY_FACTS = st.builds(
    GateFacts,
    cause=st.sampled_from(DisconnectCause),
    utility=st.sampled_from([ELECTRICITY, WATER, HEAT, GAS]),
    limit_units=st.integers(-(10**6), 0),
    now=st.none() | NEAR_NOON,
    clock_trusted=st.booleans(),
    holidays=st.sampled_from([None, Holidays()]),
    outage_ended_at=st.none() | NEAR_NOON,
    balance_units=st.integers(-(10**6), 10**6),
    balance_in_meter=st.booleans(),
    balance_read_at=st.none() | NEAR_NOON,
    polling_interval=st.none() | st.just(30 * MINUTE),
    reading_plausible=st.sampled_from([None, True, False]),
    unsettled_orders=st.sampled_from([None, (), ("armed",)]),
    warnings=st.none()
    | st.lists(
        st.builds(
            WarningSent, st.sampled_from(WarningLevel), NEAR_NOON, st.sampled_from(WarningState)
        ),
        max_size=3,
    ),
    emergency_used=st.sampled_from([None, True, False]),
    holds=st.lists(HOLDS, max_size=3).map(tuple),
    bypass=st.sampled_from([None, BYPASS]),
    limiter=st.sampled_from([None, PASS, HOUR_USED_UP]),
    breaker_closed=st.sampled_from([None, True, False]),
    quarantined=st.sampled_from([None, True, False]),
    authority=st.sampled_from(Authority),
    batch_size=st.sampled_from([1, 10, 11]),
    batch_approved=st.booleans(),
    audited=st.booleans(),
    unit_kind=st.none() | st.sampled_from(UnitKind),
    action=st.sampled_from(OffAction),
    valve_can_minimum_flow=st.sampled_from([None, True, False]),
    outdoor_c=st.sampled_from([None, Decimal(-10), Decimal(10)]),
    flow_c=st.sampled_from([None, Decimal(2), Decimal(60)]),
)
NOT_NEEDED = {"outage_ended_at", "bypass", "flow_c"}
MAY_BE_UNKNOWN = sorted(
    field.name
    for field in fields(GateFacts)
    if field.default is None and field.name not in NOT_NEEDED
)


@settings(deadline=None)
@given(facts=ANY_FACTS, more=st.integers(0, 10**6))
def test_higher_balance_never_removes_a_refusal(facts: GateFacts, more: int) -> None:
    assert facts.balance_units is not None
    richer = replace(facts, balance_units=facts.balance_units + more)
    assert set(refused(facts)) <= set(refused(richer))


@settings(deadline=None)
@given(facts=ANY_FACTS, hold=HOLDS)
def test_another_hold_never_removes_a_refusal(facts: GateFacts, hold: SupplyHold) -> None:
    assert facts.holds is not None
    held = replace(facts, holds=(*facts.holds, hold))
    assert set(refusals(facts, DEFAULT_POLICY)) <= set(refusals(held, DEFAULT_POLICY))


@settings(deadline=None)
@given(facts=ANY_FACTS, name=st.sampled_from(MAY_BE_UNKNOWN))
def test_knowing_less_never_satisfies_a_rule(facts: GateFacts, name: str) -> None:
    less: dict[str, Any] = {name: None}
    rules = {rule for rule, _ in refused(facts)}
    assert rules <= {rule for rule, _ in refused(replace(facts, **less))}


@settings(deadline=None)
@given(facts=ANY_FACTS)
def test_what_passes_for_arrears_passes_for_every_cause_but_safety(facts: GateFacts) -> None:
    by_cause = {
        cause: set(refused(replace(facts, cause=cause))) for cause in (ARREARS, CLOSING, SHORTAGE)
    }
    assert by_cause[SHORTAGE] <= by_cause[CLOSING] <= by_cause[ARREARS]
