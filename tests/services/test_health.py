from prometheus_client.registry import CollectorRegistry
from tests.services.supply_town import build_town

from meterplex.api.metrics import HealthCollector
from meterplex.db import Database
from meterplex.domain.commands import CommandState
from meterplex.domain.supply_policy import LimiterPolicy
from meterplex.plugin_manager import PluginManager
from meterplex.services.health import Health, Waiting, count_waiting


async def test_what_waits_for_workers_and_people_is_counted(
    database: Database, plugins: PluginManager
) -> None:
    town = await build_town(database, plugins)
    assert await count_waiting(database) == Waiting()
    await town.use(30)
    await town.warn()
    await town.decide()
    (command,) = await town.commands()
    town.limiter = LimiterPolicy(tenant_min=0, tenant_hour_percent=LimiterPolicy().system_percent)
    assert not await town.send(command)
    assert (await town.now(command)).state is CommandState.QUARANTINED
    waiting = await count_waiting(database)
    assert waiting == Waiting(quarantined=1, warnings={"sent": 3}, breakers_open=1)


def test_what_waits_is_among_the_metrics() -> None:
    waiting = Waiting(4, 3, {"failed": 2, "sent": 5}, 1, 2)
    registry = CollectorRegistry()
    registry.register(HealthCollector(Health(True, "", (), (), 0, 0, waiting)))
    found = {
        name: registry.get_sample_value(f"meterplex_{name}")
        for name in ("outbox_open", "quarantined", "bypassed", "breakers_open")
    }
    assert found == {"outbox_open": 4, "quarantined": 3, "bypassed": 1, "breakers_open": 2}
    assert registry.get_sample_value("meterplex_warnings", {"state": "failed"}) == 2
