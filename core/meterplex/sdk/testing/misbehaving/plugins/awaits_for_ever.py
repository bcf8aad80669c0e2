"""Never comes back from ``read``."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

from meterplex import hookimpl
from meterplex.sdk import MeterModel, MeterSnapshot, RegisterType
from meterplex.sdk.testing.reference import REFERENCE_METER
from meterplex.sdk.testing.reference_driver import ReferenceDriver


class Driver(ReferenceDriver):
    """Reads, and waits for somebody to be interested."""

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Wait on an event that nobody sets."""
        snapshot = await super().read(registers)
        await asyncio.Event().wait()
        return snapshot


@hookimpl
def meterplex_meter_models() -> Sequence[MeterModel]:
    """Declare a model whose read never ends."""
    return (replace(REFERENCE_METER, id="waiting_meter", driver=Driver),)
