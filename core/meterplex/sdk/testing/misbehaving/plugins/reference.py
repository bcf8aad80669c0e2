"""Keeps every rule: the neighbour that must not notice the others."""

from collections.abc import Sequence

from meterplex import hookimpl
from meterplex.sdk import MeterModel
from meterplex.sdk.testing.reference import REFERENCE_METER


@hookimpl
def meterplex_meter_models() -> Sequence[MeterModel]:
    """Declare the reference meter."""
    return (REFERENCE_METER,)
