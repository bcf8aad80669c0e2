"""What a twin may be told at birth, as text, and its defaults.

Other names are left alone: the same mapping also configures the driver.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from meterplex.sdk import Setting, SettingsError

UNITS_PER_CURRENCY: Final = 10_000
"""Money inside a twin is counted in 1/10000 of the currency unit."""

SETTINGS: Final = (
    Setting("serial", "meter number, at most 12 digits; made from the seed when empty", ""),
    Setting("start_energy_kwh", "energy register at its birth, kWh", "1000.00"),
    Setting("load_kw", "mean load, kW", "1.2"),
    Setting(
        "fee_control",
        "whether it charges its wallet and trips by itself",
        "true",
        ("true", "false"),
    ),
    Setting("remaining", "money in its wallet", "100.00"),
    Setting("purchase_count", "purchases taken so far", "1"),
    Setting("total_purchased", "money ever bought; what remains when empty", ""),
    Setting("price", "one price for all rates, per kWh", ""),
    Setting("price_sharp", "price per kWh", "1.2000"),
    Setting("price_peak", "price per kWh", "0.9500"),
    Setting("price_flat", "price per kWh", "0.6500"),
    Setting("price_valley", "price per kWh", "0.3500"),
    Setting("alarm_1", "first warning, money left", "20.00"),
    Setting("alarm_2", "second warning, money left", "5.00"),
    Setting("overdraft", "how far below zero it goes on", "0.00"),
    Setting(
        "count_checked",
        "whether it compares purchase counts; false is the blind variant",
        "true",
        ("true", "false"),
    ),
    Setting("overload_w", "trips above so many watts a phase; 0 never", "0"),
    Setting("trips_allowed", "overload trips before it stays open", "3"),
    Setting("recover_min", "minutes before it closes again after an overload", "5"),
    Setting("ct", "ratio of its current transformers", "1"),
    Setting("pt", "ratio of its voltage transformers", "1"),
    Setting("time_zone", "of its clock", "Asia/Shanghai"),
    Setting("clock_offset_s", "how far its clock is off at birth, s", "0"),
    Setting("clock_drift_ppm", "how fast its clock drifts", "0"),
    Setting(
        "date_plan_order",
        "byte order of its date plan",
        "table_day_month",
        ("table_day_month", "month_day_table"),
    ),
    Setting("cipher", "cipher of privileged commands", "none", ("none", "tea16")),
    Setting("cipher_key", "16 hexadecimal digits, with cipher=tea16", ""),
    Setting("turn_round_ms", "silence before its replies, ms", "20"),
)
"""What a twin may be told."""


def _refuse(name: str, text: str, expected: str) -> SettingsError:
    return SettingsError(f"twin setting {name}={text!r}: expected {expected}")


@dataclass(frozen=True, slots=True)
class _Texts:
    """The texts of all settings, given or default, and how to read them."""

    texts: Mapping[str, str]

    def choice(self, name: str, *choices: str) -> str:
        text = self.texts[name]
        if text not in choices:
            raise _refuse(name, text, " or ".join(choices))
        return text

    def flag(self, name: str) -> bool:
        return self.choice(name, "true", "false") == "true"

    def scaled(self, name: str, per_unit: int, low: int, high: int) -> int:
        """Read a decimal number as a whole count of 1/per_unit, within ``low..high``."""
        text = self.texts[name]
        try:
            value = Decimal(text) * per_unit
        except InvalidOperation:
            raise _refuse(name, text, "a decimal number") from None
        if not value.is_finite() or value != int(value) or not low <= value <= high:
            raise _refuse(
                name,
                text,
                f"{Decimal(low) / per_unit}..{Decimal(high) / per_unit} in steps of 1/{per_unit}",
            )
        return int(value)

    def money(self, name: str, low: int = 0) -> int:
        return self.scaled(name, UNITS_PER_CURRENCY, low, 2**31 * 100 - 1)

    def key(self) -> tuple[int, int, int, int] | None:
        if self.choice("cipher", "none", "tea16") == "none":
            return None
        digits = self.texts["cipher_key"].replace(" ", "")
        try:
            key = bytes.fromhex(digits)
        except ValueError:
            key = b""
        if len(key) != 8:
            # The text itself stays out of the message: it is a secret.
            raise SettingsError("twin setting cipher_key: expected 16 hex digits")
        return tuple_of_words(key)

    def zone(self) -> ZoneInfo:
        text = self.texts["time_zone"]
        try:
            return ZoneInfo(text)
        except (ZoneInfoNotFoundError, ValueError):
            raise _refuse("time_zone", text, "an IANA name, as Asia/Shanghai") from None


def tuple_of_words(data: bytes) -> tuple[int, int, int, int]:
    """Return the four 16-bit words of 8 bytes, high byte first."""
    a, b, c, d = (data[at] << 8 | data[at + 1] for at in range(0, 8, 2))
    return a, b, c, d


@dataclass(frozen=True, slots=True)
class TwinSettings:
    """Everything a twin starts with.

    Money in 1/10000 of the currency unit (prices: per kWh), energy in Wh, power in W on the
    meter's own side of the transformers.

    Attributes:
        serial: 12 digits, or empty: made from the seed.
        prices: sharp, peak, flat, valley.
        count_checked: a purchase is taken only when its count is the stored one + 1; otherwise
            any count is taken (the *blind* variant).
        overload_w: limit per phase; 0 is off.
        key: of the command cipher; None while commands come plain.
        months_first: order of the date plan, {month, day, table} instead of {table, day, month}.
    """

    serial: str
    start_energy_wh: int
    load_w: int
    fee_control: bool
    remaining: int
    purchase_count: int
    total_purchased: int
    prices: tuple[int, int, int, int]
    alarm_1: int
    alarm_2: int
    overdraft: int
    count_checked: bool
    overload_w: int
    trips_allowed: int
    recover_min: int
    ct: int
    pt: int
    zone: ZoneInfo
    clock_offset_s: int
    clock_drift_ppm: int
    months_first: bool
    key: tuple[int, int, int, int] | None
    turn_round_s: float

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Read the settings given, with the defaults for all others.

        Raises:
            SettingsError: a value is not usable.
        """
        texts = _Texts(
            {each.name: given.get(each.name, "") or each.default or "" for each in SETTINGS}
        )
        serial = texts.texts["serial"]
        if serial and not (serial.isascii() and serial.isdigit() and len(serial) <= 12):
            raise _refuse("serial", serial, "at most 12 digits")
        remaining = texts.money("remaining", low=-(2**31) * 100)
        sharp, peak, flat, valley = (
            texts.scaled(
                "price" if texts.texts["price"] else f"price_{rate}", UNITS_PER_CURRENCY, 0, 2**31
            )
            for rate in ("sharp", "peak", "flat", "valley")
        )
        return cls(
            serial=serial,
            start_energy_wh=texts.scaled("start_energy_kwh", 1000, 0, 2**32 * 10 - 1),
            load_w=texts.scaled("load_kw", 1000, 0, 20_000),
            fee_control=texts.flag("fee_control"),
            remaining=remaining,
            purchase_count=texts.scaled("purchase_count", 1, 0, 65_535),
            total_purchased=texts.money("total_purchased")
            if texts.texts["total_purchased"]
            else max(0, remaining),
            prices=(sharp, peak, flat, valley),
            alarm_1=texts.money("alarm_1"),
            alarm_2=texts.money("alarm_2"),
            overdraft=texts.money("overdraft"),
            count_checked=texts.flag("count_checked"),
            overload_w=texts.scaled("overload_w", 1, 0, 65_535),
            trips_allowed=texts.scaled("trips_allowed", 1, 0, 65_535),
            recover_min=texts.scaled("recover_min", 1, 0, 255),
            ct=texts.scaled("ct", 1, 1, 65_535),
            pt=texts.scaled("pt", 1, 1, 65_535),
            zone=texts.zone(),
            clock_offset_s=texts.scaled("clock_offset_s", 1, -86_400, 86_400),
            clock_drift_ppm=texts.scaled("clock_drift_ppm", 1, -100_000, 100_000),
            months_first=texts.choice("date_plan_order", "table_day_month", "month_day_table")
            == "month_day_table",
            key=texts.key(),
            turn_round_s=texts.scaled("turn_round_ms", 1000, 0, 10_000_000) / 1_000_000,
        )
