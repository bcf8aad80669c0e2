"""The rows of commands, as their delivery needs them; each step is its own transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from meterplex.db import Database
from meterplex.domain.commands import Command, CommandState


@dataclass(frozen=True, slots=True)
class OpenCommand:
    """A command that is QUEUED or UNKNOWN.

    Attributes:
        overruled: a newer supply command for its meter exists, in whatever state; this one must
            not be sent (again).
    """

    command: Command
    overruled: bool


@dataclass(frozen=True, slots=True)
class CommandRows:
    """The commands of all organisations that one head-end serves."""

    database: Database
    wall: Callable[[], datetime]

    async def unsettled(self) -> Sequence[OpenCommand]:
        """Return all commands that are QUEUED or UNKNOWN, oldest first."""
        async with self.database.unit_of_work(read_only=True) as uow:
            commands = await uow.commands.in_states({CommandState.QUEUED, CommandState.UNKNOWN})
            overruled = await uow.commands.overruled() if commands else frozenset()
        return [OpenCommand(command, command.id in overruled) for command in commands]

    async def move(self, command: Command, to: CommandState, outcome: str) -> bool:
        """Move a command on; False when it is not in ``command.state`` any more.

        A move to SENT is refused after ``not_after``, and for an overruled command, as well.
        """
        async with self.database.unit_of_work() as uow:
            moved = await uow.commands.move(
                command.organisation_id,
                command.id,
                {command.state},
                to,
                at=self.wall(),
                outcome=outcome,
            )
            await uow.commit()
        return moved is not None

    async def recover(self) -> int:
        """Make every SENT command UNKNOWN: we stopped before its outcome was stored.

        To be called at start-up, before anything is delivered. Returns how many there were.
        """
        async with self.database.unit_of_work() as uow:
            cut_off = await uow.commands.in_states({CommandState.SENT})
            for command in cut_off:
                await uow.commands.move(
                    command.organisation_id,
                    command.id,
                    {CommandState.SENT},
                    CommandState.UNKNOWN,
                    at=self.wall(),
                    outcome="the program stopped before the outcome was known",
                )
            await uow.commit()
        return len(cut_off)
