"""Claims rents and fees as their days come, for ever."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from meterplex.db import Database
from meterplex.db.errors import DatabaseError
from meterplex.domain.estate import Site, SiteId
from meterplex.services.billing.charge_fees import charge_fees

log = structlog.get_logger(__name__)

OPERATOR: Final = "rule:fees"
"""Who the claims are made by."""


@dataclass(slots=True)
class FeeWatch:
    """Claims what is due at every site, by the site's own date.

    Attributes:
        wall: current time in UTC.
        interval_s: from the end of one look to the next.
        unclaimed: sites at which the last look failed.
    """

    database: Database
    wall: Callable[[], datetime]
    interval_s: float = 600.0
    unclaimed: set[SiteId] = field(default_factory=set)

    async def run(self) -> None:
        """Work until cancelled."""
        blind = False
        while True:
            try:
                await self.run_once()
            except DatabaseError as error:
                if not blind:
                    log.warning("fees not claimed", error=str(error))
                blind = True
            else:
                blind = False
            await asyncio.sleep(self.interval_s)

    async def run_once(self) -> int:
        """Claim once; return how many bills were made."""
        async with self.database.unit_of_work(read_only=True) as uow:
            sites = [
                site
                for organisation in await uow.organisations.all()
                for site in await uow.sites.all(organisation.id)
            ]
        return sum([await self._claim(site) for site in sites])

    async def _claim(self, site: Site) -> int:
        """Claim at one site; what goes wrong there holds up no other."""
        at = self.wall()
        try:
            bills = await charge_fees(
                self.database,
                site.organisation_id,
                at.astimezone(ZoneInfo(site.time_zone)).date(),
                at=at,
                operator=OPERATOR,
                site_ids={site.id},
            )
        except DatabaseError:
            raise
        except Exception:  # whatever it is, the others must be claimed
            if site.id not in self.unclaimed:
                log.exception("fees of a site not claimed", site=site.code)
            self.unclaimed.add(site.id)
            return 0
        self.unclaimed.discard(site.id)
        return len(bills)
