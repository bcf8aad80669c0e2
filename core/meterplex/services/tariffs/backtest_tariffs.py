"""Rates what was used with two tariffs, side by side: who would pay more, who less.

Both versions are rated as if they had always been valid, so that a tariff which begins next year
can be tried on last year. Prices that single meters have of their own are not looked at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from fractions import Fraction
from typing import Final
from zoneinfo import ZoneInfo

from meterplex.db import UnitOfWork
from meterplex.domain.estate import OrganisationId, UsagePoint
from meterplex.domain.tariff import Rater, Span, TariffVersion
from meterplex.services.tariffs.backtest_use import Gap, NoUseError, StoredUse, Window, read_use

POINTS_AT_ONCE: Final = 100
"""Usage points whose readings are held at the same time."""


class BacktestError(Exception):
    """Two tariffs that cannot be compared, or days that are none."""


@dataclass(frozen=True, slots=True)
class PointComparison:
    """A usage point under both tariffs.

    Attributes:
        units: rated, after ct and pt.
        old_units: and ``new_units``, ledger units of all bills of the time.
        gaps: what is not in them.
        reactive_missing: rated without the power factor, because it was not measured.
    """

    usage_point: str
    units: Fraction
    old_units: int
    new_units: int
    gaps: tuple[Gap, ...] = ()
    reactive_missing: bool = False

    @property
    def difference_units(self) -> int:
        """How much more the new tariff costs, in ledger units."""
        return self.new_units - self.old_units


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A usage point that was not rated, and why."""

    usage_point: str
    reason: str


@dataclass(frozen=True, slots=True)
class Backtest:
    """The comparison of two versions over ``[start, end)``, local to the site."""

    old: TariffVersion
    new: TariffVersion
    start: datetime
    end: datetime
    points: tuple[PointComparison, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def winners(self) -> int:
        """How many pay less under the new one."""
        return sum(point.difference_units < 0 for point in self.points)

    @property
    def losers(self) -> int:
        """How many pay more under the new one."""
        return sum(point.difference_units > 0 for point in self.points)

    @property
    def unchanged(self) -> int:
        """How many pay the same."""
        return len(self.points) - self.winners - self.losers

    @property
    def median_difference(self) -> Fraction:
        """The difference in the middle, in ledger units; of an even number the mean of the two."""
        ordered = sorted(point.difference_units for point in self.points)
        if not ordered:
            return Fraction(0)
        return Fraction(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2], 2)


def _silent(done: int, total: int) -> None:
    del done, total  # nobody watches


async def backtest_tariffs(
    uow: UnitOfWork,
    organisation_id: OrganisationId,
    points: Sequence[UsagePoint],
    old: TariffVersion,
    new: TariffVersion,
    days: tuple[date, date],
    time_zone: str,
    on_progress: Callable[[int, int], None] = _silent,
) -> Backtest:
    """Compare two tariffs on the readings of some usage points.

    Args:
        points: those of another utility than the tariffs' are not looked at.
        days: the first one, and the one after the last.
        time_zone: of the site, whose midnights bound the days.
        on_progress: is told how many usage points are done, and of how many.

    Raises:
        BacktestError: the tariffs differ in currency or utility, or the days are none.
        ComponentError: a tariff component of a plugin failed.
    """
    window = _window(old, new, days, time_zone)
    chosen = [point for point in points if point.utility == old.utility]
    raters = _rater(old, window), _rater(new, window)
    compared: list[PointComparison] = []
    left_out: list[LeftOut] = []
    for first in range(0, len(chosen), POINTS_AT_ONCE):
        uses: list[StoredUse] = []
        for point in chosen[first : first + POINTS_AT_ONCE]:
            try:
                uses.append(await read_use(uow, organisation_id, point, window))
            except NoUseError as error:
                left_out.append(LeftOut(point.code, str(error)))
        compared += _compare(uses, *raters)
        on_progress(min(first + POINTS_AT_ONCE, len(chosen)), len(chosen))
    return Backtest(old, new, window.start, window.end, tuple(compared), tuple(left_out))


def _window(
    old: TariffVersion, new: TariffVersion, days: tuple[date, date], time_zone: str
) -> Window:
    if days[0] >= days[1]:
        raise BacktestError(f"from {days[0]} to {days[1]}: expected a later day to end before")
    for what, ours, theirs in (
        ("utility", old.utility, new.utility),
        ("currency", old.currency, new.currency),
    ):
        if ours != theirs:
            raise BacktestError(f"{what}: {old.id} has {ours}, {new.id} has {theirs}")
    start, end = (datetime.combine(day, time(), ZoneInfo(time_zone)) for day in days)
    yearly = Span.YEAR in (old.block_span, new.block_span)
    return Window(
        start=start,
        end=end,
        counted_from=start.replace(month=1, day=1) if yearly else start.replace(day=1),
        reactive=old.power_factor is not None or new.power_factor is not None,
    )


def _rater(tariff: TariffVersion, window: Window) -> Rater:
    """Return a rater under which a version has always been valid."""
    long_before = window.counted_from.date() - timedelta(days=2)
    return Rater(replace(tariff, valid_from=min(tariff.valid_from, long_before)))


def _compare(uses: Sequence[StoredUse], old: Rater, new: Rater) -> list[PointComparison]:
    usages = [use.usage for use in uses]
    return [
        PointComparison(
            usage_point=use.usage_point,
            units=sum((bill.units for bill in before.bills), Fraction(0)),
            old_units=before.total_units,
            new_units=after.total_units,
            gaps=use.gaps,
            reactive_missing=use.reactive_missing,
        )
        for use, before, after in zip(
            uses, old.rate_many(usages), new.rate_many(usages), strict=True
        )
    ]
