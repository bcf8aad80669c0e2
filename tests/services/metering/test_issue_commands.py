from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.db.errors import NotFoundError
from meterplex.domain.commands import CommandKind, CommandState
from meterplex.domain.estate import OrganisationId, SiteId
from meterplex.domain.operators import ForbiddenError, Grant, Operator, OperatorId, Right
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import SettingsError
from meterplex.services.estate.files import EstateFile
from meterplex.services.estate.import_estate import import_estate
from meterplex.services.metering.issue_commands import (
    NEEDED,
    CommandBatch,
    NobodyCanError,
    find_meters,
    find_site_meters,
    issue_commands,
    needs_second_person,
)

Issuer = Callable[..., Awaitable[CommandBatch]]

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)

ESTATE = """
[organisation]
name = "H"
currency = "CNY"
language = "en"
[[site]]
code = "east"
name = "East"
time_zone = "UTC"
utilities = ["electricity", "water"]
[[channel]]
site = "east"
code = "b"
url = "tcp://10.0.0.5:502"
""" + "".join(
    f"""
[[meter]]
site = "east"
serial = "{serial}"
model = "{model}"
channel = "b"
address = "{address}"
"""
    for serial, model, address in (("m1", "power_meter", 1), ("m2", "water_meter", 2))
)


@pytest.fixture
async def owner(
    database: Database, plugins: PluginManager, estate_file: Callable[[str], EstateFile]
) -> OrganisationId:
    """The organisation of two meters: one that can be commanded, one that cannot."""
    await import_estate(database, plugins, estate_file(ESTATE), operator="t", at=AT)
    async with database.unit_of_work(read_only=True) as uow:
        (organisation,) = await uow.organisations.all()
    return organisation.id


@pytest.fixture
def issue(database: Database, plugins: PluginManager, owner: OrganisationId) -> Issuer:
    async def ask(
        *serials: str,
        kind: CommandKind = CommandKind.DISCONNECT,
        arguments: Mapping[str, str] | None = None,
        not_after: datetime | None = None,
    ) -> CommandBatch:
        async with database.unit_of_work(read_only=True) as uow:
            meters = await find_meters(uow, owner, serials)
        return await issue_commands(
            database,
            plugins,
            owner,
            meters,
            kind,
            arguments or {},
            asked_by="anna",
            at=AT,
            not_after=not_after,
        )

    return ask


async def test_each_meter_gets_a_row_and_an_audit_entry(
    database: Database, owner: OrganisationId, issue: Issuer
) -> None:
    batch = await issue("m1", "m2")
    async with database.unit_of_work(read_only=True) as uow:
        stored = await uow.commands.of_batch(owner, batch.id)
        entries = await uow.audit.entries(owner)
    assert stored == batch.commands
    assert [command.state for command in stored] == [CommandState.QUEUED, CommandState.FAILED]
    assert stored[1].outcome == "water_meter has no capability supply"
    assert stored[0].not_after == AT + timedelta(minutes=10)
    assert [entry.record.action for entry in entries[1:]] == ["command.disconnect"] * 2
    assert {entry.record.operator for entry in entries[1:]} == {"anna"}
    assert entries[1].record.detail["command"] == str(stored[0].id)


async def test_nothing_is_written_when_no_meter_can(
    database: Database, owner: OrganisationId, issue: Issuer
) -> None:
    with pytest.raises(NobodyCanError, match="disconnect: water_meter has no capability supply"):
        await issue("m2")
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.commands.in_states(list(CommandState)) == ()
        assert len(await uow.audit.entries(owner)) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"not_after": AT}, "within 10 min"),
        ({"not_after": AT + timedelta(minutes=11)}, "within 10 min"),
        ({"kind": CommandKind.WRITE_LIMITS, "arguments": {"alarm": "1"}}, "unknown alarm"),
        ({"arguments": {"alarm_1": "1"}}, "takes no alarm_1"),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    issue: Issuer, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        await issue("m1", **changes)


async def test_empty_batch_is_refused(issue: Issuer) -> None:
    with pytest.raises(SettingsError, match="no meter was named"):
        await issue()


def test_every_kind_of_command_says_what_it_needs() -> None:
    assert set(NEEDED) == set(CommandKind)


async def test_meters_are_found_by_serial_each_once(
    database: Database, owner: OrganisationId
) -> None:
    async with database.unit_of_work(read_only=True) as uow:
        meters = await find_meters(uow, owner, ["m2", "m1", "m2"])
        assert [meter.serial for meter in meters] == ["m2", "m1"]
        with pytest.raises(NotFoundError, match="no meter m8, m9"):
            await find_meters(uow, owner, ["m8", "m1", "m9"])


async def test_meters_of_a_site_are_found(database: Database, owner: OrganisationId) -> None:
    async with database.unit_of_work(read_only=True) as uow:
        assert len(await find_site_meters(uow, owner, "east")) == 2
        with pytest.raises(NotFoundError, match="no site west"):
            await find_site_meters(uow, owner, "west")


def person(owner: OrganisationId, *grants: Grant) -> Operator:
    return Operator(OperatorId(uuid7()), owner, "bert", "en", AT, grants=frozenset(grants))


@pytest.mark.parametrize(
    ("kind", "right"),
    [
        (CommandKind.DISCONNECT, Right.SUPPLY_COMMAND),
        (CommandKind.RECONNECT, Right.SUPPLY_COMMAND),
        (CommandKind.READ, Right.REPORT_READ),
    ],
)
async def test_person_needs_the_right_at_the_site_of_every_meter(
    database: Database,
    plugins: PluginManager,
    owner: OrganisationId,
    kind: CommandKind,
    right: Right,
) -> None:
    async with database.unit_of_work(read_only=True) as uow:
        meters = await find_meters(uow, owner, ["m1"])
    here = meters[0].site_id
    elsewhere = SiteId(uuid7())
    batch = await issue_commands(
        database,
        plugins,
        owner,
        meters,
        kind,
        {},
        asked_by=person(owner, Grant(right, here)),
        at=AT,
    )
    assert batch.commands[0].asked_by == "bert"
    for grants in (
        [Grant(right, elsewhere)],
        [Grant(each) for each in Right if each is not right],
    ):
        with pytest.raises(ForbiddenError, match=f"bert has no right {right}"):
            await issue_commands(
                database,
                plugins,
                owner,
                meters,
                kind,
                {},
                asked_by=person(owner, *grants),
                at=AT,
            )
    async with database.unit_of_work(read_only=True) as uow:
        assert len(await uow.commands.of_meter(owner, meters[0].id)) == 1


@pytest.mark.parametrize(
    ("kind", "count", "needed"),
    [
        (CommandKind.DISCONNECT, 10, False),
        (CommandKind.DISCONNECT, 11, True),
        (CommandKind.RECONNECT, 1000, False),
        (CommandKind.HOLD, 1000, False),
    ],
)
async def test_more_than_ten_disconnects_need_a_second_person(
    database: Database, owner: OrganisationId, kind: CommandKind, count: int, needed: bool
) -> None:
    async with database.unit_of_work(read_only=True) as uow:
        (meter,) = await find_meters(uow, owner, ["m1"])
    assert needs_second_person(kind, [meter] * count) is needed


async def test_rule_needs_no_second_person(
    database: Database, plugins: PluginManager, owner: OrganisationId
) -> None:
    async with database.unit_of_work(read_only=True) as uow:
        (meter,) = await find_meters(uow, owner, ["m1"])
    batch = await issue_commands(
        database, plugins, owner, [meter] * 11, CommandKind.DISCONNECT, {}, asked_by="gate", at=AT
    )
    assert len(batch.commands) == 11


async def test_dry_run_writes_nothing(
    database: Database, plugins: PluginManager, owner: OrganisationId
) -> None:
    async with database.unit_of_work(read_only=True) as uow:
        meters = await find_meters(uow, owner, ["m1"])
    await issue_commands(
        database,
        plugins,
        owner,
        meters,
        CommandKind.DISCONNECT,
        {},
        asked_by="gate",
        at=AT,
        dry_run=True,
    )
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.commands.of_meter(owner, meters[0].id) == ()
