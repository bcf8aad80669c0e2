"""The ways to a wire, over real sockets and pseudo-terminals."""

import asyncio
import os
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from meterplex.simulator.bus import TwinBus
from meterplex.simulator.precise_loop import precise_loop
from meterplex.simulator.serving import PtyAccess, TcpAccess, open_pty, serve_gateway, serve_raw
from meterplex.simulator.wire import Pace, Wire

pytestmark = pytest.mark.integration

ALL_BYTES = bytes(range(1, 256)) + b"\x00"


class Mirror:
    """Answers what begins with its address, backwards."""

    turn_round_s = 0.0

    def __init__(self, first: int) -> None:
        self._first = first

    def receive(self, burst: bytes) -> bytes:
        return burst[::-1] if burst[:1] == bytes((self._first,)) else b""

    def advance(self, now: datetime) -> None:
        raise AssertionError("serving does not move time")


class Register:
    """Device 1 with one register that holds 0x1234."""

    turn_round_s = 0.0

    def receive(self, burst: bytes) -> bytes:
        if burst == bytes.fromhex("01 03 00 00 00 01 84 0A"):
            return bytes.fromhex("01 03 02 12 34 B5 33")
        return b""

    def advance(self, now: datetime) -> None:
        raise AssertionError("serving does not move time")


def mirrors() -> TwinBus:
    return TwinBus({"1": Mirror(1), "2": Mirror(2)})


@asynccontextmanager
async def connected(
    access: TcpAccess,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", access.port)
    try:
        async with asyncio.timeout(5):
            yield reader, writer
    finally:
        writer.close()


class Port:
    """The master's end of a pseudo-terminal."""

    def __init__(self, access: PtyAccess) -> None:
        self._fd = os.open(access.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    async def exchange(self, request: bytes, size: int) -> bytes:
        os.write(self._fd, request)
        loop = asyncio.get_running_loop()
        heard, whole = bytearray(), asyncio.Event()

        def read() -> None:
            heard.extend(os.read(self._fd, 4096))
            if len(heard) >= size:
                whole.set()

        loop.add_reader(self._fd, read)
        try:
            async with asyncio.timeout(5):
                await whole.wait()
        finally:
            loop.remove_reader(self._fd)
        return bytes(heard)

    def close(self) -> None:
        os.close(self._fd)


async def test_raw_connection_is_the_line() -> None:
    access = await serve_raw(Wire(mirrors()))
    try:
        async with connected(access) as (reader, writer):
            writer.write(ALL_BYTES)
            assert await reader.readexactly(256) == ALL_BYTES[::-1]
    finally:
        access.close()


async def test_each_connection_gets_its_own_replies() -> None:
    access = await serve_raw(Wire(mirrors()))
    try:
        async with connected(access) as first, connected(access) as second:
            first[1].write(b"\x01first")
            assert await first[0].readexactly(6) == b"tsrif\x01"
            second[1].write(b"\x02second")
            assert await second[0].readexactly(7) == b"dnoces\x02"
    finally:
        access.close()


async def test_dropped_connections_are_gone_and_new_ones_served() -> None:
    access = await serve_raw(Wire(mirrors()))
    try:
        async with connected(access) as (reader, writer):
            writer.write(b"\x01")
            await reader.readexactly(1)
            access.drop_connections()
            assert await reader.read(1) == b""
        async with connected(access) as (reader, writer):
            writer.write(b"\x01again")
            assert await reader.readexactly(6) == b"niaga\x01"
    finally:
        access.close()


async def test_closed_access_refuses_connections() -> None:
    access = await serve_raw(Wire(mirrors()))
    port = access.port
    access.close()

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_gateway_speaks_modbus_tcp() -> None:
    access = await serve_gateway(Wire(TwinBus({"1": Register()})), answer_timeout_s=0.01)
    try:
        async with connected(access) as (reader, writer):
            writer.write(bytes.fromhex("00 07 00 00 00 06 01 03 00 00 00 01"))
            assert await reader.readexactly(11) == bytes.fromhex("00 07 00 00 00 05 01 03 02 12 34")
            writer.write(bytes.fromhex("00 08 00 00 00 06 02 03 00 00 00 01"))
            assert await reader.readexactly(9) == bytes.fromhex("00 08 00 00 00 03 02 83 0B")
    finally:
        access.close()


async def test_pseudo_terminal_passes_every_byte() -> None:
    access = open_pty(Wire(mirrors()))
    port = Port(access)
    try:
        assert await port.exchange(ALL_BYTES, 256) == ALL_BYTES[::-1]
    finally:
        port.close()
        access.close()


async def test_pseudo_terminal_outlives_its_masters() -> None:
    access = open_pty(Wire(mirrors()))
    try:
        for word in (b"\x01one", b"\x02two"):
            port = Port(access)
            assert await port.exchange(word, 4) == word[::-1]
            port.close()
    finally:
        access.close()


async def test_replies_that_nobody_reads_are_lost() -> None:
    access = open_pty(Wire(mirrors()))
    port = os.open(access.path, os.O_RDWR | os.O_NOCTTY)
    try:
        for _ in range(50):
            # In a thread: a terminal whose buffer is full blocks its writer.
            await asyncio.to_thread(os.write, port, b"\x01" * 1000)
        async with asyncio.timeout(5):
            heard = await asyncio.to_thread(os.read, port, 4096)
        assert set(heard) == {1}
    finally:
        os.close(port)
        access.close()


async def test_closing_twice_is_harmless() -> None:
    access = open_pty(Wire(mirrors()))

    access.close()
    access.close()


@pytest.mark.parametrize(
    ("pause", "careful"),
    [
        pytest.param(lambda pace: pace.gap_s, True, id="keeps the gap"),
        pytest.param(lambda _: 0.0, False, id="talks at once"),
    ],
)
def test_gap_violations_on_twelve_ptys(pause: Callable[[Pace], float], *, careful: bool) -> None:
    pace = Pace.at(19200)
    request = b"\x01" + bytes(7)

    async def poll(port: Port) -> None:
        for _ in range(8):
            assert await port.exchange(request, 8) == request[::-1]
            if pause(pace):
                await asyncio.sleep(pause(pace))

    async def main() -> list[TwinBus]:
        buses = [mirrors() for _ in range(12)]
        accesses = [open_pty(Wire(bus, pace)) for bus in buses]
        ports = [Port(access) for access in accesses]
        await asyncio.gather(*(poll(port) for port in ports))
        for port, access in zip(ports, accesses, strict=True):
            port.close()
            access.close()
        return buses

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        buses = runner.run(main())

    assert [bus.counters.exchanges for bus in buses] == [8] * 12
    violations = [bus.counters.gap_violations for bus in buses]
    assert violations == [0] * 12 if careful else min(violations) > 0


def test_near_end_is_raw() -> None:
    async def main() -> list[object]:
        access = open_pty(Wire(mirrors()))
        port = os.open(access.path, os.O_RDWR | os.O_NOCTTY)
        try:
            return list(termios.tcgetattr(port))
        finally:
            os.close(port)
            access.close()

    local_modes = asyncio.run(main())[3]
    assert isinstance(local_modes, int)
    assert not local_modes & (termios.ECHO | termios.ICANON | termios.ISIG)
