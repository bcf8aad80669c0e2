"""Who carries a common cost, and by what weight."""

from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final

from meterplex.db import UnitOfWork
from meterplex.domain.accounts import Account, AccountState
from meterplex.domain.estate import AccountId, BindingId, BuildingId, Site, Unit
from meterplex.domain.sharing import SharingBasis
from meterplex.services.accounts.find_accounts import open_bindings
from meterplex.services.books.errors import MoneyConflictError

SHARING: Final = frozenset({AccountState.OPEN, AccountState.SUSPENDED})
"""Accounts that carry a share."""


async def hold_sharers(
    uow: UnitOfWork,
    site: Site,
    account_ids: Collection[AccountId] | None,
    building_id: BuildingId | None,
) -> tuple[Account, ...]:
    """Return who shares, in the order of their numbers, held until the transaction ends.

    Args:
        account_ids: only these; None for all of the site.
        building_id: only who has a meter in it now; None for the whole site.
    """
    chosen = [
        account.id
        for account in await uow.accounts.in_site(site.organisation_id, site.id)
        if account_ids is None or account.id in account_ids
    ]
    held = await uow.accounts.lock_all(site.organisation_id, chosen)
    sharing = [
        account
        for account in held
        if account.state in SHARING
        and (building_id is None or await _in_building(uow, account, building_id))
    ]
    return tuple(sorted(sharing, key=lambda account: account.number))


async def _in_building(uow: UnitOfWork, account: Account, building_id: BuildingId) -> bool:
    units = await units_of(uow, account)
    return any(unit.building_id == building_id for unit in units)


async def units_of(uow: UnitOfWork, account: Account) -> tuple[Unit, ...]:
    """Return the units that an account has a meter in now."""
    points = await uow.usage_points.by_ids(
        account.organisation_id,
        {binding.usage_point_id for binding in await open_bindings(uow, account)},
    )
    ids = {point.unit_id for point in points.values() if point.unit_id is not None}
    return tuple((await uow.units.by_ids(account.organisation_id, ids)).values())


class Weighing:
    """Weighs accounts by a basis.

    Args:
        window: whose use counts: of the charges that end in it.
        utility: whose use counts.
    """

    def __init__(
        self,
        uow: UnitOfWork,
        basis: SharingBasis,
        window: tuple[datetime, datetime],
        utility: str,
    ) -> None:
        self._uow = uow
        self._basis = basis
        self._window = window
        self._utility = utility

    async def weight(self, account: Account) -> Decimal:
        """Return the weight of an account.

        Raises:
            MoneyConflictError: it is not known.
        """
        match self._basis:
            case SharingBasis.EQUAL:
                return Decimal(1)
            case SharingBasis.HEAD_COUNT:
                if account.head_count is None:
                    raise _unknown("head count", account)
                return Decimal(account.head_count)
            case SharingBasis.AREA:
                return await self._area(account)
            case SharingBasis.USE:
                return await self._use(account)

    async def _area(self, account: Account) -> Decimal:
        areas = [unit.area_m2 for unit in await units_of(self._uow, account)]
        known = [area for area in areas if area is not None]
        if not known or len(known) < len(areas):
            raise _unknown("area", account)
        return sum(known, Decimal(0))

    async def _use(self, account: Account) -> Decimal:
        """Return the units that the account was charged; what was only given back counts as 0."""
        utilities = await self._utilities(account)
        charges = await self._uow.charges.of_account(
            account.organisation_id, account.id, *self._window
        )
        units = [
            charge.units for charge in charges if utilities[charge.binding_id] == self._utility
        ]
        return max(sum(units, Decimal(0)), Decimal(0))

    async def _utilities(self, account: Account) -> Mapping[BindingId, str]:
        bindings = await self._uow.bindings.of_account(account.organisation_id, account.id)
        points = await self._uow.usage_points.by_ids(
            account.organisation_id, {binding.usage_point_id for binding in bindings}
        )
        return {binding.id: points[binding.usage_point_id].utility for binding in bindings}


def _unknown(what: str, account: Account) -> MoneyConflictError:
    return MoneyConflictError("basis", f"the {what} of account {account.number} is not known")
