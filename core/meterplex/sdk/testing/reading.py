"""Checks of declaration, ``identify`` and ``read``."""

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Final

import pytest

from meterplex.sdk.capabilities import Capability
from meterplex.sdk.drivers import MeterDriver, MeterSnapshot, RegisterValue
from meterplex.sdk.errors import (
    DriverError,
    LinkTimeoutError,
    LinkUnavailableError,
    SettingsError,
    UnsupportedError,
)
from meterplex.sdk.links import Delimiter, Framing
from meterplex.sdk.testing.device import DeviceUnderTest, spread
from meterplex.sdk.testing.links import (
    Disturbance,
    MemoryLink,
    change_reply,
    fail_with,
    flip_bit,
    lose_reply,
    on_exchange,
    spaced_hex,
    truncate,
)

BUSY_TRIES: Final = 3

READERS: Final[dict[Capability, Callable[[MeterDriver], Awaitable[object]]]] = {
    Capability.SUPPLY: lambda driver: driver.read_supply(),
    Capability.CREDIT: lambda driver: driver.read_credit(),
    Capability.PRICES: lambda driver: driver.read_prices(),
    Capability.LIMITS: lambda driver: driver.read_limits(),
    Capability.CALENDAR: lambda driver: driver.read_calendar(),
    Capability.CLOCK: lambda driver: driver.read_clock(),
    Capability.EVENTS: lambda driver: driver.read_events(1),
}
"""One harmless call for each capability that has one."""


class _InterleavingLink:
    """Lets other tasks run before each exchange, as a real link does."""

    def __init__(self, link: MemoryLink) -> None:
        self._link = link

    @property
    def framing(self) -> Framing:
        return self._link.framing

    async def exchange(
        self, request: bytes, delimiter: Delimiter, *, control: bool = False
    ) -> bytes:
        await asyncio.sleep(0)
        reply = await self._link.exchange(request, delimiter, control=control)
        await asyncio.sleep(0)
        return reply


class DeclarationSuite(DeviceUnderTest):
    """What a model says of itself."""

    def test_address_is_in_normal_form(self) -> None:
        """``check_address`` returns a normal address as it is."""
        for address in filter(None, (self.address, self.other_address)):
            assert self.model.check_address(address) == address

    def test_bad_addresses_are_refused(self) -> None:
        """What the protocol cannot address is refused with ``SettingsError``, nothing else."""
        for address in self.bad_addresses:
            try:
                normal = self.model.check_address(address)
            except SettingsError:
                continue
            pytest.fail(f"address {address!r} was taken as {normal!r}")

    def test_driver_promises_no_more_than_its_model(self) -> None:
        """A driver narrows the capabilities of its model, it never widens them."""
        assert self.driver().capabilities <= self.model.capabilities

    def test_missing_capabilities_refuse(self) -> None:
        """A method that no capability promises raises ``UnsupportedError`` and sends nothing."""
        for capability, call in READERS.items():
            link = self.make_link()
            driver = self.make_driver(link)
            if capability in driver.capabilities:
                continue
            outcome = self.attempt(call(driver))
            assert isinstance(outcome, UnsupportedError), f"{capability}: {outcome}"
            assert not link.exchanges, f"{capability}: something was sent"


class ReadingSuite(DeviceUnderTest):
    """How a driver reads."""

    def read_once(self) -> tuple[MeterSnapshot, MemoryLink]:
        """Return what a scheduled read gives, and the link it was made on."""
        link = self.make_link()
        return self.run(self.make_driver(link).read()), link

    def read_disturbed(self, disturb: Disturbance) -> MeterSnapshot | DriverError:
        """Return what a disturbed scheduled read gives."""
        return self.attempt(self.driver(disturb).read())

    def assert_never_another_value(self, disturb: Disturbance, undisturbed: MeterSnapshot) -> None:
        """A disturbed read ends in a typed error or in the undisturbed values."""
        outcome = self.read_disturbed(disturb)
        if not isinstance(outcome, DriverError):
            assert outcome.values == undisturbed.values

    def test_identify_names_the_model(self) -> None:
        """``identify`` returns this model's id and moves nothing."""
        link = self.make_link()
        identity = self.run(self.make_driver(link).identify())
        assert identity.model == self.model.id
        assert link.control_frames == []

    def test_read_gives_declared_registers(self) -> None:
        """A scheduled read gives registers, and only those that the model declares."""
        snapshot, _ = self.read_once()
        assert snapshot.values
        assert {value.register for value in snapshot.values} <= set(self.model.registers)

    def test_read_gives_each_register_once(self) -> None:
        """No register comes twice in a read."""
        snapshot, _ = self.read_once()
        slugs = [value.register.slug for value in snapshot.values]
        assert sorted(set(slugs)) == sorted(slugs)

    def test_values_are_decimals_on_the_grid(self) -> None:
        """Values are finite ``Decimal`` numbers, whole multiples of their register's resolution."""
        snapshot, _ = self.read_once()
        for read in snapshot.values:
            assert isinstance(read.value, Decimal), read
            assert read.value.is_finite(), read
            register = read.register
            assert register.from_steps(register.to_steps(read.value)) == read.value, read

    def test_asked_register_equals_polled_one(self) -> None:
        """A register that is asked for alone has the value it has in a scheduled read."""
        self.need_twin()
        polled = {read.register: read for read in self.read_once()[0].values}
        for register in self.model.registers:
            alone = _only(self.run(self.driver().read([register])), register.slug)
            if register in polled:
                assert alone == polled[register]

    def test_read_moves_nothing(self) -> None:
        """A read sends no frame that is flagged as control."""
        _, link = self.read_once()
        assert link.control_frames == []

    def test_poll_is_as_declared(self) -> None:
        """A scheduled read sends the exchanges that the model declares, byte for byte in length."""
        _, link = self.read_once()
        sent = [(len(exchange.request), len(exchange.arrived)) for exchange in link.exchanges]
        assert sent == [(size.request, size.reply) for size in self.model.poll]

    def test_reply_fits_the_announced_length(self) -> None:
        """No reply is longer than its delimiter announced; the time-out follows from that."""
        _, link = self.read_once()
        for exchange in link.exchanges:
            assert len(exchange.reply or b"") <= exchange.delimiter.reply_length_max

    def test_flags_are_words(self) -> None:
        """Flags are lower-case words that an event can be named by."""
        for flag in self.read_once()[0].flags or ():
            assert re.fullmatch(r"[a-z][a-z0-9_]*", flag), flag

    def test_snapshot_clock_is_local(self) -> None:
        """The meter's clock comes as a naive local time: a meter knows no zone."""
        clock = self.read_once()[0].clock
        assert clock is None or (type(clock) is datetime and clock.tzinfo is None)

    def test_silence_is_a_time_out(self) -> None:
        """Without an answer the link's ``LinkTimeoutError`` goes through."""
        assert isinstance(self.read_disturbed(lose_reply), LinkTimeoutError)

    def test_dead_link_is_said_so(self) -> None:
        """When nothing could be sent the link's ``LinkUnavailableError`` goes through."""
        outcome = self.read_disturbed(fail_with(LinkUnavailableError("the port is gone")))
        assert isinstance(outcome, LinkUnavailableError)

    def test_flipped_bits_give_no_value(self) -> None:
        """One wrong bit in a reply never gives another value, and raises only typed errors."""
        snapshot, link = self.read_once()
        for number, exchange in enumerate(link.exchanges):
            for bit in spread(8 * len(exchange.arrived)):
                self.assert_never_another_value(on_exchange(number, flip_bit(bit)), snapshot)

    def test_truncated_replies_give_no_value(self) -> None:
        """A reply cut at any length never gives a value, and raises only typed errors."""
        _, link = self.read_once()
        for number, exchange in enumerate(link.exchanges):
            for length in range(len(exchange.arrived)):
                outcome = self.read_disturbed(on_exchange(number, truncate(length)))
                assert isinstance(outcome, DriverError), f"{length} bytes gave {outcome}"

    def test_garbage_before_the_reply_is_skipped(self) -> None:
        """Noise on the line before a reply is skipped."""
        snapshot, link = self.read_once()
        for number in range(len(link.exchanges)):
            noise = change_reply(lambda reply: bytes.fromhex("00 FF 00") + reply)
            assert self.read_disturbed(on_exchange(number, noise)) == snapshot

    def test_other_devices_replies_give_no_value(self) -> None:
        """The reply of the device at another address is not taken."""
        self.need_twin()
        other = self.need_other_address()
        foreign = self.make_link(address=other)
        self.run(self.make_driver(foreign, address=other).read())
        replies = iter([exchange.arrived for exchange in foreign.exchanges])
        outcome = self.read_disturbed(lambda _: next(replies, b""))
        replies_hex = ", ".join(spaced_hex(exchange.arrived) for exchange in foreign.exchanges)
        assert isinstance(outcome, DriverError), f"the replies {replies_hex} gave {outcome}"

    def test_driver_awaits_only_its_link(self) -> None:
        """A driver sleeps on no clock of its own and waits for nothing but ``Link.exchange``."""
        link = self.make_link()
        assert self.run(_first_wait(self.make_driver(link))) is None

    def test_driver_opens_no_socket(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A driver reaches its device over the link alone."""
        opened: list[object] = []
        plain = socket.socket.__init__

        def note(self: socket.socket, *args: int, **settings: int) -> None:
            opened.append(self)
            plain(self, *args, **settings)

        link = self.make_link()

        async def read() -> None:
            # The loop's own sockets are open by now.
            with monkeypatch.context() as patch:
                patch.setattr(socket.socket, "__init__", note)
                await self.make_driver(link).read()

        self.run(read())
        assert not opened, f"{len(opened)} sockets were opened"

    def test_driver_does_not_block(self) -> None:
        """A read keeps the event loop for less than ``busy_s_max``, the best of some tries."""
        busy_s = []
        for _ in range(BUSY_TRIES):
            driver = self.driver()
            started = time.perf_counter()
            self.run(_first_wait(driver))
            busy_s.append(time.perf_counter() - started)
        assert min(busy_s) < self.busy_s_max, "the driver blocks the event loop"

    def test_two_drivers_share_nothing(self) -> None:
        """Two reads at once, on two links, give what each gives alone."""
        self.need_twin()
        other = self.need_other_address()
        links = {address: self.make_link(address=address) for address in (self.address, other)}
        alone = {
            address: self.run(self.make_driver(link, address=address).read())
            for address, link in links.items()
        }

        async def read(address: str) -> MeterSnapshot:
            link = _InterleavingLink(links[address])
            return await self.make_driver(link, address=address).read()

        async def together() -> list[MeterSnapshot]:
            return await asyncio.gather(*(read(address) for address in links))

        assert self.run(together()) == list(alone.values())


async def _first_wait(driver: MeterDriver) -> object:
    """Start a read and return what it waits for first; None when it ran to its end.

    The link in memory never waits, so whatever is waited for is the driver's own doing.
    """
    read = driver.read().__await__()
    try:
        waited_for = next(read)
    except StopIteration:
        return None
    read.close()
    return waited_for if waited_for is not None else "a turn of the event loop"


def _only(snapshot: MeterSnapshot, slug: str) -> RegisterValue | None:
    return next((read for read in snapshot.values if read.register.slug == slug), None)
