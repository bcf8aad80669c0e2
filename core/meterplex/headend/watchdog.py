"""Names the plugin that blocks the event loop, and takes the loop back.

A thread looks whether the loop still turns. When it has not for :data:`BLOCKED_S`, the thread looks
at the stack of the loop's thread; when a plugin's code is on it, the thread sends a signal to the
loop's thread, whose handler raises :class:`EventLoopBlockedError` right there, inside the plugin:
it ends sleeps, system calls and pure Python loops alike. The plugin is then disabled; its meters
are lost with the reason *plugin*, everybody else's are read on. Code in C that neither returns nor
checks signals cannot be ended; it is named in the log.

The loop must run in the main thread, because only that one handles signals.
"""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Final, Self

import structlog

BLOCKED_S: Final = 1.0
BEAT_S: Final = 0.2
SIGNAL: Final = signal.SIGUSR1

log = structlog.get_logger(__name__)


class EventLoopBlockedError(Exception):
    """A plugin kept the event loop from turning."""


class Watchdog:
    """Watches the running event loop while it is entered.

    Args:
        plugin_packages: top-level package of each plugin, to the plugin's name.
        blocked: told the plugin's name and where it blocked, on the event loop.
    """

    def __init__(
        self, plugin_packages: Mapping[str, str], blocked: Callable[[str, str], None]
    ) -> None:
        self._packages = plugin_packages
        self._blocked = blocked
        self._loop = asyncio.get_running_loop()
        self._beat_at = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._timer: asyncio.TimerHandle | None = None
        self._old_handler: object = None

    def __enter__(self) -> Self:
        self._old_handler = signal.signal(SIGNAL, self._interrupt)
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._timer is not None:
            self._timer.cancel()
        signal.signal(SIGNAL, self._old_handler)  # type: ignore[arg-type]  # what signal() gave

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def _watch(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while not self._stop.wait(BEAT_S):
            if time.monotonic() - self._beat_at < BLOCKED_S:
                continue
            found = self._culprit(sys._current_frames().get(main))
            if found is None:
                log.warning("event loop blocked", plugin=None)
                continue
            plugin, where = found
            log.error("event loop blocked", plugin=plugin, where=where)
            self._loop.call_soon_threadsafe(self._blocked, plugin, where)
            signal.pthread_kill(main, SIGNAL)
            self._stop.wait(BLOCKED_S)

    def _culprit(self, frame: FrameType | None) -> tuple[str, str] | None:
        """Return plugin and place of the innermost frame that is a plugin's code."""
        while frame is not None:
            package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if package in self._packages:
                where = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                return self._packages[package], where
            frame = frame.f_back
        return None

    def _interrupt(self, _: int, frame: FrameType | None) -> None:
        # The loop may have come back to life between the look and the signal.
        if (found := self._culprit(frame)) is not None:
            raise EventLoopBlockedError(f"{found[1]} blocked the event loop")
