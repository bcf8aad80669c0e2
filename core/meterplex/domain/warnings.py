"""Low-balance warnings: two thresholds and arrears, each level once per low episode (F56, F57).

An episode of a level begins when the balance is at or below its threshold and ends when it rises
above it; then the level may warn again. A balance that falls through several levels at once is
due all of them: one message may tell them, but each is kept as sent, for the gate asks for the
last.

Only a warning that left counts: sent, delivered, or handed over on paper. Whoever cannot be
reached is put on a person's list, and stays supplied until that person has told them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from meterplex.domain.money import LEDGER_UNITS


class WarningLevel(StrEnum):
    """How low the balance is, mildest first."""

    ALARM_1 = "alarm_1"
    ALARM_2 = "alarm_2"
    ARREARS = "arrears"


class WarningState(StrEnum):
    """How far a warning has come, by whichever way it went."""

    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    ON_PAPER = "on_paper"
    """A person put it into the hands, or the letter-box, of the customer."""


COUNTED: Final = frozenset({WarningState.SENT, WarningState.DELIVERED, WarningState.ON_PAPER})
"""States in which a warning counts as given."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Balances, in ledger units, at or below which each level warns.

    Raises:
        ValueError: they do not fall from alarm 1 over alarm 2 to arrears.
    """

    alarm_1_units: int
    alarm_2_units: int
    arrears_units: int = 0

    def __post_init__(self) -> None:
        if not self.alarm_1_units >= self.alarm_2_units >= self.arrears_units:
            raise ValueError(
                f"thresholds {self.alarm_1_units}, {self.alarm_2_units}, {self.arrears_units}"
                " ledger units: expected alarm 1 >= alarm 2 >= arrears"
            )

    def of(self, level: WarningLevel) -> int:
        """Return the threshold of a level."""
        by_level = {
            WarningLevel.ALARM_1: self.alarm_1_units,
            WarningLevel.ALARM_2: self.alarm_2_units,
            WarningLevel.ARREARS: self.arrears_units,
        }
        return by_level[level]


DEFAULT_THRESHOLDS: Final = Thresholds(50 * LEDGER_UNITS, 20 * LEDGER_UNITS)
"""50.00 and 20.00 of the currency, arrears at zero (choice)."""


def thresholds_of(
    defaults: Thresholds, alarm_1_units: int | None = None, alarm_2_units: int | None = None
) -> Thresholds:
    """Return the thresholds of one account or binding: its own where it has them.

    A single own threshold that passes the other's default takes it along, so that the order
    of the levels stays.

    Raises:
        ValueError: both are its own, and out of order; or one is below arrears.
    """
    if alarm_1_units is None and alarm_2_units is None:
        return defaults
    if alarm_1_units is None:
        assert alarm_2_units is not None
        alarm_1_units = max(defaults.alarm_1_units, alarm_2_units)
    elif alarm_2_units is None:
        alarm_2_units = min(defaults.alarm_2_units, alarm_1_units)
    return Thresholds(alarm_1_units, alarm_2_units, defaults.arrears_units)


@dataclass(frozen=True, slots=True)
class WarningSent:
    """A warning of the present low episode.

    Attributes:
        at: when it was sent or handed over, or tried to be (aware).
        state: as last known.
    """

    level: WarningLevel
    at: datetime
    state: WarningState

    @property
    def counts(self) -> bool:
        """Whether the customer counts as warned by it."""
        return self.state in COUNTED


def levels_reached(balance_units: int, thresholds: Thresholds) -> tuple[WarningLevel, ...]:
    """Return the levels whose threshold the balance is at or below, mildest first."""
    return tuple(level for level in WarningLevel if balance_units <= thresholds.of(level))


def due_warnings(
    balance_units: int, thresholds: Thresholds, sent: Collection[WarningLevel]
) -> tuple[WarningLevel, ...]:
    """Return the levels to warn of now, mildest first.

    Args:
        balance_units: in ledger units, on the server or in the meter.
        thresholds: of the account or binding.
        sent: levels already warned of in their present episode; see :func:`episodes_ended`.
    """
    reached = levels_reached(balance_units, thresholds)
    return tuple(level for level in reached if level not in sent)


def episodes_ended(
    balance_units: int, thresholds: Thresholds, sent: Collection[WarningLevel]
) -> tuple[WarningLevel, ...]:
    """Return the levels warned of whose episode is over: they may warn again, and no longer count.

    Arguments as of :func:`due_warnings`.
    """
    reached = levels_reached(balance_units, thresholds)
    return tuple(level for level in WarningLevel if level in sent and level not in reached)


def needs_paper(warnings: Iterable[WarningSent]) -> tuple[WarningLevel, ...]:
    """Return the levels that failed by every way tried: a person must bring them on paper."""
    states: dict[WarningLevel, set[WarningState]] = {}
    for warning in warnings:
        states.setdefault(warning.level, set()).add(warning.state)
    return tuple(level for level in WarningLevel if states.get(level) == {WarningState.FAILED})
