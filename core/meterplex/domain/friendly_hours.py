"""The hours in which supply may be taken away: local working hours, never a holiday or its eve.

The wall clock of the site decides. A time that a clock change skips is in no window; one that it
repeats is in its window twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from meterplex.domain.supply_policy import HolidayRule, SupplyPolicy

_DAY: Final = timedelta(days=1)
_SEARCH_DAYS: Final = 60
"""How far ahead the next window is looked for: longer than any run of holidays."""


@dataclass(frozen=True, slots=True)
class Holidays:
    """The public holidays of a site, as local dates; those of every year that counts are in it."""

    dates: frozenset[date] = frozenset()

    def protect(self, day: date, rule: HolidayRule) -> bool:
        """Whether the rule keeps a day free of disconnects."""
        if rule is HolidayRule.NONE:
            return False
        eve_of = day + _DAY if rule is HolidayRule.EVE_TOO else day
        return day in self.dates or eve_of in self.dates


def may_disconnect_at(policy: SupplyPolicy, local_time: datetime, holidays: Holidays) -> bool:
    """Whether a local time lies in the site's disconnect window.

    Args:
        policy: of the site.
        local_time: aware, in the site's zone: its wall clock counts.
        holidays: of the site.

    Raises:
        ValueError: the time is naive.
    """
    if local_time.tzinfo is None:
        raise ValueError(f"local time {local_time.isoformat()} has no zone")
    if holidays.protect(local_time.date(), policy.holiday_rule):
        return False
    windows = policy.disconnect_windows[local_time.weekday()]
    wall_clock = local_time.time()
    return any(wall_clock in window for window in windows)


def next_allowed(policy: SupplyPolicy, after: datetime, holidays: Holidays) -> datetime | None:
    """Return the first instant from ``after`` on that lies in the disconnect window.

    Args:
        policy: of the site.
        after: aware, in the site's zone, which the result is in too.
        holidays: of the site.

    Returns:
        None where the next 60 days have no window at all.

    Raises:
        ValueError: the time is naive.
    """
    if may_disconnect_at(policy, after, holidays):
        return after
    zone = after.tzinfo
    assert zone is not None
    start = after.astimezone(UTC)
    for number in range(_SEARCH_DAYS):
        day = after.date() + number * _DAY
        for instant in sorted(_edges(policy, day, zone)):
            local = instant.astimezone(zone)
            if instant >= start and may_disconnect_at(policy, local, holidays):
                return local
    return None


def _edges(policy: SupplyPolicy, day: date, zone: tzinfo) -> Iterator[datetime]:
    """Give the UTC instants of a local day at which a window can begin."""
    for window in policy.disconnect_windows[day.weekday()]:
        begin = datetime.combine(day, window.start, zone)
        yield begin.astimezone(UTC)
        yield begin.replace(fold=1).astimezone(UTC)
    midnight = datetime.combine(day, time(0), zone).astimezone(UTC)
    next_midnight = datetime.combine(day + _DAY, time(0), zone).astimezone(UTC)
    if _offset(midnight, zone) != _offset(next_midnight, zone):
        yield _clock_change(midnight, next_midnight, zone)


def _offset(instant: datetime, zone: tzinfo) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()


def _clock_change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Return the first second of the new offset, between two UTC instants of unlike offset."""
    old = _offset(before, zone)
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if _offset(middle, zone) == old:
            before = middle
        else:
            after = middle
    return after
