from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from meterplex.db import Database, UnitOfWork
from meterplex.db.errors import (
    ConflictError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from meterplex.domain.estate import (
    Binding,
    BindingId,
    Building,
    BuildingId,
    Channel,
    ChannelId,
    Gateway,
    GatewayId,
    LinkState,
    LostReason,
    Meter,
    MeterId,
    ReadingWindow,
    Site,
    SiteId,
    Unit,
    UnitId,
    UsagePoint,
    UsagePointId,
)
from meterplex.domain.registers import ELECTRICITY
from meterplex.simulator.identifiers import IdentifierSource

if TYPE_CHECKING:
    from tests.conftest import Estate

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
identifiers = IdentifierSource(Random(7))


def new_id() -> UUID:
    return identifiers.new(NOW)


def usage_point(estate: "Estate", code: str, parent: UsagePoint | None = None) -> UsagePoint:
    return UsagePoint(
        UsagePointId(new_id()),
        estate.organisation.id,
        estate.site.id,
        code,
        ELECTRICITY,
        parent_id=None if parent is None else parent.id,
    )


def binding(estate: "Estate", meter: Meter, point: UsagePoint) -> Binding:
    return Binding(BindingId(new_id()), estate.organisation.id, meter.id, point.id, NOW)


async def commit(database: Database, work: Callable[[UnitOfWork], Awaitable[object]]) -> None:
    async with database.unit_of_work() as uow:
        await work(uow)
        await uow.commit()


async def test_every_thing_comes_back_as_it_was_added(database: Database, estate: "Estate") -> None:
    organisation_id = estate.organisation.id
    site = Site(
        SiteId(new_id()),
        organisation_id,
        "west",
        "West Street",
        "Europe/Berlin",
        frozenset(),
        timedelta(minutes=1),
    )
    building = Building(BuildingId(new_id()), organisation_id, site.id, "B1", "Lower floor")
    unit = Unit(
        UnitId(new_id()), organisation_id, site.id, building.id, "B1-012", "1", Decimal("86.50")
    )
    gateway = Gateway(
        GatewayId(new_id()),
        organisation_id,
        site.id,
        "gw-1",
        "dtu",
        "LOGIN:1001",
        "secrets/gw-1",
        LinkState.LOST,
        NOW,
        LostReason.MODEM,
    )
    channel = Channel(
        ChannelId(new_id()),
        organisation_id,
        site.id,
        "bus-3",
        "dtu://LOGIN:1001",
        gateway.id,
        ReadingWindow(time(1, 30), time(5)),
        20,
    )
    meter = Meter(
        MeterId(new_id()),
        organisation_id,
        site.id,
        channel.id,
        "2026",
        "acme_m1",
        "7",
        timedelta(seconds=90),
        {"ct": "40", "名": "值"},
        LinkState.REACHED,
        NOW,
        None,
        frozenset({"alarm_1", "cover_open"}),
        NOW,
    )
    main = replace(usage_point(estate, "main"), site_id=site.id)
    below = replace(usage_point(estate, "B1-012/power", main), site_id=site.id, unit_id=unit.id)
    bound = replace(
        binding(estate, meter, below), until=NOW + timedelta(days=1), ct=Decimal("0.50")
    )
    async with database.unit_of_work() as uow:
        await uow.sites.add(site)
        await uow.buildings.add(building)
        await uow.units.add(unit)
        await uow.gateways.add(gateway)
        await uow.channels.add(channel)
        await uow.meters.add(meter)
        await uow.usage_points.add_all([main, below])
        await uow.bindings.add(bound)
        await uow.commit()
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.organisations.get(organisation_id) == estate.organisation
        assert await uow.sites.get(organisation_id, site.id) == site
        assert await uow.buildings.get(organisation_id, building.id) == building
        assert await uow.units.get(organisation_id, unit.id) == unit
        assert await uow.gateways.get(organisation_id, gateway.id) == gateway
        assert await uow.channels.get(organisation_id, channel.id) == channel
        assert await uow.meters.get(organisation_id, meter.id) == meter
        assert await uow.usage_points.get(organisation_id, below.id) == below
        assert await uow.bindings.get(organisation_id, bound.id) == bound


async def test_lists_are_of_one_organisation_in_order(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    organisation_id = estate.organisation.id
    extra = replace(estate.channel, id=ChannelId(new_id()), code="bus-0")
    await commit(database, lambda uow: uow.channels.add(extra))
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.organisations.all() == (estate.organisation, other_estate.organisation)
        assert await uow.organisations.named("Hillside") == other_estate.organisation
        assert await uow.organisations.named("Nobody") is None
        assert await uow.channels.all(organisation_id) == (extra, estate.channel)
        assert await uow.channels.in_site(organisation_id, estate.site.id) == (
            extra,
            estate.channel,
        )
        assert await uow.meters.on_channel(organisation_id, estate.channel.id) == estate.meters
        assert await uow.meters.on_channel(organisation_id, extra.id) == ()
        assert await uow.meters.in_site(organisation_id, estate.site.id) == estate.meters


async def test_things_are_found_by_their_codes(database: Database, estate: "Estate") -> None:
    organisation_id = estate.organisation.id
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.sites.by_code(organisation_id, "east") == estate.site
        assert await uow.sites.by_code(organisation_id, "EAST") is None
        found = await uow.channels.by_code(organisation_id, estate.site.id, "bus-1")
        assert found == estate.channel
        assert await uow.meters.by_serial(organisation_id, "20260002") == estate.meters[1]
        at = await uow.meters.at_address("tcp://127.0.0.1:502", "3")
        assert at == (estate.meters[2],)
        assert await uow.meters.at_address("tcp://127.0.0.1:503", "3") == ()


async def test_things_of_another_organisation_are_not_found(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    meter = other_estate.meters[0]
    async with database.unit_of_work() as uow:
        with pytest.raises(NotFoundError, match=str(meter.id)):
            await uow.meters.get(estate.organisation.id, meter.id)
        assert await uow.meters.by_ids(estate.organisation.id, [meter.id]) == {}
        with pytest.raises(NotFoundError):
            await uow.meters.replace(replace(meter, organisation_id=estate.organisation.id))


TAKEN: dict[str, tuple[Callable[[UnitOfWork, "Estate"], Awaitable[None]], str]] = {
    "site-code": (
        lambda uow, estate: uow.sites.add(replace(estate.site, id=SiteId(new_id()))),
        "uq_site_organisation_id_code",
    ),
    "channel-code": (
        lambda uow, estate: uow.channels.add(replace(estate.channel, id=ChannelId(new_id()))),
        "uq_channel_organisation_id_site_id_code",
    ),
    "meter-serial": (
        lambda uow, estate: uow.meters.add(
            replace(estate.meters[0], id=MeterId(new_id()), address="9")
        ),
        "uq_meter_organisation_id_serial",
    ),
    "meter-address": (
        lambda uow, estate: uow.meters.add(
            replace(estate.meters[0], id=MeterId(new_id()), serial="9")
        ),
        "uq_meter_installed_address",
    ),
    "same-identifier": (
        lambda uow, estate: uow.sites.add(replace(estate.site, code="other")),
        "pk_site",
    ),
}


@pytest.mark.parametrize("case", TAKEN)
async def test_what_is_taken_is_refused_by_name(
    database: Database, estate: "Estate", case: str
) -> None:
    add, constraint = TAKEN[case]
    async with database.unit_of_work() as uow:
        with pytest.raises(ConflictError) as refused:
            await add(uow, estate)
    assert refused.value.constraint == constraint


async def test_codes_and_serials_may_repeat_in_another_organisation(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    assert estate.site.code == other_estate.site.code
    assert estate.meters[0].serial == other_estate.meters[0].serial


async def test_code_may_repeat_in_another_site(database: Database, estate: "Estate") -> None:
    west = replace(estate.site, id=SiteId(new_id()), code="west")
    await commit(database, lambda uow: uow.sites.add(west))
    bus = replace(estate.channel, id=ChannelId(new_id()), site_id=west.id)
    await commit(database, lambda uow: uow.channels.add(bus))


async def test_removed_meter_frees_its_address_and_is_not_listed(
    database: Database, estate: "Estate"
) -> None:
    old = replace(estate.meters[0], removed_at=NOW)
    new = replace(estate.meters[0], id=MeterId(new_id()), serial="2027")
    async with database.unit_of_work() as uow:
        await uow.meters.replace(old)
        await uow.meters.add(new)
        await uow.commit()
    async with database.unit_of_work(read_only=True) as uow:
        installed = await uow.meters.all(estate.organisation.id)
        assert new in installed
        assert old not in installed
        assert await uow.meters.by_serial(estate.organisation.id, old.serial) == old


CROSSING: dict[str, Callable[[UnitOfWork, "Estate", "Estate"], Awaitable[None]]] = {
    "channel-to-site": lambda uow, estate, other: uow.channels.add(
        replace(estate.channel, id=ChannelId(new_id()), site_id=other.site.id)
    ),
    "meter-to-channel": lambda uow, estate, other: uow.meters.add(
        replace(estate.meters[0], id=MeterId(new_id()), serial="9", channel_id=other.channel.id)
    ),
    "building-to-site": lambda uow, estate, other: uow.buildings.add(
        Building(BuildingId(new_id()), estate.organisation.id, other.site.id, "B", "B")
    ),
    "point-to-site": lambda uow, estate, other: uow.usage_points.add(
        replace(usage_point(estate, "p"), site_id=other.site.id)
    ),
}


@pytest.mark.parametrize("case", CROSSING)
async def test_no_reference_crosses_organisations(
    database: Database, estate: "Estate", other_estate: "Estate", case: str
) -> None:
    async with database.unit_of_work() as uow:
        with pytest.raises(MissingReferenceError):
            await CROSSING[case](uow, estate, other_estate)


async def test_binding_cannot_reach_a_meter_of_another_organisation(
    database: Database, estate: "Estate", other_estate: "Estate"
) -> None:
    point = usage_point(estate, "p")
    async with database.unit_of_work() as uow:
        await uow.usage_points.add(point)
        with pytest.raises(MissingReferenceError):
            await uow.bindings.add(binding(estate, other_estate.meters[0], point))


async def test_meter_and_usage_point_have_one_open_binding_each(
    database: Database, estate: "Estate"
) -> None:
    one, two = usage_point(estate, "p1"), usage_point(estate, "p2")
    bound = binding(estate, estate.meters[0], one)
    async with database.unit_of_work() as uow:
        await uow.usage_points.add_all([one, two])
        await uow.bindings.add(bound)
        await uow.commit()
    for again in (
        binding(estate, estate.meters[0], two),
        binding(estate, estate.meters[1], one),
    ):
        async with database.unit_of_work() as uow:
            with pytest.raises(ConflictError, match="binding"):
                await uow.bindings.add(again)
    later = replace(binding(estate, estate.meters[1], one), since=NOW + timedelta(days=1))
    async with database.unit_of_work() as uow:
        await uow.bindings.end(estate.organisation.id, bound.id, NOW + timedelta(days=1))
        await uow.bindings.add(later)
        await uow.commit()
    async with database.unit_of_work(read_only=True) as uow:
        organisation_id = estate.organisation.id
        ended = replace(bound, until=NOW + timedelta(days=1))
        assert await uow.bindings.of_usage_point(organisation_id, one.id) == (ended, later)
        assert await uow.bindings.of_meter(organisation_id, estate.meters[0].id) == (ended,)
        assert await uow.bindings.open(organisation_id) == (later,)
        assert await uow.bindings.open_of_meter(organisation_id, estate.meters[1].id) == later
        assert await uow.bindings.open_of_meter(organisation_id, estate.meters[0].id) is None


async def test_binding_ends_once(database: Database, estate: "Estate") -> None:
    point = usage_point(estate, "p")
    bound = binding(estate, estate.meters[0], point)
    async with database.unit_of_work() as uow:
        await uow.usage_points.add(point)
        await uow.bindings.add(bound)
        await uow.bindings.end(estate.organisation.id, bound.id, NOW)
        with pytest.raises(NotFoundError):
            await uow.bindings.end(estate.organisation.id, bound.id, NOW + timedelta(days=1))


async def test_binding_cannot_end_before_it_begins(database: Database, estate: "Estate") -> None:
    point = usage_point(estate, "p")
    bound = binding(estate, estate.meters[0], point)
    async with database.unit_of_work() as uow:
        await uow.usage_points.add(point)
        await uow.bindings.add(bound)
        with pytest.raises(InvalidValueError):
            await uow.bindings.end(estate.organisation.id, bound.id, NOW - timedelta(seconds=1))


async def test_sub_points_are_found_below_their_parent(
    database: Database, estate: "Estate"
) -> None:
    main = usage_point(estate, "main")
    subs = (usage_point(estate, "s1", main), usage_point(estate, "s2", main))
    await commit(database, lambda uow: uow.usage_points.add_all([main, *subs]))
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.usage_points.below(estate.organisation.id, main.id) == subs


async def test_usage_point_is_not_its_own_parent(database: Database, estate: "Estate") -> None:
    point = usage_point(estate, "loop")
    async with database.unit_of_work() as uow:
        with pytest.raises(InvalidValueError):
            await uow.usage_points.add(replace(point, parent_id=point.id))


async def test_outage_is_told_once_and_keeps_its_beginning(
    database: Database, estate: "Estate"
) -> None:
    organisation_id, meter = estate.organisation.id, estate.meters[0]
    async with database.unit_of_work() as uow:
        for minute, changed in ((0, True), (1, False)):
            lost = await uow.meters.set_state(
                organisation_id,
                meter.id,
                LinkState.LOST,
                since=NOW + timedelta(minutes=minute),
                reason=LostReason.METER,
            )
            assert lost is changed
        stored = await uow.meters.get(organisation_id, meter.id)
        assert (stored.state, stored.state_since, stored.lost_reason) == (
            LinkState.LOST,
            NOW,
            LostReason.METER,
        )
        assert await uow.meters.in_state(organisation_id, LinkState.LOST) == (stored,)
        restored = await uow.meters.set_state(
            organisation_id, meter.id, LinkState.REACHED, since=NOW
        )
        assert restored
        assert await uow.meters.in_state(organisation_id, LinkState.LOST) == ()


async def test_change_of_the_reason_is_a_change(database: Database, estate: "Estate") -> None:
    async with database.unit_of_work() as uow:
        for reason in (LostReason.LINE, LostReason.GATEWAY):
            assert await uow.channels.set_state(
                estate.organisation.id,
                estate.channel.id,
                LinkState.LOST,
                since=NOW,
                reason=reason,
            )


async def test_flags_are_replaced(database: Database, estate: "Estate") -> None:
    meter = estate.meters[0]
    async with database.unit_of_work() as uow:
        await uow.meters.set_flags(meter.organisation_id, meter.id, frozenset({"alarm_1"}))
        await uow.meters.set_flags(meter.organisation_id, meter.id, frozenset({"arrears"}))
        assert (await uow.meters.get(meter.organisation_id, meter.id)).flags == {"arrears"}


async def test_naive_time_is_refused(database: Database, estate: "Estate") -> None:
    naive = NOW.replace(tzinfo=None)
    async with database.unit_of_work() as uow:
        with pytest.raises(InvalidValueError, match="no zone"):
            await uow.meters.replace(replace(estate.meters[0], state_since=naive))


async def test_part_of_a_second_is_refused(database: Database, estate: "Estate") -> None:
    interval = timedelta(seconds=1, microseconds=1)
    async with database.unit_of_work() as uow:
        with pytest.raises(InvalidValueError, match="whole seconds"):
            await uow.meters.replace(replace(estate.meters[0], reading_interval=interval))


async def test_number_that_is_none_is_refused(database: Database, estate: "Estate") -> None:
    point = usage_point(estate, "p")
    bound = replace(binding(estate, estate.meters[0], point), pt=Decimal("NaN"))
    async with database.unit_of_work() as uow:
        await uow.usage_points.add(point)
        with pytest.raises(InvalidValueError, match="not a number"):
            await uow.bindings.add(bound)


@pytest.mark.parametrize("ratio", ["0.1", "40", "1e-20", "12345678901234567890.123456789", "1.50"])
async def test_decimals_are_exact(database: Database, estate: "Estate", ratio: str) -> None:
    point = usage_point(estate, "p")
    bound = replace(binding(estate, estate.meters[0], point), ct=Decimal(ratio))
    async with database.unit_of_work() as uow:
        await uow.usage_points.add(point)
        await uow.bindings.add(bound)
        stored = await uow.bindings.get(estate.organisation.id, bound.id)
    assert stored.ct == Decimal(ratio)
