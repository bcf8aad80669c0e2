"""The parts of the demo by themselves, without a head-end."""

import tomllib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from meterplex.cli import main
from meterplex.cli.demo import STARTS_AT
from meterplex.cli.demo.estate import (
    HOME,
    SHOP,
    TENANT_METER,
    TIME_ZONE,
    DemoEstate,
    estate_text,
)
from meterplex.cli.demo.home import FragileLine
from meterplex.cli.demo.tariffs import home_tariff, shop_tariff
from meterplex.cli.demo.telling import NotAsToldError, Telling
from meterplex.domain.friendly_hours import Holidays, next_allowed
from meterplex.domain.intervals import parse_interval
from meterplex.domain.supply_policy import DEFAULT_POLICY
from meterplex.plugin_manager import PluginManager
from meterplex.services.tariffs.check_meter_tariff import check_meter_tariff
from meterplex.simulator.estate import BusinessClock, SimulatedEstate

PURCHASE = bytes.fromhex("01 20 01 00 00 04 08 00 00 13 88 00 02 00 00")
READ = bytes.fromhex("01 03 00 00 00 01")


class Echo:
    """A device that says what it heard."""

    turn_round_s = 0.02

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.lived: list[datetime] = []

    def receive(self, burst: bytes) -> bytes:
        self.heard.append(burst)
        return burst

    def advance(self, now: datetime) -> None:
        self.lived.append(now)


def seen(text: str) -> Callable[[], Awaitable[str]]:
    async def happen() -> str:
        return text

    return happen


def wrong(text: str) -> Callable[[], Awaitable[str]]:
    async def happen() -> str:
        raise NotAsToldError(text)

    return happen


# -- the line that is cut ----------------------------------------------------------------------


def test_line_is_whole_until_it_is_armed() -> None:
    line = FragileLine(Echo(), 0.02)
    assert [line.receive(burst) for burst in (PURCHASE, READ)] == [PURCHASE, READ]
    assert not line.cut


def test_armed_line_is_cut_behind_the_purchase_and_not_before() -> None:
    device = Echo()
    line = FragileLine(device, 0.02, armed=True)
    assert line.receive(READ) == READ
    assert line.receive(PURCHASE) == b""
    assert line.receive(READ) == b""
    assert device.heard == [READ, PURCHASE]


def test_mended_line_is_not_cut_again() -> None:
    line = FragileLine(Echo(), 0.02, armed=True)
    line.receive(PURCHASE)
    line.cut = False
    assert line.receive(PURCHASE) == PURCHASE


def test_device_behind_a_cut_line_lives_on() -> None:
    device = Echo()
    FragileLine(device, 0.02, cut=True).advance(STARTS_AT)
    assert device.lived == [STARTS_AT]


# -- estate, tariffs and times -----------------------------------------------------------------


@pytest.fixture(scope="module")
def plugins() -> PluginManager:
    return PluginManager.load()


@pytest.mark.integration
@pytest.mark.parametrize("speed", [0.1, 1, 60, 120])
async def test_intervals_are_real_time_in_business_time(
    plugins: PluginManager, speed: float
) -> None:
    simulated = SimulatedEstate(plugins, BusinessClock(STARTS_AT, speed))
    try:
        estate = await DemoEstate.open(simulated)
        document = tomllib.loads(estate_text(estate))
    finally:
        await simulated.close()

    meters = {meter["serial"]: meter for meter in document["meter"]}
    tenants = [estate.bus(code).serial(TENANT_METER) for code in (SHOP, HOME)]
    assert len(meters) == estate.meters == 326
    for text, real_s in [
        *((site["reading_interval"], 10) for site in document["site"]),
        *((meters[serial]["reading_interval"], 3) for serial in tenants),
    ]:
        assert parse_interval(text) == timedelta(seconds=max(1, round(real_s * speed)))
    assert meters[tenants[1]]["settings"] == {"count_checked": "true"}


def test_home_tariff_can_be_held_by_its_meter() -> None:
    check_meter_tariff(home_tariff())


def test_shop_tariff_prices_by_the_time_of_day() -> None:
    assert len({price for row in shop_tariff().prices for price in row}) == 6


def test_demo_begins_shortly_before_the_disconnect_window() -> None:
    local = STARTS_AT.astimezone(ZoneInfo(TIME_ZONE))
    opens = next_allowed(DEFAULT_POLICY, local, Holidays())
    assert opens is not None
    assert opens - STARTS_AT == timedelta(minutes=28)
    assert STARTS_AT.tzinfo is UTC


# -- steps -------------------------------------------------------------------------------------


async def test_story_is_complete_only_when_every_step_was_seen() -> None:
    telling = Telling()
    complete = [telling.complete]
    for happen in (seen("so"), wrong("otherwise")):
        await telling.tell((("a step", happen),))
        complete.append(telling.complete)
    assert complete == [False, True, False]


async def test_what_goes_otherwise_ends_its_chapter_and_is_told() -> None:
    telling = Telling()
    await telling.tell((("first", wrong("it rained")), ("second", seen("never"))))
    assert [(step["seen"], step["fault"]) for step in telling.summary()["steps"]] == [
        ("", "it rained"),
        ("", ""),
    ]
    assert telling.lines() == [
        "[ ] first: not seen: it rained",
        "[ ] second: not seen",
        "0 of 2 steps seen",
    ]


# -- the command -------------------------------------------------------------------------------


def test_demo_leaves_the_database_of_an_earlier_one_alone(tmp_path: Path) -> None:
    earlier = tmp_path / "demo.sqlite"
    earlier.write_bytes(b"of an earlier demo")
    done = CliRunner().invoke(main, ["demo", "--seconds", "1", "--folder", str(tmp_path)])
    assert done.exit_code == 1
    assert "earlier demo" in done.stderr
    assert earlier.read_bytes() == b"of an earlier demo"


def test_speed_is_bounded() -> None:
    done = CliRunner().invoke(main, ["demo", "--seconds", "1", "--speed", "121"])
    assert done.exit_code == 2
