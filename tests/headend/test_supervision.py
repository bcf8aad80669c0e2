"""Drivers that raise, hang, run on or will not stop, on simulated time."""

import asyncio
from typing import NoReturn

import pytest

from meterplex.headend.line import Line
from meterplex.headend.line_link import LineLink
from meterplex.headend.supervision import (
    CANCEL_GRACE_S,
    IDLE_MAX_S,
    SECOND_LOOK_S,
    DriverFailedError,
    DriverHungError,
    supervise,
)
from meterplex.headend.tcp_channel import TCP
from meterplex.headend.turns import Order, WorkClass
from meterplex.sdk import ChannelUrl, DeviceRefusedError
from meterplex.simulator.virtual_time import run_in_virtual_time


def some_link() -> LineLink:
    settings = TCP.configure(ChannelUrl.parse("tcp://127.0.0.1:1"))
    return LineLink(Line(TCP, settings), Order(WorkClass.SCHEDULED), 0.1, 3.5)


def test_the_result_comes_back() -> None:
    async def run() -> int:
        async def work() -> int:
            return 7

        return await supervise(work(), some_link(), deadline_s=60)

    assert run_in_virtual_time(run()) == 7


def test_driver_errors_pass_as_they_are() -> None:
    async def run() -> None:
        async def work() -> NoReturn:
            raise DeviceRefusedError("no", 2)

        with pytest.raises(DeviceRefusedError, match="no"):
            await supervise(work(), some_link(), deadline_s=60)

    run_in_virtual_time(run())


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(1), asyncio.CancelledError()])
def test_anything_else_is_the_plugins_failure(error: BaseException) -> None:
    async def run() -> None:
        async def work() -> NoReturn:
            raise error

        with pytest.raises(DriverFailedError):
            await supervise(work(), some_link(), deadline_s=60)

    run_in_virtual_time(run())


def test_a_driver_that_awaits_for_ever_is_cancelled_soon() -> None:
    async def run() -> float:
        async def work() -> None:
            await asyncio.Event().wait()

        with pytest.raises(DriverHungError, match="did nothing on its link"):
            await supervise(work(), some_link(), deadline_s=60)
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(run()) == pytest.approx(IDLE_MAX_S + SECOND_LOOK_S)


def test_a_driver_that_swallows_the_cancel_is_abandoned_with_its_link_revoked() -> None:
    link_used: list[LineLink] = []

    async def run() -> float:
        async def work() -> None:
            for _ in range(50):
                try:
                    await asyncio.sleep(5)
                except asyncio.CancelledError:
                    continue

        link = some_link()
        link_used.append(link)
        with pytest.raises(DriverHungError, match="would not be cancelled"):
            await supervise(work(), link, deadline_s=60)
        return asyncio.get_running_loop().time()

    hung_at = IDLE_MAX_S + SECOND_LOOK_S
    assert run_in_virtual_time(run()) == pytest.approx(hung_at + CANCEL_GRACE_S)
    assert link_used[0].revoked


def test_a_driver_that_waits_for_its_exchanges_may_take_until_its_deadline() -> None:
    async def run() -> float:
        link = some_link()

        async def work() -> None:
            link.exchanging = True
            await asyncio.sleep(3600)

        with pytest.raises(DriverHungError, match="not done after 20 s"):
            await supervise(work(), link, deadline_s=20)
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(run()) == pytest.approx(20, abs=IDLE_MAX_S)


def test_a_caller_who_is_cancelled_stops_the_driver() -> None:
    stopped: list[bool] = []

    async def run() -> None:
        link = some_link()

        async def work() -> None:
            try:
                link.exchanging = True
                await asyncio.sleep(3600)
            finally:
                stopped.append(True)

        task = asyncio.create_task(supervise(work(), link, deadline_s=7200))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert link.revoked

    run_in_virtual_time(run())
    assert stopped == [True]
