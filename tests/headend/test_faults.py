"""Meters on bad lines: whatever is read is what the meter held when it was asked.

The twins live only while they are asked, fast enough that no two answers of one are alike. A value
that another request brought, or another meter, or the same meter a moment before, shows at once.
"""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from random import Random
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from meterplex.domain.estate import Channel, ChannelId, Meter, MeterId, OrganisationId, SiteId
from meterplex.domain.readings import RunId
from meterplex.headend import builtin_channels
from meterplex.headend.bus import Bus, FinishedRun, Member
from meterplex.headend.direct import configure_channel
from meterplex.headend.line import Line
from meterplex.headend.reading_plan import MeterPlan
from meterplex.headend.turns import Order, WorkClass
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import (
    ChannelSettings,
    ChannelType,
    LinkTimeoutError,
    MeterDriver,
    MeterSnapshot,
    OutcomeUnknownError,
    Receiver,
    SupplyAction,
    SupplyMode,
    SupplyState,
)
from meterplex.simulator.bus import Answer, TwinBus
from meterplex.simulator.faults import Fault, FaultRates, Faults
from meterplex.simulator.serving import Access, open_pty, serve_gateway, serve_raw
from meterplex.simulator.virtual_time import run_in_virtual_time
from meterplex.simulator.wire import Pace, Wire
from meterplex_acrel_dtsy.twin import AcrelTwin
from meterplex_acrel_dtsy.twin_meter import Force

MODEL = "acrel_dtsy1352"
START = datetime(2026, 3, 2, 8, tzinfo=UTC)
LIFE_SPEED = 600
"""A meter clock, which shows seconds, never answers the same twice."""
FAULT_SHARE = 0.3
MODE_OF_FORCE = {
    Force.OFF: SupplyMode.AUTOMATIC,
    Force.OPEN: SupplyMode.FORCED_OFF,
    Force.CLOSED: SupplyMode.HELD,
}
WITHIN, BEYOND = "late within the time-out", "late beyond the time-out"


@dataclass(frozen=True, slots=True)
class Truth:
    """What a twin held."""

    energy_kwh: Decimal
    remaining: Decimal
    voltage_l1: Decimal
    supply: SupplyState
    clock: datetime

    @classmethod
    def of(cls, twin: AcrelTwin) -> "Truth":
        body = twin.body
        assert len(set(body.relays)) == len(set(body.force)) == 1, "its phases go together"
        return cls(
            energy_kwh=Decimal(sum(body.energy_wh) // 10) / 100,
            remaining=Decimal(body.wallet.remaining // 100) / 100,
            voltage_l1=Decimal(body.voltage_tenths(0)) / 10,
            supply=SupplyState(body.relays[0], MODE_OF_FORCE[body.force[0]]),
            clock=body.clock.replace(microsecond=0),
        )


class WitnessedBus(TwinBus):
    """Notes what each twin held when it was asked, and lets late replies be late in two ways."""

    def __init__(
        self, twins: dict[str, AcrelTwin], faults: Faults, late_s: dict[str, float]
    ) -> None:
        super().__init__(twins, faults)
        self.acrel = twins
        self.witnessed: dict[str, list[tuple[float, Truth]]] = {address: [] for address in twins}
        self.late: Counter[str] = Counter()
        self._late_s = late_s
        self._random = Random(1)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.advance(START)

    def ask(self, burst: bytes) -> Answer | None:
        now = self._loop.time()
        self.advance(START + timedelta(seconds=LIFE_SPEED * (now - self._began)))
        lateness = self._random.choice(sorted(self._late_s))
        self.faults.rates = replace(self.faults.rates, late_s=self._late_s[lateness])
        before = self.faults.counts[Fault.LATE]
        answer = super().ask(burst)
        self.late[lateness] += self.faults.counts[Fault.LATE] - before
        if (twin := self.acrel.get(str(burst[0]))) is not None:
            self.witnessed[str(burst[0])].append((now, Truth.of(twin)))
        return answer

    def truth(self, address: str, at: float) -> Truth:
        """Return what a twin held when it was last asked before a time."""
        seen = self.witnessed[address]
        return seen[bisect_right(seen, at, key=lambda entry: entry[0]) - 1][1]


@dataclass
class Score:
    """What came of the work on one bus."""

    right: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def judge(self, what: str, seen: object, held: object) -> None:
        if seen == held:
            self.right[what] += 1
        else:
            self.wrong.append(f"{what}: {seen}, expected {held}")

    @contextmanager
    def silence_allowed(self, what: str) -> Iterator[None]:
        """No answer is no fault of ours; any other outcome is a reply taken for another."""
        try:
            yield
        except (LinkTimeoutError, OutcomeUnknownError):
            self.unanswered[what] += 1
        except Exception as error:  # noqa: BLE001 - a verdict, told at the end of the test
            self.wrong.append(f"{what}: {type(error).__name__}: {error}")


class LineEnd:
    """Joins a line to a wire without sockets; what the wire sends finds whoever has it open."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._receiver: Receiver | None = None

    async def open(self, _: ChannelSettings, receiver: Receiver) -> "LineEnd":
        self._receiver = receiver
        return self

    def write(self, data: bytes) -> None:
        self._wire.hear(data, self._deliver)

    def close(self) -> None:
        self._receiver = None

    def _deliver(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.bytes_received(data)


@dataclass
class BadLine:
    """A bus with faulty twins, its head-end, and a score; it is also where its runs go."""

    twins: WitnessedBus
    bus: Bus
    score: Score

    async def put(self, finished: FinishedRun) -> None:
        """Judge a reading run as it would be stored."""
        for taken in finished.taken:
            at = (taken.read_at - START).total_seconds()
            held = self.twins.truth(taken.meter.address, at)
            self.score.judge("scheduled read", seen_in(taken.snapshot), held)

    async def work(self, exchanges: int) -> None:
        """Read, identify and command all meters until so many requests have left."""

        async def one_meter(member: Member) -> None:
            random = Random(member.meter.address)
            while self.bus.line.counters.exchanges < exchanges:
                await self._one_job(member, random)

        async with asyncio.TaskGroup() as group:
            for member in self.bus.members.values():
                group.create_task(one_meter(member))

    async def _one_job(self, member: Member, random: Random) -> None:
        address = member.meter.address
        work = random.choices(list(JOBS), list(JOBS.values()))[0]
        work_class = WorkClass.SUPPLY if work is command else WorkClass.SCHEDULED
        order = Order(work_class, promise=asyncio.get_running_loop().time())
        driver = self.bus.driver(member, self.bus.link(member, order))
        with self.score.silence_allowed(work.__name__):
            await work(self, driver, address, random)

    def held(self, address: str) -> Truth:
        return self.twins.witnessed[address][-1][1]


def seen_in(snapshot: MeterSnapshot) -> Truth:
    """Return a snapshot in the words of the truth."""
    values = {value.register.slug: value.value for value in snapshot.values}
    assert snapshot.supply is not None
    assert snapshot.clock is not None
    return Truth(
        energy_kwh=values["active_energy_import"],
        remaining=values["credit_remaining"],
        voltage_l1=values["voltage_l1"],
        supply=snapshot.supply,
        clock=snapshot.clock,
    )


async def read(line: BadLine, driver: MeterDriver, address: str, _: Random) -> None:
    snapshot = await driver.read()
    line.score.judge("read", seen_in(snapshot), line.held(address))


async def read_settings(line: BadLine, driver: MeterDriver, address: str, random: Random) -> None:
    if random.random() < 0.5:
        credit = await driver.read_credit()
        line.score.judge("read_credit", credit.remaining, line.held(address).remaining)
    else:
        prices = await driver.read_prices()
        line.score.judge("read_prices", prices.flat, price_of(address))


async def identify(line: BadLine, driver: MeterDriver, address: str, _: Random) -> None:
    identity = await driver.identify()
    line.score.judge("identify", identity.serial, serial_of(address))


async def command(line: BadLine, driver: MeterDriver, address: str, random: Random) -> None:
    action = random.choice(list(SupplyAction))
    state = await driver.set_supply(action)
    held = line.held(address).supply
    line.score.judge(f"command {action}", (state, True), (held, held.proves(action)))


JOBS = {read: 5, read_settings: 3, identify: 1, command: 3}
"""Kinds of work, and how often each is done."""


def serial_of(address: str) -> str:
    return f"2026{int(address):08}"


def price_of(address: str) -> Decimal:
    return Decimal(5000 + int(address)) / 10_000


def make_line(
    plugins: PluginManager,
    twins: WitnessedBus,
    channel_type: ChannelType,
    settings: ChannelSettings,
) -> BadLine:
    """Return a bus whose meters are all due at once."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    def wall() -> datetime:
        return START + timedelta(seconds=loop.time() - began)

    organisation, site = OrganisationId(UUID(int=1)), SiteId(UUID(int=2))
    channel = Channel(ChannelId(UUID(int=3)), organisation, site, "bus-1", settings.url.text)
    numbers = count(1000)
    bus = Bus(
        site="east",
        channel=channel,
        line=Line(channel_type, settings, wall),
        zone=ZoneInfo("Asia/Shanghai"),
        plugins=plugins,
        sink=None,  # type: ignore[arg-type]  # the bad line itself, in a moment
        wall=wall,
        new_id=lambda: RunId(UUID(int=next(numbers))),
    )
    for address in twins.acrel:
        meter = Meter(
            *(MeterId(UUID(int=100 + int(address))), organisation, site, channel.id),
            serial=serial_of(address),
            model=MODEL,
            address=address,
        )
        bus.members[meter.id] = Member(meter, plugins.models[MODEL], MeterPlan(1.0, loop.time()))
    line = BadLine(twins, bus, Score())
    bus.sink = line
    return line


def make_twins(
    plugins: PluginManager,
    addresses: range,
    faults: Faults,
    late_s: dict[str, float],
    turn_round_ms: str = "20",
) -> WitnessedBus:
    twins: dict[str, AcrelTwin] = {}
    for address in map(str, addresses):
        settings = {
            "serial": serial_of(address),
            "start_energy_kwh": f"{int(address)}000.00",
            "load_kw": "8",
            "remaining": f"{int(address)}0000.00",
            "price_flat": f"{price_of(address)}",
            "turn_round_ms": turn_round_ms,
        }
        twin = plugins.make_twin(MODEL, address, settings, int(address))
        assert isinstance(twin, AcrelTwin)
        twins[address] = twin
    return WitnessedBus(twins, faults, late_s)


def tell(title: str, *lines: BadLine) -> None:
    """Print what was done and how often each fault was hit; fail on a wrong value or no hit."""
    faults: Counter[str] = Counter()
    for line in lines:
        faults.update({fault.value: line.twins.faults.counts[fault] for fault in Fault})
        faults.update({way: line.twins.late[way] for way in (WITHIN, BEYOND)})
    right = sum((line.score.right for line in lines), Counter[str]())
    unanswered = sum((line.score.unanswered for line in lines), Counter[str]())
    exchanges = sum(line.bus.line.counters.exchanges for line in lines)
    print(f"\n{title}: {exchanges} exchanges")
    print("faults hit:", ", ".join(f"{name} {hits}" for name, hits in faults.items()))
    print("right:", ", ".join(f"{name} {hits}" for name, hits in sorted(right.items())))
    print("unanswered:", ", ".join(f"{name} {hits}" for name, hits in sorted(unanswered.items())))
    assert [wrong for line in lines for wrong in line.score.wrong] == []
    assert [name for name, hits in faults.items() if not hits] == []
    actions = {f"command {action}" for action in SupplyAction}
    assert right.keys() >= {"read", "read_credit", "read_prices", "identify"} | actions
    assert sum(right.values()) > exchanges / 4
    assert sum(faults[fault] for fault in Fault) > 0.25 * exchanges


@pytest.fixture(scope="module")
def plugins() -> PluginManager:
    return PluginManager.load((builtin_channels,))


def simulate(plugins: PluginManager, url: str, rates: FaultRates, exchanges: int) -> BadLine:
    """Read four meters of a paced line on schedule, and do everything else meanwhile."""

    async def main() -> BadLine:
        faults = Faults(rates, seed=7)
        twins = make_twins(plugins, range(1, 5), faults, {WITHIN: 0.15, BEYOND: 0.6})
        channel_type, settings = configure_channel(plugins, url)
        end = LineEnd(Wire(twins, Pace.at(9600)))
        line = make_line(plugins, twins, replace(channel_type, open=end.open), settings)
        reading = asyncio.create_task(line.bus.run())
        await line.work(exchanges)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return line

    return run_in_virtual_time(main())


def test_no_wrong_value_in_10000_exchanges_on_simulated_time(plugins: PluginManager) -> None:
    url = "serial:///dev/line?baud=9600&latency=0&late=0.5"

    line = simulate(plugins, url, FaultRates.even(FAULT_SHARE), 10_000)

    tell("simulated time", line)
    assert line.bus.line.counters.exchanges >= 10_000
    assert line.score.right["scheduled read"] > 1000


def test_a_line_without_rest_would_be_caught(plugins: PluginManager) -> None:
    """The control experiment: what the guard against late replies prevents does happen."""
    url = "serial:///dev/line?baud=9600&latency=0&late=0"

    line = simulate(plugins, url, FaultRates({Fault.LATE: FAULT_SHARE}), 2_000)

    assert line.score.wrong


@asynccontextmanager
async def socket_line(plugins: PluginManager, way: str, seed: int) -> AsyncIterator[BadLine]:
    """Give a bus behind a real socket or pty, with a time-out of 50 ms."""
    faults = Faults(FaultRates.even(FAULT_SHARE), seed)
    twins = make_twins(plugins, range(1, 17), faults, {WITHIN: 0.03, BEYOND: 0.12}, "2")
    wire = Wire(twins)
    access: Access
    if way == "pty":
        access = open_pty(wire)
    elif way == "gateway":
        access = await serve_gateway(wire, answer_timeout_s=0.06)
    else:
        access = await serve_raw(wire)
    join = "&" if "?" in access.url else "?"
    url = f"{access.url}{join}baud=115200&latency=0&response=0.05&late=0.3"
    line = make_line(plugins, twins, *configure_channel(plugins, url))
    try:
        yield line
    finally:
        line.bus.line.close()
        wire.close()
        access.close()


@pytest.mark.integration
async def test_no_wrong_value_in_2000_exchanges_over_sockets_and_ptys(
    plugins: PluginManager,
) -> None:
    ways = ("rtu over tcp", "gateway", "pty")
    async with AsyncExitStack() as stack:
        lines = [
            await stack.enter_async_context(socket_line(plugins, way, seed))
            for seed, way in enumerate(ways)
        ]
        await asyncio.gather(*(line.work(670) for line in lines))

    tell("sockets and ptys", *lines)
    for way, line in zip(ways, lines, strict=True):
        print(f"{way}: {line.bus.line.counters}")
        assert line.bus.line.counters.exchanges >= 670
