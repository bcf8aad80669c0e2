"""Intervals of many meters, cut where the calendar changes: the columns that rating works on.

An interval is used evenly, so a part of it has ``steps * seconds / length`` steps: a fraction.
Nothing is rounded. Each part has its own ``scale``, and its counts are whole numbers of
``1 / scale`` steps. The scale of an interval that no edge cuts (nearly all of a regular load
profile) is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from meterplex.domain.tariff.calendar import Integers, Segments
from meterplex.domain.tariff.usage import Usage

SAFE: Final = 2**62
"""Counts that stay below it are kept in 64 bits."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The intervals of many meters, one below the other.

    Attributes:
        meter: index of the usage.
        steps: used, in ``10 ** -decimals`` units, the same for all meters.
        before: steps of the same meter in the rows above, with those before its first row.
    """

    meter: Indices
    starts: Indices
    ends: Indices
    steps: Integers
    reactive_steps: Integers
    before: Integers

    @classmethod
    def join(cls, usages: Sequence[Usage], decimals: int) -> Self:
        """Return the rows of usages; ``decimals`` is at least that of each."""
        active: list[Integers] = []
        before: list[Integers] = []
        reactive: list[Integers] = []
        for usage in usages:
            factor = 10 ** (decimals - usage.decimals)
            opening = usage.opening_steps * factor
            steps = _scaled(usage.steps, factor, opening)
            active.append(steps)
            before.append(np.cumsum(steps) - steps + opening)
            reactive.append(
                np.zeros_like(steps)
                if usage.reactive_steps is None
                else _scaled(usage.reactive_steps, factor, 0)
            )
        return cls(
            meter=np.repeat(np.arange(len(usages)), [len(steps) for steps in active]),
            starts=np.concatenate([usage.starts for usage in usages]),
            ends=np.concatenate([usage.ends for usage in usages]),
            steps=np.concatenate(active),
            reactive_steps=np.concatenate(reactive),
            before=np.concatenate(before),
        )


def _scaled(steps: npt.NDArray[np.int64], factor: int, opening: int) -> Integers:
    """Return steps times a factor, as Python integers where a count of them could pass 64 bits."""
    largest = int(steps.max(initial=0)) * factor * (len(steps) + 1) + opening
    return steps * factor if largest < SAFE else steps.astype(object) * factor


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Parts of rows in one segment each, in order of meter and time, inside the service.

    Attributes:
        row: index of its row; meter: index of the usage; segment: index of the segment.
        starts: and ``ends``, UTC seconds.
        scale: what ``units``, ``reactive`` and ``counter`` are multiples of: ``1 / scale`` steps.
        counter: used in the block period before the part.
    """

    row: Indices
    meter: Indices
    segment: Indices
    starts: Indices
    ends: Indices
    scale: Integers
    units: Integers
    reactive: Integers
    counter: Integers


def cut(rows: Rows, segments: Segments, service: Indices, limit_steps: int) -> Parts:
    """Cut rows at the edges of segments and to the service of their meter.

    Args:
        rows: of many meters, inside the segments.
        segments: of their calendar.
        service: start and end of each meter, UTC seconds, shape (meters, 2).
        limit_steps: the highest limit of a block, in steps: it too must fit the scale.
    """
    row, segment = _overlaps(rows, segments)
    meter = rows.meter[row]
    starts = np.maximum(rows.starts[row], segments.edges[segment])
    ends = np.minimum(rows.ends[row], segments.edges[segment + 1])
    base, base_scale = _period_bases(rows, row, starts, meter, segments.block_period[segment])

    starts = np.maximum(starts, service[meter, 0])
    ends = np.minimum(ends, service[meter, 1])
    kept = starts < ends
    if not kept.all():
        row, segment, meter = row[kept], segment[kept], meter[kept]
        starts, ends, base, base_scale = starts[kept], ends[kept], base[kept], base_scale[kept]
    steps, reactive, before = rows.steps[row], rows.reactive_steps[row], rows.before[row]
    offset, length, scale = _fractions(rows, row, starts, ends)
    if _largest(scale) * _largest(base_scale) == 1 and limit_steps < SAFE:
        counter = before - base
        return Parts(row, meter, segment, starts, ends, scale, steps, reactive, counter)
    largest = max(_largest(rows.before) + _largest(rows.steps), _largest(rows.reactive_steps))
    if (largest + limit_steps) * _largest(scale) * _largest(base_scale) >= SAFE:
        steps, reactive, before = (each.astype(object) for each in (steps, reactive, before))
        base, base_scale, scale = (each.astype(object) for each in (base, base_scale, scale))
    return Parts(
        row,
        meter,
        segment,
        starts,
        ends,
        scale=scale * base_scale,
        units=steps * length * base_scale,
        reactive=reactive * length * base_scale,
        counter=(before * scale + steps * offset) * base_scale - base * scale,
    )


def _largest(column: Integers) -> int:
    return int(column.max(initial=1))


def _overlaps(rows: Rows, segments: Segments) -> tuple[Indices, Indices]:
    """Return every pair of a row and a segment that it overlaps."""
    first = np.searchsorted(segments.edges, rows.starts, side="right") - 1
    last = np.searchsorted(segments.edges, rows.ends, side="left")
    counts = last - first
    if (counts == 1).all():
        return np.arange(len(counts)), first
    row = np.repeat(np.arange(len(counts)), counts)
    step = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return row, first[row] + step


def _fractions(
    rows: Rows, row: Indices, starts: Indices, ends: Indices
) -> tuple[Indices, Indices, Indices]:
    """Return where in its row each part begins, how long it is, and how long the row is.

    The three in the largest seconds that divide them all; (0, 1, 1) for a whole row.
    """
    whole_starts, whole_ends = rows.starts[row], rows.ends[row]
    scale = np.ones(len(row), dtype=np.int64)
    offset, length = np.zeros_like(scale), np.ones_like(scale)
    cuts = np.flatnonzero((starts > whole_starts) | (ends < whole_ends))
    seconds = starts[cuts] - whole_starts[cuts], ends[cuts] - starts[cuts]
    whole = whole_ends[cuts] - whole_starts[cuts]
    divisor = np.gcd(np.gcd(seconds[0], seconds[1]), whole)
    offset[cuts], length[cuts] = seconds[0] // divisor, seconds[1] // divisor
    scale[cuts] = whole // divisor
    return offset, length, scale


def _period_bases(
    rows: Rows, row: Indices, starts: Indices, meter: Indices, period: Indices
) -> tuple[Integers, Indices]:
    """Return the meter's count at the start of each part's block period, with its scale.

    In the first period of a meter that is 0: what it used before its first row counts too.
    """
    new = np.ones(len(row), dtype=bool)
    new[1:] = (meter[1:] != meter[:-1]) | (period[1:] != period[:-1])
    firsts = np.flatnonzero(new)
    counts = [_count_at(rows, int(row[at]), int(starts[at])) for at in firsts]
    for index, at in enumerate(firsts):
        if at == 0 or meter[at - 1] != meter[at]:
            counts[index] = Fraction(0)
    numerators = [count.numerator for count in counts]
    fits = max(numerators, default=0) < SAFE
    group = np.cumsum(new) - 1
    base = np.array(numerators, dtype=np.int64 if fits else object)
    return base[group], np.array([count.denominator for count in counts], dtype=np.int64)[group]


def _count_at(rows: Rows, row: int, instant: int) -> Fraction:
    start, end = int(rows.starts[row]), int(rows.ends[row])
    used = Fraction(int(rows.steps[row]) * (instant - start), end - start)
    return int(rows.before[row]) + used


def sum_exactly(
    keys: Indices, amounts: Integers, scale: Integers, keys_max: int
) -> dict[int, Fraction]:
    """Return the sum of ``amounts / scale`` by key; keys are below ``keys_max``."""
    whole = np.asarray(scale == 1)
    sums = np.zeros(keys_max, dtype=amounts.dtype)
    if whole.all():
        np.add.at(sums, keys, amounts)
    else:
        np.add.at(sums, keys[whole], amounts[whole])
    totals = {int(key): Fraction(int(sums[key])) for key in np.flatnonzero(sums)}
    cuts = np.flatnonzero(~whole)
    if len(cuts):
        cuts = cuts[np.lexsort((scale[cuts], keys[cuts]))]
        key, parts = keys[cuts], scale[cuts]
        new = np.ones(len(cuts), dtype=bool)
        new[1:] = (key[1:] != key[:-1]) | (parts[1:] != parts[:-1])
        firsts = np.flatnonzero(new)
        amount = np.add.reduceat(amounts[cuts], firsts)
        for at, units in zip(firsts.tolist(), amount.tolist(), strict=True):
            total = totals.get(int(key[at]), Fraction(0)) + Fraction(units, int(parts[at]))
            totals[int(key[at])] = total
    return totals
