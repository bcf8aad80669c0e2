"""The sweep over supplies: what stops at one account goes on at the next."""

from dataclasses import dataclass, field
from datetime import datetime

from tests.services.supply_town import build_town

from meterplex.db import Database
from meterplex.db.supply import SupplyDecided
from meterplex.domain.estate import AccountId, OrganisationId
from meterplex.plugin_manager import PluginManager
from meterplex.services.supply.decide_supply import SupplyLoop


@dataclass(frozen=True, slots=True)
class Stumbling(SupplyLoop):
    """Stumbles over some accounts."""

    over: set[AccountId] = field(default_factory=set)

    async def decide(
        self, organisation_id: OrganisationId, account_id: AccountId, *, at: datetime
    ) -> tuple[SupplyDecided, ...]:
        if account_id in self.over:
            raise ValueError("a row that nobody foresaw")
        return await SupplyLoop.decide(self, organisation_id, account_id, at=at)


async def test_an_account_that_cannot_be_decided_about_holds_up_no_other(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins, accounts=2)
    await town.flag("supply_off", number=0)
    await town.flag("supply_off", number=1)
    first = min((account.id for account in town.accounts), key=str)
    loop = Stumbling(database, plugins, over={first})
    assert await loop.sweep(at=town.at) == 1
    assert loop.undecided == {first}
    loop.over.clear()
    assert await loop.sweep(at=town.at) == 2
    assert loop.undecided == set()
