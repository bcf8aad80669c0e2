import asyncio
import time

import pytest

from meterplex.simulator.precise_loop import PreciseSelector, precise_loop

pytestmark = pytest.mark.integration


def test_waits_are_not_rounded_to_milliseconds() -> None:
    selector = PreciseSelector()
    waits = []
    try:
        for _ in range(50):
            begun = time.monotonic()
            selector.select(0.0002)
            waits.append(time.monotonic() - begun)
    finally:
        selector.close()

    # The best of many: a busy machine makes single waits longer, never shorter.
    assert 0.0002 <= min(waits) < 0.0009


def test_loop_does_what_loops_do() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        writer.close()

    async def main() -> tuple[str, bytes]:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"ping")
            answer = await reader.readexactly(4)
            writer.close()
            await writer.wait_closed()
            return await asyncio.to_thread(str, "thread"), answer

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        assert runner.run(main()) == ("thread", b"ping")
