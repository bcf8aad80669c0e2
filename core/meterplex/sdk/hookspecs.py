"""The hooks of meterplex: the reference for vendors.

Implement a hook as a module-level function marked with ``meterplex.hookimpl`` in the module that
the entry point names. Hooks return values; they never mutate what they are given. A hook that
raises, or returns something else than its type, costs only its own plugin: the failure is kept,
shown by ``meterplex plugins`` and in the health answer, and everybody else goes on.
"""

from collections.abc import Sequence
from typing import Final

from pluggy import HookspecMarker

from meterplex.sdk.channels import ChannelType
from meterplex.sdk.models import MeterModel

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
