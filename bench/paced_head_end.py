"""The real head-end with the Acrel driver and a SQLite database, on paced buses."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import uuid_utils.compat

from bench.paced_buses import MODEL
from meterplex.cli.serve import working
from meterplex.cli.workers import make_workers
from meterplex.db import Database, migrations
from meterplex.domain.estate import Meter, OrganisationId
from meterplex.domain.supply_policy import LimiterPolicy
from meterplex.headend import builtin_channels
from meterplex.headend.head_end import HeadEnd
from meterplex.plugin_manager import PluginManager
from meterplex.services.estate.files import EstateFile, read_estate_file
from meterplex.services.estate.import_estate import import_estate
from meterplex.settings import Settings

UNLIMITED = LimiterPolicy(tenant_min=10**6, system_min=10**6, meter_day_max=10**6)
"""More disconnects than any bench sends: what is measured is the way of one."""


@dataclass(frozen=True, slots=True)
class PacedHeadEnd:
    """A head-end that works, and what it works on."""

    head_end: HeadEnd
    database: Database
    plugins: PluginManager
    organisation_id: OrganisationId
    meters: tuple[Meter, ...]


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def working_head_end(
    urls: Sequence[str], meters: int, interval: str
) -> AsyncIterator[PacedHeadEnd]:
    """Import an estate with ``meters`` on each channel URL and let a head-end read it."""
    with TemporaryDirectory(prefix="meterplex-bench-") as folder:
        url = f"sqlite:///{folder}/bench.db"
        await migrations.upgrade(url)
        async with await Database.open(url) as database:
            plugins = PluginManager.load((builtin_channels,))
            file = _estate_file(Path(folder, "estate.toml"), urls, meters, interval)
            await import_estate(database, plugins, file, operator="bench", at=now())
            async with database.unit_of_work(read_only=True) as uow:
                (organisation,) = await uow.organisations.all()
                installed = await uow.meters.all(organisation.id)
            head_end = HeadEnd(database, plugins, now, uuid_utils.compat.uuid7, limiter=UNLIMITED)
            workers = make_workers(database, plugins, Settings(), head_end, now)
            async with working(head_end, plugins, workers):
                await _loaded(head_end, installed)
                yield PacedHeadEnd(head_end, database, plugins, organisation.id, installed)


async def _loaded(head_end: HeadEnd, meters: Sequence[Meter]) -> None:
    """Wait until the head-end knows all meters."""
    async with asyncio.timeout(30):
        while True:
            if all(head_end.find(meter.id) is not None for meter in meters):
                return
            await asyncio.sleep(0.02)


def _estate_file(path: Path, urls: Sequence[str], meters: int, interval: str) -> EstateFile:
    tables = [
        '[organisation]\nname = "Bench"\ncurrency = "CNY"\nlanguage = "en"',
        '[[site]]\ncode = "east"\nname = "East"\ntime_zone = "Asia/Shanghai"\n'
        f'utilities = ["electricity"]\nreading_interval = "{interval}"',
    ]
    for number, url in enumerate(urls, 1):
        tables.append(f'[[channel]]\nsite = "east"\ncode = "bus-{number}"\nurl = "{url}"')
        tables += [
            f'[[meter]]\nsite = "east"\nserial = "{number}-{address}"\nmodel = "{MODEL}"\n'
            f'channel = "bus-{number}"\naddress = "{address}"'
            for address in range(1, meters + 1)
        ]
    path.write_text("\n".join(tables))
    return read_estate_file(path)
