"""Supply to a customer: what may be asked of a relay or valve, and what it was read to be.

An outcome that was not read back is unknown, never "done" and never "failed": see
:class:`SupplyState`, whose ``connected`` has three values.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class SupplyAction(StrEnum):
    """What a supply command asks for (DL/T 645 words: trip, close, keep power)."""

    DISCONNECT = "disconnect"
    """Open the relay or close the valve, whatever the credit."""
    RECONNECT = "reconnect"
    """Return to the automatic mode and expect the supply to be on; a meter whose own fee control
    keeps it off answers *refused*."""
    HOLD = "hold"
    """Keep supply on, whatever the credit (keep power)."""
    AUTOMATIC = "automatic"
    """Return to the automatic mode, whatever the supply then is."""


class SupplyMode(StrEnum):
    """Who decides about the supply."""

    AUTOMATIC = "automatic"
    FORCED_OFF = "forced_off"
    HELD = "held"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SupplyState:
    """The supply as read from a device.

    Attributes:
        connected: True when current or water can flow; None when that could not be told, which
            includes a valve that still moves and phases that disagree.
        mode: who decides.
    """

    connected: bool | None
    mode: SupplyMode = SupplyMode.UNKNOWN

    def __str__(self) -> str:
        supply = {True: "connected", False: "disconnected", None: "neither on nor off"}
        return f"{supply[self.connected]}, {self.mode.replace('_', ' ')}"

    @property
    def flags(self) -> frozenset[str]:
        """The state as words among a meter's conditions, so that its changes are events."""
        words = {
            "supply_off": self.connected is False,
            "supply_unclear": self.connected is None,
            "supply_held": self.mode is SupplyMode.HELD,
            "supply_forced_off": self.mode is SupplyMode.FORCED_OFF,
        }
        return frozenset(word for word, holds in words.items() if holds)

    def proves(self, action: SupplyAction) -> bool:
        """Whether this state, read after a command, proves that the command took effect."""
        match action:
            case SupplyAction.DISCONNECT:
                return self.connected is False and self.mode is SupplyMode.FORCED_OFF
            case SupplyAction.RECONNECT:
                return self.connected is True and self.mode is SupplyMode.AUTOMATIC
            case SupplyAction.HOLD:
                return self.connected is True and self.mode is SupplyMode.HELD
            case SupplyAction.AUTOMATIC:
                return self.mode is SupplyMode.AUTOMATIC


SUPPLY_FLAGS: Final = frozenset(
    {"supply_off", "supply_unclear", "supply_held", "supply_forced_off"}
)
"""All words of :attr:`SupplyState.flags`."""
