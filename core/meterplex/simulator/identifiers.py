"""Identifiers made by the program: UUIDs of version 7 (RFC 9562 clause 5.7), in order of time."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random, SystemRandom
from typing import Final
from uuid import UUID

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class IdentifierSource:
    """Makes identifiers; with a seeded ``random`` it makes the same ones again.

    Attributes:
        random: where the 74 random bits of each come from.
    """

    random: Random = field(default_factory=SystemRandom)

    def new(self, at: datetime) -> UUID:
        """Return a new identifier.

        Args:
            at: the time of its making; aware, not before 1970.

        ::

            48 bits             4 bits  12 bits  2 bits  62 bits
            milliseconds        0111    random   10      random
        """
        milliseconds = (at - _EPOCH) // _MILLISECOND
        high, low = divmod(self.random.getrandbits(74), 1 << 62)
        return UUID(int=milliseconds << 80 | 0b0111 << 76 | high << 64 | 0b10 << 62 | low)
