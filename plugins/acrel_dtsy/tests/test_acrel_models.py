from pathlib import Path

import pytest

from meterplex.sdk import Capability
from meterplex.sdk.testing import ScriptedTransport
from meterplex_acrel_dtsy import models, plugin
from meterplex_acrel_dtsy.settings import SETTINGS

DATA = Path(__file__).parent / "data"
MODELS = {model.id: model for model in plugin.meterplex_meter_models()}


def test_hook_meterplex_meter_models_gives_every_model() -> None:
    assert list(MODELS) == [
        "acrel_dtsy1352",
        "acrel_ddsy1352",
        "acrel_adl300",
        "acrel_adw300",
        "acrel_dtsd1352c",
    ]


def test_every_profile_is_a_model() -> None:
    profiles = Path(models.__file__).parent / "profiles"
    assert {path.stem for path in profiles.glob("*.toml")} == set(MODELS)


@pytest.mark.parametrize("model", ["acrel_dtsy1352", "acrel_ddsy1352"])
def test_prepaid_models_keep_money_and_have_a_twin(model: str) -> None:
    assert {
        Capability.DELIVER_CREDIT,
        Capability.WITHDRAW_CREDIT,
        Capability.HOLD_SUPPLY,
    } <= MODELS[model].capabilities
    assert MODELS[model].twin is not None


def test_readme_lists_every_model_setting_and_flag() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    settings = [
        f"`{setting.name}` | `{setting.default}`"
        for setting in SETTINGS
        if setting.default and setting.name != "cipher"
    ]
    flags = [f"`{flag.word}`" for flag in models.profile_of("acrel_dtsy1352").flags]
    rows = [*(f"`{model}`" for model in MODELS), *settings, *flags]
    assert [row for row in rows if row not in readme] == []


THREE_PHASES = {
    "voltage_l1": "230.1",
    "voltage_l2": "230.2",
    "voltage_l3": "230.3",
    "current_l1": "5.12",
    "current_l2": "4.80",
    "current_l3": "0.07",
    "active_power_l1": "1.150",
    "active_power_l2": "1.080",
    "active_power_l3": "-0.020",
    "active_power": "2.210",
    "active_energy_import": "1234.56",
    "active_energy_export": "7.89",
}
RATES = {
    "active_energy_import": "1234.56",
    "active_energy_import_sharp": "1.00",
    "active_energy_import_peak": "10.00",
    "active_energy_import_flat": "100.00",
    "active_energy_import_valley": "1123.56",
}


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("adl300", RATES),
        ("adw300", THREE_PHASES),
        ("dtsd1352c", {**THREE_PHASES, **RATES, "frequency": "49.98"}),
    ],
)
async def test_relatives_are_read_by_profile_alone(model: str, values: dict[str, str]) -> None:
    link = ScriptedTransport.of_recording((DATA / f"{model}.frames").read_text())
    driver = MODELS[f"acrel_{model}"].driver(link, "1", {})
    assert (await driver.identify()).model == f"acrel_{model}"
    snapshot = await driver.read()
    assert {value.register.slug: str(value.value) for value in snapshot.values} == values
    assert link.unused == ()
