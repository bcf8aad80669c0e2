"""What a site allows itself when it takes supply away, and how it gives it back.

Nothing here acts: the numbers are read by the supply gate, the limiter, the warnings and the
supply loop. All defaults marked (choice) are ours, no standard's; a site may set its own.
"""

from dataclasses import dataclass, field
from datetime import time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from meterplex.domain.registers import WATER, Utility


class UnitKind(StrEnum):
    """Who depends on the supply of a unit."""

    HOME = "home"
    BUSINESS = "business"
    PUBLIC = "public"
    """Common areas: lifts, stairs, pumps."""


class OffAction(StrEnum):
    """What a disconnect does; a relay knows only the first."""

    CLOSE = "close"
    """Supply ends: the valve closes, the relay opens."""
    MINIMUM_FLOW = "minimum_flow"
    """Enough to drink and wash, not more."""


class WaterRule(StrEnum):
    """What a site does to the water of a home that owes."""

    MINIMUM_FLOW = "minimum_flow"
    """Minimum flow where the valve can, else close."""
    NEVER_CLOSE = "never_close"
    """Minimum flow where the valve can, else leave it open."""
    CLOSE = "close"


class HolidayRule(StrEnum):
    """Which days holidays protect."""

    EVE_TOO = "eve_too"
    """The holiday and the day before it: who is cut then cannot pay until after it."""
    DAY_ONLY = "day_only"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class DayWindow:
    """Local times of one day, ``[start, end)``; ``end`` of 00:00 is the end of the day.

    Raises:
        ValueError: it ends before it starts (a disconnect window does not run over midnight), or
            a time carries a zone: the site's zone decides.
    """

    start: time
    end: time

    def __post_init__(self) -> None:
        if self.start.tzinfo or self.end.tzinfo:
            raise ValueError(f"disconnect window {self}: expected times of day without a zone")
        if self.end != time(0) and self.end <= self.start:
            raise ValueError(f"disconnect window {self}: expected an end after the start")

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{'24:00' if self.end == time(0) else f'{self.end:%H:%M}'}"

    def __contains__(self, local: time) -> bool:
        return self.start <= local and (self.end == time(0) or local < self.end)


WORKING_HOURS: Final = ((DayWindow(time(9), time(16)),),) * 5 + ((), ())
"""Monday to Friday 09:00-16:00: a person can be called and can pay before the evening (choice)."""


@dataclass(frozen=True, slots=True)
class LimiterPolicy:
    """How many disconnects may be sent in a sliding window; all numbers are (choice).

    A limit is the larger of its floor and its share of the meters, the share rounded down: never
    more than the percentage, unless the floor grants it. The day's share has the hour's floor,
    since 5 % of fewer than 100 meters would take the floor of 5 away again.

    Attributes:
        tenant_min: floor of both limits of an organisation.
        tenant_hour_percent, tenant_day_percent: of the organisation's meters.
        system_min: floor of the limit over all organisations in :attr:`system_window`.
        system_percent: of all meters.
        meter_day_max: disconnects of one meter in a day; more is a fault that flaps, not a debt.

    Raises:
        ValueError: a number is negative, or a share is over 100 %.
    """

    tenant_min: int = 5
    tenant_hour_percent: Decimal = Decimal(2)
    tenant_day_percent: Decimal = Decimal(5)
    system_min: int = 5
    system_percent: Decimal = Decimal(1)
    system_window: timedelta = timedelta(minutes=10)
    meter_day_max: int = 6

    def __post_init__(self) -> None:
        for name in ("tenant_min", "system_min", "meter_day_max"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)}: expected 0 or more")
        for name in ("tenant_hour_percent", "tenant_day_percent", "system_percent"):
            if not 0 <= getattr(self, name) <= 100:
                raise ValueError(f"{name} {getattr(self, name)}: expected 0 to 100")
        if self.system_window <= timedelta(0):
            raise ValueError(f"system_window {self.system_window}: expected more than no time")


@dataclass(frozen=True, slots=True)
class SupplyPolicy:
    """The rules of one site; every default is (choice).

    Attributes:
        disconnect_windows: for Monday to Sunday, when supply may be taken away, in local time.
        holiday_rule: which days holidays take out of those windows.
        warning_lead: from the arrears warning to the disconnect.
        reading_age_polls_max: oldest balance that may disconnect, in polling intervals.
        batch_alone_max: disconnects that one person may ask for at once.
        limiter: see :class:`LimiterPolicy`.
        clock_jump_max: an outage or jump of the clock longer than this needs settling.
        settle_time: after that, before a rule may disconnect again.
        reconnect_threshold_units: how far above its limit a balance must be for a reconnect, in
            ledger units. 0: whoever is not below the limit is supplied.
        reconnect_spread: many reconnects are spread over this, against an inrush.
        reconnect_at_once_max: reconnects that need no spreading.
        water_homes: what happens to the water of homes that owe.
        frost_limit_c: outdoor temperature in degrees Celsius below which heat stays on.
        gas_reconnect_on_site: gas is opened again only with a person at the valve, who sees that
            no tap was left open.

    Raises:
        ValueError: not seven days of windows, or a number that cannot be.
    """

    disconnect_windows: tuple[tuple[DayWindow, ...], ...] = WORKING_HOURS
    holiday_rule: HolidayRule = HolidayRule.EVE_TOO
    warning_lead: timedelta = timedelta(hours=24)
    reading_age_polls_max: int = 2
    batch_alone_max: int = 10
    limiter: LimiterPolicy = field(default=LimiterPolicy())
    clock_jump_max: timedelta = timedelta(minutes=5)
    settle_time: timedelta = timedelta(minutes=15)
    reconnect_threshold_units: int = 0
    reconnect_spread: timedelta = timedelta(seconds=600)
    reconnect_at_once_max: int = 20
    water_homes: WaterRule = WaterRule.MINIMUM_FLOW
    frost_limit_c: Decimal = Decimal(5)
    gas_reconnect_on_site: bool = True

    def __post_init__(self) -> None:
        if len(self.disconnect_windows) != 7:
            days = len(self.disconnect_windows)
            raise ValueError(f"disconnect_windows: expected 7 days from Monday, got {days}")
        for name in (
            "reading_age_polls_max",
            "batch_alone_max",
            "reconnect_threshold_units",
            "reconnect_at_once_max",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)}: expected 0 or more")
        for name in ("warning_lead", "clock_jump_max", "settle_time", "reconnect_spread"):
            if getattr(self, name) < timedelta(0):
                raise ValueError(f"{name} {getattr(self, name)}: expected no negative time")


DEFAULT_POLICY: Final = SupplyPolicy()
"""What holds at a site that has set nothing."""


def disconnect_limit_units(overdraft_units: int, emergency_units: int) -> int:
    """Return the balance below which supply ends: minus the overdraft and the emergency credit.

    Raises:
        ValueError: an allowance is negative.
    """
    for name, units in (("overdraft", overdraft_units), ("emergency credit", emergency_units)):
        if units < 0:
            raise ValueError(f"{name} of {units} ledger units: expected 0 or more")
    return -(overdraft_units + emergency_units)


def off_action(
    policy: SupplyPolicy,
    utility: Utility,
    unit_kind: UnitKind | None,
    *,
    valve_can_minimum_flow: bool,
) -> OffAction | None:
    """Return how supply is taken from a unit, or None where it must not be taken at all.

    Args:
        policy: the site's.
        utility: only water knows a minimum flow.
        unit_kind: None, not known, is treated as a home.
        valve_can_minimum_flow: a capability of the meter's model.
    """
    is_home = unit_kind in (UnitKind.HOME, None)
    if utility != WATER or not is_home or policy.water_homes is WaterRule.CLOSE:
        return OffAction.CLOSE
    if valve_can_minimum_flow:
        return OffAction.MINIMUM_FLOW
    return OffAction.CLOSE if policy.water_homes is WaterRule.MINIMUM_FLOW else None


def needs_settling(policy: SupplyPolicy, gap: timedelta) -> bool:
    """Whether an outage this long, or a clock that jumped this far either way, needs settling."""
    return abs(gap) > policy.clock_jump_max
