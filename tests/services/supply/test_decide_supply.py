from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from tests.services.supply_town import HOUR, MINUTE, NOON, YUAN, Town, build_town

from meterplex.db import Database
from meterplex.db.accounts import WalletRow
from meterplex.db.notices import StoredWarning
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import AccountState
from meterplex.domain.approvals import ApprovalError
from meterplex.domain.commands import CommandKind, CommandState
from meterplex.domain.operators import ForbiddenError, Right
from meterplex.domain.supply_holds import HoldOwner
from meterplex.domain.warnings import WarningLevel, WarningState
from meterplex.plugin_manager import PluginManager
from meterplex.services.accounts.messages import SUPPLY, reconsider_supply
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.follow_up.outbox_worker import OutboxWorker
from meterplex.services.operators import approvals
from meterplex.services.supply.bypass import (
    BYPASS_OVER,
    ask_bypass,
    bypass_handler,
    end_bypass,
    start_bypass,
)
from meterplex.services.supply.decide_supply import SupplyLoop, supply_handler
from meterplex.services.supply.supply_holds import end_hold, set_hold
from meterplex.services.supply.watch_supply import SupplyWatch

DISCONNECT, RECONNECT = CommandKind.DISCONNECT, CommandKind.RECONNECT


async def put_wallet(town: Town, remaining: int) -> None:
    async with town.database.unit_of_work() as uow:
        wallet = WalletRow(town.organisation.id, town.bindings[0].id, 1, 0, remaining, town.at)
        await uow.wallets.put(wallet)
        await uow.commit()


async def warnings_of(town: Town, number: int = 0) -> tuple[StoredWarning, ...]:
    async with town.database.unit_of_work(read_only=True) as uow:
        account = town.accounts[number]
        binding = town.bindings[number].id if account.mode.in_meter else None
        return await uow.warnings.of_episode(town.organisation.id, account.id, binding)


def worker(town: Town) -> OutboxWorker:
    handlers = {
        SUPPLY: supply_handler(town.loop, lambda: town.at),
        BYPASS_OVER: bypass_handler(town.database, lambda: town.at),
    }
    return OutboxWorker(town.database, handlers, lambda: town.at)


async def kinds(town: Town, number: int = 0) -> list[CommandKind]:
    return [each.kind for each in await town.commands(number)]


async def test_account_in_credit_is_left_alone(database: Database, plugins: PluginManager) -> None:
    town = await build_town(database, plugins)
    await town.pay(100)
    assert (
        await town.decide()
        == "reconnect: balance 100.0000 is not below 0.0000: supply is on already"
    )
    assert await kinds(town) == []
    assert await warnings_of(town) == ()


async def test_account_is_warned_first_and_cut_off_a_day_later_within_the_window(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    await town.use(30)
    assert "D3: the arrears warning was not sent" in await town.decide()
    async with database.unit_of_work() as uow:
        (worst,) = [
            each
            for each in await uow.warnings.of_episode(town.organisation.id, town.accounts[0].id)
            if each.level is WarningLevel.ARREARS
        ]
        await uow.warnings.note_state(worst, WarningState.SENT, at=town.at, by="file")
        await uow.commit()
    assert {each.state for each in await warnings_of(town)} == {WarningState.SENT}
    assert "went out" in await town.decide()
    await town.go_to(NOON + 23 * HOUR)
    async with database.unit_of_work() as uow:  # the meter was read meanwhile
        await uow.bindings.replace(replace(town.bindings[0], since=NOON + 24 * HOUR))
        await uow.commit()
    assert await kinds(town) == []
    await town.go_to(NOON + 24 * HOUR + MINUTE)
    assert "D" not in (await town.decide()).partition(": ")[2]
    (command,) = await town.commands()
    assert (command.kind, command.cause, command.asked_by) == (
        DISCONNECT,
        "arrears",
        "rule:supply",
    )
    assert command.not_after == command.created_at + 10 * MINUTE
    await town.confirm(command)


async def test_each_level_warns_once_an_episode(database: Database, plugins: PluginManager) -> None:
    town = await build_town(database, plugins)
    levels = []
    for change in (60, -20, -1, -20, -30, 100, -70):
        await (town.pay(change) if change > 0 else town.use(-change))
        await town.decide()
        await town.decide()
        levels.append(sorted(each.level.value for each in await warnings_of(town)))
        town.at += MINUTE
    low = ["alarm_1"]
    assert levels == [
        [],
        low,
        low,
        ["alarm_1", "alarm_2"],
        [*low, "alarm_2", "arrears"],
        [],
        [*low, "alarm_2"],
    ]
    async with database.unit_of_work(read_only=True) as uow:
        notices = await uow.notices.newest(town.organisation.id)
    assert [each.kind for each in reversed(notices)] == ["alarm_1", "alarm_2", "arrears", "alarm_2"]
    assert "A-0" in notices[-1].text
    assert notices[-1].recipient == "13800138000"


async def test_paid_account_is_reconnected_in_the_workers_next_round(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    await town.use(30)
    await town.warn()
    await town.decide()
    await town.confirm((await town.commands())[0])
    await worker(town).run_due()
    assert await kinds(town) == [DISCONNECT]
    await town.pay(100)
    async with database.unit_of_work() as uow:
        await reconsider_supply(uow, town.accounts[0], town.at)
        await uow.commit()
    town.at += timedelta(seconds=1)
    assert await worker(town).run_due() == 1
    *_, command = await town.commands()
    assert command.kind is RECONNECT
    await town.confirm(command)
    assert (await town.decide()).endswith(": supply is on already")


async def test_disconnect_that_is_not_proven_is_followed_by_a_reconnect_once_paid(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    await town.use(30)
    await town.warn()
    await town.decide()
    (command,) = await town.commands()
    assert await town.send(command)
    sent = replace(command, state=CommandState.SENT)
    assert await town.rows.move(sent, CommandState.UNKNOWN, "no answer")
    await town.pay(100)
    town.at += MINUTE
    await town.decide()
    assert await kinds(town) == [DISCONNECT, RECONNECT]


async def test_command_under_way_is_not_doubled_and_a_refused_one_waits(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    await town.flag("supply_off")
    await town.decide()
    assert "under way" in await town.decide()
    (command,) = await town.commands()
    assert await town.send(command)
    sent = replace(command, state=CommandState.SENT)
    assert await town.rows.move(sent, CommandState.REFUSED, "the meter says no")
    assert "tried lately: the meter says no" in await town.decide()
    town.at += 2 * MINUTE
    await town.decide()
    assert await kinds(town) == [RECONNECT, RECONNECT]


async def test_many_reconnects_are_spread_and_each_comes_in_its_turn(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins, accounts=25)
    for number in range(25):
        await town.flag("supply_off", number=number)
    loop = SupplyLoop(database, plugins, Random(7))
    for account in town.accounts:
        await loop.decide(town.organisation.id, account.id, at=town.at)

    async def queued() -> int:
        async with database.unit_of_work(read_only=True) as uow:
            return await uow.commands.count(CommandState.QUEUED, RECONNECT)

    assert await queued() == 20
    await worker(town).run_due()
    assert await queued() == 20
    town.at += 10 * MINUTE
    await worker(town).run_due()
    assert await queued() == 25


@pytest.mark.parametrize("owner", ["operator", "care", "weather"])
async def test_hold_keeps_or_brings_supply_until_it_is_ended(
    database: Database, plugins: PluginManager, owner: str
) -> None:
    town = await build_town(database, plugins)
    await town.use(30)
    await town.warn()
    hold = await set_hold(
        database,
        town.site,
        None if owner == "weather" else town.accounts[0],
        HoldOwner(owner),
        reason="cold",
        until=None,
        at=town.at,
        operator="anna",
    )
    assert await worker(town).run_due() == 1
    assert f"{owner} hold (cold)" in await town.decide()
    assert await kinds(town) == []
    await end_hold(database, town.organisation.id, hold.id, at=town.at, operator="anna")
    await worker(town).run_due()
    assert await kinds(town) == [DISCONNECT]
    with pytest.raises(MoneyConflictError, match="ended already"):
        await end_hold(database, town.organisation.id, hold.id, at=town.at, operator="anna")


@pytest.mark.parametrize(
    ("owner", "reason", "until", "field"),
    [
        pytest.param("window", "x", None, "owner", id="no person's"),
        pytest.param("care", " ", None, "reason", id="no reason"),
        pytest.param("care", "x", NOON, "until", id="over"),
    ],
)
async def test_hold_that_cannot_be_is_refused(
    database: Database,
    plugins: PluginManager,
    owner: str,
    reason: str,
    until: datetime | None,
    field: str,
) -> None:
    town = await build_town(database, plugins)
    with pytest.raises(MoneyInputError) as refused:
        await set_hold(
            database,
            town.site,
            None,
            HoldOwner(owner),
            reason=reason,
            until=until,
            at=town.at,
            operator="anna",
        )
    assert refused.value.field == field
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.supply_holds.all(town.organisation.id) == ()


async def test_bypass_takes_two_people_and_keeps_the_loop_out_until_it_is_ended(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    anna = await town.person("anna", Right.SUPPLY_HOLD)
    bert = await town.person("bert", Right.SUPPLY_APPROVE)
    await town.flag("supply_off")
    meter, until = town.meters[0], town.at + HOUR
    asked = await ask_bypass(database, anna, meter, until=until, reason="repair", at=town.at)
    with pytest.raises(ForbiddenError):
        await approvals.decide(database, anna, asked.id, approve=True, at=town.at)
    with pytest.raises(ApprovalError):
        await start_bypass(database, anna, meter, until=until, approval_id=asked.id, at=town.at)
    await approvals.decide(database, bert, asked.id, approve=True, at=town.at)
    begun = await start_bypass(database, anna, meter, until=until, approval_id=asked.id, at=town.at)
    assert (begun.asked_by, begun.approved_by) == ("anna", "bert")
    await town.go_to(town.at + 2 * HOUR)  # its time is over, nobody has ended it
    assert "bypassed since" in await town.decide()
    assert await kinds(town) == []
    await end_bypass(database, anna, meter, at=town.at)
    await worker(town).run_due()
    assert await kinds(town) == [RECONNECT]
    async with database.unit_of_work(read_only=True) as uow:
        events = await uow.events.newest(town.organisation.id, limit=9)
    assert {(each.code, each.kind.value) for each in events} == {
        ("bypass", "flag_raised"),
        ("bypass", "flag_cleared"),
    }


async def test_bypass_whose_time_is_over_is_told_daily_to_who_may_end_it(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    anna = await town.person("anna", Right.SUPPLY_HOLD)
    bert = await town.person("bert", Right.SUPPLY_APPROVE)
    meter, until = town.meters[0], town.at + HOUR
    asked = await ask_bypass(database, anna, meter, until=until, reason="repair", at=town.at)
    await approvals.decide(database, bert, asked.id, approve=True, at=town.at)
    await start_bypass(database, anna, meter, until=until, approval_id=asked.id, at=town.at)

    async def told() -> list[str]:
        await worker(town).run_due()
        async with database.unit_of_work(read_only=True) as uow:
            notices = await uow.notices.all(town.organisation.id)
        return [each.recipient for each in notices if each.kind == BYPASS_OVER]

    assert await told() == []
    town.at = until
    assert await told() == ["anna"]
    assert await told() == ["anna"]
    town.at += timedelta(days=1)
    assert await told() == ["anna", "anna"]
    await end_bypass(database, anna, meter, at=town.at)
    town.at += timedelta(days=2)
    assert await told() == ["anna", "anna"]


@pytest.mark.parametrize("cause", ["safety", "shortage", "closing"])
async def test_what_a_person_switched_off_stays_off(
    database: Database, plugins: PluginManager, cause: str
) -> None:
    town = await build_town(database, plugins)
    await town.person("anna", Right.SUPPLY_FORCE)
    await town.confirm(await town.ask(by="anna", cause=cause))
    town.at += MINUTE
    assert f"disconnected by anna: {cause}" in await town.decide()
    assert await kinds(town) == [DISCONNECT]


async def test_suspended_account_is_left_as_it_is(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    await town.use(30)
    await town.warn()
    async with database.unit_of_work() as uow:
        await uow.accounts.replace(replace(town.accounts[0], state=AccountState.SUSPENDED))
        await uow.commit()
    assert await town.decide() == ": the account is suspended"


async def test_emergency_credit_is_lent_before_a_disconnect(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    async with database.unit_of_work() as uow:
        lender = replace(town.accounts[0], overdraft_units=10 * YUAN, emergency_units=20 * YUAN)
        await uow.accounts.replace(lender)
        await uow.commit()
    await town.warn()
    await town.use(30)
    assert (await town.decide()).startswith("reconnect: balance -30.0000 is not below")
    await town.use(1)
    assert (await town.decide()).startswith("disconnect: ")
    assert await kinds(town) == [DISCONNECT]


# -- the meter keeps the balance -------------------------------------------------------------------


async def test_low_meter_is_held_while_the_window_is_closed_and_released_by_the_gate(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins, mode=AccountMode.PREPAID_METER)
    await town.warn()
    await put_wallet(town, 10 * YUAN)
    await town.decide()
    assert await kinds(town) == []  # it may trip by itself now
    await town.go_to(datetime(2026, 11, 18, 7, 50, tzinfo=UTC))  # 15:50, the window ends at 16:00
    assert "window hold until 2026-11-19 09:00" in await town.decide()
    (hold,) = await town.commands()
    assert hold.kind is CommandKind.HOLD
    await town.confirm(hold)
    assert (await town.decide()).endswith(": supply is held on already")
    await town.go_to(datetime(2026, 11, 19, 1, 0, tzinfo=UTC))
    await put_wallet(town, -1)
    await town.warn()
    await town.decide()
    release = (await town.commands())[-1]
    assert (release.kind, release.cause) == (CommandKind.AUTOMATIC, "arrears")
    await town.confirm(release)


async def test_held_meter_without_credit_stays_on_when_its_customer_was_not_warned(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins, mode=AccountMode.PREPAID_METER)
    await put_wallet(town, -1)
    await town.flag("supply_held")
    assert "D3: the arrears warning was not sent" in await town.decide()
    assert await kinds(town) == []


async def test_meter_that_tripped_is_reconnected_after_its_credit_came(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins, mode=AccountMode.PREPAID_METER)
    await put_wallet(town, 100 * YUAN)
    await town.flag("supply_off")
    await town.decide()
    assert await kinds(town) == [RECONNECT]


# -- the sweep -------------------------------------------------------------------------------------


async def test_sweep_finds_who_is_low_or_off_and_nobody_else(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins, accounts=3)
    await town.warn(number=0)
    await town.flag("supply_off", number=1)
    watch = SupplyWatch(town.loop, lambda: town.at)
    assert await watch.run_once() == 2
    assert await kinds(town, 1) == [RECONNECT]


async def test_outage_is_noticed_by_whoever_watches_the_time(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    await town.use(30)
    await town.warn()
    town.at += 20 * MINUTE
    await SupplyWatch(town.loop, lambda: town.at).run_once()
    assert "D6: an outage or clock jump ended" in await town.decide()
    assert "D1: the balance stands on a reading from before the outage" in await town.decide()
