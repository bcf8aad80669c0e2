"""The commands in this process, an estate of their own, and simulated devices to talk to."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from uuid_utils.compat import uuid7

from meterplex.cli import main
from meterplex.db import Database
from meterplex.domain.estate import LinkState, LostReason
from meterplex.domain.operators import Grant, Operator, OperatorId, OperatorToken, Right, TokenId
from meterplex.services.operators.sign_in import token_hash

Cli = Callable[..., Result]
Estate = Callable[..., None]
AddOperator = Callable[..., str]
Answer = Callable[[Result], Any]

ESTATE = """
[organisation]
name = "Harbour"
currency = "CNY"
language = "en"

[[site]]
code = "east"
name = "East"
time_zone = "Asia/Shanghai"
utilities = ["electricity"]
reading_interval = "5s"

[[gateway]]
site = "east"
code = "gw-1"
dialect = "tcp"

[[channel]]
site = "east"
code = "bus-1"
url = "{url}"
gateway = "gw-1"

[[meter]]
site = "east"
serial = "m1"
model = "acrel_dtsy1352"
channel = "bus-1"
address = "1"
usage_point = "p1"
ct = 40

[[meter]]
site = "east"
serial = "m2"
model = "acrel_ddsy1352"
channel = "bus-1"
address = "2"

[[meter]]
site = "east"
serial = "m3"
model = "acrel_adl300"
channel = "bus-1"
address = "3"
"""


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command as a user with nothing configured would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("CONFIG", "TOKEN", "TOKEN_FILE", "PASSWORD_FILE"):
        monkeypatch.delenv(f"METERPLEX_{name}", raising=False)
    monkeypatch.setenv("LOGNAME", "installer")

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, arguments, input=stdin)

    return run


@pytest.fixture
def database_file(cli: Cli, sqlite_template: Path, tmp_path: Path) -> Path:
    """The user's migrated database without rows."""
    file = tmp_path / "data" / "meterplex" / "meterplex.sqlite"
    file.parent.mkdir(parents=True)
    shutil.copy(sqlite_template, file)
    return file


@pytest.fixture
def bare_estate(cli: Cli, database_file: Path, tmp_path: Path) -> Estate:
    """Import the estate with its one channel at a URL; it has no operators."""

    def take_in(url: str = "tcp://127.0.0.1:1") -> None:
        file = tmp_path / "estate.toml"
        file.write_text(ESTATE.format(url=url))
        result = cli("import", str(file))
        assert result.exit_code == 0, result.output

    return take_in


@pytest.fixture
def add_operator(database_file: Path) -> AddOperator:
    """Add an operator without a password; return a token of his."""

    async def write(name: str, grants: Iterable[Grant]) -> str:
        at, token = datetime.now(UTC), f"token-of-{name}"
        async with (
            await Database.open(f"sqlite:///{database_file}") as database,
            database.unit_of_work() as uow,
        ):
            (organisation,) = await uow.organisations.all()
            operator = Operator(
                OperatorId(uuid7()), organisation.id, name, "en", at, grants=frozenset(grants)
            )
            await uow.operators.add(operator, "no password")
            await uow.operators.add_token(
                OperatorToken(
                    TokenId(uuid7()),
                    organisation.id,
                    operator.id,
                    token_hash(token),
                    created_at=at,
                    expires_at=at + timedelta(hours=1),
                    last_used_at=at,
                )
            )
            await uow.commit()
        return token

    def add(name: str, *rights: Right | Grant) -> str:
        grants = [each if isinstance(each, Grant) else Grant(each) for each in rights]
        return asyncio.run(write(name, grants))

    return add


@pytest.fixture
def estate(
    bare_estate: Estate, add_operator: AddOperator, monkeypatch: pytest.MonkeyPatch
) -> Estate:
    """Import the estate with its one channel at a URL; anna, who may do all, is signed in."""

    def take_in(url: str = "tcp://127.0.0.1:1") -> None:
        bare_estate(url)
        if "METERPLEX_TOKEN" not in os.environ:
            monkeypatch.setenv("METERPLEX_TOKEN", add_operator("anna", *Right))

    return take_in


@pytest.fixture
def answer() -> Answer:
    """Return what a command printed as JSON; it must have ended well."""

    def parse(result: Result) -> Any:  # JSON is of any type
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return parse


@pytest.fixture(scope="session")
def twins() -> Iterator[str]:
    """URL of a bus of simulated meters: 1 and 2 answer, 3 is dead."""
    arguments = ("--addresses", "1-3", "--dead", "3", "--listen", "tcp://127.0.0.1:0", "--json")
    program = "import meterplex.cli; meterplex.cli.main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "simulate", "--model", "acrel_dtsy1352", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        (bus,) = json.loads(process.stdout.readline())["buses"]
        try:
            yield f"{bus['url']}&latency=0&late=0"
        finally:
            process.terminate()
            process.communicate(timeout=20)


@pytest.fixture
def lose(database_file: Path) -> Callable[[], None]:
    """Let meter m1 and the gateway be lost."""

    async def write() -> None:
        at = datetime(2026, 3, 1, 8, tzinfo=UTC)
        url = f"sqlite:///{database_file}"
        async with await Database.open(url) as database, database.unit_of_work() as uow:
            (organisation,) = await uow.organisations.all()
            meter, *_ = await uow.meters.all(organisation.id)
            (gateway,) = await uow.gateways.all(organisation.id)
            await uow.meters.set_state(
                organisation.id, meter.id, LinkState.LOST, since=at, reason=LostReason.METER
            )
            await uow.gateways.set_state(
                organisation.id, gateway.id, LinkState.LOST, since=at, reason=LostReason.GATEWAY
            )
            await uow.commit()

    return lambda: asyncio.run(write())
