"""Modbus servers that are not ours, and the ways to reach them.

Each server is a program of its own: ``tcp HOST PORT UNIT IMAGE`` or ``rtu DEVICE BAUD UNIT IMAGE``.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
UNIT = 1
START_UP_S = 10.0
NEVER_LATE = "&late=0"
"""These servers answer at once or never, so nothing has to wait for their late replies."""

# The snapshot block of a DTSY1352 at 0x0200, written by hand after sheet section 4.
SNAPSHOT = (
    *(5, 2301, 2299, 2318),  # model; U in 1/10 V
    *(1250, 830, 415),  # I in 1/100 A
    *(2732, 1860, 0xFF9C, 4492),  # P in W; L3 gives back 100 W
    *(870, 300, 40, 1210),  # Q in var
    *(950, 987, 0xFC18, 965),  # power factors; L3 -1.000
    *(1, 40),  # PT, CT
    *(0x0012, 0xD687),  # 1234567: 12345.67 kWh
    *(0, 11111, 0, 22222, 0, 33333, 0x0008, 0xCB8D),  # rates; valley 576397: 5763.97 kWh
    *(0xFFFF, 0xFE0C, 7),  # remaining -5.00, purchase count
    *(2, 5),  # overload trips, allowed
    *(0xE0EF, 0x0770),  # relays closed, in arrears and both alarms; no force control
    *(0, 0),  # base energy
    *(0x1A0B, 0x1405, 0x0C1E, 0x0F0D),  # 26-11-20, Friday, 12:30:15; demand 3456 W
    *(0x8028, 0x0B13, 0x0B00, 0x0000),
)
# Prepaid settings at 0x0400 after section 4a.
SETTINGS = (
    *(1, 7, 0, 12000, 0, 9500, 0, 6500, 0, 3500),
    *(0, 2000, 0, 500, 0, 1000, 0, 0, 0, 50000, 0xFFFF, 0xFE0C, 0, 0, 0),
)
IMAGE: Mapping[int, int] = {
    **{0x0200 + at: value for at, value in enumerate(SNAPSHOT)},
    **{0x0400 + at: value for at, value in enumerate(SETTINGS)},
    **dict(zip(range(0x0043, 0x0046), (0x2607, 0x1100, 0x0123), strict=True)),
    **dict.fromkeys((0x0057, 0x0058), 0),
}


@contextmanager
def running(command: list[str]) -> Iterator[str]:
    """Run a program until the end of the context; gives the first line it prints."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                assert process.stderr is not None
                pytest.fail(f"{command[0]} ended at once: {process.stderr.read()}")
            yield line
        finally:
            process.kill()


@contextmanager
def relaying(command: list[str], is_up: Callable[[], bool]) -> Iterator[None]:
    """Run a program that prints nothing, from when it is up."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            deadline = time.monotonic() + START_UP_S
            while not is_up():
                if process.poll() is not None or time.monotonic() > deadline:
                    assert process.stderr is not None
                    process.kill()
                    pytest.fail(f"{command[0]} did not start: {process.stderr.read()}")
                time.sleep(0.01)
            yield
        finally:
            process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody listens; asks the kernel, because a trial connection would be served."""
    listening = "0A"
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(
        row.split()[1].endswith(f":{port:04X}") and row.split()[3] == listening for row in rows
    )


@pytest.fixture(scope="session")
def libmodbus_server(
    tmp_path_factory: pytest.TempPathFactory, require_program: Callable[..., Path]
) -> list[str]:
    """Compile the server on libmodbus and return its command."""
    compiler = require_program("cc", "gcc", "clang")
    program = tmp_path_factory.mktemp("libmodbus") / "server"
    source = HERE / "libmodbus_server.c"
    probe = subprocess.run(
        [compiler, "-E", "-"], check=False, input=b"#include <modbus/modbus.h>", capture_output=True
    )
    if probe.returncode != 0:
        require_program("modbus/modbus.h of libmodbus-dev")  # skips or fails, by the same rule
    command = [str(compiler), "-Wall", "-Wextra", "-Werror", "-O1", "-o", str(program), str(source)]
    subprocess.run([*command, "-lmodbus", "-lpthread"], check=True)
    return [str(program)]


@pytest.fixture(scope="session")
def modbus_tk_server() -> list[str]:
    """Return the command of the server on modbus-tk."""
    return [sys.executable, str(HERE / "modbus_tk_server.py")]


@pytest.fixture(scope="session")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "registers"
    path.write_text("".join(f"0x{register:04X} {value}\n" for register, value in IMAGE.items()))
    return path


@contextmanager
def over_tcp(server: list[str], image: Path) -> Iterator[str]:
    with running([*server, "tcp", "127.0.0.1", str(free_port()), str(UNIT), str(image)]) as ready:
        yield f"tcp://127.0.0.1:{ready.split()[1]}?framing=tcp"


@contextmanager
def over_pty(server: list[str], image: Path, socat: Path, folder: Path) -> Iterator[str]:
    """Connect both ends of a line with socat and put the server on one of them."""
    near, far = folder / "near", folder / "far"
    ends = [f"pty,raw,echo=0,link={end}" for end in (near, far)]
    serve = [*server, "rtu", str(far), "9600", str(UNIT), str(image)]
    with (
        relaying([str(socat), *ends], lambda: near.exists() and far.exists()),
        running(serve),
    ):
        yield f"serial://{near}?baud=9600{NEVER_LATE}"


@contextmanager
def over_tcp_as_rtu(server: list[str], image: Path, socat: Path, folder: Path) -> Iterator[str]:
    """Do what a serial server does: RTU from a socket onto a line, and back."""
    port = free_port()
    with over_pty(server, image, socat, folder):
        listener = f"tcp-listen:{port},bind=127.0.0.1,reuseaddr,fork"
        relay = [str(socat), listener, f"{folder / 'near'},raw,echo=0"]
        with relaying(relay, lambda: listens(port)):
            yield f"tcp://127.0.0.1:{port}?framing=rtu{NEVER_LATE}"


@pytest.fixture(params=["libmodbus", "modbus-tk"])
def server_command(request: pytest.FixtureRequest) -> list[str]:
    command: list[str] = request.getfixturevalue(
        {"libmodbus": "libmodbus_server", "modbus-tk": "modbus_tk_server"}[request.param]
    )
    return command


@pytest.fixture(params=["tcp", "rtu over tcp", "rtu on a pty"])
def foreign_url(
    request: pytest.FixtureRequest,
    server_command: list[str],
    image_file: Path,
    tmp_path: Path,
    require_program: Callable[..., Path],
) -> Iterator[str]:
    """Run a foreign server and give the channel URL that leads to it."""
    with ExitStack() as stack:
        if request.param == "tcp":
            yield stack.enter_context(over_tcp(server_command, image_file))
            return
        way = over_pty if request.param == "rtu on a pty" else over_tcp_as_rtu
        socat = require_program("socat")
        yield stack.enter_context(way(server_command, image_file, socat, tmp_path))
