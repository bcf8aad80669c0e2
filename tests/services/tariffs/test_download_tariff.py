from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.domain.tariff_samples import FLAT, decimals, one_season, slots

from meterplex import hookimpl
from meterplex.db import Database
from meterplex.domain.commands import Command, CommandId, CommandKind, CommandState
from meterplex.domain.estate import MeterId, Organisation, OrganisationId
from meterplex.domain.operators import ForbiddenError, Grant, Operator, OperatorId, Right
from meterplex.domain.registers import ACTIVE_ENERGY_IMPORT, ELECTRICITY, WATER, Utility
from meterplex.domain.tariff import TariffVersion
from meterplex.headend import builtin_channels
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import (
    BusTolerance,
    Capability,
    ExchangeSize,
    Link,
    MeterDriver,
    MeterModel,
)
from meterplex.services.estate.files import EstateFile
from meterplex.services.estate.import_estate import import_estate
from meterplex.services.metering.command_arguments import parse_calendar, parse_prices
from meterplex.services.metering.issue_commands import CommandBatch, NobodyCanError
from meterplex.services.tariffs.download_tariff import (
    DownloadError,
    Holding,
    MeterHolding,
    download_tariff,
    find_download,
    holdings,
)
from meterplex.services.tariffs.meter_terms import meter_terms

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
TOU = replace(
    FLAT,
    bands=("peak", "valley"),
    seasons=one_season(*slots(at_0000="valley", at_0600="peak")),
    prices=decimals("0.6170 0.3070"),
)
MODELS = ("tou_meter", "price_meter", "plain_meter", "wet_meter", "gone_meter")

ESTATE = """
[organisation]
name = "H"
currency = "CNY"
language = "en"
[[site]]
code = "east"
name = "East"
time_zone = "Asia/Shanghai"
utilities = ["electricity", "water"]
[[channel]]
site = "east"
code = "b"
url = "tcp://10.0.0.5:502"
""" + "".join(
    f"""
[[meter]]
site = "east"
serial = "{model}"
model = "{model}"
channel = "b"
address = "{address}"
usage_point = "{model}"
"""
    for address, model in enumerate(MODELS, start=1)
)


@dataclass
class Town:
    """Meters of all kinds, one of each, and what is told to them."""

    database: Database
    plugins: PluginManager
    organisation: Organisation

    async def download(
        self,
        *serials: str,
        tariff: TariffVersion = TOU,
        rights: frozenset[Right] = frozenset({Right.SUPPLY_COMMAND}),
        **rest: Any,
    ) -> CommandBatch:
        async with self.database.unit_of_work(read_only=True) as uow:
            meters = [
                meter
                for meter in await uow.meters.all(self.organisation.id)
                if not serials or meter.serial in serials
            ]
        operator = Operator(
            OperatorId(UUID(int=7)),
            self.organisation.id,
            "anna",
            "en",
            AT,
            grants=frozenset(Grant(right) for right in rights),
        )
        return await download_tariff(
            self.database,
            self.plugins,
            self.organisation,
            meters,
            tariff,
            asked_by=operator,
            at=rest.pop("at", AT),
            **rest,
        )

    async def override(self, serial: str, document: dict[str, Any]) -> None:
        async with self.database.unit_of_work() as uow:
            meter = await uow.meters.by_serial(self.organisation.id, serial)
            assert meter is not None
            binding = await uow.bindings.open_of_meter(self.organisation.id, meter.id)
            assert binding is not None
            await uow.bindings.replace(replace(binding, price_override=document))
            await uow.commit()

    async def told(self, batch: CommandBatch) -> list[tuple[str, str, str, str]]:
        """The commands of a batch as they are stored: meter, kind, state, outcome."""
        async with self.database.unit_of_work(read_only=True) as uow:
            commands = await uow.commands.of_batch(self.organisation.id, batch.id)
            meters = {meter.id: meter for meter in await uow.meters.all(self.organisation.id)}
        return sorted(
            (meters[each.meter_id].serial, each.kind, each.state, each.outcome) for each in commands
        )

    async def audited(self) -> list[str]:
        async with self.database.unit_of_work(read_only=True) as uow:
            return [entry.record.action for entry in await uow.audit.entries(self.organisation.id)]


def model(name: str, utility: Utility, *capabilities: Capability) -> MeterModel:
    def no_driver(link: Link, address: str, settings: Mapping[str, str]) -> MeterDriver:
        raise AssertionError

    return MeterModel(
        id=name,
        title=name,
        utility=utility,
        registers=(ACTIVE_ENERGY_IMPORT,),
        bus=BusTolerance("modbus"),
        poll=(ExchangeSize(8, 45),),
        check_address=str,
        driver=no_driver,
        capabilities=frozenset(capabilities),
    )


def plugins_of(*models: MeterModel) -> PluginManager:
    source = ModuleType("models")
    vars(source)["meterplex_meter_models"] = hookimpl(lambda: models)
    return PluginManager.load((builtin_channels, source), ())


@pytest.fixture
async def town(database: Database, estate_file: Callable[[str], EstateFile]) -> Town:
    """The organisation with a meter of each model; the plugin of the last one is gone since."""
    models = (
        model("tou_meter", ELECTRICITY, Capability.PRICES, Capability.CALENDAR),
        model("price_meter", ELECTRICITY, Capability.PRICES),
        model("plain_meter", ELECTRICITY),
        model("wet_meter", WATER, Capability.PRICES),
        model("gone_meter", ELECTRICITY),
    )
    file = estate_file(ESTATE)
    await import_estate(database, plugins_of(*models), file, operator="t", at=AT)
    async with database.unit_of_work(read_only=True) as uow:
        (organisation,) = await uow.organisations.all()
    return Town(database, plugins_of(*models[:-1]), organisation)


async def test_every_meter_gets_prices_and_calendar_or_a_reason(town: Town) -> None:
    batch = await town.download()
    assert await town.told(batch) == [
        ("gone_meter", "write_prices", "failed", "no plugin has the model gone_meter"),
        ("plain_meter", "write_prices", "failed", "plain_meter has no capability prices"),
        ("price_meter", "write_prices", "failed", "price_meter has no capability calendar"),
        ("tou_meter", "write_calendar", "queued", ""),
        ("tou_meter", "write_prices", "queued", ""),
        ("wet_meter", "write_prices", "failed", "measures water, the tariff is for electricity"),
    ]
    terms = meter_terms(TOU)
    prices, calendar = (each for each in batch.commands if each.state is CommandState.QUEUED)
    assert parse_prices(prices.arguments) == terms.prices
    assert parse_calendar(calendar.arguments) == terms.calendar
    assert prices.not_after == AT + timedelta(minutes=10)
    assert (await town.audited())[-1] == "tariff.download"


async def test_one_price_goes_to_meters_without_a_calendar(town: Town) -> None:
    batch = await town.download("price_meter", "tou_meter", tariff=FLAT)
    assert await town.told(batch) == [
        ("price_meter", "write_prices", "queued", ""),
        ("tou_meter", "write_prices", "queued", ""),
    ]


async def test_meter_with_prices_of_its_own_gets_those(town: Town) -> None:
    await town.override("tou_meter", {"energy": {"prices": [["0.5", "0.2"]]}})
    prices, _ = (await town.download("tou_meter")).commands
    assert prices.arguments == {"sharp": "0.2", "peak": "0.5", "flat": "0.2", "valley": "0.2"}


async def test_own_prices_that_do_not_fit_refuse_the_meter(town: Town) -> None:
    await town.override("price_meter", {"energy": {"prices": [["1"], ["2"]]}, "standing": {"x": 1}})
    batch = await town.download("price_meter", "tou_meter", tariff=FLAT)
    assert (await town.told(batch))[0][3].startswith("standing.x: expected a decimal as text")


async def test_calendar_of_another_clock_is_refused(town: Town) -> None:
    with pytest.raises(NobodyCanError, match="its clock is Asia/Shanghai, the tariff's UTC"):
        await town.download("tou_meter", tariff=replace(TOU, time_zone="UTC"))


async def test_tariff_no_meter_can_hold_writes_nothing(town: Town) -> None:
    before = await town.audited()
    with pytest.raises(NobodyCanError, match="'noon' is no rate of a meter"):
        await town.download(
            "tou_meter",
            tariff=replace(TOU, bands=("noon", "peak"), seasons=one_season(*slots(at_0000="noon"))),
        )
    assert await town.audited() == before


async def test_future_tariff_goes_early_only_when_told_so(town: Town) -> None:
    future = replace(TOU, valid_from=date(2026, 3, 2))
    with pytest.raises(DownloadError, match="valid from 2026-03-02"):
        await town.download("tou_meter", tariff=future)
    assert (await town.download("tou_meter", tariff=future, early=True)).commands
    midnight = datetime(2026, 3, 1, 16, tzinfo=UTC)
    assert (await town.download("tou_meter", tariff=future, at=midnight)).commands


@pytest.mark.parametrize(
    ("serials", "tariff", "message"),
    [
        (("tou_meter",), replace(TOU, currency="EUR"), "flat is in EUR, H counts in CNY"),
        (("nobody",), TOU, "there is no meter"),
    ],
    ids=["currency", "no meter"],
)
async def test_download_that_cannot_be_is_refused(
    town: Town, serials: tuple[str, ...], tariff: TariffVersion, message: str
) -> None:
    with pytest.raises(DownloadError, match=message):
        await town.download(*serials, tariff=tariff)


async def test_operator_without_the_right_downloads_nothing(town: Town) -> None:
    with pytest.raises(ForbiddenError):
        await town.download("tou_meter", rights=frozenset({Right.REPORT_READ}))


async def test_dry_run_tells_and_keeps_nothing(town: Town) -> None:
    before = await town.audited()
    batch = await town.download(dry_run=True)
    assert len(batch.commands) == 6
    assert await town.told(batch) == []
    assert await town.audited() == before


async def test_download_is_found_by_its_batch(town: Town) -> None:
    batch = await town.download("tou_meter")
    async with town.database.unit_of_work(read_only=True) as uow:
        assert len(await find_download(uow, town.organisation, batch.id)) == 2
        assert await find_download(uow, town.organisation, uuid4()) == ()


def command(
    kind: CommandKind, state: CommandState, outcome: str = "", sent: bool = True
) -> Command:
    return Command(
        id=CommandId(uuid4()),
        organisation_id=OrganisationId(UUID(int=1)),
        meter_id=MeterId(UUID(int=2)),
        kind=kind,
        asked_by="anna",
        created_at=AT,
        not_after=AT,
        state=state,
        sent_at=AT if sent else None,
        outcome=outcome,
    )


PRICES, CALENDAR = CommandKind.WRITE_PRICES, CommandKind.WRITE_CALENDAR


@pytest.mark.parametrize(
    ("commands", "state", "reason"),
    [
        (
            [command(PRICES, CommandState.CONFIRMED), command(CALENDAR, CommandState.CONFIRMED)],
            Holding.HELD,
            "",
        ),
        (
            [command(PRICES, CommandState.CONFIRMED), command(CALENDAR, CommandState.SENT)],
            Holding.PENDING,
            "write_calendar sent",
        ),
        (
            [command(PRICES, CommandState.UNKNOWN, "no answer")],
            Holding.PENDING,
            "write_prices unknown: no answer",
        ),
        (
            [
                command(PRICES, CommandState.QUEUED),
                command(CALENDAR, CommandState.REFUSED, "2 day tables at most"),
            ],
            Holding.REFUSED,
            "write_calendar refused: 2 day tables at most",
        ),
        (
            [command(PRICES, CommandState.FAILED, "it has no prices", sent=False)],
            Holding.REFUSED,
            "it has no prices",
        ),
        (
            [command(PRICES, CommandState.EXPIRED, "too late", sent=False)],
            Holding.REFUSED,
            "write_prices expired: too late",
        ),
    ],
    ids=["held", "under way", "unknown", "calendar refused", "cannot", "too late"],
)
def test_meter_holds_a_tariff_when_all_of_it_was_read_back(
    commands: list[Command], state: Holding, reason: str
) -> None:
    assert holdings(commands) == (MeterHolding(MeterId(UUID(int=2)), state, reason),)


def test_reasons_beyond_what_anybody_reads_are_counted() -> None:
    commands = [command(PRICES, CommandState.REFUSED, f"fault {n}") for n in range(7)]
    (holding,) = holdings(commands)
    assert holding.reason.endswith("fault 4; and 2 more")
