"""The tariffs of the demo's tenants, in the format of ``meterplex tariff``."""

import tomllib
from typing import Final

from meterplex.cli.demo.estate import HOME_PRICE
from meterplex.domain.tariff import TariffVersion
from meterplex.services.tariffs.file_format import parse_tariff

_HEAD: Final = """
version = 1
utility = "electricity"
currency = "CNY"
time_zone = "Asia/Shanghai"
valid_from = 2026-01-01
rounding = "half_up"
"""
_ALL_DAYS: Final = '["workday", "saturday", "sunday", "holiday"]'

_SHOP: Final = f"""
id = "shop-power"
{_HEAD}
[periods]
blocks = "year"
billing = "month"
block_allocation = "chronological"

[[blocks]]
name = "block 1"
up_to = "4800"
[[blocks]]
name = "block 2"

[bands]
names = ["peak", "flat", "valley"]
[[seasons]]
name = "all year"
from = "01-01"
[[seasons.days]]
types = {_ALL_DAYS}
slots = [
  {{ at = "00:00", band = "valley" }}, {{ at = "08:00", band = "peak" }},
  {{ at = "12:00", band = "flat" }}, {{ at = "17:00", band = "peak" }},
  {{ at = "22:00", band = "valley" }},
]

[energy]
prices = [["1.2800", "0.8500", "0.4200"], ["1.3800", "0.9500", "0.5200"]]

[[surcharge]]
name = "value added tax"
percent = "13"
applies_to = ["energy"]
tax_code = "VAT13"
"""

_HOME: Final = f"""
id = "home-power"
{_HEAD}
[periods]
blocks = "month"
billing = "month"
block_allocation = "chronological"

[[blocks]]
name = "all"

[bands]
names = ["flat"]
[[seasons]]
name = "all year"
from = "01-01"
days = [{{ types = {_ALL_DAYS}, slots = [{{ at = "00:00", band = "flat" }}] }}]

[energy]
prices = [["{HOME_PRICE}"]]
"""


def shop_tariff() -> TariffVersion:
    """Return the shop's: blocks of the year, three bands of the day, tax."""
    return parse_tariff(tomllib.loads(_SHOP))


def home_tariff() -> TariffVersion:
    """Return the home's: one price, as its meter holds it."""
    return parse_tariff(tomllib.loads(_HOME))
