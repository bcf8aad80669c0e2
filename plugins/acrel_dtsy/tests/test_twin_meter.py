from datetime import UTC, datetime, timedelta

import pytest

from meterplex_acrel_dtsy.twin_load import LoadCurve
from meterplex_acrel_dtsy.twin_meter import Force, MeterBody
from meterplex_acrel_dtsy.twin_settings import TwinSettings

START = datetime(2026, 11, 20, 0, 0, 17, tzinfo=UTC)
DAY = timedelta(days=1)


def body(**settings: str) -> MeterBody:
    parsed = TwinSettings.parse(settings)
    made = MeterBody(parsed, LoadCurve(parsed.load_w, seed=11, phases=3))
    made.advance(START)
    return made


def state(meter: MeterBody) -> tuple[object, ...]:
    return (
        tuple(meter.energy_wh),
        meter.wallet.remaining,
        meter.wallet.owed,
        meter.relays,
        meter.overload_trips,
        meter.demand,
        meter.clock,
    )


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="supplied all day"),
        pytest.param({"remaining": "7.77"}, id="trips at noon"),
        pytest.param({"remaining": "5", "overdraft": "3.3"}, id="trips in overdraft"),
        pytest.param({"overload_w": "600", "recover_min": "7"}, id="overload trips"),
        pytest.param({"fee_control": "false"}, id="postpaid"),
        pytest.param({"clock_drift_ppm": "5000", "clock_offset_s": "-40"}, id="clock that drifts"),
    ],
)
def test_one_step_and_a_thousand_give_the_same_meter(settings: dict[str, str]) -> None:
    at_once, in_steps = body(**settings), body(**settings)

    at_once.advance(START + DAY)
    for step in range(1, 1001):
        in_steps.advance(START + DAY * step / 1000)

    assert state(at_once) == state(in_steps)


def test_energy_follows_the_load() -> None:
    meter = body(load_kw="2.0", start_energy_kwh="0", fee_control="false")

    meter.advance(START + 7 * DAY)

    assert 2000 * 24 * 7 * 0.95 < sum(meter.energy_wh) < 2000 * 24 * 7 * 1.05
    assert all(wh > 0 for wh in meter.energy_wh)


def test_money_is_energy_times_price_rate_by_rate() -> None:
    meter = body(remaining="1000")
    before = list(meter.energy_wh)

    meter.advance(START + 3 * DAY)

    used = [after - start for after, start in zip(meter.energy_wh, before, strict=True)]
    cost = sum(wh * price for wh, price in zip(used, (12_000, 9_500, 6_500, 3_500), strict=True))
    assert meter.wallet.remaining * 1000 - meter.wallet.owed == 1000 * 10_000 * 1000 - cost


def test_postpaid_meter_keeps_its_wallet() -> None:
    meter = body(fee_control="false", remaining="0")

    meter.advance(START + DAY)

    assert meter.wallet.remaining == 0
    assert all(meter.relays)


@pytest.mark.parametrize("overdraft", ["0", "2.5"])
def test_trips_at_the_limit_and_consumes_no_more(overdraft: str) -> None:
    meter = body(remaining="5", overdraft=overdraft, price="1")
    limit = -int(float(overdraft) * 10_000)

    meter.advance(START + DAY)
    used = sum(meter.energy_wh)
    meter.advance(START + 2 * DAY)

    assert not any(meter.relays)
    assert limit - 10 <= meter.wallet.remaining <= limit  # one Wh at price 1 is 10 units
    assert sum(meter.energy_wh) == used
    assert meter.power_w == (0, 0, 0)


def test_base_energy_is_used_up_before_money() -> None:
    meter = body(remaining="100", price="1", start_energy_kwh="0")
    meter.wallet.base_wh = 3000

    meter.advance(START + DAY)

    used = sum(meter.energy_wh)
    assert used > 3000
    assert meter.wallet.base_wh == 0
    assert meter.wallet.remaining * 1000 - meter.wallet.owed == 10**9 - (used - 3000) * 10_000


def test_base_energy_delays_the_trip() -> None:
    with_base, without = body(remaining="5", price="1"), body(remaining="5", price="1")
    with_base.wallet.base_wh = 2000

    for meter in (with_base, without):
        meter.advance(START + DAY)

    assert sum(with_base.energy_wh) - sum(without.energy_wh) == 2000


def test_held_supply_goes_on_below_the_limit() -> None:
    meter = body(remaining="1")
    meter.force[:] = [Force.CLOSED] * 3

    meter.advance(START + DAY)

    assert meter.wallet.remaining < 0
    assert all(meter.relays)


def test_forced_open_phase_consumes_nothing() -> None:
    meter = body()
    meter.force[1] = Force.OPEN

    meter.advance(START + timedelta(hours=1))

    assert meter.relays == (True, False, True)
    assert meter.power_w[1] == 0
    assert meter.power_w[0] > 0


def test_zero_price_never_trips() -> None:
    meter = body(remaining="0.01", price="0.0000")

    meter.advance(START + DAY)

    assert all(meter.relays)


def test_overload_trips_recover_until_they_are_too_many() -> None:
    meter = body(overload_w="100", trips_allowed="2", recover_min="10", load_kw="3")

    meter.advance(START + timedelta(minutes=5))
    first = meter.relays, meter.overload_trips
    meter.advance(START + timedelta(hours=3))

    # Each phase trips once; the third trip is one too many and stays. The other two close again
    # after 10 min, trip again, and stay open as well.
    assert first == ((False, False, False), 3)
    assert meter.overload_trips == 5
    assert not any(meter.relays)


def test_reset_closes_after_overload() -> None:
    meter = body(overload_w="100", recover_min="0", load_kw="3")
    meter.advance(START + timedelta(minutes=1))
    assert not any(meter.relays)

    for control in meter.load_control:
        control.enabled = False
    meter.reset_trips()

    assert all(meter.relays)
    assert meter.overload_trips == 0


def test_maximum_demand_is_a_quarter_hours_mean() -> None:
    meter = body(load_kw="2")

    meter.advance(START + DAY)

    assert 2000 < meter.demand.power_w < 5000
    assert meter.demand.at.minute % 15 == 0


def test_clock_starts_at_local_time_with_its_error_and_drifts() -> None:
    meter = body(clock_offset_s="30", clock_drift_ppm="100")

    meter.advance(START + timedelta(seconds=10_000))

    # 100 ppm of 10,000 s are one second.
    assert meter.clock == datetime.fromisoformat("2026-11-20T10:47:28")


def test_clock_that_was_set_counts_on_from_there() -> None:
    meter = body()

    meter.set_clock(datetime.fromisoformat("2030-01-01T00:00:00"))
    meter.advance(START + timedelta(minutes=1))

    assert meter.clock == datetime.fromisoformat("2030-01-01T00:01:00")


def test_time_does_not_run_backwards() -> None:
    meter = body()
    meter.advance(START + timedelta(hours=1))
    before = state(meter)

    meter.advance(START)

    assert state(meter) == before
