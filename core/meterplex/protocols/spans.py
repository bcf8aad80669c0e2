"""Where a frame lies in what has come in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Where a reply lies in a buffer: ``buffer[start:end]``."""

    start: int
    end: int
