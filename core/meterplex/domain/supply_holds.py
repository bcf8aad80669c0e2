"""What keeps supply as it is: holds that keep it on, and the bypass that keeps the program out."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class HoldOwner(StrEnum):
    """Who set a hold, and who alone takes it away again."""

    OPERATOR = "operator"
    """Keep-power (保电), by a person."""
    CARE = "care"
    """Somebody's life or health depends on the supply."""
    WEATHER = "weather"
    WINDOW = "window"
    """Keeps a meter that trips by itself on outside the disconnect window."""


@dataclass(frozen=True, slots=True)
class SupplyHold:
    """Supply stays on until ``until`` (aware), or until its owner ends it when that is None."""

    owner: HoldOwner
    reason: str = ""
    until: datetime | None = None

    def __str__(self) -> str:
        end = "" if self.until is None else f" until {self.until:%Y-%m-%d %H:%M}"
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.owner} hold{end}{reason}"

    def holds_at(self, now: datetime | None) -> bool:
        """Whether it is in force; at a time that is not known (None) it is."""
        return self.until is None or now is None or now < self.until


def holds_in_force(holds: Iterable[SupplyHold], now: datetime | None) -> tuple[SupplyHold, ...]:
    """Return the holds in force at a time, in their order; all of them when it is not known."""
    return tuple(hold for hold in holds if hold.holds_at(now))


@dataclass(frozen=True, slots=True)
class Bypass:
    """The controller is out of the trip circuit for a repair (F75): no automatic commands.

    It begins and ends by a person's word, not by the clock: somebody may have hands in the
    circuit. ``until`` is when it should be over; an alarm stands from ``since`` until it is ended.

    Raises:
        ValueError: the two people are not two, there is no reason, or it would end before it
            begins.
    """

    since: datetime
    until: datetime
    asked_by: str
    approved_by: str
    reason: str

    def __post_init__(self) -> None:
        names = {name.strip().casefold() for name in (self.asked_by, self.approved_by)}
        if "" in names or len(names) != 2:
            raise ValueError(
                f"a bypass needs two different people, got {self.asked_by!r}"
                f" and {self.approved_by!r}"
            )
        if not self.reason.strip():
            raise ValueError("a bypass needs a reason")
        if self.until <= self.since:
            raise ValueError(
                f"bypass until {self.until.isoformat()}: expected a time after"
                f" {self.since.isoformat()}"
            )

    def __str__(self) -> str:
        return f"bypassed since {self.since:%Y-%m-%d %H:%M} ({self.reason})"

    def overdue_at(self, now: datetime) -> bool:
        """Whether it should be over, and nobody has ended it."""
        return now >= self.until
