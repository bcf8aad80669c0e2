"""What was used since an order was armed, for meters that show no total of what they were sold.

There only remaining tells whether count n was taken with the right amount, and remaining falls with
use. So the main counter is read along with the wallet, at each arming and after, and its rise is
priced at the highest price of the tariff: a bound, which seconds of use stay far below. Up to the
last arming remaining itself tells what was used, for until then nothing was taken. Where use since
then makes the bound too rough for a proof, people decide (prepayment-protocol 4.3).
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final, Protocol

from meterplex.db import UnitOfWork
from meterplex.domain.charged_registers import MAIN_COUNTERS
from meterplex.domain.estate import Binding
from meterplex.domain.money import LEDGER_UNITS
from meterplex.domain.prepayment import UseSince, Wallet
from meterplex.domain.prepayment.credit_order import CreditOrder, OrderStep, StepCode
from meterplex.domain.registers import RegisterType
from meterplex.domain.tariff import TariffError, TariffVersion
from meterplex.sdk import DriverError, MeterSnapshot, PluginError, Quality
from meterplex.services.accounts.find_accounts import find_tariff
from meterplex.services.books.errors import UnknownTariffError
from meterplex.services.tariffs.document import tariff_from_text
from meterplex.services.tariffs.price_override import tariff_of_meter

SHOWN: Final = "shown"
"""Detail of an arming: what the meter showed right before it."""


class CountingMeter(Protocol):
    """What is asked of a meter here; every ``MeterDriver`` gives it."""

    async def read(self, registers: Collection[RegisterType] | None = None) -> MeterSnapshot: ...


async def counter_of(uow: UnitOfWork, order: CreditOrder) -> RegisterType | None:
    """Return the main counter of an order's meter; None for a utility that has none built in."""
    binding = await _binding(uow, order)
    point = await uow.usage_points.get(order.organisation_id, binding.usage_point_id)
    return MAIN_COUNTERS.get(point.utility)


async def read_counter(meter: CountingMeter, register: RegisterType) -> Decimal | None:
    """Return what a counter shows, before the ratios; None where it cannot be read now.

    That is no obstacle: without it the order only waits longer.
    """
    try:
        snapshot = await meter.read((register,))
    except (DriverError, PluginError):
        return None
    good = {each.register: each.value for each in snapshot.values if each.quality is Quality.GOOD}
    return good.get(register)


async def use_since(
    uow: UnitOfWork, order: CreditOrder, wallet: Wallet, counter: Decimal | None, at: datetime
) -> UseSince | None:
    """Return at most how much was used since an order was armed; None where that is not known.

    While the count is as it was nothing is to be proven, and a bound above what was really used
    would look like a purchase: None as well.
    """
    arming = order.arming
    assert arming is not None
    if counter is None or wallet.purchase_count == arming.baseline.purchase_count:
        return None
    shown = _shown_last(await uow.orders.steps(order.organisation_id, order.id))
    if shown is None or counter < (before := Decimal(shown["counter"])):
        return None
    binding = await _binding(uow, order)
    price = await _highest_price(uow, order, binding, at)
    if price is None:
        return None
    used_before = arming.baseline.remaining_units - int(shown["remaining_units"])
    units = (counter - before) * binding.ct * binding.pt
    return UseSince(used_before + _ledger_units(units * price), _ledger_units(price))


def shown_document(wallet: Wallet, counter: Decimal) -> dict[str, Any]:
    """Return what a meter showed, as it is kept with an arming."""
    return {"counter": f"{counter:f}", "remaining_units": wallet.remaining_units}


def highest_price(tariff: TariffVersion) -> Decimal:
    """Return the most that one unit costs in any season, block and band."""
    rows = (row for season in tariff.seasons for row in tariff.prices_of(season))
    return max((price for row in rows for price in row), default=Decimal(0))


def _shown_last(steps: Iterable[OrderStep]) -> Mapping[str, Any] | None:
    """Return what was shown at the last arming that kept it, under the present count."""
    found: Mapping[str, Any] | None = None
    for step in steps:
        if step.code == StepCode.ARMED:
            found = step.detail.get(SHOWN, None if step.detail["attempt"] == 1 else found)
    return found


async def _highest_price(
    uow: UnitOfWork, order: CreditOrder, binding: Binding, at: datetime
) -> Decimal | None:
    account = await uow.accounts.get(order.organisation_id, order.account_id)
    site = await uow.sites.get(order.organisation_id, order.site_id)
    code = binding.tariff or account.tariff
    if not code:
        return None
    try:
        published = await find_tariff(uow, site, code, at)
        tariff = tariff_from_text(published.document)
        return highest_price(tariff_of_meter(tariff, binding.price_override))
    except (UnknownTariffError, TariffError):
        return None


async def _binding(uow: UnitOfWork, order: CreditOrder) -> Binding:
    assert order.binding_id is not None
    return await uow.bindings.get(order.organisation_id, order.binding_id)


def _ledger_units(amount: Decimal) -> int:
    return int((amount * LEDGER_UNITS).to_integral_value(ROUND_CEILING))
