"""mbpoll, a master that is not ours, against our twin."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meterplex.plugin_manager import PluginManager
from meterplex.simulator.estate import (
    AccessKind,
    BusinessClock,
    BusPlan,
    SimulatedBus,
    SimulatedEstate,
    TwinPlan,
)
from meterplex.simulator.wire import Pace

pytestmark = pytest.mark.integration

NOON = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
_VALUE = re.compile(r"^\[(\d+)\]:\s+0x([0-9A-F]{4})", re.MULTILINE)


@pytest.fixture(params=[AccessKind.GATEWAY, AccessKind.PTY], ids=["modbus tcp", "rtu on a pty"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[SimulatedBus]:
    """Give a bus with a DTSY1352 at 1 and a DDSY1352 at 2 whose time stands still."""
    clock = BusinessClock.starting(NOON, speed=0)
    estate = SimulatedEstate(PluginManager.load(), clock, seed=9)
    settings = {"serial": "260711000123", "remaining": "-5.00", "overdraft": "10", "ct": "40"}
    twins = (TwinPlan("acrel_dtsy1352", "1", settings), TwinPlan("acrel_ddsy1352", "2", settings))
    try:
        yield await estate.open_bus(BusPlan("bus", twins, request.param, pace=Pace.at(19200, "E")))
    finally:
        await estate.close()


async def mbpoll(
    program: Path, bus: SimulatedBus, unit: int, register: int, count: int, *values: int
) -> tuple[int, dict[int, int], str]:
    """Read or write holding registers; returns exit code, what was read, and all it said."""
    scheme, _, rest = bus.url.partition("://")
    if scheme == "tcp":
        host, _, port = rest.partition("?")[0].partition(":")
        way, place = ["-m", "tcp", "-p", port], host
    else:
        way, place = ["-m", "rtu", "-b", "19200", "-P", "even"], rest.partition("?")[0]
    wanted = ["-0", "-1", "-a", str(unit), "-t", "4:hex", "-r", str(register)]
    counted = [] if values else ["-c", str(count)]
    process = await asyncio.create_subprocess_exec(
        *(str(program), *way, *wanted, *counted, place, *(f"0x{value:X}" for value in values)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(20):
        said = (await process.communicate())[0].decode()
    assert process.returncode is not None
    read = {int(at): int(value, 16) for at, value in _VALUE.findall(said)}
    return process.returncode, read, said


@pytest.fixture
def program(require_program: Callable[..., Path]) -> Path:
    return require_program("mbpoll")


@pytest.mark.parametrize("unit", [1, 2])
async def test_mbpoll_reads_the_snapshot(program: Path, bus: SimulatedBus, unit: int) -> None:
    code, read, said = await mbpoll(program, bus, unit, 0x0200, 48)

    assert code == 0, said
    assert list(read) == list(range(0x0200, 0x0230))
    # Taken apart by hand after sheet section 4; the twin's own bytes are asked below.
    assert read[0x0200] == {1: 5, 2: 7}[unit]
    assert 2180 <= read[0x0201] <= 2420
    assert (read[0x0213], read[0x0214]) == (1, 40)
    assert (read[0x0215], read[0x0216]) == (1, 100_000 - 65_536)
    assert (read[0x021F], read[0x0220]) == (0xFFFF, 0xFE0C)
    assert read[0x0228] == 26 << 8 | 11
    assert read[0x0229] == 20 << 8 | 5
    assert read[0x022A] == 12 << 8


@pytest.mark.parametrize(
    ("unit", "register", "count"),
    [
        (1, 0x0000, 11),
        (1, 0x0028, 6),
        (1, 0x0037, 2),
        (1, 0x0043, 3),
        (1, 0x0046, 28),
        (1, 0x0200, 48),
        (1, 0x0400, 25),
        (1, 0x0480, 19),
        (1, 0x2000, 42),
        (2, 0x0000, 17),
        (2, 0x0480, 7),
        (2, 0x2000, 48),
    ],
)
async def test_mbpoll_and_the_twin_agree_on_every_block(
    program: Path, bus: SimulatedBus, unit: int, register: int, count: int
) -> None:
    code, read, said = await mbpoll(program, bus, unit, register, count)

    assert code == 0, said
    body = bytes((unit, 3, *register.to_bytes(2, "big"), 0, count))
    reply = bus.bus.twins[str(unit)].receive(body + _crc(body))
    assert [
        *(int.from_bytes(reply[at : at + 2], "big") for at in range(3, 3 + 2 * count, 2))
    ] == list(read.values())


def _crc(body: bytes) -> bytes:
    """Reckon the CRC bit by bit, as the Modbus over Serial Line guide V1.02 tells (6.2.2)."""
    crc = 0xFFFF
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc.to_bytes(2, "little")


async def test_mbpoll_opens_and_releases_the_relay(program: Path, bus: SimulatedBus) -> None:
    states = []
    for values in ((1, 1), (1, 0), (0, 0)):
        code, _, said = await mbpoll(program, bus, 1, 0x0057, 2, *values)
        assert code == 0, said
        _, read, _ = await mbpoll(program, bus, 1, 0x0224, 2)
        states.append((read[0x0224] >> 13, read[0x0225] & 0x0F))

    assert states == [(0b000, 0x8), (0b111, 0xF), (0b111, 0x0)]


async def test_mbpoll_is_told_of_unknown_registers(program: Path, bus: SimulatedBus) -> None:
    code, read, said = await mbpoll(program, bus, 1, 0x3000, 2)

    assert (code, read) == (1, {})
    assert "Illegal data address" in said


async def test_mbpoll_is_told_that_function_6_is_unknown(program: Path, bus: SimulatedBus) -> None:
    code, _, said = await mbpoll(program, bus, 1, 0x0057, 1, 0)

    assert code == 1
    assert "Illegal function" in said
