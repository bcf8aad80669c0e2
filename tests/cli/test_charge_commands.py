"""Charging, holds, estimates and tariffs on the terminal, over an estate with one account."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from tests.domain.tariff_samples import FLAT
from uuid_utils.compat import uuid7

from meterplex.db import Database
from meterplex.db.accounts import BindingOpening
from meterplex.domain.account_mode import AccountMode
from meterplex.domain.accounts import Account, Customer, CustomerId
from meterplex.domain.estate import AccountId, Binding, BindingId
from meterplex.domain.readings import Reading
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT
from meterplex.services.tariffs.document import tariff_to_text

Cli = Callable[..., Result]
Answer = Callable[[Result], Any]
Read = Callable[[float, str], None]

NOW = datetime.now(UTC).replace(microsecond=0)
SINCE = NOW - timedelta(days=3)


@pytest.fixture
def tariff_file(tmp_path: Path) -> str:
    path = tmp_path / "flat.json"
    path.write_text(tariff_to_text(FLAT))
    return str(path)


@pytest.fixture
def read(
    estate: Callable[[], None], database_file: Path, cli: Cli, tariff_file: str, answer: Answer
) -> Read:
    """Open an account for meter m1; return a function that stores what it shows after hours."""
    estate()
    answer(cli("tariff", "publish", tariff_file, "--json"))
    url = f"sqlite:///{database_file}"

    async def move_in() -> None:
        async with await Database.open(url) as database, database.unit_of_work() as uow:
            (organisation,) = await uow.organisations.all()
            (site,) = await uow.sites.all(organisation.id)
            meter = await uow.meters.by_serial(organisation.id, "m1")
            assert meter is not None
            before = await uow.bindings.open_of_meter(organisation.id, meter.id)
            assert before is not None
            await uow.bindings.end(organisation.id, before.id, before.since)
            someone = Customer(CustomerId(uuid7()), organisation.id, "C1", "Li")
            account = Account(
                AccountId(uuid7()),
                organisation.id,
                site.id,
                someone.id,
                "A1",
                AccountMode.PREPAID_SERVER,
                "CNY",
                SINCE,
                tariff="flat",
            )
            binding = Binding(
                BindingId(uuid7()),
                organisation.id,
                meter.id,
                before.usage_point_id,
                SINCE,
                account_id=account.id,
                mode=account.mode,
            )
            await uow.customers.add(someone)
            await uow.accounts.add(account)
            await uow.bindings.add(binding)
            await uow.binding_openings.add_all(
                [BindingOpening(organisation.id, binding.id, ACTIVE_ENERGY_IMPORT, Decimal(100))]
            )
            await uow.commit()

    async def store(hours: float, value: str) -> None:
        async with await Database.open(url) as database, database.unit_of_work() as uow:
            (organisation,) = await uow.organisations.all()
            meter = await uow.meters.by_serial(organisation.id, "m1")
            assert meter is not None
            at = SINCE + hours * timedelta(hours=1)
            reading = Reading(meter.id, ACTIVE_ENERGY_IMPORT, at, Decimal(value))
            await uow.readings.store(organisation.id, [reading], received_at=NOW)
            await uow.commit()

    asyncio.run(move_in())
    return lambda hours, value: asyncio.run(store(hours, value))


def test_readings_are_charged_listed_explained_and_replayed(
    read: Read, cli: Cli, answer: Answer
) -> None:
    read(1, "104")
    tried = answer(cli("charge", "run", "--dry-run", "--json"))
    assert (tried["dry_run"], [each["amount"] for each in tried["charges"]]) == (True, ["2.0000"])
    done = answer(cli("charge", "run", "m1", "--json"))
    (charge,) = done["charges"]
    assert answer(cli("charge", "list", "A1", "--json")) == [charge]
    explained = answer(cli("charge", "explain", charge["id"], "--json"))
    assert [each["units"] for each in explained["lines"]] == ["4"]
    assert explained["readings"][0] is None
    assert explained["readings"][1]["quality"] == "good"
    assert explained["tariffs"][0]["code"] == "flat"
    assert explained["entry"]["postings"][0]["credit"] == "revenue:electricity"
    told = cli("charge", "explain", charge["id"])
    assert "energy" in told.stdout
    assert "  receivable:A1/utility -> revenue:electricity: 2.0000" in told.stdout
    again = answer(cli("charge", "replay", charge["id"], "--json"))
    assert (again["booked"], again["same"]) == ("2.0000", True)
    assert "104" in cli("charge", "explain", charge["id"]).stdout
    assert cli("charge", "list", "A1").exit_code == 0


@pytest.mark.parametrize(
    ("decision", "amount"),
    [
        pytest.param(["reject"], "", id="reject"),
        pytest.param(["new-start", "101", "49"], "1.0000", id="new-start"),
    ],
)
def test_held_readings_are_decided(
    read: Read, cli: Cli, answer: Answer, decision: list[str], amount: str
) -> None:
    read(1, "50")
    (held,) = answer(cli("charge", "run", "--site", "east", "--json"))["held"]
    (listed,) = answer(cli("hold", "list", "--json"))
    assert (listed["id"], listed["meter"], listed["reason"]) == (held, "m1", "negative")
    refused = cli("hold", "release", held)
    assert refused.exit_code == 4
    assert "a counter does not fall" in refused.stderr
    name, *values = decision
    done = answer(cli("hold", name, held, *values, "--json"))
    assert [each["amount"] for each in done["charges"]] == ([amount] if amount else [])
    assert answer(cli("hold", "list", "--json")) == []
    assert len(answer(cli("hold", "list", "--all", "--json"))) == 1
    assert held in cli("hold", "list", "--all").stdout


def test_an_estimate_is_charged_at_once(read: Read, cli: Cli, answer: Answer) -> None:
    read(1, "104")
    tried = cli("reading", "estimate", "m1", "120", "--dry-run")
    assert (tried.exit_code, tried.stderr) == (0, "nothing of this was kept\n")
    done = answer(cli("reading", "estimate", "m1", "120", "--reason", "lost", "--json"))
    assert [(each["kind"], each["amount"]) for each in done["charges"]] == [("estimate", "10.0000")]
    assert cli("reading", "estimate", "m1", "90").exit_code == 4


def test_published_tariffs_are_listed_and_shown(
    read: Read, cli: Cli, answer: Answer, tariff_file: str
) -> None:
    (listed,) = answer(cli("tariff", "list", "--json"))
    assert (listed["code"], listed["version"], listed["published_by"]) == ("flat", 1, "anna")
    assert cli("tariff", "publish", tariff_file).stdout == "flat version 1 was published before\n"
    assert json.loads(cli("tariff", "show", "flat").stdout)["id"] == "flat"
    shown = answer(cli("tariff", "show", "flat", "--json"))
    assert shown == listed | {"document": json.loads(cli("tariff", "show", "flat").stdout)}
    assert cli("tariff", "show", "other").exit_code == 3
    changed = json.loads(tariff_to_text(FLAT)) | {"version": 2}
    Path(tariff_file).write_text(json.dumps(changed))
    refused = cli("tariff", "publish", tariff_file)
    assert refused.exit_code == 4
    assert refused.stderr.startswith("error: valid_from: ")


def test_any_bill_can_be_tried(read: Read, cli: Cli, answer: Answer, tmp_path: Path) -> None:
    read(24, "104")
    days = [f"--from={SINCE - timedelta(days=1):%Y-%m-%d}", f"--to={NOW:%Y-%m-%d}"]
    (own,) = answer(cli("tariff", "preview", "--account", "A1", *days, "--json"))
    assert (own["meter"], own["total"]) == ("m1", "2.0000")
    other = tmp_path / "dear.json"
    dear = json.loads(tariff_to_text(FLAT)) | {"energy": {"prices": [["5.0000"]]}}
    other.write_text(json.dumps(dear))
    tried = cli("tariff", "preview", "--account", "A1", *days, "--tariff", str(other))
    assert "20.0000" in tried.stdout
    assert cli("charge", "list", "A1", "--json").stdout.strip() == "[]"
