"""Local days as times: the changes of the clock, found to the minute."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from tests.conftest import make_estate

from meterplex.services.reports.scope import ReportDays, ReportScope, offsets

HOUR = timedelta(hours=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        pytest.param("Asia/Shanghai", [("2026-01-01", 8 * HOUR)], id="none"),
        pytest.param(
            "Europe/Berlin",
            [("2026-01-01", HOUR), ("2026-03-29T01:00", 2 * HOUR), ("2026-10-25T01:00", HOUR)],
            id="two-a-year",
        ),
        pytest.param(
            "Australia/Lord_Howe",
            [
                ("2026-01-01", 11 * HOUR),
                ("2026-04-04T15:00", 10.5 * HOUR),
                ("2026-10-03T15:30", 11 * HOUR),
            ],
            id="half-an-hour",
        ),
    ],
)
def test_changes_of_the_clock_are_found(zone: str, expected: list[tuple[str, timedelta]]) -> None:
    found = offsets(ZoneInfo(zone), utc("2026-01-01"), utc("2027-01-01"))
    assert found == tuple((utc(since), ahead) for since, ahead in expected)


def test_change_at_the_very_end_is_not_of_the_time() -> None:
    found = offsets(ZoneInfo("Europe/Berlin"), utc("2026-03-28"), utc("2026-03-29T01:00"))
    assert found == ((utc("2026-03-28"), HOUR),)


def test_day_of_the_change_has_23_hours() -> None:
    site = make_estate().site
    berlin = type(site)(
        **{name: getattr(site, name) for name in type(site).__slots__}
        | {"time_zone": "Europe/Berlin"}
    )
    scope = ReportScope(site.organisation_id, (berlin,))
    (span,) = scope.spans(ReportDays(date(2026, 3, 29), date(2026, 3, 30)))
    assert (span.start, span.end) == (utc("2026-03-28T23:00"), utc("2026-03-29T22:00"))
