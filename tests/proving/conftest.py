"""Tells, at the end of a session, what the proofs came upon."""

from types import ModuleType

import pytest
from tests.proving.hits import WRITTEN
from tests.services.conftest import MODELS

from meterplex import hookimpl
from meterplex.headend import builtin_channels
from meterplex.plugin_manager import PluginManager


@pytest.fixture(scope="session")
def plugins() -> PluginManager:
    """The core's channel types, and models without a wire."""
    source = ModuleType("models_without_a_wire")
    vars(source)["meterplex_meter_models"] = hookimpl(lambda: MODELS)
    return PluginManager.load((builtin_channels, source), ())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if WRITTEN:
        terminalreporter.section("what the proofs came upon")
        for line in WRITTEN:
            terminalreporter.write_line(line)
