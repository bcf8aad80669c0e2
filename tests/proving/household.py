"""One household with a prepaid meter, a desk that sells to it, and a link that cannot be trusted.

All that is asked for goes through the services, on an SQLite file; the meter is the twin of the
DTSY1352, which judges: what it says that it was sold is compared with the books.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from tests.conftest import make_estate, store_estate
from tests.domain.tariff_samples import FLAT
from tests.proving.hits import Hits
from tests.proving.lossy_link import InvariantError, Killed, LossyLink
from tests.services.charging_cases import publish
from uuid_utils.compat import uuid7

from meterplex.db import Database, UnitOfWork
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account
from meterplex.domain.approvals import ApprovalId, ApprovalKind
from meterplex.domain.estate import Binding, BindingId, Meter, UsagePoint, UsagePointId
from meterplex.domain.ledger import LedgerAccount
from meterplex.domain.operators import Grant, Operator, OperatorId, Right
from meterplex.domain.prepayment import OrderId, OrderState, PrepaymentRules, Verdict
from meterplex.domain.prepayment.credit_order import CreditOrder
from meterplex.domain.readings import ReadingRun, ReadingSource, RunId
from meterplex.domain.registers import ELECTRICITY
from meterplex.headend import builtin_channels
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import CreditState, DriverError, OutcomeUnknownError
from meterplex.services.accounts.close_account import CloseAccount, Closing, close_account
from meterplex.services.accounts.customers import NewCustomer
from meterplex.services.accounts.open_account import NewBinding, OpenAccount, open_account
from meterplex.services.accounts.swap_meter import NewMeter, Swap, SwapMeter, swap_meter
from meterplex.services.charging.charge_readings import charge_meters
from meterplex.services.metering.take_readings import TakenSnapshot, store_run
from meterplex.services.operators import approvals
from meterplex.services.orders.compare_counts import SeenWallet, compare_counts
from meterplex.services.orders.crash_points import CrashPoint, Moment
from meterplex.services.orders.decide_orders import Decision, resolve_conflict, void_order
from meterplex.services.orders.deliver_orders import OrderDelivery
from meterplex.services.orders.evidence import LinkFacts
from meterplex.services.orders.pay_out import PayoutRequest, pay_out
from meterplex.services.orders.refund_credit import RefundRequest, refund_credit
from meterplex.services.orders.reverse_order import ReversalRequest, reverse_order
from meterplex.services.orders.vend_credit import Sale, VendRequest, vend_credit
from meterplex_acrel_dtsy import models, plugin
from meterplex_acrel_dtsy.driver import AcrelDriver
from meterplex_acrel_dtsy.twin_meter import Force

YUAN: Final = 10_000
START: Final = datetime(2026, 3, 2, 4, tzinfo=UTC)
"""Monday, noon in Shanghai."""
LIFETIME: Final = timedelta(minutes=5)
"""Of a frame that a terminal holds back, in worlds where they expire."""
MODEL: Final = "acrel_dtsy1352"

Result = TypeVar("Result")


class KillableUnitOfWork(UnitOfWork):
    """Tells of each commit, before and after."""

    hook: Any = None

    async def commit(self) -> None:
        self.hook(Moment.BEFORE)
        await super().commit()
        self.hook(Moment.AFTER)


class KillableDatabase(Database):
    """A database whose commits a program can be killed at.

    Attributes:
        kill_at: which commit from now on, and on which side of it; None for none.
    """

    kill_at: tuple[int, Moment] | None = None

    def unit_of_work(self, *, read_only: bool = False) -> UnitOfWork:
        if read_only:
            return super().unit_of_work(read_only=True)
        work = KillableUnitOfWork(self._writers, self._turn)
        work.hook = self._on_commit
        return work

    def _on_commit(self, moment: Moment) -> None:
        if self.kill_at is None:
            return
        left, wanted = self.kill_at
        if moment is not wanted:
            return
        if left == 0:
            self.kill_at = None
            raise Killed(f"{moment} a commit")
        self.kill_at = left - 1, wanted


class TellingDriver(AcrelDriver):
    """A make that tells what the meter answered, instead of reading what came of it."""

    async def _move_value(self, what: str, start: int, frame: bytes) -> CreditState:
        try:
            await self._vendor_write(start, frame)()
        except DriverError as error:
            if isinstance(error, OutcomeUnknownError) or "exception" not in str(error):
                raise OutcomeUnknownError(f"{what}: {error}") from error
            raise
        return await self.read_credit()


@dataclass(frozen=True)
class World:
    """What a run is like.

    Attributes:
        count_checked: the meter compares counts; else it is blind.
        sole_seller: nobody else sells to it.
        direct: its link stores nothing once a session is closed.
        telling: its driver believes a refusal.
        expires: a terminal drops frames that are older than ``LIFETIME``, by its clock.
        cents: credit that the meter holds at first, in 1/100.
    """

    count_checked: bool = True
    sole_seller: bool = True
    direct: bool = False
    telling: bool = False
    expires: bool = False
    cents: int = 0


@dataclass
class Installed:
    """A meter at the household: its row, its twin and the link to it, and what it began with."""

    meter: Meter
    twin: Any
    link: LossyLink
    opening_total: int
    found_units: int = 0
    foreign: int = 0

    @property
    def wallet(self) -> Any:
        return self.twin.body.wallet

    @property
    def bought(self) -> int:
        """What it was sold by us, after its own figures, in ledger units."""
        units: int = self.wallet.total_purchased - self.opening_total - self.foreign
        return units


class Household:
    """See the module's text; amounts are whole yuan. To be used with ``with``."""

    delivery_type: type[OrderDelivery] = OrderDelivery

    def __init__(
        self,
        template: Path,
        world: World,
        hits: Hits,
        rules: PrepaymentRules | None = None,
        delivery_type: type[OrderDelivery] = OrderDelivery,
    ) -> None:
        self.world = world
        self.hits = hits
        self.rules = self._counted(rules or PrepaymentRules())
        self.delivery_type = delivery_type
        self.now = START
        self.folder = Path(tempfile.mkdtemp(prefix="household-", dir=_fast_folder()))
        self.path = self.folder / "meterplex.db"
        shutil.copy(template, self.path)
        self.keys = count(1)
        self.killed_at: dict[tuple[CrashPoint, Moment], bool] = {}
        self.requests: list[tuple[VendRequest, Sale]] = []
        self.session_closed_at: datetime | None = None
        self.initialised_at: list[datetime] = []
        self.used_units = 0
        self.acting_for: UUID | None = None
        self.loop = asyncio.new_event_loop()

    def _counted(self, rules: PrepaymentRules) -> PrepaymentRules:
        """Count what evidence is come upon: what is sent again leaves no step of its own."""

        def judge(*args: Any, **facts: Any) -> Verdict:
            verdict = rules.judge(*args, **facts)
            self.hits.add(verdict.evidence.value)
            return verdict

        return replace(rules, judge=judge)

    def __enter__(self) -> Self:
        self.eye = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        self.run(self._open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.run(self.database.close())
        finally:
            self.eye.close()
            self.loop.close()
            shutil.rmtree(self.folder)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    # -- setting up ----------------------------------------------------------------------------

    async def _open(self) -> None:
        self.database = await KillableDatabase.open(f"sqlite:///{self.path}")
        self.plugins = PluginManager.load((builtin_channels, plugin), ())
        self.estate = make_estate()
        meters = [
            replace(meter, model=MODEL, serial=f"2026030{number}", settings=self._settings)
            for number, meter in enumerate(self.estate.meters, 1)
        ]
        self.estate = replace(self.estate, meters=tuple(meters))
        await store_estate(self.database, self.estate)
        await publish(self.database, self.estate, replace(FLAT, valid_from=date(2025, 1, 1)))
        self.cashier, self.manager = await self._hire("cashier"), await self._hire("manager")
        await self._install_point()
        self.installed = self._install(self.estate.meters[0], self.world.cents)
        self.former: list[Installed] = []
        await self._read()
        opened = await open_account(
            self.database,
            self.plugins,
            OpenAccount(
                self.estate.organisation.id,
                self.estate.site.code,
                "a-1",
                NewCustomer("c-1", "Li Na"),
                AccountMode.PREPAID_METER,
                tariff="flat",
                bindings=(NewBinding("p-1", sole_seller=self.world.sole_seller),),
            ),
            at=self.clock(),
            operator="manager",
        )
        self.account_id = opened.account.id
        self.binding_id = opened.bindings[0].id
        self.neighbour = await self._open_neighbour()

    async def _open_neighbour(self) -> UUID:
        """Sell to somebody in another organisation, whom nothing here concerns."""
        other = make_estate("Hillside", seed=2)
        await store_estate(self.database, other)
        opened = await open_account(
            self.database,
            self.plugins,
            OpenAccount(
                other.organisation.id,
                other.site.code,
                "a-1",
                NewCustomer("c-1", "Wang Wei"),
                AccountMode.PREPAID_SERVER,
            ),
            at=self.clock(),
            operator="manager",
        )
        request = VendRequest(other.organisation.id, opened.account.id, 30 * YUAN, "k-1")
        await vend_credit(self.database, request, at=self.clock(), operator="cashier")
        return other.organisation.id

    @property
    def _settings(self) -> dict[str, str]:
        return {"count_checked": str(self.world.count_checked).lower()}

    async def _hire(self, name: str) -> Operator:
        operator = Operator(
            OperatorId(uuid7()),
            self.estate.organisation.id,
            name,
            "en",
            START,
            grants=frozenset(Grant(right) for right in Right),
        )
        async with self.database.unit_of_work() as uow:
            await uow.operators.add(operator, "no password")
            await uow.commit()
        return operator

    async def _install_point(self) -> None:
        organisation_id = self.estate.organisation.id
        point = UsagePoint(
            UsagePointId(uuid7()), organisation_id, self.estate.site.id, "p-1", ELECTRICITY
        )
        binding = Binding(
            BindingId(uuid7()),
            organisation_id,
            self.estate.meters[0].id,
            point.id,
            since=START - timedelta(days=30),
        )
        async with self.database.unit_of_work() as uow:
            await uow.usage_points.add(point)
            await uow.bindings.add(binding)
            await uow.commit()

    def _install(self, meter: Meter, cents: int) -> Installed:
        model = models.dtsy1352()
        assert model.twin is not None
        told = {
            "serial": meter.serial,
            "remaining": f"{cents / 100:.2f}",
            "purchase_count": "5",
            "total_purchased": "200.00",
            "load_kw": "0",
            "price": "1.0000",
        }
        defaults = {each.name: each.default or "" for each in model.twin_settings}
        twin: Any = model.twin("1", defaults | told | self._settings, 1)
        twin.advance(self.now)
        link = LossyLink(twin, self._moving, self.clock, doubles=self.world.count_checked)
        return Installed(meter, twin, link, twin.body.wallet.total_purchased, cents * 100)

    def _moving(self, sent_count: int) -> tuple[str, int]:
        """I9: find the durable ARMED row of a frame that is about to leave."""
        rows = self.eye.execute(
            "SELECT id, deliver_units, direction FROM credit_order WHERE state = 'armed' "
            "AND count = ?",
            (sent_count,),
        ).fetchall()
        if len(rows) != 1:
            raise InvariantError(f"I9: count {sent_count} leaves, {len(rows)} orders are armed")
        order, units, direction = rows[0]
        return str(UUID(order)), units if direction == "deliver" else -units

    # -- the desk ------------------------------------------------------------------------------

    @property
    def organisation_id(self) -> Any:
        return self.acting_for or self.estate.organisation.id

    def crash(self, point: CrashPoint, moment: Moment) -> None:
        """Die where a run wants to, once."""
        if self.killed_at.pop((point, moment), False):
            self.hits.add(f"{moment} {point}")
            raise Killed(f"{moment} {point}")

    async def vend(self, yuan: int, key: str | None = None) -> Sale:
        request = VendRequest(
            self.organisation_id, self.account_id, yuan * YUAN, key or f"k-{next(self.keys)}"
        )
        sale = await vend_credit(
            self.database,
            request,
            at=self.clock(),
            operator=self.cashier.name,
            crash=self.crash,
        )
        self.requests.append((request, sale))
        return sale

    async def refund(self, yuan: int, key: str | None = None) -> OrderId:
        request = RefundRequest(
            self.organisation_id, self.account_id, yuan * YUAN, key or f"k-{next(self.keys)}"
        )
        done = await refund_credit(
            self.database, request, at=self.clock(), operator=self.cashier, crash=self.crash
        )
        return done.order_id

    async def reverse(self, order_id: OrderId, *, consented: bool) -> OrderId:
        request = ReversalRequest(
            self.organisation_id,
            order_id,
            f"k-{next(self.keys)}",
            "sold to the wrong door",
            debt_consented=consented,
        )
        done = await reverse_order(self.database, request, at=self.clock(), operator=self.manager)
        return done.order_id

    async def pay_out(self, yuan: int) -> None:
        request = PayoutRequest(
            self.organisation_id, self.account_id, yuan * YUAN, f"k-{next(self.keys)}"
        )
        await pay_out(self.database, request, at=self.clock(), operator=self.cashier)

    async def void(self, order_id: OrderId) -> CreditOrder:
        return await void_order(
            self.database,
            self.organisation_id,
            order_id,
            at=self.clock(),
            operator=self.cashier.name,
            reason="the customer wants the money back",
            rules=self.rules,
            crash=self.crash,
        )

    async def resolve(self, order_id: OrderId, to: OrderState) -> CreditOrder:
        decision = Decision(self.organisation_id, order_id, to, "the meter was looked at")
        approval_id = await self.approve(ApprovalKind.CONFLICT, decision.body)
        return await resolve_conflict(
            self.database,
            replace(decision, approval_id=approval_id),
            at=self.clock(),
            operator=self.cashier,
            rules=self.rules,
        )

    async def approve(self, kind: ApprovalKind, content: dict[str, Any]) -> ApprovalId:
        """Have the manager allow what the cashier asks for."""
        at = self.clock()
        async with self.database.unit_of_work() as uow:
            asked = await approvals.ask(
                uow,
                self.cashier,
                kind,
                content,
                subject="for a proof",
                reason="asked",
                site_id=self.estate.site.id,
                at=at,
            )
            await uow.commit()
        decided = await approvals.decide(self.database, self.manager, asked.id, approve=True, at=at)
        return decided.id

    async def swap(self, meter: Meter) -> Swap:
        wanted = SwapMeter(
            self.organisation_id,
            self.account_id,
            "p-1",
            NewMeter(meter.serial, readings={"active_energy_import": Decimal(1000)}),
        )
        return await swap_meter(
            self.database, self.plugins, wanted, at=self.clock(), operator=self.cashier
        )

    async def close(self) -> Closing:
        wanted = CloseAccount(
            self.organisation_id, self.account_id, settle_method="cash", payout_method="cash"
        )
        return await close_account(self.database, wanted, at=self.clock(), operator=self.manager)

    # -- the meter -----------------------------------------------------------------------------

    def driver(self) -> AcrelDriver:
        kind = TellingDriver if self.world.telling else AcrelDriver
        made = models.dtsy1352().driver(self.installed.link, "1", self._settings)
        assert isinstance(made, AcrelDriver)
        return kind(made._variant, self.installed.link, "1", self._settings)

    async def _read(self) -> None:
        """Read the meter as the head-end does, and account for what is seen."""
        self.installed.twin.advance(self.now)
        started = self.clock()
        snapshot = await self.driver().read()
        taken = TakenSnapshot(self.installed.meter, self.clock(), snapshot)
        run = ReadingRun(
            RunId(uuid7()),
            self.organisation_id,
            self.estate.channel.id,
            ReadingSource.SCHEDULED,
            started,
            self.clock(),
            (self.installed.meter.id,),
            (),
        )
        await store_run(self.database, run, [taken], [], uuid7)
        credit = await self.driver().read_credit()
        seen = SeenWallet(self.installed.meter, self.clock(), credit)
        await compare_counts(self.database, self.organisation_id, [seen], self.rules)
        await charge_meters(
            self.database, self.organisation_id, [self.installed.meter.id], self.clock()
        )

    async def read(self) -> bool:
        self.installed.link.renew()
        try:
            await self._read()
        except DriverError:
            return False
        return True

    def delivery(self) -> OrderDelivery:
        return self.delivery_type(self.database, self.clock, self.rules, self.crash)

    @property
    def link_facts(self) -> LinkFacts:
        closed = self.session_closed_at if self.world.direct else None
        lifetime = LIFETIME if self.world.expires else None
        return LinkFacts(session_closed_at=closed, frame_lifetime=lifetime)

    async def deliver(self) -> None:
        """Give each order that is due one attempt."""
        delivery = self.delivery()
        self.installed.twin.advance(self.now)
        self._expire()
        self.installed.link.renew()
        for order in await delivery.due():
            await delivery.attempt(order, self.driver(), self.link_facts)

    def _expire(self) -> None:
        """Let the terminal drop what is too old."""
        if self.world.expires:
            self.installed.link.forget_late(sent_before=self.now - LIFETIME)

    async def restart(self) -> None:
        """Begin as a program that was killed does."""
        self.killed_at.clear()
        self.database.kill_at = None
        await self.delivery().recover()

    def use(self, cents: int) -> None:
        """Let energy for some money flow; the counter goes with it (1 yuan a kWh)."""
        body = self.installed.twin.body
        if all(force is Force.OPEN for force in body.force):
            return
        used = min(cents, max(0, body.wallet.remaining // 100))
        self.used_units += used * 100
        body.wallet.remaining -= used * 100
        body.energy_wh[2] += used * 10

    def buy_elsewhere(self, yuan: int) -> None:
        wallet = self.installed.wallet
        wallet.purchase_count += 1
        wallet.remaining += yuan * YUAN
        wallet.total_purchased += yuan * YUAN
        self.installed.foreign += yuan * YUAN

    def open_relay(self, *, opened: bool) -> None:
        force = Force.OPEN if opened else Force.OFF
        self.installed.twin.body.force[:] = [force] * self.installed.twin.body.phases

    def initialise(self) -> None:
        """Empty the wallet and change the key: frames under the old one are dead."""
        installed = self.installed
        bought, wallet = installed.bought, installed.wallet
        wallet.purchase_count = wallet.remaining = wallet.total_purchased = 0
        installed.opening_total, installed.foreign = -bought, 0
        installed.link.forget_late()
        self.initialised_at.append(self.clock())

    # -- what there is -------------------------------------------------------------------------

    async def orders(self) -> tuple[CreditOrder, ...]:
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.orders.of_account(self.organisation_id, self.account_id)

    def put_in(self, meter: Meter, binding_id: BindingId) -> None:
        """Have another meter measure from now on."""
        self.former.append(self.installed)
        self.installed = self._install(meter, 0)
        self.binding_id = binding_id

    async def frozen(self) -> bool:
        """Tell whether a swap or a closing has begun."""
        async with self.database.unit_of_work(read_only=True) as uow:
            binding = await uow.bindings.get(self.organisation_id, self.binding_id)
        return binding.frozen

    async def balance(self, account: LedgerAccount) -> int:
        async with self.database.unit_of_work(read_only=True) as uow:
            found = await uow.ledger.balances(self.organisation_id, "CNY", [account])
        return found[account]

    async def sum_of(self, *kinds: str) -> int:
        """Sum the balances of some kinds of ledger accounts."""
        async with self.database.unit_of_work(read_only=True) as uow:
            found = await uow.ledger.trial_balance(self.organisation_id, "CNY")
        return sum(units for account, units in found.items() if account.kind.value in kinds)

    async def account(self) -> Account:
        async with self.database.unit_of_work(read_only=True) as uow:
            return await uow.accounts.get(self.organisation_id, self.account_id)


def _fast_folder() -> str | None:
    """Return a folder in memory, where there is one."""
    folder = Path("/dev/shm")
    return str(folder) if folder.is_dir() else None
