"""Raises what is no driver error when a meter is read."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from meterplex import hookimpl
from meterplex.sdk import MeterModel, MeterSnapshot, RegisterType
from meterplex.sdk.testing.reference import REFERENCE_METER
from meterplex.sdk.testing.reference_driver import ReferenceDriver


class Driver(ReferenceDriver):
    """Reads, and stumbles over what it read."""

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Fail with an IndexError."""
        snapshot = await super().read(registers)
        return replace(snapshot, values=(snapshot.values[99],))


@hookimpl
def meterplex_meter_models() -> Sequence[MeterModel]:
    """Declare a model that cannot be read."""
    return (replace(REFERENCE_METER, id="raising_meter", driver=Driver),)
