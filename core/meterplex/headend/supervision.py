"""Runs a driver's work so that a driver which raises, hangs or will not stop costs only itself.

A driver either computes, which takes no time to speak of, or waits for an exchange, which its
line bounds. One that does neither for :data:`IDLE_MAX_S`, and still does not at a second look,
hangs: it is cancelled, and if it swallows that, abandoned with its link revoked.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, Generic, TypeVar

from meterplex.headend.line_link import LineLink
from meterplex.sdk import DriverError, PluginError

IDLE_MAX_S: Final = 0.5
SECOND_LOOK_S: Final = 0.1
"""A loop that was busy itself lets a driver look idle that had no chance to go on."""
CANCEL_GRACE_S: Final = 0.25

Result = TypeVar("Result")


class DriverHungError(PluginError):
    """A driver waited for something that is not an exchange, or went on beyond its deadline."""


class DriverFailedError(PluginError):
    """A driver raised something that is not a driver error, or returned what it must not."""


async def supervise(
    work: Coroutine[Any, Any, Result], link: LineLink, *, deadline_s: float
) -> Result:
    """Await a driver's coroutine and return its result.

    Args:
        work: what the driver does.
        link: the link the driver was made with.
        deadline_s: longest time until the result, waiting for turns on the line included.

    Raises:
        DriverError: as the driver raised it.
        DriverHungError: the driver was cancelled or abandoned.
        DriverFailedError: the driver raised anything else.
    """
    supervisor = _Supervisor(work, link, deadline_s)
    try:
        return await supervisor.outcome
    except asyncio.CancelledError:
        supervisor.give_up()
        raise
    except (DriverError, PluginError):
        raise
    except Exception as error:
        raise DriverFailedError(f"{type(error).__name__}: {error}") from error


async def _contained(work: Coroutine[Any, Any, Result]) -> Result:
    """Keep ``sys.exit()`` in a driver from ending the program: asyncio lets it out of tasks."""
    try:
        return await work
    except SystemExit as error:
        raise DriverFailedError(f"the driver raised {error!r}") from error


class _Supervisor(Generic[Result]):
    def __init__(
        self, work: Coroutine[Any, Any, Result], link: LineLink, deadline_s: float
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._deadline_at = self._loop.time() + deadline_s
        self._deadline_s = deadline_s
        self._hung = ""
        self._suspected = False
        link.idle_since = self._loop.time()
        self.outcome: asyncio.Future[Result] = self._loop.create_future()
        self._task = self._loop.create_task(_contained(work))
        self._task.add_done_callback(self._done)
        self._timer = self._loop.call_later(IDLE_MAX_S, self._check)

    def _done(self, task: "asyncio.Task[Result]") -> None:
        self._timer.cancel()
        error = None if task.cancelled() else task.exception()
        if self.outcome.done():
            return
        if self._hung:
            self.outcome.set_exception(DriverHungError(self._hung))
        elif task.cancelled():
            self.outcome.set_exception(DriverFailedError("the driver cancelled itself"))
        elif error is None:
            self.outcome.set_result(task.result())
        else:
            self.outcome.set_exception(error)

    def _check(self) -> None:
        now = self._loop.time()
        link = self._link
        if self._hung:
            link.revoked = True
            if not self.outcome.done():
                self.outcome.set_exception(
                    DriverHungError(f"{self._hung}, and would not be cancelled")
                )
            return
        idle = not link.exchanging and now - link.idle_since >= IDLE_MAX_S
        if idle and self._suspected:
            self._hung = f"the driver did nothing on its link for {IDLE_MAX_S:g} s"
        elif now >= self._deadline_at:
            self._hung = f"the driver was not done after {self._deadline_s:g} s"
        self._suspected = idle
        if self._hung:
            self._task.cancel(self._hung)
            self._timer = self._loop.call_later(CANCEL_GRACE_S, self._check)
        elif idle:
            self._timer = self._loop.call_later(SECOND_LOOK_S, self._check)
        else:
            idle_s = 0.0 if link.exchanging else now - link.idle_since
            next_look_s = min(IDLE_MAX_S - idle_s, self._deadline_at - now)
            self._timer = self._loop.call_later(max(next_look_s, 0.01), self._check)

    def give_up(self) -> None:
        """Stop the work because nobody waits for it any more."""
        self._link.revoked = True
        self._timer.cancel()
        self._task.cancel()
