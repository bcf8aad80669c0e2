"""What must happen in the demo, each step seen in the database and not believed before."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from meterplex.cli.demo.estate import DEAD, NOISY_BUS
from meterplex.cli.demo.home import Home
from meterplex.cli.demo.scene import Scene
from meterplex.cli.demo.shop import Shop
from meterplex.cli.demo.telling import Chapter, NotAsToldError, Telling
from meterplex.db import UnitOfWork
from meterplex.domain.commands import SETTLED, Command, CommandKind, CommandState
from meterplex.domain.estate import Meter, MeterId, Organisation
from meterplex.domain.readings import DeviceEventRecord, EventKind
from meterplex.services.books.check_books import check_books
from meterplex.services.books.close_period import trial_balance
from meterplex.services.estate.import_estate import ImportReport
from meterplex.services.metering.issue_commands import issue_commands

FRESH_S: Final = 60.0
"""Every live meter must have been read within so long."""
SWITCHED: Final = ("east-1", "7")
"""Bus and address of the meter that is disconnected and reconnected."""
REVIVED: Final = "east-2"
"""Bus whose dead meter comes back."""


@dataclass(slots=True)
class Story:
    """The steps of the demo."""

    scene: Scene
    report: ImportReport
    telling: Telling = field(default_factory=Telling)

    async def run(self) -> None:
        """Let the story happen; returns when all of it has, or is cancelled before."""
        self.telling.began = asyncio.get_running_loop().time()
        estate, serial = self.scene.estate, self._switched_serial
        await self.telling.tell(
            ((f"{estate.meters} meters on {len(estate.buses)} buses imported", self._imported),)
        )
        chapters: tuple[Chapter, ...] = (
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
            Shop(self.scene).chapter,
            Home(self.scene).chapter,
        )
        async with asyncio.TaskGroup() as group:
            for chapter in chapters:
                group.create_task(self.telling.tell(chapter))

    async def close(self) -> None:
        """Look at the freshness, and at the books, in the end."""
        await self.telling.tell(
            (
                ("every live meter fresher than 60 s", self._fresh),
                ("the books are right: trial balance zero, ledger check clean", self._books),
            )
        )

    async def newest_events(self, limit: int) -> list[str]:
        """Return the last things that happened to devices, newest first, a line each."""
        async with self.scene.database.unit_of_work(read_only=True) as uow:
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
            lines.append(
                f"{self.scene.local(event.at):%H:%M} {name} {what} {event.detail}".rstrip()
            )
        return lines

    # -- steps ---------------------------------------------------------------------------------

    async def _imported(self) -> str:
        counts = self.report.tables
        assert counts["meter"].added == self.scene.estate.meters, counts
        return ", ".join(f"{count.added} {table}" for table, count in counts.items() if count.added)

    async def _all_read(self) -> str:
        wanted = self.scene.estate.meters - len(DEAD)
        while True:
            async with self.scene.look() as (uow, organisation):
                read = await uow.readings.newest_times(organisation.id)
            if len(read) >= wanted:
                return f"{len(read)} meters have readings"

    async def _noise_survived(self) -> str:
        struck = self.scene.estate.simulated.buses[NOISY_BUS].bus.faults.counts
        while True:
            async with self.scene.look() as (uow, organisation):
                read = await uow.readings.newest_times(organisation.id)
                meters = await self._meters_of(uow, organisation, NOISY_BUS)
            if struck.total() >= 5 and all(meter.id in read for meter in meters):
                return f"{struck.total()} damaged, {len(meters)} of {len(meters)} meters read"

    async def _disconnected(self) -> str:
        return await self._switch(CommandKind.DISCONNECT)

    async def _reconnected(self) -> str:
        return await self._switch(CommandKind.RECONNECT)

    async def _dead_lost(self) -> str:
        serials = {self.scene.estate.bus(code).serial(address) for code, address in DEAD.items()}
        while True:
            async with self.scene.look() as (uow, organisation):
                lost = await self._events(uow, organisation, EventKind.LOST, serials)
            if {event.subject_id for event in lost} and len(lost) == len(serials):
                return "; ".join(sorted({f"reason {event.code}" for event in lost}))

    async def _one_restored(self) -> str:
        self.scene.estate.simulated.buses[REVIVED].bus.revive(DEAD[REVIVED])
        revived_at = self.scene.wall()
        serial = self.scene.estate.bus(REVIVED).serial(DEAD[REVIVED])
        while True:
            async with self.scene.look() as (uow, organisation):
                restored = await self._events(uow, organisation, EventKind.RESTORED, {serial})
            if restored:
                waited = (restored[0].at - revived_at) / self.scene.estate.simulated.clock.speed
                return f"{waited.total_seconds():.1f} s after its revival"

    async def _fresh(self) -> str:
        buses = [bus.status() for bus in self.scene.head_end.buses.values()]
        ages = [bus.oldest_age_s for bus in buses]
        worst = max((age for age in ages if age is not None), default=FRESH_S)
        if not buses or None in ages or worst >= FRESH_S:
            raise NotAsToldError(f"the oldest reading was {worst:.1f} s old")
        return f"the oldest reading was {worst:.1f} s old"

    async def _books(self) -> str:
        async with self.scene.look() as (uow, organisation):
            balances = await trial_balance(uow, organisation.id)
            problems = await check_books(uow, organisation.id)
        if problems or not balances or sum(balances.values()):
            raise NotAsToldError("; ".join(problems) or f"trial balance {balances}")
        return f"{len(balances)} ledger accounts sum to zero, nothing is wrong with them"

    # -- means ---------------------------------------------------------------------------------

    @property
    def _switched_serial(self) -> str:
        code, address = SWITCHED
        return self.scene.estate.bus(code).serial(address)

    async def _switch(self, kind: CommandKind) -> str:
        """Ask for a supply command as anybody would, and wait for its read-back."""
        async with self.scene.look() as (uow, organisation):
            meter = await uow.meters.by_serial(organisation.id, self._switched_serial)
        assert meter is not None
        batch = await issue_commands(
            self.scene.database,
            self.scene.plugins,
            organisation.id,
            [meter],
            kind,
            {},
            asked_by=self.scene.operator,
            at=self.scene.wall(),
        )
        self.scene.head_end.delivery.announce(batch.commands)
        while True:
            async with self.scene.look() as (uow, organisation):
                command: Command = await uow.commands.get(organisation.id, batch.commands[0].id)
            if command.state is CommandState.CONFIRMED:
                return command.outcome
            if command.state in SETTLED:
                return await self._switch(kind)

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
