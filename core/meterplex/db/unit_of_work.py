"""One unit of work: one transaction, and the repositories inside it."""

from types import TracebackType
from typing import Self

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from meterplex.db.audit import AuditLog
from meterplex.db.commands import Commands
from meterplex.db.errors import translate
from meterplex.db.estate import (
    Bindings,
    Buildings,
    Channels,
    Gateways,
    Meters,
    Organisations,
    Sites,
    Units,
    UsagePoints,
)
from meterplex.db.events import DeviceEvents, ReadingRuns
from meterplex.db.readings import Readings
from meterplex.db.registers import Registers


class UnitOfWork:
    """A transaction; what was not committed when it is left never happened.

    The repositories exist inside ``async with`` only. After an error of the database the unit of
    work is spent. After ``commit`` it is over.
    """

    organisations: Organisations
    sites: Sites
    buildings: Buildings
    units: Units
    gateways: Gateways
    channels: Channels
    meters: Meters
    usage_points: UsagePoints
    bindings: Bindings
    registers: Registers
    readings: Readings
    runs: ReadingRuns
    events: DeviceEvents
    commands: Commands
    audit: AuditLog

    def __init__(self, engine: AsyncEngine) -> None:
        self._connection: AsyncConnection = engine.connect()

    async def __aenter__(self) -> Self:
        """Begin.

        Raises:
            DatabaseUnavailableError: the database cannot be reached, or its lock is not free.
        """
        try:
            await self._connection.start()
        except (exc.SQLAlchemyError, OSError) as error:
            raise translate(error) from error
        try:
            await self._connection.begin()
        except (exc.SQLAlchemyError, OSError) as error:
            await self._connection.close()
            raise translate(error) from error
        self._open_repositories()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Roll back whatever has not been committed."""
        await self._connection.close()

    async def commit(self) -> None:
        """Make it durable; nothing more can be done in this unit of work.

        Raises:
            DatabaseError: it was not, or cannot be known to have been, made durable.
        """
        try:
            await self._connection.commit()
        except exc.SQLAlchemyError as error:
            raise translate(error) from error
        finally:
            await self._connection.close()

    def _open_repositories(self) -> None:
        connection = self._connection
        self.organisations = Organisations(connection)
        self.sites = Sites(connection)
        self.buildings = Buildings(connection)
        self.units = Units(connection)
        self.gateways = Gateways(connection)
        self.channels = Channels(connection)
        self.meters = Meters(connection)
        self.usage_points = UsagePoints(connection)
        self.bindings = Bindings(connection)
        self.registers = Registers(connection)
        self.readings = Readings(connection)
        self.runs = ReadingRuns(connection)
        self.events = DeviceEvents(connection)
        self.commands = Commands(connection)
        self.audit = AuditLog(connection)
