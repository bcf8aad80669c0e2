"""A site with prepaid accounts, one a meter, on a clock that tests set."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from tests.conftest import make_estate, store_estate
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.db.notices import StoredWarning, WarningId
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, Category, Customer, CustomerId
from meterplex.domain.commands import Command, CommandId, CommandKind, CommandState
from meterplex.domain.estate import (
    AccountId,
    Binding,
    BindingId,
    Meter,
    Organisation,
    Site,
    UsagePoint,
    UsagePointId,
)
from meterplex.domain.ledger import EntryKind, Posting, cash, customer, receivable, revenue
from meterplex.domain.operators import Grant, Operator, OperatorId, Right
from meterplex.domain.registers import ELECTRICITY, Utility
from meterplex.domain.supply_policy import LimiterPolicy
from meterplex.domain.warnings import WarningLevel, WarningState
from meterplex.plugin_manager import PluginManager
from meterplex.services.books.book_entries import book
from meterplex.services.metering.deliver_commands import CommandRows
from meterplex.services.metering.issue_commands import NOT_AFTER_MAX, write_commands
from meterplex.services.supply.breaker import watch_time
from meterplex.services.supply.decide_supply import RULE, SupplyLoop

NOON = datetime(2026, 11, 18, 4, tzinfo=UTC)
"""A Wednesday, 12:00 in Shanghai."""
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
YUAN = 10_000


@dataclass
class Town:
    """What is in the database, and the time there."""

    database: Database
    plugins: PluginManager
    organisation: Organisation
    site: Site
    meters: Sequence[Meter]
    accounts: Sequence[Account]
    bindings: Sequence[Binding]
    at: datetime = NOON
    limiter: LimiterPolicy = field(default=LimiterPolicy())

    @property
    def loop(self) -> SupplyLoop:
        return SupplyLoop(self.database, self.plugins)

    @property
    def rows(self) -> CommandRows:
        return CommandRows(self.database, lambda: self.at, self.limiter)

    # -- money -----------------------------------------------------------------------------------

    async def use(self, amount: int, number: int = 0) -> None:
        """Let an account owe more, in yuan."""
        account = self.accounts[number]
        owed = receivable(account.id, Category.UTILITY)
        await self._book(account, Posting(owed, revenue("electricity"), amount * YUAN))

    async def pay(self, amount: int, number: int = 0) -> None:
        account = self.accounts[number]
        await self._book(account, Posting(cash("cash"), customer(account.id), amount * YUAN))

    async def _book(self, account: Account, posting: Posting) -> None:
        async with self.database.unit_of_work() as uow:
            await book(
                uow,
                self.site,
                EntryKind.CHARGE,
                [posting],
                currency="CNY",
                at=self.at,
                operator="test",
                account=account,
            )
            await uow.commit()

    # -- warnings --------------------------------------------------------------------------------

    async def warn(
        self,
        ago: timedelta = timedelta(hours=25),
        number: int = 0,
        state: WarningState = WarningState.SENT,
    ) -> None:
        """Have had all levels told to an account some time ago."""
        at = self.at - ago
        account = self.accounts[number]
        async with self.database.unit_of_work() as uow:
            await uow.warnings.add_all(
                StoredWarning(
                    WarningId(uuid7()),
                    self.organisation.id,
                    account.id,
                    self.bindings[number].id if account.mode.in_meter else None,
                    level,
                    at,
                    0,
                    at,
                    state,
                    at,
                )
                for level in WarningLevel
            )
            await uow.commit()

    # -- people and commands ---------------------------------------------------------------------

    async def person(self, name: str, *rights: Right) -> Operator:
        """Return an operator of these rights at the whole organisation."""
        grants = frozenset(Grant(right) for right in rights or tuple(Right))
        operator = Operator(
            OperatorId(uuid7()), self.organisation.id, name, "en", NOON, grants=grants
        )
        async with self.database.unit_of_work() as uow:
            await uow.operators.add(operator, "no password")
            await uow.commit()
        return operator

    async def ask(
        self,
        kind: CommandKind = CommandKind.DISCONNECT,
        number: int = 0,
        *,
        by: str = RULE,
        cause: str = "arrears",
        audited: bool = True,
    ) -> Command:
        """Write a command as the loop, or a person, does."""
        command = Command(
            CommandId(uuid7()),
            self.organisation.id,
            self.meters[number].id,
            kind,
            by,
            self.at,
            self.at + NOT_AFTER_MAX,
            batch_id=uuid4(),
            cause=cause,
        )
        async with self.database.unit_of_work() as uow:
            if audited:
                await write_commands(uow, [command])
            else:
                await uow.commands.add(command)
            await uow.commit()
        return command

    async def send(self, command: Command) -> bool:
        return await self.rows.move(command, CommandState.SENT, "")

    async def now(self, command: Command) -> Command:
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.commands.get(self.organisation.id, command.id)

    async def confirm(self, command: Command) -> None:
        """Send a command and have it read back as done."""
        assert await self.send(command), (await self.now(command)).outcome
        sent = replace(command, state=CommandState.SENT)
        assert await self.rows.move(sent, CommandState.CONFIRMED, "read back")

    async def commands(self, number: int = 0) -> tuple[Command, ...]:
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.commands.of_meter(self.organisation.id, self.meters[number].id)

    async def decide(self, number: int = 0) -> str:
        """Let the loop decide about an account; return what it wants, and why."""
        (decided,) = await self.loop.decide(
            self.organisation.id, self.accounts[number].id, at=self.at
        )
        return f"{decided.wanted}: {decided.reason}"

    async def flag(self, *flags: str, number: int = 0) -> None:
        async with self.database.unit_of_work() as uow:
            meter = self.meters[number]
            await uow.meters.set_flags(meter.organisation_id, meter.id, frozenset(flags))
            await uow.commit()

    # -- time ------------------------------------------------------------------------------------

    async def go_to(self, at: datetime) -> None:
        """Let time pass while the program watches."""
        while self.at < at:
            self.at = min(at, self.at + 5 * MINUTE)
            await watch_time(self.database, self.at)


async def build_town(
    database: Database,
    plugins: PluginManager,
    accounts: int = 1,
    mode: AccountMode = AccountMode.PREPAID_SERVER,
    *,
    utility: Utility = ELECTRICITY,
    phone: str = "13800138000",
    seed: int = 1,
    name: str = "Harbour",
) -> Town:
    """Store a town in which every meter was read lately, and every account has nothing."""
    estate = make_estate(name, seed=seed, meters=max(accounts, 3))
    meters = tuple(replace(each, model="power_meter") for each in estate.meters)
    await store_estate(database, replace(estate, meters=meters))
    organisation_id, site = estate.organisation.id, estate.site
    who = Customer(CustomerId(uuid7()), organisation_id, "C-1", "Chen", phone)
    opened, points, bindings = [], [], []
    for number in range(accounts):
        account = Account(
            AccountId(uuid7()), organisation_id, site.id, who.id, f"A-{number}", mode, "CNY", NOON
        )
        point = UsagePoint(
            UsagePointId(uuid7()), organisation_id, site.id, f"shop-{number}", utility
        )
        opened.append(account)
        points.append(point)
        bindings.append(
            Binding(
                BindingId(uuid7()),
                organisation_id,
                meters[number].id,
                point.id,
                NOON - 20 * MINUTE,
                account_id=account.id,
                mode=mode,
            )
        )
    async with database.unit_of_work() as uow:
        await uow.customers.add(who)
        await uow.accounts.add_all(opened)
        await uow.usage_points.add_all(points)
        await uow.bindings.add_all(bindings)
        await uow.commit()
    await watch_time(database, NOON)
    return Town(database, plugins, estate.organisation, site, meters, opened, bindings)
