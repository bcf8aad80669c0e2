from meterplex_acrel_dtsy.twin_load import LoadCurve

MINUTE = 29_650_000
WEEK = [
    (minute, minute // 1440 % 7, minute % 1440) for minute in range(MINUTE, MINUTE + 7 * 1440, 7)
]


def test_same_seed_gives_the_same_load() -> None:
    first, second = LoadCurve(1200, 5, 3), LoadCurve(1200, 5, 3)

    assert [first.power_w(*at) for at in WEEK[:50]] == [second.power_w(*at) for at in WEEK[:50]]


def test_other_seed_gives_another_load() -> None:
    assert LoadCurve(1200, 5, 3).power_w(*WEEK[0]) != LoadCurve(1200, 6, 3).power_w(*WEEK[0])


def test_week_averages_the_mean_power() -> None:
    curve = LoadCurve(1200, 5, 3)

    mean_w = sum(sum(curve.power_w(*at)) for at in WEEK) / len(WEEK)

    assert 1140 < mean_w < 1260


def test_phases_add_up_to_the_single_phase_load() -> None:
    one, three = LoadCurve(1200, 5, 1), LoadCurve(1200, 5, 3)

    assert all(sum(three.power_w(*at)) == one.power_w(*at)[0] for at in WEEK)
    assert all(min(three.power_w(*at)) > 0 for at in WEEK)


def test_evening_is_higher_than_night() -> None:
    curve = LoadCurve(1200, 5, 1)

    night = sum(curve.power_w(MINUTE + at, 2, at)[0] for at in range(120, 300))
    evening = sum(curve.power_w(MINUTE + at, 2, at)[0] for at in range(1080, 1260))

    assert evening > 3 * night


def test_power_fits_the_register() -> None:
    assert max(sum(LoadCurve(20_000, 5, 3).power_w(*at)) for at in WEEK) == 32_000


def test_voltage_and_power_factor_stay_in_range() -> None:
    curve = LoadCurve(1200, 5, 3)

    volts = {curve.voltage_tenths(at[0], phase) for at in WEEK for phase in range(3)}
    factors = {curve.power_factor_permille(at[0], phase) for at in WEEK for phase in range(3)}

    assert min(volts) >= 2180
    assert max(volts) <= 2420
    assert len(volts) > 100
    assert min(factors) >= 860
    assert max(factors) <= 990
