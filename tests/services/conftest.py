"""A plugin without a wire, and estate files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from meterplex import hookimpl
from meterplex.headend import builtin_channels
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import (
    STANDARD_REGISTERS,
    BusTolerance,
    Capability,
    ExchangeSize,
    Link,
    MeterDriver,
    MeterModel,
    Setting,
    SettingsError,
    Utility,
)
from meterplex.services.estate.files import EstateFile, read_estate_file


def check_address(text: str) -> str:
    if not (text.isdecimal() and 1 <= int(text) <= 247):
        raise SettingsError(f"address {text!r}: expected a number within 1..247")
    return str(int(text))


def no_driver(link: Link, address: str, settings: Mapping[str, str]) -> MeterDriver:
    raise SettingsError("this model cannot be driven")


def model(
    model_id: str, utility: str, protocol: str = "modbus", devices_max: int = 32, **more: Any
) -> MeterModel:
    return MeterModel(
        id=model_id,
        title=model_id.title(),
        utility=Utility(utility),
        registers=(STANDARD_REGISTERS["active_energy_import"],),
        bus=BusTolerance(protocol, devices_max=devices_max),
        poll=(ExchangeSize(8, 45),),
        check_address=check_address,
        driver=no_driver,
        **more,
    )


MODELS = (
    model(
        "power_meter",
        "electricity",
        capabilities=frozenset({Capability.SUPPLY, Capability.HOLD_SUPPLY, Capability.LIMITS}),
        settings=(
            Setting("password", "of the meter", "000000"),
            Setting("phase", "", "1", ("1", "3")),
        ),
    ),
    model("plain_meter", "electricity", devices_max=64),
    model("water_meter", "water", "cjt188"),
)


@pytest.fixture(scope="session")
def plugins() -> PluginManager:
    """The core's channel types and three models."""
    source = ModuleType("three_models")
    vars(source)["meterplex_meter_models"] = hookimpl(lambda: MODELS)
    return PluginManager.load((builtin_channels, source), ())


@pytest.fixture
def estate_file(tmp_path: Path) -> Callable[[str], EstateFile]:
    """Write a TOML estate and return what is read of it."""

    def make(text: str, name: str = "estate.toml") -> EstateFile:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return read_estate_file(path)

    return make
