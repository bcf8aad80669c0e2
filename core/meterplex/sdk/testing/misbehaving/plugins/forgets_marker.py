"""Implements a hook without marking it."""

from collections.abc import Sequence

from meterplex.sdk import MeterModel
from meterplex.sdk.testing.reference import REFERENCE_METER


def meterplex_meter_models() -> Sequence[MeterModel]:
    """Declare the reference meter, unheard."""
    return (REFERENCE_METER,)
