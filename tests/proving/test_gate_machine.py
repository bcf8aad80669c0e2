"""Random towns in arrears, with facts that change between the wish and the send.

I17: no disconnect is sent while any of D1 to D8 is false; what speaks against it is known here by
what was done, not by what the services say. I18: no more are sent than the limiter allows, whatever
the order and the restarts. I19: who paid is supplied again at once. I20: nothing is sent late.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from shutil import copy

import pytest
from tests.proving.hits import REFUSALS, Hits
from tests.proving.lossy_link import InvariantError
from tests.services.supply.test_guard_disconnects import (
    breaker_opens,
    clock_jumps,
    has_order_on_its_way,
    heats,
    is_bypassed,
    is_held,
    outage_ends,
    reading_grows_old,
    window_closes,
)
from tests.services.supply_town import HOUR, MINUTE, Town, build_town

from meterplex.db import Database
from meterplex.domain.commands import CommandKind, CommandState
from meterplex.plugin_manager import PluginManager
from meterplex.services.supply import guard_disconnects

RUNS = 40
ACCOUNTS = 8
HOUR_MAX = 5
"""Disconnects an hour of a small organisation: the floor of the limiter."""

Change = Callable[[Town], Awaitable[None]]
OF_ONE: tuple[tuple[str, Change], ...] = (
    ("D2", has_order_on_its_way),
    ("D5", is_held),
    ("D5", is_bypassed),
    ("D8", heats),
)
OF_ALL: tuple[tuple[str, Change], ...] = (
    ("D1", reading_grows_old),
    ("D4", window_closes),
    ("D4", clock_jumps),
    ("D6", breaker_opens),
    ("D6", outage_ends),
)


@dataclass
class Arrears:
    """A town, and what in truth speaks against each disconnect."""

    town: Town
    random: Random
    hits: Hits
    against: dict[int, set[str]] = field(default_factory=dict)
    sent: int = 0

    async def begin(self) -> None:
        for number in range(ACCOUNTS):
            known = self.against.setdefault(number, set())
            await self.town.use(30, number)
            if self.random.random() < 0.12:
                await self.town.pay(50, number)
                known.add("D1")
            ago = self.random.choice((23, 25, 25, 25, 25, 48))
            await self.town.warn(timedelta(hours=ago), number)
            if ago < 24:
                known.add("D3")

    async def change_something(self) -> None:
        """Let a fact of the first account, or of all, become false."""
        if self.random.random() < 0.5:
            rule, change = self.random.choice(OF_ONE)
            self.against[0].add(rule)
        else:
            rule, change = self.random.choice(OF_ALL)
            for known in self.against.values():
                known.add(rule)
        await change(self.town)

    async def try_all(self) -> None:
        """Ask for everybody's disconnect, and send what may be sent."""
        asked = []
        for number in self.random.sample(range(ACCOUNTS), ACCOUNTS):
            audited = self.random.random() < 0.95
            asked.append((number, audited, await self.town.ask(number=number, audited=audited)))
        if self.random.random() < 0.4:
            await self.change_something()
        for number, audited, command in asked:
            against = self.against[number] | (set() if audited else {"D7"})
            went = await self.town.send(command)
            self._judge(went=went, against=against)
            outcome = (await self.town.now(command)).outcome
            self.hits.add(*dict.fromkeys(re.findall(r"\bD[1-8]\b", outcome)))

    def _judge(self, *, went: bool, against: set[str]) -> None:
        if went:
            self.sent += 1
            self.hits.add("sent")
        if went and against:
            raise InvariantError(f"I17: sent, though {sorted(against)} speak against it")
        if self.sent > HOUR_MAX:
            raise InvariantError(f"I18: {self.sent} sent within an hour")
        if not went and not against and self.sent < HOUR_MAX:
            raise InvariantError("nothing speaks against it, and it was not sent")

    async def come_too_late(self) -> None:
        """I20: let a command lie until its time has passed."""
        command = await self.town.ask(CommandKind.RECONNECT, number=1)
        self.town.at = command.not_after + timedelta(seconds=1)
        if await self.town.send(command):
            raise InvariantError("I20: sent after not_after")
        self.hits.add("too late")


async def _run(database: Database, plugins: PluginManager, seed: int, hits: Hits) -> None:
    random = Random(seed)
    arrears = Arrears(await build_town(database, plugins, ACCOUNTS), random, hits)
    await arrears.begin()
    if random.random() < 0.6:
        await arrears.change_something()
    await arrears.try_all()
    await arrears.come_too_late()


async def test_nothing_is_switched_off_against_the_gate(
    sqlite_template: Path, tmp_path: Path, plugins: PluginManager
) -> None:
    hits = Hits()
    for seed in range(RUNS):
        path = copy(sqlite_template, tmp_path / f"{seed}.db")
        async with await Database.open(f"sqlite:///{path}") as database:
            await _run(database, plugins, seed, hits)
    required = [*REFUSALS, "sent", "too late"]
    hits.write("gate", required)
    assert hits.missing(required) == []


async def test_a_gate_that_is_left_open_is_found(
    sqlite_template: Path,
    tmp_path: Path,
    plugins: PluginManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard_disconnects, "judge", lambda case, facts: ())
    path = copy(sqlite_template, tmp_path / "open.db")
    async with await Database.open(f"sqlite:///{path}") as database:
        with pytest.raises(InvariantError, match=r"I17|I18"):
            await _run(database, plugins, 0, Hits())


async def test_who_paid_is_supplied_again_at_once(
    database: Database, plugins: PluginManager
) -> None:
    """I19, without the line, which adds no more than it takes to be sent."""
    town = await build_town(database, plugins)
    await town.use(30)
    await town.warn()
    await town.confirm(await town.ask())
    await town.flag("supply_off", "supply_forced_off")
    await town.go_to(town.at + HOUR + MINUTE)
    await town.pay(50)
    paid_at = town.at
    assert (await town.decide()).startswith("reconnect")
    (command,) = [each for each in await town.commands() if each.kind is CommandKind.RECONNECT]
    assert await town.send(command)
    assert await town.rows.move(
        replace(command, state=CommandState.SENT), CommandState.CONFIRMED, "read back"
    )
    assert town.at - paid_at <= timedelta(seconds=60)
