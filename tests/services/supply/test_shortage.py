from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from tests.services.supply_town import HOUR, MINUTE, NOON, YUAN, Town, build_town

from meterplex.db import Database
from meterplex.domain.commands import CommandKind, CommandState
from meterplex.domain.operators import Right
from meterplex.domain.readings import Reading
from meterplex.domain.registers import ACTIVE_POWER
from meterplex.domain.supply_gate import DisconnectCause
from meterplex.domain.supply_holds import HoldOwner
from meterplex.plugin_manager import PluginManager
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.metering.issue_commands import issue_commands
from meterplex.services.supply.shortage import UNTIL, end_shortages, plan_shortage
from meterplex.services.supply.supply_holds import set_hold
from meterplex.services.supply.write_limits import write_limits


async def drawing_town(database: Database, plugins: PluginManager, *powers_kw: str) -> Town:
    town = await build_town(database, plugins, accounts=len(powers_kw))
    readings = [
        Reading(meter.id, ACTIVE_POWER, NOON, Decimal(power))
        for meter, power in zip(town.meters, powers_kw, strict=False)
    ]
    async with database.unit_of_work() as uow:
        await uow.readings.store(town.organisation.id, readings, received_at=NOON)
        await uow.commit()
    return town


async def test_largest_demand_is_shed_first_and_who_is_held_is_spared(
    database: Database, plugins: PluginManager
) -> None:
    town = await drawing_town(database, plugins, "2", "9", "5", "7")
    await set_hold(
        database,
        town.site,
        town.accounts[1],
        HoldOwner.CARE,
        reason="ventilator",
        until=None,
        at=NOON,
        operator="anna",
    )
    plan = await plan_shortage(database, plugins, town.site, Decimal(12), NOON)
    assert [each.meter.id for each in plan.shed] == [town.meters[3].id, town.meters[2].id]
    assert (plan.before_kw, plan.after_kw) == (Decimal(23), Decimal(11))
    assert [each.meter.id for each in plan.kept] == [town.meters[1].id]
    with pytest.raises(MoneyConflictError, match="would be left"):
        await plan_shortage(database, plugins, town.site, Decimal(8), NOON)
    with pytest.raises(MoneyInputError, match="reduce_to"):
        await plan_shortage(database, plugins, town.site, Decimal("NaN"), NOON)


async def shed(town: Town, number: int, until: datetime) -> None:
    batch = await issue_commands(
        town.database,
        town.plugins,
        town.organisation.id,
        [town.meters[number]],
        CommandKind.DISCONNECT,
        {UNTIL: until.isoformat()},
        asked_by=await town.person(f"anna{number}", Right.SUPPLY_COMMAND),
        at=town.at,
        cause=DisconnectCause.SHORTAGE,
    )
    await town.confirm(batch.commands[0])


async def test_shed_supply_comes_back_at_the_time_given(
    database: Database, plugins: PluginManager
) -> None:
    town = await drawing_town(database, plugins, "5")
    until = NOON + HOUR
    await shed(town, 0, until)  # somebody pays for its use
    await shed(town, 1, until)  # nobody does
    town.at = until - MINUTE
    assert f"shortage until {until.isoformat()}" in await town.decide()
    assert await end_shortages(database, at=town.at) == ()
    town.at = until
    await town.decide()
    assert [each.kind for each in await town.commands(0)][-1] is CommandKind.RECONNECT
    (back,) = await end_shortages(database, at=town.at)
    assert (back.meter_id, back.kind) == (town.meters[1].id, CommandKind.RECONNECT)
    assert await end_shortages(database, at=town.at + MINUTE) == ()


async def test_limits_of_an_account_go_to_its_meters(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins, accounts=1)
    lender = replace(
        town.accounts[0], overdraft_units=10 * YUAN, emergency_units=5 * YUAN, alarm_1_units=0
    )
    await write_limits(database, plugins, lender, at=NOON)
    assert await town.commands() == ()  # the server keeps the credit, and no threshold is set
    await write_limits(database, plugins, lender, "8", at=NOON)
    (command,) = await town.commands()
    assert dict(command.arguments) == {"overload_kw": "8"}
    assert command.state is CommandState.QUEUED
    assert command.not_after == NOON + timedelta(minutes=10)
