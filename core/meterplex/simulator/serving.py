"""Ways to reach a wire of twins: raw TCP, a Modbus TCP gateway, a pseudo-terminal."""

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable
from typing import Protocol

from meterplex.simulator.gateway import GatewaySession, Modem
from meterplex.simulator.wire import Pace, Wire

_READ_MAX = 4096


class Access(Protocol):
    """An open way to a wire.

    Attributes:
        url: channel URL under which a head-end reaches it.
    """

    @property
    def url(self) -> str: ...

    def close(self) -> None:
        """Shut it, and every connection on it."""


class _Connection(asyncio.Protocol):
    """One TCP connection; hands what comes in to a session."""

    def __init__(self, open_session: "OpenSession", connections: "set[_Connection]") -> None:
        self._open_session = open_session
        self._connections = connections
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connections.add(self)
        self._received = self._open_session(self._write)

    def data_received(self, data: bytes) -> None:
        self._received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)

    def _write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)


OpenSession = Callable[[Callable[[bytes], None]], Callable[[bytes], None]]
"""Takes what writes to a connection, returns what takes its bytes."""


class TcpAccess:
    """A listening socket in front of a wire."""

    def __init__(
        self, server: asyncio.Server, connections: set[_Connection], framing: str, pace: Pace | None
    ) -> None:
        self._server = server
        self._connections = connections
        self._query = f"framing={framing}" + _speed("&", pace)

    @property
    def port(self) -> int:
        """Port it listens on."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """See :class:`Access`."""
        host = self._server.sockets[0].getsockname()[0]
        return f"tcp://{f'[{host}]' if ':' in host else host}:{self.port}?{self._query}"

    def close(self) -> None:
        """See :class:`Access`."""
        self._server.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        """Cut every connection, as a gateway does that restarts."""
        for connection in list(self._connections):
            if connection.transport is not None:
                connection.transport.abort()


def _speed(separator: str, pace: Pace | None) -> str:
    return f"{separator}baud={pace.baud}&parity={pace.parity}" if pace is not None else ""


async def _listen(
    wire: Wire, host: str, port: int, framing: str, open_session: OpenSession
) -> TcpAccess:
    connections: set[_Connection] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(open_session, connections), host, port
    )
    return TcpAccess(server, connections, framing, wire.pace)


async def serve_raw(wire: Wire, host: str = "127.0.0.1", port: int = 0) -> TcpAccess:
    """Serve a wire as a serial server does: what comes in is on the line, and back.

    Raises:
        OSError: the port is taken.
    """
    return await _listen(wire, host, port, "rtu", lambda write: lambda data: wire.hear(data, write))


async def serve_gateway(
    wire: Wire, host: str = "127.0.0.1", port: int = 0, *, answer_timeout_s: float = 0.5
) -> TcpAccess:
    """Serve a wire as a Modbus TCP gateway does.

    Args:
        wire: its RTU side.
        host: to listen on.
        port: to listen on; 0 takes a free one.
        answer_timeout_s: how long a device may take before the gateway says exception 0B.

    Raises:
        OSError: the port is taken.
    """
    modem = Modem(wire, answer_timeout_s)
    return await _listen(
        wire, host, port, "tcp", lambda write: GatewaySession(modem, write).receive
    )


class PtyAccess:
    """The far end of a pseudo-terminal in front of a wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        # The near end stays open here as well: once everybody has closed it, it hangs up.
        self._far, self._near = os.openpty()
        tty.setraw(self._near)
        os.set_blocking(self._far, False)
        self.path = os.ttyname(self._near)
        self._loop.add_reader(self._far, self._read)

    @property
    def url(self) -> str:
        """See :class:`Access`."""
        return f"serial://{self.path}{_speed('?', self._wire.pace)}"

    def close(self) -> None:
        """See :class:`Access`."""
        if self._far >= 0:
            self._loop.remove_reader(self._far)
            os.close(self._far)
            os.close(self._near)
            self._far = self._near = -1

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wire.hear(os.read(self._far, _READ_MAX), self._write)

    def _write(self, data: bytes) -> None:
        """Send; where nobody reads and the buffer is full, bytes are lost as on a real line."""
        if self._far >= 0:
            with contextlib.suppress(BlockingIOError):
                os.write(self._far, data)


def open_pty(wire: Wire) -> PtyAccess:
    """Serve a wire on a new pseudo-terminal.

    Raises:
        OSError: the system has none left.
    """
    return PtyAccess(wire)
