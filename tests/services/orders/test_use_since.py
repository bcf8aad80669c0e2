"""Orders for a meter that shows count and remaining, but no total of what it was sold."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from tests.conftest import Estate
from tests.domain.tariff_samples import FLAT, decimals, one_season, slots
from tests.services.charging_cases import publish
from tests.services.prepaid_desk import YUAN, Desk, open_desk

from meterplex.db import Database
from meterplex.domain.prepayment import OrderState
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT
from meterplex.domain.tariff import TariffVersion
from meterplex.sdk import CreditState, LinkTimeoutError, MeterSnapshot, Quality, RegisterValue
from meterplex.sdk.testing.links import lose_reply, lose_request, on_control, undisturbed
from meterplex.services.orders.use_since import highest_price

PRICE = Decimal("0.5")
"""Of FLAT, and what the meter takes for a kWh."""
DEARER_BY_DAY = replace(
    FLAT,
    bands=("day", "night"),
    seasons=one_season(*slots(at_0000="night", at_0800="day")),
    prices=decimals("1.0000 0.5000"),
)


class ShowsNoTotal:
    """The desk's driver for a meter that keeps no total, and is used."""

    used_kwh = Decimal(0)
    readable = True
    quality = Quality.GOOD

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def __getattr__(self, name: str) -> Any:
        return getattr(self.desk.driver(), name)

    async def read(self, _: object = None) -> MeterSnapshot:
        if not self.readable:
            raise LinkTimeoutError("nothing came")
        counter = RegisterValue(ACTIVE_ENERGY_IMPORT, 1_000 + self.used_kwh, self.quality)
        return MeterSnapshot((counter,))

    async def read_credit(self) -> CreditState:
        return self._seen(await self.desk.driver().read_credit())

    async def deliver_credit(self, count: int, amount: Decimal) -> CreditState:
        return self._seen(await self.desk.driver().deliver_credit(count, amount))

    def _seen(self, credit: CreditState) -> CreditState:
        remaining = credit.remaining - self.used_kwh * PRICE
        return replace(credit, remaining=remaining, total_purchased=None)


async def sell(
    database: Database, estate: Estate, tariff: TariffVersion | None = FLAT
) -> tuple[Desk, Any]:
    desk = await open_desk(database, estate)
    if tariff is not None:
        await publish(database, estate, tariff)
        await desk.change_account(tariff=tariff.id)
    await desk.vend(30, "k-1")
    return desk, ShowsNoTotal(desk)


async def try_now(desk: Desk, meter: Any) -> OrderState:
    desk.clock.advance(minutes=31)
    delivery = desk.delivery()
    (order,) = await delivery.due()
    return (await delivery.attempt(order, meter)).state


async def test_purchase_is_proven_by_remaining_and_use(database: Database, estate: Estate) -> None:
    desk, meter = await sell(database, estate)
    assert await try_now(desk, meter) is OrderState.CONFIRMED
    assert await desk.balances() == {"cash": -30 * YUAN, "meter": 30 * YUAN}


@pytest.mark.parametrize("used", ["0", "4.2", "40"])
async def test_what_was_used_meanwhile_is_reckoned_with(
    database: Database, estate: Estate, used: str
) -> None:
    desk, meter = await sell(database, estate)
    desk.link.disturb = on_control(lose_reply)
    assert await try_now(desk, meter) is OrderState.UNCERTAIN
    desk.link.disturb = undisturbed
    meter.used_kwh = Decimal(used)
    assert await try_now(desk, meter) is OrderState.CONFIRMED


async def test_use_alone_does_not_look_like_a_purchase(database: Database, estate: Estate) -> None:
    desk, meter = await sell(database, estate, DEARER_BY_DAY)
    desk.link.disturb = on_control(lose_request)
    assert await try_now(desk, meter) is OrderState.UNCERTAIN
    desk.link.disturb = undisturbed
    meter.used_kwh = Decimal(40)
    assert await try_now(desk, meter) is OrderState.CONFIRMED
    assert (desk.count, desk.held_cents) == (1, 3_000)


async def test_other_amount_under_our_count_is_a_conflict(
    database: Database, estate: Estate
) -> None:
    desk, meter = await sell(database, estate)
    desk.link.disturb = on_control(lose_request)
    await try_now(desk, meter)
    desk.link.disturb = undisturbed
    await desk.driver().deliver_credit(1, Decimal("7.00"))
    assert await try_now(desk, meter) is OrderState.CONFLICT


async def test_bound_that_is_too_rough_leaves_it_to_people(
    database: Database, estate: Estate
) -> None:
    desk, meter = await sell(database, estate, DEARER_BY_DAY)
    desk.link.disturb = on_control(lose_reply)
    await try_now(desk, meter)
    desk.link.disturb = undisturbed
    meter.used_kwh = Decimal(40)
    assert await try_now(desk, meter) is OrderState.CONFLICT


@pytest.mark.parametrize("lacking", ["tariff", "counter", "good counter", "counter before"])
async def test_nothing_is_proven_without_price_and_counter(
    database: Database, estate: Estate, lacking: str
) -> None:
    desk, meter = await sell(database, estate, None if lacking == "tariff" else FLAT)
    meter.readable = lacking != "counter"
    meter.quality = Quality.SUSPECT if lacking == "good counter" else Quality.GOOD
    meter.used_kwh = Decimal(4) if lacking == "counter before" else Decimal(0)
    desk.link.disturb = on_control(lose_reply)
    await try_now(desk, meter)
    desk.link.disturb = undisturbed
    meter.used_kwh = Decimal(0)
    assert await try_now(desk, meter) is OrderState.UNCERTAIN
    assert len(desk.link.control_frames) == 1


async def test_prices_of_the_meter_s_own_bound_it(database: Database, estate: Estate) -> None:
    desk, meter = await sell(database, estate)
    override = {"energy": {"prices": [["5.00"]]}}
    async with database.unit_of_work() as uow:
        await uow.bindings.replace(replace(desk.binding, price_override=override))
        await uow.commit()
    desk.link.disturb = on_control(lose_reply)
    await try_now(desk, meter)
    desk.link.disturb = undisturbed
    meter.used_kwh = Decimal(40)
    assert await try_now(desk, meter) is OrderState.CONFLICT


def test_highest_price_is_that_of_the_dearest_season() -> None:
    (season,) = FLAT.seasons
    dear = replace(FLAT, seasons=(season, replace(season, prices=decimals("0.9000"))))
    assert highest_price(FLAT) == Decimal("0.5000")
    assert highest_price(dear) == Decimal("0.9000")
