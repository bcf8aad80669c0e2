from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from meterplex.db import Database
from meterplex.domain.estate import ChannelId, Gateway, GatewayId, LinkState, LostReason
from meterplex.domain.readings import EventKind
from meterplex.services.metering.device_states import StateChange, note_states

if TYPE_CHECKING:
    from tests.conftest import Estate

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LOST, REACHED = LinkState.LOST, LinkState.REACHED


async def note(database: Database, *changes: StateChange) -> None:
    async with database.unit_of_work() as uow:
        await note_states(uow, changes, uuid4)
        await uow.commit()


async def told(database: Database, estate: "Estate") -> list[tuple[EventKind, str, UUID]]:
    """Return the events, oldest first."""
    async with database.unit_of_work(read_only=True) as uow:
        events = await uow.events.newest(estate.organisation.id)
    return [(event.kind, event.code, event.subject_id) for event in reversed(events)]


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


async def test_lost_and_restored_are_told_once_each(database: Database, estate: "Estate") -> None:
    meter = estate.meters[0]
    states = [REACHED, LOST, LOST, REACHED, REACHED]
    for minute, state in enumerate(states):
        reason = LostReason.METER if state is LOST else None
        await note(database, StateChange.of(meter, state, reason, at(minute), "nothing came"))
    assert await told(database, estate) == [
        (EventKind.LOST, "meter", meter.id),
        (EventKind.RESTORED, "", meter.id),
    ]
    async with database.unit_of_work(read_only=True) as uow:
        now = await uow.meters.get(estate.organisation.id, meter.id)
    assert (now.state, now.state_since, now.lost_reason) == (REACHED, at(3), None)


async def test_another_reason_of_the_same_loss_is_no_new_event(
    database: Database, estate: "Estate"
) -> None:
    meter = estate.meters[0]
    await note(database, StateChange.of(meter, LOST, LostReason.METER, at(0)))
    await note(database, StateChange.of(meter, LOST, LostReason.LINE, at(1)))
    assert len(await told(database, estate)) == 1
    async with database.unit_of_work(read_only=True) as uow:
        lost = await uow.meters.in_state(estate.organisation.id, LOST)
    assert [meter.lost_reason for meter in lost] == [LostReason.LINE]


@pytest.fixture
async def gateway(database: Database, estate: "Estate") -> Gateway:
    """A gateway in front of the estate's channel and of a second one."""
    site = estate.site
    gateway = Gateway(GatewayId(uuid4()), site.organisation_id, site.id, "gw-1", "tcp", "")
    second = replace(estate.channel, id=ChannelId(uuid4()), code="bus-2", url="tcp://127.0.0.1:503")
    async with database.unit_of_work() as uow:
        await uow.gateways.add(gateway)
        await uow.channels.replace(replace(estate.channel, gateway_id=gateway.id))
        await uow.channels.add(replace(second, gateway_id=gateway.id))
        await uow.commit()
    return gateway


async def test_a_gateway_is_lost_with_its_last_channel_and_back_with_its_first(
    database: Database, estate: "Estate", gateway: Gateway
) -> None:
    async with database.unit_of_work(read_only=True) as uow:
        channels = await uow.channels.all(estate.organisation.id)
    states: list[LinkState] = []
    for minute, (channel, state) in enumerate(
        [(0, REACHED), (1, REACHED), (0, LOST), (1, LOST), (1, REACHED), (0, REACHED)]
    ):
        reason = LostReason.GATEWAY if state is LOST else None
        await note(database, StateChange.of(channels[channel], state, reason, at(minute)))
        async with database.unit_of_work(read_only=True) as uow:
            states.append((await uow.gateways.get(estate.organisation.id, gateway.id)).state)
    assert states == [REACHED, REACHED, REACHED, LOST, REACHED, REACHED]
    of_gateway = [
        kind for kind, _, subject in await told(database, estate) if subject == gateway.id
    ]
    assert of_gateway == [EventKind.LOST, EventKind.RESTORED]
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.gateways.in_state(estate.organisation.id, LOST) == ()
