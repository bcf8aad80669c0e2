"""Implements a hook that does not exist."""

from collections.abc import Sequence

from meterplex import hookimpl
from meterplex.sdk import MeterModel
from meterplex.sdk.testing.reference import REFERENCE_METER


@hookimpl
def meterplex_meter_model() -> Sequence[MeterModel]:
    """Declare the reference meter, in a hook of another name."""
    return (REFERENCE_METER,)
