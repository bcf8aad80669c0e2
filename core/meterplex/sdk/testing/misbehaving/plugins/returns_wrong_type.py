"""Returns something else than models."""

from meterplex import hookimpl


@hookimpl
def meterplex_meter_models() -> str:
    """Return a name instead of models."""
    return "reference_meter"
