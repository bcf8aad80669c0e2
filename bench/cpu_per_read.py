"""CPU of this process for one decoded read, with many gateways over outgoing TCP.

Both sides read the same registers of the same gateways as whole numbers, on the stock event loop,
RTU over TCP, one request at a time on each connection. Ours keeps 3.5 characters at 9600 baud
between two requests, and a reply's key rests for no time (``late=0``), since nothing is late here:
what is measured is the work, not the waiting.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from statistics import median

from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient

from bench.canned_gateways import canned_gateways, canned_replies
from bench.figures import Figure
from meterplex.headend import builtin_channels
from meterplex.headend.direct import link_on, open_line
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import BusTolerance
from meterplex.sdk.modbus import ModbusMaster

START, COUNT = 0x0200, 20
UNITS = range(1, 9)
"""Meters behind each gateway, read in turn."""

Read = Callable[[], Awaitable[Sequence[int]]]
OpenReader = Callable[[AsyncExitStack, int], Awaitable[Read]]


async def open_ours(stack: AsyncExitStack, port: int) -> Read:
    plugins = PluginManager.load((builtin_channels,), ())
    line = await stack.enter_async_context(
        open_line(plugins, f"tcp://127.0.0.1:{port}?framing=rtu&late=0")
    )
    link = link_on(line, BusTolerance("modbus_rtu"))
    masters = itertools.cycle([ModbusMaster(link, unit) for unit in UNITS])
    await line.check_open()
    return lambda: next(masters).read_holding(START, COUNT)


async def open_pymodbus(stack: AsyncExitStack, port: int) -> Read:
    client = AsyncModbusTcpClient("127.0.0.1", port=port, framer=FramerType.RTU, retries=0)
    await client.connect()
    stack.callback(client.close)
    units = itertools.cycle(UNITS)

    async def read() -> Sequence[int]:
        reply = await client.read_holding_registers(START, count=COUNT, device_id=next(units))
        return reply.registers

    return read


async def cpu_s_per_read(
    open_reader: OpenReader, port: int, gateways: int, seconds: float
) -> float:
    """Read all gateways at once for a while and return the CPU time of one read."""
    async with AsyncExitStack() as stack:
        readers = [await open_reader(stack, port) for _ in range(gateways)]
        for reader in readers:
            await reader()  # the other process may not be up yet
        reads = 0

        stopped = False

        async def keep_reading(read: Read) -> None:
            nonlocal reads
            while not stopped:  # cancelling would not do: wait_for of Python 3.11 may swallow it
                words = await read()
                assert len(words) == COUNT
                assert words[1] == words[0] + 1
                reads += 1

        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(keep_reading(reader))
            await asyncio.sleep(seconds / 4)
            reads_before, cpu_before = reads, time.process_time()
            await asyncio.sleep(seconds)
            reads_done, cpu_s = reads - reads_before, time.process_time() - cpu_before
            stopped = True
        return cpu_s / reads_done


def run(gateways: int = 1000, seconds: float = 4.0, trials: int = 3) -> list[Figure]:
    ours: list[float] = []
    theirs: list[float] = []
    with canned_gateways(canned_replies(UNITS, START, COUNT)) as port:
        for _ in range(trials):
            for opener, costs in ((open_ours, ours), (open_pymodbus, theirs)):
                costs.append(asyncio.run(cpu_s_per_read(opener, port, gateways, seconds)))
    return [
        Figure(
            f"CPU per read of {COUNT} registers against pymodbus",
            median(our_s / their_s for our_s, their_s in zip(ours, theirs, strict=True)),
            "x",
            at_most=0.5,
            detail=f"{1e6 * median(ours):.1f} us against {1e6 * median(theirs):.1f} us, "
            f"{gateways} gateways, RTU over TCP",
        )
    ]
