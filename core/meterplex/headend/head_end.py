"""The head-end of one program: all buses, the delivery of commands, and what they store.

The estate is loaded from the database and looked at again every few seconds, so that what was
imported is read at once. Finished runs are stored behind the buses' backs by one task; while the
database is down they wait, and when :data:`UNSTORED_RUNS_MAX` wait, the buses wait as well.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from meterplex.db import Database
from meterplex.db.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    TransactionConflictError,
)
from meterplex.domain.estate import Channel, ChannelId, LinkState, Meter, MeterId, Site
from meterplex.domain.readings import ReadingSource, RunId
from meterplex.domain.supply_policy import LimiterPolicy
from meterplex.headend.bus import Bus, FinishedRun, Member
from meterplex.headend.command_delivery import CommandDelivery, Found
from meterplex.headend.direct import configure_channel
from meterplex.headend.line import Line
from meterplex.headend.order_delivery import OrderDispatch
from meterplex.headend.reading_plan import LOST_AFTER, MeterPlan
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import SettingsError
from meterplex.services.estate.load_estate import Installation, load_installation
from meterplex.services.health import Health, PluginHealth, Waiting, count_waiting
from meterplex.services.metering.deliver_commands import CommandRows
from meterplex.services.metering.take_readings import compare_wallets, store_run
from meterplex.services.orders.crash_points import CrashHook, SupplyCrashHook, no_crash
from meterplex.services.orders.deliver_orders import OrderDelivery

log = structlog.get_logger(__name__)

UNSTORED_RUNS_MAX: Final = 64
STORE_RETRY_S: Final = 1.0
"""How long to wait before a run that the database refused is stored again."""


@dataclass(slots=True)
class HeadEnd:
    """Reads and commands all meters of a database.

    Attributes:
        wall: current time in UTC.
        new_id: makes UUIDv7s.
        estate_poll_s: how often the estate is looked at for changes.
        read_deadline_s: a driver that has not read its meter by then is given up.
        call_attempts: misses in a row after which a meter is lost.
        limiter: how many disconnects may be sent in a while.
        pace: seconds of ``wall`` in one of the event loop's, by which reading intervals shrink;
            only a simulation has another one than 1.
        crash: on the way of orders; see ``services.orders.crash_points``.
        crash_supply: on the way of supply commands.
    """

    database: Database
    plugins: PluginManager
    wall: Callable[[], datetime]
    new_id: Callable[[], UUID]
    command_poll_s: float = 0.5
    estate_poll_s: float = 5.0
    read_deadline_s: float = 30.0
    call_attempts: int = LOST_AFTER
    limiter: LimiterPolicy = field(default=LimiterPolicy())
    pace: float = 1.0
    crash: CrashHook = no_crash
    crash_supply: SupplyCrashHook = no_crash
    buses: dict[ChannelId, Bus] = field(default_factory=dict)
    refused: dict[ChannelId, str] = field(default_factory=dict)
    """Channels whose URL is not usable, and why."""
    fault: str = "starting"
    """Why it does not do its job now; empty while it does."""
    _installation: Installation | None = None
    _bus_of: dict[MeterId, ChannelId] = field(default_factory=dict)
    _tasks: dict[ChannelId, asyncio.Task[None]] = field(default_factory=dict)
    _triggered: set[asyncio.Task[object]] = field(default_factory=set)
    _finished: "asyncio.Queue[FinishedRun]" = field(
        default_factory=lambda: asyncio.Queue(UNSTORED_RUNS_MAX)
    )
    _in_hand: FinishedRun | None = None
    _cut_short: list[FinishedRun] = field(default_factory=list)
    """Runs that ended because the program does."""
    _stopping: bool = False
    _delivery: CommandDelivery | None = None
    _orders: OrderDispatch | None = None

    @property
    def delivery(self) -> CommandDelivery:
        """The delivery of commands."""
        if self._delivery is None:
            rows = CommandRows(self.database, self.wall, self.limiter, self.crash_supply)
            self._delivery = CommandDelivery(rows, self.find, self.wall, self.command_poll_s)
        return self._delivery

    @property
    def orders(self) -> OrderDispatch:
        """The delivery of credit orders."""
        if self._orders is None:
            delivery = OrderDelivery(self.database, self.wall, crash=self.crash)
            self._orders = OrderDispatch(delivery, self.find, self.command_poll_s)
        return self._orders

    async def run(self) -> None:
        """Work until cancelled; then store what was read and close all channels."""
        cut_off = await CommandRows(self.database, self.wall).recover()
        if cut_off:
            log.warning("commands of unknown outcome found at start", count=cut_off)
        cut_off = await self.orders.delivery.recover()
        if cut_off:
            log.warning("orders of unknown outcome found at start", count=cut_off)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_estate())
                group.create_task(self.delivery.run())
                group.create_task(self.orders.run())
                group.create_task(self._store())
        finally:
            await self._shut_down()

    def find(self, meter_id: MeterId) -> Found | None:
        """Return the bus of a meter and its place there; None when it is on none of ours."""
        channel_id = self._bus_of.get(meter_id)
        bus = None if channel_id is None else self.buses.get(channel_id)
        return None if bus is None else (bus, bus.members[meter_id])

    async def put(self, finished: FinishedRun) -> None:
        """Take a finished run (called by the buses); waits when too many are not stored."""
        try:
            if self._stopping:
                self._cut_short.append(finished)
            else:
                await self._finished.put(finished)
        except asyncio.CancelledError:
            self._cut_short.append(finished)
            raise

    async def health(self) -> Health:
        """Return the state now; asks the database for nothing but an answer."""
        fault, waiting = self.fault, Waiting()
        if not fault:
            try:
                waiting = await count_waiting(self.database)
            except DatabaseError as error:
                fault = f"database: {error}"
        return Health(
            ready=not fault,
            fault=fault,
            plugins=tuple(
                PluginHealth(
                    plugin.name,
                    plugin.state,
                    plugin.problems,
                    plugin.failures,
                    plugin.last_failure,
                )
                for plugin in self.plugins.plugins
            ),
            buses=[bus.status() for bus in self.buses.values()],
            unstored_runs=self._finished.qsize(),
            open_commands=self.delivery.open_commands,
            waiting=waiting,
        )

    # -- estate --------------------------------------------------------------------------------

    async def _follow_estate(self) -> None:
        while True:
            try:
                installation = await load_installation(self.database, self._installation)
            except DatabaseError as error:
                if not self.fault:
                    log.warning("estate not loaded", error=str(error))
                self.fault = f"database: {error}"
            else:
                if installation is not self._installation:
                    self._installation = installation
                    self._take_over(installation)
                self.fault = ""
            await asyncio.sleep(self.estate_poll_s)

    def _take_over(self, installation: Installation) -> None:
        """Make the buses as the estate says; what has not changed goes on undisturbed."""
        meters: dict[ChannelId, list[Meter]] = {}
        for meter in installation.meters:
            meters.setdefault(meter.channel_id, []).append(meter)
        self._bus_of = {meter.id: meter.channel_id for meter in installation.meters}
        sites = {site.id: site for site in installation.sites}
        wanted = {channel.id: channel for channel in installation.channels}
        for channel_id in [*self.buses]:
            if (channel := wanted.get(channel_id)) is None or self._moved(channel):
                self._close(channel_id)
        for channel in wanted.values():
            site = sites[channel.site_id]
            bus = self.buses.get(channel.id) or self._open(channel, site)
            if bus is not None:
                bus.channel = channel
                self._seat(bus, site, meters.get(channel.id, ()), installation.newest_reading)
                bus.wake()

    def _moved(self, channel: Channel) -> bool:
        return self.buses[channel.id].channel.url != channel.url

    def _open(self, channel: Channel, site: Site) -> Bus | None:
        try:
            channel_type, settings = configure_channel(self.plugins, channel.url)
        except SettingsError as error:
            if self.refused.get(channel.id) != str(error):
                log.warning("channel refused", channel=channel.code, error=str(error))
            self.refused[channel.id] = str(error)
            return None
        self.refused.pop(channel.id, None)
        bus = Bus(
            site=site.code,
            channel=channel,
            line=Line(channel_type, settings, self.wall),
            zone=ZoneInfo(site.time_zone),
            plugins=self.plugins,
            sink=self,
            wall=self.wall,
            new_id=lambda: RunId(self.new_id()),
            state=channel.state,
            read_deadline_s=self.read_deadline_s,
        )
        self.buses[channel.id] = bus
        self._tasks[channel.id] = asyncio.create_task(bus.run())
        return bus

    def _close(self, channel_id: ChannelId) -> None:
        self._tasks.pop(channel_id).cancel()
        self.buses.pop(channel_id).line.close()

    def _seat(
        self,
        bus: Bus,
        site: Site,
        meters: Iterable[Meter],
        newest_reading: Mapping[MeterId, datetime],
    ) -> None:
        """Make the members of a bus as the estate says."""
        now, wall = asyncio.get_running_loop().time(), self.wall()
        members: dict[MeterId, Member] = {}
        for meter in meters:
            interval = meter.reading_interval or site.reading_interval
            interval_s = interval.total_seconds() / self.pace
            member = bus.members.get(meter.id)
            if member is None:
                # A reading that is younger than its interval need not be taken again at start-up.
                newest = newest_reading.get(meter.id)
                age_s = interval_s
                if newest is not None:
                    age_s = (wall - newest).total_seconds() / self.pace
                due_at = now + max(interval_s - max(age_s, 0.0), 0.0)
                plan = MeterPlan(interval_s, due_at, attempts=self.call_attempts)
                member = Member(
                    meter,
                    self.plugins.models.get(meter.model),
                    plan,
                    meter.state,
                    meter.lost_reason,
                )
            elif member.plan.interval_s != interval_s:
                member.plan.interval_s = interval_s
                member.plan.due_at = min(member.plan.due_at, now + interval_s)
            member.meter = meter
            members[meter.id] = member
        bus.members = members

    # -- storing -------------------------------------------------------------------------------

    async def _store(self) -> None:
        while True:
            self._in_hand = await self._finished.get()
            waiting = False
            while True:
                try:
                    await self._store_in_hand()
                except (DatabaseUnavailableError, TransactionConflictError) as error:
                    if not waiting:
                        log.warning("runs wait to be stored", error=str(error))
                    waiting = True
                    await asyncio.sleep(STORE_RETRY_S)
                except DatabaseError as error:
                    # Trying again would not help, and must not keep the others waiting.
                    log.warning("run refused by the database", error=str(error))
                    self._in_hand = None
                    break
                else:
                    break
            if waiting:
                log.info("runs are stored again")

    async def _store_in_hand(self) -> None:
        finished = self._in_hand
        assert finished is not None
        outcome = await store_run(
            self.database, finished.run, finished.taken, finished.changes, self.new_id
        )
        await compare_wallets(self.database, finished.run, finished.taken)
        await self._wake_orders(finished)
        self._in_hand = None
        if finished.run.source is ReadingSource.SCHEDULED:
            for meter_id in outcome.abnormal:
                self._trigger(meter_id)

    async def _wake_orders(self, finished: FinishedRun) -> None:
        """Have orders looked at that waited for what answers again."""
        reached = {
            change.subject_id for change in finished.changes if change.state is LinkState.REACHED
        }
        answered = {each.meter.id for each in finished.taken}
        restored = answered if finished.run.channel_id in reached else answered & reached
        organisation_id = finished.run.organisation_id
        await self.orders.answered(organisation_id, restored, restored=True)
        await self.orders.answered(organisation_id, answered, restored=False)

    def _trigger(self, meter_id: MeterId) -> None:
        """Read a meter once more because its reading was abnormal."""
        found = self.find(meter_id)
        if found is not None and not self._stopping:
            task: asyncio.Task[object] = asyncio.create_task(
                found[0].read_now(meter_id, ReadingSource.TRIGGERED)
            )
            self._triggered.add(task)
            task.add_done_callback(self._triggered.discard)

    async def _shut_down(self) -> None:
        self._stopping = True
        tasks = [*self._tasks.values(), *self._triggered]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for bus in self.buses.values():
            bus.line.close()
        await self._store_rest()

    async def _store_rest(self) -> None:
        left = [] if self._in_hand is None else [self._in_hand]
        while not self._finished.empty():
            left.append(self._finished.get_nowait())
        left += self._cut_short
        for stored, self._in_hand in enumerate(left):
            try:
                await self._store_in_hand()
            except DatabaseError as error:
                count = len(left) - stored
                log.warning("runs not stored at the end", count=count, error=str(error))
                return
