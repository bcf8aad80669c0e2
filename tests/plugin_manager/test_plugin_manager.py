import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from meterplex import __version__, hookimpl
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT
from meterplex.plugin_manager import PluginManager, PluginState, PluginStatus
from meterplex.sdk import (
    ChannelType,
    Link,
    MeterDriver,
    MeterModel,
    PluginError,
    Setting,
    SettingsError,
)
from meterplex.sdk.testing import TwinLink
from meterplex.sdk.testing.misbehaving.planting import PACKAGE, entry_points, plant
from meterplex.sdk.testing.misbehaving.plugins import raises_in_hook
from meterplex.sdk.testing.reference import REFERENCE_METER, make_twin
from meterplex.sdk.testing.reference_driver import ReferenceDriver

SHOW = raises_in_hook.meterplex_channel_types()[0]


def load(*names: str) -> PluginManager:
    return PluginManager.load(entry_points=entry_points(*names))


def status(plugins: PluginManager, name: str) -> PluginStatus:
    (found,) = [plugin for plugin in plugins.plugins if plugin.name == name]
    return found


def module(hook: Callable[[], object]) -> ModuleType:
    made = ModuleType("made")
    setattr(made, hook.__name__, hook)
    return made


def models_plugin(*models: object) -> object:
    @hookimpl
    def meterplex_meter_models() -> Sequence[object]:
        return models

    return module(meterplex_meter_models)


def channels_plugin(*channel_types: object) -> object:
    @hookimpl
    def meterplex_channel_types() -> Sequence[object]:
        return channel_types

    return module(meterplex_channel_types)


OBJECT_PLUGIN = models_plugin(REFERENCE_METER)


def builtin_problems(*plugins: object) -> tuple[str, ...]:
    (core,) = PluginManager.load(plugins, entry_points=()).plugins
    return core.problems


def link() -> TwinLink:
    return TwinLink(make_twin("1", {}, 1))


def test_hook_meterplex_meter_models() -> None:
    plugins = load("reference")
    assert dict(plugins.models) == {"reference_meter": REFERENCE_METER}
    assert plugins.plugin_of_model("reference_meter") == "reference"
    assert status(plugins, "reference").state is PluginState.LOADED
    assert plugins.healthy


def test_hook_meterplex_channel_types() -> None:
    plugins = PluginManager.load([channels_plugin(SHOW)], entry_points=())
    assert dict(plugins.channel_types) == {"show": SHOW}
    assert plugins.plugins == (
        PluginStatus("meterplex", "meterplex", __version__, PluginState.LOADED, (), (), ("show",)),
    )


@pytest.mark.parametrize(
    ("name", "state", "problem"),
    [
        (
            "raises_at_import",
            PluginState.FAILED,
            f"import of {PACKAGE}.raises_at_import: RuntimeError: no licence file",
        ),
        (
            "exits_at_import",
            PluginState.FAILED,
            f"import of {PACKAGE}.exits_at_import: SystemExit: this plugin needs root",
        ),
        (
            "raises_in_hook",
            PluginState.DEGRADED,
            "hook meterplex_meter_models: KeyError: 'profiles'",
        ),
        (
            "returns_wrong_type",
            PluginState.FAILED,
            "hook meterplex_meter_models: it returned str, expected a sequence",
        ),
        (
            "forgets_marker",
            PluginState.FAILED,
            "it implements no hook; is each marked with meterplex.hookimpl?",
        ),
        ("misspells_hook", PluginState.FAILED, "hook meterplex_meter_model is unknown"),
    ],
)
def test_broken_plugin_is_reported_and_its_neighbours_work(
    name: str, state: PluginState, problem: str
) -> None:
    plugins = load("declares_reference_meter", name)
    broken = status(plugins, name)
    assert (broken.state, broken.problems, broken.models) == (state, (problem,), ())
    assert status(plugins, "declares_reference_meter").state is PluginState.LOADED
    assert list(plugins.models) == ["reference_meter", "second_meter"]
    assert not plugins.healthy


def test_hook_with_an_unknown_argument_is_reported() -> None:
    (problem,) = status(load("asks_too_much"), "asks_too_much").problems
    assert problem.startswith("registration: PluginValidationError:")
    assert "{'database'}" in problem


def test_hook_that_raises_leaves_the_plugins_other_hooks() -> None:
    plugins = load("raises_in_hook")
    assert list(plugins.channel_types) == ["show"]
    assert status(plugins, "raises_in_hook").channel_types == ("show",)


def test_missing_module_is_reported() -> None:
    plugins = PluginManager.load(entry_points=[EntryPoint("gone", "no_such_module", "meterplex")])
    assert status(plugins, "gone").problems == (
        "import of no_such_module: ModuleNotFoundError: No module named 'no_such_module'",
    )


def test_malformed_entry_point_is_reported() -> None:
    plugins = PluginManager.load(entry_points=[EntryPoint("odd", "my plugin!", "meterplex")])
    assert status(plugins, "odd").problems == ("import of my plugin!: this is no module name",)


def test_entry_point_may_name_an_object() -> None:
    target = f"{__name__}:OBJECT_PLUGIN"
    plugins = PluginManager.load(entry_points=[EntryPoint("object", target, "meterplex")])
    assert status(plugins, "object").models == ("reference_meter",)


def test_interrupt_by_the_user_is_not_a_plugins_failure() -> None:
    @hookimpl
    def meterplex_meter_models() -> Sequence[MeterModel]:
        raise KeyboardInterrupt

    plugin = module(meterplex_meter_models)
    with pytest.raises(KeyboardInterrupt):
        PluginManager.load([plugin], entry_points=())


def test_duplicate_model_is_refused_by_name_of_both_plugins() -> None:
    plugins = load("reference", "declares_reference_meter")
    assert plugins.plugin_of_model("reference_meter") == "declares_reference_meter"
    second = status(plugins, "reference")
    assert second.state is PluginState.FAILED
    assert second.problems == (
        "model 'reference_meter': refused: plugin 'declares_reference_meter' "
        "declares it as well as plugin 'reference'",
    )


def test_duplicate_model_leaves_the_plugins_other_models() -> None:
    plugins = PluginManager.load(
        [models_plugin(REFERENCE_METER)], entry_points("declares_reference_meter")
    )
    second = status(plugins, "declares_reference_meter")
    assert (second.state, second.models) == (PluginState.DEGRADED, ("second_meter",))
    assert plugins.plugin_of_model("reference_meter") == "meterplex"


def test_duplicate_scheme_is_refused_by_name_of_both_plugins() -> None:
    plugins = PluginManager.load([channels_plugin(SHOW)], entry_points("raises_in_hook"))
    assert status(plugins, "raises_in_hook").problems[-1] == (
        "channel type 'show': refused: plugin 'meterplex' "
        "declares it as well as plugin 'raises_in_hook'"
    )
    assert plugins.channel_types["show"] is SHOW


def test_register_with_two_meanings_is_refused_by_name_of_both_plugins() -> None:
    finer = replace(ACTIVE_ENERGY_IMPORT, resolution=Decimal("0.0001"))
    model = replace(REFERENCE_METER, id="finer_meter", registers=(finer,))
    assert builtin_problems(models_plugin(model)) == (
        "model 'finer_meter': refused: register 'active_energy_import' has another "
        "code, unit or resolution in plugin 'meterplex' than in plugin 'meterplex'",
    )


@pytest.mark.parametrize(
    ("plugin", "problem"),
    [
        pytest.param(
            models_plugin(7),
            "hook meterplex_meter_models: item 0 is of type int, expected MeterModel",
            id="no model",
        ),
        pytest.param(
            models_plugin(replace(REFERENCE_METER, driver=None)),  # type: ignore[arg-type]  # the case
            "model 'reference_meter': driver is of type NoneType, expected a callable",
            id="no driver",
        ),
        pytest.param(
            models_plugin(replace(REFERENCE_METER, twin=3)),  # type: ignore[arg-type]  # the case
            "model 'reference_meter': twin is of type int, expected a callable",
            id="no twin",
        ),
        pytest.param(
            models_plugin(replace(REFERENCE_METER, registers=("kwh",))),  # type: ignore[arg-type]  # the case
            "model 'reference_meter': register 'kwh' is of type str",
            id="no register",
        ),
        pytest.param(
            channels_plugin(replace(SHOW, open="open")),  # type: ignore[arg-type]  # the case
            "channel type 'show': open is of type str, expected a callable",
            id="no opener",
        ),
    ],
)
def test_declaration_of_another_type_is_refused(plugin: object, problem: str) -> None:
    assert builtin_problems(plugin) == (problem,)


def test_hook_that_returns_nothing_is_reported() -> None:
    @hookimpl
    def meterplex_channel_types() -> Sequence[ChannelType] | None:
        return None

    plugin = module(meterplex_channel_types)
    assert builtin_problems(plugin) == (
        "hook meterplex_channel_types: it returned NoneType, expected a sequence",
    )


# -- discovery ---------------------------------------------------------------------------------


def test_installed_plugins_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "reference", "raises_at_import")
    monkeypatch.syspath_prepend(tmp_path)
    plugins = PluginManager.load()
    found = status(plugins, "reference")
    assert (found.distribution, found.version) == ("misbehaving-reference", "1.0")
    assert status(plugins, "raises_at_import").state is PluginState.FAILED
    assert plugins.packages["misbehaving_reference"] == "reference"
    monkeypatch.delitem(sys.modules, "misbehaving_reference")


def test_second_plugin_of_a_name_is_refused_by_name_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    plant(first, "reference")
    plant(second, "declares_reference_meter")
    (second / "misbehaving_declares_reference_meter-1.0.dist-info" / "entry_points.txt").write_text(
        "[meterplex]\nreference = misbehaving_declares_reference_meter\n"
    )
    for folder in (first, second):
        monkeypatch.syspath_prepend(folder)
    taken, refused = (
        plugin for plugin in PluginManager.load().plugins if plugin.name == "reference"
    )
    assert taken.distribution == "misbehaving-declares-reference-meter"
    assert refused.state is PluginState.FAILED
    assert refused.problems == (
        "a plugin of the name 'reference' came with misbehaving-declares-reference-meter 1.0",
    )
    monkeypatch.delitem(sys.modules, "misbehaving_declares_reference_meter")


def test_bundled_plugins_load_whole() -> None:
    plugins = PluginManager.load()
    assert plugins.plugins
    assert [plugin.problems for plugin in plugins.plugins if plugin.problems] == []


def test_core_is_no_plugin_package() -> None:
    assert load("reference").packages == {}


# -- use ---------------------------------------------------------------------------------------


async def test_driver_reads_with_default_settings() -> None:
    driver = load("reference").make_driver("reference_meter", link(), "1", {})
    assert (await driver.read()).values


def test_settings_reach_the_driver() -> None:
    driver = load("reference").make_driver("reference_meter", link(), "1", {"hold": "no"})
    assert driver.capabilities < REFERENCE_METER.capabilities


def test_unknown_setting_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match=r"reference_meter: unknown setting 'hld'.*'hold'"):
        load("reference").make_driver("reference_meter", link(), "1", {"hld": "no"})


def test_unknown_model_is_refused() -> None:
    plugins = load()
    with pytest.raises(PluginError, match="no plugin has the model 'dtsy'"):
        plugins.make_driver("dtsy", link(), "1", {})
    with pytest.raises(PluginError, match="no plugin has the model 'dtsy'"):
        plugins.plugin_of_model("dtsy")


@pytest.mark.parametrize(
    ("use", "message"),
    [
        pytest.param(
            lambda plugins: plugins.make_driver("unmakeable_meter", link(), "1", {}),
            "plugin 'raises_in_factory': driver factory of unmakeable_meter: KeyError: 'key'",
            id="driver",
        ),
        pytest.param(
            lambda plugins: plugins.make_twin("unmakeable_meter", "1", {}, 1),
            "plugin 'raises_in_factory': twin factory of unmakeable_meter: ZeroDivisionError",
            id="twin",
        ),
        pytest.param(
            lambda plugins: plugins.check_address("unmakeable_meter", "x"),
            "plugin 'raises_in_factory': address check of unmakeable_meter: ValueError",
            id="address",
        ),
    ],
)
def test_failing_factory_names_its_plugin(use: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message) as caught:
        use(load("raises_in_factory"))
    assert caught.value.__cause__ is not None


def test_refusal_of_an_address_passes() -> None:
    plugins = load("reference")
    assert plugins.check_address("reference_meter", "007") == "7"
    with pytest.raises(SettingsError, match="expected 1 to 250"):
        plugins.check_address("reference_meter", "251")


def test_factory_of_another_type_names_its_plugin() -> None:
    def no_driver(_: Link, __: str, ___: Mapping[str, str]) -> Any:
        return "driver"

    model = replace(REFERENCE_METER, driver=no_driver, check_address=lambda _: None)  # type: ignore[arg-type,return-value]  # the case
    plugins = PluginManager.load([models_plugin(model)], entry_points=())
    with pytest.raises(PluginError, match="returned str, expected MeterDriver"):
        plugins.make_driver("reference_meter", link(), "1", {})
    with pytest.raises(PluginError, match="returned NoneType, expected str"):
        plugins.check_address("reference_meter", "1")


async def test_twin_answers_the_driver() -> None:
    plugins = load("reference")
    with pytest.raises(SettingsError, match=r"twin of reference_meter: unknown setting 'lode_kw'"):
        plugins.make_twin("reference_meter", "1", {"lode_kw": "3"}, seed=3)
    twin = plugins.make_twin("reference_meter", "1", {}, seed=3)
    driver = plugins.make_driver("reference_meter", TwinLink(twin), "1", {})
    assert (await driver.identify()).model == "reference_meter"


def test_model_without_twin_is_refused() -> None:
    model = replace(REFERENCE_METER, twin=None)
    plugins = PluginManager.load([models_plugin(model)], entry_points=())
    with pytest.raises(PluginError, match="model reference_meter has no twin"):
        plugins.make_twin("reference_meter", "1", {}, 1)


def test_disabled_plugin_makes_no_driver() -> None:
    plugins = load("reference")
    plugins.disable("reference", "it blocked the event loop")
    assert status(plugins, "reference").state is PluginState.DISABLED
    assert status(plugins, "reference").problems == ("disabled: it blocked the event loop",)
    assert "reference_meter" in plugins.models
    assert not plugins.healthy
    with pytest.raises(PluginError, match="'reference' is disabled: it blocked the event loop"):
        plugins.make_driver("reference_meter", link(), "1", {})


def test_only_a_known_plugin_can_be_disabled() -> None:
    with pytest.raises(PluginError, match="there is no plugin 'acme'"):
        load("reference").disable("acme", "why not")


def test_failures_of_drivers_are_counted() -> None:
    plugins = load("reference")
    for index in range(2):
        plugins.report_failure("reference_meter", "read", IndexError(f"try\n{index}"))
    found = status(plugins, "reference")
    assert found.failures == 2
    assert found.last_failure == "reference_meter, read: IndexError: try 1"
    assert plugins.healthy


def test_failures_that_are_nobodys_fault_are_not_counted() -> None:
    plugins = load("reference")
    plugins.report_failure("no_such_model", "read", PluginError("missing"))
    plugins.disable("reference", "enough")
    plugins.report_failure("reference_meter", "read", PluginError("disabled"))
    assert status(plugins, "reference").failures == 0


def test_required_setting_is_missed() -> None:
    model = replace(REFERENCE_METER, settings=(Setting("key", "16 hex digits"),))
    plugins = PluginManager.load([models_plugin(model)], entry_points=())
    with pytest.raises(SettingsError, match=r"setting 'key' must be given \(16 hex digits\)"):
        plugins.make_driver("reference_meter", link(), "1", {})


def test_drivers_are_made_by_the_models_factory() -> None:
    driver: MeterDriver = load("reference").make_driver("reference_meter", link(), "1", {})
    assert isinstance(driver, ReferenceDriver)
