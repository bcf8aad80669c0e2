"""Settings of the prepaid models: what the public sources leave open, to be set per meter."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, Self

from meterplex.protocols.errors import EncodeError
from meterplex.protocols.modbus.blocks import Field
from meterplex.sdk import Setting, SettingsError
from meterplex.sdk.profile_parts import ProfileFlag
from meterplex.sdk.settings import complete_settings
from meterplex_acrel_dtsy.blocks import SNAPSHOT
from meterplex_acrel_dtsy.cipher import CommandCipher
from meterplex_acrel_dtsy.tou import DatePlanOrder

_YES_NO: Final = ("true", "false")

SETTINGS: Final = (
    Setting("price_scale", "currency units per kWh of one step of a price register", "0.0001"),
    Setting("amount_scale", "currency units of one step of a money register", "0.01"),
    Setting("balance_signed", "whether the remaining amount can go below zero", "true", _YES_NO),
    Setting("overload_unit_w", "watts of one step of the overload limit", "1"),
    Setting("vendor_reply_length", "bytes of the reply to function 20, with CRC", "15"),
    Setting(
        "date_plan_order",
        "byte order of a date plan that the meter's own plan does not tell",
        DatePlanOrder.MONTH_DAY_TABLE.value,
        tuple(order.value for order in DatePlanOrder),
    ),
    Setting("cipher", "cipher of privileged commands (run mode bit 5)", "none", ("none", "tea16")),
    Setting("cipher_key", "16 hexadecimal digits, with cipher=tea16", ""),
    Setting(
        "count_checked",
        "true once a bench check proved that the meter compares purchase counts",
        "false",
        _YES_NO,
    ),
    Setting("deep_valley", "whether to read the fifth rate of an 8-rate meter", "false", _YES_NO),
    Setting("flag_bits", "more status bits, as cover_open=0x0224.9 magnetic_field=0x0225.15", ""),
)

_FLAG_BIT: Final = re.compile(r"([a-z][a-z0-9_]*)=(0x[0-9a-fA-F]+|\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class AcrelSettings:
    """The settings of one meter, checked; see :data:`SETTINGS` for their meaning and defaults."""

    price_scale: Decimal
    amount_scale: Decimal
    balance_signed: bool
    overload_unit_w: Decimal
    vendor_reply_length: int
    date_plan_order: DatePlanOrder
    cipher: CommandCipher | None
    count_checked: bool
    deep_valley: bool
    flag_bits: tuple[ProfileFlag, ...]

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Check the settings of a meter.

        Raises:
            SettingsError: an unknown name, or a text that cannot be used.
        """
        texts = complete_settings(SETTINGS, given, "Acrel meter")
        return cls(
            price_scale=_positive(texts, "price_scale"),
            amount_scale=_positive(texts, "amount_scale"),
            balance_signed=texts["balance_signed"] == "true",
            overload_unit_w=_positive(texts, "overload_unit_w"),
            vendor_reply_length=_reply_length(texts["vendor_reply_length"]),
            date_plan_order=DatePlanOrder(texts["date_plan_order"]),
            cipher=_cipher(texts),
            count_checked=texts["count_checked"] == "true",
            deep_valley=texts["deep_valley"] == "true",
            flag_bits=tuple(_flag_bit(text) for text in texts["flag_bits"].split()),
        )


def _unusable(name: str, text: str, expected: str) -> SettingsError:
    return SettingsError(f"setting {name}={text}: expected {expected}")


def _positive(texts: Mapping[str, str], name: str) -> Decimal:
    try:
        number = Decimal(texts[name])
    except InvalidOperation as error:
        raise _unusable(name, texts[name], "a number above 0") from error
    if not number.is_finite() or number <= 0:
        raise _unusable(name, texts[name], "a number above 0")
    return number


def _reply_length(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 5 <= int(text) <= 256):
        raise _unusable("vendor_reply_length", text, "a number of bytes, 5 to 256")
    return int(text)


def _cipher(texts: Mapping[str, str]) -> CommandCipher | None:
    if texts["cipher"] == "none":
        return None
    try:
        return CommandCipher.parse(texts["cipher_key"])
    except EncodeError as error:
        raise SettingsError(f"setting cipher_key: {error}") from error


def _flag_bit(text: str) -> ProfileFlag:
    match = _FLAG_BIT.fullmatch(text)
    if match is not None:
        flag = ProfileFlag(match[1], Field(3, int(match[2], 0), 1), int(match[3]))
        if SNAPSHOT.covers(flag.field) and flag.bit < 16:
            return flag
    raise _unusable(
        "flag_bits",
        text,
        f"word=register.bit, the register within 0x{SNAPSHOT.start:04X}..0x{SNAPSHOT.end - 1:04X}",
    )
