from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterplex.domain.limiter import (
    Allowance,
    Breaker,
    BreakerError,
    LimiterScope,
    MeterCounts,
    SendTimes,
    allowances,
    share_of,
    verdict,
)
from meterplex.domain.supply_policy import LimiterPolicy

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
POLICY = LimiterPolicy()
METER, TENANT, SYSTEM = LimiterScope


def before_noon(*minutes: float) -> tuple[datetime, ...]:
    return tuple(NOON - timedelta(minutes=minute) for minute in minutes)


@pytest.mark.parametrize(
    ("meters", "percent", "opens_max"),
    [
        (0, "2", 5),
        (250, "2", 5),
        (299, "2", 5),
        (300, "2", 6),
        (349, "2", 6),
        (1000, "5", 50),
        (333, "2.5", 8),
    ],
)
def test_share_is_rounded_down_with_a_floor(meters: int, percent: str, opens_max: int) -> None:
    assert share_of(meters, Decimal(percent), 5) == opens_max


def test_allowances_of_a_thousand_meters_among_ten_thousand() -> None:
    assert allowances(MeterCounts(1000, 10_000), POLICY) == (
        Allowance(METER, 6, DAY),
        Allowance(TENANT, 20, HOUR),
        Allowance(TENANT, 50, DAY),
        Allowance(SYSTEM, 100, timedelta(minutes=10)),
    )


def test_floor_of_the_day_can_be_set_aside() -> None:
    policy = replace(POLICY, tenant_min=0)
    assert [each.opens_max for each in allowances(MeterCounts(40, 40), policy)] == [6, 0, 2, 5]


@pytest.mark.parametrize(
    ("sent_times", "left"),
    [
        ((), 3),
        (before_noon(60), 3),
        (before_noon(59.9), 2),
        (before_noon(0), 2),
        (before_noon(-10), 2),
        (before_noon(-100_000), 2),
        (before_noon(1, 2, 3), 0),
        (before_noon(1, 2, 3, 4), 0),
    ],
    ids=["none", "an-hour-ago", "within", "now", "future", "far-future", "all", "more-than-all"],
)
def test_tokens_left_in_a_sliding_hour(sent_times: Sequence[datetime], left: int) -> None:
    assert Allowance(TENANT, 3, HOUR).tokens(sent_times, NOON) == left


@pytest.mark.parametrize(
    ("sent_times", "excess", "opens_breaker", "told"),
    [
        (SendTimes(), [], False, "5 more disconnects may be sent"),
        (
            SendTimes(before_noon(1), before_noon(1, 2), before_noon(1, 2, 3)),
            [],
            False,
            "2 more disconnects may be sent",
        ),
        (
            SendTimes(tenant=before_noon(*range(1, 6))),
            [(TENANT, HOUR), (TENANT, DAY)],
            True,
            "tenant: 5 disconnects in 1:00:00 used up;"
            " tenant: 5 disconnects in 1 day, 0:00:00 used up",
        ),
        (
            SendTimes(tenant=before_noon(*range(61, 66))),
            [(TENANT, DAY)],
            True,
            "tenant: 5 disconnects in 1 day, 0:00:00 used up",
        ),
        (
            SendTimes(system=before_noon(*range(1, 6))),
            [(SYSTEM, timedelta(minutes=10))],
            True,
            "system: 5 disconnects in 0:10:00 used up",
        ),
        (
            SendTimes(meter=before_noon(*range(100, 106))),
            [(METER, DAY)],
            False,
            "meter: 6 disconnects in 1 day, 0:00:00 used up",
        ),
    ],
    ids=["fresh", "some", "tenant-hour", "tenant-day", "system", "flapping-meter"],
)
def test_verdict(
    sent_times: SendTimes,
    excess: list[tuple[LimiterScope, timedelta]],
    opens_breaker: bool,
    told: str,
) -> None:
    given_verdict = verdict(sent_times, MeterCounts(100, 100), NOON, POLICY)
    assert [(each.scope, each.window) for each in given_verdict.excess] == excess
    assert given_verdict.allowed is (not excess)
    assert given_verdict.opens_breaker is opens_breaker
    assert str(given_verdict) == told


# Seconds between attempts: mostly forward, at times the clock is set back or far ahead.
STEPS = st.one_of(st.integers(0, 900), st.integers(-200_000, 200_000))


@settings(deadline=None)
@given(
    steps=st.lists(st.tuples(STEPS, st.integers(0, 2), st.integers(0, 1)), max_size=80),
    tenant_meters=st.integers(0, 400),
)
def test_limits_hold_for_any_interleaving_and_clock(
    steps: list[tuple[int, int, int]], tenant_meters: int
) -> None:
    meters = MeterCounts(tenant_meters, 2 * tenant_meters)
    sent: list[tuple[datetime, int, int]] = []
    now = NOON
    for seconds, meter, tenant in steps:
        now += timedelta(seconds=seconds)
        times = SendTimes(
            tuple(at for at, *who in sent if who == [meter, tenant]),
            tuple(at for at, _, by in sent if by == tenant),
            tuple(at for at, _, _ in sent),
        )
        if verdict(times, meters, now, POLICY).allowed:
            sent.append((now, meter, tenant))
    tenants = [[at for at, _, by in sent if by == tenant] for tenant in (0, 1)]
    one_meter = [[at for at, *who in sent if who == [meter, 0]] for meter in (0, 1, 2)]
    _, hour, day, system = (each.opens_max for each in allowances(meters, POLICY))
    for times_of_tenant in tenants:
        assert most_in_a_window(times_of_tenant, HOUR) <= hour
        assert most_in_a_window(times_of_tenant, DAY) <= day
    assert most_in_a_window([at for at, _, _ in sent], timedelta(minutes=10)) <= system
    assert all(most_in_a_window(times, DAY) <= POLICY.meter_day_max for times in one_meter)


def most_in_a_window(times: Sequence[datetime], window: timedelta) -> int:
    return max((sum(start <= at < start + window for at in times) for start in times), default=0)


@settings(deadline=None)
@given(seconds=st.integers(0, 10**6), back=st.integers(0, 10**6))
def test_a_clock_set_back_frees_no_token(seconds: int, back: int) -> None:
    allowance = Allowance(TENANT, 50, HOUR)
    times = [NOON - timedelta(seconds=second) for second in range(0, 7200, 100)]
    now = NOON + timedelta(seconds=seconds)
    earlier = now - timedelta(seconds=back)
    assert allowance.tokens(times, earlier) <= allowance.tokens(times, now)


def test_a_send_takes_a_token_of_each_scope() -> None:
    times = SendTimes().and_sent(NOON).and_sent(NOON + HOUR)
    assert [times.of(scope) for scope in LimiterScope] == [(NOON, NOON + HOUR)] * 3


def test_breaker_stays_open_with_its_first_reason() -> None:
    breaker = Breaker()
    assert breaker.closed
    opened = breaker.opened(NOON, "tenant: 5 disconnects in 1:00:00 used up")
    assert not opened.closed
    assert opened.opened(NOON + HOUR, "again") == opened
    assert (opened.opened_at, opened.reason[:6]) == (NOON, "tenant")


def test_two_different_people_close_the_breaker() -> None:
    assert Breaker().opened(NOON, "excess").closed_by("li.na", "wang.wei") == Breaker()


@pytest.mark.parametrize(
    ("first", "second"),
    [("li.na", "li.na"), ("li.na", " Li.Na "), ("li.na", ""), ("", "wang.wei"), ("", "")],
    ids=["same", "same-but-for-case", "no-second", "no-first", "nobody"],
)
def test_one_person_does_not_close_the_breaker(first: str, second: str) -> None:
    with pytest.raises(BreakerError, match="two different people close the breaker"):
        Breaker().opened(NOON, "excess").closed_by(first, second)


def test_closed_breaker_is_not_closed_again() -> None:
    with pytest.raises(BreakerError, match="closed already"):
        Breaker().closed_by("li.na", "wang.wei")
