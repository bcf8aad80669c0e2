"""The health of the program as Prometheus metrics."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from meterplex.domain.bus_status import BusStatus
from meterplex.services.health import Health, Waiting

_GAUGES: tuple[tuple[str, str, Callable[[BusStatus], float | None]], ...] = (
    ("meters", "Meters on the bus", lambda bus: bus.meters),
    ("meters_lost", "Meters that do not answer", lambda bus: bus.lost),
    ("meters_late", "Live meters read later than promised", lambda bus: bus.late),
    ("reading_age_max_seconds", "Age of the oldest live reading", lambda bus: bus.oldest_age_s),
    ("run_seconds", "Duration of the last reading run", lambda bus: bus.run_s),
    ("up", "1 while the channel is open or not needed", lambda bus: not bus.fault),
)
_COUNTERS: tuple[tuple[str, str, Callable[[BusStatus], float]], ...] = (
    ("exchanges", "Requests sent", lambda bus: bus.exchanges),
    ("timeouts", "Requests without a fitting reply", lambda bus: bus.timeouts),
    ("stray_bytes", "Bytes that belonged to no reply", lambda bus: bus.stray_bytes),
)


class HealthCollector(Collector):
    """Gives one health state as metrics."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        health = self._health
        yield GaugeMetricFamily("meterplex_ready", "1 while it does its job", value=health.ready)
        yield GaugeMetricFamily(
            "meterplex_unstored_runs", "Runs waiting for the database", value=health.unstored_runs
        )
        yield GaugeMetricFamily(
            "meterplex_open_commands", "Commands not settled", value=health.open_commands
        )
        yield from _waiting(health.waiting)
        plugins = GaugeMetricFamily(
            "meterplex_plugin_up", "1 while the plugin works wholly", labels=["plugin"]
        )
        for plugin in health.plugins:
            plugins.add_metric([plugin.name], plugin.state == "loaded")
        yield plugins
        failures = CounterMetricFamily(
            "meterplex_plugin_failures",
            "Failures that its drivers are to blame for",
            labels=["plugin"],
        )
        for plugin in health.plugins:
            failures.add_metric([plugin.name], plugin.failures)
        yield failures
        for name, text, value_of in _GAUGES:
            gauge = GaugeMetricFamily(f"meterplex_bus_{name}", text, labels=["site", "channel"])
            for bus in health.buses:
                if (value := value_of(bus)) is not None:
                    gauge.add_metric([bus.site, bus.channel.code], value)
            yield gauge
        for name, text, count_of in _COUNTERS:
            counter = CounterMetricFamily(f"meterplex_bus_{name}", text, labels=["site", "channel"])
            for bus in health.buses:
                counter.add_metric([bus.site, bus.channel.code], count_of(bus))
            yield counter


def _waiting(waiting: Waiting) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "meterplex_outbox_open", "Messages of the outbox not done", value=waiting.outbox
    )
    yield GaugeMetricFamily(
        "meterplex_quarantined", "Disconnects that wait for a person", value=waiting.quarantined
    )
    yield GaugeMetricFamily(
        "meterplex_bypassed", "Meters out of the trip circuit", value=waiting.bypassed
    )
    yield GaugeMetricFamily(
        "meterplex_breakers_open", "Breakers that people have to close", value=waiting.breakers_open
    )
    warnings = GaugeMetricFamily("meterplex_warnings", "Warnings of low accounts", labels=["state"])
    for state, count in sorted(waiting.warnings.items()):
        warnings.add_metric([state], count)
    yield warnings
