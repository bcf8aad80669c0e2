"""How the story is told: in chapters of steps, each seen and not believed before."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


class NotAsToldError(Exception):
    """Something happened, but not as the story goes."""


@dataclass(slots=True)
class Step:
    """One thing that must happen.

    Attributes:
        seen: how it was seen; empty while it was not.
        after_s: when, since the story began.
        fault: what came instead, where something else did.
    """

    text: str
    seen: str = ""
    after_s: float = 0.0
    fault: str = ""

    def __str__(self) -> str:
        if self.seen:
            return f"[x] {self.text}: {self.seen} ({self.after_s:.1f} s)"
        return f"[ ] {self.text}: not seen" + (f": {self.fault}" if self.fault else "")


Chapter = tuple[tuple[str, Callable[[], Awaitable[str]]], ...]
"""Steps in their order: what must happen, and what returns how it was seen."""


@dataclass(slots=True)
class Telling:
    """The steps so far; chapters may be told side by side.

    Attributes:
        began: time of the event loop.
    """

    steps: list[Step] = field(default_factory=list)
    began: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether everything happened."""
        return bool(self.steps) and all(step.seen for step in self.steps)

    @property
    def progress(self) -> str:
        """How far it has come, for people."""
        seen = sum(bool(step.seen) for step in self.steps)
        return f"{seen} of {len(self.steps)} steps seen"

    async def tell(self, chapter: Chapter) -> None:
        """Let steps happen one after the other; what does not go as told ends the chapter."""
        steps = [Step(text) for text, _ in chapter]
        self.steps += steps
        for step, (_, happen) in zip(steps, chapter, strict=True):
            try:
                step.seen = await happen()
            except NotAsToldError as error:
                step.fault = str(error)
                return
            step.after_s = asyncio.get_running_loop().time() - self.began

    def lines(self) -> list[str]:
        """Return the story for people."""
        return [*map(str, self.steps), self.progress]

    def summary(self) -> dict[str, Any]:
        """Return the story for programs."""
        return {
            "complete": self.complete,
            "steps": [
                {
                    "text": step.text,
                    "seen": step.seen,
                    "after_s": round(step.after_s, 1),
                    "fault": step.fault,
                }
                for step in self.steps
            ],
        }
