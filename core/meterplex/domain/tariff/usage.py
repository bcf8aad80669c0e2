"""Use of a meter over time: what is rated."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Self

import numpy as np
import numpy.typing as npt

WHOLE_DIGITS_MAX: Final = 9
DECIMALS_MAX: Final = 9
"""Of units: together they fit 64 bits."""

_FIRST: Final = 0
_LAST: Final = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp())
"""What nobody bills; calendars are laid out over all of a use."""


class UsageError(Exception):
    """Use that cannot be rated.

    Attributes:
        index: of the interval, counted from 0; None when no single one is at fault.
        field: of the interval (start, end, units, reactive_units); empty when none.
    """

    def __init__(self, message: str, *, index: int | None = None, field: str = "") -> None:
        where = "" if index is None else f"interval {index}: "
        super().__init__(where + message)
        self.message = message
        self.index = index
        self.field = field


@dataclass(frozen=True, slots=True)
class Interval:
    """Units used in ``[start, end)``, evenly.

    Attributes:
        start: and ``end``, aware, on whole seconds.
        units: in the utility's base unit (kWh, m3), after ct and pt.
        reactive_units: kvarh, where the meter measures them.
    """

    start: datetime
    end: datetime
    units: Decimal
    reactive_units: Decimal | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Usage:
    """The use of one meter as columns, one row per interval, in order and without overlap.

    Attributes:
        starts: and ``ends``, UTC seconds, half-open; gaps are allowed and cost nothing.
        steps: units as whole numbers of ``10 ** -decimals``.
        decimals: of ``steps``, ``reactive_steps`` and ``opening_steps``.
        reactive_steps: kvarh in the same steps; None where not measured.
        opening_steps: used before the first interval in the block period in which it lies.
        service: what is billed of the use, ``[start, end)``; None means every billing period that
            has use, from end to end. Use before it moves the block counter and costs nothing
            here.
    """

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    decimals: int
    reactive_steps: npt.NDArray[np.int64] | None = None
    opening_steps: int = 0
    service: tuple[datetime, datetime] | None = None

    def __post_init__(self) -> None:
        self._refuse(self.starts < _FIRST, "start", "begins before 1970")
        self._refuse(self.ends > _LAST, "end", "ends after 2199")
        self._refuse(self.ends <= self.starts, "end", "does not end after its start")
        overlap = np.zeros(len(self.starts), dtype=bool)
        overlap[1:] = self.starts[1:] < self.ends[:-1]
        self._refuse(overlap, "start", "begins before the end of the one before it")
        self._refuse(self.steps < 0, "units", "units are negative")
        if self.reactive_steps is not None:
            self._refuse(self.reactive_steps < 0, "reactive_units", "reactive units are negative")
        if self.opening_steps < 0:
            raise UsageError("opening units are negative")
        if self.service is None and not len(self.starts):
            raise UsageError("no interval, and no service time to bill")
        if self.service is not None:
            self._check_service(*self.service)

    def _check_service(self, start: datetime, end: datetime) -> None:
        first, last = _second(start, None, ""), _second(end, None, "")
        if not _FIRST <= first < last <= _LAST:
            raise UsageError(f"service {start} to {end} is no time between 1970 and 2199")

    def _refuse(self, wrong: npt.NDArray[np.bool_], field: str, message: str) -> None:
        if wrong.any():
            raise UsageError(message, index=int(np.argmax(wrong)), field=field)

    @classmethod
    def of(
        cls,
        intervals: Iterable[Interval],
        *,
        opening_units: Decimal = Decimal(0),
        service: tuple[datetime, datetime] | None = None,
    ) -> Self:
        """Return intervals, in order, as columns.

        Raises:
            UsageError: naive or fractional times, disorder, overlap, values that are no numbers,
                or reactive units in some intervals only.
        """
        rows = tuple(intervals)
        decimals = -min(
            (_exponent(row.units, at, "units") for at, row in enumerate(rows)), default=0
        )
        reactive = [row.reactive_units for row in rows if row.reactive_units is not None]
        if reactive and len(reactive) != len(rows):
            at = next(at for at, row in enumerate(rows) if row.reactive_units is None)
            raise UsageError("has no reactive units, others have", index=at, field="reactive_units")
        exponents = [_exponent(value, at, "reactive_units") for at, value in enumerate(reactive)]
        decimals = -min([-decimals, *exponents, _exponent(opening_units, None, "")])
        return cls(
            starts=np.array(
                [_second(row.start, at, "start") for at, row in enumerate(rows)], np.int64
            ),
            ends=np.array([_second(row.end, at, "end") for at, row in enumerate(rows)], np.int64),
            steps=np.array([_steps(row.units, decimals) for row in rows], np.int64),
            decimals=decimals,
            reactive_steps=np.array([_steps(value, decimals) for value in reactive], np.int64)
            if reactive
            else None,
            opening_steps=_steps(opening_units, decimals),
            service=service,
        )


def _second(instant: datetime, index: int | None, field: str) -> int:
    if instant.utcoffset() is None:
        raise UsageError(f"{instant.isoformat()} has no offset from UTC", index=index, field=field)
    if instant.microsecond:
        raise UsageError(f"{instant.isoformat()} is not a whole second", index=index, field=field)
    return int(instant.timestamp())


def _exponent(value: Decimal, index: int | None, field: str) -> int:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise UsageError(f"{value} is no number", index=index, field=field)
    if exponent < -DECIMALS_MAX or value.adjusted() >= WHOLE_DIGITS_MAX:
        raise UsageError(
            f"{value} has more than {WHOLE_DIGITS_MAX} digits before the point or "
            f"{DECIMALS_MAX} after it",
            index=index,
            field=field,
        )
    return min(exponent, 0)


def _steps(value: Decimal, decimals: int) -> int:
    return int(value.scaleb(decimals))
