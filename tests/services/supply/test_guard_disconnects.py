import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.services.supply_town import HOUR, MINUTE, NOON, YUAN, Town, build_town
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.db.accounts import WalletRow
from meterplex.db.supply import SYSTEM, BypassId, StoredBypass, StoredHold, StoredHoldId
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.approvals import ApprovalError
from meterplex.domain.commands import CommandKind, CommandState
from meterplex.domain.operators import ForbiddenError, OperatorState, Right
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep
from meterplex.domain.prepayment.orders import Direction, OrderId, OrderKind, OrderState
from meterplex.domain.registers import HEAT, WATER
from meterplex.domain.supply_policy import LimiterPolicy
from meterplex.domain.warnings import WarningState
from meterplex.plugin_manager import PluginManager
from meterplex.services.books.errors import MoneyConflictError
from meterplex.services.estate.site_policies import set_parameters
from meterplex.services.operators import approvals
from meterplex.services.orders.crash_points import Moment, SupplyCrashPoint
from meterplex.services.supply.breaker import (
    ask_close,
    close_breaker,
    drop_quarantined,
    release_quarantined,
)

Change = Callable[[Town], Awaitable[None]]


async def owing_town(database: Database, plugins: PluginManager, accounts: int = 1) -> Town:
    """Every account owes, and was warned yesterday: nothing speaks against a disconnect."""
    town = await build_town(database, plugins, accounts)
    for number in range(accounts):
        await town.use(30, number)
        await town.warn(number=number)
    return town


async def pays(town: Town) -> None:
    await town.pay(50)


async def reading_grows_old(town: Town) -> None:
    await town.go_to(town.at + 9 * MINUTE)
    async with town.database.unit_of_work() as uow:
        await uow.sites.replace(replace(town.site, reading_interval=5 * MINUTE))
        await uow.commit()


async def has_order_on_its_way(town: Town) -> None:
    account = town.accounts[0]
    order = CreditOrder(
        id=OrderId(uuid7()),
        organisation_id=town.organisation.id,
        site_id=town.site.id,
        account_id=account.id,
        binding_id=town.bindings[0].id,
        kind=OrderKind.VEND,
        direction=Direction.DELIVER,
        state=OrderState.PAID,
        amount_units=10 * YUAN,
        deliver_units=10 * YUAN,
        currency="CNY",
        idempotency_key="k",
        method="cash",
        channel="desk",
        asked_by="anna",
        created_at=town.at,
    )
    async with town.database.unit_of_work() as uow:
        await uow.orders.place(order, OrderStep(town.at, OrderState.PAID, "", "paid", "anna"))
        await uow.commit()


async def episode_begins_anew(town: Town) -> None:
    """The balance rose and fell again: the old warnings are of another episode."""
    async with town.database.unit_of_work() as uow:
        given = await uow.warnings.of_episode(town.organisation.id, town.accounts[0].id)
        await uow.warnings.end(town.organisation.id, [each.id for each in given], town.at)
        await uow.commit()
    await town.warn(timedelta(hours=23))


async def window_closes(town: Town) -> None:
    changes = {"disconnect_windows": "mon-fri 09:00-11:00"}
    await set_parameters(town.database, town.site, changes, at=town.at, operator="anna")


async def is_held(town: Town) -> None:
    hold = StoredHold(
        StoredHoldId(uuid7()),
        town.organisation.id,
        town.site.id,
        town.accounts[0].id,
        "care",
        "ventilator",
        town.at,
        None,
        "anna",
    )
    async with town.database.unit_of_work() as uow:
        await uow.supply_holds.add(hold)
        await uow.commit()


async def is_bypassed(town: Town) -> None:
    bypass = StoredBypass(
        BypassId(uuid7()),
        town.organisation.id,
        town.meters[0].id,
        "repair",
        town.at,
        town.at + HOUR,
        "anna",
        "bert",
        uuid7(),
    )
    async with town.database.unit_of_work() as uow:
        await uow.bypasses.add(bypass)
        await uow.commit()


async def breaker_opens(town: Town) -> None:
    async with town.database.unit_of_work() as uow:
        system, _ = await uow.breakers.lock(town.organisation.id)
        await uow.breakers.put(replace(system, opened_at=town.at, reason="drill"))
        await uow.commit()


async def outage_ends(town: Town) -> None:
    async with town.database.unit_of_work() as uow:
        system = await uow.breakers.lock_system()
        await uow.breakers.put(replace(system, outage_ended_at=town.at - 14 * MINUTE))
        await uow.commit()


async def clock_jumps(town: Town) -> None:
    town.at += 6 * MINUTE


async def clock_jumps_back(town: Town) -> None:
    town.at -= 6 * MINUTE


async def heats(town: Town) -> None:
    async with town.database.unit_of_work() as uow:
        point = await uow.usage_points.get(town.organisation.id, town.bindings[0].usage_point_id)
        await uow.usage_points.replace(replace(point, utility=HEAT))
        await uow.commit()


async def carries_water_of_a_home(town: Town) -> None:
    changes = {"water_homes": "never_close"}
    await set_parameters(town.database, town.site, changes, at=town.at, operator="anna")
    async with town.database.unit_of_work() as uow:
        point = await uow.usage_points.get(town.organisation.id, town.bindings[0].usage_point_id)
        await uow.usage_points.replace(replace(point, utility=WATER))
        await uow.commit()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        pytest.param(pays, "D1", id="D1 paid"),
        pytest.param(reading_grows_old, "D1", id="D1 reading grew old"),
        pytest.param(has_order_on_its_way, "D2", id="D2 money on its way"),
        pytest.param(episode_begins_anew, "D3", id="D3 warned anew"),
        pytest.param(window_closes, "D4", id="D4 window closed"),
        pytest.param(clock_jumps, "D4", id="D4 clock jumped"),
        pytest.param(clock_jumps_back, "D4", id="D4 clock jumped back"),
        pytest.param(is_held, "D5", id="D5 held"),
        pytest.param(is_bypassed, "D5", id="D5 bypassed"),
        pytest.param(outage_ends, "D6", id="D6 settling"),
        pytest.param(heats, "D8", id="D8 temperature unknown"),
        pytest.param(carries_water_of_a_home, "D8", id="D8 water of a home"),
    ],
)
async def test_what_became_true_after_asking_stops_a_disconnect(
    database: Database, plugins: PluginManager, change: Change, rule: str
) -> None:
    town = await owing_town(database, plugins)
    command = await town.ask()
    await change(town)
    assert not await town.send(command)
    refused = await town.now(command)
    assert refused.state is CommandState.FAILED
    assert refused.outcome.startswith(f"{rule}: ") or f"; {rule}: " in refused.outcome
    async with database.unit_of_work(read_only=True) as uow:
        last = await uow.audit.last(town.organisation.id)
    assert last is not None
    assert last.record.action == "command.refuse"
    assert rule in last.record.detail["rules"]


async def test_disconnect_that_nothing_speaks_against_is_sent(
    database: Database, plugins: PluginManager
) -> None:
    town = await owing_town(database, plugins)
    command = await town.ask()
    assert await town.send(command)
    async with database.unit_of_work(read_only=True) as uow:
        times = await uow.sent_disconnects.times(town.organisation.id, town.meters[0].id, town.at)
    assert times.meter == times.tenant == times.system == (town.at,)


@pytest.mark.parametrize(
    ("rights", "state", "cause", "sent"),
    [
        pytest.param([Right.SUPPLY_COMMAND], OperatorState.ACTIVE, "arrears", True, id="right"),
        pytest.param([Right.REPORT_READ], OperatorState.ACTIVE, "arrears", False, id="no right"),
        pytest.param([Right.SUPPLY_COMMAND], OperatorState.LOCKED, "arrears", False, id="locked"),
        pytest.param([Right.SUPPLY_COMMAND], OperatorState.ACTIVE, "safety", False, id="no force"),
        pytest.param([Right.SUPPLY_FORCE], OperatorState.ACTIVE, "safety", True, id="force"),
    ],
)
async def test_right_of_a_person_is_asked_again_when_it_is_sent(
    database: Database,
    plugins: PluginManager,
    rights: list[Right],
    state: OperatorState,
    cause: str,
    sent: bool,
) -> None:
    town = await owing_town(database, plugins)
    anna = await town.person("anna", *rights)
    command = await town.ask(by="anna", cause=cause)
    async with database.unit_of_work() as uow:
        await uow.operators.set_state(town.organisation.id, anna.id, state)
        await uow.commit()
    assert await town.send(command) is sent
    if not sent:
        assert "D7: " in (await town.now(command)).outcome


async def test_disconnect_that_nobody_wrote_down_is_not_sent(
    database: Database, plugins: PluginManager
) -> None:
    town = await owing_town(database, plugins)
    command = await town.ask(audited=False)
    assert not await town.send(command)
    assert (await town.now(command)).outcome == "D7: the asking is not in the audit log"


async def test_safety_does_not_wait_for_balance_window_or_holds(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    await town.person("anna", Right.SUPPLY_FORCE)
    await is_held(town)
    await window_closes(town)
    assert await town.send(await town.ask(by="anna", cause="safety"))


async def test_meter_without_an_account_asks_limiter_right_and_holds_only(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins, accounts=0)
    assert await town.send(await town.ask(cause="", number=0))
    await breaker_opens(town)
    command = await town.ask(cause="", number=1)
    assert not await town.send(command)
    assert (await town.now(command)).state is CommandState.QUARANTINED


@pytest.mark.parametrize("kind", [CommandKind.RECONNECT, CommandKind.AUTOMATIC])
@pytest.mark.parametrize(
    ("remaining", "sent"),
    [pytest.param(5 * YUAN, True, id="credit"), pytest.param(-1, False, id="used up")],
)
async def test_releasing_a_meter_without_credit_is_a_disconnect(
    database: Database, plugins: PluginManager, kind: CommandKind, remaining: int, sent: bool
) -> None:
    town = await build_town(database, plugins, mode=AccountMode.PREPAID_METER)
    async with database.unit_of_work() as uow:
        await uow.wallets.put(
            WalletRow(town.organisation.id, town.bindings[0].id, 1, 0, remaining, town.at)
        )
        await uow.commit()
    command = await town.ask(kind, cause="")
    assert await town.send(command) is sent
    if not sent:
        assert "D3: the arrears warning was not sent" in (await town.now(command)).outcome
        await town.warn()
        town.at += MINUTE
        assert await town.send(await town.ask(kind, cause=""))


async def test_hold_and_reconnect_pass_without_the_gate(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    await breaker_opens(town)
    for kind in (CommandKind.HOLD, CommandKind.RECONNECT):
        assert await town.send(await town.ask(kind, cause=""))
        town.at += MINUTE


# -- limiter, breaker, quarantine ------------------------------------------------------------------


async def test_limiter_holds_for_many_at_once_and_after_a_restart(
    database: Database, plugins: PluginManager
) -> None:
    town = await owing_town(database, plugins, accounts=9)
    await town.person("boss", Right.SUPPLY_APPROVE)
    commands = [await town.ask(number=number) for number in range(9)]
    sent = await asyncio.gather(*(town.send(each) for each in commands))
    assert sum(sent) == 5
    states = [(await town.now(each)).state for each in commands]
    assert states.count(CommandState.QUARANTINED) == 4
    await town.go_to(town.at + 9 * MINUTE)  # a new CommandRows each time: nothing is remembered
    again = await town.ask(number=states.index(CommandState.SENT))
    assert not await town.send(again)
    async with database.unit_of_work(read_only=True) as uow:
        assert not (await uow.breakers.get(str(town.organisation.id))).breaker.closed
        assert not (await uow.breakers.get(SYSTEM)).breaker.closed
        told = await uow.notices.newest(town.organisation.id)
    assert {(each.kind, each.recipient) for each in told} == {("breaker", "boss")}


async def test_clock_set_back_frees_no_token(database: Database, plugins: PluginManager) -> None:
    town = await owing_town(database, plugins, accounts=6)
    await town.person("anna", Right.SUPPLY_FORCE)
    for number in range(5):
        assert await town.send(await town.ask(number=number, by="anna", cause="safety"))
    town.at -= timedelta(days=2)
    command = await town.ask(number=5, by="anna", cause="safety")
    assert not await town.send(command)
    assert "a second person must approve" in (await town.now(command)).outcome


async def test_what_is_sent_twice_takes_two_tokens(
    database: Database, plugins: PluginManager
) -> None:
    town = await owing_town(database, plugins)
    town.limiter = LimiterPolicy(meter_day_max=2)
    command = await town.ask()
    for _ in range(2):
        assert await town.send(command)
        unknown = replace(command, state=CommandState.SENT)
        assert await town.rows.move(unknown, CommandState.UNKNOWN, "no answer")
        unknown = replace(command, state=CommandState.UNKNOWN)
        assert await town.rows.move(unknown, CommandState.QUEUED, "not taken")
    assert not await town.send(command)
    async with database.unit_of_work(read_only=True) as uow:  # one meter's flapping opens nothing
        assert (await uow.breakers.get(SYSTEM)).breaker.closed


async def test_quarantined_is_not_asked_for_again_by_a_rule(
    database: Database, plugins: PluginManager
) -> None:
    town = await owing_town(database, plugins)
    await breaker_opens(town)
    await town.decide()
    (command,) = await town.commands()
    assert not await town.send(command)
    await town.go_to(town.at + 3 * MINUTE)
    assert "in quarantine" in await town.decide()
    assert len(await town.commands()) == 1


async def test_released_from_quarantine_passes_the_gate_as_a_persons(
    database: Database, plugins: PluginManager
) -> None:
    town = await owing_town(database, plugins)
    anna = await town.person("anna", Right.SUPPLY_COMMAND)
    town.limiter = LimiterPolicy(meter_day_max=0)
    command = await town.ask()
    assert not await town.send(command)
    town.limiter = LimiterPolicy()
    released = await release_quarantined(database, anna, command.id, at=town.at + MINUTE)
    town.at += MINUTE
    assert (released.asked_by, released.cause) == ("anna", "arrears")
    assert await town.send(released)
    with pytest.raises(MoneyConflictError, match="command: it is failed, expected quarantined"):
        await release_quarantined(database, anna, command.id, at=town.at)


async def test_dropped_from_quarantine_is_held_for_a_day(
    database: Database, plugins: PluginManager
) -> None:
    town = await owing_town(database, plugins)
    anna = await town.person("anna", Right.SUPPLY_COMMAND)
    cashier = await town.person("cashier", Right.MONEY_VEND)
    town.limiter = LimiterPolicy(meter_day_max=0)
    command = await town.ask()
    await town.send(command)
    with pytest.raises(ForbiddenError):
        await drop_quarantined(database, cashier, command.id, at=town.at)
    await drop_quarantined(database, anna, command.id, at=town.at)
    assert "operator hold until" in await town.decide()


async def test_breaker_is_closed_by_two_people_for_what_they_saw(
    database: Database, plugins: PluginManager
) -> None:
    town = await owing_town(database, plugins)
    anna, bert = await town.person("anna"), await town.person("bert")
    await breaker_opens(town)
    asked = await ask_close(database, anna, SYSTEM, reason="checked", at=town.at)
    with pytest.raises(ForbiddenError):
        await approvals.decide(database, anna, asked.id, approve=True, at=town.at)
    with pytest.raises(ApprovalError):
        await close_breaker(database, anna, SYSTEM, asked.id, at=town.at)
    await approvals.decide(database, bert, asked.id, approve=True, at=town.at)
    closed = await close_breaker(database, anna, SYSTEM, asked.id, at=town.at)
    assert closed.breaker.closed
    town.at += MINUTE
    await breaker_opens(town)  # another opening needs another approval
    with pytest.raises(ApprovalError):
        await close_breaker(database, anna, SYSTEM, asked.id, at=town.at)


async def test_dry_run_closes_nothing(database: Database, plugins: PluginManager) -> None:
    town = await owing_town(database, plugins)
    anna, bert = await town.person("anna"), await town.person("bert")
    await breaker_opens(town)
    asked = await ask_close(database, anna, SYSTEM, reason="checked", at=town.at)
    await approvals.decide(database, bert, asked.id, approve=True, at=town.at)
    await close_breaker(database, anna, SYSTEM, asked.id, at=town.at, dry_run=True)
    async with database.unit_of_work(read_only=True) as uow:
        assert not (await uow.breakers.get(SYSTEM)).breaker.closed


async def test_disconnect_told_on_paper_counts_from_then(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    await town.use(30)
    await town.warn(state=WarningState.FAILED)
    command = await town.ask()
    assert not await town.send(command)
    assert "tell the customer on paper" in (await town.now(command)).outcome
    assert town.at == NOON


# -- kills -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize(
    ("point", "before", "after"),
    [
        (SupplyCrashPoint.RELAY_COMMAND, CommandState.QUEUED, CommandState.SENT),
        (SupplyCrashPoint.RELAY_READ_BACK, CommandState.SENT, CommandState.CONFIRMED),
    ],
    ids=["command", "read_back"],
)
async def test_kill_leaves_what_is_committed_and_a_start_reads_what_was_sent(
    database: Database,
    plugins: PluginManager,
    point: SupplyCrashPoint,
    before: CommandState,
    after: CommandState,
    moment: Moment,
) -> None:
    class Crash(BaseException):
        """As a kill: nothing after it runs."""

    def kill(at: SupplyCrashPoint, when: Moment) -> None:
        if (at, when) == (point, moment):
            raise Crash

    town = await owing_town(database, plugins)
    command = await town.ask()
    rows = replace(town.rows, crash=kill)
    sent = replace(command, state=CommandState.SENT)
    if point is SupplyCrashPoint.RELAY_READ_BACK:
        assert await rows.move(command, CommandState.SENT, "")
        dying = rows.move(sent, CommandState.CONFIRMED, "read back")
    else:
        dying = rows.move(command, CommandState.SENT, "")
    with pytest.raises(Crash):
        await dying
    left = (await town.now(command)).state
    assert left is (before if moment is Moment.BEFORE else after)
    assert await town.rows.recover() == (left is CommandState.SENT)
    assert ((await town.now(command)).state is CommandState.UNKNOWN) == (left is CommandState.SENT)


async def test_rules_are_silent_on_a_bypassed_meter_and_people_are_not(
    database: Database, plugins: PluginManager
) -> None:
    town = await owing_town(database, plugins)
    by_rule = await town.ask(CommandKind.RECONNECT, cause="")
    await is_bypassed(town)
    assert not await town.send(by_rule)
    assert (await town.now(by_rule)).outcome == "the meter is bypassed: no automatic commands"
    town.at += MINUTE
    await town.person("carla")
    assert await town.send(await town.ask(CommandKind.RECONNECT, by="carla", cause=""))
