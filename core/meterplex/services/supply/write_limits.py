"""Writes the limits of accounts to the meters that can keep them (F53, F57, F59, F60)."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from meterplex.db import Database
from meterplex.db.outbox import OutboxMessage
from meterplex.domain.accounts import Account
from meterplex.domain.commands import CommandKind
from meterplex.domain.estate import AccountId, Meter
from meterplex.domain.money import ledger_decimal
from meterplex.plugin_manager import PluginManager
from meterplex.sdk import Capability
from meterplex.services.estate.site_policies import SiteParameters, load_parameters
from meterplex.services.follow_up.outbox_worker import Handler
from meterplex.services.metering.issue_commands import issue_commands

RULE = "rule:limits"
"""Who asks for it."""


def limits_handler(
    database: Database, plugins: PluginManager, wall: Callable[[], datetime]
) -> Handler:
    """Return what handles the topic ``limits`` of the outbox; see :func:`write_limits`."""

    async def handle(message: OutboxMessage) -> None:
        account_id = AccountId(UUID(message.subject))
        async with database.unit_of_work(read_only=True) as uow:
            account = await uow.accounts.get(message.organisation_id, account_id)
        await write_limits(
            database, plugins, account, message.payload.get("overload_kw", ""), at=wall()
        )

    return handle


async def write_limits(
    database: Database,
    plugins: PluginManager,
    account: Account,
    overload_kw: str = "",
    *,
    at: datetime,
) -> None:
    """Ask the meters of an account to take its limits; those that cannot are left out.

    Alarms, overdraft and hoard limit go to meters that keep the credit, the overload threshold
    to all.

    Args:
        overload_kw: of these meters; empty takes the site's.
    """
    async with database.unit_of_work(read_only=True) as uow:
        site = await uow.sites.get(account.organisation_id, account.site_id)
        parameters = await load_parameters(uow, site)
        meters: dict[bool, list[Meter]] = {True: [], False: []}
        for binding in await uow.bindings.of_account(account.organisation_id, account.id):
            meter = await uow.meters.get(account.organisation_id, binding.meter_id)
            model = plugins.models.get(meter.model)
            if binding.until is None and model and Capability.LIMITS in model.capabilities:
                meters[(binding.mode or account.mode).in_meter].append(meter)
    power = overload_kw or ("" if parameters.overload_kw is None else f"{parameters.overload_kw:f}")
    of_power = {"overload_kw": power} if power else {}
    for in_meter, asked in meters.items():
        arguments = of_power | (_of_credit(account, parameters) if in_meter else {})
        if asked and arguments:
            await issue_commands(
                database,
                plugins,
                account.organisation_id,
                asked,
                CommandKind.WRITE_LIMITS,
                arguments,
                asked_by=RULE,
                at=at,
            )


def _of_credit(account: Account, parameters: SiteParameters) -> dict[str, str]:
    """Return the limits of a meter that keeps the credit, in currency units.

    It lends the emergency credit as well: that is the balance below which the server would cut.
    """
    thresholds = parameters.thresholds_of(account)
    units = {
        "alarm_1": thresholds.alarm_1_units,
        "alarm_2": thresholds.alarm_2_units,
        "overdraft": account.overdraft_units + account.emergency_units,
    }
    hoard = account.hoard_units if account.hoard_units is not None else parameters.hoard_units
    if hoard is not None:
        units["hoard"] = hoard
    return {name: f"{ledger_decimal(value):f}" for name, value in units.items()}
