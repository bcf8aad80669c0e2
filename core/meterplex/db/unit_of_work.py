"""One unit of work: one transaction, and the repositories inside it."""

import asyncio
from types import TracebackType
from typing import Final, Self

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from meterplex.db.account_reports import AccountReports
from meterplex.db.accounts import Accounts, BindingOpenings, Customers, Wallets
from meterplex.db.audit import AuditLog
from meterplex.db.bills import Bills, DebtPlans, Fees, ShareRuns
from meterplex.db.charges import Charges, ReadingHolds
from meterplex.db.commands import Commands
from meterplex.db.errors import DatabaseUnavailableError, translate
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
from meterplex.db.idempotency import IdempotencyKeys
from meterplex.db.ledger import Ledger
from meterplex.db.notices import Notices, Warnings
from meterplex.db.operators import Approvals, Operators
from meterplex.db.orders import Orders
from meterplex.db.outbox import Outbox
from meterplex.db.readings import Readings
from meterplex.db.receipts import Receipts
from meterplex.db.registers import Registers
from meterplex.db.reports import Reports
from meterplex.db.site_records import SiteRecords
from meterplex.db.supply import (
    Breakers,
    Bypasses,
    SentDisconnects,
    SupplyHolds,
    SupplyStates,
)
from meterplex.db.tariff_versions import TariffVersions

TURN_WAIT_S: Final = 30


class UnitOfWork:
    """A transaction; what was not committed when it is left never happened.

    The repositories exist inside ``async with`` only. After an error of the database the unit of
    work is spent. After ``commit`` it is over.

    Args:
        engine: gives the connection.
        turn: held from beginning to end, where only one may write at a time.
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
    operators: Operators
    approvals: Approvals
    customers: Customers
    accounts: Accounts
    binding_openings: BindingOpenings
    wallets: Wallets
    tariff_versions: TariffVersions
    site_records: SiteRecords
    charges: Charges
    reading_holds: ReadingHolds
    ledger: Ledger
    orders: Orders
    bills: Bills
    fees: Fees
    debt_plans: DebtPlans
    share_runs: ShareRuns
    idempotency_keys: IdempotencyKeys
    receipts: Receipts
    reports: Reports
    account_reports: AccountReports
    outbox: Outbox
    supply_holds: SupplyHolds
    bypasses: Bypasses
    breakers: Breakers
    sent_disconnects: SentDisconnects
    supply_states: SupplyStates
    warnings: Warnings
    notices: Notices
    audit: AuditLog

    def __init__(self, engine: AsyncEngine, turn: asyncio.Lock | None = None) -> None:
        self._connection: AsyncConnection = engine.connect()
        self._turn = turn
        self._holds_turn = False

    async def __aenter__(self) -> Self:
        """Begin.

        Raises:
            DatabaseUnavailableError: the database cannot be reached, or its lock is not free.
        """
        await self._take_turn()
        try:
            await self._begin()
        except BaseException:
            self._release_turn()
            raise
        self._open_repositories()
        return self

    async def _take_turn(self) -> None:
        if self._turn is None:
            return
        try:
            async with asyncio.timeout(TURN_WAIT_S):
                await self._turn.acquire()
        except TimeoutError as error:
            raise DatabaseUnavailableError(
                f"other writers of this program did not end within {TURN_WAIT_S} s"
            ) from error
        self._holds_turn = True

    async def _begin(self) -> None:
        try:
            await self._connection.start()
        except (exc.SQLAlchemyError, OSError) as error:
            raise translate(error) from error
        try:
            await self._connection.begin()
        except (exc.SQLAlchemyError, OSError) as error:
            await self._connection.close()
            raise translate(error) from error

    def _release_turn(self) -> None:
        if self._turn is not None and self._holds_turn:
            self._holds_turn = False
            self._turn.release()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Roll back whatever has not been committed."""
        try:
            await self._connection.close()
        finally:
            self._release_turn()

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
            self._release_turn()

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
        self.operators = Operators(connection)
        self.approvals = Approvals(connection)
        self.customers = Customers(connection)
        self.accounts = Accounts(connection)
        self.binding_openings = BindingOpenings(connection)
        self.wallets = Wallets(connection)
        self.tariff_versions = TariffVersions(connection)
        self.site_records = SiteRecords(connection)
        self.charges = Charges(connection)
        self.reading_holds = ReadingHolds(connection)
        self.ledger = Ledger(connection)
        self.orders = Orders(connection)
        self.bills = Bills(connection)
        self.fees = Fees(connection)
        self.debt_plans = DebtPlans(connection)
        self.share_runs = ShareRuns(connection)
        self.idempotency_keys = IdempotencyKeys(connection)
        self.receipts = Receipts(connection)
        self.reports = Reports(connection)
        self.account_reports = AccountReports(connection)
        self.outbox = Outbox(connection)
        self.supply_holds = SupplyHolds(connection)
        self.bypasses = Bypasses(connection)
        self.breakers = Breakers(connection)
        self.sent_disconnects = SentDisconnects(connection)
        self.supply_states = SupplyStates(connection)
        self.warnings = Warnings(connection)
        self.notices = Notices(connection)
        self.audit = AuditLog(connection)
