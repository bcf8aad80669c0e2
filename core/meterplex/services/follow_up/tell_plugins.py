"""Tells plugins what happened to accounts, from the outbox; whoever raised is told again."""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from meterplex.db.outbox import OutboxMessage
from meterplex.plugin_manager import PluginManager
from meterplex.sdk.accounts import AccountEvent
from meterplex.services.follow_up.outbox_worker import Handler

if TYPE_CHECKING:
    from uuid import UUID


class ListenerError(Exception):
    """Plugins raised when they were told of an account event."""


def account_event_handler(plugins: PluginManager) -> Handler:
    """Return what handles the topic ``account_event`` of the outbox."""
    failed: dict[UUID, frozenset[str]] = {}

    async def handle(message: OutboxMessage) -> None:
        event = msgspec.convert(message.payload, AccountEvent)
        failures = await asyncio.to_thread(
            plugins.tell_account_event, event, failed.pop(message.id, None)
        )
        if failures:
            failed[message.id] = frozenset(each.plugin for each in failures)
            raise ListenerError("; ".join(f"{each.plugin}: {each.reason}" for each in failures))

    return handle
