from datetime import date, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from tests.services.supply_town import NOON

from meterplex.db import Database
from meterplex.domain.money import LEDGER_UNITS
from meterplex.domain.supply_policy import DEFAULT_POLICY, DayWindow, HolidayRule
from meterplex.services.books.errors import MoneyError, MoneyInputError, UnknownThingError
from meterplex.services.estate.site_policies import (
    OUTDOOR_AGE_MAX,
    PARAMETERS,
    SiteParameters,
    WindowKeeper,
    load_holidays,
    load_parameters,
    read_parameters,
    set_holidays,
    set_parameters,
)

if TYPE_CHECKING:
    from tests.conftest import Estate


async def change(database: Database, estate: "Estate", **changes: str) -> SiteParameters:
    await set_parameters(database, estate.site, changes, at=NOON, operator="anna")
    async with database.unit_of_work(read_only=True) as uow:
        return await load_parameters(uow, estate.site)


def test_defaults_shown_are_the_defaults_taken() -> None:
    shown = {name: each.default for name, each in PARAMETERS.items() if each.default}
    assert read_parameters(shown, "CNY") == read_parameters({}, "CNY") == SiteParameters()
    assert SiteParameters().supply == DEFAULT_POLICY


async def test_site_that_set_nothing_has_the_defaults(database: Database, estate: "Estate") -> None:
    assert await change(database, estate) == SiteParameters()


async def test_parameters_are_kept_and_given_back(database: Database, estate: "Estate") -> None:
    found = await change(
        database,
        estate,
        alarm_1="80",
        alarm_2="30.50",
        overload_kw="7.5",
        holiday_rule="day_only",
        warning_lead="36h",
        disconnect_windows="mon-fri 09:00-12:00; sat 10:00-24:00",
        window_by="overdraft",
        gas_reconnect_on_site="no",
    )
    assert found.thresholds.alarm_1_units == 80 * LEDGER_UNITS
    assert found.thresholds.alarm_2_units == 305_000
    assert found.overload_kw == Decimal("7.5")
    assert found.window_by is WindowKeeper.OVERDRAFT
    policy = found.supply
    assert policy.holiday_rule is HolidayRule.DAY_ONLY
    assert policy.warning_lead == timedelta(hours=36)
    assert policy.gas_reconnect_on_site is False
    morning = (DayWindow(time(9), time(12)),)
    assert policy.disconnect_windows == (
        *(morning,) * 5,
        (DayWindow(time(10), time(0)),),
        (),
    )
    back = await change(database, estate, alarm_1="", overload_kw="")
    assert back.thresholds.alarm_1_units == 50 * LEDGER_UNITS
    assert back.overload_kw is None
    assert back.window_by is WindowKeeper.OVERDRAFT


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("alarm_1", "-1", id="negative"),
        pytest.param("alarm_1", "1.001", id="too exact"),
        pytest.param("alarm_2", "x", id="no number"),
        pytest.param("overload_kw", "NaN", id="not a number"),
        pytest.param("holiday_rule", "never", id="unknown word"),
        pytest.param("warning_lead", "0h", id="no time"),
        pytest.param("disconnect_windows", "mon", id="no hours"),
        pytest.param("disconnect_windows", "fri-mon 09:00-10:00", id="days backwards"),
        pytest.param("disconnect_windows", "mon 10:00-09:00", id="hours backwards"),
        pytest.param("disconnect_windows", "day 09:00-10:00", id="no day"),
        pytest.param("gas_reconnect_on_site", "perhaps", id="neither"),
        pytest.param("sms_number", "1" * 201, id="too long"),
        pytest.param("price", "1", id="unknown"),
    ],
)
async def test_value_that_cannot_be_is_refused_by_name_and_nothing_is_kept(
    database: Database, estate: "Estate", name: str, text: str
) -> None:
    with pytest.raises(MoneyError) as refused:
        await change(database, estate, hoard="500", **{name: text})
    assert refused.value.field == name
    assert isinstance(refused.value, MoneyInputError | UnknownThingError)
    assert await change(database, estate) == SiteParameters()


async def test_outdoor_temperature_is_believed_for_a_day(
    database: Database, estate: "Estate"
) -> None:
    found = await change(database, estate, outdoor_c="7.5")
    assert found.outdoor_c_at(NOON + OUTDOOR_AGE_MAX) == Decimal("7.5")
    assert found.outdoor_c_at(NOON + OUTDOOR_AGE_MAX + timedelta(seconds=1)) is None
    assert found.outdoor_c_at(NOON - timedelta(seconds=1)) is None


async def test_no_window_at_all_can_be_set(database: Database, estate: "Estate") -> None:
    found = await change(database, estate, disconnect_windows="none")
    assert found.supply.disconnect_windows == ((),) * 7


async def test_holidays_replace_their_year_and_worked_days_protect_nothing(
    database: Database, estate: "Estate"
) -> None:
    async def replace_calendar(year: int, *days: date, working: tuple[date, ...] = ()) -> None:
        await set_holidays(
            database,
            estate.site,
            year,
            dict.fromkeys(days, "holiday"),
            working=dict.fromkeys(working, "worked"),
            at=NOON,
            operator="anna",
        )

    await replace_calendar(2026, date(2026, 10, 1), date(2026, 10, 2))
    await replace_calendar(2027, date(2027, 1, 1))
    await replace_calendar(2026, date(2026, 10, 3), working=(date(2026, 10, 10),))
    async with database.unit_of_work(read_only=True) as uow:
        found = await load_holidays(uow, estate.site)
    assert found.dates == {date(2026, 10, 3), date(2027, 1, 1)}
    with pytest.raises(MoneyInputError, match="days: 2025-01-01: expected days of 2026"):
        await replace_calendar(2026, date(2025, 1, 1))
    with pytest.raises(MoneyInputError, match="is a holiday too"):
        await replace_calendar(2026, date(2026, 5, 1), working=(date(2026, 5, 1),))
