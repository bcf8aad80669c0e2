"""What commands have at hand: settings, plugins, the database. Made when first asked for."""

import asyncio
import getpass
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from meterplex.cli.errors import UnknownNameError
from meterplex.db import Database, UnitOfWork, migrations
from meterplex.db.database import driver_url
from meterplex.db.errors import NotFoundError, SchemaError
from meterplex.domain.estate import Organisation, Site
from meterplex.headend import builtin_channels
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import MeterModel
from meterplex.services.estate_format import nearest
from meterplex.settings import LoadedSettings, Settings, load_settings

Result = TypeVar("Result")


@dataclass
class Program:
    """One run of the program.

    Attributes:
        config: the settings file that was named, if any.
        organisation_name: whose estate is meant; None where the database has one only.
    """

    config: Path | None = None
    organisation_name: str | None = None

    @cached_property
    def loaded_settings(self) -> LoadedSettings:
        """The settings with their origins."""
        return load_settings(self.config)

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.loaded_settings.settings

    @cached_property
    def plugins(self) -> PluginManager:
        """All plugins."""
        return PluginManager.load((builtin_channels,))

    def model(self, name: str) -> MeterModel:
        """Return a model by its id.

        Raises:
            UnknownNameError: no plugin has it.
        """
        model = self.plugins.models.get(name)
        if model is None:
            raise UnknownNameError(
                f"no plugin has the model {name!r}{nearest(name, self.plugins.models)}"
            )
        return model

    @property
    def database_file(self) -> Path | None:
        """The file of an SQLite database; None for a server."""
        url = driver_url(self.settings.db.url)
        if url.get_backend_name() != "sqlite" or url.database is None:
            return None
        return Path(url.database)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """Open the database; it must be there and have this program's schema.

        Raises:
            SchemaError: it is not there, or its schema is another one.
            DatabaseError: it does not answer.
        """
        file, url = self.database_file, self.settings.db.url
        if file is not None and not file.exists():
            raise SchemaError(f"no database at {file}: run meterplex db upgrade")
        found = await migrations.current(url)
        if found != migrations.head():
            raise SchemaError(
                f"the database is at revision {found or 'none'}, this program needs "
                f"{migrations.head()}: run meterplex db upgrade"
            )
        async with await Database.open(url) as database:
            yield database

    async def organisation(self, uow: UnitOfWork) -> Organisation:
        """Return whose estate is meant.

        Raises:
            NotFoundError: there is none, or none of the name.
            click.UsageError: there are several and none was named.
        """
        known = await uow.organisations.all()
        names = [organisation.name for organisation in known]
        if self.organisation_name is not None:
            for organisation in known:
                if organisation.name == self.organisation_name:
                    return organisation
            name = self.organisation_name
            raise NotFoundError(f"no organisation {name!r}{nearest(name, names)}")
        if not known:
            raise NotFoundError("the database holds no organisation: run meterplex import")
        if len(known) > 1:
            raise click.UsageError(f"name one with --organisation: {', '.join(names)}")
        return known[0]

    async def site(self, uow: UnitOfWork, organisation: Organisation, code: str) -> Site:
        """Return a site by its code.

        Raises:
            NotFoundError: there is none; the nearest one is told.
        """
        site = await uow.sites.by_code(organisation.id, code)
        if site is None:
            codes = [each.code for each in await uow.sites.all(organisation.id)]
            raise NotFoundError(f"no site {code!r}{nearest(code, codes)}")
        return site

    async def in_estate(
        self, work: Callable[[UnitOfWork, Organisation], Awaitable[Result]]
    ) -> Result:
        """Do something that only reads, in one unit of work on the organisation."""
        async with self.database() as database, database.unit_of_work(read_only=True) as uow:
            return await work(uow, await self.organisation(uow))


pass_program: Final = click.make_pass_decorator(Program, ensure=True)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run asynchronous work to its end."""
    return asyncio.run(work)


def now() -> datetime:
    """Return the time of this machine, in UTC."""
    return datetime.now(UTC)


def operator_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option ``--operator``."""
    return click.option(
        "--operator",
        default=getpass.getuser,
        show_default="who runs the command",
        help="Name that goes into the audit log.",
    )(command)
