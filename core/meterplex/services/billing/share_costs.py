"""Shares a common cost out: once, to the cent, with a statement that anybody can reckon again.

The cost is an amount that is given, or follows from meters: the residual of a main meter over its
sub-meters, or the use or the charges of a common one (F88, B10).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

import uuid_utils.compat

from meterplex.db import Database, UnitOfWork
from meterplex.db.errors import ConflictError
from meterplex.domain.accounts import Account, Category
from meterplex.domain.billing import minor_step_units
from meterplex.domain.bills import IssuedBill, ShareRun, ShareRunId
from meterplex.domain.estate import AccountId, BuildingId, Site, UsagePoint
from meterplex.domain.ledger import EntryKind
from meterplex.domain.money import LEDGER_UNITS, Rounding, round_ratio
from meterplex.domain.sharing import (
    ResidualDecision,
    Sharer,
    SharingBasis,
    Statement,
    judge_residual,
    share_amount,
)
from meterplex.services.accounts.find_accounts import checked_name, find_point
from meterplex.services.accounts.messages import reconsider_supply
from meterplex.services.billing.issue_claims import Claim, claim
from meterplex.services.billing.share_weights import Weighing, hold_sharers
from meterplex.services.books.amounts import format_amount
from meterplex.services.books.errors import MoneyConflictError, MoneyInputError
from meterplex.services.charging.metered_use import metered_units
from meterplex.services.operators.audit import record

EARNED: Final = "share"
"""What the revenue is for."""
NET_DAYS: Final = 14
"""Days to pay, where nothing else is said (choice)."""


class NegativeResidualError(MoneyConflictError):
    """The sub-meters counted more than their main meter: a person looks before anyone pays."""


@dataclass(frozen=True, slots=True)
class GivenAmount:
    """A cost as it is told, in ledger units."""

    amount_units: int


@dataclass(frozen=True, slots=True)
class ResidualOf:
    """What a usage point counted beyond those below it, at a price for each unit."""

    usage_point: str
    price: Decimal


@dataclass(frozen=True, slots=True)
class UseOf:
    """What a common usage point used, at a price; without one what it was charged."""

    usage_point: str
    price: Decimal | None = None


Cost: TypeAlias = GivenAmount | ResidualOf | UseOf


@dataclass(frozen=True, slots=True)
class ShareRequest:
    """A cost to be shared out.

    Attributes:
        name: of the cost, such as ``lifts``; once for each ``since`` at a site.
        since: and ``until``, local dates, half-open.
        building_id: only accounts with a usage point in this building; None for the whole site.
        account_ids: only these; None for all.
        utility: whose use weighs, for the basis USE.
    """

    site: Site
    name: str
    since: date
    until: date
    basis: SharingBasis
    cost: Cost
    building_id: BuildingId | None = None
    account_ids: frozenset[AccountId] | None = None
    utility: str = "electricity"
    net_days: int = NET_DAYS

    @property
    def window(self) -> tuple[datetime, datetime]:
        """The local midnights of its dates."""
        zone = ZoneInfo(self.site.time_zone)
        start, end = (
            datetime(day.year, day.month, day.day, tzinfo=zone) for day in (self.since, self.until)
        )
        return start, end


@dataclass(frozen=True, slots=True)
class SharedCost:
    """A cost as it was shared out; in a dry run the numbers of its bills are what they would be."""

    run: ShareRun
    bills: tuple[IssuedBill, ...]


async def share_costs(
    database: Database,
    request: ShareRequest,
    *,
    at: datetime,
    operator: str,
    dry_run: bool = False,
) -> SharedCost:
    """Share a cost out: the statement, and an entry with a bill for each who carries a part.

    Raises:
        MoneyInputError: no name, no time or a price that cannot be.
        UnknownThingError: no such usage point at the site.
        NegativeResidualError: the sub-meters counted more than meters err.
        MoneyConflictError: use that is not known throughout, a cost of nothing, shared before.
        SharingError: nobody to share it, or weights that are not known.
    """
    _check(request, at)
    async with database.unit_of_work() as uow:
        accounts = await hold_sharers(uow, request.site, request.account_ids, request.building_id)
        amount_units, told = await _cost(uow, request)
        weigh = Weighing(uow, request.basis, request.window, request.utility)
        sharers = [Sharer(each.number, await weigh.weight(each)) for each in accounts]
        organisation = await uow.organisations.get(request.site.organisation_id)
        step_units = minor_step_units(organisation.currency)
        statement = share_amount(amount_units, request.basis, sharers, step_units=step_units)
        run = _run(request, statement, told, organisation.currency, at, operator)
        try:
            await uow.share_runs.add(run)
        except ConflictError as error:
            reason = f"{run.name!r} was shared from {run.since} on already"
            raise MoneyConflictError("name", reason) from error
        bills = await _claim_shares(uow, request, run, statement, accounts, at, operator)
        await _record(uow, run, request.site, at, operator)
        if not dry_run:
            await uow.commit()
    return SharedCost(run, bills)


def _check(request: ShareRequest, at: datetime) -> None:
    checked_name(request.name, "name")
    if request.until <= request.since:
        raise MoneyInputError("until", f"{request.until} is not after {request.since}")
    if at < request.window[1]:
        raise MoneyInputError("until", f"{request.until} is not over yet")
    if request.net_days < 0:
        raise MoneyInputError("net_days", f"{request.net_days}: expected no less than 0")
    price = None if isinstance(request.cost, GivenAmount) else request.cost.price
    if price is not None and not (price.is_finite() and 0 < price < LEDGER_UNITS):
        raise MoneyInputError("price", f"{price}: expected above 0, below {LEDGER_UNITS}")


# -- the cost ----------------------------------------------------------------------------------


async def _cost(uow: UnitOfWork, request: ShareRequest) -> tuple[int, dict[str, Any]]:
    """Return the cost in ledger units, whole minor units, and how it came about."""
    organisation = await uow.organisations.get(request.site.organisation_id)
    step = minor_step_units(organisation.currency)
    exact, told = await _exact_cost(uow, request, request.cost)
    amount = round_ratio(exact.numerator, exact.denominator * step, Rounding.HALF_UP) * step
    if amount <= 0:
        told_amount = format_amount(amount, organisation.currency)
        raise MoneyConflictError("cost", f"{told_amount}: nothing to share out")
    return amount, told


async def _exact_cost(
    uow: UnitOfWork, request: ShareRequest, cost: Cost
) -> tuple[Fraction, dict[str, Any]]:
    if isinstance(cost, GivenAmount):
        return Fraction(cost.amount_units), {"given": True}
    point = await find_point(uow, request.site, cost.usage_point, "usage_point")
    told: dict[str, Any]
    if isinstance(cost, ResidualOf):
        units, told = await _residual(uow, request, point)
        return _at_price(units, cost.price), told | {"price": str(cost.price)}
    if cost.price is None:
        told = {"usage_point": point.code, "charged": True}
        return Fraction(await _charged(uow, request, point)), told
    units = await metered_units(uow, point, *request.window)
    told = {"usage_point": point.code, "units": str(units), "price": str(cost.price)}
    return _at_price(units, cost.price), told


def _at_price(units: Decimal, price: Decimal) -> Fraction:
    return Fraction(units) * Fraction(price) * LEDGER_UNITS


async def _residual(
    uow: UnitOfWork, request: ShareRequest, main: UsagePoint
) -> tuple[Decimal, dict[str, Any]]:
    code = main.code
    points = await uow.usage_points.in_site(main.organisation_id, main.site_id)
    below = [
        point for point in points if point.parent_id == main.id and point.utility == main.utility
    ]
    if not below:
        raise MoneyInputError("usage_point", f"{code!r} has no usage points below it")
    used = await metered_units(uow, main, *request.window)
    sub = {point.code: await metered_units(uow, point, *request.window) for point in below}
    residual = judge_residual(used, sub.values())
    told = {
        "usage_point": code,
        "main_units": str(residual.main_units),
        "sub_units": {name: str(units) for name, units in sub.items()},
        "units": str(residual.units),
    }
    if residual.decision is ResidualDecision.HOLD:
        reason = f"{code!r} counted {residual.main_units}, those below it {residual.sub_units}"
        raise NegativeResidualError("usage_point", reason)
    return max(residual.units, Decimal(0)), told


async def _charged(uow: UnitOfWork, request: ShareRequest, point: UsagePoint) -> int:
    """Return the charges of a usage point whose tiles end in the time."""
    start, end = request.window
    total = 0
    for binding in await uow.bindings.of_usage_point(point.organisation_id, point.id):
        charges = await uow.charges.of_binding(point.organisation_id, binding.id)
        total += sum(charge.amount_units for charge in charges if start < charge.to_at <= end)
    return total


# -- statement and claims ----------------------------------------------------------------------


def _run(
    request: ShareRequest,
    statement: Statement,
    told: dict[str, Any],
    currency: str,
    at: datetime,
    operator: str,
) -> ShareRun:
    shares = [
        {
            "account": share.key,
            "weight": str(share.weight),
            "amount_units": share.amount_units,
        }
        for share in statement.shares
    ]
    document = {
        "basis": statement.basis.value,
        "cost": told,
        "amount_units": statement.amount_units,
        "step_units": statement.step_units,
        "total_weight": str(statement.total_weight),
        "shares": shares,
    }
    return ShareRun(
        ShareRunId(uuid_utils.compat.uuid7()),
        request.site.organisation_id,
        request.site.id,
        request.name.strip(),
        request.basis,
        request.since,
        request.until,
        statement.amount_units,
        currency,
        document,
        at,
        operator,
    )


async def _claim_shares(
    uow: UnitOfWork,
    request: ShareRequest,
    run: ShareRun,
    statement: Statement,
    accounts: Sequence[Account],
    at: datetime,
    operator: str,
) -> tuple[IssuedBill, ...]:
    today = at.astimezone(ZoneInfo(request.site.time_zone)).date()
    by_number = {account.number: account for account in accounts}
    bills = []
    for share in statement.shares:
        if not share.amount_units:
            continue
        account = by_number[share.key]
        text = f"{run.name} {share.weight} / {statement.total_weight} ({run.basis})"
        made = Claim(
            kind=EntryKind.SHARE,
            category=Category.FEE,
            title=run.name,
            earned=EARNED,
            since=run.since,
            until=run.until,
            due_on=today + timedelta(days=request.net_days),
            amount_units=share.amount_units,
            lines=({"text": text, "amount_units": share.amount_units},),
            share_run_id=run.id,
        )
        bills.append(await claim(uow, request.site, account, made, at=at, operator=operator))
        await reconsider_supply(uow, account, at)
    return tuple(bills)


async def _record(uow: UnitOfWork, run: ShareRun, site: Site, at: datetime, operator: str) -> None:
    detail = {
        "site": site.code,
        "since": str(run.since),
        "until": str(run.until),
        "basis": run.basis.value,
        "amount": format_amount(run.amount_units, run.currency),
    }
    subject = f"cost {run.name}"
    await record(uow, run.organisation_id, operator, "share.run", subject, detail, at)
