"""The plugin of the page on tariffs and accounts does what the page says."""

import re
import tomllib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import ModuleType

from tests.domain.tariff_samples import FLAT, month_of, only_bill

from meterplex.domain.registers import WATER
from meterplex.plugin_manager import PluginManager
from meterplex.services.tariffs.document import describe_tariff
from meterplex.services.tariffs.file_format import parse_tariff

PAGE = Path(__file__).parents[2] / "docs" / "plugin-author" / "tariffs-and-accounts.md"
CODE = re.compile(r"^```(python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def made(source: str) -> ModuleType:
    module = ModuleType("made")
    exec(compile(source, str(PAGE), "exec"), vars(module))
    return module


def test_page_s_component_is_charged() -> None:
    component, table, _ = (code for _, code in CODE.findall(PAGE.read_text("utf-8")))
    plugins = PluginManager.load([made(component)], entry_points=())
    assert plugins.healthy
    document = describe_tariff(replace(FLAT, utility=WATER)) | tomllib.loads(table)
    bill = only_bill(parse_tariff(document, plugins.tariff_components), month_of("0"))
    (line,) = bill.lines
    assert line.component == "storm_water"
    assert Decimal(line.amount_units) == 31 * Decimal("1.4") * 125


def test_page_s_listener_is_heard() -> None:
    *_, listener = (code for _, code in CODE.findall(PAGE.read_text("utf-8")))
    (plugin,) = PluginManager.load([made(listener)], entry_points=()).plugins
    assert plugin.hears_accounts
