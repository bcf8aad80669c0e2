import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from meterplex.db import Database
from meterplex.db.errors import IllegalMoveError, MissingReferenceError, NotFoundError
from meterplex.domain.commands import MOVES, Command, CommandId, CommandKind, CommandState
from meterplex.domain.estate import OrganisationId
from meterplex.simulator.identifiers import IdentifierSource

if TYPE_CHECKING:
    from tests.conftest import Estate

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
QUEUED, SENT, UNKNOWN = CommandState.QUEUED, CommandState.SENT, CommandState.UNKNOWN
identifiers = IdentifierSource(Random(11))


def command(estate: "Estate", created_at: datetime = NOW, batch_id: UUID | None = None) -> Command:
    return Command(
        CommandId(identifiers.new(created_at)),
        estate.organisation.id,
        estate.meters[0].id,
        CommandKind.WRITE_LIMITS,
        "operator:chen",
        created_at,
        created_at + 10 * MINUTE,
        {"alarm_1": "50.00"},
        batch_id,
    )


async def ask(database: Database, *commands: Command) -> None:
    async with database.unit_of_work() as uow:
        await uow.commands.add_all(commands)
        await uow.commit()


async def move(
    database: Database,
    asked: Command,
    from_state: CommandState,
    to_state: CommandState,
    at: datetime = NOW,
    outcome: str = "",
) -> Command | None:
    async with database.unit_of_work() as uow:
        moved = await uow.commands.move(
            asked.organisation_id, asked.id, {from_state}, to_state, at=at, outcome=outcome
        )
        await uow.commit()
    return moved


async def test_command_comes_back_as_it_was_asked(database: Database, estate: "Estate") -> None:
    asked = command(estate, batch_id=estate.site.id)
    await ask(database, asked)
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.commands.get(estate.organisation.id, asked.id) == asked


async def test_command_needs_a_meter_of_its_organisation(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    with pytest.raises(MissingReferenceError):
        await ask(database, replace(command(estate), meter_id=other_estate.meters[0].id))


async def test_commands_are_found_by_state_meter_and_batch_oldest_first(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    batch_id = estate.site.id
    late, early = command(estate, NOW + MINUTE), command(estate, NOW, batch_id)
    foreign = command(other_estate, NOW + 2 * MINUTE)
    await ask(database, late, early, foreign)
    sent = await move(database, early, QUEUED, SENT)
    organisation_id = estate.organisation.id
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.commands.in_states({QUEUED, UNKNOWN}) == (late, foreign)
        assert await uow.commands.in_states({QUEUED}, organisation_id) == (late,)
        assert await uow.commands.in_states({QUEUED, SENT}, organisation_id) == (sent, late)
        assert await uow.commands.of_meter(organisation_id, early.meter_id) == (sent, late)
        assert await uow.commands.of_batch(organisation_id, batch_id) == (sent,)


async def test_life_of_a_confirmed_command(database: Database, estate: "Estate") -> None:
    asked = command(estate)
    await ask(database, asked)
    sent = await move(database, asked, QUEUED, SENT, NOW + MINUTE)
    assert sent == replace(asked, state=SENT, attempts=1, sent_at=NOW + MINUTE)
    done = await move(
        database, asked, SENT, CommandState.CONFIRMED, NOW + 2 * MINUTE, "limits read back"
    )
    assert done == replace(
        sent,
        state=CommandState.CONFIRMED,
        settled_at=NOW + 2 * MINUTE,
        outcome="limits read back",
    )


async def test_attempts_count_what_may_have_left(database: Database, estate: "Estate") -> None:
    asked = command(estate)
    await ask(database, asked)
    path = [(QUEUED, SENT, 1), (SENT, QUEUED, 0), (QUEUED, SENT, 1), (SENT, UNKNOWN, 1)]
    path += [(UNKNOWN, QUEUED, 1), (QUEUED, SENT, 2)]
    for from_state, to_state, attempts in path:
        moved = await move(database, asked, from_state, to_state)
        assert moved is not None
        assert moved.attempts == attempts


@pytest.mark.parametrize(
    ("at", "is_sent"),
    [(NOW + 10 * MINUTE - timedelta(microseconds=1), True), (NOW + 10 * MINUTE, False)],
    ids=["just-before", "at-not-after"],
)
async def test_command_is_not_sent_after_its_time(
    database: Database, estate: "Estate", at: datetime, is_sent: bool
) -> None:
    asked = command(estate)
    await ask(database, asked)
    assert (await move(database, asked, QUEUED, SENT, at) is not None) == is_sent
    expired = await move(database, asked, QUEUED, CommandState.EXPIRED, at)
    assert (expired is None) == is_sent


ILLEGAL = [
    (from_state, to_state)
    for from_state in CommandState
    for to_state in CommandState
    if to_state not in MOVES[from_state]
]


@pytest.mark.parametrize(("from_state", "to_state"), ILLEGAL, ids=lambda state: state.value)
async def test_illegal_move_is_refused(
    sqlite_database_url: str, from_state: CommandState, to_state: CommandState
) -> None:
    async with (
        await Database.open(sqlite_database_url) as database,
        database.unit_of_work() as uow,
    ):
        with pytest.raises(IllegalMoveError, match=f"from {from_state} to {to_state}"):
            await uow.commands.move(
                OrganisationId(UUID(int=1)),
                CommandId(UUID(int=2)),
                {from_state},
                to_state,
                at=NOW,
            )


async def test_of_two_claimers_one_wins(database: Database, estate: "Estate") -> None:
    asked = [command(estate) for _ in range(10)]
    await ask(database, *asked)
    for each in asked:
        claims = await asyncio.gather(*(move(database, each, QUEUED, SENT) for _ in range(4)))
        assert sum(claim is not None for claim in claims) == 1
        async with database.unit_of_work(read_only=True) as uow:
            assert (await uow.commands.get(estate.organisation.id, each.id)).attempts == 1


async def test_command_of_another_organisation_is_neither_found_nor_moved(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    asked = command(estate)
    await ask(database, asked)
    stranger = replace(asked, organisation_id=other_estate.organisation.id)
    assert await move(database, stranger, QUEUED, SENT) is None
    async with database.unit_of_work(read_only=True) as uow:
        with pytest.raises(NotFoundError):
            await uow.commands.get(other_estate.organisation.id, asked.id)
        assert (await uow.commands.get(estate.organisation.id, asked.id)).state is QUEUED


async def test_newer_supply_command_overrules_an_older_one(
    database: Database, estate: "Estate"
) -> None:
    disconnect = replace(command(estate), kind=CommandKind.DISCONNECT)
    clock = replace(command(estate, NOW + MINUTE), kind=CommandKind.SYNC_CLOCK)
    elsewhere = replace(
        command(estate, NOW + MINUTE), kind=CommandKind.RECONNECT, meter_id=estate.meters[1].id
    )
    await ask(database, disconnect, clock, elsewhere)
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.commands.overruled() == frozenset()
    reconnect = replace(command(estate, NOW + 2 * MINUTE), kind=CommandKind.RECONNECT)
    await ask(database, reconnect)
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.commands.overruled() == {disconnect.id}
    assert await move(database, disconnect, QUEUED, SENT) is None
    for sendable in (reconnect, clock, elsewhere):
        assert await move(database, sendable, QUEUED, SENT) is not None


async def test_expired_command_that_had_not_left_takes_its_attempt_back(
    database: Database, estate: "Estate"
) -> None:
    asked = command(estate)
    await ask(database, asked)
    await move(database, asked, QUEUED, SENT)
    expired = await move(database, asked, SENT, CommandState.EXPIRED, NOW + MINUTE)
    assert expired is not None
    assert (expired.attempts, expired.settled_at) == (0, NOW + MINUTE)
