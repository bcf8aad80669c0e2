"""About how many units a credit buys, for the receipt: a help for the customer, never a promise."""

import json
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from meterplex.db import UnitOfWork
from meterplex.db.tariff_versions import PublishedTariff
from meterplex.domain.accounts import Account
from meterplex.domain.estate import Binding, Site
from meterplex.domain.receipts import UnitsEstimate
from meterplex.domain.tariff import (
    BASE_UNITS,
    ComponentKind,
    Interval,
    Rater,
    TariffError,
    Usage,
    UsageError,
)
from meterplex.services.accounts.find_accounts import find_tariff
from meterplex.services.books.errors import UnknownTariffError
from meterplex.services.tariffs.document import tariff_from_text
from meterplex.services.tariffs.price_override import tariff_of_meter

_STEP: Final = Decimal("0.1")
_RATERS_KEPT: Final = 64
_NOT_BY_UNIT: Final = (ComponentKind.MINIMUM, ComponentKind.DEMAND)


async def estimate_units(
    uow: UnitOfWork,
    account: Account,
    site: Site,
    bindings: Sequence[Binding],
    credit_units: int,
    at: datetime,
) -> UnitsEstimate | None:
    """Return what a credit buys at the prices of the first block, used evenly over a day.

    Args:
        bindings: that the credit is for.
        credit_units: ledger units.

    Returns:
        None where that says nothing: no meter or several, no tariff in force, a tariff that needs
        a plugin, or one under which a unit costs nothing.
    """
    if len(bindings) != 1 or credit_units <= 0:
        return None
    binding = bindings[0]
    code = binding.tariff or account.tariff
    if not code:
        return None
    try:
        published = await find_tariff(uow, site, code, at)
    except UnknownTariffError:
        return None
    override = "" if binding.price_override is None else json.dumps(binding.price_override)
    day = at.astimezone(ZoneInfo(site.time_zone)).date()
    price = _price(published, override, day)
    if price is None:
        return None
    units = Fraction(credit_units) / price
    bought = Decimal(units.numerator) / Decimal(units.denominator)
    unit = BASE_UNITS[published.utility]
    return UnitsEstimate(bought.quantize(_STEP, ROUND_DOWN), unit)


@lru_cache(maxsize=_RATERS_KEPT)
def _price(published: PublishedTariff, override: str, day: date) -> Fraction | None:
    """Return what one unit more costs on a day, in ledger units; None where it costs nothing."""
    try:
        tariff = tariff_from_text(published.document)
        tariff = tariff_of_meter(tariff, json.loads(override) if override else None)
        midnight = datetime.combine(day, time.min, ZoneInfo(tariff.time_zone))
        rater = Rater(tariff)
        none, one = (_cost(rater, midnight, units) for units in (Decimal(0), Decimal(1)))
    except (TariffError, UsageError):
        return None
    return Fraction(one - none) if one > none else None


def _cost(rater: Rater, midnight: datetime, units: Decimal) -> int:
    end = midnight + timedelta(days=1)
    rating = rater.rate(Usage.of([Interval(midnight, end, units)], service=(midnight, end)))
    lines = (line for bill in rating.bills for line in bill.lines)
    return sum(line.amount_units for line in lines if line.kind not in _NOT_BY_UNIT)
