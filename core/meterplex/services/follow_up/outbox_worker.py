"""Works off the outbox: what is to follow from a committed fact happens, at least once.

A message is noted as done after its handler has returned, so a crash in between makes it happen
again: handlers are idempotent. Messages of one topic and subject are handled in their order; one
that fails is put off, with those behind it, and holds up no other subject and no other topic.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias

import structlog

from meterplex.db import Database
from meterplex.db.errors import DatabaseError
from meterplex.db.outbox import OutboxMessage
from meterplex.services.orders.crash_points import (
    Moment,
    SupplyCrashHook,
    SupplyCrashPoint,
    no_crash,
)

log = structlog.get_logger(__name__)

RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""How long a message that failed waits, by how often it did."""
BATCH_MAX: Final = 200
ERROR_LENGTH_MAX: Final = 500

Handler: TypeAlias = Callable[[OutboxMessage], Awaitable[None]]
"""Does what a message says, in units of work of its own; it may be called again."""


@dataclass(slots=True)
class OutboxWorker:
    """Gives the messages of the outbox to their handlers.

    Attributes:
        handlers: by topic; messages of other topics are left alone.
        wall: current time in UTC.
        poll_s: how often the outbox is looked at.
        crash: see ``crash_points``.
    """

    database: Database
    handlers: Mapping[str, Handler]
    wall: Callable[[], datetime]
    poll_s: float = 0.5
    crash: SupplyCrashHook = no_crash
    _busy: dict[str, asyncio.Task[int]] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Look at once: something was just committed. Never blocks."""
        self._wake.set()

    async def run(self) -> None:
        """Work for ever. Being cancelled leaves what was not done in its rows."""
        blind = False
        try:
            while True:
                self._wake.clear()
                try:
                    await self._start()
                except DatabaseError as error:
                    if not blind:
                        log.warning("outbox not looked at", error=str(error))
                    blind = True
                else:
                    blind = False
                try:
                    async with asyncio.timeout(self.poll_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._busy.values():
                task.cancel()

    async def run_due(self) -> int:
        """Work off all that is due, and what follows from it; return how many were handled.

        Messages that failed are due later, and so end this.
        """
        handled = 0
        while due := await self._due(self.handlers):
            by_topic = _grouped(due)
            counts = await asyncio.gather(*(self._work_off(each) for each in by_topic.values()))
            handled += sum(counts)
        return handled

    async def _start(self) -> None:
        """Start on the topics that have something due and are not being worked off."""
        idle = [topic for topic in self.handlers if topic not in self._busy]
        for topic, messages in _grouped(await self._due(idle)).items():
            task = asyncio.create_task(self._work_off(messages))
            self._busy[topic] = task
            task.add_done_callback(partial(self._ended, topic))

    def _ended(self, topic: str, task: asyncio.Task[int]) -> None:
        del self._busy[topic]
        if task.cancelled():
            return
        if (error := task.exception()) is None:
            self._wake.set()  # there may be more
        else:
            log.error("outbox topic failed", topic=topic, exc_info=error)

    async def _due(self, topics: "Sequence[str] | Mapping[str, Handler]") -> list[OutboxMessage]:
        if not topics:
            return []
        async with self.database.unit_of_work(read_only=True) as uow:
            return list(await uow.outbox.due(list(topics), self.wall(), BATCH_MAX))

    async def _work_off(self, messages: Sequence[OutboxMessage]) -> int:
        """Handle messages of one topic in turn; of a subject none after one that failed."""
        failed: set[tuple[object, str]] = set()
        handled = 0
        for message in messages:
            key = (message.organisation_id, message.subject)
            if key in failed:
                continue
            if not await self._handle(message):
                failed.add(key)
            handled += 1
        return handled

    async def _handle(self, message: OutboxMessage) -> bool:
        self.crash(SupplyCrashPoint.OUTBOX_TAKE, Moment.BEFORE)
        try:
            await self.handlers[message.topic](message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others must go on
            await self._put_off(message, error)
            return False
        self.crash(SupplyCrashPoint.OUTBOX_TAKE, Moment.AFTER)
        async with self.database.unit_of_work() as uow:
            await uow.outbox.finish(message, self.wall())
            await uow.commit()
        if message.attempts:
            log.info("outbox message done", topic=message.topic, subject=message.subject)
        return True

    async def _put_off(self, message: OutboxMessage, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX]
        if not message.attempts:
            log.warning(
                "outbox message put off", topic=message.topic, subject=message.subject, error=text
            )
        wait_s = RETRY_S[min(message.attempts, len(RETRY_S) - 1)]
        async with self.database.unit_of_work() as uow:
            due_at = self.wall() + timedelta(seconds=wait_s)
            await uow.outbox.put_off(message, due_at, text)
            await uow.commit()


def _grouped(messages: Sequence[OutboxMessage]) -> dict[str, list[OutboxMessage]]:
    by_topic: dict[str, list[OutboxMessage]] = {}
    for message in messages:
        by_topic.setdefault(message.topic, []).append(message)
    return by_topic
