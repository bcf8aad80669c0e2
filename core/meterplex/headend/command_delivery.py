"""Decides which command is tried when; what a try does is in ``command_attempt``.

Rows are looked at when somebody announces a commit, and every :attr:`CommandDelivery.poll_s` for
commits of other programs. The commands of one meter are tried one after the other; a newer supply
command overrules the older ones, which then are not sent any more. What stays open is tried again,
ever more slowly, and never given up silently.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from meterplex.db.errors import DatabaseError
from meterplex.domain.commands import Command, CommandId, CommandState
from meterplex.domain.estate import MeterId
from meterplex.headend.bus import Bus, Member
from meterplex.headend.command_attempt import CommandAttempt, CommandRows, order_of
from meterplex.headend.turns import Reservation
from meterplex.services.metering.deliver_commands import OpenCommand

log = structlog.get_logger(__name__)

RETRY_S: Final = (2.0, 5.0, 10.0, 20.0, 30.0)
RESERVED_MAX_S: Final = 1.0
"""How long a line is kept idle for a command that was announced."""

Found = tuple[Bus, Member]


@dataclass(slots=True)
class CommandDelivery:
    """Delivers the commands of all buses of a head-end.

    Attributes:
        find: returns the bus and member of a meter; None when it is on none of ours.
        poll_s: how often rows are looked for that nobody announced.
        open_commands: how many were unsettled at the last look.
    """

    rows: CommandRows
    find: Callable[[MeterId], Found | None]
    wall: Callable[[], datetime]
    poll_s: float = 0.5
    open_commands: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _busy: dict[MeterId, asyncio.Task[None]] = field(default_factory=dict)
    _tries: dict[CommandId, int] = field(default_factory=dict)
    _not_before: dict[CommandId, float] = field(default_factory=dict)
    _reserved: dict[MeterId, Reservation] = field(default_factory=dict)

    def announce(self, commands: Iterable[Command]) -> None:
        """Take up commands that were just committed, without looking their rows up. Never blocks.

        Their lines wait for them. Whether one may still be sent, its row decides when it is marked.
        """
        queued = [command for command in commands if command.state is CommandState.QUEUED]
        for command in queued:
            meter_id = command.meter_id
            found = self.find(meter_id)
            if found is not None and meter_id not in self._reserved:
                order = order_of(command.kind, command.created_at)
                self._reserved[meter_id] = found[0].line.reserve(order)
                asyncio.get_running_loop().call_later(RESERVED_MAX_S, self._unreserve, meter_id)
        self._start([OpenCommand(command, overruled=False) for command in queued])

    def _unreserve(self, meter_id: MeterId) -> None:
        if (reservation := self._reserved.pop(meter_id, None)) is not None:
            reservation.cancel()

    async def run(self) -> None:
        """Deliver for ever. Being cancelled leaves every command as its row says."""
        blind = False
        try:
            while True:
                self._wake.clear()
                try:
                    self._look_at(await self.rows.unsettled())
                except DatabaseError as error:
                    if not blind:
                        log.warning("commands not looked up", error=str(error))
                    blind = True
                else:
                    if blind:
                        log.info("commands are looked up again")
                    blind = False
                try:
                    async with asyncio.timeout(self.poll_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._busy.values():
                task.cancel()

    def _look_at(self, opened: Sequence[OpenCommand]) -> None:
        self.open_commands = len(opened)
        known = {entry.command.id for entry in opened}
        for settled in self._tries.keys() - known:
            del self._tries[settled]
            self._not_before.pop(settled, None)
        self._start(opened)

    def _start(self, opened: Sequence[OpenCommand]) -> None:
        """Serve the meters whose commands are due and that are not being served."""
        now = asyncio.get_running_loop().time()
        due: dict[MeterId, list[OpenCommand]] = {}
        for entry in opened:
            if self._not_before.get(entry.command.id, 0.0) <= now:
                due.setdefault(entry.command.meter_id, []).append(entry)
        for meter_id, queue in due.items():
            found = self.find(meter_id)
            if found is not None and meter_id not in self._busy:
                task = asyncio.create_task(self._serve(queue, found))
                self._busy[meter_id] = task
                task.add_done_callback(partial(self._served, meter_id))

    def _served(self, meter_id: MeterId, task: asyncio.Task[None]) -> None:
        del self._busy[meter_id]
        self._unreserve(meter_id)
        self._wake.set()  # what was committed meanwhile
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("command delivery failed", meter=str(meter_id), exc_info=error)

    async def _serve(self, due: Sequence[OpenCommand], found: Found) -> None:
        """Give each of a meter's due commands one try."""
        for entry in sorted(
            due, key=lambda entry: order_of(entry.command.kind, entry.command.created_at)
        ):
            await self._try(entry.command, found, overruled=entry.overruled)

    async def _try(self, command: Command, found: Found, *, overruled: bool) -> None:
        bus, member = found
        reservation = self._reserved.pop(command.meter_id, None)
        attempt = CommandAttempt(self.rows, bus, member, self.wall, command, reservation)
        try:
            if command.state is CommandState.UNKNOWN:
                await attempt.reconcile(may_resend=not overruled)
            elif overruled:
                await attempt.overrule()
            else:
                await attempt.send()
        finally:
            if reservation is not None:
                reservation.cancel()
            # What was UNKNOWN, and read as safe to be sent again, is sent again now.
            if attempt.command.state is not CommandState.QUEUED or attempt.command is command:
                self._put_off(command.id)

    def _put_off(self, command_id: CommandId) -> None:
        tries = self._tries.get(command_id, 0)
        self._tries[command_id] = tries + 1
        wait_s = RETRY_S[min(tries, len(RETRY_S) - 1)]
        self._not_before[command_id] = asyncio.get_running_loop().time() + wait_s
