import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.db.outbox import OutboxMessage
from meterplex.domain.estate import OrganisationId
from meterplex.services.follow_up.outbox_worker import RETRY_S, OutboxWorker
from meterplex.services.orders.crash_points import Moment, SupplyCrashPoint

if TYPE_CHECKING:
    from tests.conftest import Estate

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass
class Desk:
    """A worker, its clock, and what its handlers were given."""

    database: Database
    organisation_id: OrganisationId
    at: datetime = NOW
    handled: list[str] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)

    async def handle(self, message: OutboxMessage) -> None:
        name = f"{message.topic} {message.subject} {message.payload['n']}"
        self.handled.append(name)
        if name in self.failing:
            raise RuntimeError(f"{name} is out of order")

    def worker(
        self, handlers: Mapping[str, Callable[[OutboxMessage], Awaitable[None]]] | None = None
    ) -> OutboxWorker:
        topics = handlers or {"supply": self.handle, "notice": self.handle}
        return OutboxWorker(self.database, topics, lambda: self.at, poll_s=0.01)

    async def post(self, *texts: str, delay_s: float = 0) -> None:
        messages = []
        for text in texts:
            topic, subject, number = text.split()
            due_at = self.at + timedelta(seconds=delay_s)
            messages.append(
                OutboxMessage(
                    uuid7(), self.organisation_id, topic, subject, self.at, due_at, {"n": number}
                )
            )
        async with self.database.unit_of_work() as uow:
            await uow.outbox.add_all(messages)
            await uow.commit()

    async def open(self) -> int:
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.outbox.open_count()


@pytest.fixture
def desk(database: Database, estate: "Estate") -> Desk:
    return Desk(database, estate.organisation.id)


async def test_messages_are_handled_once_each_in_the_order_of_their_subject(desk: Desk) -> None:
    await desk.post("supply a 1", "supply b 1", "supply a 2")
    assert await desk.worker().run_due() == 3
    assert desk.handled == ["supply a 1", "supply b 1", "supply a 2"]
    assert await desk.worker().run_due() == 0
    assert await desk.open() == 0


async def test_failing_message_holds_up_its_subject_alone_and_is_tried_again(desk: Desk) -> None:
    desk.failing = {"supply a 1"}
    await desk.post("supply a 1", "supply a 2", "supply b 1", "notice a 1")
    await desk.worker().run_due()
    assert sorted(desk.handled) == ["notice a 1", "supply a 1", "supply b 1"]
    await desk.post("supply a 3")
    assert await desk.worker().run_due() == 0
    desk.handled.clear()
    desk.failing.clear()
    desk.at += timedelta(seconds=RETRY_S[0])
    await desk.worker().run_due()
    assert desk.handled == ["supply a 1", "supply a 2", "supply a 3"]
    assert await desk.open() == 0


async def test_retries_come_ever_more_slowly_and_the_last_error_is_kept(desk: Desk) -> None:
    desk.failing = {"supply a 1"}
    await desk.post("supply a 1")
    for wait_s in (*RETRY_S, RETRY_S[-1]):
        assert await desk.worker().run_due() == 1
        desk.at += timedelta(seconds=wait_s - 0.5)
        assert await desk.worker().run_due() == 0
        desk.at += timedelta(seconds=0.5)
    async with desk.database.unit_of_work(read_only=True) as uow:
        (message,) = await uow.outbox.due(["supply"], desk.at)
    assert message.attempts == len(RETRY_S) + 1
    assert message.last_error == "RuntimeError: supply a 1 is out of order"


async def test_message_is_not_handled_before_it_is_due_nor_without_a_handler(desk: Desk) -> None:
    await desk.post("supply a 1", delay_s=60)
    await desk.post("strange a 1")
    assert await desk.worker().run_due() == 0
    desk.at += timedelta(seconds=60)
    assert await desk.worker().run_due() == 1
    assert await desk.open() == 1


async def test_crash_between_handling_and_noting_handles_it_again(desk: Desk) -> None:
    class Crash(BaseException):
        """As a kill: nothing after it runs."""

    async def crash(message: OutboxMessage) -> None:
        await desk.handle(message)
        raise Crash

    await desk.post("supply a 1")
    with pytest.raises(Crash):
        await desk.worker({"supply": crash}).run_due()
    assert await desk.worker().run_due() == 1
    assert desk.handled == ["supply a 1", "supply a 1"]


@pytest.mark.parametrize(
    ("moment", "handled"), [(Moment.BEFORE, 1), (Moment.AFTER, 2)], ids=["before", "after"]
)
async def test_kill_at_taking_a_message_loses_nothing(
    desk: Desk, moment: Moment, handled: int
) -> None:
    class Crash(BaseException):
        """As a kill: nothing after it runs."""

    def kill(point: SupplyCrashPoint, when: Moment) -> None:
        if (point, when) == (SupplyCrashPoint.OUTBOX_TAKE, moment):
            raise Crash

    await desk.post("supply a 1")
    worker = desk.worker()
    worker.crash = kill
    with pytest.raises(Crash):
        await worker.run_due()
    assert await desk.worker().run_due() == 1
    assert desk.handled == ["supply a 1"] * handled


async def test_what_a_handler_posts_is_worked_off_in_the_same_round(desk: Desk) -> None:
    async def follow(message: OutboxMessage) -> None:
        await desk.handle(message)
        if message.subject == "a":
            await desk.post("supply b 1")

    await desk.post("supply a 1")
    assert await desk.worker({"supply": follow}).run_due() == 2


async def test_running_worker_goes_on_while_one_topic_hangs(desk: Desk) -> None:
    seen = asyncio.Event()

    async def hang(_message: OutboxMessage) -> None:
        await asyncio.Event().wait()

    async def note(_message: OutboxMessage) -> None:
        seen.set()

    await desk.post("notice a 1")
    worker = desk.worker({"notice": hang, "supply": note})
    task = asyncio.create_task(worker.run())
    try:
        await desk.post("supply a 1")
        worker.wake()
        async with asyncio.timeout(10):
            await seen.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await desk.open() >= 1
