"""How much of the time the wires are in use, beside three clients that are not ours.

Each client polls the same meters on the same paced pseudo-terminals, one after the other, with one
talker a bus: ours on one event loop, pymodbus' asyncio client on one event loop, and the two
synchronous clients with one thread a bus. Use is the time that the exchanges needed their wires
(characters, the meter's turn-round, 3.5 characters behind the reply) over the time that passed.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

import minimalmodbus
from pymodbus.client import AsyncModbusSerialClient, ModbusSerialClient
from pymodbus.exceptions import ModbusException

from bench.figures import Figure
from bench.paced_buses import BAUD, SNAPSHOT_COUNT, SNAPSHOT_START, PacedBuses
from meterplex.headend import builtin_channels
from meterplex.headend.direct import link_on, open_line
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import BusTolerance
from meterplex.sdk.modbus import ModbusMaster

COUNT = 20
TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is polled: ``count`` registers of each of ``meters`` on each bus, and for how long."""

    meters: int
    count: int
    seconds: float
    warm_up_s: float


@dataclass(frozen=True, slots=True)
class Use:
    """What the wires saw of a client."""

    share: float
    gap_violations: int
    reads_per_s: float


Measure = Callable[[], None]
Client = Callable[[PacedBuses, Load, Measure], None]
"""Polls while a measurement runs in the same process, then stops."""


def ours(buses: PacedBuses, load: Load, measure: Measure) -> None:
    asyncio.run(_ours(buses, load, measure))


async def _ours(buses: PacedBuses, load: Load, measure: Measure) -> None:
    plugins = PluginManager.load((builtin_channels,), ())
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(open_line(plugins, url)) for url in buses.urls]
        links = [link_on(line, BusTolerance("modbus_rtu")) for line in lines]

        async def poll(number: int, stopped: threading.Event) -> None:
            masters = [ModbusMaster(links[number], unit + 1) for unit in range(load.meters)]
            for master in itertools.cycle(masters):
                if stopped.is_set():
                    return
                await master.read_holding(SNAPSHOT_START, load.count)

        await _poll_all(poll, len(lines), measure)


def pymodbus_async(buses: PacedBuses, load: Load, measure: Measure) -> None:
    asyncio.run(_pymodbus_async(buses, load, measure))


async def _pymodbus_async(buses: PacedBuses, load: Load, measure: Measure) -> None:
    clients = [
        AsyncModbusSerialClient(path, baudrate=BAUD, timeout=TIMEOUT_S, retries=0)
        for path in buses.paths
    ]
    for client in clients:
        await client.connect()

    async def poll(number: int, stopped: threading.Event) -> None:
        for unit in itertools.cycle(range(1, load.meters + 1)):
            if stopped.is_set():
                return
            with suppress(ModbusException):
                await clients[number].read_holding_registers(
                    SNAPSHOT_START, count=load.count, device_id=unit
                )

    await _poll_all(poll, len(clients), measure)
    for client in clients:
        client.close()


async def _poll_all(
    poll: Callable[[int, threading.Event], Any], count: int, measure: Measure
) -> None:
    stopped = threading.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(poll(number, stopped))
        await asyncio.to_thread(measure)
        stopped.set()


def pymodbus_sync(buses: PacedBuses, load: Load, measure: Measure) -> None:
    def poll(path: str, stopped: threading.Event) -> None:
        client = ModbusSerialClient(path, baudrate=BAUD, timeout=TIMEOUT_S, retries=0)
        client.connect()
        for unit in itertools.cycle(range(1, load.meters + 1)):
            if stopped.is_set():
                break
            with suppress(ModbusException):
                client.read_holding_registers(SNAPSHOT_START, count=load.count, device_id=unit)
        client.close()  # type: ignore[no-untyped-call]  # pymodbus leaves it out

    _poll_in_threads(poll, buses.paths, measure)


def minimal_modbus(buses: PacedBuses, load: Load, measure: Measure) -> None:
    def poll(path: str, stopped: threading.Event) -> None:
        # Instruments on one path share their port.
        meters = [minimalmodbus.Instrument(path, unit + 1) for unit in range(load.meters)]
        meters[0].serial.baudrate, meters[0].serial.timeout = BAUD, TIMEOUT_S
        for meter in itertools.cycle(meters):
            if stopped.is_set():
                break
            with suppress(minimalmodbus.ModbusException):
                meter.read_registers(SNAPSHOT_START, load.count)
        meters[0].serial.close()

    _poll_in_threads(poll, buses.paths, measure)


def _poll_in_threads(
    poll: Callable[[str, threading.Event], None], paths: Sequence[str], measure: Measure
) -> None:
    stopped = threading.Event()
    threads = [threading.Thread(target=poll, args=(path, stopped)) for path in paths]
    for thread in threads:
        thread.start()
    measure()
    stopped.set()
    for thread in threads:
        thread.join()


def use_of(client: Client, buses: PacedBuses, load: Load) -> Use:
    """Let a client poll and return how well it used the wires."""
    uses: list[Use] = []

    def measure() -> None:
        time.sleep(load.warm_up_s)
        before = buses.look()
        time.sleep(load.seconds)
        after = buses.look()
        elapsed_s = after.at - before.at
        uses.append(
            Use(
                (after.needed_s - before.needed_s) / elapsed_s / len(buses.urls),
                after.gap_violations - before.gap_violations,
                (after.exchanges - before.exchanges) / elapsed_s,
            )
        )

    client(buses, load, measure)
    return uses[0]


CLIENTS: dict[str, Client] = {
    "ours": ours,
    "pymodbus asyncio": pymodbus_async,
    "pymodbus sync": pymodbus_sync,
    "minimalmodbus": minimal_modbus,
}


def run(
    buses: int = 12,
    meters: int = 27,
    seconds: float = 10.0,
    warm_up_s: float = 1.0,
    trials: int = 3,
) -> list[Figure]:
    load = Load(meters, COUNT, seconds, warm_up_s)
    figures = []
    with PacedBuses(buses, meters) as paced:
        uses: dict[str, list[Use]] = {name: [] for name in CLIENTS}
        snapshot: list[Use] = []
        for _ in range(trials):
            for name, client in CLIENTS.items():
                uses[name].append(use_of(client, paced, load))
            snapshot.append(use_of(ours, paced, Load(meters, SNAPSHOT_COUNT, seconds, warm_up_s)))
        lateness_s = paced.look().lateness_s_max
    where = f"{buses} buses x {meters} meters at {BAUD}"
    for name, trial_uses in uses.items():
        ours_here = name == "ours"
        figures += _figures(f"bus use, {COUNT} registers, {name}", trial_uses, where, ours_here)
    figures += _figures(f"bus use, {SNAPSHOT_COUNT} registers, ours", snapshot, where, True)
    figures.append(
        Figure("the wires' own lateness at worst", lateness_s * 1000, "ms", detail=where)
    )
    return figures


def _figures(what: str, uses: Sequence[Use], where: str, promised: bool) -> list[Figure]:
    rate = median(use.reads_per_s for use in uses)
    return [
        Figure(
            what,
            median(use.share for use in uses),
            "of wire time",
            at_least=0.95 if promised else None,
            detail=f"{where}, {rate:.1f} reads/s",
        ),
        Figure(
            f"{what}: gap violations",
            sum(use.gap_violations for use in uses),
            "",
            at_most=0 if promised else None,
            detail=f"in {len(uses)} trials",
        ),
    ]
