"""Checks of a model's device twin."""

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from meterplex.sdk.testing.device import DeviceUnderTest
from meterplex.sdk.testing.links import TwinLink

BURSTS: Final = 500
BURST_LENGTH_MAX: Final = 64
BEGIN: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


class TwinSuite(DeviceUnderTest):
    """How a simulated device behaves."""

    def test_twin_takes_any_bytes(self) -> None:
        """A twin takes any bytes, and answers its driver afterwards."""
        twin = self.make_twin()
        noise = random.Random(self.seed)  # noqa: S311  # noise, not a secret
        for _ in range(BURSTS):
            assert isinstance(
                twin.receive(noise.randbytes(noise.randint(0, BURST_LENGTH_MAX))), bytes
            )
        assert self.run(self.make_driver(TwinLink(twin)).read()).values

    def test_twin_hears_only_its_address(self) -> None:
        """A twin keeps silent when another device is asked."""
        other = self.need_other_address()
        link = TwinLink(self.make_twin())
        self.attempt(self.make_driver(link, address=other).read())
        assert [exchange.arrived for exchange in link.exchanges] == [b""] * len(link.exchanges)

    def test_twin_is_given_by_its_seed(self) -> None:
        """Two twins of one seed that live through the same time answer the same."""
        answers = []
        for _ in range(2):
            twin = self.make_twin()
            twin.advance(BEGIN)
            twin.advance(BEGIN + timedelta(hours=6))
            answers.append(self.run(self.make_driver(TwinLink(twin)).read()))
        assert answers[0] == answers[1]

    def test_counters_only_rise(self) -> None:
        """Cumulative registers of a twin do not fall as it lives on."""
        twin = self.make_twin()
        link = TwinLink(twin)
        shown = []
        for hours in range(0, 48, 6):
            twin.advance(BEGIN + timedelta(hours=hours))
            read = self.run(self.make_driver(link).read()).values
            shown.append({each.register: each.value for each in read if each.register.cumulative})
        for earlier, later in pairwise(shown):
            assert all(later[register] >= value for register, value in earlier.items())
