"""Accounts of estate files: opened once, written back as they came, never changed unasked."""

import asyncio
import csv
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.services.estate.test_import_estate import AT, HEAD, LATER, MAIN, SUB

from meterplex.db import Database
from meterplex.db.outbox import OutboxMessage
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import AccountState, Category
from meterplex.domain.estate import Binding
from meterplex.domain.readings import Reading
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT
from meterplex.plugin_manager import PluginManager
from meterplex.services.accounts.customer_file import AccountFile, account_file
from meterplex.services.accounts.first_readings import (
    FIRST_READING,
    NotReadYetError,
    first_reading_handler,
)
from meterplex.services.estate.draft import TableCount
from meterplex.services.estate.export_estate import write_accounts
from meterplex.services.estate.files import EstateFile
from meterplex.services.estate.import_estate import EstateRefusedError, ImportReport, import_estate
from meterplex.services.follow_up.outbox_worker import Handler

ACCOUNT = """
[[account]]
site = "east"
number = "A-0012"
customer = "Mr Chen's Noodles"
phone = "13800138000"
mode = "prepaid_server"
tariff = "shop-power"
usage_points = ["B1-012/power"]
alarm_1 = "50.00"
alarm_2 = "20.00"
overdraft = "0.00"
"""
WHOLE = HEAD + MAIN + SUB + ACCOUNT
HEAD_START_S = 0.3
"""Time for a task to come to the row that the test holds."""


class Importer:
    """Takes estate files in, and looks at what came of them."""

    def __init__(
        self, database: Database, plugins: PluginManager, read: Callable[[str], EstateFile]
    ) -> None:
        self.database, self._plugins, self._read = database, plugins, read

    async def take(self, text: str, at: Any = AT, **more: Any) -> ImportReport:
        return await import_estate(
            self.database, self._plugins, self._read(text), operator="installer", at=at, **more
        )

    async def problems(self, text: str) -> list[str]:
        with pytest.raises(EstateRefusedError) as refused:
            await self.take(text, LATER)
        return [f"{each.column}: {each.reason}" for each in refused.value.problems]

    async def look(self) -> tuple[AccountFile, ...]:
        async with self.database.unit_of_work(read_only=True) as uow:
            (organisation,) = await uow.organisations.all()
            accounts = await uow.accounts.all(organisation.id)
            return tuple([await account_file(uow, each) for each in accounts])

    async def read_meter(self, binding: Binding, kwh: str, at: Any) -> None:
        reading = Reading(binding.meter_id, ACTIVE_ENERGY_IMPORT, at, Decimal(kwh))
        async with self.database.unit_of_work() as uow:
            await uow.readings.store(binding.organisation_id, [reading], received_at=at)
            await uow.commit()

    async def messages(self, topic: str) -> tuple[OutboxMessage, ...]:
        async with self.database.unit_of_work(read_only=True) as uow:
            return tuple(await uow.outbox.due([topic], LATER, 100))


@pytest.fixture
def importer(
    database: Database, plugins: PluginManager, estate_file: Callable[[str], EstateFile]
) -> Importer:
    return Importer(database, plugins, estate_file)


async def test_an_account_is_opened_with_its_customer_and_binding(importer: Importer) -> None:
    report = await importer.take(WHOLE)
    (found,) = await importer.look()
    assert report.tables["account"] == report.tables["customer"] == TableCount(added=1)
    assert [warning.reason for warning in report.warnings] == [
        "'shop-power' is not published: nothing is charged until it is"
    ]
    assert (found.customer.number, found.customer.name) == ("A-0012", "Mr Chen's Noodles")
    assert found.account.mode is AccountMode.PREPAID_SERVER
    assert (found.account.alarm_1_units, found.account.alarm_2_units) == (500_000, 200_000)
    (meter,) = found.meters
    assert (meter.meter.serial, meter.usage_point.code) == ("1001", "B1-012/power")
    assert (meter.binding.mode, meter.binding.since) == (AccountMode.PREPAID_SERVER, AT)


async def test_the_same_file_again_changes_nothing(importer: Importer) -> None:
    await importer.take(WHOLE)
    before = await importer.look()
    report = await importer.take(WHOLE, LATER)
    assert report.changes == 0
    assert report.tables["account"] == TableCount(unchanged=1)
    assert await importer.look() == before


async def test_an_account_for_a_standing_meter_begins_at_its_last_reading(
    importer: Importer, database: Database
) -> None:
    await importer.take(HEAD + MAIN + SUB)
    async with database.unit_of_work(read_only=True) as uow:
        (organisation,) = await uow.organisations.all()
        meter = await uow.meters.by_serial(organisation.id, "1001")
        assert meter is not None
        before = await uow.bindings.open_of_meter(organisation.id, meter.id)
    assert before is not None
    await importer.read_meter(before, "12.5", AT + timedelta(hours=1))
    await importer.take(WHOLE, LATER)
    (found,) = await importer.look()
    (binding,) = found.meters
    assert binding.binding.since == LATER
    assert [each.opening_value for each in binding.openings] == [Decimal("12.5")]


async def test_what_happens_to_an_account_meanwhile_is_not_written_over(
    importer: Importer,
) -> None:
    await importer.take(WHOLE)
    (found,) = await importer.look()
    async with importer.database.unit_of_work() as uow:
        account = await uow.accounts.lock(found.account.organisation_id, found.account.id)
        text = WHOLE.replace('alarm_1 = "50.00"', 'alarm_1 = "60.00"')
        taking = asyncio.create_task(importer.take(text, LATER))
        await asyncio.wait({taking}, timeout=HEAD_START_S)
        await uow.accounts.replace(replace(account, state=AccountState.SUSPENDED))
        await uow.commit()
    await taking
    (found,) = await importer.look()
    assert found.account.state is AccountState.SUSPENDED
    assert found.account.alarm_1_units == 600_000


async def test_a_binding_that_is_frozen_meanwhile_stays_so(importer: Importer) -> None:
    await importer.take(WHOLE)
    (found,) = await importer.look()
    (meter,) = found.meters
    binding = meter.binding
    await importer.read_meter(binding, "7", AT + timedelta(minutes=10))
    (message,) = await importer.messages(FIRST_READING)
    handle = first_reading_handler(importer.database, lambda: LATER)
    async with importer.database.unit_of_work() as uow:
        await uow.accounts.lock(binding.organisation_id, found.account.id)
        handling = asyncio.create_task(_call(handle, message))
        await asyncio.wait({handling}, timeout=HEAD_START_S)
        await uow.bindings.replace(replace(binding, frozen=True))
        await uow.commit()
    await handling
    async with importer.database.unit_of_work(read_only=True) as uow:
        begun = await uow.bindings.get(binding.organisation_id, binding.id)
    assert (begun.frozen, begun.since) == (True, AT + timedelta(minutes=10))


async def _call(handle: Handler, message: OutboxMessage) -> None:
    await handle(message)


async def test_a_meter_that_was_never_read_begins_at_its_first_reading(
    importer: Importer,
) -> None:
    await importer.take(WHOLE)
    (message,) = await importer.messages(FIRST_READING)
    handle = first_reading_handler(importer.database, lambda: LATER)
    with pytest.raises(NotReadYetError):
        await handle(message)
    (found,) = await importer.look()
    first = AT + timedelta(minutes=5)
    await importer.read_meter(found.meters[0].binding, "7", first)
    await importer.read_meter(found.meters[0].binding, "8", first + timedelta(hours=1))
    await handle(message)
    await handle(message)
    (found,) = await importer.look()
    (meter,) = found.meters
    assert meter.binding.since == first
    assert [each.opening_value for each in meter.openings] == [Decimal(7)]


async def test_what_is_written_back_is_what_came(importer: Importer) -> None:
    more = 'hoard = "500.00"\ndeduction_order = ["rent", "debt", "fee", "utility"]\nhead_count = 3'
    await importer.take(WHOLE + more)
    out = io.StringIO()
    write_accounts(await importer.look(), out)
    (row,) = csv.DictReader(io.StringIO(out.getvalue()))
    written = "".join(f"{name} = '''{text}'''\n" for name, text in row.items() if text)
    before = await importer.look()
    report = await importer.take(HEAD + MAIN + SUB + "[[account]]\n" + written, LATER)
    assert report.changes == 0
    assert await importer.look() == before
    order = before[0].account.deduction_order
    assert order == (Category.RENT, Category.DEBT, Category.FEE, Category.UTILITY)


async def test_names_and_limits_are_changed_by_a_file(importer: Importer) -> None:
    await importer.take(WHOLE)
    text = WHOLE.replace("Mr Chen's Noodles", "Mrs Chen").replace('"20.00"', '"10.00"')
    report = await importer.take(text, LATER)
    (found,) = await importer.look()
    assert report.tables["account"].updated == report.tables["customer"].updated == 1
    assert (found.customer.name, found.account.alarm_2_units) == ("Mrs Chen", 100_000)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param("prepaid_server", "postpaid", "mode: is prepaid_server: use", id="mode"),
        pytest.param("shop-power", "other", "tariff: is 'shop-power': use", id="tariff"),
        pytest.param('"50.00"', '"x"', "alarm_1: 'x': expected an amount", id="no amount"),
        pytest.param('"50.00"', '"-1"', "alarm_1: -1: expected no less than 0", id="below zero"),
        pytest.param('"50.00"', '"1.005"', "alarm_1: 1.005: CNY has 2", id="too exact"),
        pytest.param('"50.00"', '"1"', "alarm_2: is above alarm_1", id="alarms"),
        pytest.param('"B1-012/power"]', '"none"]', "usage_points: unknown usage point", id="point"),
        pytest.param(
            'usage_point = "B1-012/power"',
            'usage_point = "B1/other"',
            "usage_point: the meter belongs to an account",
            id="meter moved",
        ),
        pytest.param(
            'number = "A-0012"',
            'number = "A-0013"',
            "usage_points: 'B1-012/power' belongs to account 'A-0012'",
            id="taken",
        ),
    ],
)
async def test_what_a_file_cannot_do_is_named(
    importer: Importer, old: str, new: str, problem: str
) -> None:
    await importer.take(WHOLE)
    before = await importer.look()
    problems = await importer.problems(WHOLE.replace(old, new))
    assert any(each.startswith(problem) for each in problems), problems
    assert await importer.look() == before


async def test_credit_in_a_meter_needs_one_that_keeps_it(importer: Importer) -> None:
    await importer.take(HEAD + MAIN + SUB)
    problems = await importer.problems(WHOLE.replace("prepaid_server", "prepaid_meter"))
    assert ["no capability credit" in each for each in problems] == [True]


async def test_a_dry_run_keeps_no_account(importer: Importer) -> None:
    await importer.take(HEAD + MAIN + SUB)
    report = await importer.take(WHOLE, LATER, dry_run=True)
    assert report.tables["account"].added == 1
    assert await importer.look() == ()
