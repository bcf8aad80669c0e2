"""Whether a reading can be true, seen against the last good reading of the same register.

A counter only rises, and no faster than what it measures can flow. A reading that breaks this is
kept, but as suspect: it moves no money. It is compared with the last *good* reading, so a counter
that fell (roll-over, another meter, a reset) stays suspect until a person accepts it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from meterplex.domain.registers import RegisterType, Unit

PER_HOUR_MAX: Final[Mapping[Unit, Decimal]] = {
    Unit.KWH: Decimal(4000),
    Unit.KVARH: Decimal(4000),
    Unit.CUBIC_METRE: Decimal(1000),
}
"""Most that a counter may rise in an hour: a 2.5 MVA transformer, a DN 250 pipe. Guess."""

STEP_MAX: Final = Decimal(1)
"""What a counter may rise at once, in its unit: some count whole kWh or cubic metres. Guess."""

OTHER_METER: Final = "other_meter"
"""Flag of a meter at whose place a device with another number answers: nothing of it is good."""

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class CounterReading:
    """What a counter showed at a time."""

    value: Decimal
    read_at: datetime


def doubt(register: RegisterType, now: CounterReading, before: CounterReading | None) -> str | None:
    """Return in a few words why a reading cannot be true; None when it can.

    Args:
        register: what was read; one that is no counter is never doubted.
        now: the reading in question.
        before: the last good reading, not later than ``now``; None when there is none.
    """
    if not register.cumulative:
        return None
    if now.value < 0:
        return f"a counter shows {now.value}"
    if before is None:
        return None
    rise = now.value - before.value
    if rise < 0:
        return f"fell from {before.value} to {now.value}"
    rise_max = _rise_max(register.unit, now.read_at - before.read_at)
    if rise_max is not None and rise > rise_max:
        return f"rose by {rise} {register.unit} since {before.read_at:%Y-%m-%d %H:%M:%S} UTC"
    return None


def _rise_max(unit: Unit, elapsed: timedelta) -> Decimal | None:
    per_hour = PER_HOUR_MAX.get(unit)
    if per_hour is None:
        return None
    microsecond = timedelta(microseconds=1)
    return STEP_MAX + per_hour * (elapsed // microsecond) / (_HOUR // microsecond)
