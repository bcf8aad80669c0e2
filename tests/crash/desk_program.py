"""A program that sells, delivers and takes back over real services, and is killed where it is told.

``zygote`` in this module waits for orders, one JSON object a line, and forks a process for each:
its imports are done, so that a thousand kills take minutes. The meter is at the other end of a
socket, in the process of the test, and outlives every kill.
"""

import asyncio
import json
import os
import signal
import struct
import sys
import traceback
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

import asyncpg  # noqa: F401 - imported before the fork, not after each
import sqlalchemy.dialects.sqlite.aiosqlite  # noqa: F401 - the same
from uuid_utils.compat import uuid7

from meterplex.db import Database, UnitOfWork
from meterplex.domain.commands import Command, CommandKind, CommandState
from meterplex.domain.estate import AccountId, MeterId, OrganisationId
from meterplex.domain.operators import Operator
from meterplex.domain.prepayment import PrepaymentRules
from meterplex.domain.readings import ReadingRun, ReadingSource, RunId
from meterplex.domain.supply import SupplyAction
from meterplex.headend import builtin_channels
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import Delimiter, Framing, LinkTimeoutError
from meterplex.services.accounts.close_account import CloseAccount, close_account
from meterplex.services.accounts.swap_meter import NewMeter, SwapMeter, swap_meter
from meterplex.services.follow_up.outbox_worker import OutboxWorker
from meterplex.services.metering.deliver_commands import CommandRows
from meterplex.services.metering.issue_commands import issue_commands
from meterplex.services.metering.take_readings import TakenSnapshot, store_run
from meterplex.services.orders.crash_points import CrashPoint, Moment, SupplyCrashPoint
from meterplex.services.orders.decide_orders import void_order
from meterplex.services.orders.deliver_orders import OrderDelivery
from meterplex.services.orders.vend_credit import VendRequest, vend_credit
from meterplex_acrel_dtsy import models, plugin

YUAN = 10_000
SALE = bytes((0x20, 0x01, 0x00))
SETTINGS = {"count_checked": "true"}


def utc_now() -> datetime:
    return datetime.now(UTC)


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@dataclass
class Killer:
    """Kills this process at a named point, or at a commit.

    Attributes:
        place: ``"<moment> <point>"``; empty for none.
        commit: which commit, from 0; with ``place`` ``"<moment> commit"``.
    """

    place: str
    commit: int = 0

    def __call__(self, point: CrashPoint | SupplyCrashPoint, moment: Moment) -> None:
        if self.place == f"{moment} {point}":
            die()

    def on_commit(self, moment: Moment) -> None:
        if self.place == f"{moment} commit":
            if self.commit == 0:
                die()
            self.commit -= 1


class WatchedUnitOfWork(UnitOfWork):
    """Tells a killer of each commit."""

    killer: Killer

    async def commit(self) -> None:
        self.killer.on_commit(Moment.BEFORE)
        await super().commit()
        self.killer.on_commit(Moment.AFTER)


class WatchedDatabase(Database):
    """Hands out watched units of work."""

    killer: Killer = Killer("")

    def unit_of_work(self, *, read_only: bool = False) -> UnitOfWork:
        if read_only:
            return super().unit_of_work(read_only=True)
        work = WatchedUnitOfWork(self._writers, self._turn)
        work.killer = self.killer
        return work


class SocketLink:
    """A link to the meter of the test; a frame is its length and its bytes, silence is length 0."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, killer: Killer
    ) -> None:
        self._reader, self._writer, self._killer = reader, writer, killer

    @property
    def framing(self) -> Framing:
        return Framing.RAW

    async def exchange(
        self, request: bytes, delimiter: Delimiter, *, control: bool = False
    ) -> bytes:
        sells = control and request[1:4] == SALE
        half = len(request) // 2
        await self._write(struct.pack(">H", len(request)) + request[:half])
        if sells:
            self._killer(CrashPoint.FIRST_BYTE, Moment.AFTER)
            self._killer(CrashPoint.LAST_BYTE, Moment.BEFORE)
        await self._write(request[half:])
        (length,) = struct.unpack(">H", await self._reader.readexactly(2))
        if sells:
            self._killer(CrashPoint.ANSWER_READ, Moment.BEFORE)
        arrived = await self._reader.readexactly(length)
        span = delimiter.find(arrived)
        if span is None:
            raise LinkTimeoutError("no answer")
        return arrived[span.start : span.end]

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        await asyncio.sleep(0)


@dataclass
class Desk:
    """What the program does, by name."""

    database: WatchedDatabase
    driver: Any
    killer: Killer
    told: dict[str, Any]

    @property
    def organisation_id(self) -> OrganisationId:
        return OrganisationId(UUID(self.told["organisation"]))

    @property
    def account_id(self) -> AccountId:
        return AccountId(UUID(self.told["account"]))

    @property
    def delivery(self) -> OrderDelivery:
        return OrderDelivery(self.database, utc_now, PrepaymentRules(), self.killer)

    async def sell(self) -> None:
        await self._vend()
        await self.deliver()

    async def give_up(self) -> None:
        sale = await self._vend()
        await void_order(
            self.database,
            self.organisation_id,
            sale.order_id,
            at=utc_now(),
            operator="cashier",
            reason="changed his mind",
            rules=PrepaymentRules(),
            crash=self.killer,
        )

    async def recover(self) -> None:
        """What every start begins with, and then all that is due."""
        await self.delivery.recover()
        rows = CommandRows(self.database, utc_now, crash=self.killer)
        await rows.recover()
        await self.deliver()
        await self._work_off()
        for entry in await rows.unsettled():
            await self._reconcile(rows, entry.command)

    async def deliver(self) -> None:
        for _ in range(5):
            await self.delivery.wake(None)
            due = await self.delivery.due()
            for order in due:
                await self.delivery.attempt(order, self.driver)
            if not due:
                return

    async def read(self) -> None:
        """Read the meter as the head-end does."""
        started = utc_now()
        async with self.database.unit_of_work(read_only=True) as uow:
            meter = await uow.meters.get(self.organisation_id, MeterId(UUID(self.told["meter"])))
        taken = TakenSnapshot(meter, utc_now(), await self.driver.read())
        assert meter.channel_id is not None
        run = ReadingRun(
            RunId(uuid7()),
            self.organisation_id,
            meter.channel_id,
            ReadingSource.SCHEDULED,
            started,
            utc_now(),
            (meter.id,),
            (),
        )
        await store_run(self.database, run, [taken], [], uuid7)

    async def swap(self) -> None:
        wanted = SwapMeter(
            self.organisation_id,
            self.account_id,
            self.told["point"],
            NewMeter(self.told["new_serial"], readings={"active_energy_import": Decimal(1000)}),
        )
        await swap_meter(
            self.database, self._plugins(), wanted, at=utc_now(), operator=await self._manager()
        )

    async def close(self) -> None:
        wanted = CloseAccount(
            self.organisation_id,
            self.account_id,
            {self.told["point"]: {"active_energy_import": Decimal(1000)}},
            settle_method="cash",
            payout_method="cash",
        )
        for _ in range(2):
            await close_account(self.database, wanted, at=utc_now(), operator=await self._manager())
            await self.deliver()

    async def reconnect(self) -> None:
        """Have the relay closed: command, read-back, and what is told of it."""
        async with self.database.unit_of_work(read_only=True) as uow:
            meter = await uow.meters.get(self.organisation_id, MeterId(UUID(self.told["meter"])))
        await issue_commands(
            self.database,
            self._plugins(),
            self.organisation_id,
            [meter],
            CommandKind.RECONNECT,
            {},
            asked_by="rule:test",
            at=utc_now(),
        )
        rows = CommandRows(self.database, utc_now, crash=self.killer)
        for entry in await rows.unsettled():
            if await rows.move(entry.command, CommandState.SENT, ""):
                await self.driver.set_supply(SupplyAction.RECONNECT)
                sent = replace(entry.command, state=CommandState.SENT)
                await rows.move(sent, CommandState.CONFIRMED, "closed")
        await self._work_off()

    async def _reconcile(self, rows: CommandRows, command: Command) -> None:
        seen = await self.driver.read_supply()
        if command.state is CommandState.UNKNOWN and seen.connected:
            await rows.move(command, CommandState.CONFIRMED, "read back")
            return
        if command.state is CommandState.UNKNOWN:
            await rows.move(command, CommandState.QUEUED, "not done")
            command = replace(command, state=CommandState.QUEUED)
        if await rows.move(command, CommandState.SENT, ""):
            await self.driver.set_supply(SupplyAction.RECONNECT)
            sent = replace(command, state=CommandState.SENT)
            await rows.move(sent, CommandState.CONFIRMED, "closed")

    async def _work_off(self) -> None:
        """Take all messages of the outbox; what they lead to is not of interest here."""

        async def handle(_: Any) -> None:
            return

        topics = ("supply", "orders", "account_event", "limits")
        handlers = dict.fromkeys(topics, handle)
        await OutboxWorker(self.database, handlers, utc_now, crash=self.killer).run_due()

    async def _vend(self) -> Any:
        request = VendRequest(
            self.organisation_id, self.account_id, self.told["yuan"] * YUAN, self.told["key"]
        )
        return await vend_credit(
            self.database, request, at=utc_now(), operator="cashier", crash=self.killer
        )

    def _plugins(self) -> PluginManager:
        return PluginManager.load((builtin_channels, plugin), ())

    async def _manager(self) -> Operator:
        async with self.database.unit_of_work(read_only=True) as uow:
            found = await uow.operators.by_name(self.organisation_id, "manager")
        assert found is not None
        return found


async def work(told: dict[str, Any]) -> None:
    killer = Killer(told.get("place", ""), told.get("commit", 0))
    reader, writer = await asyncio.open_unix_connection(told["socket"])
    async with await WatchedDatabase.open(told["url"]) as database:
        database.killer = killer
        link = SocketLink(reader, writer, killer)
        driver = models.dtsy1352().driver(link, "1", SETTINGS)
        desk = Desk(database, driver, killer, told)
        for name in told["do"]:
            await getattr(desk, name)()
    writer.close()


def zygote() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                asyncio.run(work(json.loads(line)))
                status = 0
            except BaseException:  # noqa: BLE001 - told to the test, whatever it is
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        _, waited = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(waited), flush=True)


if __name__ == "__main__":
    zygote()
