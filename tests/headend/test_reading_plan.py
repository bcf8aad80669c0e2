from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from meterplex.domain.estate import ReadingWindow
from meterplex.headend.reading_plan import (
    LOST_AFTER,
    PROBE_S,
    RETRY_FIRST_S,
    MeterPlan,
    is_within,
    window_opens_in,
)


def test_a_meter_that_answers_is_due_once_an_interval() -> None:
    plan = MeterPlan(interval_s=60, due_at=0)
    dues = []
    for now in (1.0, 61.0, 121.5):
        plan.hit(now)
        dues.append(plan.due_at)
    assert dues == [60, 120, 180]


def test_a_bus_that_cannot_keep_up_reads_on_without_a_backlog() -> None:
    plan = MeterPlan(interval_s=10, due_at=0)
    plan.hit(45)
    assert plan.due_at == 45


def test_a_late_promise_is_not_put_off_by_a_revival() -> None:
    plan = MeterPlan(interval_s=1800, due_at=10_000)
    plan.hit(100)
    assert plan.due_at == 1900


def test_misses_back_off_to_the_probe_interval_and_a_hit_ends_it() -> None:
    plan = MeterPlan(interval_s=10, due_at=0)
    waits = []
    for _ in range(7):
        plan.miss(100)
        waits.append(plan.due_at - 100)
    assert waits == [2, 4, 8, 16, 30, 30, 30]
    assert waits[0] == RETRY_FIRST_S
    assert waits[-1] == PROBE_S
    plan.hit(200)
    assert plan.misses == 0
    assert plan.due_at <= 210


def test_a_meter_is_lost_after_misses_in_a_row_only() -> None:
    plan = MeterPlan(interval_s=10, due_at=0)
    for _ in range(LOST_AFTER - 1):
        plan.miss(1)
    plan.hit(2)
    assert not plan.is_lost
    for _ in range(LOST_AFTER):
        assert not plan.is_lost
        plan.miss(3)
    assert plan.is_lost


def test_how_many_attempts_a_meter_gets_can_be_set() -> None:
    plan = MeterPlan(interval_s=10, due_at=0, attempts=5)
    lost = []
    for _ in range(5):
        plan.miss(1)
        lost.append(plan.is_lost)
    assert lost == [False, False, False, False, True]


def test_a_meter_whose_driver_misbehaves_is_lost_at_once_and_probed_rarely() -> None:
    plan = MeterPlan(interval_s=10, due_at=0)
    plan.fail(100)
    assert plan.is_lost
    assert plan.due_at == 100 + PROBE_S
    plan.hit(200)
    assert not plan.is_lost


@pytest.mark.parametrize(
    ("window", "at", "inside"),
    [
        ((0, 0), time(13), True),
        ((8, 20), time(8), True),
        ((8, 20), time(20), False),
        ((8, 20), time(7, 59, 59), False),
        ((22, 6), time(23), True),
        ((22, 6), time(5, 59), True),
        ((22, 6), time(6), False),
        ((22, 0), time(23, 59), True),
        ((22, 0), time(0), False),
    ],
)
def test_windows_are_half_open_and_may_run_over_midnight(
    window: tuple[int, int], at: time, inside: bool
) -> None:
    assert is_within(ReadingWindow(time(window[0]), time(window[1])), at) is inside


@pytest.mark.parametrize(
    ("hour", "opens_in_h"),
    [(9, 0), (7, 1), (21, 11), (20, 12)],
    ids=["open", "soon", "late", "end"],
)
def test_a_closed_window_says_when_it_opens(hour: int, opens_in_h: int) -> None:
    local = datetime(2026, 11, 20, hour, tzinfo=ZoneInfo("Asia/Shanghai"))
    window = ReadingWindow(time(8), time(20))
    assert window_opens_in(window, local) == timedelta(hours=opens_in_h)


def test_the_window_is_one_of_the_sites_local_time() -> None:
    utc = datetime(2026, 11, 20, 1, tzinfo=UTC)
    window = ReadingWindow(time(8), time(20))
    assert window_opens_in(window, utc.astimezone(ZoneInfo("Asia/Shanghai"))) == timedelta(0)
