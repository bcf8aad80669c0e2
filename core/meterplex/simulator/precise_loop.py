"""An event loop whose timers are good to some 50 us.

The standard loop waits in epoll, whose time-outs are whole milliseconds: a character at 9600 baud.
"""

import asyncio
import select
import selectors


class PreciseSelector(selectors.EpollSelector):
    """Waits with select on the one descriptor of epoll: its time-outs are microseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, after at most ``timeout`` seconds; None waits for ever."""
        if timeout is not None and timeout > 0:
            select.select((self.fileno(),), (), (), timeout)
            timeout = 0
        return super().select(timeout)


def precise_loop() -> asyncio.AbstractEventLoop:
    """Make a loop for paced wires; for ``asyncio.Runner(loop_factory=...)``."""
    return asyncio.SelectorEventLoop(PreciseSelector())
