"""Checks of what is kept in a meter: prices, limits, calendar and clock."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import fields, replace
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import ClassVar, Final

from meterplex.sdk.capabilities import Capability
from meterplex.sdk.drivers import (
    Limits,
    MeterDriver,
    Prices,
    Rate,
    RateChange,
    SeasonStart,
    TouCalendar,
)
from meterplex.sdk.errors import DeviceRefusedError, ExpiredError, OutcomeUnknownError
from meterplex.sdk.testing.device import DeviceUnderTest
from meterplex.sdk.testing.links import (
    fail_with,
    from_control_on,
    lose_reply,
    on_control,
    reply_with,
)

CLOCK_TOLERANCE: Final = timedelta(seconds=2)

Write = Callable[[MeterDriver], Awaitable[object]]


class MeterSettingsSuite(DeviceUnderTest):
    """How a driver writes settings into a meter.

    Attributes:
        prices: written by the checks.
        limits: written by the checks; set to None what the meter does not keep.
        calendar: written by the checks.
        local_time: written by the checks.
    """

    prices: ClassVar[Prices] = Prices(
        sharp=Decimal("1.1"), peak=Decimal("0.9"), flat=Decimal("0.6"), valley=Decimal("0.3")
    )
    limits: ClassVar[Limits] = Limits(alarm_1=Decimal(30), alarm_2=Decimal(10))
    calendar: ClassVar[TouCalendar] = TouCalendar(
        seasons=(SeasonStart(1, 1, 0), SeasonStart(7, 1, 1)),
        day_tables=(
            (RateChange(time(0), Rate.VALLEY), RateChange(time(8, 30), Rate.FLAT)),
            (RateChange(time(0), Rate.FLAT), RateChange(time(18), Rate.PEAK)),
        ),
    )
    local_time: ClassVar[datetime] = datetime(2026, 3, 29, 2, 30, 15)  # noqa: DTZ001  # a meter's

    def writes(self) -> Iterator[tuple[Capability, Write]]:
        """Give one write for each capability that the driver has, or skip where it has none."""
        writes: dict[Capability, Write] = {
            Capability.PRICES: lambda driver: driver.write_prices(self.prices),
            Capability.LIMITS: lambda driver: driver.write_limits(self.limits),
            Capability.CALENDAR: lambda driver: driver.write_calendar(self.calendar),
            Capability.CLOCK: lambda driver: driver.sync_clock(self.local_time),
        }
        had = self.driver().capabilities & writes.keys()
        if not had:
            self.need(*writes)
        return ((capability, writes[capability]) for capability in sorted(had))

    def test_prices_are_read_back(self) -> None:
        """``write_prices`` returns the prices as the meter then holds them."""
        self.need(Capability.PRICES)
        link = self.make_link()
        assert self.run(self.make_driver(link).write_prices(self.prices)) == self.prices
        assert self.run(self.make_driver(link).read_prices()) == self.prices

    def test_limits_are_read_back(self) -> None:
        """``write_limits`` writes the limits that are given and leaves the others as they are."""
        self.need(Capability.LIMITS)
        link = self.make_link()
        before = self.run(self.make_driver(link).read_limits())
        given = {
            limit.name: value
            for limit in fields(self.limits)
            if (value := getattr(self.limits, limit.name)) is not None
        }
        expected = replace(before, **given)
        assert self.run(self.make_driver(link).write_limits(self.limits)) == expected
        assert self.run(self.make_driver(link).read_limits()) == expected

    def test_calendar_is_read_back(self) -> None:
        """``write_calendar`` returns the calendar as the meter then holds it."""
        self.need(Capability.CALENDAR)
        link = self.make_link()
        assert self.run(self.make_driver(link).write_calendar(self.calendar)) == self.calendar
        assert self.run(self.make_driver(link).read_calendar()) == self.calendar

    def test_clock_is_read_back(self) -> None:
        """``sync_clock`` sets the local time that it is given and returns the meter's, naive."""
        self.need(Capability.CLOCK)
        link = self.make_link()
        returned = self.run(self.make_driver(link).sync_clock(self.local_time))
        read = self.run(self.make_driver(link).read_clock())
        for clock in (returned, read):
            assert clock.tzinfo is None
            assert abs(clock - self.local_time) <= CLOCK_TOLERANCE

    def test_writes_are_control_frames(self) -> None:
        """Every write is flagged as control, and no two frames of a write are the same."""
        for capability, write in self.writes():
            link = self.make_link()
            self.run(write(self.make_driver(link)))
            assert link.control_frames, capability
            assert len(set(link.control_frames)) == len(link.control_frames), capability

    def test_silence_after_a_write_is_unknown(self) -> None:
        """After a write without answer and read-back the outcome is unknown, never *failed*."""
        for capability, write in self.writes():
            outcome = self.attempt(write(self.driver(from_control_on(lose_reply))))
            assert isinstance(outcome, OutcomeUnknownError), f"{capability}: {outcome!r}"

    def test_write_is_never_repeated(self) -> None:
        """After silence a write is not sent again."""
        for capability, write in self.writes():
            link = self.make_link(from_control_on(lose_reply))
            self.attempt(write(self.make_driver(link)))
            assert len(set(link.control_frames)) == len(link.control_frames), capability

    def test_refusal_of_a_write_is_said_so(self) -> None:
        """A device that says no makes ``DeviceRefusedError``."""
        for capability, write in self.writes():
            outcome = self.attempt(write(self.driver(on_control(reply_with(self.refuse)))))
            assert isinstance(outcome, DeviceRefusedError), f"{capability}: {outcome!r}"

    def test_unsent_write_is_not_unknown(self) -> None:
        """When the link did not send, its own error goes through: nothing is uncertain."""
        for capability, write in self.writes():
            outcome = self.attempt(write(self.driver(on_control(fail_with(ExpiredError("late"))))))
            assert isinstance(outcome, ExpiredError), f"{capability}: {outcome!r}"
