from decimal import Decimal

import pytest

from meterplex.protocols.modbus.blocks import Field
from meterplex.sdk import SettingsError
from meterplex.sdk.profile_parts import ProfileFlag
from meterplex_acrel_dtsy.cipher import CommandCipher
from meterplex_acrel_dtsy.settings import AcrelSettings
from meterplex_acrel_dtsy.tou import DatePlanOrder


def test_defaults_are_the_documented_guesses() -> None:
    assert AcrelSettings.parse({}) == AcrelSettings(
        price_scale=Decimal("0.0001"),
        amount_scale=Decimal("0.01"),
        balance_signed=True,
        overload_unit_w=Decimal(1),
        vendor_reply_length=15,
        date_plan_order=DatePlanOrder.MONTH_DAY_TABLE,
        cipher=None,
        count_checked=False,
        deep_valley=False,
        flag_bits=(),
    )


def test_every_guess_can_be_overridden() -> None:
    assert AcrelSettings.parse(
        {
            "price_scale": "0.001",
            "amount_scale": "0.1",
            "balance_signed": "false",
            "overload_unit_w": "10",
            "vendor_reply_length": "8",
            "date_plan_order": "table_day_month",
            "cipher": "tea16",
            "cipher_key": "1111 2222 3333 4444",
            "count_checked": "true",
            "deep_valley": "true",
            "flag_bits": "cover_open=0x0224.9  magnetic_field=549.15",
        }
    ) == AcrelSettings(
        price_scale=Decimal("0.001"),
        amount_scale=Decimal("0.1"),
        balance_signed=False,
        overload_unit_w=Decimal(10),
        vendor_reply_length=8,
        date_plan_order=DatePlanOrder.TABLE_DAY_MONTH,
        cipher=CommandCipher((0x1111, 0x2222, 0x3333, 0x4444)),
        count_checked=True,
        deep_valley=True,
        flag_bits=(
            ProfileFlag("cover_open", Field(3, 0x0224, 1), 9),
            ProfileFlag("magnetic_field", Field(3, 0x0225, 1), 15),
        ),
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("price_scale", "0"),
        ("price_scale", "-0.01"),
        ("price_scale", "NaN"),
        ("amount_scale", "a cent"),
        ("overload_unit_w", "Infinity"),
        ("balance_signed", "maybe"),
        ("count_checked", "yes"),
        ("date_plan_order", "day_month_table"),
        ("vendor_reply_length", "4"),
        ("vendor_reply_length", "257"),
        ("vendor_reply_length", "-15"),
        ("cipher", "des"),
        ("flag_bits", "cover_open"),
        ("flag_bits", "cover_open=0x0224.16"),
        ("flag_bits", "cover_open=0x0230.1"),
        ("flag_bits", "Cover=0x0224.1"),
        ("price_scal", "0.01"),
    ],
)
def test_unusable_setting_is_named(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name):
        AcrelSettings.parse({name: text})


@pytest.mark.parametrize("key", ["", "1111", "1111 2222 3333 44x4"])
def test_cipher_needs_its_key(key: str) -> None:
    with pytest.raises(SettingsError, match="cipher_key") as refusal:
        AcrelSettings.parse({"cipher": "tea16", "cipher_key": key})
    assert not key or key not in str(refusal.value)
