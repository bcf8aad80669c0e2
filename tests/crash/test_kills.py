"""SIGKILL at every crash point, again and again: nothing is lost, nothing doubled, all settles.

A kill costs an order at most its answer: the next start finds out what became of it. What the
meter was sold, by its own figures, is what the books say; asked again with the same key, the
same order answers.
"""

import asyncio
import json
import os
import struct
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.conftest import make_estate, store_estate
from tests.crash.results import WRITTEN
from tests.domain.tariff_samples import FLAT
from tests.proving.hits import CRASHES
from tests.services.charging_cases import publish
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import AccountState
from meterplex.domain.commands import SETTLED, CommandState
from meterplex.domain.estate import Binding, BindingId, ChannelId, UsagePoint, UsagePointId
from meterplex.domain.operators import Grant, Operator, OperatorId, Right
from meterplex.domain.prepayment import FINAL, Direction, OrderKind, OrderState
from meterplex.domain.registers import ELECTRICITY
from meterplex.headend import builtin_channels
from meterplex.plugin_manager import PluginManager
from meterplex.services.accounts.customers import NewCustomer
from meterplex.services.accounts.open_account import NewBinding, OpenAccount, open_account
from meterplex.services.books.book_entries import find_discrepancies
from meterplex.services.orders.crash_points import SupplyCrashPoint
from meterplex_acrel_dtsy import models, plugin
from meterplex_acrel_dtsy.twin_meter import Force

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("METERPLEX_KILLS", "36"))
"""On each database."""
SETTLED_S = 10.0
YUAN = 10_000
SALE = bytes((0x20, 0x01, 0x00))
OPENING = 200 * YUAN
MODEL = "acrel_dtsy1352"


@dataclass(frozen=True)
class Blow:
    """One kill: what the program was doing, and where it died.

    Attributes:
        lost: what the link does to sales meanwhile: ``""``, ``"answer"`` or ``"frame"``.
        foreign: somebody else sells before it goes on.
    """

    do: tuple[str, ...]
    place: str
    commit: int = 0
    lost: str = ""
    foreign: bool = False


def blows() -> list[Blow]:
    """Return a kill for every crash point, before and after."""
    found = []
    for place in CRASHES:
        match place.split()[1]:
            case "uncertain":
                found.append(Blow(("sell",), place, lost="answer"))
            case "fence":
                found.append(Blow(("sell", "recover"), place, lost="frame", foreign=True))
            case "voided":
                found.append(Blow(("give_up",), place))
            case _:
                found.append(Blow(("sell",), place))
    for moment in ("before", "after"):
        found += [Blow(("reconnect",), f"{moment} {point}") for point in SupplyCrashPoint]
        found += [Blow(("reconnect",), f"{moment} commit", number) for number in range(3)]
        found += [Blow(("swap",), f"{moment} commit", number) for number in range(3)]
        found += [Blow(("close",), f"{moment} commit", number) for number in range(9)]
    return found


@dataclass
class MeterAtTheDoor:
    """The twin, which outlives every program, behind a socket."""

    twin: Any
    lost: str = ""
    foreign_first: bool = False
    foreign_units: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack(">H", await reader.readexactly(2))
                answer = self._answer(await reader.readexactly(length))
                writer.write(struct.pack(">H", len(answer)) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, request: bytes) -> bytes:
        sells = request[1:4] == SALE
        if sells and self.lost == "frame":
            self.lost = ""
            if self.foreign_first:
                self.buy_elsewhere()
            return b""
        answer: bytes = self.twin.receive(request)
        if sells and self.lost == "answer":
            self.lost = ""
            return b""
        return answer

    def buy_elsewhere(self) -> None:
        self.foreign_first = False
        wallet = self.twin.body.wallet
        wallet.purchase_count += 1
        wallet.remaining += 7 * YUAN
        wallet.total_purchased += 7 * YUAN
        self.foreign_units += 7 * YUAN


@dataclass
class Household:
    """An account with a meter, and another one in the store room."""

    number: int
    told: dict[str, Any]
    meter: MeterAtTheDoor
    removed: Any = None


@dataclass
class Street:
    """All that is killed, and what became of it."""

    url: str
    database: Database
    plugins: PluginManager
    folder: Path
    zygote: asyncio.subprocess.Process
    random: Random
    estate: Any = None
    kills: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0

    async def run(self, number: int, blow: Blow) -> None:
        house = await self._move_in(number)
        server = await asyncio.start_unix_server(house.meter.serve, house.told["socket"])
        async with server:
            await self._strike(house, blow)
            await self._settle(house, blow)
            await self._check(house, blow)

    async def _strike(self, house: Household, blow: Blow) -> None:
        if blow.do != ("sell",):
            await self._expect(0, house, ("sell", "read"), key=f"first-{house.number}")
        house.meter.twin.body.force[:] = [Force.OPEN] * 3
        house.meter.lost, house.meter.foreign_first = blow.lost, blow.foreign
        place = {"place": blow.place, "commit": blow.commit}
        status = await self._do(house, blow.do, key=f"struck-{house.number}", **place)
        assert status == -9, f"{blow}: ended with {status}"
        self.kills[blow.place] += 1
        house.meter.lost = ""

    async def _settle(self, house: Household, blow: Blow) -> None:
        """Start again on a good link, and ask once more for what was asked."""
        await self._exchange(house)
        begun = time.monotonic()
        await self._expect(0, house, ("recover",))
        self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
        assert time.monotonic() - begun < SETTLED_S
        again = blow.do if blow.do[0] in {"swap", "close"} else ("sell",)
        if blow.do[0] != "reconnect":
            await self._expect(0, house, again, key=f"struck-{house.number}")
            await self._exchange(house)
            await self._expect(0, house, ("recover",))

    async def _exchange(self, house: Household) -> None:
        """Put the new meter in its place, once the books say that it is there."""
        organisation_id, serial = self.estate.organisation.id, house.told["new_serial"]
        async with self.database.unit_of_work(read_only=True) as uow:
            meter = await uow.meters.by_serial(organisation_id, serial)
            assert meter is not None
            binding = await uow.bindings.open_of_meter(organisation_id, meter.id)
        if binding is not None and binding.account_id is not None and house.removed is None:
            house.removed = house.meter.twin
            house.meter.twin = self._twin(serial)

    async def _check(self, house: Household, blow: Blow) -> None:
        organisation_id = self.estate.organisation.id
        async with self.database.unit_of_work(read_only=True) as uow:
            account = await uow.accounts.by_number(organisation_id, f"a-{house.number}")
            assert account is not None
            orders = await uow.orders.of_account(organisation_id, account.id)
            assert await find_discrepancies(uow, organisation_id) == ()
            alive = await uow.commands.in_states(frozenset(CommandState) - SETTLED)
        keys = [order.idempotency_key for order in orders]
        assert len(keys) == len(set(keys))
        assert all(order.state in FINAL for order in orders), f"{blow}: {orders}"
        assert not alive, f"{blow}: {alive}"
        if blow.do == ("close",):
            assert account.state is AccountState.CLOSED, blow
        sold = sum(
            (1 if order.direction is Direction.DELIVER else -1) * order.deliver_units
            for order in orders
            if order.state is OrderState.CONFIRMED and order.kind is not OrderKind.TRANSFER
        )
        carried = sum(order.deliver_units for order in orders if order.kind is OrderKind.TRANSFER)
        if house.removed is not None:
            assert _bought(house.removed) == sold == carried, blow
            sold = carried
        taken = _bought(house.meter.twin) - house.meter.foreign_units
        assert taken == sold, f"{blow}: {taken} in the meter, {sold} in the books"

    async def _expect(
        self, status: int, house: Household, do: tuple[str, ...], **more: Any
    ) -> None:
        assert await self._do(house, do, **more) == status, f"{do} {more}"

    async def _do(self, house: Household, do: tuple[str, ...], **more: Any) -> int:
        assert self.zygote.stdin is not None
        assert self.zygote.stdout is not None
        told = house.told | {"do": do} | more
        self.zygote.stdin.write(json.dumps(told).encode() + b"\n")
        return int(await self.zygote.stdout.readline())

    async def _move_in(self, number: int) -> Household:
        organisation_id, site = self.estate.organisation.id, self.estate.site
        point = UsagePoint(
            UsagePointId(uuid7()), organisation_id, site.id, f"p-{number}", ELECTRICITY
        )
        channel = replace(self.estate.channel, id=ChannelId(uuid7()), code=f"bus-{number + 2}")
        template = replace(self.estate.meters[0], channel_id=channel.id)
        meters = [
            replace(
                template,
                id=uuid7(),
                serial=f"{number * 2 + each + 1000}",
                address=str(each + 1),
            )
            for each in range(2)
        ]
        since = datetime.now(UTC) - timedelta(days=2)
        binding = Binding(BindingId(uuid7()), organisation_id, meters[0].id, point.id, since)
        async with self.database.unit_of_work() as uow:
            await uow.channels.add(channel)
            await uow.meters.add_all(meters)
            await uow.usage_points.add(point)
            await uow.bindings.add(binding)
            await uow.commit()
        opened = await open_account(
            self.database,
            self.plugins,
            OpenAccount(
                organisation_id,
                site.code,
                f"a-{number}",
                NewCustomer(f"c-{number}", "Li Na"),
                AccountMode.PREPAID_METER,
                tariff="flat",
                bindings=(
                    NewBinding(point.code, readings={"active_energy_import": Decimal(1000)}),
                ),
            ),
            at=datetime.now(UTC),
            operator="manager",
        )
        socket = self.folder / f"{number}.sock"
        told = {
            "url": self.url,
            "socket": str(socket),
            "organisation": str(organisation_id),
            "account": str(opened.account.id),
            "meter": str(meters[0].id),
            "point": point.code,
            "new_serial": meters[1].serial,
            "yuan": self.random.choice((10, 20, 50)),
        }
        twin = self._twin(meters[0].serial)
        return Household(number, told, MeterAtTheDoor(twin))

    def _twin(self, serial: str) -> Any:
        model = models.dtsy1352()
        assert model.twin is not None
        told = {"serial": serial, "remaining": "0", "purchase_count": "5", "load_kw": "0"}
        defaults = {each.name: each.default or "" for each in model.twin_settings}
        twin: Any = model.twin("1", defaults | told | {"total_purchased": "200.00"}, 1)
        twin.advance(datetime.now(UTC))
        return twin


def _bought(twin: Any) -> int:
    """Return what a meter was sold since it was put in, after its own figures."""
    units: int = twin.body.wallet.total_purchased - OPENING
    return units


@asynccontextmanager
async def street(url: str, folder: Path, seed: int) -> AsyncIterator[Street]:
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.crash.desk_program",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with await Database.open(url) as database:
            plugins = PluginManager.load((builtin_channels, plugin), ())
            found = Street(url, database, plugins, folder, program, Random(seed))
            found.estate = await _found(database)
            yield found
    finally:
        assert program.stdin is not None
        program.stdin.close()
        await program.wait()


async def _found(database: Database) -> Any:
    estate = make_estate(meters=1)
    meter = replace(
        estate.meters[0], model=MODEL, settings={"count_checked": "true"}, address="247"
    )
    estate = replace(estate, meters=(meter,))
    await store_estate(database, estate)
    await publish(database, estate, replace(FLAT, valid_from=date(2025, 1, 1)))
    manager = Operator(
        OperatorId(uuid7()),
        estate.organisation.id,
        "manager",
        "en",
        datetime.now(UTC),
        grants=frozenset(Grant(right) for right in Right),
    )
    async with database.unit_of_work() as uow:
        await uow.operators.add(manager, "no password")
        await uow.commit()
    return estate


async def test_nothing_is_lost_or_doubled_by_kills(database_url: str, tmp_path: Path) -> None:
    kind, every = database_url.partition(":")[0], blows()
    seed = len(kind)  # another sample on each database, the same each time
    named, others = every[: len(CRASHES)], every[len(CRASHES) :]
    chosen = [*named, *Random(seed).sample(others, len(others))]
    async with street(database_url, tmp_path, seed) as found:
        for number in range(KILLS):
            await found.run(number, chosen[number % len(chosen)])
    total = sum(found.kills.values())
    WRITTEN.append(
        f"kills on {kind}, seed {seed}: {total} killed, 0 lost, 0 doubled, slowest start "
        f"{found.slowest_s:.2f} s; {', '.join(f'{k} {v}' for k, v in sorted(found.kills.items()))}"
    )
    assert total == KILLS
