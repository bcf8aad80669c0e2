"""How people write spans of time: ``30m`` between readings, ``00:00-24:00`` for a window."""

import re
from datetime import time, timedelta
from typing import Final

from meterplex.domain.estate import ReadingWindow

_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_INTERVAL: Final = re.compile(r"(?:[0-9]{1,6}[dhms])+")
_PART: Final = re.compile(r"([0-9]+)([dhms])")
_WINDOW: Final = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")


def parse_interval(text: str) -> timedelta:
    """Read ``30m``, ``90s``, ``1h30m`` or ``1d``.

    Raises:
        ValueError: another form, or no time at all.
    """
    if not _INTERVAL.fullmatch(text):
        raise ValueError(f"{text!r}: expected a time such as 30m, 90s or 1h30m")
    parts = _PART.findall(text)
    if len({unit for _, unit in parts}) != len(parts):
        raise ValueError(f"{text!r}: a unit is given twice")
    interval = sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in parts), timedelta())
    if not interval:
        raise ValueError(f"{text!r}: expected more than no time")
    return interval


def format_interval(interval: timedelta) -> str:
    """Write whole seconds as :func:`parse_interval` reads them, largest unit first.

    Raises:
        ValueError: not a positive number of whole seconds.
    """
    seconds, rest = divmod(interval, timedelta(seconds=1))
    if rest or seconds <= 0:
        raise ValueError(f"{interval}: expected a positive number of whole seconds")
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count)


def parse_window(text: str) -> ReadingWindow:
    """Read ``08:00-20:00``; ``24:00`` is the end of the day.

    Raises:
        ValueError: another form, or a time of day after 24:00.
    """
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r}: expected a window such as 00:00-24:00")
    hour, minute, end_hour, end_minute = (int(group) for group in match.groups())
    if hour == 24 or (end_hour == 24 and end_minute):
        raise ValueError(f"{text!r}: times of day run from 00:00 to 24:00")
    return ReadingWindow(time(hour, minute), time(end_hour % 24, end_minute))


def format_window(window: ReadingWindow) -> str:
    """Write a window as :func:`parse_window` reads it."""
    end = "24:00" if window.end == time(0) else f"{window.end:%H:%M}"
    return f"{window.start:%H:%M}-{end}"
