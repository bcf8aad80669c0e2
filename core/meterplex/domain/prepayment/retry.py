"""When an uncertain order is looked at again, and when people are told. Own choice of figures."""

from datetime import datetime, timedelta
from typing import Final

RETRY_DELAYS: Final = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
)
RETRY_DELAY_LATER: Final = timedelta(minutes=30)
ALARM_AFTER: Final = timedelta(minutes=15)


def retry_delay(attempt: int) -> timedelta:
    """Return how long to wait after the given look (1 is the first); it never gives up."""
    if attempt > len(RETRY_DELAYS):
        return RETRY_DELAY_LATER
    return RETRY_DELAYS[attempt - 1]


def next_look(last_look: datetime, attempt: int, woken_at: datetime | None = None) -> datetime:
    """Return when evidence is read next.

    Args:
        woken_at: last restored link or start-up; one after the last look wakes at once.
    """
    due = last_look + retry_delay(attempt)
    if woken_at is None or woken_at <= last_look:
        return due
    return min(due, woken_at)


def alarm_due(since: datetime, now: datetime) -> bool:
    """Tell whether an order has been uncertain for so long that people must be told."""
    return now - since >= ALARM_AFTER
