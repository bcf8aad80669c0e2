import socket
from pathlib import Path
from typing import Any

import pytest

from meterplex.sdk import ChannelUrl
from meterplex.services.estate.known_devices import line_of, same_line


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``gateway`` be 10.0.0.5, and every other name unknown."""

    def look_up(host: str, port: int | None, **options: object) -> list[tuple[Any, ...]]:
        addresses = {"gateway": "10.0.0.5", "10.0.0.5": "10.0.0.5"}
        if host not in addresses:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (addresses[host], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("tcp://10.0.0.5:502?framing=tcp", "tcp://10.0.0.5:502"),
        ("tcp://Gateway:502/", "tcp://gateway:502"),
        ("serial:///dev/ttyUSB0?baud=9600", "serial:///dev/ttyUSB0"),
        ("dtu://LOGIN:1001?x=1", "dtu://LOGIN:1001"),
        ("concentrator://1234/2", "concentrator://1234/2"),
    ],
)
def test_line_is_the_url_without_its_settings(url: str, line: str) -> None:
    assert line_of(ChannelUrl.parse(url)) == line


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("tcp://10.0.0.5:502", "tcp://10.0.0.5:502?framing=tcp", True),
        ("tcp://gateway:502", "tcp://10.0.0.5:502", True),
        ("tcp://10.0.0.5:502", "tcp://10.0.0.5:503", False),
        ("tcp://gone:502", "tcp://gone:502?baud=9600", True),
        ("tcp://gone:502", "tcp://10.0.0.5:502", False),
        ("dtu://A", "dtu://A?x=1", True),
        ("not a url", "not a url", True),
        ("not a url", "tcp://10.0.0.5:502", False),
    ],
)
def test_same_line_is_known_by_another_name(first: str, second: str, same: bool) -> None:
    assert same_line(first, second) is same


def test_link_to_a_serial_port_is_that_port(tmp_path: Path) -> None:
    port, link = tmp_path / "ttyUSB0", tmp_path / "by-id"
    port.touch()
    link.symlink_to(port)
    assert same_line(f"serial://{link}?baud=9600", f"serial://{port}")
