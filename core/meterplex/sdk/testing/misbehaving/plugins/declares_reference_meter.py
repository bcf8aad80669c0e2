"""Declares the reference meter under its own id, and one more model."""

from collections.abc import Sequence
from dataclasses import replace

from meterplex import hookimpl
from meterplex.sdk import MeterModel
from meterplex.sdk.testing.reference import REFERENCE_METER


@hookimpl
def meterplex_meter_models() -> Sequence[MeterModel]:
    """Declare two models; the first may exist already."""
    return (REFERENCE_METER, replace(REFERENCE_METER, id="second_meter"))
