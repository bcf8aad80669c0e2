from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest
from tests.domain.tariff_samples import used

from meterplex.domain.tariff import Interval, Usage, UsageError

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_intervals_become_columns() -> None:
    usage = Usage.of(
        [
            Interval(NOON, NOON + HOUR, Decimal("1.5"), Decimal("0.25")),
            Interval(NOON + HOUR, NOON + 3 * HOUR, Decimal(2), Decimal(1)),
        ],
        opening_units=Decimal("0.125"),
    )
    assert usage.decimals == 3
    assert usage.steps.tolist() == [1500, 2000]
    assert usage.reactive_steps is not None
    assert usage.reactive_steps.tolist() == [250, 1000]
    assert usage.opening_steps == 125
    assert (usage.ends - usage.starts).tolist() == [3600, 7200]


def test_offsets_do_not_matter() -> None:
    eastern = timezone(timedelta(hours=8))
    here = Usage.of([Interval(NOON, NOON + HOUR, Decimal(1))])
    there = Usage.of([Interval(NOON.astimezone(eastern), NOON + HOUR, Decimal(1))])
    assert here.starts.tolist() == there.starts.tolist()


def row(
    start: datetime = NOON,
    end: datetime = NOON + HOUR,
    units: str = "1",
    reactive: str | None = None,
) -> Interval:
    return Interval(start, end, Decimal(units), None if reactive is None else Decimal(reactive))


LATER = row(NOON + HOUR, NOON + 2 * HOUR)


@pytest.mark.parametrize(
    ("rows", "index", "field", "message"),
    [
        ([row(end=NOON)], 0, "end", "does not end after its start"),
        ([row(), row()], 1, "start", "begins before the end of the one before it"),
        ([LATER, row()], 1, "start", "begins before the end of the one before it"),
        ([row(units="-0.1")], 0, "units", "units are negative"),
        ([row(reactive="-1")], 0, "reactive_units", "reactive units are negative"),
        (
            [row(reactive="1"), LATER],
            1,
            "reactive_units",
            "has no reactive units, others have",
        ),
        ([row(units="NaN")], 0, "units", "NaN is no number"),
        ([row(units="1E9")], 0, "units", "1E+9 has more than 9 digits before the point or 9 after"),
        ([row(units="1E-10")], 0, "units", "1E-10 has more than 9 digits before the point"),
        ([row(reactive="Infinity")], 0, "reactive_units", "Infinity is no number"),
        (
            [row(start=NOON.replace(tzinfo=None))],
            0,
            "start",
            "2026-07-01T12:00:00 has no offset from UTC",
        ),
        (
            [row(end=NOON + timedelta(microseconds=1))],
            0,
            "end",
            "2026-07-01T12:00:00.000001+00:00 is not a whole second",
        ),
        ([row(start=datetime(1969, 1, 1, tzinfo=UTC))], 0, "start", "begins before 1970"),
        ([row(end=datetime(9999, 1, 1, tzinfo=UTC))], 0, "end", "ends after 2199"),
        ([], None, "", "no interval, and no service time to bill"),
    ],
    ids=str,
)
def test_bad_use_is_refused_with_its_place(
    rows: list[Interval], index: int | None, field: str, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        Usage.of(rows)
    assert (raised.value.index, raised.value.field) == (index, field)
    assert raised.value.message.startswith(message)


def test_error_names_the_interval() -> None:
    with pytest.raises(UsageError, match=r"^interval 1: begins before"):
        Usage.of([LATER, row()])


def test_negative_opening_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^opening units are negative$"):
        Usage.of([row()], opening_units=Decimal(-1))


@pytest.mark.parametrize(
    "service",
    [(NOON, NOON), (NOON + HOUR, NOON), (NOON, datetime(2300, 1, 1, tzinfo=UTC))],
    ids=["empty", "backwards", "far"],
)
def test_service_must_be_a_time(service: tuple[datetime, datetime]) -> None:
    with pytest.raises(UsageError, match="is no time between 1970 and 2199"):
        Usage.of([used("2026-07-01", "2026-07-02", "1")], service=service)


def test_columns_are_checked_like_intervals() -> None:
    seconds = np.array([0, 3600])
    with pytest.raises(UsageError, match="interval 1: units are negative"):
        Usage(seconds, seconds + 3600, np.array([1, -1]), decimals=0)
