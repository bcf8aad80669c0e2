"""What a bench returns."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number and what was promised of it.

    Attributes:
        what: is measured, as a row's title.
        value: median of the trials.
        unit: of ``value`` and of the promise; ``x`` for a ratio.
        at_least: the promise from below, or None.
        at_most: the promise from above, or None.
        detail: both sides and the load, for the reader.
    """

    what: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    detail: str = ""

    @property
    def kept(self) -> bool:
        """Whether the promise is kept; a figure without one always is."""
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    @property
    def promise(self) -> str:
        """The promise for people."""
        sides = ((">=", self.at_least), ("<=", self.at_most))
        return " and ".join(
            f"{sign} {limit:g} {self.unit}" for sign, limit in sides if limit is not None
        )
