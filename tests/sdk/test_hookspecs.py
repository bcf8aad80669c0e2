import inspect
import re
from pathlib import Path

import pytest

from meterplex.plugin_manager import PluginManager
from meterplex.sdk import hookspecs

TESTS = Path(__file__).parents[1]
HOOKS = [name for name in vars(hookspecs) if name.startswith("meterplex_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_says_when_what_and_what_raising_does(hook: str) -> None:
    docstring = inspect.getdoc(getattr(hookspecs, hook)) or ""
    assert re.findall(r"^(\w+):$", docstring, re.MULTILINE)[-3:] == ["When", "Returns", "Raising"]


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_typed(hook: str) -> None:
    signature = inspect.signature(getattr(hookspecs, hook))
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(
        parameter.annotation is not inspect.Parameter.empty
        for parameter in signature.parameters.values()
    )


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_has_a_test_of_its_name(hook: str) -> None:
    definition = re.compile(rf"^(?:async )?def test_hook_{hook}\b", re.MULTILINE)
    assert any(definition.search(path.read_text()) for path in TESTS.rglob("test_*.py"))


@pytest.mark.parametrize("hook", HOOKS)
def test_plugin_manager_calls_the_hook(hook: str) -> None:
    assert f'"{hook}"' in inspect.getsource(PluginManager)


def test_there_are_hooks() -> None:
    assert {"meterplex_meter_models", "meterplex_channel_types"} <= set(HOOKS)
