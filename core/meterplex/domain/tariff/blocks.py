"""Units of parts put into blocks: how much of each price a bill has.

A *cell* is one price: a block and band with the same price in whichever season. Units are keyed by
meter, bill and cell.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import numpy as np

from meterplex.domain.tariff.calendar import Integers, PriceTable, Segments
from meterplex.domain.tariff.parts import Indices, Parts, sum_exactly


class Cell(NamedTuple):
    """A price per unit; ``block`` and ``band`` by name."""

    block: str
    band: str
    price: Decimal


@dataclass(frozen=True)
class Matrix:
    """The price tables of a tariff with their cells numbered.

    Attributes:
        cells: by number, in the order in which a bill lists them.
        numbers: of each table, block and band.
        limits: upper limits of each table's blocks in steps; None for the last.
    """

    cells: tuple[Cell, ...]
    numbers: tuple[tuple[tuple[int, ...], ...], ...]
    limits: tuple[tuple[Decimal | None, ...], ...]

    @cached_property
    def numbering(self) -> Indices:
        """The numbers as an array, padded where a table has fewer blocks."""
        shape = len(self.numbers), max(map(len, self.numbers)), len(self.numbers[0][0])
        padded = np.zeros(shape, dtype=np.int64)
        for table, numbers in enumerate(self.numbers):
            padded[table, : len(numbers)] = numbers
        return padded

    @property
    def decimals(self) -> int:
        """Decimals that steps must have to hold every limit."""
        return max((-_exponent(limit) for limit in self._finite()), default=0)

    def limit_max(self, decimals: int) -> int:
        """Return the highest limit in steps."""
        return max((_steps(limit, decimals) for limit in self._finite()), default=0)

    def _finite(self) -> list[Decimal]:
        return [limit for table in self.limits for limit in table if limit is not None]

    @classmethod
    def of(cls, tables: Sequence[PriceTable], bands: Sequence[str]) -> "Matrix":
        """Number the cells: by block, then band, then season."""
        placed = [
            ((row, column, table), Cell(block.name, band, prices[row][column]))
            for table, (blocks, prices) in enumerate(tables)
            for row, block in enumerate(blocks)
            for column, band in enumerate(bands)
        ]
        cells = tuple(dict.fromkeys(cell for _, cell in sorted(placed, key=lambda each: each[0])))
        number = {cell: index for index, cell in enumerate(cells)}
        return cls(
            cells=cells,
            numbers=tuple(
                tuple(
                    tuple(
                        number[Cell(block.name, band, price)]
                        for band, price in zip(bands, row, strict=True)
                    )
                    for block, row in zip(blocks, prices, strict=True)
                )
                for blocks, prices in tables
            ),
            limits=tuple(tuple(block.up_to for block in blocks) for blocks, _ in tables),
        )


@dataclass(frozen=True, slots=True)
class Use:
    """Units of one cell in one bill, in steps, and when the first and last of them were used."""

    steps: Fraction
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Puts parts into blocks; ``bill`` numbers meter and billing period of each part."""

    matrix: Matrix
    segments: Segments
    parts: Parts
    bill: Indices
    bills: int
    decimals: int

    def chronological(self) -> dict[int, dict[int, Use]]:
        """Return the use by bill and cell, each unit in the block in force when it was used."""
        cells = len(self.matrix.cells)
        table = self.segments.table[self.parts.segment]
        band = self.segments.band[self.parts.segment]
        lowest, highest = self._reach(table)
        used = self.parts.units > 0
        inside = np.flatnonzero(used & (lowest == highest))
        cell = self.matrix.numbering[table[inside], lowest[inside], band[inside]]
        keys = [self.bill[inside] * cells + cell]
        units = [self.parts.units[inside]]
        parts = [inside]
        across = np.flatnonzero(used & (lowest < highest))
        for index, numbers in enumerate(self.matrix.numbers if len(across) else ()):
            chosen = across[table[across] == index]
            for number, share in zip(numbers, self._shares(index, chosen), strict=True):
                some = np.flatnonzero(share)
                sharing = chosen[some]
                keys.append(self.bill[sharing] * cells + np.array(number)[band[sharing]])
                units.append(share[some])
                parts.append(sharing)
        return self._uses(np.concatenate(keys), np.concatenate(units), np.concatenate(parts))

    def _reach(self, table: Indices) -> tuple[Indices, Indices]:
        """Return the first and the last block that each part has units in."""
        before, scale = self.parts.counter, self.parts.scale
        after = before + self.parts.units
        lowest, highest = np.zeros_like(table), np.zeros_like(table)
        for index, limits in enumerate(self.matrix.limits):
            here = table == index
            for limit in limits:
                if limit is not None:
                    reached = _steps(limit, self.decimals) * scale
                    lowest += here & (before >= reached)
                    highest += here & (after > reached)
        return lowest, highest

    def _shares(self, table: int, chosen: Indices) -> Iterator[Integers]:
        """Yield for each block of a table the units of the chosen parts that fall into it."""
        scale = self.parts.scale[chosen]
        before = self.parts.counter[chosen]
        after = before + self.parts.units[chosen]
        reached = before
        for limit in self.matrix.limits[table]:
            until = after
            if limit is not None:
                until = np.minimum(after, _steps(limit, self.decimals) * scale)
            until = np.maximum(until, reached)
            yield until - reached
            reached = until

    def _uses(self, keys: Indices, units: Integers, parts: Indices) -> dict[int, dict[int, Use]]:
        cells = len(self.matrix.cells)
        sums = sum_exactly(keys, units, self.parts.scale[parts], self.bills * cells)
        first, last = self._spans(keys, parts, self.bills * cells)
        uses: dict[int, dict[int, Use]] = {}
        for key, steps in sums.items():
            bill, cell = divmod(key, cells)
            uses.setdefault(bill, {})[cell] = Use(steps, int(first[key]), int(last[key]))
        return uses

    def _spans(self, keys: Indices, parts: Indices, size: int) -> tuple[Indices, Indices]:
        """Return by key when the first part begins and the last one ends."""
        first = np.full(size, np.iinfo(np.int64).max)
        last = np.zeros(size, dtype=np.int64)
        np.minimum.at(first, keys, self.parts.starts[parts])
        np.maximum.at(last, keys, self.parts.ends[parts])
        return first, last

    def pro_rata(self) -> dict[int, dict[int, Use]]:
        """Return the use by bill and cell, the blocks shared over the bands in proportion.

        A bill is cut where its block counter starts again or other blocks and prices begin; each
        piece is shared by itself.
        """
        bands = self.matrix.numbering.shape[2]
        runs = int(self.segments.run[-1]) + 1
        part_run = self.parts.meter * runs + self.segments.run[self.parts.segment]
        used, run = np.unique(part_run, return_inverse=True)
        keys = run * bands + self.segments.band[self.parts.segment]
        size = len(used) * bands
        sums = sum_exactly(keys, self.parts.units, self.parts.scale, size)
        first, last = self._spans(keys, np.arange(len(keys)), size)
        uses: dict[int, dict[int, Use]] = {}
        for index, at in enumerate(np.unique(run, return_index=True)[1].tolist()):
            by_band = {
                band: sums[index * bands + band]
                for band in range(bands)
                if index * bands + band in sums
            }
            table = int(self.segments.table[self.parts.segment[at]])
            counter = Fraction(int(self.parts.counter[at]), int(self.parts.scale[at]))
            for block, share in self._cut(table, counter, sum(by_band.values(), Fraction(0))):
                for band, units in by_band.items():
                    key = index * bands + band
                    use = Use(units * share, int(first[key]), int(last[key]))
                    cell = self.matrix.numbers[table][block][band]
                    of_bill = uses.setdefault(int(self.bill[at]), {})
                    of_bill[cell] = _joined(of_bill.get(cell), use)
        return uses

    def _cut(
        self, table: int, counter: Fraction, total: Fraction
    ) -> Iterator[tuple[int, Fraction]]:
        """Yield each block that the units from ``counter`` on reach, with its part of the total."""
        reached = counter
        for block, limit in enumerate(self.matrix.limits[table]):
            until = counter + total
            if limit is not None:
                until = max(reached, min(until, Fraction(_steps(limit, self.decimals))))
            if until > reached:
                yield block, (until - reached) / total
            reached = until


def _joined(one: Use | None, other: Use) -> Use:
    if one is None:
        return other
    return Use(one.steps + other.steps, min(one.start, other.start), max(one.end, other.end))


def _exponent(limit: Decimal) -> int:
    exponent = limit.as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent


def _steps(limit: Decimal, decimals: int) -> int:
    return int(limit.scaleb(decimals))
