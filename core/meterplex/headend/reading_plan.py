"""When each meter of a bus is read next. Pure: the time comes in as an argument.

A meter that answers is read once an interval. One that misses is tried again after
:data:`RETRY_FIRST_S`, then after twice that, up to :data:`PROBE_S`: so a dead meter costs its bus
one time-out in :data:`PROBE_S`, and a revived one is seen within that and one cycle. After
:data:`LOST_AFTER` misses in a row it is lost; at once, when its driver is to blame.
"""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final

from meterplex.domain.estate import ReadingWindow

RETRY_FIRST_S: Final = 2.0
PROBE_S: Final = 30.0
LOST_AFTER: Final = 3


@dataclass(slots=True)
class MeterPlan:
    """The reading plan of one meter; all times in seconds of one monotonic clock.

    Attributes:
        interval_s: promise between two good readings.
        due_at: when it is to be read next.
        last_good_at: when it was last read well; None since start-up.
        misses: failed reads in a row.
        attempts: misses in a row after which it is lost.
    """

    interval_s: float
    due_at: float
    last_good_at: float | None = None
    misses: int = 0
    attempts: int = LOST_AFTER

    @property
    def is_lost(self) -> bool:
        """Whether it has missed so often that it counts as lost."""
        return self.misses >= self.attempts

    def hit(self, now: float) -> None:
        """Note a good reading."""
        self.misses = 0
        self.last_good_at = now
        self.due_at = max(self.due_at + self.interval_s, now)
        if self.due_at > now + self.interval_s:
            self.due_at = now + self.interval_s

    def fail(self, now: float) -> None:
        """Note that the meter's driver misbehaved: that costs more than a time-out, so no retry."""
        self.misses = max(self.misses + 1, self.attempts)
        self.due_at = now + PROBE_S

    def miss(self, now: float) -> None:
        """Note a failed read."""
        self.misses += 1
        self.due_at = now + min(RETRY_FIRST_S * 2.0 ** (self.misses - 1), PROBE_S)


def window_opens_in(window: ReadingWindow, local: datetime) -> timedelta:
    """Return how long until scheduled reads may start; zero while the window is open.

    Args:
        local: aware local time of the site.
    """
    if is_within(window, local.time()):
        return timedelta(0)
    opening = local.replace(
        hour=window.start.hour, minute=window.start.minute, second=0, microsecond=0
    )
    if opening <= local:
        opening += timedelta(days=1)
    return opening - local


def is_within(window: ReadingWindow, at: time) -> bool:
    """Whether a local time of day lies in ``[start, end)``; see :class:`ReadingWindow`."""
    if window.start == window.end:
        return True
    if window.end == time(0):
        return at >= window.start
    if window.start < window.end:
        return window.start <= at < window.end
    return at >= window.start or at < window.end
