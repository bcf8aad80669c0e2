"""The conformance kit: proves that a driver keeps the contract before it meets a real meter.

Subclass :class:`MeterDriverSuite` in a test module, give it a model and a twin or a script, and
run pytest. The names below are loaded when they are first used, so that pytest can rewrite the
checks' assertions and starts no slower where they are not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meterplex.sdk.testing.links import (
        MemoryLink,
        ScriptedTransport,
        TwinLink,
        read_script,
        spaced_hex,
    )
    from meterplex.sdk.testing.modbus import modbus_refusal
    from meterplex.sdk.testing.suite import MeterDriverSuite

__all__ = [
    "MemoryLink",
    "MeterDriverSuite",
    "ScriptedTransport",
    "TwinLink",
    "modbus_refusal",
    "read_script",
    "spaced_hex",
]

_HOME: Final = {
    "MemoryLink": "links",
    "MeterDriverSuite": "suite",
    "ScriptedTransport": "links",
    "TwinLink": "links",
    "modbus_refusal": "modbus",
    "read_script": "links",
    "spaced_hex": "links",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
