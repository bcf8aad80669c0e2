"""What was read and what happened, from rows written as a head-end would."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result

from meterplex.db import Database
from meterplex.domain.readings import (
    DeviceEventRecord,
    EventKind,
    ReadFailure,
    Reading,
    ReadingRun,
    ReadingSource,
    RunId,
)
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT, VOLTAGE_L1

Cli = Callable[..., Result]
Estate = Callable[..., None]
Answer = Callable[[Result], Any]

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.fixture
def history(estate: Estate, database_file: Path) -> None:
    """Write an hour of readings, one run and one event of meter m1."""
    estate()

    async def write() -> None:
        url = f"sqlite:///{database_file}"
        async with await Database.open(url) as database, database.unit_of_work() as uow:
            (organisation,) = await uow.organisations.all()
            meter, other, _ = await uow.meters.all(organisation.id)
            readings = [
                Reading(meter.id, register, AT + timedelta(minutes=minute), Decimal(value))
                for minute, value in ((0, "10.5"), (30, "11.5"), (60, "12.5"))
                for register in (ACTIVE_ENERGY_IMPORT, VOLTAGE_L1)
            ]
            await uow.readings.store(organisation.id, readings, received_at=AT)
            run = ReadingRun(
                id=RunId(uuid4()),
                organisation_id=organisation.id,
                channel_id=meter.channel_id,
                source=ReadingSource.SCHEDULED,
                started_at=AT,
                ended_at=AT + timedelta(seconds=2),
                succeeded=(meter.id,),
                failed=(ReadFailure(other.id, "nothing came"),),
            )
            await uow.runs.add(run)
            event = DeviceEventRecord(
                uuid4(), organisation.id, "meter", meter.id, EventKind.LOST, "meter", AT
            )
            await uow.events.add_all([event])
            await uow.commit()

    asyncio.run(write())


def period(start: str, end: str) -> tuple[str, ...]:
    return ("--from", start, "--to", end)


@pytest.mark.usefixtures("history")
def test_readings_of_a_period_are_half_open_and_in_the_time_of_the_site(
    cli: Cli, answer: Answer
) -> None:
    local = period("2026-03-01T16:00", "2026-03-01T17:00")
    register = ("--register", "active_energy_import")
    found = answer(cli("readings", "m1", *local, *register, "--json"))
    assert [(each["read_at"], each["value"]) for each in found] == [
        ("2026-03-01T16:00:00+08:00", "10.500"),
        ("2026-03-01T16:30:00+08:00", "11.500"),
    ]
    assert found[0]["obis"] == "1-0:1.8.0"


@pytest.mark.usefixtures("history")
def test_all_registers_are_listed_by_time(cli: Cli, answer: Answer) -> None:
    found = answer(cli("readings", "m1", *period("2026-03-01T08:00Z", "2026-03-02"), "--json"))
    assert [each["register"] for each in found] == ["active_energy_import", "voltage_l1"] * 3


@pytest.mark.usefixtures("history")
def test_nothing_is_listed_of_an_empty_period(cli: Cli) -> None:
    result = cli("readings", "m1", *period("2026-03-03", "2026-03-04"))
    assert (result.exit_code, "0 readings" in result.stderr) == (0, True)


@pytest.mark.usefixtures("history")
def test_runs_have_success_and_failure_lists(cli: Cli, answer: Answer) -> None:
    (run,) = answer(cli("runs", "--channel", "bus-1", "--json"))
    assert run["succeeded"] == ["m1"]
    assert run["failed"] == [{"meter": "m2", "reason": "nothing came"}]
    assert "m2: nothing came" in cli("runs").stdout


@pytest.mark.usefixtures("history")
def test_events_name_their_subject(cli: Cli, answer: Answer) -> None:
    (event,) = answer(cli("events", "--json"))
    assert (event["name"], event["kind"], event["code"]) == ("m1", "lost", "meter")
    assert answer(cli("events", "--meter", "m2", "--json")) == []
    assert "m1" in cli("events").stdout


@pytest.mark.usefixtures("history")
def test_states_carry_the_newest_registers(cli: Cli, answer: Answer) -> None:
    first, *_ = answer(cli("export", "states", "--json"))
    assert first["readings"] == {"active_energy_import": "12.500", "voltage_l1": "12.50"}
    assert first["last_good_at"] == "2026-03-01T09:00:00Z"
    header, row, *_ = cli("export", "states").stdout.splitlines()
    assert header.endswith(",active_energy_import,voltage_l1")
    assert row.endswith(",12.500,12.50")
