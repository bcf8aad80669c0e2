"""What the program says of its own health, for the health answers and the metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from meterplex.db import Database
from meterplex.domain.bus_status import BusStatus
from meterplex.domain.commands import CommandState


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
class Waiting:
    """What waits to be done or decided.

    Attributes:
        outbox: messages that are not done.
        quarantined: disconnects that wait for a person.
        warnings: of low accounts, by how far they have come.
        bypassed: meters that are kept out of the trip circuit.
        breakers_open: breakers that people have to close.
    """

    outbox: int = 0
    quarantined: int = 0
    warnings: Mapping[str, int] = field(default_factory=dict)
    bypassed: int = 0
    breakers_open: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a running program.

    Attributes:
        ready: the estate is loaded and the database answers.
        fault: why it is not ready, else empty.
        unstored_runs: reading runs that wait for the database.
        open_commands: commands that are not settled.
        waiting: for the workers and for people.
    """

    ready: bool
    fault: str
    plugins: tuple[PluginHealth, ...]
    buses: Sequence[BusStatus]
    unstored_runs: int
    open_commands: int
    waiting: Waiting = field(default=Waiting())

    @property
    def healthy(self) -> bool:
        """True when all plugins work; lost meters and channels are the field's business."""
        return self.ready and all(plugin.state == "loaded" for plugin in self.plugins)


class HealthSource(Protocol):
    """Something that knows how the program is."""

    async def health(self) -> Health:
        """Return the state now. Quick: a few counts of what waits."""


async def count_waiting(database: Database) -> Waiting:
    """Return what waits to be done or decided in a database.

    Raises:
        DatabaseError: it does not answer.
    """
    async with database.unit_of_work(read_only=True) as uow:
        return Waiting(
            outbox=await uow.outbox.open_count(),
            quarantined=await uow.commands.count(CommandState.QUARANTINED),
            warnings=await uow.warnings.count_by_state(),
            bypassed=await uow.bypasses.count(),
            breakers_open=await uow.breakers.count_open(),
        )
