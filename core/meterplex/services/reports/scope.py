"""What a report is about: which sites, which account, which local days."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from meterplex.db.reports import ReportSpan
from meterplex.domain.estate import AccountId, OrganisationId, Site

DAYS_MAX: Final = 4_000
"""Of a report: ten years, which is longer than books are kept."""


class ReportError(Exception):
    """A report that was asked for in a way that makes no sense; begins with the field."""


@dataclass(frozen=True, slots=True)
class ReportDays:
    """Local days ``[first, until)``.

    Raises:
        ReportError: no day, or more than :data:`DAYS_MAX`.
    """

    first: date
    until: date

    def __post_init__(self) -> None:
        days = (self.until - self.first).days
        if days < 1:
            raise ReportError(f"to: {self.until} is not after {self.first}")
        if days > DAYS_MAX:
            raise ReportError(f"to: {days} days, expected at most {DAYS_MAX}")


@dataclass(frozen=True, slots=True)
class ReportScope:
    """The sites that whoever asks may see, or those of them that he asks for.

    Attributes:
        account_id: only this one of them.
    """

    organisation_id: OrganisationId
    sites: tuple[Site, ...]
    account_id: AccountId | None = None

    def spans(self, days: ReportDays) -> Iterator[ReportSpan]:
        """Yield the days as times, for the sites of each time zone together."""
        for name, sites in self._by_zone():
            yield self._span(ZoneInfo(name), sites, days)

    def spans_today(self, at: datetime) -> Iterator[tuple[ReportSpan, date]]:
        """Yield the local day of a time, for the sites of each time zone together."""
        for name, sites in self._by_zone():
            zone = ZoneInfo(name)
            today = at.astimezone(zone).date()
            yield self._span(zone, sites, ReportDays(today, today + timedelta(days=1))), today

    def _by_zone(self) -> list[tuple[str, list[Site]]]:
        zones: dict[str, list[Site]] = defaultdict(list)
        for site in self.sites:
            zones[site.time_zone].append(site)
        return sorted(zones.items())

    def _span(self, zone: ZoneInfo, sites: Collection[Site], days: ReportDays) -> ReportSpan:
        start, end = (datetime.combine(day, time.min, zone) for day in (days.first, days.until))
        return ReportSpan(
            self.organisation_id,
            frozenset(site.id for site in sites),
            start.astimezone(UTC),
            end.astimezone(UTC),
            offsets(zone, start.astimezone(UTC), end.astimezone(UTC)),
            self.account_id,
        )


def offsets(
    zone: ZoneInfo, start: datetime, end: datetime
) -> tuple[tuple[datetime, timedelta], ...]:
    """Return how far a zone is ahead of UTC in ``[start, end)``: when from, and how far.

    Args:
        zone: changes its clock at most once a day, on a whole minute.
        start: and ``end``, in UTC, on whole minutes.
    """
    found = [(start, _ahead(zone, start))]
    at = start
    while at < end:
        after = min(at + timedelta(days=1), end)
        if _ahead(zone, after) != found[-1][1]:
            change = _change(zone, at, after)
            found.append((change, _ahead(zone, change)))
        at = after
    return tuple(each for each in found if each[0] < end)


def _ahead(zone: ZoneInfo, at: datetime) -> timedelta:
    ahead = at.astimezone(zone).utcoffset()
    assert ahead is not None
    return ahead


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the minute from which the later one of two different offsets is in force."""
    low, high = 0, (after - before) // timedelta(minutes=1)
    while high - low > 1:
        middle = (low + high) // 2
        if _ahead(zone, before + timedelta(minutes=middle)) == _ahead(zone, after):
            high = middle
        else:
            low = middle
    return before + timedelta(minutes=high)
