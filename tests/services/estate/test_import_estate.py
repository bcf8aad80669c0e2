import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterplex.db import Database
from meterplex.domain.estate import LinkState, Organisation, ReadingWindow
from meterplex.plugin_manager import PluginManager
from meterplex.services.estate.draft import TableCount
from meterplex.services.estate.files import EstateFile
from meterplex.services.estate.import_estate import EstateRefusedError, ImportReport, import_estate

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
LATER = AT + timedelta(days=1)

HEAD = """
[organisation]
name = "Harbour Property Group"
currency = "CNY"
language = "zh"

[[site]]
code = "east"
name = "East Street Mall"
time_zone = "Asia/Shanghai"
utilities = ["electricity", "water"]
reading_interval = "15m"

[[building]]
site = "east"
code = "B1"
name = "Lower floor"

[[unit]]
site = "east"
building = "B1"
code = "B1-012"
floor = "1"
area_m2 = "86.5"

[[gateway]]
site = "east"
code = "gw-1"
dialect = "tcp"

[[channel]]
site = "east"
code = "bus-3"
url = "tcp://10.0.0.5:502?framing=rtu"
gateway = "gw-1"
reading_window = "06:00-24:00"
"""


def meter(
    serial: str = "1001",
    address: str = "7",
    more: str = "",
    model: str = "power_meter",
    channel: str = "bus-3",
) -> str:
    return f"""
[[meter]]
site = "east"
serial = "{serial}"
model = "{model}"
channel = "{channel}"
address = "{address}"
{more}
"""


MAIN = meter("1000", "1", 'usage_point = "B1/main"\nct = 40\npt = 1')
SUB = meter(
    "1001", "7", 'usage_point = "B1-012/power"\nunit = "B1-012"\nparent_usage_point = "B1/main"'
)


Importer = Callable[..., Awaitable[ImportReport]]
Refuser = Callable[[str], Awaitable[list[str]]]
Look = Callable[[], Awaitable[tuple[Organisation, dict[str, tuple[Any, ...]]]]]


@pytest.fixture
def take_in(
    database: Database, plugins: PluginManager, estate_file: Callable[[str], EstateFile]
) -> Importer:
    """Import a text and return the report."""

    async def take(text: str, at: datetime = AT, **more: Any) -> ImportReport:
        return await import_estate(
            database, plugins, estate_file(text), operator="installer", at=at, **more
        )

    return take


@pytest.fixture
async def sqlite(sqlite_template: Path, tmp_path: Path) -> AsyncIterator[Database]:
    """An open database of the one kind, for what does not depend on the kind."""
    file = shutil.copy(sqlite_template, tmp_path / "estate.db")
    async with await Database.open(f"sqlite:///{file}") as database:
        yield database


@pytest.fixture
def refuse(take_in: Importer) -> Refuser:
    """Import a text that is refused and return its problems, without those of the row."""

    async def take(text: str) -> list[str]:
        with pytest.raises(EstateRefusedError) as caught:
            await take_in(text)
        return [str(problem) for problem in caught.value.problems]

    return take


@pytest.fixture
def look(database: Database) -> Look:
    """Return the whole estate of the one organisation by repository."""

    async def at_estate() -> tuple[Organisation, dict[str, tuple[Any, ...]]]:
        async with database.unit_of_work(read_only=True) as uow:
            (organisation,) = await uow.organisations.all()
            names = ("sites", "units", "gateways", "channels", "meters", "usage_points")
            found = {name: await getattr(uow, name).all(organisation.id) for name in names}
            found["bindings"] = await uow.bindings.all(organisation.id)
            found["audit"] = await uow.audit.entries(organisation.id)
            return organisation, found

    return at_estate


async def test_whole_estate_is_ready_to_read(take_in: Importer, look: Look) -> None:
    report = await take_in(HEAD + MAIN + SUB)
    organisation, found = await look()
    (site,), (unit,), (gateway,), (channel,) = (
        found[name] for name in ("sites", "units", "gateways", "channels")
    )
    main, sub = found["meters"]
    points = {point.code: point for point in found["usage_points"]}
    bindings = {binding.meter_id: binding for binding in found["bindings"]}

    assert (organisation.currency, organisation.language) == ("CNY", "zh")
    assert site.utilities == {"electricity", "water"}
    assert site.reading_interval == timedelta(minutes=15)
    assert unit.area_m2 == Decimal("86.5")
    assert (channel.gateway_id, channel.url) == (gateway.id, "tcp://10.0.0.5:502?framing=rtu")
    assert (channel.window.start.hour, channel.window.end.hour) == (6, 0)
    assert (sub.channel_id, sub.address, sub.model) == (channel.id, "7", "power_meter")
    assert points["B1-012/power"].parent_id == points["B1/main"].id
    assert points["B1-012/power"].unit_id == unit.id
    assert (bindings[main.id].ct, bindings[main.id].since) == (Decimal(40), AT)
    assert bindings[sub.id].usage_point_id == points["B1-012/power"].id
    assert report.tables["meter"] == TableCount(added=2)
    assert report.warnings == ()


async def test_same_file_again_changes_nothing(take_in: Importer, look: Look) -> None:
    await take_in(HEAD + MAIN + SUB)
    before = await look()
    report = await take_in(HEAD + MAIN + SUB, LATER)
    assert report.changes == 0
    assert report.tables["meter"] == TableCount(unchanged=2)
    assert await look() == before


async def test_changed_file_updates_and_leaves_the_rest(take_in: Importer, look: Look) -> None:
    await take_in(HEAD + MAIN + SUB)
    report = await take_in(HEAD.replace("06:00-24:00", "00:00-24:00") + meter("1001", "8"), LATER)
    _, found = await look()
    assert found["channels"][0].window == ReadingWindow()
    assert [m.address for m in found["meters"]] == ["1", "8"]
    assert len(found["bindings"]) == 2
    assert (report.tables["channel"].updated, report.tables["meter"].updated) == (1, 1)


async def test_import_leaves_one_audit_entry(take_in: Importer, look: Look) -> None:
    await take_in(HEAD + MAIN)
    await take_in(HEAD + MAIN)
    await take_in(HEAD + MAIN + SUB, LATER)
    _, found = await look()
    records = [entry.record for entry in found["audit"]]
    assert [record.at for record in records] == [AT, LATER]
    assert {(record.operator, record.action) for record in records} == {
        ("installer", "estate.import")
    }
    assert records[1].detail["meter"] == "1 added, 0 updated"


async def test_dry_run_counts_and_writes_nothing(database: Database, take_in: Importer) -> None:
    report = await take_in(HEAD + MAIN, dry_run=True)
    assert (report.dry_run, report.tables["meter"].added) == (True, 1)
    async with database.unit_of_work(read_only=True) as uow:
        assert await uow.organisations.all() == ()


async def test_changed_ratio_begins_a_new_binding(take_in: Importer, look: Look) -> None:
    await take_in(HEAD + MAIN)
    await take_in(HEAD + MAIN.replace("ct = 40", "ct = 60"), LATER)
    _, found = await look()
    assert [(b.ct, b.since, b.until) for b in found["bindings"]] == [
        (Decimal(40), AT, LATER),
        (Decimal(60), LATER, None),
    ]


async def test_meters_may_swap_their_addresses_and_usage_points(
    take_in: Importer, look: Look
) -> None:
    await take_in(
        HEAD + meter("a", "1", 'usage_point = "x"') + meter("b", "2", 'usage_point = "y"')
    )
    await take_in(
        HEAD + meter("a", "2", 'usage_point = "y"') + meter("b", "1", 'usage_point = "x"'), LATER
    )
    _, found = await look()
    assert [(m.serial, m.address, m.removed_at) for m in found["meters"]] == [
        ("a", "2", None),
        ("b", "1", None),
    ]
    assert len([b for b in found["bindings"] if b.until is None]) == 2


async def test_link_state_survives_an_import(
    database: Database, take_in: Importer, look: Look
) -> None:
    await take_in(HEAD + MAIN)
    organisation, found = await look()
    async with database.unit_of_work() as uow:
        for name in ("gateways", "channels", "meters"):
            (thing,) = found[name]
            repository = getattr(uow, name)
            await repository.set_state(organisation.id, thing.id, LinkState.REACHED, since=AT)
        await uow.commit()
    await take_in(HEAD.replace("framing=rtu", "framing=tcp") + MAIN.replace('"1"', '"3"'), LATER)
    _, found = await look()
    for name in ("gateways", "channels", "meters"):
        assert [thing.state for thing in found[name]] == [LinkState.REACHED]


async def test_removed_meter_comes_back_by_its_row(
    database: Database, take_in: Importer, look: Look
) -> None:
    await take_in(HEAD + MAIN)
    _, found = await look()
    async with database.unit_of_work() as uow:
        await uow.meters.replace(replace(found["meters"][0], removed_at=AT))
        await uow.commit()
    report = await take_in(HEAD + MAIN, LATER)
    _, found = await look()
    assert report.tables["meter"] == TableCount(updated=1)
    assert [m.serial for m in found["meters"]] == ["1000"]


async def test_file_without_organisation_belongs_to_the_only_one(
    take_in: Importer, look: Look
) -> None:
    await take_in(HEAD)
    tables_only = SUB.replace('parent_usage_point = "B1/main"', "")
    assert (await take_in(tables_only, LATER)).organisation == "Harbour Property Group"
    assert len((await look())[1]["meters"]) == 1


async def test_parent_without_meter_is_made_with_a_warning(take_in: Importer, look: Look) -> None:
    report = await take_in(HEAD + SUB)
    assert [str(warning) for warning in report.warnings] == [
        "meter row 1 (line 38), parent_usage_point: 'B1/main' is new and has no meter yet"
    ]
    assert {point.code for point in (await look())[1]["usage_points"]} == {
        "B1/main",
        "B1-012/power",
    }


async def test_two_kinds_of_device_on_a_bus_are_a_warning(take_in: Importer) -> None:
    water = meter("w", "9", model="water_meter")
    report = await take_in(HEAD + MAIN + water)
    assert [w.reason for w in report.warnings] == [
        "'bus-3': devices of 2 protocols on one bus: cjt188, modbus"
    ]


def full_bus(count: int) -> str:
    return "".join(meter(f"s{n}", str(n)) for n in range(1, count + 1))


async def test_33rd_device_on_a_bus_is_refused(refuse: Refuser) -> None:
    assert await refuse(HEAD + full_bus(33)) == [
        "meter row 33 (line 294), channel: 'bus-3': 33 devices on one bus, it carries 32"
    ]


async def test_bus_made_for_more_devices_takes_them(take_in: Importer) -> None:
    head = HEAD.replace('gateway = "gw-1"\n', 'gateway = "gw-1"\ndevices_max = 64\n')
    assert (await take_in(head + full_bus(33))).tables["meter"].added == 33


async def test_standing_meters_count_on_the_bus(take_in: Importer, refuse: Refuser) -> None:
    await take_in(HEAD + full_bus(32))
    problems = await refuse(HEAD + meter("s99", "99"))
    assert problems == [
        "meter row 1 (line 38), channel: 'bus-3': 33 devices on one bus, it carries 32"
    ]


async def test_gateway_that_dials_in_is_found_by_its_registration(
    take_in: Importer, look: Look
) -> None:
    head = HEAD.replace('dialect = "tcp"', 'dialect = "dtu"\nregistration = "LOGIN:1001"')
    head = head.replace("tcp://10.0.0.5:502?framing=rtu", "dtu://LOGIN:1001")
    head = head.replace('gateway = "gw-1"\n', "")
    report = await take_in(head + MAIN)
    _, found = await look()
    assert found["channels"][0].gateway_id == found["gateways"][0].id
    assert [w.reason for w in report.warnings] == [
        "no listener for dtu:// is installed, its meters stay unread"
    ]


async def test_standing_holder_of_an_address_is_named(take_in: Importer, refuse: Refuser) -> None:
    await take_in(HEAD + MAIN)
    assert await refuse(HEAD + meter("2000", "1")) == [
        "meter row 1 (line 38), address: 1 on channel 'bus-3' is the address of meter '1000'"
    ]


async def test_standing_holder_of_a_usage_point_is_named(
    take_in: Importer, refuse: Refuser
) -> None:
    await take_in(HEAD + MAIN)
    assert await refuse(HEAD + meter("2000", "9", 'usage_point = "B1/main"')) == [
        "meter row 1 (line 38), usage_point: 'B1/main' is measured by meter '1000'"
    ]


async def test_second_organisation_is_a_warning(take_in: Importer) -> None:
    await take_in(HEAD)
    report = await take_in(HEAD.replace("Harbour Property Group", "Harbor Property Group"))
    assert [str(warning) for warning in report.warnings] == [
        "organisation row 1 (line 2), name: 'Harbor Property Group' is new here, "
        "beside 'Harbour Property Group'"
    ]


async def test_currency_of_a_standing_organisation_stays(
    take_in: Importer, refuse: Refuser
) -> None:
    await take_in(HEAD)
    assert await refuse(HEAD.replace("CNY", "EUR")) == [
        "organisation row 1 (line 2), currency: is 'CNY', an import does not change it"
    ]


def without(line: str) -> str:
    return HEAD.replace(line, "")


RING = meter("a", "1", 'usage_point = "x"\nparent_usage_point = "y"') + meter(
    "b", "2", 'usage_point = "y"\nparent_usage_point = "x"'
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            HEAD + meter(model="power_metre"),
            "model: no plugin has the model 'power_metre', did you mean 'power_meter'?",
            id="unknown model",
        ),
        pytest.param(
            HEAD + meter(address="248"),
            "address: address '248': expected a number within 1..247",
            id="address out of range",
        ),
        pytest.param(
            HEAD + meter() + meter("1002"),
            "address: 7 on channel 'bus-3' is the address of meter '1001'",
            id="address twice on a bus",
        ),
        pytest.param(
            HEAD + meter() + meter("1002", "07"),
            "address: 7 on channel 'bus-3' is the address of meter '1001'",
            id="address twice in two forms",
        ),
        pytest.param(
            HEAD + meter() + meter(address="8"),
            "serial: '1001' is also that of row 1",
            id="serial twice",
        ),
        pytest.param(
            HEAD + meter(channel="bus-4"),
            "channel: unknown channel 'bus-4', did you mean 'bus-3'?",
            id="unknown channel",
        ),
        pytest.param(HEAD + meter(more="ct = 0"), "ct: 0 is not above 0", id="ct of zero"),
        pytest.param(HEAD + meter(more='pt = "-1"'), "pt: -1 is not above 0", id="negative pt"),
        pytest.param(
            HEAD + meter(more='ct = "ten"'), "ct: 'ten' is not a decimal number", id="ct in words"
        ),
        pytest.param(
            HEAD + meter(more="ct = 5"),
            "ct: ct and pt need a usage_point to apply to",
            id="ct without usage point",
        ),
        pytest.param(
            HEAD + meter(more='unit = "B1-012"'),
            "unit: needs a usage_point beside it",
            id="unit without usage point",
        ),
        pytest.param(
            HEAD + meter(more='usage_point = "x"\nunit = "B1-112"'),
            "unit: unknown unit 'B1-112', did you mean 'B1-012'?",
            id="unknown unit",
        ),
        pytest.param(
            HEAD + meter("a", "1", 'usage_point = "x"') + meter("b", "2", 'usage_point = "x"'),
            "usage_point: 'x' is also that of row 1",
            id="usage point twice",
        ),
        pytest.param(
            HEAD
            + meter("a", "1", 'usage_point = "x"')
            + meter("b", "2", 'usage_point = "x"', "water_meter"),
            "usage_point: 'x' is for electricity, not water",
            id="two utilities",
        ),
        pytest.param(HEAD + RING, "parent_usage_point: goes in a ring: y > x > y", id="ring"),
        pytest.param(
            HEAD + meter(more='settings = { pasword = "1" }'),
            "settings: model power_meter: unknown setting 'pasword'; did you mean 'password'?",
            id="unknown setting",
        ),
        pytest.param(
            HEAD + meter(more='settings = { phase = "2" }'),
            "is '2', expected one of 1, 3",
            id="setting outside its choices",
        ),
        pytest.param(
            HEAD + meter(more='readin_interval = "1h"'),
            "readin_interval: unknown column, did you mean 'reading_interval'?",
            id="unknown column",
        ),
        pytest.param(
            HEAD + meter(more='reading_interval = "often"'),
            "reading_interval: 'often': expected a time such as 30m, 90s or 1h30m",
            id="interval in words",
        ),
        pytest.param(
            HEAD.replace('["electricity", "water"]', '["water"]') + meter(),
            "model: electricity is not enabled at site 'east'",
            id="utility not enabled",
        ),
        pytest.param(
            HEAD.replace('"water"]', '"watter"]'),
            "utilities: unknown utility 'watter', did you mean 'water'?",
            id="unknown utility",
        ),
        pytest.param(
            HEAD.replace("Asia/Shanghai", "Asia/Shangai"),
            "time_zone: unknown time zone 'Asia/Shangai', did you mean 'Asia/Shanghai'?",
            id="unknown time zone",
        ),
        pytest.param(
            HEAD.replace("tcp://10.0.0.5:502?framing=rtu", "10.0.0.5:502"),
            "url: channel URL '10.0.0.5:502': expected scheme://..., for example "
            "tcp://10.0.0.5:502",
            id="malformed URL",
        ),
        pytest.param(
            HEAD.replace("framing=rtu", "framing=ascii"),
            "is 'ascii', expected one of rtu, tcp",
            id="URL with a wrong setting",
        ),
        pytest.param(
            HEAD.replace("tcp://10.0.0.5:502", "tpc://10.0.0.5:502"),
            "url: unknown kind of channel 'tpc', did you mean 'tcp'?",
            id="unknown kind of channel",
        ),
        pytest.param(
            without('gateway = "gw-1"\n').replace("tcp://10.0.0.5:502?framing=rtu", "dtu://7"),
            "url: no gateway registers as '7', there is none",
            id="unknown registration",
        ),
        pytest.param(
            HEAD.replace('dialect = "tcp"', 'dialect = "dtu"'),
            "registration: is missing: by it a gateway that dials in is known",
            id="no registration",
        ),
        pytest.param(
            HEAD.replace('dialect = "tcp"', 'dialect = "dut"\nregistration = "1"'),
            "dialect: 'dut' is unknown, did you mean 'dtu'?",
            id="unknown dialect",
        ),
        pytest.param(
            HEAD.replace("06:00-24:00", "6-24"),
            "reading_window: '6-24': expected a window such as 00:00-24:00",
            id="window",
        ),
        pytest.param(
            HEAD + '[[channel]]\nsite = "east"\ncode = "bus-4"\nurl = "tcp://10.0.0.5:502"',
            "url: the line is that of channel 'bus-3'",
            id="line twice",
        ),
        pytest.param(
            HEAD + '[[building]]\nsite = "east"\ncode = "B1"\nname = "again"',
            "code: 'B1' is also that of row 1",
            id="code twice",
        ),
        pytest.param(
            HEAD + '[[building]]\nsite = "west"\ncode = "B1"\nname = "x"',
            "site: unknown site 'west', did you mean 'east'?",
            id="unknown site",
        ),
        pytest.param(
            HEAD + '[[building]]\nsite = "east"\ncode = "B2"', "name: is missing", id="missing cell"
        ),
        pytest.param(
            HEAD + '[[metre]]\nsite = "east"',
            "unknown table 'metre', did you mean 'meter'?",
            id="unknown table",
        ),
        pytest.param(
            without('area_m2 = "86.5"').replace('floor = "1"', 'area_m2 = "0"'),
            "area_m2: 0 is not above 0",
            id="area",
        ),
        pytest.param(
            HEAD.replace('"CNY"', '"yuan"'),
            "currency: 'yuan' is no currency code such as CNY",
            id="currency",
        ),
        pytest.param(
            HEAD.replace('"zh"', '"fr"'), "language: 'fr' is unknown; known: en, zh", id="language"
        ),
        pytest.param(
            HEAD.replace('gateway = "gw-1"\n', "devices_max = 300\n"),
            "devices_max: '300': expected a whole number from 1 to 247",
            id="devices_max",
        ),
        pytest.param(
            HEAD + "[[account]]\nsite = 'east'\nnumber = '1'\ncustomer = 'c'\n"
            "mode = 'prepayd'\ntariff = 't'\nusage_points = ['nowhere']\nalarm_1 = '-1'",
            "mode: 'prepayd' is unknown",
            id="account",
        ),
        pytest.param(meter(), "organisation: is missing, there is none", id="no organisation"),
    ],
)
async def test_bad_row_is_named_with_its_reason(
    sqlite: Database,
    plugins: PluginManager,
    estate_file: Callable[[str], EstateFile],
    text: str,
    problem: str,
) -> None:
    with pytest.raises(EstateRefusedError) as caught:
        await import_estate(sqlite, plugins, estate_file(text), operator="installer", at=AT)
    problems = [str(found) for found in caught.value.problems]
    assert any(problem in found for found in problems), problems
    async with sqlite.unit_of_work(read_only=True) as uow:
        assert await uow.organisations.all() == ()


async def test_every_problem_of_a_file_is_told_in_its_order(refuse: Refuser) -> None:
    text = HEAD.replace("Asia/Shanghai", "Mars/Base") + meter(address="0") + meter("2", model="x")
    problems = await refuse(text)
    assert [problem.partition(":")[0] for problem in problems] == [
        "site row 1 (line 7), time_zone",
        "meter row 1 (line 38), address",
        "meter row 2 (line 46), model",
    ]
