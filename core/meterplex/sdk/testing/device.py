"""What the suites have in common: the device under test, and how a check meets it."""

import asyncio
from collections.abc import Awaitable, Collection, Iterator, Mapping
from typing import ClassVar, Final, TypeVar

import pytest

from meterplex.sdk.capabilities import Capability
from meterplex.sdk.drivers import MeterDriver
from meterplex.sdk.errors import DriverError
from meterplex.sdk.links import Link
from meterplex.sdk.models import MeterModel
from meterplex.sdk.settings import complete_settings
from meterplex.sdk.testing.links import (
    Disturbance,
    MemoryLink,
    Script,
    ScriptedTransport,
    TwinLink,
    undisturbed,
)
from meterplex.sdk.twins import DeviceTwin

DEADLINE_S: Final = 10.0
CASES_MAX: Final = 1500

Result = TypeVar("Result")


class DeviceUnderTest:
    """Base of the suites; a vendor sets the attributes.

    A check that cannot be made (no such capability, no twin) skips and says why. A waiver is an
    override of the check that calls ``pytest.skip`` with the reason.

    Attributes:
        model: the model under test.
        address: of the device, in normal form.
        other_address: of a second device on the bus; None where a bus has only one.
        settings: of the driver.
        script: the device as recorded frames. None uses the model's twin.
        twin_settings: of the twin, chosen so that supply is on and the wallet holds money.
        seed: of the twin.
        bad_addresses: which the model must refuse; add what the protocol cannot address.
        busy_s_max: how long a read may keep the processor from everybody else, in seconds.
    """

    model: ClassVar[MeterModel]
    address: ClassVar[str] = "1"
    other_address: ClassVar[str | None] = "2"
    settings: ClassVar[Mapping[str, str]] = {}
    script: ClassVar[Script | None] = None
    twin_settings: ClassVar[Mapping[str, str]] = {}
    seed: ClassVar[int] = 1
    bad_addresses: ClassVar[Collection[str]] = ("", " ", "x", "-1", "1.5", "9" * 20)
    busy_s_max: ClassVar[float] = 0.05

    def refuse(self, request: bytes) -> bytes:
        """Return the reply of a device that says no to a control frame; override it."""
        pytest.skip("refuse() is not overridden: how this device says no is not known")

    def make_twin(self, address: str | None = None) -> DeviceTwin:
        """Return a new twin, or skip where the model has none."""
        if self.model.twin is None:
            pytest.skip(f"{self.model.id} has no twin")
        return self.model.twin(address or self.address, self.twin_settings, self.seed)

    def make_link(
        self, disturb: Disturbance = undisturbed, *, address: str | None = None
    ) -> MemoryLink:
        """Return a link to a new device: scripted where there is a script, else a twin."""
        if self.script is not None and address in {None, self.address}:
            return ScriptedTransport(self.script, disturb=disturb)
        return TwinLink(self.make_twin(address), disturb=disturb)

    def make_driver(self, link: Link, *, address: str | None = None) -> MeterDriver:
        """Return a new driver on a link, as the head-end makes one for each piece of work."""
        complete = complete_settings(self.model.settings, self.settings, self.model.id)
        return self.model.driver(link, address or self.address, complete)

    def driver(self, disturb: Disturbance = undisturbed) -> MeterDriver:
        """Return a new driver on a link to a new device."""
        return self.make_driver(self.make_link(disturb))

    def need(self, *capabilities: Capability) -> None:
        """Skip unless the driver has these capabilities."""
        had = self.driver().capabilities
        for capability in capabilities:
            if capability not in had:
                pytest.skip(f"{self.model.id} has no capability {capability}")

    def need_twin(self) -> None:
        """Skip where the device is only a script, which cannot change its state."""
        if self.script is not None or self.model.twin is None:
            pytest.skip(f"{self.model.id} is not tested with a twin")

    def need_other_address(self) -> str:
        """Return the second address, or skip."""
        if self.other_address is None:
            pytest.skip(f"{self.model.id} has no second address")
        return self.other_address

    def run(self, work: Awaitable[Result]) -> Result:
        """Run a piece of work of a driver to its end."""
        with asyncio.Runner() as runner:
            return runner.run(_in_time(work))

    def attempt(self, work: Awaitable[Result]) -> Result | DriverError:
        """Run a piece of work and return what it returned or the typed error it raised.

        Any other exception goes through: it fails the check.
        """
        try:
            return self.run(work)
        except DriverError as error:
            return error


async def _in_time(work: Awaitable[Result]) -> Result:
    async with asyncio.timeout(DEADLINE_S):
        return await work


def spread(count: int) -> Iterator[int]:
    """Return at most :data:`CASES_MAX` of the numbers below ``count``, evenly spread."""
    stride = -(-count // CASES_MAX) | 1  # odd: an even one would always hit the same bits
    return iter(range(0, count, stride))
