"""Short waits of many lines at once.

With a thousand lines on one event loop, a timer for each silence costs more than the exchange
around it. All lines wait for about as long, so their waits end nearly in the order in which they
began: one queue in order of time, and one timer for its head, do for all of them.
"""

import asyncio
from collections import deque
from weakref import WeakKeyDictionary


class Silences:
    """The waits of one event loop, which it does not keep alive."""

    def __init__(self) -> None:
        self._waits: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def until(self, at: float) -> "asyncio.Future[None]":
        """Return a future that is done at a time of the loop's clock, or just after."""
        loop = asyncio.get_running_loop()
        waits = self._waits
        wait = (at, loop.create_future())
        if waits and at < waits[-1][0]:
            place = len(waits)
            while place and waits[place - 1][0] > at:
                place -= 1
            waits.insert(place, wait)
        else:
            waits.append(wait)
        if self._timer is None or at < self._timer.when():
            self._arm(loop)
        return wait[1]

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._waits[0][0], self._end, loop)

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the waits that are due; the head is, or the timer would not have come."""
        waits = self._waits
        now = max(loop.time(), waits[0][0])
        while waits and waits[0][0] <= now:
            future = waits.popleft()[1]
            if not future.done():
                future.set_result(None)
        self._timer = None
        if waits:
            self._arm(loop)


_OF_LOOP: "WeakKeyDictionary[asyncio.AbstractEventLoop, Silences]" = WeakKeyDictionary()


def silences_of(loop: asyncio.AbstractEventLoop) -> Silences:
    """Return the waits of a loop."""
    silences = _OF_LOOP.get(loop)
    if silences is None:
        silences = _OF_LOOP[loop] = Silences()
    return silences
