"""Wants an argument that the hook does not have."""

from collections.abc import Sequence

from meterplex import hookimpl
from meterplex.sdk import MeterModel
from meterplex.sdk.testing.reference import REFERENCE_METER


@hookimpl
def meterplex_meter_models(database: object) -> Sequence[MeterModel]:
    """Declare the reference meter, for a price."""
    return (REFERENCE_METER,)
