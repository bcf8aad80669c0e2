"""What the core asks of a device, and what it gets back.

A driver is an object over one :class:`~meterplex.sdk.links.Link` for one device. It never opens
sockets, never sleeps on its own clock, never knows the database. It is made for one piece of work
and thrown away; it keeps no state that matters.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum

from meterplex.domain.registers import RegisterType
from meterplex.domain.supply import SupplyAction, SupplyState
from meterplex.sdk.capabilities import Capability
from meterplex.sdk.errors import UnsupportedError


class Quality(StrEnum):
    """How far a value may be trusted."""

    GOOD = "good"
    SUSPECT = "suspect"
    """The device itself flags a fault, or the value is outside what the register can hold."""


@dataclass(frozen=True, slots=True)
class RegisterValue:
    """One register as the meter shows it, before ct and pt ratio."""

    register: RegisterType
    value: Decimal
    quality: Quality = Quality.GOOD


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device says it is.

    Attributes:
        model: id of the model whose answer this is.
        serial: the meter number, or None where the device does not tell.
        firmware: or None.
    """

    model: str
    serial: str | None = None
    firmware: str | None = None


@dataclass(frozen=True, slots=True)
class CreditState:
    """The wallet inside a meter, all from one read.

    Attributes:
        remaining: currency units; negative when in arrears.
        purchase_count: number of purchases taken.
        total_purchased: currency units ever bought, or None where the device does not tell.
    """

    remaining: Decimal
    purchase_count: int
    total_purchased: Decimal | None = None


@dataclass(frozen=True, slots=True)
class MeterSnapshot:
    """What one ``read`` gave.

    Attributes:
        values: at least the registers asked for that the device has; more where they came along.
        supply: state of relay or valve, when it came along.
        credit: the wallet, when it came along.
        flags: conditions the device reports now, as words (``alarm_1``, ``arrears``,
            ``meter_fault``, ``cover_open`` ...); the head-end makes events of their changes.
            None when the read did not include them.
        clock: the meter's own local date and time (naive: a meter knows no zone), or None.
    """

    values: tuple[RegisterValue, ...]
    supply: SupplyState | None = None
    credit: CreditState | None = None
    flags: frozenset[str] | None = None
    clock: datetime | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of the rates in currency units per unit of the utility; None where not held."""

    sharp: Decimal
    peak: Decimal
    flat: Decimal
    valley: Decimal


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits kept by a meter.

    In ``write_limits`` None leaves a limit as it is; in ``read_limits`` None means that the device
    does not have it.

    Attributes:
        alarm_1: first low-credit warning, currency units.
        alarm_2: second low-credit warning, currency units.
        overdraft: how far below zero supply goes on, currency units.
        hoard: most credit the meter takes, currency units.
        overload_kw: power above which the meter disconnects.
    """

    alarm_1: Decimal | None = None
    alarm_2: Decimal | None = None
    overdraft: Decimal | None = None
    hoard: Decimal | None = None
    overload_kw: Decimal | None = None


class Rate(StrEnum):
    """Rates of a time-of-use calendar, by their usual names."""

    SHARP = "sharp"
    PEAK = "peak"
    FLAT = "flat"
    VALLEY = "valley"
    DEEP_VALLEY = "deep_valley"


@dataclass(frozen=True, slots=True)
class RateChange:
    """From this local time of day on, this rate applies."""

    at: time
    rate: Rate


@dataclass(frozen=True, slots=True)
class SeasonStart:
    """From this day of each year on, this day table applies (index into ``day_tables``)."""

    month: int
    day: int
    table: int


@dataclass(frozen=True, slots=True)
class TouCalendar:
    """Time-of-use calendar of a meter.

    Attributes:
        seasons: in order of month and day.
        day_tables: each a day's changes in order of time, the first at 00:00.
    """

    seasons: tuple[SeasonStart, ...]
    day_tables: tuple[tuple[RateChange, ...], ...]


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """One entry of a meter's own event log, in its own local time."""

    at: datetime
    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FrozenValue:
    """One register as the meter froze it at the end of ``day``."""

    day: date
    value: RegisterValue


class FrozenPeriod(StrEnum):
    """Which frozen values to read."""

    DAY = "day"
    MONTH = "month"


class MeterDriver(ABC):
    """Base of all drivers. Override what the capabilities promise; the rest refuses.

    Every method may raise the errors of :mod:`meterplex.sdk.errors`. A method that writes sends its
    one control frame once: after silence it raises ``OutcomeUnknownError``, it never tries again.
    """

    capabilities: frozenset[Capability] = frozenset()
    """What this driver, with its settings, can do."""
    count_max: int = 9999
    """Largest purchase count that the meter can hold; the default is the narrowest known."""
    withdraws_absolutely: bool = False
    """``withdraw_credit`` writes what is to remain, so that it needs the supply to be off."""

    @abstractmethod
    async def identify(self) -> Identity:
        """Ask the device what it is, with the cheapest exchange it has.

        Raises:
            DeviceMismatchError: it is another model than this driver is for.
        """

    @abstractmethod
    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot:
        """Read registers in the fewest exchanges; None reads what a scheduled poll reads.

        Registers of the model that this device cannot give are left out of the answer.
        """

    async def read_supply(self) -> SupplyState:
        """Read the state of relay or valve."""
        raise UnsupportedError(Capability.SUPPLY)

    async def set_supply(self, action: SupplyAction) -> SupplyState:
        """Send one supply command and return the state read back after it.

        Raises:
            DeviceRefusedError: the device answered no, or it was read to keep another state.
            OutcomeUnknownError: sent; neither answer nor read-back could tell.
        """
        raise UnsupportedError(Capability.SUPPLY)

    async def read_credit(self) -> CreditState:
        """Read the wallet, all of it from one exchange."""
        raise UnsupportedError(Capability.CREDIT)

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        """Send purchase number ``count`` over ``amount`` once, and return the wallet read after it.

        The caller compares the wallet with the one it read before: only that is evidence.

        Raises:
            DeviceRefusedError: the device answered no (which still proves nothing); its reason
                decides whether the same is tried again or a person is asked.
            OutcomeUnknownError: sent, and no answer or no wallet could be read.
        """
        raise UnsupportedError(Capability.DELIVER_CREDIT)

    async def withdraw_credit(self, count: int, amount: Decimal) -> CreditState:
        """Take ``amount`` back as transaction number ``count``, and return the wallet after it.

        Raises:
            DeviceRefusedError: it cannot be taken now (supply still on, less left than asked).
            OutcomeUnknownError: sent, and no answer or no wallet could be read.
        """
        raise UnsupportedError(Capability.WITHDRAW_CREDIT)

    async def read_prices(self) -> Prices:
        """Read the prices in force."""
        raise UnsupportedError(Capability.PRICES)

    async def write_prices(self, prices: Prices) -> Prices:
        """Write prices and return them as read back."""
        raise UnsupportedError(Capability.PRICES)

    async def read_limits(self) -> Limits:
        """Read the limits."""
        raise UnsupportedError(Capability.LIMITS)

    async def write_limits(self, limits: Limits) -> Limits:
        """Write the limits that are not None and return all as read back.

        Raises:
            UnsupportedError: a limit was given that this device does not have.
        """
        raise UnsupportedError(Capability.LIMITS)

    async def read_calendar(self) -> TouCalendar:
        """Read the time-of-use calendar."""
        raise UnsupportedError(Capability.CALENDAR)

    async def write_calendar(self, calendar: TouCalendar) -> TouCalendar:
        """Write the calendar and return it as read back."""
        raise UnsupportedError(Capability.CALENDAR)

    async def read_clock(self) -> datetime:
        """Read the meter's local date and time (naive)."""
        raise UnsupportedError(Capability.CLOCK)

    async def sync_clock(self, local: datetime) -> datetime:
        """Set the meter's clock to a naive local time and return it as read back."""
        raise UnsupportedError(Capability.CLOCK)

    async def read_events(self, limit: int) -> tuple[DeviceEvent, ...]:
        """Read at most ``limit`` of the newest entries of the event log, newest first."""
        raise UnsupportedError(Capability.EVENTS)

    async def read_frozen(self, period: FrozenPeriod, since: date) -> tuple[FrozenValue, ...]:
        """Read frozen values of ``since`` and later, oldest first."""
        raise UnsupportedError(Capability.FROZEN)
