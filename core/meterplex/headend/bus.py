"""Reads the meters of one channel when they are due, and keeps what that showed of their state.

One reading run is one pass over the meters that are due, in the order of their promises. Its
readings, its success and failure list and the changes of state that it brought go to the sink
together, while the next run is already on the line.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from meterplex.domain.bus_status import BusStatus
from meterplex.domain.estate import Channel, LinkState, LostReason, Meter, MeterId
from meterplex.domain.plausibility import OTHER_METER
from meterplex.domain.readings import ReadFailure, ReadingRun, ReadingSource, RunId
from meterplex.headend.line import Line
from meterplex.headend.line_link import LineLink
from meterplex.headend.reading_plan import LOST_AFTER, MeterPlan, window_opens_in
from meterplex.headend.supervision import supervise
from meterplex.headend.turns import Order, WorkClass
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import (
    DriverError,
    LinkUnavailableError,
    MeterDriver,
    MeterModel,
    MeterSnapshot,
    PluginError,
)
from meterplex.services.metering.device_states import StateChange
from meterplex.services.metering.take_readings import TakenSnapshot
from meterplex.services.orders.crash_points import CrashHook

RUN_METERS_MAX: Final = 32
"""Meters read before a run is stored; bounds what a crash can make us read again."""
LATE_AFTER_S: Final = 10.0
"""How far beyond its interval the age of a live meter's reading may go before it counts as late."""
CLASS_OF_SOURCE: Final = {
    ReadingSource.SCHEDULED: WorkClass.SCHEDULED,
    ReadingSource.ON_DEMAND: WorkClass.ON_DEMAND,
    ReadingSource.TRIGGERED: WorkClass.ON_DEMAND,
    ReadingSource.BACK_FILL: WorkClass.BACK_FILL,
}


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run with what it read and the changes of state it brought."""

    run: ReadingRun
    taken: tuple[TakenSnapshot, ...]
    changes: tuple[StateChange, ...]


class RunSink(Protocol):
    """Where runs go. Waits when it has too many that are not stored yet."""

    async def put(self, finished: FinishedRun) -> None:
        """Take a run; it is stored soon."""


@dataclass(slots=True)
class Member:
    """A meter on its bus.

    Attributes:
        model: None when no loaded plugin has it.
        reason: why it is lost; None while it is not.
    """

    meter: Meter
    model: MeterModel | None
    plan: MeterPlan
    state: LinkState = LinkState.NEW
    reason: LostReason | None = None
    last_error: str = ""


@dataclass(slots=True)
class Bus:
    """One channel, its line and its meters.

    Attributes:
        site: code of its site.
        zone: of the site, for the reading window.
        new_id: makes identifiers of runs.
    """

    site: str
    channel: Channel
    line: Line
    zone: ZoneInfo
    plugins: PluginManager
    sink: RunSink
    wall: Callable[[], datetime]
    new_id: Callable[[], RunId]
    members: dict[MeterId, Member] = field(default_factory=dict)
    state: LinkState = LinkState.NEW
    read_deadline_s: float = 30.0
    last_run: ReadingRun | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _unavailable: int = 0

    def wake(self) -> None:
        """Look again at what is due, because members or plans have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Read for ever."""
        while True:
            due = self._due()
            if due:
                await self._read_run(due, ReadingSource.SCHEDULED)
            else:
                await self._pause()

    async def read_now(self, meter_id: MeterId, source: ReadingSource) -> ReadingRun:
        """Read one meter before all scheduled ones, store the run, and return it."""
        return await self._read_run([self.members[meter_id]], source)

    def link(
        self,
        member: Member,
        order: Order,
        *,
        not_after: datetime | None = None,
        before_control: Callable[[], Awaitable[None]] | None = None,
        crash: CrashHook | None = None,
    ) -> LineLink:
        """Return a link for one piece of work on a meter of this bus.

        Raises:
            PluginError: no plugin has the meter's model.
        """
        if member.model is None:
            raise PluginError(f"no plugin has the model {member.meter.model!r}")
        tolerance = member.model.bus
        response_time_s = self.line.settings.timing.response_time_s
        return LineLink(
            self.line,
            order,
            tolerance.response_time_max_s if response_time_s is None else response_time_s,
            tolerance.gap_characters,
            not_after,
            before_control,
            crash,
        )

    def driver(self, member: Member, link: LineLink) -> MeterDriver:
        """Make a meter's driver.

        Raises:
            PluginError: the plugin is disabled or its factory failed.
            SettingsError: the meter's address or settings are not usable.
        """
        meter = member.meter
        return self.plugins.make_driver(meter.model, link, meter.address, meter.settings)

    def status(self) -> BusStatus:
        """Return how the bus keeps its promises now."""
        now = asyncio.get_running_loop().time()
        plans = [member.plan for member in self.members.values() if not member.plan.is_lost]
        ages = [
            (now - plan.last_good_at, plan.interval_s)
            for plan in plans
            if plan.last_good_at is not None
        ]
        run, counters = self.last_run, self.line.counters
        return BusStatus(
            site=self.site,
            channel=self.channel,
            meters=len(self.members),
            lost=len(self.members) - len(plans),
            late=sum(age_s > interval_s + LATE_AFTER_S for age_s, interval_s in ages),
            oldest_age_s=max((age_s for age_s, _ in ages), default=None),
            run_s=None if run is None else (run.ended_at - run.started_at).total_seconds(),
            fault=self.line.fault,
            exchanges=counters.exchanges,
            timeouts=counters.timeouts,
            stray_bytes=counters.stray_bytes,
        )

    # -- schedule ------------------------------------------------------------------------------

    def _window_s(self) -> float:
        local = self.wall().astimezone(self.zone)
        return window_opens_in(self.channel.window, local).total_seconds()

    def _due(self) -> list[Member]:
        now = asyncio.get_running_loop().time()
        due = [member for member in self.members.values() if member.plan.due_at <= now]
        if not due or self._window_s() > 0:
            return []
        due.sort(key=lambda member: member.plan.due_at)
        return due[:RUN_METERS_MAX]

    async def _pause(self) -> None:
        """Wait until something is due or has changed."""
        now = asyncio.get_running_loop().time()
        next_due = min((member.plan.due_at for member in self.members.values()), default=now + 60)
        pause_s = max(next_due - now, min(self._window_s(), 60.0), 0.001)
        self._changed.clear()
        try:
            async with asyncio.timeout(pause_s):
                await self._changed.wait()
        except TimeoutError:
            return

    # -- reading -------------------------------------------------------------------------------

    async def _read_run(self, due: Iterable[Member], source: ReadingSource) -> ReadingRun:
        """Read meters and hand over what came of it, also when it is cut short."""
        started_at = self.wall()
        taken: list[TakenSnapshot] = []
        failed: list[ReadFailure] = []
        faults: dict[MeterId, LostReason] = {}
        try:
            for member in due:
                try:
                    taken.append(await self._read(member, CLASS_OF_SOURCE[source]))
                except (DriverError, PluginError) as error:
                    member.last_error = str(error)
                    failed.append(ReadFailure(member.meter.id, f"{type(error).__name__}: {error}"))
                    faults[member.meter.id] = self._fault(error)
        finally:
            run = ReadingRun(
                id=self.new_id(),
                organisation_id=self.channel.organisation_id,
                channel_id=self.channel.id,
                source=source,
                started_at=started_at,
                ended_at=self.wall(),
                succeeded=tuple(snapshot.meter.id for snapshot in taken),
                failed=tuple(failed),
            )
            if taken or failed:
                changes = self._note(taken, faults, run.ended_at)
                self.last_run = run
                await self.sink.put(FinishedRun(run, tuple(taken), changes))
        return run

    async def _read(self, member: Member, work_class: WorkClass) -> TakenSnapshot:
        order = Order(work_class, promise=member.plan.due_at)
        link = self.link(member, order)
        try:
            driver = self.driver(member, link)
            told = None
            if member.plan.is_lost or OTHER_METER in member.meter.flags:
                # A probe: its short reply makes a dead meter cost little, and shows a new one.
                told = await supervise(driver.identify(), link, deadline_s=self.read_deadline_s)
            snapshot = await supervise(driver.read(), link, deadline_s=self.read_deadline_s)
            check_snapshot(snapshot, member.model)
        except PluginError as error:
            self.plugins.report_failure(member.meter.model, "read", error)
            raise
        serial = None if told is None else told.serial
        return TakenSnapshot(member.meter, self.wall(), snapshot, serial)

    def _fault(self, error: DriverError | PluginError) -> LostReason:
        if isinstance(error, LinkUnavailableError):
            return LostReason.LINE if self.channel.gateway_id is None else LostReason.GATEWAY
        return LostReason.PLUGIN if isinstance(error, PluginError) else LostReason.METER

    # -- states --------------------------------------------------------------------------------

    def _note(
        self,
        taken: Iterable[TakenSnapshot],
        faults: Mapping[MeterId, LostReason],
        at: datetime,
    ) -> tuple[StateChange, ...]:
        """Update plans from a run and return what changed of the states."""
        now = asyncio.get_running_loop().time()
        changes: list[StateChange] = []
        for snapshot in taken:
            member = self.members.get(snapshot.meter.id)
            if member is not None:
                member.plan.hit(now)
                member.last_error = ""
        for meter_id in faults:
            if meter_id in self.members:
                plan = self.members[meter_id].plan
                if faults[meter_id] is LostReason.PLUGIN:
                    plan.fail(now)
                else:
                    plan.miss(now)
        changes += self._note_channel(bool(faults), {*faults.values()}, at)
        silent = len(self.members) > 1 and all(
            member.plan.misses for member in self.members.values()
        )
        for snapshot in taken:
            member = self.members.get(snapshot.meter.id)
            if member is not None and member.state is not LinkState.REACHED:
                member.state, member.reason = LinkState.REACHED, None
                changes.append(StateChange.of(member.meter, LinkState.REACHED, None, at))
        for meter_id, reason in faults.items():
            member = self.members.get(meter_id)
            if member is None or not member.plan.is_lost or member.state is LinkState.LOST:
                continue
            # When nobody on a bus answers any more, its line is cut.
            cut = reason is LostReason.METER and silent
            member.reason = LostReason.LINE if cut else reason
            member.state = LinkState.LOST
            changes.append(
                StateChange.of(member.meter, LinkState.LOST, member.reason, at, member.last_error)
            )
        return tuple(changes)

    def _note_channel(
        self, failed: bool, reasons: set[LostReason], at: datetime
    ) -> list[StateChange]:
        down = failed and bool(reasons & {LostReason.LINE, LostReason.GATEWAY})
        self._unavailable = self._unavailable + 1 if down else 0
        if down and self._unavailable >= LOST_AFTER and self.state is not LinkState.LOST:
            self.state = LinkState.LOST
            reason = LostReason.LINE if self.channel.gateway_id is None else LostReason.GATEWAY
            return [StateChange.of(self.channel, self.state, reason, at, self.line.fault)]
        if not down and self.line.is_open and self.state is not LinkState.REACHED:
            self.state = LinkState.REACHED
            return [StateChange.of(self.channel, self.state, None, at)]
        return []


def check_snapshot(snapshot: object, model: MeterModel | None) -> None:
    """Refuse what a driver must not return.

    Raises:
        PluginError: another type, or a register that the model does not declare.
    """
    if not isinstance(snapshot, MeterSnapshot):
        raise PluginError(f"read returned {type(snapshot).__name__}, expected MeterSnapshot")
    declared = set() if model is None else {register.slug for register in model.registers}
    for value in snapshot.values:
        if value.register.slug not in declared:
            raise PluginError(f"read returned {value.register.slug}, which the model has not")
