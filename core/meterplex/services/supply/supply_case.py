"""All that is known of one meter's supply now: what a decision, and the gate, look at."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from meterplex.db import UnitOfWork
from meterplex.db.supply import SYSTEM, StoredBreaker
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, Category
from meterplex.domain.estate import Binding, Meter, Site
from meterplex.domain.friendly_hours import Holidays
from meterplex.domain.prepayment.orders import LIVE
from meterplex.domain.registers import ELECTRICITY, Utility
from meterplex.domain.supply_gate import Authority, DisconnectCause, GateFacts
from meterplex.domain.supply_holds import Bypass, SupplyHold
from meterplex.domain.supply_policy import disconnect_limit_units, needs_settling
from meterplex.domain.warnings import WarningSent
from meterplex.services.accounts.balances import account_balance
from meterplex.services.estate.site_policies import SiteParameters, load_holidays, load_parameters
from meterplex.services.metering.take_readings import SUSPECT_READING

DUES: Final = frozenset({Category.DEBT, Category.RENT, Category.FEE})
"""What is owed beside use: overdue, it leads to the gate as well (F70)."""


@dataclass(frozen=True, slots=True)
class Credit:
    """What an account, or the meter of a binding, has to its credit.

    Attributes:
        units: decides about supply; below what is there by overdue bills; None when not known.
        read_at: of the oldest reading that it stands on.
        plausible: whether none of them is in doubt.
        overdue_units: of unpaid bills past their day.
        in_meter: whether the meter keeps it and trips by itself.
    """

    units: int | None
    read_at: datetime | None
    plausible: bool
    overdue_units: int = 0
    in_meter: bool = False


@dataclass(frozen=True, slots=True)
class SupplyCase:
    """One meter and all that speaks for or against its supply.

    Attributes:
        binding: and ``account``: None for a meter whose use nobody pays for.
        credit: None without an account.
        warnings: of the low episode that the credit is in.
        seen: the breaker of the system, which knows how the program's time went.
    """

    at: datetime
    site: Site
    parameters: SiteParameters
    holidays: Holidays
    meter: Meter
    utility: Utility
    binding: Binding | None
    account: Account | None
    credit: Credit | None
    orders: Collection[str]
    warnings: Collection[WarningSent]
    holds: Collection[SupplyHold]
    bypass: Bypass | None
    seen: StoredBreaker

    @property
    def local_now(self) -> datetime:
        """The time at the site."""
        return self.at.astimezone(ZoneInfo(self.site.time_zone))

    @property
    def clock_trusted(self) -> bool:
        """Whether somebody watched the clock all the time, and it did not jump."""
        seen_at = self.seen.seen_at
        if seen_at is None:
            return False
        return not needs_settling(self.parameters.supply, self.at - seen_at)

    @property
    def limit_units(self) -> int:
        """The balance below which supply ends."""
        if self.account is None:
            return 0
        return disconnect_limit_units(self.account.overdraft_units, self.account.emergency_units)

    @property
    def balance_units(self) -> int | None:
        """The balance that decides."""
        return None if self.credit is None else self.credit.units

    @property
    def in_meter(self) -> bool:
        """Whether the meter keeps the balance and trips by itself."""
        return self.credit is not None and self.credit.in_meter

    def facts(self, cause: DisconnectCause, authority: Authority) -> GateFacts:
        """Return what the gate is asked with; limiter, breaker and batch are added by the caller.

        A meter without an account has no balance, no orders and no warnings.
        """
        site = self.site
        credit = self.credit or Credit(None, None, plausible=False)
        return GateFacts(
            cause=cause,
            utility=self.utility,
            limit_units=self.limit_units,
            now=self.local_now,
            clock_trusted=self.clock_trusted,
            holidays=self.holidays,
            outage_ended_at=self._local(self.seen.outage_ended_at),
            balance_units=credit.units,
            balance_in_meter=credit.in_meter,
            balance_read_at=self._local(credit.read_at),
            polling_interval=self.meter.reading_interval or site.reading_interval,
            reading_plausible=credit.plausible,
            unsettled_orders=self.orders,
            warnings=self.warnings,
            emergency_used=credit.units is not None and credit.units < self.limit_units,
            holds=self.holds,
            bypass=self.bypass,
            authority=authority,
            valve_can_minimum_flow=False,
            outdoor_c=self.parameters.outdoor_c_at(self.at),
        )

    def _local(self, at: datetime | None) -> datetime | None:
        return None if at is None else at.astimezone(ZoneInfo(self.site.time_zone))


async def load_case(uow: UnitOfWork, meter: Meter, at: datetime) -> SupplyCase:
    """Return the case of a meter; its account should be held already where it must not change."""
    organisation_id = meter.organisation_id
    site = await uow.sites.get(organisation_id, meter.site_id)
    binding = await uow.bindings.open_of_meter(organisation_id, meter.id)
    account, credit, utility = None, None, ELECTRICITY
    orders: Collection[str] = ()
    warnings: Collection[WarningSent] = ()
    if binding is not None:
        point = await uow.usage_points.get(organisation_id, binding.usage_point_id)
        utility = point.utility
        if binding.account_id is not None:
            account = await uow.accounts.get(organisation_id, binding.account_id)
            credit = await load_credit(uow, site, account, binding, meter, at)
            live = await uow.orders.of_account(organisation_id, account.id, LIVE)
            orders = tuple(order.state for order in live)
            of_meter = credit.in_meter and not credit.overdue_units
            given = await uow.warnings.of_episode(
                organisation_id, account.id, binding.id if of_meter else None
            )
            warnings = tuple(warning.sent for warning in given)
    holds = await uow.supply_holds.set_for(
        organisation_id, site.id, None if account is None else account.id
    )
    bypass = await uow.bypasses.of_meter(organisation_id, meter.id)
    return SupplyCase(
        at=at,
        site=site,
        parameters=await load_parameters(uow, site),
        holidays=await load_holidays(uow, site),
        meter=meter,
        utility=utility,
        binding=binding,
        account=account,
        credit=credit,
        orders=orders,
        warnings=warnings,
        holds=tuple(each.hold for each in holds),
        bypass=None if bypass is None else bypass.bypass,
        seen=await uow.breakers.get(SYSTEM),
    )


async def load_credit(
    uow: UnitOfWork, site: Site, account: Account, binding: Binding, meter: Meter, at: datetime
) -> Credit:
    """Return the credit that decides about the supply of a binding."""
    mode = binding.mode or account.mode
    overdue = await overdue_units(uow, site, account, mode, at)
    if mode is AccountMode.POSTPAID:
        return Credit(-overdue, at, plausible=True, overdue_units=overdue)
    if not mode.in_meter:
        return await server_credit(uow, account, overdue)
    wallet = await uow.wallets.find(account.organisation_id, binding.id)
    if overdue:
        units = -overdue if wallet is None else min(wallet.remaining_units, 0) - overdue
        return Credit(units, at, plausible=True, overdue_units=overdue, in_meter=True)
    if wallet is None:
        return Credit(None, None, plausible=False, in_meter=True)
    plausible = SUSPECT_READING not in meter.flags
    return Credit(wallet.remaining_units, wallet.read_at, plausible, in_meter=True)


async def server_credit(uow: UnitOfWork, account: Account, overdue: int) -> Credit:
    """Return the credit of an account that the server keeps, as far as its meters were read."""
    organisation_id = account.organisation_id
    balance = await account_balance(uow, account)
    units = balance.available_units
    if overdue:
        units = min(units, 0) - overdue
    counted = [
        each
        for each in await uow.bindings.of_account(organisation_id, account.id)
        if each.until is None and (each.mode or account.mode) in _SERVER_MODES
    ]
    ids = [each.id for each in counted]
    charged = await uow.supply_states.charged_until(organisation_id, ids)
    in_doubt = await uow.supply_states.with_held_readings(organisation_id, ids)
    read_at = min((charged.get(each.id, each.since) for each in counted), default=None)
    return Credit(units, read_at, plausible=not in_doubt, overdue_units=overdue)


async def overdue_units(
    uow: UnitOfWork, site: Site, account: Account, mode: AccountMode, at: datetime
) -> int:
    """Return what an account owes beyond its day: for use too, where that is billed."""
    today = at.astimezone(ZoneInfo(site.time_zone)).date()
    categories = frozenset(Category) if mode is AccountMode.POSTPAID else DUES
    return await uow.supply_states.overdue_units(
        account.organisation_id, account.id, today, categories
    )


_SERVER_MODES: Final = frozenset({AccountMode.PREPAID_SERVER, AccountMode.PACKAGE})
