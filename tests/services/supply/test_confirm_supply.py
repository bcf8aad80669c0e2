"""Whoever's supply was taken or given back is told so, once, whatever saw the relay first."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.services.supply_town import HOUR, MINUTE, Town, build_town

from meterplex.db import Database
from meterplex.domain.commands import CommandKind, CommandState
from meterplex.plugin_manager import PluginManager
from meterplex.services.supply.send_warnings import _in_words

DISCONNECT, RECONNECT = CommandKind.DISCONNECT, CommandKind.RECONNECT


async def told(town: Town) -> list[str]:
    async with town.database.unit_of_work(read_only=True) as uow:
        notices = await uow.notices.newest(town.organisation.id)
    supply = {"disconnected", "reconnected"}
    return [each.kind for each in reversed(notices) if each.kind in supply]


async def confirm_after_reading(town: Town, kind: CommandKind, *seen: str) -> None:
    """Confirm a command whose effect a scheduled reading has seen before its own read-back."""
    town.at += MINUTE
    await (town.warn() if kind is DISCONNECT else town.pay(1))
    command = await town.ask(kind)
    assert await town.send(command), (await town.now(command)).outcome
    await town.flag(*seen)
    sent = replace(command, state=CommandState.SENT)
    assert await town.rows.move(sent, CommandState.CONFIRMED, "read back")


async def test_reconnect_is_told_though_a_reading_saw_it_first(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    await town.use(30)
    await town.warn()
    await town.confirm(await town.ask(DISCONNECT))
    await confirm_after_reading(town, RECONNECT)
    assert await told(town) == ["disconnected", "reconnected"]


async def test_what_is_so_already_is_not_told_again(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    await town.confirm(await town.ask(RECONNECT))
    town.at += MINUTE
    await town.confirm(await town.ask(RECONNECT))
    assert await told(town) == []


@pytest.mark.parametrize(
    ("lead", "words"), [(24 * HOUR, "24 h"), (5 * MINUTE, "5 min"), (90 * MINUTE, "90 min")]
)
def test_lead_of_a_warning_is_said_in_hours_or_minutes(lead: timedelta, words: str) -> None:
    assert _in_words(lead) == words
