"""A database whose program dies at a chosen commit, before or after it."""

from typing import Any

from meterplex.db import Database


class CrashError(Exception):
    """The program is gone."""


class CrashingDatabase:
    """Counts commits, and crashes at one of them.

    Args:
        database: the real one.
        at: number of the commit, from 1 on; 0 for none.
        durable: crash after the commit, not before it.
    """

    def __init__(self, database: Database, at: int = 0, *, durable: bool = False) -> None:
        self._database = database
        self._at = at
        self._durable = durable
        self.commits = 0

    def unit_of_work(self, **options: Any) -> Any:
        unit = self._database.unit_of_work(**options)
        commit = unit.commit

        async def count() -> None:
            self.commits += 1
            if self.commits == self._at and not self._durable:
                raise CrashError
            await commit()
            if self.commits == self._at:
                raise CrashError

        unit.commit = count  # type: ignore[method-assign]
        return unit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)
