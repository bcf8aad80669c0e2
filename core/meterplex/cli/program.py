"""What commands have at hand: settings, plugins, the database. Made when first asked for."""

import asyncio
import getpass
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from meterplex.cli.errors import UnknownNameError
from meterplex.cli.stored_token import find_token
from meterplex.db import Database, UnitOfWork, migrations
from meterplex.db.database import driver_url
from meterplex.db.errors import NotFoundError, SchemaError
from meterplex.domain.estate import Organisation, Site, SiteId
from meterplex.domain.operators import NotSignedInError, Operator, Right
from meterplex.headend import builtin_channels
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import MeterModel
from meterplex.services.estate.file_format import nearest
from meterplex.services.operators.manage_operators import require_rights
from meterplex.services.operators.sign_in import Session, session
from meterplex.settings import LoadedSettings, Settings, load_settings

Result = TypeVar("Result")


@dataclass
class Program:
    """One run of the program.

    Attributes:
        config: the settings file that was named, if any.
        organisation_name: whose estate is meant; None where the database has one only.
        token: of the signed-in operator, as given with the command; empty to look further.
    """

    config: Path | None = None
    organisation_name: str | None = None
    token: str = field(default="", repr=False)

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

    async def session(self, database: Database) -> Session:
        """Return who is signed in, by the token of ``--token``, the environment or the file.

        Raises:
            NotSignedInError: nobody is.
        """
        token = self.token or find_token()
        if not token:
            raise NotSignedInError("not signed in: run meterplex sign-in NAME --store")
        async with database.unit_of_work(read_only=True) as uow:
            organisation = await self.organisation(uow)
        return await session(database, organisation.id, token, now())

    async def operator(
        self, database: Database, *rights: Right, site_id: SiteId | None = None
    ) -> Operator:
        """Return who is signed in, if all these rights are held at a site.

        Not to be called inside a unit of work: a refusal is written to the audit log, under the
        name of the command.

        Args:
            site_id: None asks for the rights at the whole organisation.

        Raises:
            NotSignedInError: nobody is signed in.
            ForbiddenError: a right is not held there.
        """
        operator = (await self.session(database)).operator
        await self.require(database, operator, rights, [site_id])
        return operator

    async def require(
        self,
        database: Database,
        operator: Operator,
        rights: Collection[Right],
        site_ids: Collection[SiteId | None],
        subject: str = "",
    ) -> None:
        """See that an operator holds rights at several sites; see :meth:`operator`.

        Raises:
            ForbiddenError: a right is not held at one of them.
        """
        _, *words = click.get_current_context().command_path.split()
        await require_rights(
            database,
            operator,
            rights,
            site_ids,
            action=".".join(words),
            subject=subject or "estate",
            at=now(),
        )

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
    """Let a command be run by a signed-in operator, whom :meth:`Program.operator` returns."""

    def keep(context: click.Context, _parameter: object, token: str) -> None:
        context.ensure_object(Program).token = token.strip()

    return click.option(
        "--token",
        default="",
        envvar="METERPLEX_TOKEN",
        expose_value=False,
        callback=keep,
        help="Of the signed-in operator: METERPLEX_TOKEN or a file in METERPLEX_TOKEN_FILE hide it "
        "better; otherwise the one that sign-in has stored.",
    )(command)


def operator_name_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command of whoever owns the machine the option ``--operator``."""
    return click.option(
        "--operator",
        default=getpass.getuser,
        show_default="who runs the command",
        help="Name that goes into the audit log.",
    )(command)
