"""A thousand gateways in a process of their own: every read is answered from a table.

What a request costs here must not show in what a client costs: a frame is looked up whole.
"""

import asyncio
import multiprocessing
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from meterplex.protocols.modbus import pdu, rtu

REQUEST_LENGTH = 8


def canned_replies(units: range, start: int, count: int) -> Mapping[bytes, bytes]:
    """Return the reply to each unit's read of some holding registers, by the request."""
    function = pdu.Function.READ_HOLDING
    return {
        rtu.encode_adu(unit, pdu.read_request(function, start, count).pdu): rtu.encode_adu(
            unit, pdu.encode_read_reply(function, [1000 * unit + at for at in range(count)])
        )
        for unit in units
    }


class _Gateway(asyncio.Protocol):
    def __init__(self, replies: Mapping[bytes, bytes]) -> None:
        self._replies = replies

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for at in range(0, len(data), REQUEST_LENGTH):
            self._transport.write(self._replies[data[at : at + REQUEST_LENGTH]])


async def _serve(listener: socket.socket, replies: Mapping[bytes, bytes]) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: _Gateway(replies), sock=listener, backlog=1024
    )
    await server.serve_forever()


def _run(listener: socket.socket, replies: Mapping[bytes, bytes]) -> None:
    asyncio.run(_serve(listener, replies))


@contextmanager
def canned_gateways(replies: Mapping[bytes, bytes]) -> Iterator[int]:
    """Give the port on which all gateways listen."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        process = multiprocessing.get_context("spawn").Process(
            target=_run, args=(listener, replies), daemon=True
        )
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.kill()
            process.join()
