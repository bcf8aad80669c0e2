"""What a running program does beside its head-end: outbox, supply loop and fees, put together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from meterplex.db import Database
from meterplex.db.outbox import OutboxMessage
from meterplex.domain.supply_policy import LimiterPolicy
from meterplex.headend.head_end import HeadEnd
from meterplex.plugin_manager import PluginManager
from meterplex.services.accounts.first_readings import FIRST_READING, first_reading_handler
from meterplex.services.accounts.messages import ACCOUNT_EVENT, LIMITS, ORDERS, SUPPLY
from meterplex.services.billing.watch_fees import FeeWatch
from meterplex.services.charging.charge_readings import readings_handler
from meterplex.services.follow_up.notices import NOTICE
from meterplex.services.follow_up.notify import FileNotifier, Notifier, notice_handler
from meterplex.services.follow_up.outbox_worker import Handler, OutboxWorker
from meterplex.services.follow_up.tell_plugins import account_event_handler
from meterplex.services.metering.reading_messages import READINGS
from meterplex.services.supply.bypass import BYPASS_OVER, bypass_handler
from meterplex.services.supply.decide_supply import SupplyLoop, supply_handler
from meterplex.services.supply.watch_supply import SupplyWatch
from meterplex.services.supply.write_limits import limits_handler
from meterplex.services.tariffs.book import TariffBook
from meterplex.settings import Settings, SupplySettings


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers of one program."""

    outbox: OutboxWorker
    supply: SupplyWatch
    fees: FeeWatch


def make_workers(
    database: Database,
    plugins: PluginManager,
    settings: Settings,
    head_end: HeadEnd,
    wall: Callable[[], datetime],
) -> Workers:
    """Make the workers of a program, with a handler for every topic of the outbox."""
    loop = SupplyLoop(database, plugins)

    async def wake_orders(_message: OutboxMessage) -> None:
        head_end.orders.announce()

    handlers: Mapping[str, Handler] = {
        SUPPLY: supply_handler(loop, wall),
        NOTICE: notice_handler(database, make_notifiers(settings), wall),
        ACCOUNT_EVENT: account_event_handler(plugins),
        READINGS: readings_handler(database, TariffBook(plugins.tariff_components), wall),
        ORDERS: wake_orders,
        LIMITS: limits_handler(database, plugins, wall),
        BYPASS_OVER: bypass_handler(database, wall),
        FIRST_READING: first_reading_handler(database, wall),
    }
    return Workers(
        OutboxWorker(database, handlers, wall),
        SupplyWatch(loop, wall, settings.supply.sweep_s),
        FeeWatch(database, wall),
    )


def make_notifiers(settings: Settings) -> Sequence[Notifier]:
    """Return the ways to reach people that the settings name."""
    file = settings.notices.file
    return [FileNotifier(Path(file))] if file else []


def limiter_of(settings: SupplySettings) -> LimiterPolicy:
    """Return how many disconnects the settings allow."""
    return LimiterPolicy(
        tenant_min=settings.tenant_min,
        tenant_hour_percent=Decimal(str(settings.tenant_hour_percent)),
        tenant_day_percent=Decimal(str(settings.tenant_day_percent)),
        system_min=settings.system_min,
        system_percent=Decimal(str(settings.system_percent)),
        meter_day_max=settings.meter_day_max,
    )
