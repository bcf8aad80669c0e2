"""Rating: use under a tariff version gives bills.

The one function that live charging, dry runs, back-tests and bills call. Money is integers and
fractions throughout. Each line of a bill is rounded once, to the ledger unit, from the exact use
of its whole period so far, so that charging a period in pieces never changes its total;
percentages are taken of rounded lines; what is payable is rounded once more, to the minor unit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Final

import numpy as np

from meterplex.domain.tariff.blocks import Blocks, Matrix, Use
from meterplex.domain.tariff.calendar import TariffCalendar
from meterplex.domain.tariff.charges import Rating
from meterplex.domain.tariff.demand import Peak, PeakSearch
from meterplex.domain.tariff.faults import TariffError, find_faults
from meterplex.domain.tariff.lines import BillMaker, Measured, ServiceTime
from meterplex.domain.tariff.parts import Indices, Rows, cut, sum_exactly
from meterplex.domain.tariff.usage import Usage, UsageError
from meterplex.domain.tariff.version import BlockAllocation, TariffVersion

ROWS_AT_ONCE: Final = 25_000
"""Intervals rated together: enough to be fast, few enough to stay in the caches."""

METERS_AT_ONCE: Final = 2_000


class Rater:
    """Rates use under one sound tariff version."""

    def __init__(self, tariff: TariffVersion, until: date | None = None) -> None:
        """Prepare a version, valid to the end of the day before ``until`` (None: for ever).

        Raises:
            TariffError: the version has faults.
        """
        faults = find_faults(tariff)
        if faults:
            raise TariffError(faults)
        self.tariff = tariff
        self._calendar = TariffCalendar(tariff)
        self._matrix = Matrix.of(self._calendar.tables, tariff.bands)
        self._bills = BillMaker.of(tariff, self._calendar, self._matrix.cells)
        self._valid_from = self._calendar.midnight(tariff.valid_from)
        self._valid_until = self._calendar.midnight(date.max if until is None else until)
        self._times: dict[tuple[int, int], ServiceTime] = {}

    def rate(self, usage: Usage) -> Rating:
        """Return the bills of one meter.

        Raises:
            UsageError: the use, or the service time, lies outside the validity of the version.
        """
        return self.rate_many((usage,))[0]

    def rate_many(self, usages: Sequence[Usage]) -> list[Rating]:
        """Return the bills of many meters, in their order; faster than one by one.

        Raises:
            UsageError: as for :meth:`rate`.
        """
        return [rating for batch in _batches(usages) for rating in self._rate(batch)]

    def _rate(self, usages: Sequence[Usage]) -> Iterator[Rating]:
        batch = self._measure(usages)
        for meter, usage in enumerate(usages):
            start, end = batch.service[meter].tolist()
            first = self._calendar.billing_period(start)
            last = self._calendar.billing_period(end - 1)
            bills = tuple(
                self._bills.bill(
                    self._service_time(number, start, end),
                    batch.of(meter, number, reactive=usage.reactive_steps is not None),
                    batch.steps_per_unit,
                )
                for number in range(first, last + 1)
            )
            yield Rating(
                self.tariff.id, self.tariff.version, self.tariff.currency, usage.decimals, bills
            )

    def _measure(self, usages: Sequence[Usage]) -> "_Batch":
        decimals = max(self._matrix.decimals, *(usage.decimals for usage in usages))
        service = np.array([self._service(usage) for usage in usages], dtype=np.int64)
        rows = Rows.join(usages, decimals)
        segments = self._calendar.segments(
            int(rows.starts.min(initial=service.min())), int(rows.ends.max(initial=service.max()))
        )
        parts = cut(rows, segments, service, self._matrix.limit_max(decimals))
        first = int(segments.billing_period[0])
        periods = int(segments.billing_period[-1]) - first + 1
        bill = parts.meter * periods + segments.billing_period[parts.segment] - first
        bills = periods * len(usages)
        blocks = Blocks(self._matrix, segments, parts, bill, bills, decimals)
        chronological = self.tariff.block_allocation is BlockAllocation.CHRONOLOGICAL
        offset_s = self._calendar.offset_s(int(segments.edges[0]))
        return _Batch(
            service=service,
            steps_per_unit=10**decimals,
            first=first,
            periods=periods,
            uses=blocks.chronological() if chronological else blocks.pro_rata(),
            peaks={
                window_s: PeakSearch(rows, parts, bill, bills, window_s, offset_s).peaks()
                for window_s in {demand.window_min * 60 for demand in self.tariff.demand}
            },
            reactive=(
                {}
                if self.tariff.power_factor is None
                else sum_exactly(bill, parts.reactive, parts.scale, bills)
            ),
        )

    def _service(self, usage: Usage) -> tuple[int, int]:
        """Return what is billed of a use, in UTC seconds."""
        if usage.service is not None:
            start, end = (int(instant.timestamp()) for instant in usage.service)
            self._require_valid(start, end, None)
            return start, end
        start, end = int(usage.starts[0]), int(usage.ends[-1])
        self._require_valid(start, end, len(usage.starts) - 1)
        begin = self._calendar.billing_start(self._calendar.billing_period(start))
        until = self._calendar.billing_start(self._calendar.billing_period(end - 1) + 1)
        return max(begin, self._valid_from), min(until, self._valid_until)

    def _require_valid(self, start: int, end: int, last: int | None) -> None:
        """Refuse time outside the validity; ``last`` is the last interval, None for a service."""
        if start < self._valid_from:
            raise UsageError(
                f"begins at {self._calendar.local(start)}, the tariff is valid from "
                f"{self.tariff.valid_from}",
                index=None if last is None else 0,
                field="start",
            )
        if end > self._valid_until:
            raise UsageError(
                f"ends at {self._calendar.local(end)}, the tariff is valid until "
                f"{self._calendar.local(self._valid_until)}",
                index=last,
                field="end",
            )

    def _service_time(self, number: int, start: int, end: int) -> ServiceTime:
        """Return the part of a billing period that lies in a service time."""
        first = max(start, self._calendar.billing_start(number))
        until = min(end, self._calendar.billing_start(number + 1))
        known = self._times.get((first, until))
        if known is None:
            known = ServiceTime.between(self._calendar.local(first), self._calendar.local(until))
            self._times[first, until] = known
        return known


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """What was measured of many meters; a bill's number is ``meter * periods + period - first``.

    Attributes:
        service: start and end of each meter.
        uses: by bill and number of the cell.
        peaks: by length of the window, then bill.
        reactive: steps by bill.
    """

    service: Indices
    steps_per_unit: int
    first: int
    periods: int
    uses: Mapping[int, Mapping[int, Use]]
    peaks: Mapping[int, Mapping[int, Peak]]
    reactive: Mapping[int, Fraction]

    def of(self, meter: int, period: int, *, reactive: bool) -> Measured:
        """Return what was measured for one bill."""
        bill = meter * self.periods + period - self.first
        return Measured(
            uses=self.uses.get(bill, {}),
            peaks={window: found[bill] for window, found in self.peaks.items() if bill in found},
            reactive=self.reactive.get(bill, Fraction(0)) if reactive else None,
        )


def _batches(usages: Sequence[Usage]) -> Iterator[Sequence[Usage]]:
    """Yield neighbours together, up to a number of intervals and of meters."""
    first = rows = 0
    for index, usage in enumerate(usages):
        rows += len(usage.starts)
        if rows > ROWS_AT_ONCE or index - first == METERS_AT_ONCE:
            if index > first:
                yield usages[first:index]
            first, rows = index, len(usage.starts)
    if usages:
        yield usages[first:]
