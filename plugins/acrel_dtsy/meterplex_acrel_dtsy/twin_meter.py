"""The body of a twin: what a prepaid meter does between two frames.

Time is counted in whole microseconds, energy in watt-microseconds (3.6e9 are one Wh), money in
1/10000 of the currency unit with the thousandths of it that whole Wh leave over. Everything is
linear between the edges of a minute, and where a limit is crossed the instant is computed, so that
the same day gives the same registers however often it is looked at.

The relay of a phase follows force control where that is on, else it is closed while fee control
and overload control both wish so.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum, auto
from typing import Final

from meterplex_acrel_dtsy.twin_calendar import TwinCalendar
from meterplex_acrel_dtsy.twin_load import LoadCurve
from meterplex_acrel_dtsy.twin_settings import TwinSettings

_MINUTE_US: Final = 60_000_000
_WH: Final = 3_600_000_000
_DEMAND_MINUTES: Final = 15
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_BORN: Final = datetime.combine(date(2026, 1, 1), time())


class Force(Enum):
    """Force control of one phase."""

    OFF = auto()
    OPEN = auto()
    CLOSED = auto()


@dataclass(slots=True)
class Wallet:
    """The money in the meter, in 1/10000 of the currency unit.

    Attributes:
        owed: thousandths of that, used but not yet taken from ``remaining``; below 1000.
        prices: sharp, peak, flat, valley, per kWh.
        base_wh: energy that is free of charge, used up first (guess: the sheet has the name only).
    """

    fee_control: bool
    remaining: int
    purchase_count: int
    total_purchased: int
    prices: list[int]
    alarm_1: int
    alarm_2: int
    overdraft: int
    base_wh: int = 0
    owed: int = 0

    @property
    def exhausted(self) -> bool:
        """Whether credit and overdraft are used up."""
        return self.fee_control and self.remaining <= -self.overdraft

    def wh_left(self, rate: int) -> int | None:
        """Return after how many Wh at a rate the wallet is exhausted; None when never."""
        price = self.prices[rate]
        if not self.fee_control or self.exhausted or not price:
            return None
        due = (self.remaining + self.overdraft) * 1000 - self.owed
        return self.base_wh - (-due // price)

    def charge(self, wh: int, rate: int) -> None:
        """Take the price of some energy."""
        if not self.fee_control:
            return
        free = min(wh, self.base_wh)
        self.base_wh -= free
        spent, self.owed = divmod(self.owed + (wh - free) * self.prices[rate], 1000)
        self.remaining -= spent


@dataclass(slots=True)
class LoadControl:
    """Overload control of one phase.

    Power in W and recovery in minutes are guesses. Step, power factor and the two registers whose
    meaning is not known (``unread``, ``tail``) are kept and given back, and do nothing.
    """

    enabled: bool = False
    power_w_max: int = 0
    step_max: int = 0
    power_factor: int = 0
    unread: int = 0
    trips_allowed: int = 0
    recover_min: int = 0
    tail: int = 0
    tripped: bool = False
    recover_us: int | None = None


@dataclass(slots=True)
class Demand:
    """The highest mean power of a quarter of an hour, and when the meter's clock saw it."""

    power_w: int = 0
    at: datetime = _BORN


class MeterBody:
    """One meter: relay, counters, wallet, calendar and clock."""

    def __init__(self, settings: TwinSettings, load: LoadCurve) -> None:
        self._load = load
        self._zone = settings.zone
        self._offset = timedelta(seconds=settings.clock_offset_s)
        self._drift_ppm = settings.clock_drift_ppm
        self.phases = load.phases
        self.ct = settings.ct
        self.pt = settings.pt
        self.calendar = TwinCalendar(months_first=settings.months_first)
        self.wallet = Wallet(
            fee_control=settings.fee_control,
            remaining=settings.remaining,
            purchase_count=settings.purchase_count,
            total_purchased=settings.total_purchased,
            prices=list(settings.prices),
            alarm_1=settings.alarm_1,
            alarm_2=settings.alarm_2,
            overdraft=settings.overdraft,
        )
        self.force = [Force.OFF] * self.phases
        self.load_control = [
            LoadControl(
                enabled=settings.overload_w > 0,
                power_w_max=settings.overload_w,
                trips_allowed=settings.trips_allowed,
                recover_min=settings.recover_min,
            )
            for _ in range(self.phases)
        ]
        self.overload_trips = 0
        self.faulty = False
        start = settings.start_energy_wh
        shares = [start // 10, start * 3 // 10, start * 4 // 10]
        self.energy_wh = [*shares, start - sum(shares)]
        self.demand = Demand()
        self._fraction = 0
        self._window = 0
        self._now_us: int | None = None
        self._minute = 0
        self._rate = 2
        self._wanted: tuple[int, ...] = (0,) * self.phases
        self._local = _BORN
        self._local_us = 0
        self._clock_set = _BORN
        self._clock_set_us = 0

    @property
    def relays(self) -> tuple[bool, ...]:
        """Whether the relay of each phase is closed."""
        credit = not self.wallet.exhausted
        return tuple(
            force is Force.CLOSED or (force is Force.OFF and credit and not control.tripped)
            for force, control in zip(self.force, self.load_control, strict=True)
        )

    @property
    def power_w(self) -> tuple[int, ...]:
        """Power that flows now, per phase."""
        return tuple(
            wanted if closed else 0
            for wanted, closed in zip(self._wanted, self.relays, strict=True)
        )

    @property
    def clock(self) -> datetime:
        """The meter's own local time."""
        gone = (self._now_us or 0) - self._clock_set_us
        return self._clock_set + timedelta(microseconds=gone + gone * self._drift_ppm // 1_000_000)

    def set_clock(self, local: datetime) -> None:
        """Set the meter's own local time."""
        self._clock_set, self._clock_set_us = local, self._now_us or 0

    def voltage_tenths(self, phase: int) -> int:
        """Voltage of a phase in 1/10 V, measured before the relay."""
        return self._load.voltage_tenths(self._minute, phase)

    def power_factor_permille(self, phase: int) -> int:
        """Power factor of a phase in 1/1000; 1000 while no current flows."""
        if not self.power_w[phase]:
            return 1000
        return self._load.power_factor_permille(self._minute, phase)

    def reset_trips(self) -> None:
        """Forget overload trips and close again."""
        self.overload_trips = 0
        for control in self.load_control:
            control.tripped, control.recover_us = False, None

    def advance(self, now: datetime) -> None:
        """Live until ``now`` (aware); the first call only starts the clock."""
        until = (now - _EPOCH) // _MICROSECOND
        if self._now_us is None:
            self._start(until, now)
        while self._now_us is not None and self._now_us < until:
            if self._now_us // _MINUTE_US != self._minute:
                self._enter_minute(self._now_us // _MINUTE_US)
            self._live(self._now_us, min(until, self._next_edge(self._now_us)))

    def _start(self, now_us: int, now: datetime) -> None:
        self._local = now.astimezone(self._zone).replace(tzinfo=None)
        self._local_us = self._now_us = now_us
        if not self._clock_set_us:
            self.set_clock(self._local + self._offset)
        self._enter_minute(now_us // _MINUTE_US)

    def _enter_minute(self, minute: int) -> None:
        """Look at calendar, load and demand: once a minute, as of the minute's first moment."""
        if minute // _DEMAND_MINUTES != self._minute // _DEMAND_MINUTES:
            mean_w = self._window // (_DEMAND_MINUTES * _MINUTE_US)
            if mean_w > self.demand.power_w:
                self.demand = Demand(mean_w, self.clock)
            self._window = 0
        self._minute = minute
        self._rate = self.calendar.rate_at(self.clock)
        local = self._local + timedelta(microseconds=minute * _MINUTE_US - self._local_us)
        self._wanted = self._load.power_w(minute, local.weekday(), local.hour * 60 + local.minute)

    def _next_edge(self, now_us: int) -> int:
        """Let overload control act, and return until when nothing changes by itself."""
        edge = (self._minute + 1) * _MINUTE_US
        for phase, control in enumerate(self.load_control):
            if control.recover_us is not None and control.recover_us <= now_us:
                control.tripped, control.recover_us = False, None
            if self._overloaded(phase, control):
                self._trip(control, now_us)
            if control.recover_us is not None:
                edge = min(edge, control.recover_us)
        return edge

    def _overloaded(self, phase: int, control: LoadControl) -> bool:
        return (
            control.enabled
            and self.force[phase] is Force.OFF
            and self.power_w[phase] > control.power_w_max
        )

    def _trip(self, control: LoadControl, now_us: int) -> None:
        """Open for overload; beyond the allowed trips it stays open until they are reset."""
        control.tripped = True
        self.overload_trips += 1
        if self.overload_trips <= control.trips_allowed and control.recover_min:
            control.recover_us = now_us + control.recover_min * _MINUTE_US

    def _live(self, now_us: int, until: int) -> None:
        """Consume with constant power at one rate; stops where the wallet is exhausted."""
        power = sum(self.power_w)
        filled = self._fraction + power * (until - now_us)
        wh = filled // _WH
        left = self.wallet.wh_left(self._rate)
        if left is not None and wh >= left:
            wh = left
            until = now_us + max(0, -(-(left * _WH - self._fraction) // power))
            filled = self._fraction + power * (until - now_us)
        self._window += filled - self._fraction
        self._fraction = filled - wh * _WH
        self._now_us = until
        self.energy_wh[self._rate] += wh
        self.wallet.charge(wh, self._rate)
