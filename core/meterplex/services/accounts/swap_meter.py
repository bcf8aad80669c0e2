"""Swaps the meter of an account for another one (F68, prepayment-protocol section 6).

FREEZE the old binding -> settle its orders -> charge up to the final reading -> switch: the old
binding ends, the new one begins, credit goes from the one meter towards the other as a transfer,
and what was queued follows it. Each step is a commit of its own, and what is done already is seen
from the rows: to go on after a crash, ask for the same swap again. The new binding is not frozen:
that is the thaw.

Of a meter that is dead its remaining credit is estimated, by two people. The old meter cannot be
bound again before it is read to be empty.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.db.errors import ConflictError
from meterplex.domain.accounts import Account, Category
from meterplex.domain.approvals import ApprovalId, ApprovalKind
from meterplex.domain.estate import (
    AccountId,
    Binding,
    BindingId,
    LinkState,
    Meter,
    MeterId,
    OrganisationId,
    Site,
)
from meterplex.domain.ledger import (
    ROUNDING,
    EntryKind,
    Posting,
    in_meter,
    receivable,
    revenue,
    signed,
    transit,
)
from meterplex.domain.money import LEDGER_DECIMALS, minor_decimals
from meterplex.domain.operators import Operator
from meterplex.domain.prepayment import BLOCKING, Direction, OrderId, OrderState
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep, StepCode
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import PluginError, SettingsError
from meterplex.services.accounts.account_meters import binding_at
from meterplex.services.accounts.bind_meters import (
    add_binding,
    check_cleared,
    check_mode,
    end_binding,
    take_in_credit,
    terms_of,
)
from meterplex.services.accounts.binding_counters import (
    AGE_MAX,
    Counters,
    GivenReadings,
    counters_at,
    last_credit,
)
from meterplex.services.accounts.find_accounts import hold_account
from meterplex.services.accounts.messages import push_limits, reconsider_supply, wake_orders
from meterplex.services.accounts.open_account import check_terms
from meterplex.services.accounts.settle_meters import check_charged, settle_account
from meterplex.services.accounts.transfer_account import LIVING
from meterplex.services.books.amounts import format_amount
from meterplex.services.books.book_entries import book
from meterplex.services.books.errors import (
    BusyError,
    MoneyConflictError,
    MoneyInputError,
    UnknownThingError,
)
from meterplex.services.estate.import_estate import ESTATE_CHANGED
from meterplex.services.operators.approvals import require
from meterplex.services.operators.audit import record
from meterplex.services.orders.transfer_credit import send_to_meter


class SwapStep(StrEnum):
    """What a swap has to do next."""

    SETTLE_ORDERS = "settle_orders"
    DELIVER = "deliver"
    """The new meter measures; its credit is on its way."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class NewMeter:
    """The meter that takes over.

    Attributes:
        model: and ``address``: of a meter that the estate does not have yet; it is put on the
            channel of the old one, at its address unless another is given.
        readings: what its counters show; empty takes what was read last.
    """

    serial: str
    model: str = ""
    address: str = ""
    readings: GivenReadings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SwapMeter:
    """A swap as asked for.

    Attributes:
        final_readings: what the old meter shows; empty takes what was read last.
        estimated_units: remaining credit of an old meter that is dead, in ledger units; None for
            one that could be read.
        approval_id: of the second person, for an estimate; see :func:`estimate_content`.
    """

    organisation_id: OrganisationId
    account_id: AccountId
    usage_point: str
    new: NewMeter
    final_readings: GivenReadings = field(default_factory=dict)
    estimated_units: int | None = None
    approval_id: ApprovalId | None = None


@dataclass(frozen=True, slots=True)
class Swap:
    """How far a swap has come.

    Attributes:
        waiting: for what, in one line; empty when for nothing.
        binding: of the new meter, once it has taken over.
    """

    step: SwapStep
    waiting: str = ""
    binding: Binding | None = None


def estimate_content(wanted: SwapMeter) -> dict[str, object]:
    """Return what two people agree on when the credit of a dead meter is estimated."""
    return {
        "account": str(wanted.account_id),
        "usage_point": wanted.usage_point,
        "new_meter": wanted.new.serial,
        "remaining_units": wanted.estimated_units,
    }


async def swap_meter(
    database: Database,
    plugins: PluginManager,
    wanted: SwapMeter,
    *,
    at: datetime,
    operator: Operator,
    dry_run: bool = False,
) -> Swap:
    """Swap a meter as far as it goes now; asked for again, it goes on from there.

    Raises:
        MoneyError: see :class:`SwapMeter`; the steps that were done stay done.
        ApprovalError: an estimate without the approval of a second person.
    """
    done = await _look(database, wanted)
    if done is not None:
        return done
    if not dry_run:
        await _freeze(database, wanted, at, operator.name)
    if waiting := await _unsettled(database, wanted):
        return Swap(SwapStep.SETTLE_ORDERS, waiting)
    readings = {wanted.usage_point: wanted.final_readings} if wanted.final_readings else {}
    await settle_account(
        database,
        wanted.organisation_id,
        wanted.account_id,
        readings,
        at=at,
        operator=operator.name,
        dry_run=dry_run,
    )
    binding = await _switch(database, plugins, wanted, at, operator, dry_run=dry_run)
    return await _look(database, wanted) or Swap(SwapStep.DELIVER, "", binding)


async def _look(database: Database, wanted: SwapMeter) -> Swap | None:
    """Return how far a swap has come if the new meter has taken over, else None."""
    async with database.unit_of_work(read_only=True) as uow:
        meter = await uow.meters.by_serial(wanted.organisation_id, wanted.new.serial)
        if meter is None:
            return None
        binding = await uow.bindings.open_of_meter(wanted.organisation_id, meter.id)
        if binding is None or binding.account_id != wanted.account_id:
            return None
        point = await uow.usage_points.get(wanted.organisation_id, binding.usage_point_id)
        if point.code != wanted.usage_point:
            return None
        orders = await uow.orders.open_of_binding(wanted.organisation_id, binding.id)
    if orders:
        return Swap(SwapStep.DELIVER, _told(orders), binding)
    return Swap(SwapStep.DONE, "", binding)


async def _freeze(database: Database, wanted: SwapMeter, at: datetime, operator: str) -> None:
    async with database.unit_of_work() as uow:
        account, _, binding = await _hold(uow, wanted)
        if binding.frozen or binding.mode is None or not binding.mode.in_meter:
            return
        await uow.bindings.replace(replace(binding, frozen=True))
        detail = {"usage_point": wanted.usage_point, "new_meter": wanted.new.serial}
        subject = f"account {account.number}"
        await record(uow, account.organisation_id, operator, "meter.freeze", subject, detail, at)
        await uow.commit()


async def _unsettled(database: Database, wanted: SwapMeter) -> str:
    """Say which order has to be settled first; empty when none has."""
    async with database.unit_of_work(read_only=True) as uow:
        account = await uow.accounts.get(wanted.organisation_id, wanted.account_id)
        site = await uow.sites.get(wanted.organisation_id, account.site_id)
        binding = await binding_at(uow, site, account, wanted.usage_point)
        return _told(await _blocking(uow, binding))


async def _blocking(uow: UnitOfWork, binding: Binding) -> list[CreditOrder]:
    """Return the orders that hold a swap up; deliveries that only wait go along."""
    return [
        order
        for order in await uow.orders.open_of_binding(binding.organisation_id, binding.id)
        if order.state in BLOCKING or order.direction is Direction.WITHDRAW
    ]


def _told(orders: Collection[CreditOrder]) -> str:
    return ", ".join(f"order {order.id} is {order.state}" for order in orders)


async def _hold(uow: UnitOfWork, wanted: SwapMeter) -> tuple[Account, Site, Binding]:
    account = await hold_account(uow, wanted.organisation_id, wanted.account_id, LIVING)
    site = await uow.sites.get(wanted.organisation_id, account.site_id)
    return account, site, await binding_at(uow, site, account, wanted.usage_point)


async def _switch(
    database: Database,
    plugins: PluginManager,
    wanted: SwapMeter,
    at: datetime,
    operator: Operator,
    *,
    dry_run: bool,
) -> Binding:
    async with database.unit_of_work() as uow:
        account, site, old = await _hold(uow, wanted)
        if orders := await _blocking(uow, old):
            raise BusyError("usage_point", _told(orders))
        switch = _Switch(uow, plugins, site, account, old, wanted, at, operator)
        binding = await switch.run(charged=not dry_run)
        if not dry_run:
            await uow.commit()
    return binding


@dataclass(frozen=True, slots=True)
class _Switch:
    """The step in which the new meter takes over, inside its transaction."""

    uow: UnitOfWork
    plugins: PluginManager
    site: Site
    account: Account
    old: Binding
    wanted: SwapMeter
    at: datetime
    operator: Operator

    async def run(self, *, charged: bool) -> Binding:
        """Do it; return the binding of the new meter."""
        uow, name = self.uow, self.operator.name
        old_meter = await uow.meters.get(self.old.organisation_id, self.old.meter_id)
        final = await self._final(old_meter)
        if charged:
            await check_charged(uow, self.old, old_meter, final)
        await end_binding(uow, self.old, final, self.at)
        await uow.meters.replace(replace(old_meter, removed_at=self.at))
        new_meter = await self._new_meter(old_meter)
        binding = await self._bind(new_meter, final)
        if binding.mode is not None and binding.mode.in_meter:
            await take_in_credit(
                uow, self.site, self.account, binding, new_meter, at=self.at, operator=name
            )
            await self._carry_credit(old_meter, binding)
            await self._carry_orders(binding)
        await push_limits(uow, self.account, self.at)
        await reconsider_supply(uow, self.account, self.at)
        await self._record(old_meter, new_meter)
        return binding

    async def _final(self, meter: Meter) -> Counters | None:
        age_max = AGE_MAX if self.wanted.estimated_units is None else None
        return await counters_at(
            self.uow,
            meter,
            self.wanted.final_readings,
            self.at,
            operator=self.operator.name,
            field="final_readings",
            age_max=age_max,
        )

    async def _new_meter(self, old: Meter) -> Meter:
        """Return the new meter, unbound; it is made if the estate does not have it."""
        uow, new = self.uow, self.wanted.new
        meter = await uow.meters.by_serial(old.organisation_id, new.serial)
        if meter is None:
            return await self._add_meter(old)
        if meter.site_id != old.site_id or meter.removed_at is not None or meter.id == old.id:
            raise MoneyConflictError("new_meter", f"{new.serial} is not installed at this site")
        before = await uow.bindings.open_of_meter(old.organisation_id, meter.id)
        if before is not None:
            if before.account_id is not None:
                raise MoneyConflictError("new_meter", f"{new.serial} belongs to an account")
            await end_binding(uow, before, None, self.at)
        await check_cleared(uow, meter, "new_meter")
        return meter

    async def _add_meter(self, old: Meter) -> Meter:
        new = self.wanted.new
        model = new.model or old.model
        if model not in self.plugins.models:
            raise UnknownThingError("new_meter", f"no plugin has the model {model!r}")
        try:
            address = self.plugins.check_address(model, new.address or old.address)
        except (SettingsError, PluginError) as error:
            raise MoneyInputError("new_meter", str(error)) from error
        meter = Meter(
            id=MeterId(uuid_utils.compat.uuid7()),
            organisation_id=old.organisation_id,
            site_id=old.site_id,
            channel_id=old.channel_id,
            serial=new.serial,
            model=model,
            address=address,
            reading_interval=old.reading_interval,
            settings=old.settings if model == old.model else {},
            state=LinkState.NEW,
        )
        try:
            await self.uow.meters.add(meter)
        except ConflictError as error:
            raise MoneyConflictError("new_meter", f"{new.serial}: {error}") from error
        return meter

    async def _bind(self, meter: Meter, final: Counters | None) -> Binding:
        uow, account = self.uow, self.account
        terms = terms_of(self.old, account)
        check_mode(self.plugins, meter, terms.mode, "new_meter")
        await check_terms(uow, self.plugins, self.site, account, meter, terms, self.at)
        counters = await counters_at(
            uow,
            meter,
            self.wanted.new.readings,
            self.at,
            operator=self.operator.name,
            field="new_readings",
        )
        if counters is None:
            raise MoneyInputError(
                "new_readings", f"meter {meter.serial} was never read: read it, or give them"
            )
        earliest = self.old.since if final is None else final.at
        binding = replace(
            self.old,
            id=BindingId(uuid_utils.compat.uuid7()),
            meter_id=meter.id,
            since=max(self.old.since, earliest, counters.at),
            until=None,
            frozen=False,
        )
        await add_binding(uow, binding, counters)
        return binding

    async def _carry_credit(self, old_meter: Meter, binding: Binding) -> None:
        """Move what the old meter held towards the new one; nothing of it is left behind."""
        source = in_meter(self.old.id)
        balances = await self.uow.ledger.lock(
            self.account.organisation_id, self.account.currency, [source]
        )
        held = await self._estimated(old_meter, balances[source])
        if self.wanted.estimated_units is None:
            await self._check_read(old_meter, held)
        if held < 0:
            owed = receivable(self.account.id, Category.UTILITY)
            await self._book([Posting(owed, source, -held)], "arrears of the old meter")
            return
        step = 10 ** (LEDGER_DECIMALS - minor_decimals(self.account.currency))
        await self._book(signed(source, ROUNDING, held % step), "below the minor unit")
        if payable := held - held % step:
            await send_to_meter(
                self.uow,
                self.site,
                self.account,
                binding,
                source,
                payable,
                at=self.at,
                operator=self.operator.name,
                channel="swap",
            )

    async def _estimated(self, old_meter: Meter, held_units: int) -> int:
        """Return what the old meter holds, after the use that two people estimated."""
        estimate = self.wanted.estimated_units
        if estimate is None:
            return held_units
        if estimate > held_units:
            known = format_amount(held_units, self.account.currency)
            raise MoneyInputError("estimated", f"is above the {known} that it held when last read")
        await require(
            self.uow,
            self.operator,
            self.wanted.approval_id,
            ApprovalKind.ESTIMATE_SWAP,
            estimate_content(self.wanted),
            at=self.at,
        )
        point = await self.uow.usage_points.get(self.old.organisation_id, self.old.usage_point_id)
        used = signed(in_meter(self.old.id), revenue(point.utility), held_units - estimate)
        memo = f"estimated use since meter {old_meter.serial} was last read"
        await self._book(used, memo, EntryKind.ADJUSTMENT)
        return estimate

    async def _check_read(self, meter: Meter, held_units: int) -> None:
        credit = await last_credit(self.uow, meter)
        if credit is None or self.at - credit.read_at > AGE_MAX:
            raise MoneyConflictError(
                "estimated", f"the credit of meter {meter.serial} was not read lately: estimate it"
            )
        if credit.remaining_units != held_units:
            said = [
                format_amount(units, self.account.currency)
                for units in (credit.remaining_units, held_units)
            ]
            raise BusyError(
                "usage_point", f"meter {meter.serial} shows {said[0]}, charged down to {said[1]}"
            )

    async def _carry_orders(self, binding: Binding) -> None:
        """Let deliveries that wait for the old meter go to the new one."""
        name = self.operator.name
        for order in await self.uow.orders.open_of_binding(self.old.organisation_id, self.old.id):
            sentence = f"goes to meter {self.wanted.new.serial}, which was put in its place"
            step = OrderStep(self.at, OrderState.PAID, StepCode.RETRY, sentence, name)
            moved = replace(order, binding_id=binding.id, arming=None, due_at=self.at)
            if not await self.uow.orders.move(order, moved, step):
                raise BusyError("usage_point", _told([order]))
            follows = Posting(transit(self.old.id), transit(binding.id), order.deliver_units)
            await self._book([follows], sentence, order_id=order.id)
        await wake_orders(self.uow, self.account, binding.id, self.at)

    async def _book(
        self,
        postings: Collection[Posting],
        memo: str,
        kind: EntryKind = EntryKind.TRANSFER,
        order_id: OrderId | None = None,
    ) -> None:
        await book(
            self.uow,
            self.site,
            kind,
            tuple(postings),
            currency=self.account.currency,
            at=self.at,
            operator=self.operator.name,
            account=self.account,
            order_id=order_id,
            memo=memo,
        )

    async def _record(self, old: Meter, new: Meter) -> None:
        account, name = self.account, self.operator.name
        detail = {"old_meter": old.serial, "new_meter": new.serial}
        detail["usage_point"] = self.wanted.usage_point
        if self.wanted.estimated_units is not None:
            detail["estimated_units"] = str(self.wanted.estimated_units)
        for action, subject in (
            ("account.swap", f"account {account.number}"),
            (ESTATE_CHANGED, f"meter {new.serial}"),
        ):
            await record(self.uow, account.organisation_id, name, action, subject, detail, self.at)
