"""Tells, at the end of a session, what the kills came to."""

import pytest
from tests.crash.results import WRITTEN


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if WRITTEN:
        terminalreporter.section("what the kills came to")
        for line in WRITTEN:
            terminalreporter.write_line(line)
