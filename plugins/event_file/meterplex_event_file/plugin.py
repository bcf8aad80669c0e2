"""Hooks of the plugin, and nothing else."""

from meterplex import hookimpl
from meterplex.sdk import AccountEvent
from meterplex_event_file import event_file


@hookimpl
def meterplex_account_event(event: AccountEvent) -> None:
    file = event_file.configured()
    if file is not None:
        file.append(event)
