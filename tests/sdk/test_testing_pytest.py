"""The kit as a vendor meets it: through pytest."""

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

VENDOR_TEST = """
from meterplex.sdk.testing import MeterDriverSuite
from meterplex.sdk.testing.misbehaving.reading import BROKEN
import pytest

class TestMeter(MeterDriverSuite):
    model = BROKEN["test_flags_are_words"][0]

    def test_driver_does_not_block(self):
        pytest.skip("waived: the cipher needs its time")
"""


@pytest.fixture
def vendor(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(test_meter=VENDOR_TEST)
    return pytester


def test_vendor_sees_rule_waiver_and_skip(vendor: pytest.Pytester) -> None:
    result = vendor.runpytest_subprocess("-rs", "-p", "no:cacheprovider")
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] == 1
    assert outcomes["passed"] > 40
    result.stdout.fnmatch_lines_random(
        [
            '*"""Flags are lower-case words that an event can be named by."""',
            "*Cover open!*",
            "*waived: the cipher needs its time",
            "*refuse() is not overridden: how this device says no is not known",
        ]
    )


def test_vendor_sees_values_of_failed_assertions(vendor: pytest.Pytester) -> None:
    """Without rewriting, a failed assertion shows nothing of what it compared."""
    result = vendor.runpytest_subprocess("-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["E*assert None*", "E*where None = *fullmatch*"])


def test_pytest_plugin_imports_no_suite() -> None:
    program = (
        "import sys, meterplex.sdk.testing.pytest_plugin;"
        "print(*sorted(m for m in sys.modules if m.startswith('meterplex.sdk.testing')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["meterplex.sdk.testing", "meterplex.sdk.testing.pytest_plugin"]


def test_kit_has_no_other_names() -> None:
    import meterplex.sdk.testing as kit

    assert all(hasattr(kit, name) for name in kit.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Suite'"):
        _ = kit.Suite
