import pytest

from meterplex.sdk import SettingsError
from meterplex_acrel_dtsy.twin_settings import TwinSettings


def test_texts_become_exact_numbers() -> None:
    settings = TwinSettings.parse(
        {
            "start_energy_kwh": "12.345",
            "remaining": "-3.21",
            "price_peak": "0.9876",
            "load_kw": "2.5",
            "count_checked": "false",
            "turn_round_ms": "12.5",
            "cipher": "tea16",
            "cipher_key": "1111 2222 3333 44Ff",
        }
    )

    assert settings.start_energy_wh == 12_345
    assert settings.remaining == -32_100
    assert settings.total_purchased == 0
    assert settings.prices[1] == 9876
    assert settings.load_w == 2500
    assert not settings.count_checked
    assert settings.turn_round_s == 0.0125
    assert settings.key == (0x1111, 0x2222, 0x3333, 0x44FF)


def test_one_price_for_all_rates() -> None:
    assert TwinSettings.parse({"price": "0.5"}).prices == (5000, 5000, 5000, 5000)


def test_settings_of_the_driver_are_left_alone() -> None:
    assert TwinSettings.parse({"balance_signed": "true"}) == TwinSettings.parse({})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("remaining", "much"),
        ("remaining", "NaN"),
        ("price", "0.00001"),
        ("ct", "0"),
        ("ct", "65536"),
        ("count_checked", "yes"),
        ("serial", "12AB"),
        ("serial", "1234567890123"),
        ("time_zone", "Mars/Olympus"),
        ("date_plan_order", "both"),
        ("turn_round_ms", "-1"),
    ],
)
def test_unusable_setting_is_named(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name):
        TwinSettings.parse({name: text})


@pytest.mark.parametrize("key", ["", "1111", "1111 2222 3333 44zz"])
def test_unusable_key_is_refused_and_not_told(key: str) -> None:
    with pytest.raises(SettingsError, match="cipher_key") as caught:
        TwinSettings.parse({"cipher": "tea16", "cipher_key": key})

    assert not key or key not in str(caught.value)
