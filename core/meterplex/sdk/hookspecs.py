"""The hooks of meterplex: the reference for vendors.

Implement a hook as a module-level function marked with ``meterplex.hookimpl`` in the module that
the entry point names. Hooks return values; they never mutate what they are given. A hook that
raises, or returns something else than its type, costs only its own plugin: the failure is kept,
shown by ``meterplex plugins`` and in the health answer, and everybody else goes on.
"""

from collections.abc import Sequence
from typing import Final

from pluggy import HookspecMarker

from meterplex.sdk.accounts import AccountEvent
from meterplex.sdk.channels import ChannelType
from meterplex.sdk.models import MeterModel
from meterplex.sdk.tariff import TariffComponent

hookspec: Final = HookspecMarker("meterplex")


@hookspec
def meterplex_meter_models() -> Sequence[MeterModel]:
    """Declare the kinds of meter that this plugin reads.

    When:
        Once, at start-up, before any channel is opened. No I/O and no slow work here.

    Returns:
        The models. An id that another plugin has already declared refuses this one model and names
        both plugins; the rest of the plugin's models stay.

    Raising:
        None of the plugin's models exist; its meters are shown as *plugin missing*.
    """
    raise NotImplementedError  # a specification: only its implementations are ever called


@hookspec
def meterplex_channel_types() -> Sequence[ChannelType]:
    """Declare kinds of channel: the scheme of a URL, its settings, and how to open it.

    When:
        Once, at start-up, before any channel is opened.

    Returns:
        The channel types. A scheme that is already taken refuses this one type and names both
        plugins.

    Raising:
        None of the plugin's channel types exist; channels with their schemes are refused.
    """
    raise NotImplementedError  # a specification: only its implementations are ever called


@hookspec
def meterplex_tariff_components() -> Sequence[TariffComponent]:
    """Declare components of tariffs that the core does not have: a sewage charge, a levy.

    When:
        Once, at start-up. The component's ``check`` is called when a tariff is read, its ``charge``
        for each bill that is rated, live or dry; both are pure and do no I/O.

    Returns:
        The components. A kind that is already taken refuses this one component and names both
        plugins.

    Raising:
        None of the plugin's components exist; tariffs that use them are refused, and accounts with
        such a tariff are not charged until the plugin is back. A ``charge`` that raises, or returns
        anything but exact lines, fails only the ratings with that tariff; the error names the
        plugin and the component.
    """
    raise NotImplementedError  # a specification: only its implementations are ever called


@hookspec
def meterplex_account_event(event: AccountEvent) -> None:
    """Take note of something that happened to an account.

    When:
        After the transaction in which it happened was committed, outside the event loop: I/O is
        welcome, but not for long, because the next event waits. Every event comes at least once,
        and again with the same ``id`` when a call failed or the program was stopped in between; a
        repeat may come after later events, so ``at`` tells the order.

    Returns:
        Nothing; what is returned is not looked at.

    Raising:
        The event is told to this plugin again later, the failure is counted. Other plugins are not
        told twice, and the account itself is not touched.
    """
    raise NotImplementedError  # a specification: only its implementations are ever called
