from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any, cast

import pytest
from tests.domain.tariff_samples import FLAT, month_of, only_bill

from meterplex import hookimpl
from meterplex.domain.tariff import Component, ComponentError
from meterplex.plugin_manager import PluginManager, PluginState
from meterplex.sdk import (
    BillSoFar,
    ComponentField,
    ComponentLine,
    ComponentSettings,
    FieldKind,
    TariffComponent,
)


def charge(settings: ComponentSettings, bill: BillSoFar) -> Sequence[ComponentLine]:
    return (ComponentLine(bill.units * 2 * int(settings.decimal("price"))),)


LEVY = TariffComponent(
    kind="levy",
    title="Levy",
    fields=(ComponentField("price", FieldKind.DECIMAL, "per unit", Decimal(1)),),
    charge=charge,
)


class MadeEntryPoint(EntryPoint):
    """An entry point whose module is made on the spot."""

    def load(self) -> object:
        made = ModuleType(self.name)

        @hookimpl
        def meterplex_tariff_components() -> object:
            return COMPONENTS[self.name]

        setattr(made, meterplex_tariff_components.__name__, meterplex_tariff_components)
        return made


COMPONENTS: dict[str, object] = {
    "river": (LEVY,),
    "sea": (LEVY, replace(LEVY, kind="tide")),
    "lake": "levy",
    "pond": (LEVY, 7),
    "storm": (replace(LEVY, kind="storm", fields=(), charge=lambda *_: cast("Any", [5])),),
    "brook": (replace(LEVY, kind="fish", charge=cast("Any", 5)),),
}


def load(*names: str) -> PluginManager:
    return PluginManager.load(
        entry_points=[MadeEntryPoint(name, f"made_{name}", "meterplex") for name in names]
    )


def test_hook_meterplex_tariff_components() -> None:
    plugins = load("river")
    assert dict(plugins.tariff_components) == {"levy": replace(LEVY, plugin="river")}
    (river,) = plugins.plugins
    assert (river.components, river.state) == (("levy",), PluginState.LOADED)


def test_component_that_two_plugins_bring_is_refused_by_name_of_both() -> None:
    plugins = load("river", "sea")
    assert plugins.tariff_components["levy"].plugin == "river"
    assert plugins.tariff_components["tide"].plugin == "sea"
    sea = plugins.plugins[1]
    assert sea.state is PluginState.DEGRADED
    assert sea.problems == (
        "tariff component 'levy': refused: plugin 'river' declares it as well as plugin 'sea'",
    )


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("lake", "hook meterplex_tariff_components: it returned str, expected a sequence"),
        (
            "pond",
            "hook meterplex_tariff_components: item 1 is of type int, expected TariffComponent",
        ),
        ("brook", "tariff component 'fish': charge is of type int, expected a callable"),
    ],
)
def test_wrong_declaration_is_a_problem_of_its_plugin(name: str, problem: str) -> None:
    (plugin,) = load(name).plugins
    assert plugin.problems == (problem,)


def test_failed_rating_is_counted_for_the_components_plugin() -> None:
    plugins = load("river", "storm")
    storm = Component(plugins.tariff_components["storm"], "storm", ComponentSettings())
    with pytest.raises(ComponentError):
        only_bill(replace(FLAT, components=(storm,)), month_of("1"))
    river, counted = plugins.plugins
    assert (river.failures, counted.failures) == (0, 1)
    assert counted.last_failure == (
        "tariff component storm: ComponentError: plugin 'storm': tariff component 'storm' of kind "
        "'storm' returned a line 0 of type int, expected ComponentLine"
    )
