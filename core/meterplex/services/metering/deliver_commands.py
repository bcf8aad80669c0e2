"""The rows of commands, as their delivery needs them; each step is its own transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from meterplex.db import Database, UnitOfWork
from meterplex.domain.commands import SUPPLY_ACTIONS, Command, CommandState
from meterplex.domain.supply_policy import LimiterPolicy
from meterplex.services.orders.crash_points import (
    Moment,
    SupplyCrashHook,
    SupplyCrashPoint,
    no_crash,
)
from meterplex.services.supply.confirm_supply import note_supply
from meterplex.services.supply.guard_disconnects import Marking, mark_sent

_POINTS: Final = {
    CommandState.SENT: SupplyCrashPoint.RELAY_COMMAND,
    CommandState.CONFIRMED: SupplyCrashPoint.RELAY_READ_BACK,
    CommandState.REFUSED: SupplyCrashPoint.RELAY_READ_BACK,
}


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
    """The commands of all organisations that one head-end serves.

    Attributes:
        limiter: how many disconnects may be sent in a while.
        crash: see ``crash_points``.
    """

    database: Database
    wall: Callable[[], datetime]
    limiter: LimiterPolicy = field(default=LimiterPolicy())
    crash: SupplyCrashHook = no_crash

    async def unsettled(self) -> Sequence[OpenCommand]:
        """Return all commands that are QUEUED or UNKNOWN, oldest first."""
        async with self.database.unit_of_work(read_only=True) as uow:
            commands = await uow.commands.in_states({CommandState.QUEUED, CommandState.UNKNOWN})
            overruled = await uow.commands.overruled() if commands else frozenset()
        return [OpenCommand(command, command.id in overruled) for command in commands]

    async def move(self, command: Command, to: CommandState, outcome: str) -> bool:
        """Move a command on; False when it is not in ``command.state`` any more.

        A move to SENT is refused after ``not_after``, for an overruled command, and for what takes
        supply away and does not pass the gate; that one is FAILED or QUARANTINED then.
        """
        at = self.wall()
        point = _POINTS.get(to) if command.kind in SUPPLY_ACTIONS else None
        async with self.database.unit_of_work() as uow:
            if to is CommandState.SENT and command.kind in SUPPLY_ACTIONS:
                moved = await mark_sent(uow, command, at, self.limiter) is Marking.SENT
            else:
                moved = await self._move(uow, command, to, outcome, at)
            if point is not None:
                self.crash(point, Moment.BEFORE)
            await uow.commit()
        if point is not None:
            self.crash(point, Moment.AFTER)
        return moved

    async def _move(
        self, uow: UnitOfWork, command: Command, to: CommandState, outcome: str, at: datetime
    ) -> bool:
        proves = to is CommandState.CONFIRMED and command.kind in SUPPLY_ACTIONS
        if proves:
            await _hold_account(uow, command)
        moved = await uow.commands.move(
            command.organisation_id, command.id, {command.state}, to, at=at, outcome=outcome
        )
        if moved is not None and proves:
            await note_supply(uow, command, at)
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


async def _hold_account(uow: UnitOfWork, command: Command) -> None:
    """Hold the account of a command's meter first, as everybody does."""
    binding = await uow.bindings.open_of_meter(command.organisation_id, command.meter_id)
    if binding is not None and binding.account_id is not None:
        await uow.accounts.lock(command.organisation_id, binding.account_id)
