from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from tests.domain.tariff_samples import FLAT, at, blocks, decimals

from meterplex.db import Database
from meterplex.domain.estate import Binding, BindingId, UsagePoint, UsagePointId
from meterplex.domain.readings import Reading, ReadingQuality
from meterplex.domain.registers import (
    ACTIVE_ENERGY_IMPORT,
    ELECTRICITY,
    REACTIVE_ENERGY_IMPORT,
    WATER,
    RegisterType,
)
from meterplex.domain.tariff import (
    PowerFactor,
    PowerFactorStep,
    Span,
    Standing,
    TariffVersion,
)
from meterplex.services.tariffs.backtest_tariffs import (
    Backtest,
    BacktestError,
    LeftOut,
    PointComparison,
    backtest_tariffs,
)
from meterplex.services.tariffs.backtest_use import NO_READINGS, Gap
from meterplex.simulator.identifiers import IdentifierSource

if TYPE_CHECKING:
    from tests.conftest import Estate

START = datetime(2026, 1, 1, tzinfo=UTC)
JULY = date(2026, 7, 1), date(2026, 8, 1)
DEARER = replace(FLAT, version=2, prices=decimals("0.6000"), valid_from=date(2027, 1, 1))
identifiers = IdentifierSource(Random(3))


class Site:
    """A site whose meters are bound to usage points p1, p2, p3, with readings by hand."""

    def __init__(self, database: Database, estate: "Estate") -> None:
        self.database = database
        self.estate = estate
        self.points: list[UsagePoint] = []

    async def bind(
        self,
        meter: int,
        point: UsagePoint | None = None,
        since: datetime = START,
        until: datetime | None = None,
        ct: str = "1",
    ) -> UsagePoint:
        """Bind a meter to a usage point, a new one by default."""
        organisation_id = self.estate.organisation.id
        async with self.database.unit_of_work() as uow:
            if point is None:
                point = UsagePoint(
                    UsagePointId(identifiers.new(START)),
                    organisation_id,
                    self.estate.site.id,
                    f"p{len(self.points) + 1}",
                    ELECTRICITY,
                )
                await uow.usage_points.add(point)
                self.points.append(point)
            await uow.bindings.add(
                Binding(
                    BindingId(identifiers.new(START)),
                    organisation_id,
                    self.estate.meters[meter].id,
                    point.id,
                    since,
                    until,
                    Decimal(ct),
                )
            )
            await uow.commit()
        return point

    async def read(
        self,
        meter: int,
        *values: tuple[str, str],
        register: RegisterType = ACTIVE_ENERGY_IMPORT,
        quality: ReadingQuality = ReadingQuality.GOOD,
    ) -> None:
        """Store readings as (local time, value)."""
        meter_id = self.estate.meters[meter].id
        async with self.database.unit_of_work() as uow:
            await uow.readings.store(
                self.estate.organisation.id,
                [
                    Reading(
                        meter_id,
                        register,
                        at(time).astimezone(UTC),
                        Decimal(value),
                        quality,
                        reason="" if quality is ReadingQuality.GOOD else "flagged",
                    )
                    for time, value in values
                ],
                received_at=START,
            )
            await uow.commit()

    async def compare(
        self, old: TariffVersion = FLAT, new: TariffVersion = DEARER, **rest: Any
    ) -> Backtest:
        async with self.database.unit_of_work(read_only=True) as uow:
            return await backtest_tariffs(
                uow,
                self.estate.organisation.id,
                self.points,
                old,
                new,
                rest.pop("days", JULY),
                "Asia/Shanghai",
                **rest,
            )

    async def only_point(
        self, old: TariffVersion = FLAT, new: TariffVersion = DEARER
    ) -> PointComparison:
        result = await self.compare(old, new)
        assert not result.left_out
        (point,) = result.points
        return point


@pytest.fixture
def site(database: Database, estate: "Estate") -> Site:
    """A site without usage points."""
    return Site(database, estate)


async def test_use_is_rated_with_both_tariffs_and_sorted_into_winners_and_losers(
    site: Site,
) -> None:
    for meter, units in enumerate(("10", "0", "30")):
        await site.bind(meter)
        await site.read(meter, ("2026-07-01", "100"), ("2026-08-01", f"{100 + int(units)}"))
    old = replace(FLAT, standing=(Standing("rent", Span.MONTH, Decimal(2)),))
    told: list[tuple[int, int]] = []
    result = await site.compare(old, on_progress=lambda *done: told.append(done))
    assert [
        (point.usage_point, point.units, point.old_units, point.new_units, point.gaps)
        for point in result.points
    ] == [
        ("p1", Fraction(10), 70_000, 60_000, ()),
        ("p2", Fraction(0), 20_000, 0, ()),
        ("p3", Fraction(30), 170_000, 180_000, ()),
    ]
    assert (result.winners, result.losers, result.unchanged) == (2, 1, 0)
    assert result.median_difference == -10_000
    assert told == [(3, 3)]


async def test_same_tariff_changes_nothing_and_median_of_two_is_their_mean(site: Site) -> None:
    for meter, units in enumerate(("10", "15")):
        await site.bind(meter)
        await site.read(meter, ("2026-07-01", "0"), ("2026-08-01", units))
    assert (await site.compare(new=FLAT)).unchanged == 2
    assert (await site.compare()).median_difference == 12_500
    assert (await site.compare(days=(date(2027, 1, 1), date(2027, 2, 1)))).median_difference == 0


async def test_ratio_of_the_binding_is_applied(site: Site) -> None:
    await site.bind(0, ct="40")
    await site.read(0, ("2026-07-01", "1"), ("2026-08-01", "1.5"))
    assert (await site.only_point()).units == 20


async def test_interval_over_the_edge_is_cut_there(site: Site) -> None:
    await site.bind(0)
    await site.read(0, ("2026-06-30 12:00", "0"), ("2026-07-01 12:00", "24"))
    await site.read(0, ("2026-07-31 12:00", "54"), ("2026-08-01 12:00", "78"))
    point = await site.only_point()
    assert (point.units, point.gaps) == (Fraction(12 + 30 + 12), ())


async def test_use_before_the_time_moves_the_block_counter(site: Site) -> None:
    await site.bind(0)
    await site.read(
        0,
        ("2026-01-01 08:00", "0"),
        ("2026-07-01", "90"),
        ("2026-07-16", "100"),
        ("2026-08-01", "110"),
    )
    new = replace(DEARER, block_span=Span.YEAR, blocks=blocks("100"), prices=decimals("0.5", "1.0"))
    point = await site.only_point(new=new)
    assert (point.old_units, point.new_units) == (100_000, 150_000)


async def test_swapped_meter_goes_on_where_the_other_ended(site: Site) -> None:
    swap = at("2026-07-10").astimezone(UTC)
    point = await site.bind(0, until=swap)
    await site.bind(1, point, since=swap)
    await site.read(0, ("2026-07-01", "500"), ("2026-07-10", "509"), ("2026-07-20", "900"))
    await site.read(1, ("2026-07-10", "3"), ("2026-08-01", "25"))
    compared = await site.only_point()
    assert (compared.units, compared.gaps) == (Fraction(9 + 22), ())


async def test_time_without_readings_at_the_edges_is_named(site: Site) -> None:
    await site.bind(0)
    await site.read(0, ("2026-07-05", "0"), ("2026-07-25", "20"))
    point = await site.only_point()
    assert point.units == 20
    assert point.gaps == (
        Gap(at("2026-07-01"), at("2026-07-05"), NO_READINGS),
        Gap(at("2026-07-25"), at("2026-08-01"), NO_READINGS),
    )


async def test_counter_that_fell_or_jumped_is_left_out_and_named(site: Site) -> None:
    await site.bind(0)
    await site.read(
        0,
        ("2026-07-01", "100"),
        ("2026-07-02", "110"),
        ("2026-07-03", "5"),
        ("2026-07-04", "9"),
        ("2026-07-05", "900000"),
        ("2026-08-01", "900001"),
    )
    point = await site.only_point()
    assert point.units == 10 + 4 + 1
    assert [(gap.start, gap.end) for gap in point.gaps] == [
        (at("2026-07-02"), at("2026-07-03")),
        (at("2026-07-04"), at("2026-07-05")),
    ]
    assert point.gaps[0].reason == "fell from 110 to 5"
    assert point.gaps[1].reason.startswith("rose by 899991 in 1 day")


async def test_fall_across_the_edge_is_named_up_to_it(site: Site) -> None:
    await site.bind(0)
    await site.read(0, ("2026-06-30 12:00", "9"), ("2026-07-02", "1"), ("2026-08-01", "5"))
    (gap,) = (await site.only_point()).gaps
    assert (gap.start, gap.end) == (at("2026-07-01"), at("2026-07-02"))
    assert gap.reason == "fell from 9 to 1"


async def test_counter_that_rolled_over_goes_on(site: Site) -> None:
    await site.bind(0)
    await site.read(0, ("2026-07-01", "99990"), ("2026-07-20", "5"), ("2026-08-01", "25"))
    point = await site.only_point()
    assert (point.units, point.gaps) == (Fraction(35), ())


async def test_use_of_a_quarter_between_two_readings_is_spread_evenly(site: Site) -> None:
    await site.bind(0)
    await site.read(0, ("2026-06-29", "0"), ("2026-09-27", "90"))
    point = await site.only_point()
    assert (point.units, point.gaps) == (Fraction(31), ())


async def test_suspect_reading_is_passed_over(site: Site) -> None:
    await site.bind(0)
    await site.read(0, ("2026-07-01", "0"), ("2026-08-01", "31"))
    await site.read(0, ("2026-07-15", "30"), quality=ReadingQuality.SUSPECT)
    point = await site.only_point()
    assert (point.units, point.gaps) == (Fraction(31), ())


async def test_readings_of_one_second_are_one(site: Site) -> None:
    await site.bind(0)
    await site.read(
        0,
        ("2026-07-01", "0"),
        ("2026-07-10 00:00:00.1", "9"),
        ("2026-07-10 00:00:00.9", "10"),
        ("2026-08-01", "31"),
    )
    assert (await site.only_point()).units == 31


async def test_point_without_two_readings_or_a_meter_is_left_out_with_the_reason(
    site: Site,
) -> None:
    await site.bind(0)
    await site.bind(1, since=datetime(2026, 9, 1, tzinfo=UTC))
    await site.bind(2)
    await site.read(0, ("2026-07-10", "5"))
    await site.read(2, ("2026-06-30", "5"), ("2026-08-01", "4"))
    result = await site.compare()
    assert result.points == ()
    assert result.left_out == (
        LeftOut("p1", NO_READINGS),
        LeftOut("p2", "no meter in this time"),
        LeftOut("p3", "fell from 5 to 4"),
    )


async def test_use_beyond_all_bounds_is_left_out(site: Site) -> None:
    await site.bind(0, ct="100000000")
    await site.read(0, ("2026-07-01", "0"), ("2026-08-01", "31"))
    (left,) = (await site.compare()).left_out
    assert "more than 9 digits" in left.reason


async def test_power_factor_is_rated_where_it_was_measured(site: Site) -> None:
    rule = PowerFactor(
        Decimal("0.90"),
        ("energy",),
        (PowerFactorStep(Decimal(1), Decimal("0.01"), below=Decimal("0.90")),),
    )
    new = replace(FLAT, version=2, power_factor=rule)
    for meter in range(2):
        await site.bind(meter)
        await site.read(meter, ("2026-07-01", "0"), ("2026-07-10", "4"), ("2026-08-01", "10"))
        times = ("2026-07-01", "2026-07-10", "2026-08-01")[: 3 - meter]
        values = zip(times, ("0", "4", "10"), strict=False)
        await site.read(meter, *values, register=REACTIVE_ENERGY_IMPORT)
    measured, unmeasured = (await site.compare(new=new)).points
    assert (measured.new_units, measured.reactive_missing) == (50_000 + 9_500, False)
    assert (unmeasured.new_units, unmeasured.reactive_missing) == (50_000, True)


async def test_points_of_another_utility_are_not_looked_at(site: Site) -> None:
    await site.bind(0)
    result = await site.compare(replace(FLAT, utility=WATER), replace(DEARER, utility=WATER))
    assert (result.points, result.left_out) == ((), ())


@pytest.mark.parametrize(
    ("changes", "days", "message"),
    [
        ({"currency": "EUR"}, JULY, "currency: flat has CNY, flat has EUR"),
        ({"utility": WATER}, JULY, "utility: flat has electricity, flat has water"),
        ({}, JULY[::-1], "from 2026-08-01 to 2026-07-01: expected a later day"),
    ],
    ids=["currency", "utility", "days"],
)
async def test_what_cannot_be_compared_is_refused(
    site: Site, changes: dict[str, Any], days: tuple[date, date], message: str
) -> None:
    with pytest.raises(BacktestError, match=message):
        await site.compare(new=replace(DEARER, **changes), days=days)


async def test_long_service_is_billed_month_by_month(site: Site) -> None:
    await site.bind(0)
    await site.read(0, ("2026-07-01", "0"), ("2026-09-01", "62"))
    rent = replace(FLAT, standing=(Standing("rent", Span.MONTH, Decimal(2)),))
    result = await site.compare(FLAT, rent, days=(JULY[0], JULY[1] + timedelta(days=31)))
    assert [point.difference_units for point in result.points] == [40_000]
