"""Tells, at the end of a session, what the proofs came upon."""

import pytest
from tests.proving.hits import WRITTEN


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if WRITTEN:
        terminalreporter.section("what the proofs came upon")
        for line in WRITTEN:
            terminalreporter.write_line(line)
