"""What runs came upon, counted: a proof that never met a case has not proven it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from meterplex.domain.prepayment import Evidence, Fence, OrderState
from meterplex.domain.supply_gate import Refusal
from meterplex.services.orders.crash_points import CrashPoint, Moment

WRITTEN: list[str] = []
"""Tables for the end of the report of the tests."""


@dataclass
class Hits:
    """How often each thing was hit, by its name."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, *names: str) -> None:
        self.counts.update(names)

    def missing(self, required: Iterable[str]) -> list[str]:
        return [name for name in required if not self.counts[name]]

    def write(self, title: str, required: Iterable[str]) -> None:
        """Add a table to the report."""
        wanted = list(required)
        figures = [f"{name} {self.counts[name]}" for name in wanted]
        others = [f"{name} {count}" for name, count in sorted(self.counts.items())]
        more = [each for each in others if each not in figures]
        WRITTEN.append(f"{title}: {', '.join(figures)}; besides: {', '.join(more) or 'nothing'}")


def crash_names(points: Iterable[CrashPoint]) -> list[str]:
    return [f"{moment} {point}" for point in points for moment in Moment]


STATES = [state.value for state in OrderState]
EVIDENCE = [each.value for each in Evidence if each is not Evidence.NONE]
FENCES = [each.value for each in Fence]
REFUSALS = [each.value for each in Refusal]
CRASHES = crash_names(CrashPoint)
