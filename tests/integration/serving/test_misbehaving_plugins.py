"""Plugins that raise, hang or block inside a real ``serve``: who else notices, and who is named.

Both buses are full: each is read round after round without a pause, so that whatever a plugin costs
is seen in the cycle of its neighbours.
"""

import asyncio
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from meterplex.sdk.testing.misbehaving import planting
from meterplex.simulator.wire import Pace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.serving.conftest import Program, Serving, SimulatedBus, Town

pytestmark = pytest.mark.integration

MODEL = "acrel_dtsy1352"
ACREL_METERS = {str(address): MODEL for address in range(1, 13)}
QUERY = "&late=0.2&latency=0.3"
WATCHED_S = 10.0
"""Long enough for the first three tries of a plugin, short of the rest that it then gets."""


@dataclass(frozen=True)
class Misbehaviour:
    """Plugins of one kind.

    Attributes:
        plugins: to be installed.
        models: of meters on the first bus.
        named: plugin, to its state and to words that the health answer must say of it.
    """

    plugins: tuple[str, ...]
    models: tuple[str, ...]
    named: dict[str, tuple[str, str]]


MISBEHAVIOURS = {
    "raises": Misbehaviour(
        (
            *("raises_at_import", "exits_at_import", "raises_in_hook"),
            *("raises_in_factory", "raises_in_read"),
        ),
        ("raising_meter", "unmakeable_meter"),
        {
            "raises_at_import": ("failed", "RuntimeError: no licence file"),
            "exits_at_import": ("failed", "SystemExit: this plugin needs root"),
            "raises_in_hook": ("degraded", "hook meterplex_meter_models: KeyError: 'profiles'"),
            "raises_in_factory": ("loaded", "driver factory of unmakeable_meter: KeyError: 'key'"),
            "raises_in_read": ("loaded", "raising_meter, read: IndexError"),
        },
    ),
    "awaits for ever": Misbehaviour(
        ("awaits_for_ever",),
        ("waiting_meter",),
        {"awaits_for_ever": ("loaded", "waiting_meter, read: the driver did nothing")},
    ),
    "sleeps in the event loop": Misbehaviour(
        ("blocks_event_loop",),
        ("sleeping_meter",),
        {"blocks_event_loop": ("disabled", "blocked the event loop in SleepingDriver.read")},
    ),
    "computes in the event loop": Misbehaviour(
        ("blocks_event_loop",),
        ("computing_meter",),
        {"blocks_event_loop": ("disabled", "blocked the event loop in ComputingDriver.read")},
    ),
}


@dataclass
class Case:
    """A ``serve`` with the plugins of one kind, or with none of them."""

    serving: "Serving"
    buses: "tuple[SimulatedBus, SimulatedBus]"

    async def cycles_s(self) -> list[float]:
        """Return how long a round of the Acrel meters of each bus takes."""
        self.serving.go()
        await self.serving.up()
        before = [reads(bus) for bus in self.buses]
        await asyncio.sleep(WATCHED_S)
        after = [reads(bus) for bus in self.buses]
        rounds = [(b - a) / len(ACREL_METERS) for a, b in zip(before, after, strict=True)]
        assert min(rounds) > 0, self.serving.said()
        return [WATCHED_S / each for each in rounds]


def reads(bus: "SimulatedBus") -> int:
    return sum(len(bus.bus.requests[address]) for address in ACREL_METERS)


async def open_case(
    stack: AsyncExitStack, program: "Program", town: "Town", kind: str, plugins: tuple[str, ...]
) -> Case:
    """Prepare an estate in which ``kind`` is at work, with only some plugins installed."""
    models = {str(50 + at): model for at, model in enumerate(MISBEHAVIOURS[kind].models)}
    own = await town.open_bus("own", {**ACREL_METERS, **models}, Pace.at(9600))
    other = await town.open_bus("other", ACREL_METERS, Pace.at(9600))
    for name, installed in (("all", MISBEHAVIOURS[kind].plugins), ("some", plugins)):
        (program.folder / name).mkdir(parents=True)
        planting.plant(program.folder / name, *installed)
    everything = program.but(PYTHONPATH=str(program.folder / "all"))
    await everything.import_estate(town.estate(query=QUERY))
    infested = program.but(PYTHONPATH=str(program.folder / "some"))
    serving = await stack.enter_async_context(infested.standing_by())
    await serving.ready()
    return Case(serving, (own, other))


async def test_other_meters_cycle_at_most_doubles_and_the_plugin_is_named(
    make_program: "Callable[[str], Program]",
    make_town: "Callable[[], Town]",
    sqlite_template: "Path",
    tmp_path: "Path",
) -> None:
    def new_program(name: str) -> "Program":
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        url = f"sqlite:///{shutil.copy(sqlite_template, folder / 'meterplex.db')}"
        return replace(make_program(url), folder=folder)

    async with AsyncExitStack() as stack:
        calm_case = await open_case(stack, new_program("calm"), make_town(), "raises", ())
        cases = {
            kind: await open_case(stack, new_program(kind), make_town(), kind, bad.plugins)
            for kind, bad in MISBEHAVIOURS.items()
        }
        # All at once: they have nothing in common but the machine, and that is shared fairly.
        calm, *storms = await asyncio.gather(
            *(case.cycles_s() for case in (calm_case, *cases.values()))
        )
        health = {kind: (await case.serving.health())["plugins"] for kind, case in cases.items()}

    print(f"\ncycles of the plugin's bus, and of another: calm {calm[0]:.2f} s, {calm[1]:.2f} s")
    for kind, storm in zip(MISBEHAVIOURS, storms, strict=True):
        print(f"{kind}: {storm[0]:.2f} s, {storm[1]:.2f} s")
    for kind, storm in zip(MISBEHAVIOURS, storms, strict=True):
        assert storm[0] <= 2 * calm[0], kind
        assert storm[1] <= 2 * calm[1], kind
        plugins = {plugin["name"]: plugin for plugin in health[kind]}
        for name, (state, words) in MISBEHAVIOURS[kind].named.items():
            assert plugins[name]["state"] == state
            assert words in f"{plugins[name]['problems']} {plugins[name]['last_failure']}"
        acrel = {"state": "loaded", "problems": [], "failures": 0}
        assert acrel.items() <= plugins["acrel_dtsy"].items()


async def test_plugins_are_named_by_the_command_as_well(
    program: "Program", tmp_path: "Path"
) -> None:
    misbehaviour = MISBEHAVIOURS["raises"]
    planting.plant(tmp_path, *misbehaviour.plugins)

    code, out, err = await program.but(PYTHONPATH=str(tmp_path)).run("plugins")

    assert code == 0
    states = {line.split()[0]: line.split()[1] for line in out.splitlines() if line.split()}
    for name, (state, words) in misbehaviour.named.items():
        assert states[name] == state
        if state != "loaded":
            assert any(line.startswith(f"{name}: ") and words in line for line in err.splitlines())
