"""One try of one command: from its row to the wire and back, with every outcome told apart.

The row is marked SENT before its first control byte, while the exchange in flight ends at the
earliest; a crash in between leaves a command that counts as sent. What happened afterwards is
judged by whether control bytes may have left, not by what the driver says went wrong.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Final, Protocol

import structlog

from meterplex.db.errors import DatabaseError, DatabaseUnavailableError
from meterplex.domain.commands import SUPPLY_ACTIONS, Command, CommandKind, CommandState
from meterplex.domain.readings import ReadingSource
from meterplex.headend.bus import Bus, Member
from meterplex.headend.line_link import LineLink
from meterplex.headend.supervision import supervise
from meterplex.headend.turns import Order, Reservation, WorkClass
from meterplex.protocols.errors import EncodeError
from meterplex.sdk import (
    DeviceMismatchError,
    DeviceRefusedError,
    DriverError,
    ExpiredError,
    Limits,
    MeterDriver,
    PluginError,
    Prices,
    SettingsError,
    TouCalendar,
    UnsupportedError,
)
from meterplex.services.metering.command_arguments import (
    in_words,
    parse_calendar,
    parse_limits,
    parse_prices,
)
from meterplex.services.metering.deliver_commands import OpenCommand

log = structlog.get_logger(__name__)

DEADLINE_S: Final = 120.0
SETTLE_RETRY_S: Final = 1.0
CLOCK_TOLERANCE_S: Final = 60.0
"""How far a clock that was read back after it was set may be off."""


class NotMarkedError(ExpiredError):
    """The row had moved on when its turn came; nothing was sent."""


class CommandRows(Protocol):
    """Where commands are kept. Each method is one transaction."""

    async def unsettled(self) -> Sequence[OpenCommand]:
        """Return all commands that are QUEUED or UNKNOWN, oldest first."""

    async def move(self, command: Command, to: CommandState, outcome: str) -> bool:
        """Move a command on; False when it is not in ``command.state`` any more.

        An overruled command is not moved to SENT either.
        """


@dataclass(frozen=True, slots=True)
class Proof:
    """What a read-back says of a command.

    Attributes:
        proven: the device is as the command wanted it.
        seen: what was read, in a few words.
    """

    proven: bool
    seen: str


@dataclass(slots=True)
class CommandAttempt:
    """One try of one command on one meter.

    Attributes:
        command: with its state as it is now.
        reservation: a turn on the line that was kept for it.
    """

    rows: CommandRows
    bus: Bus
    member: Member
    wall: Callable[[], datetime]
    command: Command
    reservation: Reservation | None = None

    async def send(self) -> None:
        """Send a QUEUED command, unless its time has passed."""
        if self.wall() > self.command.not_after:
            await self._settle(CommandState.EXPIRED, "not sent in time")
        elif self.command.kind is CommandKind.READ:
            await self._read_now()
        else:
            await self._send()

    async def reconcile(self, *, may_resend: bool) -> None:
        """Read what an UNKNOWN command has done, and settle it or queue it again.

        Args:
            may_resend: no newer command overrules it.
        """
        link = self._link()
        try:
            driver = self.bus.driver(self.member, link)
            proof = await supervise(self._read_back(driver), link, deadline_s=DEADLINE_S)
        except (DriverError, PluginError):
            return
        if proof.proven:
            await self._settle(CommandState.CONFIRMED, proof.seen)
        elif not may_resend:
            await self._settle(CommandState.REFUSED, f"overruled; now {proof.seen}")
        elif self.wall() <= self.command.not_after:
            await self._settle(CommandState.QUEUED, f"not taken so far: {proof.seen}")
        else:
            await self._settle(CommandState.REFUSED, f"not taken: {proof.seen}")

    async def overrule(self) -> None:
        """Give a QUEUED command up because a newer one decides."""
        await self._settle(CommandState.FAILED, "overruled by a newer supply command")

    # -- sending -------------------------------------------------------------------------------

    async def _send(self) -> None:
        link = self._link()
        link.not_after = self.command.not_after
        link.before_control = self._mark
        link.reservation = self.reservation
        try:
            driver = self.bus.driver(self.member, link)
            proof = await supervise(self._perform(driver), link, deadline_s=DEADLINE_S)
        except (DriverError, PluginError, EncodeError) as error:
            if isinstance(error, PluginError):
                self.bus.plugins.report_failure(self.member.meter.model, "command", error)
            await self._note_error(error, link.control_sent)
            return
        if self.command.state is CommandState.QUEUED:
            await self._mark()
        settled = CommandState.CONFIRMED if proof.proven else CommandState.REFUSED
        await self._settle(settled, proof.seen)

    async def _note_error(self, error: Exception, control_sent: bool) -> None:
        text = f"{type(error).__name__}: {error}"
        if control_sent:
            refused = isinstance(error, DeviceRefusedError | DeviceMismatchError)
            await self._settle(CommandState.REFUSED if refused else CommandState.UNKNOWN, text)
        elif isinstance(error, NotMarkedError):
            return
        elif isinstance(error, ExpiredError):
            await self._settle(CommandState.EXPIRED, text)
        elif isinstance(
            error,
            DeviceRefusedError
            | DeviceMismatchError
            | UnsupportedError
            | SettingsError
            | EncodeError,
        ):
            await self._settle(CommandState.FAILED, text)
        elif self.command.state is CommandState.SENT:
            await self._settle(CommandState.QUEUED, text)

    async def _read_now(self) -> None:
        await self._mark()
        meter_id = self.member.meter.id
        run = await self.bus.read_now(meter_id, ReadingSource.ON_DEMAND)
        if meter_id in run.succeeded:
            await self._settle(CommandState.CONFIRMED, "read")
        else:
            await self._settle(CommandState.FAILED, run.failed[0].reason)

    async def _mark(self) -> None:
        try:
            marked = await self._move(CommandState.SENT, "")
        except DatabaseError as error:
            raise NotMarkedError(f"the row cannot be marked: {error}") from error
        if not marked:
            raise NotMarkedError("the command was taken, overruled or given up elsewhere")

    async def _settle(self, to: CommandState, outcome: str) -> None:
        """Store how it went; a database that is away for a while must not lose that."""
        waiting = False
        while True:
            try:
                await self._move(to, outcome)
            except DatabaseUnavailableError as error:
                if not waiting:
                    log.warning("command waits to be settled", error=str(error))
                waiting = True
                await asyncio.sleep(SETTLE_RETRY_S)
            else:
                return

    async def _move(self, to: CommandState, outcome: str) -> bool:
        if not await self.rows.move(self.command, to, outcome):
            return False
        self.command = replace(self.command, state=to, outcome=outcome)
        return True

    def _link(self) -> LineLink:
        return self.bus.link(self.member, order_of(self.command.kind, self.command.created_at))

    # -- what each kind does -------------------------------------------------------------------

    async def _perform(self, driver: MeterDriver) -> Proof:
        """Do what the command asks for and return what was read back after it."""
        arguments = self.command.arguments
        match self.command.kind:
            case CommandKind.WRITE_PRICES:
                wanted_prices = parse_prices(arguments)
                return _same(wanted_prices, await driver.write_prices(wanted_prices))
            case CommandKind.WRITE_LIMITS:
                wanted_limits = parse_limits(arguments)
                return _given(wanted_limits, await driver.write_limits(wanted_limits))
            case CommandKind.WRITE_CALENDAR:
                wanted_calendar = parse_calendar(arguments)
                return _same(wanted_calendar, await driver.write_calendar(wanted_calendar))
            case CommandKind.SYNC_CLOCK:
                return self._clock_proof(await driver.sync_clock(self._local()))
            case kind:
                action = SUPPLY_ACTIONS[kind]
                state = await driver.set_supply(action)
                return Proof(state.proves(action), str(state))

    async def _read_back(self, driver: MeterDriver) -> Proof:
        """Read what the command would have changed."""
        arguments = self.command.arguments
        match self.command.kind:
            case CommandKind.WRITE_PRICES:
                return _same(parse_prices(arguments), await driver.read_prices())
            case CommandKind.WRITE_LIMITS:
                return _given(parse_limits(arguments), await driver.read_limits())
            case CommandKind.WRITE_CALENDAR:
                return _same(parse_calendar(arguments), await driver.read_calendar())
            case CommandKind.SYNC_CLOCK:
                return self._clock_proof(await driver.read_clock())
            case CommandKind.READ:
                return Proof(False, "the read was cut off")
            case kind:
                state = await driver.read_supply()
                return Proof(state.proves(SUPPLY_ACTIONS[kind]), str(state))

    def _local(self) -> datetime:
        return self.wall().astimezone(self.bus.zone).replace(tzinfo=None, microsecond=0)

    def _clock_proof(self, clock: datetime) -> Proof:
        off_s = abs((clock - self._local()).total_seconds())
        return Proof(off_s <= CLOCK_TOLERANCE_S, f"meter clock {clock.isoformat()}")


def order_of(kind: CommandKind, created_at: datetime) -> Order:
    """Return the place of a command of this kind among all work on its line."""
    if kind is CommandKind.READ:
        return Order(WorkClass.ON_DEMAND)
    supply = kind in SUPPLY_ACTIONS
    takes_supply = kind is CommandKind.DISCONNECT
    work_class = WorkClass.SUPPLY if supply else WorkClass.ON_DEMAND
    return Order(work_class, takes_supply, created_at.timestamp())


def _same(wanted: Prices | TouCalendar, seen: Prices | TouCalendar) -> Proof:
    return Proof(wanted == seen, f"read back {in_words(seen)}")


def _given(wanted: Limits, seen: Limits) -> Proof:
    """Compare only the limits that are wanted at all."""
    names = [field.name for field in fields(Limits)]
    proven = all(getattr(wanted, name) in (None, getattr(seen, name)) for name in names)
    return Proof(proven, f"read back {in_words(seen)}")
