"""Checks of what a meter remembers: event log and frozen values."""

from datetime import date
from typing import Final

from meterplex.sdk.capabilities import Capability
from meterplex.sdk.drivers import FrozenPeriod
from meterplex.sdk.testing.device import DeviceUnderTest

EVENTS_MAX: Final = 3
LONG_AGO: Final = date(2000, 1, 1)


class HistorySuite(DeviceUnderTest):
    """How a driver reads what lies back."""

    def test_events_come_newest_first(self) -> None:
        """``read_events`` gives no more than asked for, newest first, in naive local time."""
        self.need(Capability.EVENTS)
        link = self.make_link()
        events = self.run(self.make_driver(link).read_events(EVENTS_MAX))
        times = [event.at for event in events]
        assert len(events) <= EVENTS_MAX
        assert all(at.tzinfo is None for at in times)
        assert times == sorted(times, reverse=True)
        assert link.control_frames == []

    def test_frozen_values_come_oldest_first(self) -> None:
        """``read_frozen`` gives declared registers from the asked day on, oldest first."""
        self.need(Capability.FROZEN)
        for period in FrozenPeriod:
            link = self.make_link()
            values = self.run(self.make_driver(link).read_frozen(period, LONG_AGO))
            days = [frozen.day for frozen in values]
            assert days == sorted(days), period
            assert {frozen.value.register for frozen in values} <= set(self.model.registers)
            assert link.control_frames == [], period
            if days:
                since = days[-1]
                last = self.run(self.driver().read_frozen(period, since))
                assert {frozen.day for frozen in last} == {since}, period
