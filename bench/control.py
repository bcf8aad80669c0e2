"""How soon a disconnect is on the wire of a saturated bus.

The clock starts when the command's commit has returned and stops when the first byte of its control
frame leaves. What was left of the exchange in flight at the commit, up to the last byte of its
reply, is taken off; the silence behind it is not.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from statistics import median, quantiles

from bench.figures import Figure
from bench.paced_buses import BAUD, PacedBuses
from bench.paced_head_end import PacedHeadEnd, now, working_head_end
from meterplex.domain.commands import CommandKind, CommandState
from meterplex.domain.estate import Meter
from meterplex.headend.bus import Bus
from meterplex.services.metering.issue_commands import issue_commands

WRITE_REGISTERS = 0x10
SETTLED_WITHIN_S = 10.0


@dataclass(slots=True)
class Watch:
    """Notes the bursts of one line around one command."""

    clock: Callable[[], float]
    received_at: float = 0.0
    sent_at: "asyncio.Future[float]" = field(default_factory=asyncio.Future)
    freed_at: float = 0.0
    """When the last byte before the control frame came in."""

    def note(self, way: str, data: bytes) -> None:
        if way == "rx":
            self.received_at = self.clock()
        elif data[1] == WRITE_REGISTERS and not self.sent_at.done():
            self.freed_at = self.received_at
            self.sent_at.set_result(self.clock())


async def wait_s(paced: PacedHeadEnd, bus: Bus, meter: Meter) -> float:
    """Disconnect a meter and return how long the command waited for nothing."""
    clock = asyncio.get_running_loop().time
    watch = Watch(clock)
    bus.line.trace = watch.note
    batch = await issue_commands(
        paced.database,
        paced.plugins,
        paced.organisation_id,
        [meter],
        CommandKind.DISCONNECT,
        {},
        asked_by="bench",
        at=now(),
    )
    committed_at = clock()
    (command,) = batch.commands
    paced.head_end.delivery.announce([command])
    async with asyncio.timeout(SETTLED_WITHIN_S):
        sent_at = await watch.sent_at
        state = command.state
        while state not in (CommandState.CONFIRMED, CommandState.REFUSED):
            await asyncio.sleep(0.1)
            async with paced.database.unit_of_work(read_only=True) as uow:
                state = (await uow.commands.get(paced.organisation_id, command.id)).state
    assert state is CommandState.CONFIRMED
    return sent_at - max(committed_at, watch.freed_at)


async def measure(buses: PacedBuses, meters: int, commands: int, settle_s: float) -> list[float]:
    """Return the waits of some disconnects, one after the other, at random moments."""
    random = Random(1)
    async with working_head_end(buses.urls, meters, "1s") as paced:
        await asyncio.sleep(settle_s)
        waits = []
        for meter in random.sample(paced.meters, commands):
            found = paced.head_end.find(meter.id)
            assert found is not None
            await asyncio.sleep(random.uniform(0, 0.2))
            waits.append(await wait_s(paced, found[0], meter))
        return waits


def run(
    buses: int = 12, meters: int = 27, commands: int = 200, settle_s: float = 8.0, trials: int = 3
) -> list[Figure]:
    trial_waits: list[list[float]] = []
    violations = 0
    for _ in range(trials):
        with PacedBuses(buses, meters) as paced:
            trial_waits.append(asyncio.run(measure(paced, meters, commands, settle_s)))
            violations += paced.look().gap_violations
    where = f"{commands} disconnects, {buses} buses x {meters} meters at {BAUD}"
    return [
        Figure(
            "disconnect beyond the exchange in flight, p50",
            1000 * median(median(waits) for waits in trial_waits),
            "ms",
            detail=where,
        ),
        Figure(
            "disconnect beyond the exchange in flight, p99",
            1000 * median(quantiles(waits, n=100)[98] for waits in trial_waits),
            "ms",
            at_most=10,
            detail=f"{where}; worst {1000 * max(map(max, trial_waits)):.1f} ms",
        ),
        Figure("gap violations of the head-end", violations, "", at_most=0, detail=where),
    ]
