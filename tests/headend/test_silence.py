"""Short waits of many lines, on simulated time."""

import asyncio

import pytest

from meterplex.headend.silence import silences_of
from meterplex.simulator.virtual_time import run_in_virtual_time


def test_each_wait_ends_at_its_own_time_in_whatever_order_it_began() -> None:
    ends = [0.004, 0.002, 0.003, 0.0035, 0.001, 0.004]
    ended: list[tuple[float, float]] = []

    async def wait(at: float) -> None:
        loop = asyncio.get_running_loop()
        await silences_of(loop).until(at)
        ended.append((at, loop.time()))

    async def run() -> None:
        await asyncio.gather(*(wait(at) for at in ends))

    run_in_virtual_time(run())
    assert [at for at, _ in ended] == sorted(ends)
    assert [now for _, now in ended] == pytest.approx(sorted(ends))


def test_a_wait_that_was_given_up_holds_nobody_up() -> None:
    async def run() -> float:
        loop = asyncio.get_running_loop()
        silences = silences_of(loop)
        silences.until(0.001).cancel()
        await silences.until(0.002)
        await silences.until(0.005)
        return loop.time()

    assert run_in_virtual_time(run()) == pytest.approx(0.005)


def test_waits_of_two_loops_are_apart() -> None:
    async def run() -> float:
        loop = asyncio.get_running_loop()
        silences_of(loop).until(5.0)
        await silences_of(loop).until(0.001)
        return loop.time()

    assert run_in_virtual_time(run()) == pytest.approx(0.001)
    assert run_in_virtual_time(run()) == pytest.approx(0.001)
