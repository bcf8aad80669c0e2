"""``/healthz``, ``/readyz`` and ``/metrics`` of a running program."""

from typing import Any

from litestar import Litestar, Response, get
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from meterplex.api.metrics import HealthCollector
from meterplex.domain.bus_status import BusStatus
from meterplex.services.health import Health, HealthSource


def make_app(source: HealthSource) -> Litestar:
    """Return the application that answers for ``source``."""

    @get("/healthz")
    async def healthz() -> Response[dict[str, Any]]:
        """Whether the program works: 200 always while it answers, with what is wrong inside."""
        return Response(describe(await source.health()))

    @get("/readyz")
    async def readyz() -> Response[dict[str, Any]]:
        """Whether the program does its job: 503 until the estate is loaded and SQL answers."""
        health = await source.health()
        body = {"ready": health.ready, "fault": health.fault}
        return Response(body, status_code=200 if health.ready else 503)

    @get("/metrics")
    async def metrics() -> Response[bytes]:
        """Figures for Prometheus, in its text format."""
        registry = CollectorRegistry()
        registry.register(HealthCollector(await source.health()))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Litestar([healthz, readyz, metrics], openapi_config=None, logging_config=None)


def describe(health: Health) -> dict[str, Any]:
    """Return the body of the health answer."""
    return {
        "status": "ok" if health.healthy else "degraded",
        "ready": health.ready,
        "fault": health.fault,
        "plugins": [
            {
                "name": plugin.name,
                "state": plugin.state,
                "problems": list(plugin.problems),
                "failures": plugin.failures,
                "last_failure": plugin.last_failure,
            }
            for plugin in health.plugins
        ],
        "buses": [_bus(bus) for bus in health.buses],
        "unstored_runs": health.unstored_runs,
        "open_commands": health.open_commands,
    }


def _bus(bus: BusStatus) -> dict[str, Any]:
    return {
        "site": bus.site,
        "channel": bus.channel.code,
        "meters": bus.meters,
        "live": bus.live,
        "lost": bus.lost,
        "late": bus.late,
        "oldest_age_s": None if bus.oldest_age_s is None else round(bus.oldest_age_s, 3),
        "run_s": bus.run_s,
        "fault": bus.fault,
    }
