import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from meterplex import hookimpl
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import (
    HEAT,
    STANDARD_REGISTERS,
    BusTolerance,
    ExchangeSize,
    Link,
    MeterDriver,
    MeterModel,
    PluginError,
    Setting,
    SettingsError,
)
from meterplex.simulator.estate import (
    AccessKind,
    BusinessClock,
    BusPlan,
    SimulatedEstate,
    TwinPlan,
)
from meterplex.simulator.virtual_time import run_in_virtual_time
from meterplex.simulator.wire import Pace

START = datetime(2026, 11, 20, 8, tzinfo=UTC)


class Candle:
    """A twin that keeps when it lived."""

    turn_round_s = 0.0

    def __init__(self, address: str, settings: Mapping[str, str], seed: int) -> None:
        self.settings = dict(settings)
        self.seed = seed
        self.lived: list[datetime] = []
        self._address = int(address)

    def receive(self, burst: bytes) -> bytes:
        return b"lit" if burst == bytes((self._address,)) else b""

    def advance(self, now: datetime) -> None:
        self.lived.append(now)


def _no_driver(link: Link, address: str, settings: Mapping[str, str]) -> MeterDriver:
    raise AssertionError("the simulator drives nothing")


def _check_address(address: str) -> str:
    if not address.isdigit():
        raise SettingsError(f"address {address!r}: expected a number")
    return str(int(address))


class Candles:
    """A plugin with a model that has a twin and one that has none."""

    @staticmethod
    @hookimpl
    def meterplex_meter_models() -> Sequence[MeterModel]:
        return tuple(
            MeterModel(
                id=name,
                title="Candle",
                utility=HEAT,
                registers=(STANDARD_REGISTERS["heat_energy"],),
                bus=BusTolerance("smoke"),
                poll=(ExchangeSize(1, 3),),
                check_address=_check_address,
                driver=_no_driver,
                twin=twin,
                twin_settings=(Setting("wick", "its length", "short"),),
            )
            for name, twin in (("candle", Candle), ("torch", None))
        )


@pytest.fixture
def plugins() -> PluginManager:
    return PluginManager.load(builtin=[Candles], entry_points=[])


class Watch:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def candles(estate: SimulatedEstate, bus: str) -> dict[str, Candle]:
    return {
        address: twin
        for address, twin in estate.buses[bus].bus.twins.items()
        if isinstance(twin, Candle)
    }


def plan(*addresses: str, name: str = "b", dead: frozenset[str] = frozenset()) -> BusPlan:
    twins = [TwinPlan("candle", address, {"wick": "long"}) for address in addresses]
    return BusPlan(name, twins, dead=dead)


async def ask(url: str, burst: bytes, size: int) -> bytes:
    host, port = url.removeprefix("tcp://").partition("?")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(burst)
        async with asyncio.timeout(5):
            return await reader.readexactly(size)
    finally:
        writer.close()
        await writer.wait_closed()


def test_business_clock_runs_at_its_speed() -> None:
    watch = Watch()
    clock = BusinessClock.starting(START, speed=60, monotonic=watch)

    before = clock.now()
    watch.now_s += 2

    assert (before, clock.now()) == (START, START + timedelta(minutes=2))


async def test_bus_is_made_of_its_models_twins(plugins: PluginManager) -> None:
    estate = SimulatedEstate(plugins, BusinessClock.starting(START, monotonic=Watch()))
    try:
        await estate.open_bus(plan("01", "7", dead=frozenset({"7"})))

        made = candles(estate, "b")
        assert list(made) == ["1", "7"]
        assert made["1"].settings == {"wick": "long"}
        assert made["1"].lived == [START]
        assert estate.buses["b"].bus.dead == {"7"}
    finally:
        await estate.close()


async def test_seeds_depend_on_estate_bus_and_address(plugins: PluginManager) -> None:
    seeds = []
    for seed in (1, 1, 2):
        estate = SimulatedEstate(plugins, BusinessClock.starting(START), seed)
        for name in ("a", "b"):
            await estate.open_bus(plan("1", "2", name=name))
        made = (*candles(estate, "a").values(), *candles(estate, "b").values())
        seeds.append([candle.seed for candle in made])
        await estate.close()

    assert seeds[0] == seeds[1]
    assert not set(seeds[0]) & set(seeds[2])
    assert len(set(seeds[0])) == 4


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (BusPlan("b", [TwinPlan("lamp", "1")]), PluginError, "lamp"),
        (BusPlan("b", [TwinPlan("torch", "1")]), PluginError, "no twin"),
        (BusPlan("b", [TwinPlan("candle", "x")]), SettingsError, "expected a number"),
        (plan("1", "01"), SettingsError, "address 1 is given twice"),
        (plan("1", dead=frozenset({"2"})), SettingsError, "no device at 2"),
    ],
    ids=["unknown model", "no twin", "bad address", "address twice", "dead nobody"],
)
async def test_impossible_bus_is_refused(
    plugins: PluginManager, wrong: BusPlan, error: type[Exception], text: str
) -> None:
    estate = SimulatedEstate(plugins, BusinessClock.starting(START))

    with pytest.raises(error, match=text):
        await estate.open_bus(wrong)

    assert estate.buses == {}


def test_every_twin_lives_on_with_the_clock(plugins: PluginManager) -> None:
    async def main() -> list[list[datetime]]:
        loop = asyncio.get_running_loop()
        estate = SimulatedEstate(plugins, BusinessClock.starting(START, 3600, loop.time))
        await estate.open_bus(plan(*map(str, range(1, 40)), name="a"))
        await estate.open_bus(plan("1", "2", name="b"))
        estate.start(tick_s=1)
        await asyncio.sleep(10.01)
        await estate.close()
        return [one.lived for bus in "ab" for one in candles(estate, bus).values()]

    lives = run_in_virtual_time(main())

    assert [len(lived) for lived in lives] == [pytest.approx(11, abs=1)] * 41
    assert all(lived == sorted(lived) for lived in lives)
    assert all(lived[-1] > START + timedelta(hours=9) for lived in lives)
    # They take turns: no two of a tick at the same moment.
    assert len({lived[3] for lived in lives}) == 41


@pytest.mark.integration
async def test_bus_is_reached_under_its_url(plugins: PluginManager) -> None:
    estate = SimulatedEstate(plugins, BusinessClock.starting(START))
    try:
        made = await estate.open_bus(plan("1", "2"))

        assert made.url.startswith("tcp://127.0.0.1:")
        assert made.url.endswith("?framing=rtu")
        assert await ask(made.url, b"\x02", 3) == b"lit"
        made.bus.kill("2")
        assert await ask(made.url, b"\x01", 3) == b"lit"
        assert made.bus.counters.exchanges == 2
    finally:
        await estate.close()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("access", "begin", "end"),
    [
        (AccessKind.RAW, "tcp://127.0.0.1:", "?framing=rtu&baud=9600&parity=E"),
        (AccessKind.GATEWAY, "tcp://127.0.0.1:", "?framing=tcp&baud=9600&parity=E"),
        (AccessKind.PTY, "serial:///dev/pts/", "?baud=9600&parity=E"),
    ],
)
async def test_url_tells_framing_and_speed(
    plugins: PluginManager, access: AccessKind, begin: str, end: str
) -> None:
    estate = SimulatedEstate(plugins, BusinessClock.starting(START))
    twins = [TwinPlan("candle", "1")]
    try:
        made = await estate.open_bus(BusPlan("b", twins, access, pace=Pace.at(9600, "E")))

        assert made.url.startswith(begin)
        assert made.url.endswith(end)
    finally:
        await estate.close()
