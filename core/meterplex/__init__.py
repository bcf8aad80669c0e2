"""Multi-utility metering, prepayment and billing, extended by plugins."""

from typing import Final

from pluggy import HookimplMarker

__version__ = "0.1.0"

hookimpl: Final = HookimplMarker("meterplex")
"""Marks a function of a plugin as an implementation of a ``meterplex_`` hook."""
