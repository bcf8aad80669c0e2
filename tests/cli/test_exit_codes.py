import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from meterplex.cli.errors import CODES, ExitCode, judge
from meterplex.cli.group import FailingGroup
from meterplex.db import errors as db
from meterplex.sdk import errors as sdk

Cli = Callable[..., Result]
Estate = Callable[..., None]

TCP = "tcp://127.0.0.1:1"
READ = ("read", "--model", "acrel_dtsy1352", "--channel", TCP, "--address")


def read(**changes: str) -> tuple[str, ...]:
    options = {"model": "acrel_dtsy1352", "channel": TCP, "address": "1"} | changes
    return ("read", *(word for name, text in options.items() for word in (f"--{name}", text)))


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        pytest.param(("raed",), 2, "no command 'raed', did you mean 'read'?", id="command"),
        pytest.param(("--loud",), 2, "No such option", id="option of the program"),
        pytest.param(("read", "--loud"), 2, "No such option", id="option of a command"),
        pytest.param(("config", "shwo"), 2, "No such command 'shwo'", id="command of a group"),
        pytest.param(("read",), 2, "Missing option '--model'", id="missing option"),
        pytest.param(
            read(model="acrel_dtsy1353"),
            3,
            "no plugin has the model 'acrel_dtsy1353', did you mean 'acrel_dtsy1352'?",
            id="unknown model",
        ),
        pytest.param(read(channel="127.0.0.1:502"), 2, "expected scheme://", id="malformed URL"),
        pytest.param(read(channel="tcp://127.0.0.1:x"), 2, "channel URL", id="port in letters"),
        pytest.param(read(channel="tcp://127.0.0.1"), 2, "tcp://host:port", id="no port"),
        pytest.param(read(channel="udp://127.0.0.1:502"), 2, "udp", id="unknown scheme"),
        pytest.param(read(channel=f"{TCP}?framing=ascii"), 2, "'ascii'", id="URL setting"),
        pytest.param(read(channel=f"{TCP}?buad=9600"), 2, "'baud'", id="unknown URL setting"),
        pytest.param(read(channel="serial:///dev/none"), 1, "/dev/none", id="no serial port"),
        pytest.param(read(), 1, "Connect call failed", id="unreachable host"),
        pytest.param(read(channel="tcp://no.invalid:502"), 1, "no.invalid", id="unknown host"),
        pytest.param(read(address="0"), 2, "address '0'", id="address 0"),
        pytest.param(read(address="248"), 2, "address '248'", id="address 248"),
        pytest.param(read(address="one"), 2, "address 'one'", id="address in words"),
        pytest.param(read(registers="voltage"), 3, "no register 'voltage'", id="register"),
        pytest.param(read(set="cipher"), 2, "expected NAME=TEXT", id="setting without text"),
        pytest.param(read(set="ciper=1"), 2, "ciper", id="unknown setting"),
        pytest.param(read(supply="disconnect"), 2, "--commissioning", id="supply in service"),
        pytest.param(read(supply="open"), 2, "Invalid value for '--supply'", id="supply action"),
        pytest.param(
            ("scan", "--channel", TCP, "--addresses", "9-1"), 2, "9-1", id="falling addresses"
        ),
        pytest.param(("scan", "--channel", TCP), 1, "Connect call failed", id="scan of no host"),
        pytest.param(
            ("scan", "--channel", TCP, "--model", "x"), 3, "no plugin has", id="scan for no model"
        ),
        pytest.param(
            ("bench-check", *read()[1:]), 2, "needs --commissioning", id="bench check in service"
        ),
        pytest.param(("plan-bus",), 2, "at least one device", id="empty bus"),
        pytest.param(("plan-bus", "--device", "x=3"), 3, "no plugin has", id="unknown device"),
        pytest.param(("import", "gone.toml"), 1, "gone.toml: No such file", id="no such file"),
        pytest.param(("meters",), 1, "run meterplex db upgrade", id="no database"),
        pytest.param(("db", "check"), 1, "run meterplex db upgrade", id="nothing to check"),
        pytest.param(("--config", "gone.toml", "config", "check"), 2, "gone.toml", id="settings"),
    ],
)
def test_bad_use_ends_with_one_line_and_its_code(
    cli: Cli, arguments: tuple[str, ...], code: int, line: str
) -> None:
    result = cli(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert line in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("meters",), 3, "no organisation: run meterplex import"),
        (("--organisation", "Harbor", "meters"), 3, "no organisation 'Harbor'"),
    ],
)
def test_empty_database_is_told(
    cli: Cli, database_file: Path, arguments: tuple[str, ...], code: int, line: str
) -> None:
    result = cli(*arguments)
    assert result.exit_code == code
    assert line in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("--organisation", "Harbor", "meters"), 3, "did you mean 'Harbour'?"),
        (("meters", "--site", "est"), 3, "no site 'est', did you mean 'east'?"),
        (("readings", "m9"), 3, "no meter m9"),
        (("readings", "m1", "--from", "noon"), 2, "expected a time such as"),
        (("readings", "m1", "--register", "x"), 3, "no readings of 'x'"),
        (("runs", "--channel", "bus-9"), 3, "no channel 'bus-9', did you mean 'bus-1'?"),
        (("events", "--meter", "m9"), 3, "no meter m9"),
        (("channels", "test", "bus-9"), 3, "no channel 'bus-9'"),
        (("command", "disconnect"), 2, "name meters, or a site"),
        (("command", "disconnect", "m1", "--site", "east"), 2, "name meters, or a site"),
        (("command", "disconnect", "m1", "m9"), 3, "no meter m9"),
        (("command", "disconnect", "--site", "east"), 2, "disconnect for 3 meters: say --yes"),
        (("command", "disconnect", "m3"), 2, "acrel_adl300 has no capability supply"),
        (("command", "disconnect", "m1", "--within", "1h"), 2, "lives at most 10m"),
        (("command", "disconnect", "m1", "--within", "soon"), 2, "expected a time such as"),
        (("command", "limits", "m1"), 2, "limits: none given"),
        (("command", "limits", "m1", "--alarm-1", "-1"), 2, "alarm_1"),
        (("command", "status", "01a1fb28-4bad-76db-81d8-335a153838a4"), 3, "no batch"),
        (("command", "status", "7"), 2, "not a valid UUID"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_use_of_an_estate_ends_with_one_line_and_its_code(
    cli: Cli, estate: Estate, arguments: tuple[str, ...], code: int, line: str
) -> None:
    estate()
    result = cli(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (sdk.DeviceRefusedError("no"), ExitCode.REFUSED),
        (sdk.DeviceMismatchError("another"), ExitCode.CONFLICT),
        (sdk.LinkTimeoutError("silence"), ExitCode.TIMEOUT),
        (sdk.OutcomeUnknownError("not proven"), ExitCode.TIMEOUT),
        (sdk.ExpiredError("too late"), ExitCode.TIMEOUT),
        (sdk.LinkUnavailableError("down"), ExitCode.ERROR),
        (sdk.DamagedReplyError("bad"), ExitCode.ERROR),
        (sdk.UnsupportedError("credit"), ExitCode.USAGE),
        (sdk.PluginError("broken"), ExitCode.ERROR),
        (db.ConflictError("taken", None), ExitCode.CONFLICT),
        (db.TransactionConflictError("again"), ExitCode.CONFLICT),
        (db.DatabaseUnavailableError("down"), ExitCode.ERROR),
        (db.DatabaseUrlError("mysql"), ExitCode.USAGE),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (ExceptionGroup("tasks", [sdk.LinkTimeoutError("silence")]), ExitCode.TIMEOUT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_expected_error_has_its_code(error: BaseException, code: ExitCode) -> None:
    judged = judge(error)
    assert judged is not None
    assert judged[1] is code


def test_no_class_hides_behind_a_broader_one_before_it() -> None:
    for index, (kind, _) in enumerate(CODES):
        assert not any(issubclass(kind, earlier) for earlier, _ in CODES[:index]), kind


def test_every_error_of_the_sdk_and_the_database_is_judged() -> None:
    roots = (sdk.DriverError, sdk.PluginError, db.DatabaseError)
    assert all(any(issubclass(root, kind) for kind, _ in CODES) for root in roots)


def test_line_of_an_error_stays_one_line() -> None:
    assert judge(sdk.PluginError("first\n  second")) == ("first second", ExitCode.ERROR)
    assert judge(sdk.PluginError()) == ("PluginError", ExitCode.ERROR)


def test_line_of_a_failed_system_call_names_the_file_first() -> None:
    error = FileNotFoundError(2, "No such file or directory", "gone.toml")
    assert judge(error) == ("gone.toml: No such file or directory", ExitCode.ERROR)
    assert judge(OSError(99, "http 1.2.3.4:80: no")) == ("http 1.2.3.4:80: no", ExitCode.ERROR)


def test_bug_keeps_its_traceback() -> None:
    @click.group(cls=FailingGroup)
    def group() -> None:
        """Hold one command."""

    @group.command
    def fail() -> None:
        """Fail as nobody expects."""
        raise AssertionError("a bug")

    result = CliRunner().invoke(group, ["fail"])
    assert isinstance(result.exception, AssertionError)


def test_commands_are_not_imported_before_they_are_called() -> None:
    code = "import sys, meterplex.cli; print([m for m in sys.modules if 'sqlalchemy' in m][:1])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_reader_that_went_away_is_no_error() -> None:
    code = "from meterplex.cli import main; main()"
    models = f"{sys.executable} -c '{code}' models"
    done = subprocess.run(
        ["bash", "-c", f"{models} | true"], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
