from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from tests.conftest import Estate
from tests.domain.tariff_samples import FLAT
from tests.services.charging_cases import BEGIN, HOUR, july, move_in

from meterplex.db import Database
from meterplex.domain.charges import HoldState
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT, WATER
from meterplex.services.books.errors import MoneyError
from meterplex.services.charging.estimate_readings import estimate_reading
from meterplex.services.charging.settle_holds import HoldDecision, settle_hold
from meterplex.services.tariffs.publish_tariff import publish_tariff

AT = datetime(2026, 6, 1, tzinfo=UTC)
LATER = replace(FLAT, version=2, valid_from=july(1))


async def test_versions_follow_each_other(database: Database, estate: Estate) -> None:
    organisation_id = estate.organisation.id
    await publish_tariff(database, organisation_id, FLAT, at=AT, operator="anna")
    done = await publish_tariff(database, organisation_id, LATER, at=AT, operator="anna")
    assert not done.known
    again = await publish_tariff(database, organisation_id, LATER, at=AT, operator="anna")
    assert (again.known, again.published) == (True, done.published)
    async with database.unit_of_work(read_only=True) as uow:
        found = await uow.tariff_versions.of_code(organisation_id, FLAT.id)
    assert [each.version for each in found] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"version": 1}, "version", id="number"),
        pytest.param({"valid_from": date(2026, 1, 1)}, "valid_from", id="same-day"),
        pytest.param({"valid_from": date(2026, 6, 1)}, "valid_from", id="has-begun"),
        pytest.param({"currency": "EUR"}, "currency", id="currency"),
        pytest.param({"utility": WATER}, "utility", id="utility"),
        pytest.param({"time_zone": "Asia/Tokyo"}, "time_zone", id="time-zone"),
    ],
)
async def test_versions_that_cannot_follow_are_refused(
    database: Database, estate: Estate, changes: dict[str, Any], field: str
) -> None:
    organisation_id = estate.organisation.id
    await publish_tariff(database, organisation_id, FLAT, at=AT, operator="anna")
    with pytest.raises(MoneyError) as caught:
        await publish_tariff(
            database, organisation_id, replace(LATER, **changes), at=AT, operator="anna"
        )
    assert caught.value.field == field
    async with database.unit_of_work(read_only=True) as uow:
        assert len(await uow.tariff_versions.all(organisation_id)) == 1


@pytest.mark.parametrize(
    ("value", "hours", "field"),
    [
        pytest.param("-1", 2, "value", id="negative"),
        pytest.param("NaN", 2, "value", id="no-number"),
        pytest.param("90", 2, "value", id="below-the-last"),
        pytest.param("120", 9, "read_at", id="in-the-future"),
        pytest.param("120", 1, "read_at", id="read-there"),
    ],
)
async def test_estimates_that_cannot_be_are_refused(
    database: Database, estate: Estate, value: str, hours: int, field: str
) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "104"))
    with pytest.raises(MoneyError) as caught:
        await estimate_reading(
            database,
            estate.organisation.id,
            estate.meters[0],
            ACTIVE_ENERGY_IMPORT,
            Decimal(value),
            BEGIN + hours * HOUR,
            at=BEGIN + 5 * HOUR,
            operator="wang",
        )
    assert caught.value.field == field
    assert await tenancy.charges() == ()


@pytest.mark.parametrize(
    ("decision", "field"),
    [
        pytest.param(HoldDecision(HoldState.OPEN), "decision", id="open"),
        pytest.param(HoldDecision(HoldState.RELEASED), "decision", id="a-fall-released"),
        pytest.param(HoldDecision(HoldState.NEW_START), "closing_value", id="no-values"),
        pytest.param(
            HoldDecision(HoldState.NEW_START, Decimal(101), Decimal(51)),
            "opening_value",
            id="opening-above-the-reading",
        ),
    ],
)
async def test_decisions_that_cannot_be_are_refused(
    database: Database, estate: Estate, decision: HoldDecision, field: str
) -> None:
    tenancy = await move_in(database, estate)
    await tenancy.read((1, "50"))
    (hold,) = (await tenancy.charge(1)).held
    with pytest.raises(MoneyError) as caught:
        await settle_hold(
            database, estate.organisation.id, hold.id, decision, at=BEGIN + HOUR, operator="wang"
        )
    assert caught.value.field == field
    async with database.unit_of_work(read_only=True) as uow:
        assert (await uow.reading_holds.get(estate.organisation.id, hold.id)).state == "open"
