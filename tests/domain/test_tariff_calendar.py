from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from tests.domain.tariff_samples import EVERY_DAY, FLAT, blocks, decimals, one_season, slots

from meterplex.domain.tariff import DayPlan, DayType, Holidays, Season, Span, TariffVersion
from meterplex.domain.tariff.calendar import TariffCalendar

DAY_NIGHT = replace(
    FLAT,
    bands=("day", "night"),
    seasons=one_season(*slots(at_0000="night", at_0230="day", at_2200="night")),
    prices=decimals("0.5 0.3"),
)


def stretches(tariff: TariffVersion, start: datetime, end: datetime) -> list[tuple[str, str]]:
    """Local start and band of each segment."""
    calendar = TariffCalendar(tariff)
    found = calendar.segments(int(start.timestamp()), int(end.timestamp()))
    return [
        (calendar.local(edge).strftime("%d %H:%M%z"), tariff.bands[band])
        for edge, band in zip(found.edges.tolist(), found.band.tolist(), strict=False)
    ]


def hours(tariff: TariffVersion, start: datetime, end: datetime) -> dict[str, float]:
    calendar = TariffCalendar(tariff)
    found = calendar.segments(int(start.timestamp()), int(end.timestamp()))
    total = dict.fromkeys(tariff.bands, 0.0)
    for (begin, until), band in zip(pairwise(found.edges.tolist()), found.band, strict=True):
        total[tariff.bands[band]] += (until - begin) / 3600
    return total


def local(zone: str, year: int, month: int, day: int, hour: int = 0) -> datetime:
    return datetime(year, month, day, hour, tzinfo=ZoneInfo(zone))


def test_ordinary_day_follows_its_slots() -> None:
    day = local("Asia/Shanghai", 2026, 7, 1), local("Asia/Shanghai", 2026, 7, 2)
    assert stretches(DAY_NIGHT, *day) == [
        ("01 00:00+0800", "night"),
        ("01 02:30+0800", "day"),
        ("01 22:00+0800", "night"),
    ]


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("Europe/Berlin", (2026, 3, 29), {"day": 19.0, "night": 4.0}),
        ("Europe/Berlin", (2026, 10, 25), {"day": 20.0, "night": 5.0}),
        ("Australia/Lord_Howe", (2026, 10, 4), {"day": 19.5, "night": 4.0}),
        ("America/Santiago", (2026, 9, 6), {"day": 19.5, "night": 3.5}),
    ],
    ids=["23 h", "25 h, 02:30 comes twice", "23.5 h", "midnight never was"],
)
def test_days_of_clock_changes_have_the_hours_that_the_wall_clock_showed(
    zone: str, day: tuple[int, int, int], expected: dict[str, float]
) -> None:
    tariff = replace(DAY_NIGHT, time_zone=zone)
    start = local(zone, *day)
    assert hours(tariff, start, local(zone, *day[:2], day[2] + 1)) == expected


def test_hour_that_comes_twice_has_its_bands_twice() -> None:
    tariff = replace(DAY_NIGHT, time_zone="Europe/Berlin")
    day = local("Europe/Berlin", 2026, 10, 25), local("Europe/Berlin", 2026, 10, 26)
    assert stretches(tariff, *day) == [
        ("25 00:00+0200", "night"),
        ("25 02:30+0200", "day"),
        ("25 02:00+0100", "night"),
        ("25 02:30+0100", "day"),
        ("25 22:00+0100", "night"),
    ]


def test_range_that_ends_as_the_clock_changes_has_no_empty_segment() -> None:
    tariff = replace(DAY_NIGHT, time_zone="Europe/Berlin")
    change = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert stretches(tariff, local("Europe/Berlin", 2026, 3, 29), change) == [
        ("29 00:00+0100", "night")
    ]


def test_year_is_tiled_without_gap() -> None:
    start, end = local("Europe/Berlin", 2028, 1, 1), local("Europe/Berlin", 2029, 1, 1)
    tariff = replace(DAY_NIGHT, time_zone="Europe/Berlin")
    found = TariffCalendar(tariff).segments(int(start.timestamp()), int(end.timestamp()))
    assert found.edges[0] == start.timestamp()
    assert found.edges[-1] == end.timestamp()
    assert (found.edges[1:] > found.edges[:-1]).all()
    assert sum(hours(tariff, start, end).values()) == 366 * 24


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2026, 10, 9), DayType.WORKDAY),
        (date(2026, 10, 10), DayType.WORKDAY),
        (date(2026, 10, 11), DayType.SUNDAY),
        (date(2026, 10, 17), DayType.SATURDAY),
        (date(2026, 10, 1), DayType.HOLIDAY),
        (date(2026, 10, 3), DayType.HOLIDAY),
    ],
    ids=["Friday", "Saturday worked", "Sunday", "Saturday", "holiday", "holiday on a Saturday"],
)
def test_day_types(day: date, expected: DayType) -> None:
    # The National Day holiday of 2026 as an example: 1-7 October off, Saturday the 10th worked.
    holidays = Holidays(
        frozenset(date(2026, 10, n) for n in range(1, 8)), frozenset({date(2026, 10, 10)})
    )
    assert holidays.day_type(day) is expected


def test_bands_follow_the_day_type() -> None:
    workdays = DayPlan((DayType.WORKDAY,), slots(at_0000="day"))
    others = DayPlan((DayType.SATURDAY, DayType.SUNDAY, DayType.HOLIDAY), slots(at_0000="night"))
    tariff = replace(
        DAY_NIGHT,
        seasons=(Season("all year", 1, 1, (others, workdays)),),
        holidays=Holidays(frozenset({date(2026, 7, 8)})),
    )
    week = local("Asia/Shanghai", 2026, 7, 6), local("Asia/Shanghai", 2026, 7, 13)
    assert stretches(tariff, *week) == [
        ("06 00:00+0800", "day"),
        ("08 00:00+0800", "night"),
        ("09 00:00+0800", "day"),
        ("11 00:00+0800", "night"),
    ]


SEASONAL = replace(
    DAY_NIGHT,
    seasons=(
        Season("summer", 2, 29, (DayPlan(EVERY_DAY, slots(at_0000="day")),)),
        Season("winter", 11, 1, (DayPlan(EVERY_DAY, slots(at_0000="night")),)),
    ),
)


@pytest.mark.parametrize(
    ("when", "band"),
    [
        ((2026, 1, 15), "night"),
        ((2026, 2, 28), "night"),
        ((2026, 3, 1), "day"),
        ((2028, 2, 29), "day"),
        ((2026, 10, 31), "day"),
        ((2026, 11, 1), "night"),
    ],
    ids=["new year", "eve", "1 March for 29 February", "leap day", "last day", "first day"],
)
def test_season_lasts_until_the_next_and_over_new_year(
    when: tuple[int, int, int], band: str
) -> None:
    start = local("Asia/Shanghai", *when)
    assert hours(SEASONAL, start, start.replace(hour=12))[band] == 12


def test_runs_change_with_prices_and_periods_only() -> None:
    own = replace(
        SEASONAL,
        block_span=Span.YEAR,
        seasons=(
            SEASONAL.seasons[0],
            replace(SEASONAL.seasons[1], blocks=blocks("10"), prices=decimals("1 1", "2 2")),
        ),
    )
    calendar = TariffCalendar(own)
    start, end = local("Asia/Shanghai", 2026, 10, 15), local("Asia/Shanghai", 2027, 1, 2)
    found = calendar.segments(int(start.timestamp()), int(end.timestamp()))
    assert found.run.tolist() == [0, 1, 2, 3]
    assert found.block_period.tolist() == [2026, 2026, 2026, 2027]
    assert [own.blocks_of(season) for season in own.seasons] == [
        calendar.tables[0].blocks,
        calendar.tables[1].blocks,
    ]


@pytest.mark.parametrize(
    ("span", "start"), [(Span.MONTH, (2026, 7, 1)), (Span.YEAR, (2026, 1, 1))], ids=str
)
def test_billing_period_begins_at_local_midnight(span: Span, start: tuple[int, int, int]) -> None:
    calendar = TariffCalendar(replace(FLAT, billing_span=span, time_zone="America/New_York"))
    noon = int(local("America/New_York", 2026, 7, 15, 12).timestamp())
    begin = local("America/New_York", *start)
    assert calendar.billing_start(calendar.billing_period(noon)) == begin.timestamp()
