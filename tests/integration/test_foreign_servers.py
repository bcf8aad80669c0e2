"""Our driver against Modbus servers on libmodbus and on modbus-tk."""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal

import pytest

from meterplex.headend import builtin_channels
from meterplex.headend.direct import link_on, open_driver, open_line
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import (
    DeviceMismatchError,
    DeviceRefusedError,
    LinkTimeoutError,
    MeterDriver,
    SupplyMode,
)
from meterplex.sdk.modbus import ModbusMaster

pytestmark = pytest.mark.integration

MODEL = "acrel_dtsy1352"

# What IMAGE says, by hand.
EXPECTED = {
    "voltage_l1": "230.1",
    "voltage_l2": "229.9",
    "voltage_l3": "231.8",
    "current_l1": "12.50",
    "current_l2": "8.30",
    "current_l3": "4.15",
    "active_power": "4.492",
    "active_power_l1": "2.732",
    "active_power_l2": "1.860",
    "active_power_l3": "-0.100",
    "reactive_power": "1.210",
    "power_factor": "0.965",
    "power_factor_l3": "-1.000",
    "active_energy_import": "12345.67",
    "active_energy_import_sharp": "111.11",
    "active_energy_import_peak": "222.22",
    "active_energy_import_flat": "333.33",
    "active_energy_import_valley": "5763.97",
    "credit_remaining": "-5.00",
    "purchase_count": "7",
}


@pytest.fixture(scope="module")
def plugins() -> PluginManager:
    return PluginManager.load(builtin=[builtin_channels])


@pytest.fixture
async def driver(foreign_url: str, plugins: PluginManager) -> AsyncIterator[MeterDriver]:
    async with open_driver(plugins, MODEL, foreign_url, "1", {}) as made:
        yield made


async def test_snapshot_is_read(driver: MeterDriver, plugins: PluginManager) -> None:
    snapshot = await driver.read(plugins.models[MODEL].registers)

    values = {value.register.slug: value.value for value in snapshot.values}
    assert {slug: values[slug] for slug in EXPECTED} == {
        slug: Decimal(text) for slug, text in EXPECTED.items()
    }
    assert snapshot.supply is not None
    assert snapshot.supply.connected is True
    assert snapshot.supply.mode is SupplyMode.AUTOMATIC
    assert snapshot.flags is not None
    assert {"arrears", "alarm_1", "alarm_2"} <= snapshot.flags
    assert snapshot.clock == datetime.fromisoformat("2026-11-20T12:30:15")


async def test_wallet_and_identity_are_read(driver: MeterDriver) -> None:
    credit = await driver.read_credit()
    identity = await driver.identify()

    assert (credit.remaining, credit.purchase_count) == (Decimal("-5.00"), 7)
    assert credit.total_purchased == Decimal("500.00")
    assert identity.model == MODEL
    assert identity.serial == "260711000123"


async def test_many_reads_in_a_row_stay_in_step(
    driver: MeterDriver, plugins: PluginManager
) -> None:
    registers = plugins.models[MODEL].registers

    first = await driver.read(registers)

    assert all([await driver.read(registers) == first for _ in range(5)])


async def test_registers_are_written(foreign_url: str, plugins: PluginManager) -> None:
    async with open_line(plugins, foreign_url) as line:
        master = ModbusMaster(link_on(line, plugins.models[MODEL].bus), 1)
        await master.write_registers(0x0057, (1, 0xABCD))

        assert tuple(await master.read_holding(0x0057, 2)) == (1, 0xABCD)


async def test_another_model_is_told_apart(foreign_url: str, plugins: PluginManager) -> None:
    async with open_driver(plugins, "acrel_ddsy1352", foreign_url, "1", {}) as driver:
        with pytest.raises(DeviceMismatchError):
            await driver.identify()


async def test_address_of_nobody_times_out(foreign_url: str, plugins: PluginManager) -> None:
    url = f"{foreign_url}&latency=0.05&response=0.1"
    async with open_driver(plugins, MODEL, url, "9", {}) as driver:
        with pytest.raises(LinkTimeoutError):
            await driver.read_credit()


async def test_unknown_registers_are_refused_with_exception_2(
    foreign_url: str, plugins: PluginManager
) -> None:
    async with open_line(plugins, foreign_url) as line:
        master = ModbusMaster(link_on(line, plugins.models[MODEL].bus), 1)

        with pytest.raises(DeviceRefusedError) as caught:
            await master.read_holding(0x7000, 2)

    assert caught.value.code == 2
