"""What must hold for any tariff: splitting changes nothing, more use never costs less."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.tariff_cases import random_case, random_tariff
from tests.domain.tariff_samples import FLAT, at, blocks, evenly

from meterplex.domain.tariff import (
    Bill,
    BlockAllocation,
    ChargeLine,
    Demand,
    Interval,
    Rater,
    Span,
    Standing,
    Surcharge,
    TariffVersion,
    Usage,
    charges_since,
)

seeds = st.integers(0, 2**32)


def bills(
    tariff: TariffVersion,
    intervals: list[Interval],
    *,
    opening: Decimal = Decimal(0),
    service: tuple[datetime, datetime] | None = None,
) -> tuple[Bill, ...]:
    usage = Usage.of(intervals, opening_units=opening, service=service)
    return Rater(tariff).rate(usage).bills


def figures(rated: tuple[Bill, ...]) -> list[tuple[object, ...]]:
    """Bills without the spans of their lines: finer intervals tell more closely when it was."""
    return [
        (
            bill.start,
            bill.end,
            bill.total_units,
            bill.payable_minor,
            *(replace(line, start=bill.start, end=bill.end) for line in bill.lines),
        )
        for bill in rated
    ]


def split(random: Random, interval: Interval) -> list[Interval]:
    """The same use told in two intervals, where the units of both are short decimals."""
    seconds = int((interval.end - interval.start).total_seconds())
    parts = random.choice([n for n in (2, 4, 5, 8, 10, 20) if seconds % n == 0] or [1])
    if parts == 1:
        return [interval]
    taken = random.randrange(1, parts)
    middle = interval.start + timedelta(seconds=seconds * taken // parts)
    reactive = interval.reactive_units
    return [
        Interval(
            interval.start,
            middle,
            interval.units * taken / parts,
            None if reactive is None else reactive * taken / parts,
        ),
        Interval(
            middle,
            interval.end,
            interval.units * (parts - taken) / parts,
            None if reactive is None else reactive * (parts - taken) / parts,
        ),
    ]


@settings(max_examples=150, deadline=None)
@given(seeds)
def test_splitting_intervals_changes_nothing(seed: int) -> None:
    random = Random(seed)
    tariff, case = random_tariff(random), random_case(random)
    finer = [part for interval in case.intervals for part in split(random, interval)]
    finer_bills = bills(tariff, finer, opening=case.opening, service=case.service)
    whole_bills = bills(tariff, case.intervals, opening=case.opening, service=case.service)
    assert figures(finer_bills) == figures(whole_bills)


@settings(max_examples=100, deadline=None)
@given(seeds)
def test_splitting_a_period_changes_nothing_without_a_minimum(seed: int) -> None:
    """Charged in steps, each up to the end of an interval, a period costs what its bill says."""
    random = Random(seed)
    tariff = replace(random_tariff(random), minimum=None, billing_span=Span.YEAR)
    case = random_case(random)
    (*_, whole) = bills(tariff, case.intervals)
    rater = Rater(tariff)
    charged: tuple[ChargeLine, ...] = ()
    for edge in [interval.end for interval in case.intervals if interval.end > whole.start]:
        known = [interval for interval in case.intervals if interval.end <= edge]
        usage = Usage.of(known, service=(whole.start, edge))
        charged += charges_since(charged, rater.rate(usage).bills[0])
    usage = Usage.of(case.intervals, service=(whole.start, whole.end))
    charged += charges_since(charged, rater.rate(usage).bills[0])
    closed = Usage.of(case.intervals, service=(whole.start, whole.end))
    assert sum(line.amount_units for line in charged) == rater.rate(closed).total_units


@st.composite
def rising_tariffs(draw: st.DrawFn, bands: int) -> TariffVersion:
    """Non-declining blocks in every band, standing, demand, taxes: no rebate."""
    money = st.integers(0, 9999).map(lambda n: Decimal(n).scaleb(-4))
    limits = sorted(draw(st.sets(st.integers(1, 300), max_size=3)))
    columns = [
        sorted(draw(st.lists(money, min_size=len(limits) + 1, max_size=len(limits) + 1)))
        for _ in range(bands)
    ]
    tariff = random_tariff(Random(draw(seeds)))
    names = tuple(f"band {n}" for n in range(bands))
    plan = tuple(
        replace(slot, band=draw(st.sampled_from(names))) for slot in tariff.seasons[0].days[0].slots
    )
    days = (replace(tariff.seasons[0].days[0], types=FLAT.seasons[0].days[0].types, slots=plan),)
    return replace(
        FLAT,
        bands=names,
        seasons=(replace(FLAT.seasons[0], days=days),),
        blocks=blocks(*(str(limit) for limit in limits)),
        prices=tuple(zip(*columns, strict=True)),
        block_allocation=draw(st.sampled_from(BlockAllocation)),
        standing=(Standing("service", Span.MONTH, draw(money)),),
        demand=(Demand("peak", 30, draw(money)),),
        surcharges=(
            Surcharge("funds", per_unit=draw(money)),
            Surcharge("tax", percent=Decimal(13), applies_to=("energy", "demand", "funds")),
        ),
    )


units = st.integers(0, 80_000).map(lambda n: Decimal(n).scaleb(-3))
profiles = st.lists(units, min_size=1, max_size=8)


@given(rising_tariffs(bands=1), profiles, st.data())
def test_bill_never_falls_as_use_rises(
    tariff: TariffVersion, profile: list[Decimal], data: st.DataObject
) -> None:
    at_index = data.draw(st.integers(0, len(profile) - 1))
    more = [*profile]
    more[at_index] += data.draw(units)
    (before,) = bills(tariff, evenly(at("2026-07-01"), timedelta(hours=7), profile))
    (after,) = bills(tariff, evenly(at("2026-07-01"), timedelta(hours=7), more))
    assert after.total_units >= before.total_units
    assert after.payable_minor >= before.payable_minor


@given(rising_tariffs(bands=3), profiles, units)
def test_bill_never_falls_as_use_goes_on(
    tariff: TariffVersion, profile: list[Decimal], further: Decimal
) -> None:
    tariff = replace(tariff, block_allocation=BlockAllocation.CHRONOLOGICAL)
    (before,) = bills(tariff, evenly(at("2026-07-01"), timedelta(hours=7), profile))
    (after,) = bills(tariff, evenly(at("2026-07-01"), timedelta(hours=7), [*profile, further]))
    assert after.total_units >= before.total_units


@given(rising_tariffs(bands=3), profiles, st.data())
def test_with_several_bands_a_bill_falls_by_no_more_than_rounding(
    tariff: TariffVersion, profile: list[Decimal], data: st.DataObject
) -> None:
    """More use early moves later use of other bands to higher blocks: each of their lines rounds.

    The exact bill never falls; the rounded one by less than a ledger unit for each energy line.
    """
    tariff = replace(tariff, block_allocation=BlockAllocation.CHRONOLOGICAL, surcharges=())
    at_index = data.draw(st.integers(0, len(profile) - 1))
    more = [*profile]
    more[at_index] += data.draw(units)
    (before,) = bills(tariff, evenly(at("2026-07-01"), timedelta(hours=7), profile))
    (after,) = bills(tariff, evenly(at("2026-07-01"), timedelta(hours=7), more))
    energy = {line.identity for bill in (before, after) for line in bill.lines}
    assert after.total_units > before.total_units - len(energy)
