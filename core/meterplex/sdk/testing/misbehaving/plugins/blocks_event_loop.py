"""Keeps the event loop to itself: one model sleeps, the other one computes."""

import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from meterplex import hookimpl
from meterplex.sdk import MeterModel, MeterSnapshot, RegisterType
from meterplex.sdk.testing.reference import REFERENCE_METER
from meterplex.sdk.testing.reference_driver import ReferenceDriver


class SleepingDriver(ReferenceDriver):
    """Waits in a way that stops everybody."""

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Sleep for an hour."""
        time.sleep(3600)  # noqa: ASYNC251  # what it is here for
        return await super().read(registers)


class ComputingDriver(ReferenceDriver):
    """Counts."""

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Count without end."""
        turns = 0
        while turns >= 0:
            turns += 1
        return await super().read(registers)


@hookimpl
def meterplex_meter_models() -> Sequence[MeterModel]:
    """Declare two models that must not be read without a watchdog."""
    return (
        replace(REFERENCE_METER, id="sleeping_meter", driver=SleepingDriver),
        replace(REFERENCE_METER, id="computing_meter", driver=ComputingDriver),
    )
