"""The highest mean power of a bill over aligned windows of 15 or 30 minutes.

Exact, but fast: every window is weighed in floating point first, and only those that come within
one part in 10**9 of the highest (rounding is 1,000 times finer) are compared as fractions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from meterplex.domain.tariff.calendar import Integers
from meterplex.domain.tariff.parts import SAFE, Indices, Parts, Rows

_NEAR: Final = 1 - 1e-9

Weights: TypeAlias = npt.NDArray[np.float64]


class Peak(NamedTuple):
    """The window with the highest use, the first of equals: steps in it, its start in seconds."""

    steps: Fraction
    start: int


@dataclass(frozen=True, slots=True, eq=False)
class PeakSearch:
    """Finds the peak of each bill.

    Attributes:
        rows: of the parts.
        bill: of each part, below ``bills``.
        window_s: length of a window.
        offset_s: of the wall clock, to whose hours windows are aligned.
    """

    rows: Rows
    parts: Parts
    bill: Indices
    bills: int
    window_s: int
    offset_s: int

    def peaks(self) -> dict[int, Peak]:
        """Return the peak of each bill that has use."""
        filled, shared = self._filled(), self._shared()
        top = np.zeros(self.bills)
        for windows in (filled, shared):
            np.maximum.at(top, windows.bill, windows.weight)
        found: dict[int, Peak] = {}
        for bill, start, steps in (*filled.near(top), *shared.near(top)):
            best = found.get(bill)
            if best is None or (steps, -start) > (best.steps, -best.start):
                found[bill] = Peak(steps, start)
        return found

    def _filled(self) -> "_Windows":
        """Return windows that lie inside one part; of its many equal ones the first."""
        first = -(-(self.parts.starts + self.offset_s) // self.window_s)
        some = np.flatnonzero((self.parts.ends + self.offset_s) // self.window_s > first)
        row = self.parts.row[some]
        seconds = np.full(len(some), self.window_s)
        starts = first[some] * self.window_s - self.offset_s
        return self._windows(self.bill[some], row, seconds, starts, np.arange(len(some)))

    def _shared(self) -> "_Windows":
        """Return windows that a part does not fill: they are sums of pieces."""
        starts, ends = self.parts.starts, self.parts.ends
        first = -(-(starts + self.offset_s) // self.window_s) * self.window_s - self.offset_s
        last = (ends + self.offset_s) // self.window_s * self.window_s - self.offset_s
        head = np.flatnonzero(first > starts)
        tail = np.flatnonzero((last >= first) & (ends > last))
        part = np.concatenate([head, tail])
        begin = np.concatenate([starts[head], last[tail]])
        seconds = np.concatenate([np.minimum(ends, first)[head], ends[tail]]) - begin
        window = (begin + self.offset_s) // self.window_s
        order = np.lexsort((window, self.bill[part]))
        part, window = part[order], window[order]
        bill = self.bill[part]
        new = np.ones(len(part), dtype=bool)
        new[1:] = (bill[1:] != bill[:-1]) | (window[1:] != window[:-1])
        at = window * self.window_s - self.offset_s
        return self._windows(bill, self.parts.row[part], seconds[order], at, np.flatnonzero(new))

    def _windows(
        self, bill: Indices, row: Indices, seconds: Indices, starts: Indices, firsts: Indices
    ) -> "_Windows":
        steps = self.rows.steps[row]
        length = self.rows.ends[row] - self.rows.starts[row]
        weights: Weights = steps.astype(np.float64) / length * seconds
        sums: Weights = np.add.reduceat(weights, firsts) if len(firsts) else weights
        return _Windows(
            bill=bill[firsts],
            starts=starts[firsts],
            weight=sums,
            firsts=firsts,
            steps=steps,
            seconds=seconds,
            length=length,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Windows:
    """Windows as sums of pieces; ``firsts`` is the first piece of each window.

    Attributes:
        bill: and ``starts``, ``weight`` (steps, nearly), one for each window.
        steps: and ``length`` of the row of each piece, ``seconds`` of the piece itself.
    """

    bill: Indices
    starts: Indices
    weight: Weights
    firsts: Indices
    steps: Integers
    seconds: Indices
    length: Indices

    def near(self, top: Weights) -> Iterator[tuple[int, int, Fraction]]:
        """Yield bill, start and exact steps of windows that could be the highest, equals once."""
        highest = top[self.bill]
        near = np.flatnonzero((highest > 0) & (self.weight >= highest * _NEAR))
        if not len(near):
            return
        until = np.append(self.firsts[1:], len(self.steps))[near]
        longest = np.maximum.reduceat(self.length, self.firsts)[near]
        alike = longest == np.minimum.reduceat(self.length, self.firsts)[near]
        largest = int(self.steps.max()) * int(self.seconds.max()) * len(self.steps)
        steps = self.steps if largest < SAFE else self.steps.astype(object)
        products = np.add.reduceat(steps * self.seconds, self.firsts)[near]
        told: set[tuple[int, int, int]] = set()
        for index, window in enumerate(near.tolist()):
            bill = int(self.bill[window])
            if alike[index]:
                makeup = bill, int(products[index]), int(longest[index])
                if makeup in told:
                    continue
                told.add(makeup)
                exact = Fraction(makeup[1], makeup[2])
            else:
                exact = self._exactly(slice(int(self.firsts[window]), int(until[index])))
            yield bill, int(self.starts[window]), exact

    def _exactly(self, pieces: slice) -> Fraction:
        columns = self.steps[pieces], self.seconds[pieces], self.length[pieces]
        makeup = zip(*(column.tolist() for column in columns), strict=True)
        return sum((Fraction(n * seconds, whole) for n, seconds, whole in makeup), Fraction(0))
