"""Device twins: simulated devices that speak their real protocol, written from the sheet.

A twin shares no encoder, decoder or profile with its driver, so that a mistake in one is not
hidden by the same mistake in the other.
"""

from datetime import datetime
from typing import Protocol


class DeviceTwin(Protocol):
    """One simulated device on a bus.

    Attributes:
        turn_round_s: silence between the end of a request and the start of its reply.
    """

    turn_round_s: float

    def receive(self, burst: bytes) -> bytes:
        """Take what was on the line between two silences and return the reply.

        The reply is empty when the burst is damaged or not for this device. Must accept any bytes.
        """

    def advance(self, now: datetime) -> None:
        """Let the device live until ``now`` (aware): consume, count, trip, keep its clock."""
