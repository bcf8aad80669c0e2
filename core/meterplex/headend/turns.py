"""Who talks next on a line.

At most one has the turn. Whoever waits is served by :class:`Order`; a :class:`Reservation` keeps
the next turn for work that is not ready yet, so that nothing of a lower order starts before it.
"""

import asyncio
import heapq
from dataclasses import dataclass, field
from enum import IntEnum


class WorkClass(IntEnum):
    """What goes first on a line."""

    SUPPLY = 0
    CREDIT = 1
    ON_DEMAND = 2
    SCHEDULED = 3
    BACK_FILL = 4


@dataclass(frozen=True, slots=True, order=True)
class Order:
    """Who talks next: by class, then giving supply before taking it, then the oldest promise.

    Attributes:
        takes_supply: True for a disconnect.
        promise: when the work is due, in seconds of any one clock.
    """

    work_class: WorkClass
    takes_supply: bool = False
    promise: float = 0.0


_Place = tuple[Order, int, "asyncio.Future[None]"]
"""A place in the queue: the future is done once it has the turn."""


@dataclass(slots=True)
class Turns:
    """The turns of one line.

    Attributes:
        taken: True while somebody has the turn.
    """

    taken: bool = False
    _queue: list[_Place] = field(default_factory=list)
    _sequence: int = 0

    @property
    def wanted(self) -> bool:
        """Whether somebody has the turn or waits for it."""
        return self.taken or bool(self._queue)

    async def wait(self, order: Order) -> None:
        """Wait for the turn and take it."""
        await self.reserve(order).take()

    def reserve(self, order: Order) -> "Reservation":
        """Keep the next turn of an order."""
        self._sequence += 1
        place = (order, self._sequence, asyncio.get_running_loop().create_future())
        heapq.heappush(self._queue, place)
        self._grant()
        return Reservation(self, place)

    def release(self) -> None:
        """Give the turn to the next."""
        self.taken = False
        self._grant()

    def drop(self, place: _Place) -> None:
        """Take a place out of the queue, or give its turn back."""
        granted = place[2]
        if granted.done() and not granted.cancelled():
            self.release()
        elif place in self._queue:
            self._queue.remove(place)
            heapq.heapify(self._queue)

    def is_first(self, place: _Place) -> bool:
        """Whether a place has the turn or is the next to get it."""
        return place[2].done() or (bool(self._queue) and self._queue[0] is place)

    def _grant(self) -> None:
        while not self.taken and self._queue:
            granted = heapq.heappop(self._queue)[2]
            if not granted.cancelled():
                self.taken = True
                granted.set_result(None)


class Reservation:
    """The next turn of an order, kept. Give it back with :meth:`cancel` if it is not taken."""

    def __init__(self, turns: Turns, place: _Place) -> None:
        self._turns = turns
        self._place = place
        self._used = False

    @property
    def is_next(self) -> bool:
        """Whether nobody comes before it any more but the one who has the turn."""
        return self._turns.is_first(self._place)

    async def take(self) -> None:
        """Wait until it is our turn; whoever called then has it."""
        self._used = True
        try:
            await self._place[2]
        except asyncio.CancelledError:
            self._turns.drop(self._place)
            raise

    def cancel(self) -> None:
        """Give the turn back if it was not taken."""
        if not self._used:
            self._used = True
            self._turns.drop(self._place)
