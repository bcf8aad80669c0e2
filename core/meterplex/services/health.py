"""What the program says of its own health, for the health answers and the metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from meterplex.domain.bus_status import BusStatus


@dataclass(frozen=True, slots=True)
class PluginHealth:
    """A plugin, whether it works, and what is wrong with it, a line each.

    Attributes:
        failures: how often its drivers failed by their own fault since the start.
        last_failure: where and why, of the latest of them.
    """

    name: str
    state: str
    problems: tuple[str, ...]
    failures: int = 0
    last_failure: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a running program.

    Attributes:
        ready: the estate is loaded and the database answers.
        fault: why it is not ready, else empty.
        unstored_runs: reading runs that wait for the database.
        open_commands: commands that are not settled.
    """

    ready: bool
    fault: str
    plugins: tuple[PluginHealth, ...]
    buses: Sequence[BusStatus]
    unstored_runs: int
    open_commands: int

    @property
    def healthy(self) -> bool:
        """True when all plugins work; lost meters and channels are the field's business."""
        return self.ready and all(plugin.state == "loaded" for plugin in self.plugins)


class HealthSource(Protocol):
    """Something that knows how the program is."""

    async def health(self) -> Health:
        """Return the state now. Quick: at most one query to the database."""
