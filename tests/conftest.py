"""Fixtures of all tests: databases of both kinds, and foreign programs.

PostgreSQL comes from the installed binaries, as a private cluster in a temporary folder, one for
each test process. Each test gets a database of its own, copied from a migrated template.
"""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random

import asyncpg
import pytest

from meterplex.db import Database, migrations
from meterplex.domain.estate import (
    Channel,
    ChannelId,
    Meter,
    MeterId,
    Organisation,
    OrganisationId,
    Site,
    SiteId,
)
from meterplex.domain.registers import ELECTRICITY, WATER
from meterplex.simulator.identifiers import IdentifierSource


def refuse_or_skip(reason: str) -> None:
    """Skip the test; fail it where everything has to be there."""
    if os.environ.get("METERPLEX_TEST_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def require_program() -> Callable[..., Path]:
    """Return a function that gives the path of the first of some programs that is installed."""

    def require(*names: str) -> Path:
        for name in names:
            path = shutil.which(name) or next(
                (str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))),
                None,
            )
            if path is not None:
                return Path(path)
        refuse_or_skip(f"not installed: {' or '.join(names)}")
        raise AssertionError

    return require


class PostgresCluster:
    """A private server that listens on a socket in its own folder."""

    def __init__(self, bin_dir: Path, *, durable: bool = False) -> None:
        self._bin_dir = bin_dir
        self._durability = "on" if durable else "off"
        self.folder = Path(tempfile.mkdtemp(prefix="meterplex-pg-"))
        self._as_user: list[str] = []
        if os.geteuid() == 0:  # the server refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
            self._as_user += ["--clear-groups", "--"]
        self._numbers = count(1)

    def start(self) -> None:
        data = self.folder / "data"
        self._run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": self._durability,
            "synchronous_commit": self._durability,
            "full_page_writes": self._durability,
            "max_connections": "60",
            "deadlock_timeout": "100ms",
        }
        arguments = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(data), "-w", "-l", log, "-o", arguments, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    async def create_database(self, template: str = "template1") -> str:
        """Return the name of a new database."""
        name = f"test_{next(self._numbers)}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    async def execute(self, statement: str) -> None:
        connection = await asyncpg.connect(
            host=str(self.folder), user="postgres", database="postgres"
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._bin_dir / program), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")


@pytest.fixture(scope="session")
def postgres_cluster(require_program: Callable[..., Path]) -> Iterator[PostgresCluster]:
    """A running private PostgreSQL server."""
    cluster = PostgresCluster(require_program("initdb").parent)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def postgres_url(postgres_cluster: PostgresCluster) -> str:
    """URL of an empty database of the private server, shared by a session."""
    return postgres_cluster.url(asyncio.run(postgres_cluster.create_database()))


@pytest.fixture(scope="session")
def postgres_template(postgres_cluster: PostgresCluster) -> str:
    """Name of a migrated database without rows."""
    name = asyncio.run(postgres_cluster.create_database())
    asyncio.run(migrations.upgrade(postgres_cluster.url(name)))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file without rows."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    asyncio.run(migrations.upgrade(f"sqlite:///{path}"))
    return path


BOTH_DATABASES = [
    pytest.param("sqlite"),
    pytest.param("postgresql", marks=pytest.mark.integration),
]


@pytest.fixture(params=BOTH_DATABASES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database without any schema, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    cluster: PostgresCluster = request.getfixturevalue("postgres_cluster")
    return cluster.url(asyncio.run(cluster.create_database()))


@pytest.fixture
def sqlite_database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """URL of a migrated SQLite file without rows."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'meterplex.db')}"


@pytest.fixture
def postgres_database_url(
    postgres_cluster: PostgresCluster, postgres_template: str
) -> Iterator[str]:
    """URL of a migrated PostgreSQL database without rows."""
    name = asyncio.run(postgres_cluster.create_database(postgres_template))
    yield postgres_cluster.url(name)
    asyncio.run(postgres_cluster.execute(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(params=BOTH_DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of a migrated database without rows, of each kind in turn."""
    kind = "sqlite" if request.param == "sqlite" else "postgres"
    url: str = request.getfixturevalue(f"{kind}_database_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open, migrated database without rows, of each kind in turn."""
    async with await Database.open(database_url) as database:
        yield database


@dataclass(frozen=True, slots=True)
class Estate:
    """One organisation with a site, a channel and meters at the addresses 1, 2, 3 ... on it."""

    organisation: Organisation
    site: Site
    channel: Channel
    meters: tuple[Meter, ...]


def make_estate(name: str = "Harbour", seed: int = 1, meters: int = 3) -> Estate:
    """Return an estate; equal seeds give equal identifiers."""
    identifiers = IdentifierSource(Random(seed))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    organisation = Organisation(OrganisationId(identifiers.new(at)), name, "CNY", "zh")
    site = Site(
        SiteId(identifiers.new(at)),
        organisation.id,
        "east",
        "East Street Mall",
        "Asia/Shanghai",
        frozenset({ELECTRICITY, WATER}),
    )
    channel = Channel(
        ChannelId(identifiers.new(at)), organisation.id, site.id, "bus-1", "tcp://127.0.0.1:502"
    )
    installed = tuple(
        Meter(
            MeterId(identifiers.new(at)),
            organisation.id,
            site.id,
            channel.id,
            f"2026000{address}",
            "acme_m1",
            str(address),
        )
        for address in range(1, meters + 1)
    )
    return Estate(organisation, site, channel, installed)


async def store_estate(database: Database, estate: Estate) -> None:
    async with database.unit_of_work() as uow:
        await uow.organisations.add(estate.organisation)
        await uow.sites.add(estate.site)
        await uow.channels.add(estate.channel)
        await uow.meters.add_all(estate.meters)
        await uow.commit()


@pytest.fixture
async def estate(database: Database) -> Estate:
    """A small estate, stored in ``database``."""
    estate = make_estate()
    await store_estate(database, estate)
    return estate


@pytest.fixture
async def other_estate(database: Database) -> Estate:
    """An estate of another organisation in the same database."""
    estate = make_estate("Hillside", seed=2)
    await store_estate(database, estate)
    return estate
