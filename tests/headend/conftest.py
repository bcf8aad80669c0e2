"""A small world on simulated time: one bus, devices of a made-up protocol, stores in memory.

Frames are ``<address>:<word>;``. ``read`` answers the register and the supply, ``off`` and ``auto``
are control words.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import ModuleType
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from meterplex import hookimpl
from meterplex.domain.commands import (
    MOVES,
    SUPPLY_ACTIONS,
    Command,
    CommandId,
    CommandKind,
    CommandState,
)
from meterplex.domain.estate import Channel, ChannelId, Meter, MeterId, OrganisationId, SiteId
from meterplex.domain.readings import RunId
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT, ELECTRICITY, RegisterType
from meterplex.headend.bus import Bus, FinishedRun, Member
from meterplex.headend.line import Line
from meterplex.headend.reading_plan import MeterPlan
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import (
    BusTolerance,
    Capability,
    ChannelSettings,
    ChannelType,
    ChannelUrl,
    DeviceRefusedError,
    ExchangeSize,
    Framing,
    Identity,
    LineTiming,
    Link,
    LinkTimeoutError,
    LinkUnavailableError,
    MeterDriver,
    MeterModel,
    MeterSnapshot,
    OutcomeUnknownError,
    Receiver,
    RegisterValue,
    Span,
    SupplyAction,
    SupplyMode,
    SupplyState,
)
from meterplex.services.metering.deliver_commands import OpenCommand

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
REPLY_S = 0.02
RESPONSE_MAX_S = 0.1


@dataclass(frozen=True)
class Frame:
    """Delimits ``<address>=<word>;``."""

    address: str

    @property
    def key(self) -> str:
        return self.address

    @property
    def reply_length_max(self) -> int:
        return 20

    def find(self, buffer: bytes) -> Span | None:
        start = buffer.find(f"{self.address}=".encode())
        end = buffer.find(b";", start)
        return None if start < 0 or end < 0 else Span(start, end + 1)

    def explain(self, buffer: bytes) -> str:
        return f"meter {self.address}: {buffer!r}"


@dataclass
class Device:
    """The far end."""

    alive: bool = True
    serial: str = ""
    energy: int = 100
    forced_off: bool = False
    fee_control_off: bool = False
    deaf_to: set[str] = field(default_factory=set)
    mute_after: set[str] = field(default_factory=set)
    refuses: set[str] = field(default_factory=set)

    def answer(self, word: str) -> str | None:
        if not self.alive or word in self.deaf_to:
            return None
        if word in self.refuses:
            return "no"
        if word in ("off", "auto"):
            self.forced_off = word == "off"
        reply = {"read": f"{self.energy},{self._supply()}", "who": self.serial}.get(word, "ok")
        return None if word in self.mute_after else reply

    def _supply(self) -> str:
        if self.forced_off:
            return "forced"
        return "out" if self.fee_control_off else "on"


class WordDriver(MeterDriver):
    capabilities = frozenset({Capability.SUPPLY})

    def __init__(self, link: Link, address: str) -> None:
        self._link, self._address = link, address

    async def _say(self, word: str, *, control: bool = False) -> str:
        request = f"{self._address}:{word};".encode()
        reply = await self._link.exchange(request, Frame(self._address), control=control)
        answer = reply.decode().partition("=")[2].rstrip(";")
        if answer == "no":
            raise DeviceRefusedError(f"meter {self._address} refuses {word}")
        return answer

    async def identify(self) -> Identity:
        return Identity("word_meter", await self._say("who") or None)

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        energy, supply = (await self._say("read")).split(",")
        value = RegisterValue(ACTIVE_ENERGY_IMPORT, Decimal(energy))
        return MeterSnapshot((value,), supply=_supply_of(supply))

    async def read_supply(self) -> SupplyState:
        snapshot = await self.read()
        assert snapshot.supply is not None
        return snapshot.supply

    async def set_supply(self, action: SupplyAction) -> SupplyState:
        word = "off" if action is SupplyAction.DISCONNECT else "auto"
        try:
            await self._say(word, control=True)
        except LinkTimeoutError as error:
            raise OutcomeUnknownError(str(error)) from error
        return await self.read_supply()


def _supply_of(word: str) -> SupplyState:
    mode = SupplyMode.FORCED_OFF if word == "forced" else SupplyMode.AUTOMATIC
    return SupplyState(word == "on", mode)


@dataclass
class Wire:
    """The bus: hands requests to devices and replies back after :data:`REPLY_S`."""

    devices: dict[str, Device]
    sent: list[tuple[float, str]] = field(default_factory=list)
    down: str = ""
    receiver: Receiver | None = None

    async def open(self, _: ChannelSettings, receiver: Receiver) -> "Wire":
        if self.down:
            raise LinkUnavailableError(self.down)
        self.receiver = receiver
        return self

    def write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        address, _, word = data.decode().rstrip(";").partition(":")
        self.sent.append((loop.time(), f"{address}:{word}"))
        answer = self.devices[address].answer(word)
        if answer is not None:
            loop.call_later(REPLY_S, self._deliver, f"{address}={answer};".encode())

    def _deliver(self, reply: bytes) -> None:
        if self.receiver is not None:
            self.receiver.bytes_received(reply)

    def close(self) -> None:
        self.receiver = None

    def words(self, *wanted: str) -> list[str]:
        return [text for _, text in self.sent if text.partition(":")[2] in wanted]


@dataclass
class Rows:
    """Commands in memory; keeps every move."""

    commands: dict[CommandId, Command] = field(default_factory=dict)
    moves: list[tuple[CommandState, str]] = field(default_factory=list)
    on_move: Callable[[CommandState], None] = lambda _: None

    def overruled(self, command: Command) -> bool:
        return command.kind in SUPPLY_ACTIONS and any(
            other.kind in SUPPLY_ACTIONS
            and other.meter_id == command.meter_id
            and other.created_at > command.created_at
            for other in self.commands.values()
        )

    async def unsettled(self) -> Sequence[OpenCommand]:
        wanted = (CommandState.QUEUED, CommandState.UNKNOWN)
        return [
            OpenCommand(command, self.overruled(command))
            for command in self.commands.values()
            if command.state in wanted
        ]

    async def move(self, command: Command, to: CommandState, outcome: str) -> bool:
        await asyncio.sleep(0.003)  # a commit
        now = self.commands[command.id]
        assert to in MOVES[command.state], f"{command.state} to {to}"
        if now.state is not command.state:
            return False
        if to is CommandState.SENT and self.overruled(command):
            return False
        self.on_move(to)
        self.moves.append((to, outcome))
        self.commands[command.id] = replace(now, state=to, outcome=outcome)
        return True


@dataclass
class Sink:
    runs: list[FinishedRun] = field(default_factory=list)

    async def put(self, finished: FinishedRun) -> None:
        self.runs.append(finished)


@dataclass
class World:
    """One bus with its far end."""

    wire: Wire
    bus: Bus
    rows: Rows
    sink: Sink
    members: dict[str, Member]

    def wall(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time())

    def find(self, meter_id: MeterId) -> tuple[Bus, Member] | None:
        member = self.bus.members.get(meter_id)
        return None if member is None else (self.bus, member)

    def ask(
        self, address: str, kind: CommandKind, within_s: float = 600, at_s: float = 0
    ) -> Command:
        meter = self.members[address].meter
        command = Command(
            CommandId(UUID(int=1000 + len(self.rows.commands))),
            meter.organisation_id,
            meter.id,
            kind,
            "test",
            START + timedelta(seconds=at_s),
            START + timedelta(seconds=at_s + within_s),
        )
        self.rows.commands[command.id] = command
        return command

    def now(self, command: Command) -> Command:
        return self.rows.commands[command.id]


def word_model(driver: Callable[[Link, str, Mapping[str, str]], MeterDriver]) -> MeterModel:
    return MeterModel(
        id="word_meter",
        title="Word meter",
        utility=ELECTRICITY,
        registers=(ACTIVE_ENERGY_IMPORT,),
        bus=BusTolerance("words", RESPONSE_MAX_S),
        poll=(ExchangeSize(7, 12),),
        check_address=str,
        driver=driver,
        capabilities=frozenset({Capability.SUPPLY}),
    )


def make_world(
    count: int = 3,
    interval_s: float = 10,
    driver: Callable[[Link, str, Mapping[str, str]], MeterDriver] = lambda link, address, _: (
        WordDriver(link, address)
    ),
) -> World:
    wire = Wire({str(number): Device() for number in range(1, count + 1)})
    timing = LineTiming(character_s=0.001, late_s=0.05)
    settings = ChannelSettings(ChannelUrl.parse("word://bus"), Framing.RAW, timing, True)
    channel_type = ChannelType("word", "words", lambda _: settings, wire.open)
    model = word_model(driver)
    hooks = ModuleType("word_hooks")
    hooks.meterplex_meter_models = hookimpl(lambda: [model])  # type: ignore[attr-defined]
    plugins = PluginManager.load((hooks,), ())
    assert plugins.healthy, plugins.plugins
    organisation = OrganisationId(UUID(int=1))
    channel = Channel(ChannelId(UUID(int=2)), organisation, SiteId(UUID(int=3)), "bus-1", "word://")
    members = {
        address: Member(
            Meter(
                MeterId(UUID(int=100 + int(address))),
                organisation,
                channel.site_id,
                channel.id,
                f"SN{address}",
                "word_meter",
                address,
            ),
            model,
            MeterPlan(interval_s, 0.0),
        )
        for address in wire.devices
    }
    sink, rows = Sink(), Rows()
    numbers = iter(range(10_000, 10**9))

    def wall() -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time())

    bus = Bus(
        site="east",
        channel=channel,
        line=Line(channel_type, settings, wall),
        zone=ZoneInfo("Asia/Shanghai"),
        plugins=plugins,
        sink=sink,
        wall=wall,
        new_id=lambda: RunId(UUID(int=next(numbers))),
        members={member.meter.id: member for member in members.values()},
    )
    return World(wire, bus, rows, sink, members)


@pytest.fixture
def new_world() -> Callable[..., World]:
    """Return the maker of worlds: number of meters, interval, driver factory."""
    return make_world
