"""From readings to tiles: which readings move money, and how much was used between them.

The readings of a counter, the decisions of people about held ones and the opening value give the
tiles; nothing else does, and not the order in which anything became known. Readings are looked at
in order of time, each against the last one accepted:

- a counter that rose, no faster than can flow and not after too long, is accepted;
- one that fell from near its end to near its start has rolled over;
- whatever else is held, and the tiles end there until a person decides or other readings do.

Other readings decide so. Back-filled ones close a gap. A doubtful reading, or one that rose too
fast, is proven when the next good reading that is plausible after the last accepted one is no
lower, and disproven when that one is. A counter that seems to have fallen is disproven when the
very next good reading goes on from before the fall and cannot have come from after it.

Estimated readings count only at the end, after the last accepted reading; the next one replaces
them. Times count in whole seconds: of several readings in one second the first counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from meterplex.domain.charges import HoldReason, HoldState
from meterplex.domain.plausibility import PER_HOUR_MAX, STEP_MAX
from meterplex.domain.readings import ReadingQuality
from meterplex.domain.registers import RegisterType

GAP_MAX: Final = timedelta(days=7)
"""Longest time between two readings whose use is spread evenly, unless a site says otherwise."""

_HOUR_US: Final = 3_600_000_000
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)
_DIGITS_MIN: Final = 4
"""Counters have at least so many places before the point. Guess."""


@dataclass(frozen=True, slots=True)
class CounterLimits:
    """What a counter can do; counts are steps of its register's resolution.

    Attributes:
        unit_steps: steps in one unit.
        modulus: first count that it never shows; None when only its places are known, then any
            power of ten may be it.
        step_max: what it may rise at once.
        per_hour_max: what it may rise in an hour; None for no limit.
        gap_max: longest time between readings whose use may be spread evenly.
    """

    unit_steps: int
    step_max: int
    per_hour_max: int | None
    gap_max: timedelta = GAP_MAX
    modulus: int | None = None

    @classmethod
    def of(
        cls, register: RegisterType, *, gap_max: timedelta = GAP_MAX, modulus: Decimal | None = None
    ) -> "CounterLimits":
        """Return the limits of a register."""
        per_hour = PER_HOUR_MAX.get(register.unit)
        return cls(
            unit_steps=register.to_steps(Decimal(1)),
            step_max=register.to_steps(STEP_MAX),
            per_hour_max=None if per_hour is None else register.to_steps(per_hour),
            gap_max=gap_max,
            modulus=None if modulus is None else register.to_steps(modulus),
        )

    def can_rise(self, steps: int, elapsed: timedelta) -> bool:
        """Whether so much can flow in a time."""
        if self.per_hour_max is None:
            return True
        allowed = self.per_hour_max * (elapsed // _MICROSECOND)
        return (steps - self.step_max) * _HOUR_US <= allowed

    def modulus_after(self, count: int) -> int | None:
        """Return where a counter at ``count`` rolls over, if it is in the last tenth before."""
        if self.modulus is not None:
            return self.modulus if 10 * count >= 9 * self.modulus else None
        modulus = self.unit_steps * 10**_DIGITS_MIN
        while modulus <= count:
            modulus *= 10
        return modulus if 10 * count >= 9 * modulus else None


@dataclass(frozen=True, slots=True)
class Shown:
    """What a counter showed; ``count`` in steps."""

    at: datetime
    count: int
    quality: ReadingQuality = ReadingQuality.GOOD


@dataclass(frozen=True, slots=True)
class Usable:
    """A reading that goes on from the one before."""

    used: int


@dataclass(frozen=True, slots=True)
class RollOver:
    """A reading after the counter began again at zero."""

    used: int


@dataclass(frozen=True, slots=True)
class Held:
    """A reading that may not move money, and why."""

    reason: HoldReason
    detail: str


def recognise(previous: Shown, current: Shown, limits: CounterLimits) -> Usable | RollOver | Held:
    """Return what a later reading is, seen from the last accepted one; the quality is not seen."""
    rise = current.count - previous.count
    elapsed = current.at - previous.at
    if rise < 0:
        return _fall(previous, current, limits)
    if not limits.can_rise(rise, elapsed):
        return Held(
            HoldReason.JUMP,
            f"rose by {_units(rise, limits)} in {elapsed}, from {_units(previous.count, limits)}",
        )
    if elapsed > limits.gap_max:
        return Held(
            HoldReason.GAP, f"{elapsed} after the reading before, allowed are {limits.gap_max}"
        )
    return Usable(rise)


def _fall(previous: Shown, current: Shown, limits: CounterLimits) -> RollOver | Held:
    told = f"fell from {_units(previous.count, limits)} to {_units(current.count, limits)}"
    if current.count < 0:
        return Held(HoldReason.NEGATIVE, told)
    modulus = limits.modulus_after(previous.count)
    elapsed = current.at - previous.at
    if modulus is not None:
        used = current.count + modulus - previous.count
        if limits.can_rise(used, elapsed) and elapsed <= limits.gap_max:
            return RollOver(used)
    if limits.can_rise(current.count, elapsed) and 10 * current.count < previous.count:
        return Held(HoldReason.RESET, told)
    return Held(HoldReason.NEGATIVE, told)


def _units(steps: int, limits: CounterLimits) -> Decimal:
    return Decimal(steps) / limits.unit_steps


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about a held reading.

    Attributes:
        state: RELEASED, REJECTED or NEW_START.
        count: that the reading showed; the decision is about no other.
        closing: last count before a new start.
        opening: first count after a new start.
    """

    state: HoldState
    count: int
    closing: int = 0
    opening: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """An accepted reading.

    Attributes:
        used: steps since the point before.
        sure: accepted for what it and those before it show; tiles may later begin here.
    """

    at: datetime
    count: int
    used: int
    estimated: bool = False
    sure: bool = True
    rolled_over: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """A reading at which the tiles end."""

    shown: Shown
    held: Held


@dataclass(frozen=True, slots=True)
class Tiling:
    """Points in order; a tile lies between each and the one before, the first after the opening.

    Attributes:
        hold: where they end, if not at the last reading.
        left_out: times of readings that moved no money and never will as things are.
    """

    points: tuple[Point, ...]
    hold: Hold | None = None
    left_out: frozenset[datetime] = frozenset()


def tile(
    opening: Shown,
    readings: Sequence[Shown],
    limits: CounterLimits,
    decisions: Mapping[datetime, Decision],
) -> Tiling:
    """Return the tiles of a counter.

    Args:
        opening: where they begin.
        readings: one for each time, in any order; those not after the opening are not looked at.
        decisions: of people, by the time of the reading.
    """
    ordered = sorted((each for each in readings if each.at > opening.at), key=lambda each: each.at)
    actual = [each for each in ordered if each.quality is not ReadingQuality.ESTIMATED]
    tiler = _Tiler(opening, actual, limits, decisions)
    hold = tiler.run()
    for each in ordered:
        if each.quality is ReadingQuality.ESTIMATED:
            tiler.estimate(each)
    return Tiling(tuple(tiler.points), hold, frozenset(tiler.left_out))


class _Tiler:
    """Goes through the readings in order."""

    def __init__(
        self,
        opening: Shown,
        readings: Sequence[Shown],
        limits: CounterLimits,
        decisions: Mapping[datetime, Decision],
    ) -> None:
        self._readings = readings
        self._limits = limits
        self._decisions = decisions
        self._last = opening
        self.points: list[Point] = []
        self.left_out: set[datetime] = set()

    def run(self) -> Hold | None:
        """Accept readings up to the first that is held."""
        for index, shown in enumerate(self._readings):
            if _same_second(self._last, shown):
                self.left_out.add(shown.at)
                continue
            verdict = self._judge(index, shown)
            if isinstance(verdict, Held):
                return Hold(shown, verdict)
            if verdict is None:
                self.left_out.add(shown.at)
                continue
            self._accept(verdict)
        return None

    def estimate(self, shown: Shown) -> None:
        """Accept an estimated reading if it comes after all others and is no lower."""
        if shown.at < self._last.at or _same_second(self._last, shown):
            return
        if shown.count >= self._last.count:
            used = shown.count - self._last.count
            self._accept(Point(shown.at, shown.count, used, estimated=True, sure=False))

    def _accept(self, point: Point) -> None:
        self.points.append(point)
        self._last = Shown(point.at, point.count)

    def _judge(self, index: int, shown: Shown) -> Point | Held | None:
        """Return the point, why it is held, or None when it never moves money."""
        decision = self._decisions.get(shown.at)
        if decision is not None and decision.count == shown.count:
            return self._decided(shown, decision)
        verdict = recognise(self._last, shown, self._limits)
        if isinstance(verdict, RollOver):
            return Point(shown.at, shown.count, verdict.used, rolled_over=True)
        if isinstance(verdict, Usable):
            if shown.quality is ReadingQuality.GOOD:
                return Point(shown.at, shown.count, verdict.used)
            doubtful = Held(HoldReason.SUSPECT, "the meter or its driver marks it as doubtful")
            return self._proven(index, shown, doubtful)
        if verdict.reason is HoldReason.JUMP:
            return self._proven(index, shown, verdict)
        if verdict.reason is HoldReason.GAP:
            return verdict
        return None if self._disproven(index, shown) else verdict

    def _decided(self, shown: Shown, decision: Decision) -> Point | Held | None:
        if decision.state is HoldState.REJECTED:
            return None
        used = shown.count - self._last.count
        if decision.state is HoldState.NEW_START:
            used = decision.closing - self._last.count + shown.count - decision.opening
        if used < 0:
            told = f"{_units(-used, self._limits)} less than the reading before"
            return Held(HoldReason.NEGATIVE, told)
        return Point(shown.at, shown.count, used)

    def _proven(self, index: int, shown: Shown, held: Held) -> Point | Held | None:
        for later in self._readings[index + 1 :]:
            if later.quality is not ReadingQuality.GOOD:
                continue
            if isinstance(recognise(self._last, later, self._limits), Usable):
                if not self._last.count <= shown.count <= later.count:
                    return None
                used = shown.count - self._last.count
                return Point(shown.at, shown.count, used, sure=False)
        return held

    def _disproven(self, index: int, shown: Shown) -> bool:
        following = next(iter(self._readings[index + 1 : index + 2]), None)
        if following is None or following.quality is not ReadingQuality.GOOD:
            return False
        goes_on = isinstance(recognise(self._last, following, self._limits), Usable)
        rise = following.count - shown.count
        return goes_on and not self._limits.can_rise(rise, following.at - shown.at)


def _same_second(before: Shown, after: Shown) -> bool:
    """Whether two readings, the later one second, lie in one second."""
    if after.at - before.at >= _SECOND:
        return False
    return before.at.replace(microsecond=0) == after.at.replace(microsecond=0)
