"""Driver and twin together: two readings of the same sources, which share no code."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest

from meterplex.sdk import (
    Capability,
    CreditState,
    DeviceRefusedError,
    DriverError,
    Limits,
    MeterDriver,
    MeterModel,
    OutcomeUnknownError,
    Prices,
    Rate,
    RateChange,
    SeasonStart,
    SupplyAction,
    SupplyMode,
    SupplyState,
    TouCalendar,
)
from meterplex.sdk.testing import TwinLink
from meterplex.sdk.testing.links import (
    Attempt,
    Disturbance,
    lose_reply,
    lose_request,
    undisturbed,
)
from meterplex.services.metering.bench_check import Verdict, check_purchase_count
from meterplex_acrel_dtsy import models

MODELS = {"dtsy": models.dtsy1352(), "ddsy": models.ddsy1352()}
NOON = datetime(2026, 3, 4, 4, tzinfo=UTC)

PRICES = Prices(Decimal("1.1"), Decimal("0.9"), Decimal("0.6"), Decimal("0.3456"))
LIMITS = Limits(
    alarm_1=Decimal(30), alarm_2=Decimal(10), overdraft=Decimal(3), overload_kw=Decimal("7.5")
)
CALENDAR = TouCalendar(
    (SeasonStart(1, 1, 0), SeasonStart(7, 15, 1)),
    (
        (RateChange(time(0), Rate.VALLEY), RateChange(time(8, 30), Rate.PEAK)),
        (RateChange(time(0), Rate.FLAT),),
    ),
)
LOCAL = datetime(2026, 5, 6, 7, 8, 9)  # noqa: DTZ001 - a meter's

pytestmark = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def link_to(model: MeterModel, **twin_settings: str) -> TwinLink:
    assert model.twin is not None
    twin = model.twin("1", twin_settings, 1)
    twin.advance(NOON)
    return TwinLink(twin)


def driver_on(model: MeterModel, link: TwinLink, **settings: str) -> MeterDriver:
    return model.driver(link, "1", settings)


async def test_reading_follows_the_meter(model: MeterModel) -> None:
    link = link_to(model)
    driver = driver_on(model, link)
    before = {value.register.slug: value.value for value in (await driver.read()).values}
    link.twin.advance(NOON + timedelta(hours=6))
    after = {value.register.slug: value.value for value in (await driver.read()).values}
    used = after["active_energy_import"] - before["active_energy_import"]
    assert used > 0
    assert after["credit_remaining"] < before["credit_remaining"]
    rates = ("sharp", "peak", "flat", "valley")
    assert used == pytest.approx(
        sum(
            after[f"active_energy_import_{rate}"] - before[f"active_energy_import_{rate}"]
            for rate in rates
        ),
        abs=Decimal("0.05"),
    )


async def test_supply_goes_through_every_mode(model: MeterModel) -> None:
    driver = driver_on(model, link_to(model))
    for action, state in (
        (SupplyAction.DISCONNECT, SupplyState(False, SupplyMode.FORCED_OFF)),
        (SupplyAction.HOLD, SupplyState(True, SupplyMode.HELD)),
        (SupplyAction.DISCONNECT, SupplyState(False, SupplyMode.FORCED_OFF)),
        (SupplyAction.RECONNECT, SupplyState(True, SupplyMode.AUTOMATIC)),
        (SupplyAction.AUTOMATIC, SupplyState(True, SupplyMode.AUTOMATIC)),
    ):
        assert await driver.set_supply(action) == state
        assert (await driver.read()).supply == state


async def test_meter_without_credit_refuses_to_reconnect_until_it_is_paid(
    model: MeterModel,
) -> None:
    link = link_to(model, remaining="0.01", overdraft="0")
    link.twin.advance(NOON + timedelta(hours=6))
    driver = driver_on(model, link)
    snapshot = await driver.read()
    assert snapshot.supply == SupplyState(False, SupplyMode.AUTOMATIC)
    assert snapshot.flags is not None
    assert "arrears" in snapshot.flags
    with pytest.raises(DeviceRefusedError):
        await driver.set_supply(SupplyAction.RECONNECT)
    assert (await driver.set_supply(SupplyAction.HOLD)).mode is SupplyMode.HELD
    await driver.set_supply(SupplyAction.AUTOMATIC)

    count = (await driver.read_credit()).purchase_count
    await driver.deliver_credit(count + 1, Decimal(50))
    link.twin.advance(NOON + timedelta(hours=6, minutes=1))
    state = await driver.set_supply(SupplyAction.RECONNECT)
    assert state == SupplyState(True, SupplyMode.AUTOMATIC)


async def test_purchase_is_taken_once(model: MeterModel) -> None:
    driver = driver_on(model, link_to(model))
    before = await driver.read_credit()
    count = before.purchase_count + 1
    after = await driver.deliver_credit(count, Decimal("12.34"))
    assert _moved(before, after) == (Decimal("12.34"), 1, Decimal("12.34"))
    assert await driver.deliver_credit(count, Decimal("12.34")) == after


async def test_withdrawal_moves_remaining_count_and_total(model: MeterModel) -> None:
    driver = driver_on(model, link_to(model))
    await driver.set_supply(SupplyAction.DISCONNECT)
    before = await driver.read_credit()
    after = await driver.withdraw_credit(before.purchase_count + 1, Decimal("2.34"))
    assert _moved(before, after) == (Decimal("-2.34"), 1, Decimal("-2.34"))


async def test_everything_that_is_kept_comes_back(model: MeterModel) -> None:
    driver = driver_on(model, link_to(model))
    assert await driver.write_prices(PRICES) == PRICES
    assert await driver.write_limits(LIMITS) == LIMITS
    assert await driver.write_limits(Limits(alarm_2=Decimal(5))) == Limits(
        Decimal(30), Decimal(5), Decimal(3), None, Decimal("7.5")
    )
    assert (await driver.write_limits(Limits(overdraft=Decimal(1)))).overdraft == Decimal(1)
    assert await driver.write_calendar(CALENDAR) == CALENDAR
    assert abs(await driver.sync_clock(LOCAL) - LOCAL) < timedelta(seconds=2)


@pytest.mark.parametrize("order", ["month_day_table", "table_day_month"])
@pytest.mark.parametrize("setting", ["month_day_table", "table_day_month"])
async def test_order_of_the_date_plan_is_the_meters(
    model: MeterModel, order: str, setting: str
) -> None:
    driver = driver_on(model, link_to(model, date_plan_order=order), date_plan_order=setting)
    assert len((await driver.read_calendar()).seasons) > 1
    assert await driver.write_calendar(CALENDAR) == CALENDAR


async def test_overload_is_told_as_a_flag(model: MeterModel) -> None:
    link = link_to(model, load_kw="5")
    driver = driver_on(model, link)
    await driver.write_limits(Limits(overload_kw=Decimal("0.1")))
    link.twin.advance(NOON + timedelta(minutes=2))
    snapshot = await driver.read()
    assert snapshot.flags is not None
    assert "overload" in snapshot.flags
    assert snapshot.supply == SupplyState(False, SupplyMode.AUTOMATIC)


async def test_encrypted_commands_reach_the_meter(model: MeterModel) -> None:
    key = {"cipher": "tea16", "cipher_key": "1111 2222 3333 4444"}
    driver = driver_on(model, link_to(model, **key), **key)
    before = await driver.read_credit()
    after = await driver.deliver_credit(before.purchase_count + 1, Decimal(1))
    assert _moved(before, after) == (Decimal(1), 1, Decimal(1))


async def test_plain_purchase_to_a_meter_with_cipher_moves_nothing(model: MeterModel) -> None:
    link = link_to(model, cipher="tea16", cipher_key="1111 2222 3333 4444")
    driver = driver_on(model, link)
    before = await driver.read_credit()
    assert await driver.deliver_credit(before.purchase_count + 1, Decimal(1)) == before


def _moved(before: CreditState, after: CreditState) -> tuple[Decimal, int, Decimal]:
    assert before.total_purchased is not None
    assert after.total_purchased is not None
    return (
        after.remaining - before.remaining,
        after.purchase_count - before.purchase_count,
        after.total_purchased - before.total_purchased,
    )


Operation = Callable[[MeterDriver], Awaitable[object]]


async def _withdraw(driver: MeterDriver) -> object:
    count = (await driver.read_credit()).purchase_count
    return await driver.withdraw_credit(count + 1, Decimal(1))


OPERATIONS: dict[str, Operation] = {
    "disconnect": lambda driver: driver.set_supply(SupplyAction.DISCONNECT),
    "hold": lambda driver: driver.set_supply(SupplyAction.HOLD),
    "purchase": lambda driver: driver.deliver_credit(2, Decimal(1)),
    "withdrawal": _withdraw,
    "prices": lambda driver: driver.write_prices(PRICES),
    "limits": lambda driver: driver.write_limits(LIMITS),
    "calendar": lambda driver: driver.write_calendar(CALENDAR),
    "clock": lambda driver: driver.sync_clock(LOCAL),
}


async def _ready_for(name: str, model: MeterModel) -> TwinLink:
    link = link_to(model)
    if name == "withdrawal":
        await driver_on(model, link).set_supply(SupplyAction.DISCONNECT)
        link.exchanges.clear()
    return link


@pytest.mark.parametrize("loss", [lose_reply, lose_request])
@pytest.mark.parametrize("name", OPERATIONS)
async def test_loss_at_any_step_sends_nothing_twice_and_hides_nothing(
    model: MeterModel, name: str, loss: Disturbance
) -> None:
    whole = await _ready_for(name, model)
    result = await OPERATIONS[name](driver_on(model, whole))
    first_control = [exchange.control for exchange in whole.exchanges].index(True)

    for step in range(len(whole.exchanges)):
        link = await _ready_for(name, model)
        link.disturb = _losing(step, loss)
        try:
            outcome = await OPERATIONS[name](driver_on(model, link))
        except DriverError as error:
            outcome = error
        controls = link.control_frames
        assert len(set(controls)) == len(controls)
        if step < first_control:
            assert controls == []
            assert isinstance(outcome, DriverError)
        elif isinstance(outcome, DriverError):
            assert isinstance(outcome, OutcomeUnknownError), f"step {step}: {outcome!r}"
        else:
            assert outcome == result, f"step {step}"


def _losing(step: int, loss: Disturbance) -> Disturbance:
    def disturb(attempt: Attempt) -> bytes:
        return (loss if attempt.number == step else undisturbed)(attempt)

    return disturb


@pytest.mark.parametrize(
    ("checked", "verdict"), [("true", Verdict.PROVEN), ("false", Verdict.DISPROVEN)]
)
async def test_bench_check_tells_a_counting_meter_from_a_blind_one(
    model: MeterModel, checked: str, verdict: Verdict
) -> None:
    driver = driver_on(model, link_to(model, count_checked=checked))
    assert Capability.COUNT_CHECKED not in driver.capabilities
    report = await check_purchase_count(driver)
    assert report.verdict is verdict
    assert report.left is not None
    assert report.left.remaining == report.found.remaining
    assert (await driver.read_supply()).mode is SupplyMode.AUTOMATIC
