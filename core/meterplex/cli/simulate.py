"""``meterplex simulate``: buses of simulated devices that speak their real protocol."""

import asyncio
import os
import signal
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

import click

from meterplex.cli.device_options import parse_settings
from meterplex.cli.output import json_option, print_json_line, print_lines, tell
from meterplex.cli.program import Program, pass_program
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import ChannelUrl, SettingsError
from meterplex.simulator.estate import (
    AccessKind,
    BusinessClock,
    BusPlan,
    SimulatedBus,
    SimulatedEstate,
    TwinPlan,
)
from meterplex.simulator.faults import NO_FAULTS, FaultRates
from meterplex.simulator.precise_loop import precise_loop
from meterplex.simulator.wire import Pace

_RANGE_MAX: Final = 100_000
_READ_MAX: Final = 4096
_HELP: Final = """Simulate devices until Ctrl-C.

    Each bus is served at a TCP port or on a pseudo-terminal; the channel URLs to use are printed.

    \b
      meterplex simulate --model acrel_dtsy1352 --addresses 1-27 --dead 5,9 \\
        --listen 'tcp://127.0.0.1:5020?framing=rtu'
      meterplex simulate --model acrel_ddsy1352 --addresses 1 --pty --baud 9600 \\
        --set remaining=5.00 --set load_kw=3
    """


def parse_addresses(text: str) -> tuple[str, ...]:
    """Read ``1-27,30``; a range keeps the leading zeros of its start.

    Raises:
        click.BadParameter: a part is empty, or a range is reversed or too long.
    """
    addresses: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        first, dash, last = (end.strip() for end in part.partition("-"))
        if not part:
            raise click.BadParameter(f"{text!r}: an address is empty")
        if not (dash and first.isdecimal() and last.isdecimal()):
            addresses.append(part)
            continue
        if not int(first) <= int(last) < int(first) + _RANGE_MAX:
            raise click.BadParameter(f"{text!r}: {part} is no range of addresses")
        addresses += (str(at).zfill(len(first)) for at in range(int(first), int(last) + 1))
    return tuple(addresses)


def parse_listen(text: str) -> tuple[AccessKind, str, int]:
    """Read ``tcp://host:port?framing=rtu|tcp`` into access, host and port.

    Raises:
        click.BadParameter: another scheme, no host or port, or an unknown query.
    """
    try:
        url = ChannelUrl.parse(text)
    except SettingsError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from error
    framing = url.query.get("framing", "rtu")
    if (
        url.scheme != "tcp"
        or not url.host
        or url.port is None
        or framing not in ("rtu", "tcp")
        or not set(url.query) <= {"framing"}
    ):
        raise click.BadParameter(
            f"{text!r}: expected tcp://host:port?framing=rtu or framing=tcp", param_hint="--listen"
        )
    return AccessKind(framing), url.host, url.port


@dataclass(frozen=True, slots=True)
class Simulation:
    """What the command line asked for."""

    plans: tuple[BusPlan, ...]
    clock_start: datetime
    speed: float
    seed: int
    seconds: float | None
    as_json: bool
    control: bool


class Console:
    """Talks to the caller and obeys the lines of standard input.

    ``kill BUS ADDRESS``, ``revive BUS ADDRESS``, ``counters`` and ``stop``.
    """

    def __init__(self, estate: SimulatedEstate, *, as_json: bool) -> None:
        self.stopped = asyncio.Event()
        self._estate = estate
        self._as_json = as_json
        self._begun = ""

    def show_urls(self) -> None:
        """Print where the buses are."""
        buses = self._estate.buses.values()
        if self._as_json:
            print_json_line({"event": "listening", "buses": [_described(bus) for bus in buses]})
        else:
            print_lines(*(bus.url for bus in buses))
            tell("Ctrl-C ends the simulation.")
        sys.stdout.flush()

    def show_counters(self, event: str) -> None:
        """Print what was seen on the buses."""
        buses = self._estate.buses.values()
        if self._as_json:
            print_json_line({"event": event, "buses": [_counted(bus) for bus in buses]})
            sys.stdout.flush()
            return
        for bus in buses:
            seen = bus.bus.counters
            tell(
                f"{bus.name}: {seen.exchanges} exchanges, {seen.unanswered} unanswered, "
                f"{seen.gap_violations} gap violations, {bus.bus.faults.counts.total()} faults"
            )

    def obey(self, line: str) -> None:
        """Do what one line asks; a line that asks nothing known is answered on standard error."""
        match line.split():
            case ["kill", name, address] if self._knows(name, address):
                self._estate.buses[name].bus.kill(address)
            case ["revive", name, address] if self._knows(name, address):
                self._estate.buses[name].bus.revive(address)
            case ["counters"]:
                self.show_counters("counters")
            case ["stop"]:
                self.stopped.set()
            case []:
                pass
            case _:
                tell(f"simulate: cannot do {line.strip()!r}")

    def read_input(self) -> None:
        """Obey the lines of standard input; its end ends the simulation."""
        data = os.read(sys.stdin.fileno(), _READ_MAX)
        *lines, self._begun = (self._begun + data.decode(errors="replace")).split("\n")
        for line in lines:
            self.obey(line)
        if not data:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.stopped.set()

    def _knows(self, name: str, address: str) -> bool:
        return name in self._estate.buses and address in self._estate.buses[name].bus.twins


def _described(bus: SimulatedBus) -> dict[str, object]:
    return {
        "bus": bus.name,
        "url": bus.url,
        "addresses": list(bus.bus.twins),
        "dead": sorted(bus.bus.dead),
    }


def _counted(bus: SimulatedBus) -> dict[str, object]:
    return {"bus": bus.name, **asdict(bus.bus.counters), "faults": dict(bus.bus.faults.counts)}


async def run(simulation: Simulation, plugins: PluginManager) -> None:
    """Open the buses, tell where they are, and let them live until they are stopped.

    Raises:
        SettingsError, PluginError: see :meth:`SimulatedEstate.open_bus`.
        OSError: a port is taken.
    """
    loop = asyncio.get_running_loop()
    clock = BusinessClock.starting(simulation.clock_start, simulation.speed, loop.time)
    estate = SimulatedEstate(plugins, clock, simulation.seed)
    console = Console(estate, as_json=simulation.as_json)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, console.stopped.set)
    try:
        for plan in simulation.plans:
            await estate.open_bus(plan)
        if simulation.control:
            loop.add_reader(sys.stdin.fileno(), console.read_input)
        estate.start()
        console.show_urls()
        if simulation.seconds is not None:
            loop.call_later(simulation.seconds, console.stopped.set)
        await console.stopped.wait()
        console.show_counters("stopped")
    finally:
        await estate.close()


def _plans(
    access: tuple[AccessKind, str, int],
    twins: tuple[TwinPlan, ...],
    buses: int,
    pace: Pace | None,
    dead: frozenset[str],
    faults: FaultRates,
) -> tuple[BusPlan, ...]:
    """Return plans of buses that are alike but for their ports, which follow each other."""
    kind, host, port = access
    return tuple(
        BusPlan(
            name=f"bus-{at + 1}",
            twins=twins,
            access=kind,
            host=host,
            port=port + at if port else 0,
            pace=pace,
            dead=dead,
            faults=faults,
        )
        for at in range(buses)
    )


def _fault_rates(noise: float, faults: float) -> FaultRates:
    if noise:
        return FaultRates.noise(noise)
    return FaultRates.even(faults) if faults else NO_FAULTS


@click.command(name="simulate", help=_HELP)
@click.option("--model", required=True, help="See: meterplex models.")
@click.option("--addresses", default="1", show_default=True, help="Such as 1-27,30.")
@click.option("--listen", help="tcp://host:port?framing=rtu|tcp; port 0 takes a free one.")
@click.option("--pty", is_flag=True, help="Serve each bus on a pseudo-terminal instead.")
@click.option("--buses", default=1, show_default=True, type=click.IntRange(1, 1000))
@click.option("--baud", type=click.IntRange(300, 4_000_000), help="Emulate the time of a line.")
@click.option("--parity", type=click.Choice(["N", "E", "O"]), default="N", show_default=True)
@click.option("--dead", default="", help="Addresses that do not answer.")
@click.option("--noise", default=0.0, type=click.FloatRange(0, 1), help="Share hit by noise.")
@click.option("--faults", default=0.0, type=click.FloatRange(0, 1), help="Share hit by any fault.")
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="NAME=TEXT",
    help="A setting of the devices; may be repeated.",
)
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0, 100_000))
@click.option("--seed", default=0, show_default=True, help="The same seed, the same run.")
@click.option("--seconds", type=click.FloatRange(min=0), help="End by itself after so long.")
@click.option("--control", is_flag=True, help="Obey kill, revive, counters, stop on stdin.")
@json_option
@pass_program
def simulate(
    program: Program,
    model: str,
    addresses: str,
    listen: str | None,
    pty: bool,
    buses: int,
    baud: int | None,
    parity: str,
    dead: str,
    noise: float,
    faults: float,
    pairs: tuple[str, ...],
    speed: float,
    seed: int,
    seconds: float | None,
    control: bool,
    as_json: bool,
) -> None:
    """Simulate devices; the text for people is ``_HELP``."""
    if pty == (listen is not None):
        raise click.UsageError("give either --listen or --pty")
    if noise and faults:
        raise click.UsageError("give either --noise or --faults")
    access = (AccessKind.PTY, "", 0) if listen is None else parse_listen(listen)
    plugins = program.plugins
    program.model(model)
    settings = parse_settings(pairs)
    plans = _plans(
        access,
        tuple(TwinPlan(model, address, settings) for address in parse_addresses(addresses)),
        buses,
        Pace.at(baud, parity) if baud else None,
        frozenset(
            plugins.check_address(model, address)
            for address in (parse_addresses(dead) if dead else ())
        ),
        _fault_rates(noise, faults),
    )
    simulation = Simulation(plans, datetime.now(UTC), speed, seed, seconds, as_json, control)
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        runner.run(run(simulation, plugins))
