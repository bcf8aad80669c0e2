"""Watches time and looks again at supplies whose time may have come, for ever."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from meterplex.db.errors import DatabaseError
from meterplex.services.supply.breaker import watch_time
from meterplex.services.supply.decide_supply import SupplyLoop
from meterplex.services.supply.shortage import end_shortages

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class SupplyWatch:
    """Sweeps over the accounts that are low or off.

    Attributes:
        wall: current time in UTC.
        sweep_s: from the end of a sweep to the next one. Well below a minute: a paid account is
            to be reconnected that soon after its line is back.
    """

    loop: SupplyLoop
    wall: Callable[[], datetime]
    sweep_s: float = 20.0

    async def run(self) -> None:
        """Work until cancelled."""
        blind = False
        while True:
            try:
                await self.run_once()
            except DatabaseError as error:
                if not blind:
                    log.warning("supplies not looked at", error=str(error))
                blind = True
            else:
                blind = False
            await asyncio.sleep(self.sweep_s)

    async def run_once(self) -> int:
        """Sweep once; return how many accounts were looked at."""
        await watch_time(self.loop.database, self.wall())
        looked_at = await self.loop.sweep(at=self.wall())
        await end_shortages(self.loop.database, at=self.wall())
        return looked_at
