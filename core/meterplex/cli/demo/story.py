"""What must happen in the demo, each step seen in the database and not believed before."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from meterplex.cli.demo.estate import (
    BUSES_PER_SITE,
    DEAD,
    METERS_PER_BUS,
    NOISY_BUS,
    SITES,
    DemoEstate,
)
from meterplex.cli.program import now
from meterplex.db import Database, UnitOfWork
from meterplex.domain.commands import SETTLED, Command, CommandKind, CommandState
from meterplex.domain.estate import Meter, MeterId, Organisation
from meterplex.domain.operators import Operator
from meterplex.domain.readings import DeviceEventRecord, EventKind
from meterplex.headend.head_end import HeadEnd
from meterplex.plugin_manager import PluginManager
from meterplex.services.import_estate import ImportReport
from meterplex.services.issue_commands import issue_commands

METERS: Final = len(SITES) * BUSES_PER_SITE * METERS_PER_BUS
FRESH_S: Final = 60.0
"""Every live meter must have been read within so long."""
LOOK_S: Final = 0.5
SWITCHED: Final = ("east-1", "7")
"""Bus and address of the meter that is disconnected and reconnected."""
REVIVED: Final = "east-2"
"""Bus whose dead meter comes back."""


@dataclass(slots=True)
class Step:
    """One thing that must happen; ``seen`` says how it was seen, empty while it was not."""

    text: str
    seen: str = ""
    after_s: float = 0.0


@dataclass(slots=True)
class Story:
    """The steps of the demo."""

    database: Database
    plugins: PluginManager
    head_end: HeadEnd
    estate: DemoEstate
    report: ImportReport
    operator: Operator
    steps: list[Step] = field(default_factory=list)
    _began: float = 0.0
    _fresh: Step = field(default_factory=lambda: Step("every live meter fresher than 60 s"))

    @property
    def complete(self) -> bool:
        """Whether everything happened."""
        return bool(self.steps) and all(step.seen for step in self.steps)

    async def run(self) -> None:
        """Let the story happen; returns when all of it has, or is cancelled before."""
        self._began = asyncio.get_running_loop().time()
        buses, serial = len(self.estate.buses), self._switched_serial
        await self._tell((f"{METERS} meters on {buses} buses imported", self._imported))
        async with asyncio.TaskGroup() as group:
            for chapter in (
                (("every live meter read", self._all_read),),
                ((f"bus {NOISY_BUS} read in spite of its noise", self._noise_survived),),
                (
                    (f"meter {serial} disconnected, proven by reading it back", self._disconnected),
                    (f"meter {serial} reconnected, proven by reading it back", self._reconnected),
                ),
                (
                    (f"{len(DEAD)} dead meters reported lost, each once", self._dead_lost),
                    (f"the dead meter of bus {REVIVED} came back", self._one_restored),
                ),
            ):
                group.create_task(self._tell(*chapter))

    async def _tell(self, *chapter: tuple[str, Callable[[], Awaitable[str]]]) -> None:
        """Let steps happen one after the other."""
        steps = [Step(text) for text, _ in chapter]
        self.steps += steps
        for step, (_, happen) in zip(steps, chapter, strict=True):
            step.seen = await happen()
            step.after_s = asyncio.get_running_loop().time() - self._began

    async def close(self) -> None:
        """Look at the freshness in the end."""
        self.steps.append(self._fresh)
        buses = [bus.status() for bus in self.head_end.buses.values()]
        ages = [bus.oldest_age_s for bus in buses]
        worst = max((age for age in ages if age is not None), default=FRESH_S)
        if buses and None not in ages and worst < FRESH_S:
            self._fresh.seen = f"the oldest reading was {worst:.1f} s old"
            self._fresh.after_s = asyncio.get_running_loop().time() - self._began

    async def newest_events(self, limit: int) -> list[str]:
        """Return the last things that happened to devices, newest first, a line each."""
        async with self.database.unit_of_work(read_only=True) as uow:
            organisation = (await uow.organisations.all())[0]
            events = await uow.events.newest(organisation.id, limit=limit)
            meters = await uow.meters.by_ids(
                organisation.id, {MeterId(event.subject_id) for event in events}
            )
        lines = []
        for event in events:
            meter = meters.get(MeterId(event.subject_id))
            name = event.subject if meter is None else f"meter {meter.serial}"
            what = f"{event.kind.replace('_', ' ')} {event.code}".rstrip()
            lines.append(f"{event.at.astimezone():%H:%M:%S} {name} {what} {event.detail}".rstrip())
        return lines

    def lines(self) -> list[str]:
        """Return the story for people."""
        lines = [
            f"[{'x' if step.seen else ' '}] {step.text}: "
            + (f"{step.seen} ({step.after_s:.1f} s)" if step.seen else "not seen")
            for step in self.steps
        ]
        seen = sum(bool(step.seen) for step in self.steps)
        return [*lines, f"{seen} of {len(self.steps)} steps seen"]

    def summary(self) -> dict[str, Any]:
        """Return the story for programs."""
        return {
            "complete": self.complete,
            "steps": [
                {"text": step.text, "seen": step.seen, "after_s": round(step.after_s, 1)}
                for step in self.steps
            ],
        }

    # -- steps ---------------------------------------------------------------------------------

    async def _imported(self) -> str:
        counts = self.report.tables
        assert counts["meter"].added == METERS, counts
        return ", ".join(f"{count.added} {table}" for table, count in counts.items() if count.added)

    async def _all_read(self) -> str:
        wanted = METERS - len(DEAD)
        while True:
            async with self._look() as (uow, organisation):
                read = await uow.readings.newest_times(organisation.id)
            if len(read) >= wanted:
                return f"{len(read)} meters have readings"

    async def _noise_survived(self) -> str:
        struck = self.estate.simulated.buses[NOISY_BUS].bus.faults.counts
        while True:
            async with self._look() as (uow, organisation):
                read = await uow.readings.newest_times(organisation.id)
                meters = await self._meters_of(uow, organisation, NOISY_BUS)
            if struck.total() >= 5 and all(meter.id in read for meter in meters):
                return f"{struck.total()} damaged, {len(meters)} of {len(meters)} meters read"

    async def _disconnected(self) -> str:
        return await self._switch(CommandKind.DISCONNECT)

    async def _reconnected(self) -> str:
        return await self._switch(CommandKind.RECONNECT)

    async def _dead_lost(self) -> str:
        serials = {self.estate.bus(code).serial(address) for code, address in DEAD.items()}
        while True:
            async with self._look() as (uow, organisation):
                lost = await self._events(uow, organisation, EventKind.LOST, serials)
            if {event.subject_id for event in lost} and len(lost) == len(serials):
                return "; ".join(sorted({f"reason {event.code}" for event in lost}))

    async def _one_restored(self) -> str:
        self.estate.simulated.buses[REVIVED].bus.revive(DEAD[REVIVED])
        revived_at = now()
        serial = self.estate.bus(REVIVED).serial(DEAD[REVIVED])
        while True:
            async with self._look() as (uow, organisation):
                restored = await self._events(uow, organisation, EventKind.RESTORED, {serial})
            if restored:
                return f"{(restored[0].at - revived_at).total_seconds():.1f} s after its revival"

    # -- means ---------------------------------------------------------------------------------

    @property
    def _switched_serial(self) -> str:
        code, address = SWITCHED
        return self.estate.bus(code).serial(address)

    async def _switch(self, kind: CommandKind) -> str:
        """Ask for a supply command as anybody would, and wait for its read-back."""
        async with self._look() as (uow, organisation):
            meter = await uow.meters.by_serial(organisation.id, self._switched_serial)
        assert meter is not None
        batch = await issue_commands(
            self.database,
            self.plugins,
            organisation.id,
            [meter],
            kind,
            {},
            asked_by=self.operator,
            at=now(),
        )
        self.head_end.delivery.announce(batch.commands)
        while True:
            async with self._look() as (uow, organisation):
                command: Command = await uow.commands.get(organisation.id, batch.commands[0].id)
            if command.state is CommandState.CONFIRMED:
                return command.outcome
            if command.state in SETTLED:
                return await self._switch(kind)

    @asynccontextmanager
    async def _look(self) -> AsyncIterator[tuple[UnitOfWork, Organisation]]:
        """Look into the database, at most every :data:`LOOK_S`."""
        await asyncio.sleep(LOOK_S)
        async with self.database.unit_of_work(read_only=True) as uow:
            yield uow, (await uow.organisations.all())[0]

    async def _meters_of(
        self, uow: UnitOfWork, organisation: Organisation, code: str
    ) -> Collection[Meter]:
        channel = next(c for c in await uow.channels.all(organisation.id) if c.code == code)
        return await uow.meters.on_channel(organisation.id, channel.id)

    async def _events(
        self,
        uow: UnitOfWork,
        organisation: Organisation,
        kind: EventKind,
        serials: Collection[str],
    ) -> list[DeviceEventRecord]:
        meters = await uow.meters.all(organisation.id)
        ids = {meter.id for meter in meters if meter.serial in serials}
        events = await uow.events.newest(organisation.id, limit=1000)
        return [event for event in events if event.kind is kind and event.subject_id in ids]
