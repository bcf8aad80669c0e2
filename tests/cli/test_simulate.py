import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import pytest
from click.testing import CliRunner

from meterplex.cli import main
from meterplex.cli.simulate import parse_addresses, parse_listen, simulate
from meterplex.simulator.estate import AccessKind

ACREL = ("--model", "acrel_dtsy1352")


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("1", ("1",)),
        ("1-3", ("1", "2", "3")),
        ("1-3, 7", ("1", "2", "3", "7")),
        ("008-011", ("008", "009", "010", "011")),
        ("A1-B2", ("A1-B2",)),
    ],
)
def test_addresses(text: str, addresses: tuple[str, ...]) -> None:
    assert parse_addresses(text) == addresses


@pytest.mark.parametrize("text", ["", "1,", "3-1", "1-999999"])
def test_impossible_addresses(text: str) -> None:
    with pytest.raises(click.BadParameter):
        parse_addresses(text)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("tcp://127.0.0.1:5020", (AccessKind.RAW, "127.0.0.1", 5020)),
        ("tcp://127.0.0.1:0?framing=rtu", (AccessKind.RAW, "127.0.0.1", 0)),
        ("tcp://[::1]:502?framing=tcp", (AccessKind.GATEWAY, "::1", 502)),
    ],
)
def test_listen(text: str, parsed: tuple[AccessKind, str, int]) -> None:
    assert parse_listen(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        *("127.0.0.1:5020", "tcp://127.0.0.1", "tcp://:502", "udp://127.0.0.1:5020"),
        *("tcp://127.0.0.1:5020?framing=ascii", "tcp://127.0.0.1:5020?speed=9", "tcp://h:99999"),
    ],
)
def test_impossible_listen(text: str) -> None:
    with pytest.raises(click.BadParameter):
        parse_listen(text)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(ACREL, id="nowhere to listen"),
        pytest.param((*ACREL, "--pty", "--listen", "tcp://127.0.0.1:0"), id="two ways"),
        pytest.param((*ACREL, "--pty", "--noise", "0.1", "--faults", "0.1"), id="noise and faults"),
        pytest.param((*ACREL, "--pty", "--baud", "9"), id="too slow"),
        pytest.param(("--pty",), id="no model"),
    ],
)
def test_wrong_use_exits_with_2(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(simulate, arguments)

    assert result.exit_code == 2
    assert "Error" in result.output


def test_unknown_model_exits_with_3() -> None:
    result = CliRunner().invoke(main, ["simulate", "--model", "acrel_dtsy135", "--pty"])

    assert result.exit_code == 3
    assert "acrel_dtsy1352" in result.stderr


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command as a program of its own; kill it if the test fails."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import meterplex.cli; meterplex.cli.main()",
            "simulate",
            *arguments,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.integration
def test_urls_are_printed_and_the_end_is_kept() -> None:
    with running(*ACREL, "--listen", "tcp://127.0.0.1:0?framing=tcp", "--seconds", "0") as process:
        out, err = process.communicate(timeout=20)

    assert process.returncode == 0
    assert out.startswith("tcp://127.0.0.1:")
    assert out.endswith("?framing=tcp\n")
    assert "bus-1: 0 exchanges" in err


@pytest.mark.integration
def test_lines_of_standard_input_are_obeyed() -> None:
    arguments = ("--addresses", "1-3", "--dead", "3", "--pty", "--baud", "9600", "--buses", "2")
    with running(*ACREL, *arguments, "--json", "--control") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        listening = json.loads(process.stdout.readline())
        process.stdin.write("counters\nkill bus-9 1\nstop\n")
        counters = json.loads(process.stdout.readline())
        stopped = json.loads(process.stdout.readline())
        assert process.stderr is not None
        err = process.stderr.read()
        process.wait(timeout=20)

    assert [bus["bus"] for bus in listening["buses"]] == ["bus-1", "bus-2"]
    assert listening["buses"][0]["addresses"] == ["1", "2", "3"]
    assert listening["buses"][0]["dead"] == ["3"]
    assert listening["buses"][0]["url"].startswith("serial:///dev/pts/")
    assert counters["event"] == "counters"
    assert counters["buses"][1]["gap_violations"] == 0
    assert stopped["event"] == "stopped"
    assert "cannot do 'kill bus-9 1'" in err
    assert process.returncode == 0


@pytest.mark.integration
def test_killed_device_is_silent_and_a_revived_one_answers() -> None:
    request = bytes.fromhex("01 03 02 00 00 30 44 66")
    with running(*ACREL, "--pty", "--json", "--control", "--set", "turn_round_ms=0") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        (bus,) = json.loads(process.stdout.readline())["buses"]
        port = os.open(bus["url"].removeprefix("serial://"), os.O_RDWR | os.O_NOCTTY)
        try:
            process.stdin.write("kill bus-1 1\ncounters\n")
            killed = json.loads(process.stdout.readline())["buses"][0]
            os.write(port, request)
            while killed["unanswered"] == 0:
                process.stdin.write("counters\n")
                killed = json.loads(process.stdout.readline())["buses"][0]
            process.stdin.write("revive bus-1 1\ncounters\n")
            process.stdout.readline()
            os.write(port, request)
            ready, _, _ = select.select([port], [], [], 20)
            assert ready
            reply = os.read(port, 101)
        finally:
            os.close(port)

    assert killed["exchanges"] == 0
    assert reply[:3] == b"\x01\x03\x60"


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_in_order(number: signal.Signals) -> None:
    with running(*ACREL, "--pty", "--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)

    assert json.loads(out)["event"] == "stopped"
    assert err == ""
    assert process.returncode == 0
